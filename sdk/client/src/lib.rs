//! The async client library of Quorate: a session that survives connections and leaders, the tree, and recipes.
//!
//! ```no_run
//! use quorate_client::{Authority, Client, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let authority = Authority::File("data/ca.pem".into());
//! let client = Client::connect(Options::new(["localhost:7400"], authority)).await?;
//!
//! client.create("/config/limit").data("10").parents().await?;
//! let node = client.get("/config/limit").await?;
//! client.set("/config/limit", "11", Some(node.stat.version)).await?;
//!
//! // Recipes, by values or as text.
//! let hits = client.recipe("counter").call_wave("add(\"/hits\", 1)").await?;
//! println!("{hits}");
//!
//! // A lock, with its fencing token.
//! let guard = client.lock("/jobs/nightly", Default::default()).await?;
//! tokio::select! {
//!     lost = guard.lost() => return Err(lost.into()),
//!     () = work(guard.token()) => guard.release().await?,
//! }
//!
//! client.close().await?;
//! # Ok(())
//! # }
//! # async fn work(token: u64) {}
//! ```
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
//! Modules in reading order: [`limits`], `clock`, `session` (the state machine, and the argument for the promises above), `error`,
//! `options`, `dial`, `owner` (the one task of a client), `client` (the handle), then what can be asked: `tree`, [`wave`], `recipe`,
//! [`typed`], [`types`], `deploy`, `lock`.
#![forbid(unsafe_code)]

pub mod limits;

mod clock;

mod session;

pub mod wave;

mod error;

mod options;

mod dial;

mod owner;

mod client;

mod tree;

mod recipe;

pub mod typed;

pub mod types;

mod deploy;

mod lock;

#[cfg(test)]
mod loopback;

// What the macro generates names this crate from outside.
extern crate self as quorate_client;

pub use bytes::Bytes;
pub use client::{Client, WriteHandle};
pub use deploy::{History, Progress};
pub use error::{Attempt, ConnectError, Error};
pub use lock::{LockError, LockGuard, LockLost, LockOptions};
pub use options::{Authority, Options};
pub use recipe::{CallHandle, Called, Recipe, Types};
pub use session::{Loss, SessionKey, SessionState};
pub use tree::{Children, Create, CreateOperation, Created, Multi, Znode};

pub use quorate_client_macro::recipe;
pub use quorate_core as core;
pub use quorate_net::TrustAnchors;
pub use quorate_wire::message::query::{LogLine, RecipeLine, Status};
pub use quorate_wire::message::{Consistency, Query, Results};
pub use quorate_wire::value;
