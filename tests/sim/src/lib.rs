//! The simulator: whole clusters in one thread, from one seed. Members run the product's core, sequencer and entry codec,
//! and openraft on its simulation runtime; network, disks, clocks, gateways and clients are models, and everything that can
//! go wrong goes wrong. What must hold stands in `check`, a file for each invariant.
//!
//! Reading order: chance and time ([`random`], [`process`], [`runtime`], [`signal`]), the network ([`wire`]), raft over them
//! ([`raft`]), a member ([`member`]), clients ([`lane`], [`client`], [`recipes`]), what goes wrong ([`faults`]), what must hold
//! ([`check`], with [`calm`]), what all share ([`world`]), ways to be wrong on purpose ([`mutant`]), and one run of it all ([`run`]).

pub mod calm;
pub mod check;
pub mod client;
pub mod faults;
pub mod lane;
pub mod member;
pub mod mutant;
pub mod process;
pub mod raft;
pub mod random;
pub mod recipes;
pub mod run;
pub mod runtime;
pub mod signal;
pub mod wire;
pub mod world;
