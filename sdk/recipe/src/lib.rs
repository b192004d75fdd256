//! The SDK for recipes: what a recipe sees of the service, typed, and the macro that makes a crate a recipe.
//! Knows the package `quorate:recipe`; does not know the host that implements it.
//!
//! A recipe is a wasm component that exports functions of its own. The service runs each call of them as **one atomic
//! transaction** on its tree: a function that returns `Ok` (or anything that is no `result`) commits what it wrote, one
//! that returns `Err` has changed nothing. There are no locks to take, nothing to retry, and nobody sees a half of it.
//!
//! # A complete recipe
//!
//! `wit/tally.wit` says what callers can call:
//!
//! ```wit
//! package example:tally@0.1.0;
//!
//! interface tally {
//!   use quorate:recipe/types@0.1.0.{error};
//!   /// Count one vote for a name. How many it has now.
//!   vote: func(name: string) -> result<u64, error>;
//! }
//!
//! world recipe {
//!   include quorate:recipe/imports@0.1.0;
//!   export tally;
//! }
//! ```
//!
//! `src/lib.rs` is the rest:
//!
//! ```
//! # mod hidden { // A doc test has no crate with a `wit` folder: this is the repository's own.
//! #![forbid(unsafe_code)]
//! use quorate_recipe::{Error, path, tree};
//!
//! quorate_recipe::recipe!(Tally, path: "tests/tally.wit");
//! struct Tally;
//!
//! impl Guest for Tally {
//!     fn vote(name: String) -> Result<u64, Error> {
//!         let node = path::child("/", &name)?;
//!         if !tree::exists(&node)? {
//!             tree::create(&node).empty()?;
//!         }
//!         Ok(tree::set(&node, b"")?.version)
//!     }
//! }
//! # }
//! ```
//!
//! # Waiting
//!
//! A call waits by [`park`]: it names what it waits for and ends there, and is run again *from the top* when that
//! happens. So a function that waits reads like one that does not:
//!
//! ```no_run
//! use quorate_recipe::{Error, Interest, park, tree};
//!
//! /// The data of `path`, once it is there.
//! fn wait_for(path: &str) -> Result<Vec<u8>, Error> {
//!     match tree::stat(path)? {
//!         None => park(&[Interest::node_changed(path)]),
//!         Some(_) => Ok(tree::get(path)?.data),
//!     }
//! }
//! ```
//!
//! Two rules come with it. A run that parks may have written only ephemeral or call-owned znodes. And the run that
//! happens because the deadline passed or the caller gave up ([`call::Reason::is_last`]) is the last one: it must end.

#![deny(unsafe_code)]

// Lets the bindings and the doc tests name this crate as recipes do.
extern crate self as quorate_recipe;

#[doc(hidden)]
#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated; the component ABI is raw memory"
)]
pub mod __bindings {
    quorate_recipe_macro::__imports!();
}

#[doc(hidden)]
pub use wit_bindgen as __rt;

pub mod call;
pub mod grant;
pub mod line;
pub mod log;
pub mod path;
pub mod tree;
mod wait;

pub use __bindings::quorate::recipe::blobs::Blob;
pub use __bindings::quorate::recipe::types::{Error, ErrorCode, Stat};
pub use wait::{Interest, park};

/// Makes the crate a recipe: reads its WIT, brings the exported interface into scope (its types, and the trait `Guest`
/// to implement) and exports the named type's implementation.
///
/// `recipe!(Type)` takes the only world in the folder `wit` beside Cargo.toml. `recipe!(Type, world: "name")` chooses
/// one of several, `recipe!(Type, path: "folder")` looks elsewhere. The package `quorate:recipe` is always known: a world
/// says `include quorate:recipe/imports@0.1.0;` and an interface `use quorate:recipe/types@0.1.0.{error};` without any
/// file for it.
///
/// An error variant of the recipe with one case that carries the host's `error` gets `From<Error>`, so that `?` works on
/// operations of the tree:
///
/// ```wit
/// variant lock-error { timed-out, tree(error) }
/// ```
///
/// See the [crate's page](crate) for a whole recipe.
pub use quorate_recipe_macro::recipe;

impl Error {
    /// An error of the recipe's own making, in the host's words.
    ///
    /// ```
    /// use quorate_recipe::{Error, ErrorCode};
    /// let error = Error::new(ErrorCode::BadArguments, "a barrier needs at least one member");
    /// assert_eq!(error.code, ErrorCode::BadArguments);
    /// ```
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
