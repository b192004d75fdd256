//! Several members over QUIC on loopback: elections, replication, members that die and come back, changes of members, older
//! copies of directories.

#[path = "../node/rig.rs"]
#[expect(dead_code, reason = "shared with the tests of one member")]
mod rig;

mod changes;
mod copies;
mod elections;
mod trees;
mod world;
