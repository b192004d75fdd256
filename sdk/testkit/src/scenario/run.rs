//! Runs the steps of one scenario on a kit, and compares. It does not know where the text is from.

use std::collections::BTreeMap;

use crate::kit::{CallHandle, Kit};
use crate::scenario::script::{Action, Consequence, How, Names, Step};
use crate::wave::Bindings;
use crate::{Outcome, SessionId};

/// What is wrong, and on which line.
pub(super) type Wrong = (usize, String);

/// A scenario under way.
pub(super) struct Run {
    kit: Kit,
    bindings: Bindings,
    /// Sessions by their numbers; none once they have ended.
    sessions: BTreeMap<u64, Option<SessionId>>,
    /// Calls that wait, in the order in which they were sent, with the numbers of their sessions.
    parked: Vec<(u64, CallHandle)>,
}

impl Run {
    pub(super) fn new(kit: Kit) -> Self {
        let (bindings, sessions) = (Bindings::new(), BTreeMap::new());
        Self { kit, bindings, sessions, parked: Vec::new() }
    }

    /// Runs one step.
    ///
    /// # Errors
    /// Something else happens than the step and its consequences say, or the step can not be taken.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        let own = self.act(&step.action).map_err(|message| (step.line, message))?;
        if let (Some((number, call)), Action::Call { outcome, .. }) = (own, &step.action) {
            self.kit
                .check_with(call, outcome, &mut self.bindings)
                .map_err(|message| (step.line, message))?;
            if self.kit.outcome(call) == Outcome::Parked {
                self.parked.push((number, call));
            }
        }
        let mut ended = self.kit.take_ended();
        ended.retain(|call| {
            own.is_none_or(|(_, own)| own != *call) && self.kit.outcome(*call) != Outcome::Dropped
        });
        self.consequences(step, &ended)?;
        // Those that a session took along.
        let kit = &self.kit;
        self.parked.retain(|(_, call)| kit.outcome(*call) == Outcome::Parked);
        if let Action::Tree { path, names } = &step.action {
            self.tree(path, names).map_err(|message| (step.line, message))?;
        }
        Ok(())
    }

    /// Does what the step says; gives the call that it made, with the number of its session.
    fn act(&mut self, action: &Action) -> Result<Option<(u64, CallHandle)>, String> {
        match action {
            Action::Call { session: number, function, arguments, how, .. } => {
                let session = self.open(*number)?;
                let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let values = self.kit.arguments(function, &texts, &self.bindings)?;
                let call = match how {
                    How::Write => self.kit.call(session, function, values),
                    How::Read => self.kit.call_read_only(session, function, values),
                };
                let call = call.map_err(sentence)?;
                return Ok(Some((*number, call)));
            }
            Action::Expire(number) => {
                let session = self.take(*number)?;
                self.kit.expire(session).map_err(sentence)?;
            }
            Action::Close(number) => {
                let session = self.take(*number)?;
                self.kit.close(session).map_err(sentence)?;
            }
            Action::Cancel(number) => {
                self.live(*number)?;
                let oldest = self.parked.iter().find(|(owner, _)| owner == number);
                let (_, call) = oldest.ok_or(format!("session {number} has no parked call"))?;
                self.kit.cancel(*call).map_err(sentence)?;
            }
            Action::Advance(milliseconds) => self.kit.advance(*milliseconds),
            Action::Reset => self.kit.reset(),
            Action::Upgrade => drop(self.kit.upgrade().map_err(sentence)?),
            Action::Tree { .. } => {}
        }
        Ok(None)
    }

    fn open(&mut self, number: u64) -> Result<SessionId, String> {
        if !self.sessions.contains_key(&number) {
            let session = self.kit.session().map_err(sentence)?;
            self.sessions.insert(number, Some(session));
        }
        self.live(number)
    }

    fn live(&self, number: u64) -> Result<SessionId, String> {
        match self.sessions.get(&number) {
            Some(Some(session)) => Ok(*session),
            Some(None) => Err(format!("session {number} has ended")),
            None => Err(format!("session {number} has not been opened: a call does that")),
        }
    }

    fn take(&mut self, number: u64) -> Result<SessionId, String> {
        let session = self.live(number)?;
        self.sessions.insert(number, None);
        Ok(session)
    }

    /// Compares the calls that have ended with the lines below the step.
    fn consequences(&mut self, step: &Step, ended: &[CallHandle]) -> Result<(), Wrong> {
        for (at, call) in ended.iter().enumerate() {
            let Some(line) = step.consequences.get(at) else {
                let actual = self.show_ended(*call);
                let expected = match at {
                    0 => "no consequence".to_owned(),
                    at => format!("no consequence behind the first {at}"),
                };
                return Err((step.line, format!("expected  {expected}\n  actual  {actual}")));
            };
            self.consequence(line, *call).map_err(|message| (line.line, message))?;
        }
        if let Some(missing) = step.consequences.get(ended.len()) {
            let Consequence { line, session, function, outcome } = missing;
            let message = format!(
                "expected  => {session} {function} -> {outcome}\n  actual  no such call has ended"
            );
            return Err((*line, message));
        }
        Ok(())
    }

    fn consequence(&mut self, line: &Consequence, call: CallHandle) -> Result<(), String> {
        let Consequence { session, function, outcome, .. } = line;
        let mut candidates = self
            .parked
            .iter()
            .filter(|(number, parked)| number == session && self.is_of_function(*parked, function));
        let oldest = candidates.next().map(|(_, parked)| *parked);
        let is_later = candidates.any(|(_, parked)| *parked == call);
        if oldest != Some(call) {
            let actual = self.show_ended(call);
            let why = if is_later { ", which is not its oldest one" } else { "" };
            return Err(format!(
                "expected  => {session} {function} -> {outcome}\n  actual  {actual}{why}"
            ));
        }
        self.parked.retain(|(_, parked)| *parked != call);
        self.kit.check_with(call, outcome, &mut self.bindings)
    }

    fn is_of_function(&self, call: CallHandle, name: &str) -> bool {
        let component = self.kit.component();
        let found = |name| {
            let found = component.find(name).ok();
            found.map(|(interface, function)| (&interface.name, &function.name))
        };
        found(name).is_some() && found(name) == found(self.kit.function_name(call))
    }

    fn show_ended(&self, call: CallHandle) -> String {
        let number = self.parked.iter().find(|(_, parked)| *parked == call);
        let number = number.map_or_else(|| "?".to_owned(), |(number, _)| number.to_string());
        format!("=> {number} {} -> {}", self.kit.function_name(call), self.kit.show(call))
    }

    fn tree(&self, path: &str, names: &Names) -> Result<(), String> {
        let children = self.kit.children(path).map_err(sentence)?;
        let is_same = match (names, &children) {
            (Names::NoNode, None) => true,
            (Names::These(names), Some(children)) => {
                names.len() == children.len()
                    && names
                        .iter()
                        .zip(children)
                        .all(|(name, child)| name.as_ref().is_none_or(|name| name == child))
            }
            _ => false,
        };
        if is_same {
            return Ok(());
        }
        let expected = match names {
            Names::NoNode => "no-node".to_owned(),
            Names::These(names) => {
                let shown: Vec<&str> =
                    names.iter().map(|name| name.as_deref().unwrap_or("_")).collect();
                show_names(&shown)
            }
        };
        let actual = children.map_or("no-node".to_owned(), |names| show_names(&names));
        Err(format!("expected  {expected}\n  actual  {actual}"))
    }
}

fn show_names(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "(no children)".to_owned();
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
