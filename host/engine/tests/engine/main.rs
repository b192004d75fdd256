//! The engine, through its public interface: guests of a few lines, called on a tree in memory.

mod admission;
mod cache;
mod guests;
mod instances;
mod limits;
mod properties;
mod reading;
mod service;
mod support;
mod tree;
mod values;
mod waiting;
mod wasi;
mod wasi_guests;
