//! The async client library of Quorate: a session that survives connections and leaders, the tree, and recipes.
//!
#![doc = concat!("```no_run\n", include_str!("../examples/lock.rs"), "```")]
//!
//! [`recipe!`] makes such types and calls from any recipe's WIT; [`Client::recipe`] calls by values or as text, without them.
//!
//! # What a session promises
//!
//! - Each write is executed exactly once, in the order in which writes were sent, as long as the session lives; "connection
//!   lost, outcome unknown" does not exist. Replies may overtake each other: a call that waits holds up nobody.
//! - A session that is lost is known to be lost here ([`SessionState::Lost`]) before the service gives its locks to others.
//! - After that nothing is sent any more, and every request that was under way ends with [`Error::SessionLost`], which says
//!   whether it may have been executed. A new session is opened only when asked for ([`Client::reopen`]).
//!
//! # What to await, and what dropping does
//!
//! A request is sent when its future is polled for the first time; [`Client::send`] sends many without waiting for each. Dropping a
//! future of a write that was sent does not take it back. Dropping a [`CallHandle`] (or a future of [`Recipe::call`]) cancels
//! the call, if it still waits.
//!
//! # A part of the tree as the root
//!
//! [`Client::with_root`] gives a clone for which `/app` is `/`, and [`Options::root`] a client that has only that: what it sends is
//! below it, what it is told is stripped of it. Recipes know no root: [`Client::absolute`] makes the path that one is given, and
//! [`Client::lock`] does so by itself.
//!
//! Modules in reading order: [`limits`], `clock`, `root` (which texts are paths, and how they are changed on their way), `outbox` (between a watch and its reader), `session` (the state machine, and the argument for the promises above), `error`,
//! `credential`, `options`, `dial`, `race`, [`admin`] (commands to a cluster), `moving` (leaving a silent member), `wire`, `owner` (the one task of a client), `client` (the handle), then what can be asked: `tree`, `operations`, `scan`, `watch`, `cache`, [`wave`], `recipe`,
//! [`typed`], [`types`], `deploy`, `lock`.
#![forbid(unsafe_code)]

pub mod limits;

mod clock;

mod root;

mod outbox;

mod session;

pub mod wave;

mod error;

mod credential;

mod options;

mod dial;

mod race;

pub mod admin;
mod streams;

mod moving;

mod wire;

mod owner;

mod client;

mod tree;

mod operations;

mod recipe;

pub mod typed;

pub mod types;

mod access;
mod deploy;

mod lock;

mod snapshot;

mod scan;

mod quota;

mod watch;

mod cache;

#[cfg(test)]
mod loopback;

// What the macro generates names this crate from outside.
extern crate self as quorate_client;

pub use access::{AllRules, Verdict};
pub use bytes::Bytes;
pub use cache::{Cache, CacheMark, CacheRequest, CachedZnode};
pub use client::{Client, WriteHandle};
pub use credential::{Certificate, Credential};
pub use deploy::{History, Progress};
pub use error::{Attempt, ConnectError, Error};
pub use lock::{LockError, LockGuard, LockLost, LockOptions};
pub use operations::Met;
pub use options::{Authority, Options};
pub use outbox::{Change, Notice};
pub use recipe::{CallHandle, Called, Recipe, Types};
pub use scan::{Scan, ScanBroken, ScanRequest};
pub use session::{Loss, SessionKey, SessionState};
pub use snapshot::{Broken, SnapshotStream};
pub use tree::{Children, Create, CreateOperation, Created, Multi, Znode};
pub use watch::{Watch, WatchError, WatchStream};

/// Typed calls of a recipe, from its WIT.
///
/// `recipe!("path")` reads a WIT file or folder, relative to the crate; `recipe!(inline: "...")` takes the text itself. Behind it may
/// stand `, world: "name"` or `, interface: "name"`, which is needed only where the package has several. The package
/// `quorate:recipe` is known; other packages are looked for in the folder `deps`, as WIT's tools do.
///
/// Each exported interface becomes a module of its name, with
///
/// - its types: records and flags as structs, variants and enums as enums, in Rust's spelling of their names. `list<u8>` is
///   `Vec<u8>`, a `blob` [`Bytes`]; types of `quorate:recipe/types` are those of [`types`]. A record whose fields all have a default
///   has one.
/// - a handle of its name, made by `new(&client, "name of the deployment")`, with a method for each function. It gives a
///   [`Call`](typed::Call), which is awaited, started, or put into a [`Client::multi`]. What the function returns as `err` comes as
///   [`CallError::Recipe`](typed::CallError::Recipe).
///
/// Each call carries a hash of the function's type as this WIT has it. A service whose function is another one refuses it with
/// `signature-changed`, and nothing happens.
///
/// ```no_run
/// quorate_client::recipe!(inline: r#"
///     package example:tally@0.1.0;
///     interface tally {
///         variant failure { too-many(u64), closed }
///         vote: func(name: string, by: option<u64>) -> result<u64, failure>;
///     }
/// "#);
///
/// use quorate_client::{Client, typed::CallError};
/// use tally::{Failure, Tally};
///
/// async fn vote(client: &Client) -> Result<u64, CallError<Failure>> {
///     let tally = Tally::new(client, "tally");
///     match tally.vote("ann", Some(2)).await {
///         Err(CallError::Recipe(Failure::TooMany(most))) => tally.vote("ann", Some(most)).await,
///         other => other,
///     }
/// }
/// ```
///
/// What can not be called is an error of the compiler that names the function: handles of resources, futures, streams.
///
/// ```compile_fail
/// quorate_client::recipe!(inline: "package a:b; interface c { later: func() -> future<u8>; }");
/// ```
///
/// The generated code names this crate `quorate_client`: a dependency under another name does not do.
pub use quorate_client_macro::recipe;
pub use quorate_core as core;
pub use quorate_core::condition::Condition;
pub use quorate_core::query::scan::Scanned;
pub use quorate_core::query::subtree::Subtree;
pub use quorate_core::request::Fence;
pub use quorate_net::TrustAnchors;
pub use quorate_wire::message::query::{LogLine, RecipeLine, SnapshotPlace, Status};
pub use quorate_wire::message::watch::{Event, EventKind, Previous};
pub use quorate_wire::message::whoami::Whoami;
pub use quorate_wire::message::{Consistency, Query, Results};
pub use quorate_wire::value;
