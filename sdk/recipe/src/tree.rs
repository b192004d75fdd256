//! The tree, on the transaction of this call.
//! Knows how to ask for an operation; what it means is the host's.
//!
//! All paths are absolute and relative to the recipe's root, which is `/`. What a call writes is seen by its own later
//! reads, and by everybody else only when the call has ended well or parked. A refused operation changed nothing, and the
//! call may go on.

use crate::__bindings::quorate::recipe::tree;
use crate::{Blob, Error, ErrorCode, Stat};
use tree::{CreateOptions, Lifetime, Page};

pub use tree::Node;

/// The data of a znode, copied into the recipe's memory, with its stat.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::tree;
/// let node = tree::get("/config")?;
/// let (data, version) = (node.data, node.stat.version);
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-path`, `no-access`.
pub fn get(path: &str) -> Result<Node, Error> {
    tree::get(path)
}

/// The data of a znode as a handle: nothing is copied.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let payload = quorate_recipe::tree::blob("/items/i0000000000000000001")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-path`, `no-access`.
pub fn blob(path: &str) -> Result<Blob, Error> {
    tree::get_blob(path)
}

/// The stat of a znode, or `None` when there is none.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::tree;
/// let owner = tree::stat("/leader")?.and_then(|stat| stat.owner);
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-path`, `no-access`.
pub fn stat(path: &str) -> Result<Option<Stat>, Error> {
    tree::stat(path)
}

/// Whether there is a znode.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let closed = quorate_recipe::tree::exists("/closed")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-path`, `no-access`.
pub fn exists(path: &str) -> Result<bool, Error> {
    Ok(tree::stat(path)?.is_some())
}

/// Turns `no-node` into `None`: for reads of what may not be there.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::tree;
/// let data = tree::if_there(tree::get("/config"))?.map(|node| node.data);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Every other error of the operation.
pub fn if_there<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::NoNode => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts to create a znode. Persistent unless said otherwise; [`Create::data`], [`Create::blob`] or [`Create::empty`] does it.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::tree;
/// tree::create("/jobs").empty()?;
/// let path = tree::create("/jobs/j").ephemeral().sequential().data(b"build")?;
/// assert!(path.starts_with("/jobs/j00000"));
/// # Ok(()) }
/// ```
pub fn create(path: &str) -> Create<'_> {
    let options =
        CreateOptions { lifetime: Lifetime::Persistent, sequential: false, parents: false };
    Create { path, options }
}

/// A znode about to be created: see [`create`].
#[must_use = "nothing is created before data(), blob() or empty()"]
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    path: &'a str,
    options: CreateOptions,
}

impl Create<'_> {
    /// It goes when the calling session ends.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/alive").ephemeral().empty()?;
    /// # Ok(()) }
    /// ```
    pub fn ephemeral(mut self) -> Self {
        self.options.lifetime = Lifetime::Ephemeral;
        self
    }

    /// It goes when the calling session ends, or when this call ends without having [released](release) it. A call that parks
    /// keeps it.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/waiting/w").call_owned().sequential().empty()?;
    /// # Ok(()) }
    /// ```
    pub fn call_owned(mut self) -> Self {
        self.options.lifetime = Lifetime::CallOwned;
        self
    }

    /// It goes when it has had children and then none for a minute.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/queues/mail").container().empty()?;
    /// # Ok(()) }
    /// ```
    pub fn container(mut self) -> Self {
        self.options.lifetime = Lifetime::Container;
        self
    }

    /// It goes when it has no children and its data was not set for so many milliseconds; some time later than that.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/seen/order-17").ttl(86_400_000).empty()?;
    /// # Ok(()) }
    /// ```
    pub fn ttl(mut self, ms: u64) -> Self {
        self.options.lifetime = Lifetime::Ttl(ms);
        self
    }

    /// A number of 19 digits is appended to the path, strictly increasing under one parent.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// let path = quorate_recipe::tree::create("/items/i").sequential().empty()?;
    /// # Ok(()) }
    /// ```
    pub fn sequential(mut self) -> Self {
        self.options.sequential = true;
        self
    }

    /// Missing parents are created too, persistent and empty: not in a run that may park.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/a/b/c").parents().empty()?;
    /// # Ok(()) }
    /// ```
    pub fn parents(mut self) -> Self {
        self.options.parents = true;
        self
    }

    /// Creates it with these bytes. The path, with its number if one was asked for.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/greeting").data(b"hello")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `node-exists`, `no-node` (no parent), `no-children-for-ephemerals`, `limit`, `bad-path`, `bad-arguments`, `no-access`.
    pub fn data(self, data: &[u8]) -> Result<String, Error> {
        tree::create(self.path, data, self.options)
    }

    /// Creates it with the bytes behind a handle, which are not copied. The path, with its number if one was asked for.
    ///
    /// ```no_run
    /// # fn example(payload: quorate_recipe::Blob) -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/items/i").sequential().blob(&payload)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Create::data`].
    pub fn blob(self, data: &Blob) -> Result<String, Error> {
        tree::create_blob(self.path, data, self.options)
    }

    /// Creates it without data. The path, with its number if one was asked for.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// quorate_recipe::tree::create("/jobs").empty()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Create::data`].
    pub fn empty(self) -> Result<String, Error> {
        self.data(&[])
    }
}

/// Sets the data of a znode, whatever its version.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let version = quorate_recipe::tree::set("/greeting", b"good morning")?.version;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `limit`, `bad-path`, `no-access`.
pub fn set(path: &str, data: &[u8]) -> Result<Stat, Error> {
    tree::set(path, data, None)
}

/// Sets the data of a znode if it has this version.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::set_if("/greeting", b"good night", 7)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-version`, and those of [`set`].
pub fn set_if(path: &str, data: &[u8], version: u64) -> Result<Stat, Error> {
    tree::set(path, data, Some(version))
}

/// Sets the data of a znode to the bytes behind a handle, which are not copied.
///
/// ```no_run
/// # fn example(payload: quorate_recipe::Blob) -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::set_blob("/config", &payload)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Those of [`set`].
pub fn set_blob(path: &str, data: &Blob) -> Result<Stat, Error> {
    tree::set_blob(path, data, None)
}

/// Deletes a znode without children, whatever its version.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::delete("/greeting")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `not-empty`, `bad-path`, `no-access`.
pub fn delete(path: &str) -> Result<(), Error> {
    tree::delete(path, None)
}

/// Deletes a znode without children if it has this version.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::delete_if("/greeting", 7)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-version`, and those of [`delete`].
pub fn delete_if(path: &str, version: u64) -> Result<(), Error> {
    tree::delete(path, Some(version))
}

/// Deletes a znode and all that is below it. How many were deleted.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let gone = quorate_recipe::tree::delete_tree("/jobs")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `limit` (more than a call may change: nothing is deleted), `no-node`, `bad-path`, `no-access`.
pub fn delete_tree(path: &str) -> Result<u64, Error> {
    tree::delete_tree(path)
}

/// The stat of a znode that must be there and have this version.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::check("/config", 3)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-version`, `bad-path`, `no-access`.
pub fn check(path: &str, version: u64) -> Result<Stat, Error> {
    tree::check(path, Some(version))
}

/// Makes a call-owned znode of this call ephemeral: it outlives the call and goes with the session.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// quorate_recipe::tree::release("/waiting/w0000000000000000001")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-arguments` (not call-owned by this call), `bad-path`, `no-access`.
pub fn release(path: &str) -> Result<(), Error> {
    tree::release(path)
}

/// The name of the first child in bytewise order. It costs the same for three children and for a million.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let next = quorate_recipe::tree::first_child("/items")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-path`, `no-access`.
pub fn first_child(path: &str) -> Result<Option<String>, Error> {
    tree::first_child(path)
}

/// The name of the sibling next before `path`, which need not exist itself. It costs the same among three and a million.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let ahead = quorate_recipe::tree::child_before("/waiting/w0000000000000000007")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node` (no parent), `bad-path`, `no-access`.
pub fn child_before(path: &str) -> Result<Option<String>, Error> {
    tree::child_before(path)
}

/// How many children a znode has: stored, not counted.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let length = quorate_recipe::tree::children_count("/items")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `no-node`, `bad-path`, `no-access`.
pub fn children_count(path: &str) -> Result<u64, Error> {
    tree::children_count(path)
}

/// Names of children in bytewise order, fetched a page at a time.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::tree;
/// for name in tree::children("/members").after("m").take(100) {
///     let node = tree::get(&format!("/members/{}", name?))?;
/// }
/// let last = tree::children("/members").reverse().next().transpose()?;
/// # Ok(()) }
/// ```
pub fn children(path: &str) -> Children<'_> {
    Children { path, after: None, reverse: false, page: Vec::new().into_iter(), at_end: false }
}

/// Names in a page: few enough to be cheap when only the first is wanted, enough to make long lists cheap too.
const PAGE_NAMES: u32 = 128;

/// An iterator over names of children: see [`children`]. It ends after the first error.
#[derive(Debug)]
pub struct Children<'a> {
    path: &'a str,
    after: Option<String>,
    reverse: bool,
    page: std::vec::IntoIter<String>,
    at_end: bool,
}

impl Children<'_> {
    /// Starts strictly behind this name, which need not exist.
    ///
    /// ```no_run
    /// let rest = quorate_recipe::tree::children("/members").after("web-7");
    /// ```
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after = Some(name.into());
        self
    }

    /// Goes from the last name to the first.
    ///
    /// ```no_run
    /// let newest_first = quorate_recipe::tree::children("/items").reverse();
    /// ```
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

impl Iterator for Children<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(name) = self.page.next() {
            return Some(Ok(name));
        }
        if self.at_end {
            return None;
        }
        let page = Page { after: self.after.take(), limit: PAGE_NAMES, reverse: self.reverse };
        match tree::children(self.path, &page) {
            Ok(names) => {
                // The host may give shorter pages than asked for: only an empty one is the end.
                self.after = names.last().cloned();
                self.at_end = names.is_empty();
                self.page = names.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => {
                self.at_end = true;
                Some(Err(error))
            }
        }
    }
}
