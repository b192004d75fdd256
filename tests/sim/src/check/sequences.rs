//! Invariant 5: sequence suffixes below one parent strictly increase, also across deletions and changes of leader, and sort
//! as text.

use std::collections::BTreeMap;

use quorate_core::change::Change;
use quorate_core::transaction::EntryBody;

use super::Invariant;
use super::event::Event;

/// Digits of a native sequence name.
const DIGITS: usize = 19;

/// The last suffix of each parent.
#[derive(Default)]
pub struct Sequences {
    last: BTreeMap<String, String>,
}

impl Sequences {
    fn created(&mut self, path: &str) -> Result<(), String> {
        let Some((parent, name)) = path.rsplit_once('/') else { return Ok(()) };
        let Some(at) = name.len().checked_sub(DIGITS) else { return Ok(()) };
        let Some(suffix) = name.get(at..) else { return Ok(()) };
        if !suffix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(());
        }
        let before = self.last.insert(parent.to_owned(), suffix.to_owned());
        match before {
            Some(before) if *before >= *suffix => {
                Err(format!("{path} is made after a sibling with the number {before}"))
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for Sequences {
    fn name(&self) -> &'static str {
        "sequences"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        let Event::Committed { entry, is_taken: true, .. } = event else { return Ok(()) };
        let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
        let changes = transactions.iter().flat_map(|transaction| &transaction.changes);
        for change in changes {
            if let Change::NodeCreated { path, .. } = change {
                self.created(path.as_str())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_comes_again_is_seen() {
        let mut sequences = Sequences::default();
        let name = |number: u64| format!("/e/x-{number:019}");
        assert_eq!(sequences.created(&name(0)), Ok(()));
        assert_eq!(sequences.created(&name(7)), Ok(()));
        assert_eq!(sequences.created("/other/x-0000000000000000003"), Ok(()));
        assert!(sequences.created(&name(7)).is_err());
        assert!(sequences.created(&name(6)).is_err());
    }
}
