//! The client library against a real member: what it hides when connections break, and what it says when it can not.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_client::core::condition::Condition;
use quorate_client::core::error::ErrorCode;
use quorate_client::core::request::{Answer, Body, Operation, Reply};
use quorate_client::{
    Authority, Client, Error, LockError, LockLost, LockOptions, Loss, Options, SessionState,
};
use quorate_gateway::member::{Member, Options as MemberOptions};
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::raw::{PATIENCE, Rig};
use crate::recipes::deploy;

/// Of sessions that are to be lost.
const SHORT: Duration = Duration::from_millis(1_500);

pub async fn soon<T>(what: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, what).await.context("it takes too long")
}

fn options(rig: &Rig, address: SocketAddr) -> Result<Options> {
    let authority = Authority::Pem(std::fs::read(rig.authority())?);
    Ok(Options::new([address.to_string()], authority))
}

pub async fn connect(rig: &Rig) -> Result<Client> {
    Ok(Client::connect(options(rig, rig.address())?).await?)
}

/// A client whose way to the member can be cut.
async fn behind(rig: &Rig, proxy: &Proxy) -> Result<Client> {
    let mut options = options(rig, proxy.address)?;
    options.session_timeout = Some(SHORT);
    Ok(Client::connect(options).await?)
}

async fn rig_with_lock() -> Result<Rig> {
    let rig = Rig::start().await?;
    deploy(&mut rig.client().await?, "lock").await?;
    Ok(rig)
}

/// A member that clients know by the address of the proxy only.
async fn rig_behind_proxy() -> Result<(Rig, Proxy)> {
    let proxy = Proxy::start().await?;
    let directory = tempfile::tempdir()?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = MemberOptions::new(directory.path().join("data"), listen);
    options.advertise = vec![proxy.address.to_string()];
    let rig = Rig { directory, member: Some(Member::start(options).await?) };
    proxy.lead_to(rig.address());
    deploy(&mut rig.client().await?, "lock").await?;
    Ok((rig, proxy))
}

fn set(path: &str) -> Body {
    Body::Single(Operation::Set {
        path: path.to_owned(),
        data: bytes::Bytes::from_static(b"x"),
        condition: Condition::ANY,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_under_way_while_the_member_restarts_are_executed_once_and_in_order() -> Result<()> {
    let mut rig = Rig::start().await?;
    let client = connect(&rig).await?;
    client.create("/a").await?;
    let mut sent = Vec::new();
    for _ in 0..500 {
        sent.push(client.send(set("/a")).await?);
    }
    let listen = rig.address();
    rig.member.take().context("running")?.shutdown().await;
    for _ in 0..500 {
        sent.push(client.send(set("/a")).await?);
    }
    let data = rig.directory.path().join("data");
    rig.member = Some(Member::start(MemberOptions::new(data, listen)).await?);
    for (version, write) in (1..).zip(sent) {
        let (_, reply) = soon(write).await??;
        let Reply::Done(Answer::Stat(stat)) = reply else { anyhow::bail!("{reply:?}") };
        assert_eq!(stat.version, version);
    }
    assert_eq!(client.get("/a").await?.stat.version, 1_000);
    client.close().await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_for_a_while_costs_neither_the_session_nor_a_write() -> Result<()> {
    let (rig, proxy) = rig_behind_proxy().await?;
    let mut options = options(&rig, proxy.address)?;
    options.session_timeout = Some(Duration::from_secs(10));
    let client = Client::connect(options).await?;
    client.create("/a").ephemeral().await?;
    proxy.cut(true);
    let write = client.send(set("/a")).await?;
    let mut state = client.state();
    soon(state.wait_for(|state| *state == SessionState::Suspended)).await??;
    proxy.cut(false);
    let (_, reply) = soon(write).await??;
    assert!(matches!(reply, Reply::Done(Answer::Stat(ref stat)) if stat.version == 1), "{reply:?}");
    soon(state.wait_for(|state| *state == SessionState::Connected)).await??;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_known_to_be_lost_before_the_service_ends_it() -> Result<()> {
    let (rig, proxy) = rig_behind_proxy().await?;
    let (cut_off, other) = (behind(&rig, &proxy).await?, connect(&rig).await?);
    cut_off.create("/mine").ephemeral().await?;
    proxy.cut(true);
    let write = cut_off.send(set("/mine")).await?;
    let loss = soon(cut_off.lost()).await?;
    assert!(matches!(loss, Loss::Silence { .. }), "{loss}");
    assert!(other.exists("/mine").await?.is_some(), "the service ended it first");
    let error = soon(write).await?.err().context("nobody answered")?;
    assert!(matches!(error, Error::SessionLost { may_have_happened: true, .. }), "{error}");
    let next = cut_off.create("/more").await.err().context("it is over")?;
    assert!(!next.may_have_happened(), "{next}");
    soon(async {
        while other.exists("/mine").await?.is_some() {}
        anyhow::Ok(())
    })
    .await??;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_knows_before_the_next_one_has_the_lock() -> Result<()> {
    let (rig, proxy) = rig_behind_proxy().await?;
    let (cut_off, other) = (behind(&rig, &proxy).await?, connect(&rig).await?);
    let held = soon(cut_off.lock("/a", LockOptions::default())).await??;
    let next = other.lock("/a", LockOptions::default());
    tokio::pin!(next);
    proxy.cut(true);
    let lost = timeout(PATIENCE, async {
        tokio::select! {
            biased;
            lost = held.lost() => Ok(lost),
            granted = &mut next => Err(anyhow::anyhow!("granted first: {granted:?}")),
        }
    });
    assert!(matches!(lost.await??, LockLost::Session(Loss::Silence { .. })));
    let next = soon(next).await??;
    assert!(next.token() > held.token());
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_an_operator_takes_away_is_known_to_be_lost() -> Result<()> {
    let rig = rig_with_lock().await?;
    let (one, operator) = (connect(&rig).await?, connect(&rig).await?);
    for _ in 0..2 {
        let held = soon(one.lock("/a/b", LockOptions::default())).await??;
        let mut lost = Box::pin(held.lost());
        assert!(timeout(Duration::from_millis(50), &mut lost).await.is_err(), "it is held");
        let line = "/recipes/lock/a/b/_lock";
        let place = operator.children(line).all().await?.pop().context("the holder's place")?;
        operator.delete(&format!("{line}/{place}"), None).await?;
        assert_eq!(soon(lost).await?, LockLost::TakenAway);
        assert_eq!(soon(held.release()).await?, Err(LockError::NotHeld));
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_recipe_is_removed_is_known_to_be_lost() -> Result<()> {
    let rig = rig_with_lock().await?;
    let (one, operator) = (connect(&rig).await?, connect(&rig).await?);
    let held = soon(one.lock("/a", LockOptions::default())).await??;
    let mut lost = Box::pin(held.lost());
    assert!(timeout(Duration::from_millis(50), &mut lost).await.is_err(), "it is held");
    operator.done(Body::RemoveRecipe("lock".to_owned())).await?;
    let lost = soon(lost).await?;
    assert!(
        matches!(&lost, LockLost::RecipeGone(refusal) if refusal.code == ErrorCode::NoRecipe),
        "{lost}"
    );
    rig.stop().await;
    Ok(())
}

#[path = "../../../sdk/client/examples/lock.rs"]
#[allow(dead_code, reason = "its `main` is for a server that somebody has started")]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_readme_does_what_it_says() -> Result<()> {
    let rig = rig_with_lock().await?;
    deploy(&mut rig.client().await?, "counter").await?;
    let client = connect(&rig).await?;
    for runs in [1, 2] {
        let ran = example::run(options(&rig, rig.address())?).await;
        ran.map_err(|error| anyhow::anyhow!("{error}"))?;
        assert_eq!(&client.get("/config/limit").await?.data[..], b"11");
        let counter = crate::typed::counter::Counter::new(&client, "counter");
        assert_eq!(counter.get("/runs").await?, runs);
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_reads_at_once_are_all_answered() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    client.create("/a").data("x").await?;
    let reads = (0..3_000).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.get("/a").await })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(&soon(read).await???.data[..], b"x");
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_wait_for_room_or_are_refused_with_the_limit() -> Result<()> {
    let rig = rig_with_lock().await?;
    let (one, two) = (connect(&rig).await?, connect(&rig).await?);
    let held = soon(one.lock("/a", LockOptions::default())).await??;
    let lock = crate::typed::lock::Lock::new(&two, "lock");
    let mut parked = Vec::new();
    for _ in 0..quorate_client::limits::REQUESTS_MAX {
        parked.push(lock.await_loss("/a", held.token()).start().await?);
    }
    let refused = two.try_send(set("/a")).await.err().context("there is no room")?;
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert!(refused.to_string().contains("4096"), "{refused}");
    let waiting = lock.holder("/a").into_future();
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "there is no room");
    held.release().await?;
    for call in parked {
        soon(call).await??;
    }
    assert_eq!(soon(waiting).await??, None);
    let (_, reply) = soon(two.try_send(set("/recipes/lock")).await?).await??;
    assert!(matches!(reply, Reply::Done(Answer::Stat(_))), "there is room again: {reply:?}");
    two.close().await?;
    rig.stop().await;
    Ok(())
}
