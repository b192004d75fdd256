//! The search for a sequential order.

use std::collections::HashSet;
use std::fmt;

use crate::Model;
use crate::history::{History, Operation};

/// How much the search may remember before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// States, each with the set of operations that led to it.
    pub states_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { states_max: 4_000_000 }
    }
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order, this one: indices into the history's operations.
    Linearizable(Vec<usize>),
    /// There is none.
    NotLinearizable(Stuck),
    /// The budget is used up: neither is known.
    GaveUp,
}

/// How far the best order came: what people need to find the defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The longest order that is right so far.
    pub order: Vec<usize>,
    /// The state that it leads to, as text.
    pub state: String,
    /// The operations that could come next by their times, and whose answers none of this state's are.
    pub candidates: Vec<String>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} operations fit, leading to {}; then none of:",
            self.order.len(),
            self.state
        )?;
        self.candidates.iter().try_for_each(|candidate| writeln!(f, "  {candidate}"))
    }
}

/// Looks for an order of the history's operations that the model could have produced.
#[must_use]
pub fn check<M: Model>(
    model: &M,
    history: &History<M::Input, M::Output>,
    budget: Budget,
) -> Verdict {
    let operations: Vec<&Operation<M::Input, M::Output>> = history.operations().collect();
    Search::new(model, &operations, budget).run()
}

/// A set of operations, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn flip(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }
}

/// The end of the list, and its head.
const END: usize = usize::MAX;

/// Calls and returns that are not yet part of the order, as a doubly linked list in the order of time, so that one can be
/// lifted out and put back where it was.
struct Events {
    /// The operation, and whether this is its return.
    events: Vec<(usize, bool)>,
    next: Vec<usize>,
    before: Vec<usize>,
    first: usize,
    /// Where each operation's call and return stand.
    places: Vec<(usize, Option<usize>)>,
}

impl Events {
    fn new<I, O>(operations: &[&Operation<I, O>]) -> Self {
        let mut timed: Vec<(usize, usize, bool)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in operations.iter().enumerate() {
            timed.push((operation.called, index, false));
            timed.extend(operation.returned.as_ref().map(|(at, _)| (*at, index, true)));
        }
        timed.sort_unstable();
        let count = timed.len();
        let mut places = vec![(END, None); operations.len()];
        for (place, (_, index, is_return)) in timed.iter().enumerate() {
            if *is_return {
                places[*index].1 = Some(place);
            } else {
                places[*index].0 = place;
            }
        }
        Self {
            events: timed.into_iter().map(|(_, index, is_return)| (index, is_return)).collect(),
            next: (1..=count).map(|next| if next == count { END } else { next }).collect(),
            before: (0..count).map(|at| at.checked_sub(1).unwrap_or(END)).collect(),
            first: if count == 0 { END } else { 0 },
            places,
        }
    }

    fn lift(&mut self, operation: usize) {
        let (call, returned) = self.places[operation];
        self.unlink(call);
        if let Some(returned) = returned {
            self.unlink(returned);
        }
    }

    fn put_back(&mut self, operation: usize) {
        let (call, returned) = self.places[operation];
        if let Some(returned) = returned {
            self.relink(returned);
        }
        self.relink(call);
    }

    fn unlink(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        if before == END {
            self.first = next;
        } else {
            self.next[before] = next;
        }
        if next != END {
            self.before[next] = before;
        }
    }

    fn relink(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        if before == END {
            self.first = at;
        } else {
            self.next[before] = at;
        }
        if next != END {
            self.before[next] = at;
        }
    }
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [&'a Operation<M::Input, M::Output>],
    events: Events,
    /// Operations that are part of the order.
    chosen: Set,
    /// The order so far, each operation with the state before it.
    order: Vec<(usize, M::State)>,
    state: M::State,
    seen: HashSet<(Set, M::State)>,
    /// Operations that returned and are not part of the order: when none is left, the order is complete. Those that never
    /// returned need not be in it.
    returned_left: usize,
    best: Option<Stuck>,
    budget: Budget,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(
        model: &'a M,
        operations: &'a [&'a Operation<M::Input, M::Output>],
        budget: Budget,
    ) -> Self {
        Self {
            model,
            operations,
            events: Events::new(operations),
            chosen: Set::new(operations.len()),
            order: Vec::new(),
            state: model.initial(),
            seen: HashSet::new(),
            returned_left: operations.iter().filter(|one| one.returned.is_some()).count(),
            best: None,
            budget,
        }
    }

    fn run(mut self) -> Verdict {
        let mut at = self.events.first;
        while self.returned_left > 0 {
            // Whatever comes behind a return was called after it: it can not come before that operation.
            let is_stuck = at == END || self.events.events[at].1;
            if is_stuck {
                self.note_best();
                let Some(after) = self.step_back() else {
                    return match self.best {
                        Some(stuck) => Verdict::NotLinearizable(stuck),
                        None => Verdict::GaveUp,
                    };
                };
                at = after;
                continue;
            }
            let operation = self.events.events[at].0;
            at = if self.choose(operation) { self.events.first } else { self.events.next[at] };
            if self.seen.len() > self.budget.states_max {
                return Verdict::GaveUp;
            }
        }
        Verdict::Linearizable(self.order.into_iter().map(|(operation, _)| operation).collect())
    }

    /// Makes an operation the next of the order, if the model allows it and it leads to where the search has not been.
    fn choose(&mut self, operation: usize) -> bool {
        let Operation { input, returned, .. } = self.operations[operation];
        let output = returned.as_ref().map(|(_, output)| output);
        let Some(next) = self.model.step(&self.state, input, output) else { return false };
        self.chosen.flip(operation);
        if !self.seen.insert((self.chosen.clone(), next.clone())) {
            self.chosen.flip(operation);
            return false;
        }
        self.order.push((operation, std::mem::replace(&mut self.state, next)));
        self.events.lift(operation);
        self.returned_left -= usize::from(returned.is_some());
        true
    }

    /// Takes the last operation out of the order again; gives the event behind its call.
    fn step_back(&mut self) -> Option<usize> {
        let (operation, before) = self.order.pop()?;
        self.state = before;
        self.chosen.flip(operation);
        self.events.put_back(operation);
        self.returned_left += usize::from(self.operations[operation].returned.is_some());
        Some(self.events.next[self.events.places[operation].0])
    }

    fn note_best(&mut self) {
        if self.best.as_ref().is_some_and(|best| best.order.len() >= self.order.len()) {
            return;
        }
        let mut candidates = Vec::new();
        let mut at = self.events.first;
        while at != END && !self.events.events[at].1 {
            let Operation { input, returned, .. } = self.operations[self.events.events[at].0];
            candidates.push(match returned {
                Some((_, output)) => format!("{input:?} -> {output:?}"),
                None => format!("{input:?} -> (never returned)"),
            });
            at = self.events.next[at];
        }
        self.best = Some(Stuck {
            order: self.order.iter().map(|(operation, _)| *operation).collect(),
            state: format!("{:?}", self.state),
            candidates,
        });
    }
}
