//! Bytes: what clients and members say to each other, log entries, and the values of recipe calls. It knows how things
//! are written down, not what they do; sockets and files are not known here.
#![forbid(unsafe_code)]

pub mod entry;
pub mod link;
pub mod member;
pub mod message;
pub mod protocol;
pub mod snapshot;
pub mod value;
