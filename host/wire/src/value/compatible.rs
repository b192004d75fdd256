//! Owns what an interface may change without breaking its callers.
//! It does not decide whether a breaking change goes ahead: the operator does.

use std::fmt::{self, Display, Formatter};

use super::types::{Function, Interface, Type};

/// A change that breaks callers. Displayed as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breaking {
    /// The interface has another name. Its version may change: what counts is what the functions
    /// are.
    Renamed {
        /// Name before.
        old: String,
        /// Name now.
        new: String,
    },
    /// A function is gone.
    Removed {
        /// Its name.
        function: String,
    },
    /// A function has another type, in anything that its [`Function::signature_hash`] covers.
    Changed {
        /// Its name.
        function: String,
        /// The first difference, with both sides.
        difference: String,
    },
}

impl Display for Breaking {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renamed { old, new } => {
                write!(f, "The interface `{old}` is now called `{new}`.")
            }
            Self::Removed { function } => write!(f, "The function `{function}` is gone."),
            Self::Changed { function, difference } => {
                write!(f, "The function `{function}` has changed: {difference}.")
            }
        }
    }
}

/// All that breaks callers of the old interface, in the order of its functions. Empty: the new one
/// only adds functions, or is the same. Any change of a function's type breaks, also a new case of
/// an enum: its hash and its bytes change.
pub fn compatible(old: &Interface, new: &Interface) -> Vec<Breaking> {
    let (old_name, new_name) = (without_version(&old.name), without_version(&new.name));
    let renamed = (old_name != new_name)
        .then(|| Breaking::Renamed { old: old.name.clone(), new: new.name.clone() });
    let functions = old.functions.iter().filter_map(|was| {
        let function = was.name.clone();
        match new.function(&was.name) {
            None => Some(Breaking::Removed { function }),
            Some(is) if is == was => None,
            Some(is) => Some(Breaking::Changed { function, difference: difference(was, is) }),
        }
    });
    renamed.into_iter().chain(functions).collect()
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Of two functions that differ.
fn difference(was: &Function, is: &Function) -> String {
    for ((old_name, old), (new_name, new)) in was.parameters.iter().zip(&is.parameters) {
        if old_name != new_name {
            return format!("its parameter `{old_name}` is now called `{new_name}`");
        }
        if old != new {
            return format!("its parameter `{old_name}` was `{old}` and is `{new}`");
        }
    }
    if let Some((name, added)) = is.parameters.get(was.parameters.len()) {
        return format!("it has a new parameter `{name}: {added}`");
    }
    if let Some((name, _)) = was.parameters.get(is.parameters.len()) {
        return format!("its parameter `{name}` is gone");
    }
    let shown = |result: &Option<Type>| {
        result.as_ref().map_or("nothing".to_owned(), |result| format!("`{result}`"))
    };
    format!("it returned {} and returns {}", shown(&was.result), shown(&is.result))
}
