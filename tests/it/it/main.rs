//! The one integration binary: a member in this process, on a disk of its own, spoken to over loopback QUIC: in the raw
//! messages of the protocol, so that what a client library would hide is seen, and by the client library.
#![allow(clippy::unwrap_used, reason = "tests")]

mod proxy;
mod raw;

mod authentication;
mod client;
mod following;
mod hostile;
mod killed;
mod lanes;
mod moved;
mod operations;
mod protocol;
mod reading;
mod recipes;
mod resend;
mod rights;
mod scans;
mod snapshots;
mod starting;
mod typed;
mod watching;
