//! The commands and who runs each. A module owns one family of them.

pub mod acl;
mod archive;
pub mod auth;
pub mod bench;
pub mod call;
pub mod cert;
pub mod cluster;
pub mod completions;
mod conditions;
pub mod demo;
pub mod dev;
mod dev_cluster;
pub mod draw;
pub mod export;
pub mod import;
mod levels;
pub mod lock;
pub mod multi;
pub mod quota;
pub mod recipe;
pub mod rm;
mod scan;
pub mod serve;
pub mod snapshot;
pub mod status;
mod subtree;
pub mod tree;
mod walk;
pub mod watch;

use std::process::ExitCode;

use crate::connect::Global;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run one member on this machine, with the built-in recipes
    Dev(dev::Dev),
    /// Run a member by a configuration file
    Serve(serve::Serve),
    /// List the children of a znode
    Ls(tree::Ls),
    /// Write a znode's data to standard output
    Get(tree::Get),
    /// Set a znode's data
    Set(tree::Set),
    /// Create a znode
    Create(tree::Create),
    /// Delete a znode
    Rm(rm::Rm),
    /// Show a znode's stat
    Stat(tree::Stat),
    /// Show what happens to a znode or a subtree, as it happens
    Watch(watch::Watch),
    /// Show and set the access list of a znode
    Acl(acl::Acl),
    /// Draw a znode and what is below it
    Tree(draw::Draw),
    /// Do several operations, all or none
    Multi(multi::Multi),
    /// Write a znode and what is below it to a file, as JSON lines
    Export(export::Export),
    /// Make znodes of what `export` has written
    Import(import::Import),
    /// Write, test, deploy and look after recipes
    Recipe(recipe::Recipe),
    /// Call a function of a recipe
    Call(call::Call),
    /// Run a command while a lock is held
    Lock(lock::Lock),
    /// Show how the member is
    Status(status::Status),
    /// Look after a cluster: its members, and how they are
    Cluster(cluster::Cluster),
    /// Bound how much may be in subtrees, and how fast they are written
    Quota(quota::Quota),
    /// Who you are for the service, tokens, and who may do what: rules on subtrees, recipes and the cluster
    Auth(auth::Auth),
    /// Make certificates for members and clients, and show them
    Cert(cert::Cert),
    /// Save the tree to a file, look at it, make a new cluster of it
    Snapshot(snapshot::Snapshot),
    /// Measure
    Bench(bench::Bench),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Runs one.
///
/// # Errors
/// What `failure` knows how to report.
pub async fn run(command: Command, global: &Global) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dev(dev) => dev.run(global).await,
        Command::Serve(serve) => serve.run(global).await,
        Command::Ls(ls) => ls.run(global).await,
        Command::Get(get) => get.run(global).await,
        Command::Set(set) => set.run(global).await,
        Command::Create(create) => create.run(global).await,
        Command::Rm(rm) => rm.run(global).await,
        Command::Stat(stat) => stat.run(global).await,
        Command::Watch(watch) => watch.run(global).await,
        Command::Acl(acl) => acl.run(global).await,
        Command::Multi(multi) => multi.run(global).await,
        Command::Tree(draw) => draw.run(global).await,
        Command::Export(export) => Box::pin(export.run(global)).await,
        Command::Import(import) => Box::pin(import.run(global)).await,
        Command::Recipe(recipe) => recipe.run(global).await,
        Command::Call(call) => call.run(global).await,
        Command::Lock(lock) => lock.run(global).await,
        Command::Status(status) => status.run(global).await,
        Command::Cluster(cluster) => cluster.run(global).await,
        Command::Quota(quota) => quota.run(global).await,
        Command::Auth(auth) => auth.run(global).await,
        Command::Cert(cert) => cert.run(global),
        Command::Snapshot(snapshot) => snapshot.run(global).await,
        Command::Bench(bench) => Box::pin(bench.run(global)).await,
        Command::Completions(completions) => completions.run(),
    }
}
