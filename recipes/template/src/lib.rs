//! A text at a path, and a way to wait until it changes.

#![forbid(unsafe_code)]

use quorate_recipe::call::{self, Reason};
use quorate_recipe::{Error, Interest, park, tree};

quorate_recipe::recipe!(Recipe);

struct Recipe;

// Each call is one transaction: `Ok` commits what it wrote, `Err` changes nothing.
impl Guest for Recipe {
    fn set(path: String, text: String) -> Result<u64, Failure> {
        if !tree::exists(&path)? {
            tree::create(&path).parents().empty()?;
        }
        tree::set(&path, text.as_bytes())?;
        Ok(call::zxid())
    }

    fn get(path: String) -> Result<Option<Entry>, Failure> {
        Ok(read(&path)?)
    }

    fn next(path: String, known: Option<u64>, timeout_ms: Option<u64>) -> Result<Entry, Failure> {
        // A call that parks runs again from here, so it looks before it asks why it runs.
        if let Some(entry) = read(&path)?
            && Some(entry.version) != known
        {
            return Ok(entry);
        }
        match call::reason() {
            Reason::TimedOut => return Err(Failure::TimedOut),
            Reason::Cancelled => return Err(Failure::Cancelled),
            _ => {}
        }
        if let Some(milliseconds) = timeout_ms {
            call::set_timeout(milliseconds);
        }
        park(&[Interest::node_changed(path)])
    }
}

/// The text at the path, unless there is none, or a znode that is there for those below it only.
fn read(path: &str) -> Result<Option<Entry>, Error> {
    let Some(node) = tree::if_there(tree::get(path))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&node.data).into_owned();
    let entry = Entry { text, version: node.stat.mzxid };
    Ok((node.stat.version > 0).then_some(entry))
}
