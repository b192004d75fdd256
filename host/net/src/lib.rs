//! QUIC for Quorate: certificates, endpoints, connections, lanes of frames and bulk streams. It
//! moves bytes and does not know what is in them: no session, no request, nothing of a cluster but
//! the number in a member's certificate.
//!
//! This is the only crate that names quinn, rustls and rcgen; none of their types is in its public
//! API. The modules in reading order: [`limits`], [`close`], [`frame`], [`identity`] (with
//! `authority`, which makes certificates, and `verify`), [`issue`], [`describe`] (with `der`), `reset`, `tls` and `transport` (settings), [`lane`]
//! (with `budget`), [`bulk`], [`frames`], [`connection`], [`client`], [`dialer`], [`server`].
//!
//! Ownership: each task that this crate spawns is held by a value whose consuming `finish`,
//! `shutdown` or `close` awaits its end. [`server::Server`] owns the task that accepts,
//! [`lane::LaneSender`] owns the one that writes; nothing else here spawns. (quinn spawns a task
//! for each endpoint and connection; they end when the last handle has gone.) A gateway needs one
//! task per connection of its own, which owns the connection, its lane and its bulk streams.
#![forbid(unsafe_code)]

pub mod limits;

pub mod close;

pub mod frame;

pub mod identity;

mod verify;

mod authority;
mod der;

mod files;

pub mod issue;

pub mod describe;

mod reset;
mod tls;
mod transport;

mod budget;

pub mod lane;

pub mod bulk;

pub mod frames;

pub mod connection;

pub mod client;

pub mod dialer;

pub mod server;

pub use budget::QueueBudget;
pub use bulk::{BulkError, BulkReceiver, BulkSender};
pub use client::{Client, ClientConfig, ConnectError};
pub use close::{CloseCode, CloseReason};
pub use connection::Connection;
pub use dialer::Dialer;
pub use frame::FrameTooLong;
pub use frames::{FrameError, FrameReceiver};
pub use identity::{
    Identity, IdentityError, IdentityFiles, IdentityOrigin, ServerIdentity, TrustAnchors,
    member_name,
};
pub use lane::{LaneError, LaneHandle, LaneLimits, LaneReceiver, LaneSender, TrySendError};
pub use server::{BindError, Port, Server, ServerConfig, ServerLoad, ShutdownTimedOut};
pub use tls::Protocol;
