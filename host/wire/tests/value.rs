//! Tests of the value encoding: its document, its refusals, and random values and bytes. It does
//! not measure memory: that needs a process of its own (value_allocation.rs).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "value/compatible.rs"]
mod compatible;
#[path = "value/describe.rs"]
mod describe;
#[path = "value/document.rs"]
mod document;
#[path = "value/properties.rs"]
mod properties;
#[path = "value/refuse.rs"]
mod refuse;
#[path = "value/samples.rs"]
mod samples;
#[path = "value/show.rs"]
mod show;
#[path = "value/strategies.rs"]
mod strategies;
