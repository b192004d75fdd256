//! The tree, a recipe by its types, and a lock: what README.md shows. It does not know what the lock protects.

use quorate_client::{Authority, Client, Error, LockOptions, Options};

// From the recipe's WIT: a module for each interface, here `counter::Counter`.
quorate_client::recipe!("../../recipes/counter/wit");

/// Counts a run, and deploys while it holds the lock.
pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = Client::connect(options).await?;

    if client.exists("/config/limit").await?.is_none() {
        client.create("/config/limit").data("10").parents().await?;
    }
    let limit = client.get("/config/limit").await?;
    client.set("/config/limit", "11", Some(limit.stat.version)).await?;

    let counter = counter::Counter::new(&client, "counter");
    let _runs: i64 = counter.add("/runs", 1).await?;

    let guard = client.lock("/deploys/web", LockOptions::default()).await?;
    tokio::select! {
        lost = guard.lost() => return Err(lost.into()),
        deployed = deploy(&client, guard.token()) => deployed?,
    }
    guard.release().await?;
    client.close().await?;
    Ok(())
}

/// Shows the token to whatever is deployed to, which refuses one that is lower than the last that it saw.
async fn deploy(client: &Client, token: u64) -> Result<(), Error> {
    client.create("/deployed").data(token.to_string()).sequential().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let authority = Authority::File(std::env::var("QUORATE_CA")?.into());
    run(Options::new(["127.0.0.1:4747"], authority)).await
}
