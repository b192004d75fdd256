//! The semantic core: what a request does to the tree, and how a transaction changes it.
//!
//! It never looks at the world: no clock, no randomness, no IO, no async, no unordered iteration. Time and the applied
//! state come in as arguments, transactions and replies go out as values. A refused operation is a reply, not an `Err`.
//!
//! Reading order: the values ([`ids`], [`limits`], [`error`], [`codec`], [`level`], [`path`], [`access`]), the records and where they stand
//! ([`znode`], [`quota`], [`session`], [`principal`], [`deployment`], [`condition`], [`key`], [`read`], [`room`], [`draft`]), what is asked and answered ([`request`]), what
//! changes ([`change`], [`transaction`], [`apply`]), what can be read ([`query`]) and watched ([`watch`]), and how a request becomes a transaction ([`txn`],
//! [`recipe`], [`execute`]).
#![forbid(unsafe_code)]

pub mod access;
pub mod codec;
pub mod error;
pub mod ids;
pub mod level;
pub mod limits;
pub mod path;

pub mod deployment;
pub mod principal;
pub mod quota;
pub mod session;
pub mod znode;

pub mod condition;
pub mod draft;
pub mod key;
pub mod read;
pub mod room;

pub mod change;
pub mod request;
pub mod transaction;

pub mod apply;
pub mod query;
pub mod watch;

pub mod execute;
pub mod recipe;
pub mod txn;
