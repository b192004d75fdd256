//! Those who wait to enter a double barrier.
//! Knows their znodes; does not know when they are enough.
//!
//! A call that waits may create nothing persistent, so the first to come could not make a znode for the others to meet under. They
//! meet under the one that is always there, the recipe's root: `/_entering-PATH-SESSION`, call-owned, with the count that
//! its caller expects as data. PATH is the barrier's path with everything but letters, digits and dots as `%XX`.

use quorate_recipe::{Error, path, tree};
use std::fmt::Write as _;

/// The waiting room of one double barrier.
pub struct Lobby {
    /// What the names of all who wait there begin with. The `-` at its end is in no encoded path, so no other begins so.
    prefix: String,
}

impl Lobby {
    pub fn of(path: &str) -> Self {
        let mut prefix = "_entering-".to_owned();
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'.' {
                prefix.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _infallible = write!(prefix, "%{byte:02X}");
            }
        }
        prefix.push('-');
        Self { prefix }
    }

    /// Where this session waits.
    pub fn place(&self, session: u64) -> String {
        format!("/{}{session:016x}", self.prefix)
    }

    /// Where anybody waits, in order of session.
    pub fn places(&self) -> Result<Vec<String>, Error> {
        let mut places = Vec::new();
        for name in tree::children("/").after(self.prefix.as_str()) {
            let name = name?;
            if !name.starts_with(&self.prefix) {
                break;
            }
            places.push(path::child("/", &name)?);
        }
        Ok(places)
    }

    /// Somebody who has waited since before `round` began, belongs to it, and has not been run again yet.
    pub fn admitted(&self, round: u64) -> Result<Option<String>, Error> {
        for place in self.places()? {
            if tree::stat(&place)?.is_some_and(|stat| stat.czxid < round) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::Lobby;

    #[test]
    fn no_path_has_names_that_begin_like_another_paths() {
        let paths = ["/", "/a", "/a/b", "/a-", "/a-b", "/a%2Fb", "/A", "/a.b", "/ä", "/a b"];
        for one in paths {
            for other in paths {
                let begins =
                    Lobby::of(one).place(7).starts_with(&format!("/{}", Lobby::of(other).prefix));
                assert_eq!(begins, one == other, "{one} and {other}");
            }
        }
    }
}
