//! Why a member must not start again: notes in its data directory that stay until it is replaced. It does not know how that
//! is found out.

use quorate_store::DataDirectory;

/// What can end a member for good. Its note has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// Its tree differs from that of the majority.
    Diverged,
    /// It has lost entries that it had acknowledged.
    Reverted,
}

impl Halt {
    fn note(self) -> &'static str {
        match self {
            Self::Diverged => "DIVERGED",
            Self::Reverted => "REVERTED",
        }
    }
}

/// Why this member does not start.
///
/// # Errors
/// The sentence for people, if there is a note.
pub fn check(directory: &DataDirectory) -> Result<(), String> {
    for halt in [Halt::Diverged, Halt::Reverted] {
        match directory.note(halt.note()) {
            Ok(None) => {}
            Ok(Some(why)) => return Err(String::from_utf8_lossy(&why).into_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Keeps the member from starting again.
pub fn keep(directory: &DataDirectory, halt: Halt, why: &str) {
    if let Err(error) = directory.keep_note(halt.note(), why.as_bytes()) {
        tracing::error!(%error, ?halt, why, "that this member must not start again can not be written down");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_a_member_from_starting() {
        for halt in [Halt::Diverged, Halt::Reverted] {
            let temporary = tempfile::tempdir().unwrap();
            let directory = DataDirectory::open(temporary.path(), || b"member 2".to_vec()).unwrap();
            assert_eq!(check(&directory), Ok(()));
            keep(&directory, halt, "its disk has lost something");
            assert_eq!(check(&directory), Err("its disk has lost something".to_owned()));
        }
    }
}
