//! Drives the binary as a user does: servers with directories of their own, commands in processes of their own. It knows
//! what the commands print, and nothing of how they work.

#[path = "cli/access.rs"]
mod access;
#[path = "cli/archive.rs"]
mod archive;
#[path = "cli/audit.rs"]
mod audit;
#[path = "cli/auth.rs"]
mod auth;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/cert.rs"]
mod cert;
#[path = "cli/dev.rs"]
mod dev;
#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/histories.rs"]
mod histories;
#[path = "cli/lock.rs"]
mod lock;
#[path = "cli/namespace.rs"]
mod namespace;
#[path = "cli/quota.rs"]
mod quota;
#[path = "cli/recipe.rs"]
mod recipe;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/root.rs"]
mod root;
#[path = "cli/rounds.rs"]
mod rounds;
#[path = "cli/small_disk.rs"]
mod small_disk;
#[path = "cli/snapshot.rs"]
mod snapshot;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/tree.rs"]
mod tree;
#[path = "cli/watch.rs"]
mod watch;
