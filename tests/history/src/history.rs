//! A history while it is recorded: who called what when, and what came back. Moments are places in one sequence of calls and
//! returns; clocks do not enter.

/// One operation of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// What was asked.
    pub input: I,
    /// When it was called.
    pub called: usize,
    /// When it returned, and with what; none if it never did: it may have taken effect at any time since, or not at all.
    pub returned: Option<(usize, O)>,
}

/// Names an operation that was called and has not returned.
#[derive(Debug)]
#[must_use = "an operation that returned must be recorded as such, or the check is weaker than it could be"]
pub struct Ticket(usize);

/// Calls and returns in the order in which they happened.
#[derive(Debug, Clone)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
    moments: usize,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self { operations: Vec::new(), moments: 0 }
    }
}

impl<I, O> History<I, O> {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a call, before the operation is sent.
    pub fn call(&mut self, input: I) -> Ticket {
        let called = self.moment();
        self.operations.push(Operation { input, called, returned: None });
        Ticket(self.operations.len() - 1)
    }

    /// Records a return, after the answer was seen.
    pub fn returned(&mut self, ticket: Ticket, output: O) {
        let at = self.moment();
        if let Some(operation) = self.operations.get_mut(ticket.0) {
            operation.returned = Some((at, output));
        }
    }

    /// Records that the operation did not take effect: it was refused before it could. It leaves the history.
    pub fn refused(&mut self, ticket: &Ticket)
    where
        I: Clone,
    {
        // The place stays, so that other tickets keep theirs; an operation that never returned and had no effect is no
        // constraint on anything.
        if let Some(operation) = self.operations.get_mut(ticket.0) {
            operation.called = usize::MAX;
        }
    }

    /// The operations that count, in the order of their calls.
    pub fn operations(&self) -> impl Iterator<Item = &Operation<I, O>> {
        self.operations.iter().filter(|operation| operation.called != usize::MAX)
    }

    fn moment(&mut self) -> usize {
        self.moments += 1;
        self.moments
    }
}
