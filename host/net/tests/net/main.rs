//! quorate-net over real loopback QUIC, from outside: what it promises to gateways and clients, and
//! what it makes of hostile peers. No fixed ports; each test has a server of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod bulks;
mod clients;
mod endpoints;
mod hostile;
mod identities;
mod lanes;
mod members;
mod restarts;
mod rig;
