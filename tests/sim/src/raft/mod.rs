//! openraft over the simulation: its storage on a simulated disk and a tree in memory, its network over simulated
//! connections, with the configuration of host/raft.

pub mod disk;
pub mod log_store;
pub mod machine;
pub mod network;
pub mod transfer;
pub mod types;
