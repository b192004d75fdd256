//! A lost connection followed by a resend never executes twice (DESIGN D5).

use anyhow::{Result, bail};
use quorate_core::error::ErrorCode;
use quorate_core::request::{Answer, Reply};
use quorate_wire::message::{Consistency, Query, Results, ServerMessage};

use crate::raw::{Raw, Rig, create, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_before_the_reply_and_a_resend_execute_once() -> Result<()> {
    let rig = Rig::start().await?;
    let mut watcher = rig.client().await?;
    watcher.done(&create("/a", "")).await?;
    let mut client = rig.client().await?;
    // Sent, and the connection cut at once: whether it was executed is not known here.
    client.start_write(&set("/a", "x")).await?;
    let resume = client.resume();
    client.connection.close(0u32, "cut");
    let mut client = Raw::connect(&rig, resume).await?;
    let request = client.send_write(1, &set("/a", "x")).await?;
    let (_, reply) = client.reply(request).await?;
    let Reply::Done(Answer::Stat(stat)) = reply else { bail!("{reply:?}") };
    assert_eq!(stat.version, 1);
    let read = watcher.read(Consistency::Linearizable, Query::Get("/a".to_owned())).await?;
    assert!(matches!(read, Results::Node { stat, .. } if stat.version == 1), "{read:?}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_gets_the_same_reply_also_after_a_restart() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let first = client.write(&create("/a", "x")).await?;
    let resume = client.resume();
    rig.restart().await?;
    let mut client = Raw::connect(&rig, resume).await?;
    let request = client.send_write(1, &create("/a", "x")).await?;
    assert_eq!(client.reply(request).await?, first);
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_answered_with_where_to_resend_from() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let request = client.send_write(3, &create("/a", "")).await?;
    let answer = client.answer(request).await?;
    let ServerMessage::NotExecuted { refusal, .. } = answer else { bail!("{answer:?}") };
    assert_eq!(refusal.code, ErrorCode::ResendFrom);
    assert!(refusal.message.contains("resend from 1"), "{refusal}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_connection_takes_the_session_over() -> Result<()> {
    let rig = Rig::start().await?;
    let mut old = rig.client().await?;
    let mut new = Raw::connect(&rig, old.resume()).await?;
    let told = old.receive().await?;
    assert!(
        matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::SessionMoved),
        "{told:?}"
    );
    new.done(&create("/a", "")).await?;
    rig.stop().await;
    Ok(())
}
