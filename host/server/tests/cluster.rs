//! Clusters of real processes, with faults: members that are killed, paused, cut off or started wrongly, and what clients see
//! of that. It knows what the commands and the client library say, and nothing of how members work.
//!
//! A cluster has three or five processes, and cargo runs as many tests at once as the machine has cores; tests that load theirs run
//! one after the other ([`harness::one_at_a_time`]).
#![expect(
    clippy::print_stdout,
    reason = "what a test has measured, and the members' logs when it fails"
)]

#[path = "cluster/audit.rs"]
mod audit;
#[path = "cluster/bad_input.rs"]
mod bad_input;
#[path = "cluster/certificates.rs"]
mod certificates;
#[path = "cluster/harness.rs"]
mod cluster;
#[path = "cluster/disk.rs"]
mod disk;
#[path = "cluster/divergence.rs"]
mod divergence;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cli/harness.rs"]
#[expect(dead_code, reason = "the tests of the command line use all of it")]
mod harness;
#[path = "cluster/histories.rs"]
mod histories;
#[path = "cluster/kernel.rs"]
mod kernel;
#[path = "cluster/levels.rs"]
mod levels;
#[path = "cluster/load.rs"]
mod load;
#[path = "cluster/members.rs"]
mod members;
#[path = "cli/namespace.rs"]
mod namespace;
#[path = "cluster/node.rs"]
mod node;
#[path = "cluster/reads.rs"]
mod reads;
#[path = "cli/rounds.rs"]
mod rounds;
#[path = "cluster/sessions.rs"]
mod sessions;
#[path = "cluster/silence.rs"]
mod silence;
#[path = "cli/small_disk.rs"]
mod small_disk;
