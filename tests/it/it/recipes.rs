//! Recipes through the whole service: deployed, called, waiting, and following a holder that dies.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quorate_core::deployment::Manifest;
use quorate_core::error::ErrorCode;
use quorate_core::ids::WriteNumber;
use quorate_core::path::Path;
use quorate_core::request::{Answer, Body, Deploy, Reply};
use quorate_wire::message::{Attach, Consistency, Query, ServerMessage};
use quorate_wire::value::Value;

use crate::raw::{Raw, Rig, digest};

/// A component that `make recipes` has built.
pub fn component(name: &str) -> Result<Vec<u8>> {
    let directory = match std::env::var_os("QUORATE_RECIPES") {
        Some(directory) => PathBuf::from(directory),
        // <target>/<profile>/deps/<this test>
        None => std::env::current_exe()?
            .ancestors()
            .nth(3)
            .context("no target directory")?
            .join("recipes"),
    };
    let file = directory.join(format!("{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("{}; run `make recipes`", file.display()))
}

pub async fn deploy(client: &mut Raw, name: &str) -> Result<u64> {
    let component = component(name)?;
    let deploy = Deploy {
        recipe: name.to_owned(),
        component: digest(&component),
        manifest: Manifest::for_root(Path::parse(&format!("/recipes/{name}"))?),
        breaking_allowed: false,
    };
    client.deploy(deploy, &component).await
}

pub fn text(value: &str) -> Value {
    Value::String(value.into())
}

pub fn no_options() -> Value {
    Value::Record(vec![Value::Option(None), Value::Option(None)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_deployed_called_and_still_there_after_a_restart() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut client = rig.client().await?;
    assert_eq!(deploy(&mut client, "counter").await?, 1);
    let add = client.call_body("counter", "add", &[text("/hits"), Value::S64(1)]).await?;
    let mut last = None;
    for _ in 0..10 {
        last = Some(client.done(&add).await?);
    }
    let resume = client.resume();
    rig.restart().await?;
    let mut client = Raw::connect(&rig, resume).await?;
    let again = client.done(&add).await?;
    assert_ne!(last, Some(again.clone()));
    // ok(11): the discriminant of ok, then 11 as zigzag.
    assert_eq!(again, Answer::Called(bytes::Bytes::from_static(&[0, 22])));
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_gets_the_lock_when_its_holder_closes_and_not_before() -> Result<()> {
    let rig = Rig::start().await?;
    let mut one = rig.client().await?;
    let mut two = rig.client().await?;
    deploy(&mut one, "lock").await?;
    let acquire = one.call_body("lock", "acquire", &[text("/a"), no_options()]).await?;
    let (first, reply) = one.write(&acquire).await?;
    assert!(matches!(reply, Reply::Done(Answer::Called(_))), "{reply:?}");
    let waiting = two.start_write(&acquire).await?;
    // Confirmed behind the call in the lane's order: the call has been taken in, and has not been answered.
    two.heartbeat().await?;
    assert!(two.aside.is_empty(), "{:?}", two.aside);
    one.done(&Body::CloseSession).await?;
    let (second, reply) = two.reply(waiting).await?;
    let Reply::Done(Answer::Called(value)) = reply else { bail!("{reply:?}") };
    assert_eq!(value[0], 0, "ok");
    assert!(second > first, "fencing tokens increase");
    rig.stop().await;
    Ok(())
}

/// Reads wait for earlier writes, and a call that waits is as good as done.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_and_is_sent_again_on_a_new_lane_holds_up_no_reads() -> Result<()> {
    let rig = Rig::start().await?;
    let mut one = rig.client().await?;
    let mut two = rig.client().await?;
    deploy(&mut one, "lock").await?;
    let acquire = one.call_body("lock", "acquire", &[text("/a"), no_options()]).await?;
    one.done(&acquire).await?;
    two.start_write(&acquire).await?;
    let node = || Query::Stat("/recipes".to_owned());
    two.read(Consistency::Session, node()).await?;
    let mut two = Raw::connect(&rig, two.resume()).await?;
    two.send_write(1, &acquire).await?;
    for consistency in [Consistency::Session, Consistency::Linearizable] {
        two.read(consistency, node()).await?;
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_goes_on_waiting_across_a_restart() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut one = rig.client().await?;
    let mut two = rig.client().await?;
    deploy(&mut one, "lock").await?;
    let acquire = one.call_body("lock", "acquire", &[text("/a"), no_options()]).await?;
    one.done(&acquire).await?;
    two.start_write(&acquire).await?;
    two.heartbeat().await?;
    let (one_again, two_again) = (one.resume(), two.resume());
    rig.restart().await?;
    let mut two = Raw::connect(&rig, two_again).await?;
    assert_eq!(two.welcome.last_write.0, 1, "the waiting call was executed before");
    let waiting = two.send_write(1, &acquire).await?;
    two.heartbeat().await?;
    assert!(two.aside.is_empty(), "{:?}", two.aside);
    let mut one = Raw::connect(&rig, one_again).await?;
    one.done(&Body::CloseSession).await?;
    let (_, reply) = two.reply(waiting).await?;
    assert!(matches!(reply, Reply::Done(Answer::Called(ref value)) if value[0] == 0), "{reply:?}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_gets_the_lock_when_its_holder_falls_silent() -> Result<()> {
    let rig = Rig::start().await?;
    let mut one =
        Raw::connect(&rig, Attach::New { timeout_ms: 1_000, credentials: Vec::new() }).await?;
    let mut two =
        Raw::connect(&rig, Attach::New { timeout_ms: 60_000, credentials: Vec::new() }).await?;
    deploy(&mut two, "lock").await?;
    let acquire = two.call_body("lock", "acquire", &[text("/a"), no_options()]).await?;
    let (first, _) = one.write(&acquire).await?;
    let waiting = two.start_write(&acquire).await?;
    let (second, reply) = two.reply(waiting).await?;
    assert!(matches!(reply, Reply::Done(Answer::Called(ref value)) if value[0] == 0), "{reply:?}");
    assert!(second > first, "fencing tokens increase");
    // The silent one learns of it.
    let told = one.heartbeat().await?;
    assert!(
        matches!(told, ServerMessage::Unconfirmed { ref refusal, .. } if refusal.code == ErrorCode::SessionEnded),
        "{told:?}"
    );
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_ends_and_leaves_no_place_in_the_queue() -> Result<()> {
    let rig = Rig::start().await?;
    let mut one = rig.client().await?;
    let mut two = rig.client().await?;
    let mut three = rig.client().await?;
    deploy(&mut one, "lock").await?;
    let acquire = one.call_body("lock", "acquire", &[text("/a"), no_options()]).await?;
    one.done(&acquire).await?;
    let cancelled = two.start_write(&acquire).await?;
    two.heartbeat().await?;
    let waiting = three.start_write(&acquire).await?;
    three.heartbeat().await?;
    two.done(&Body::Cancel(WriteNumber(1))).await?;
    let (_, reply) = two.reply(cancelled).await?;
    // err(cancelled): the third case of the lock's error.
    let Reply::Done(Answer::Called(value)) = reply else { bail!("{reply:?}") };
    assert_eq!(&value[..], [1, 2]);
    one.done(&Body::CloseSession).await?;
    let (_, reply) = three.reply(waiting).await?;
    assert!(matches!(reply, Reply::Done(Answer::Called(ref value)) if value[0] == 0), "{reply:?}");
    rig.stop().await;
    Ok(())
}
