//! What a lane does with much at once: nobody is cut off who reads, and nothing waits for ever.

use anyhow::{Result, bail};
use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::limits::DATA_BYTES_MAX;
use quorate_core::request::{Answer, Reply};
use quorate_wire::message::{Consistency, Query, Results, ServerMessage};

use crate::raw::{Rig, create, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_gets_many_large_answers_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let data = "x".repeat(DATA_BYTES_MAX);
    let request = client.start_bulk_write(&create("/large", &data)).await?;
    let (_, reply) = client.reply(request).await?;
    assert!(matches!(reply, Reply::Done(Answer::Created { .. })), "{reply:?}");
    for consistency in [Consistency::Stale, Consistency::Session, Consistency::Linearizable] {
        let mut requests = Vec::new();
        for _ in 0..24 {
            let query = Query::Get("/large".to_owned());
            requests.push(client.start_read(consistency, query).await?);
        }
        for request in requests {
            let ServerMessage::ReadReply { results, .. } = client.answer(request).await? else {
                bail!("no results")
            };
            assert!(matches!(results?, Results::Node { data, .. } if data.len() == DATA_BYTES_MAX));
        }
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_writes_at_once_are_all_answered_in_order() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    client.done(&create("/a", "")).await?;
    let mut requests = Vec::new();
    for _ in 0..3_000 {
        requests.push(client.start_write(&set("/a", "x")).await?);
    }
    for (before, request) in (0..).zip(requests) {
        let (_, reply) = client.reply(request).await?;
        let Reply::Done(Answer::Stat(stat)) = reply else { bail!("{reply:?}") };
        assert_eq!(stat.version, before + 1);
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_reads_behind_a_body_are_all_answered() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let body = quorate_wire::message::body::encode(&create("/a", "x"));
    let write = client.announce(1, body.len() as u64).await?;
    let mut requests = Vec::new();
    for _ in 0..3_000 {
        let query = Query::Get("/a".to_owned());
        requests.push(client.start_read(Consistency::Linearizable, query).await?);
    }
    client.send_bulk(1, body).await?;
    client.reply(write).await?;
    for request in requests {
        let ServerMessage::ReadReply { results, .. } = client.answer(request).await? else {
            bail!("no results")
        };
        // Behind the write in the lane's order, hence after it.
        results?;
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_nobody_asked_for_do_not_pile_up() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    client.announce(99, 3).await?;
    // The member acknowledges what it has room for; the lane ends before the last is taken.
    for number in 0..8 {
        if client.send_bulk(number, Bytes::from_static(b"abc")).await.is_err() {
            break;
        }
    }
    let told = client.receive().await?;
    assert!(
        matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::BadMessage),
        "{told:?}"
    );
    rig.client().await?.done(&create("/a", "")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_stat_of_a_read_are_of_one_moment() -> Result<()> {
    let rig = Rig::start().await?;
    let mut writer = rig.client().await?;
    let mut reader = rig.client().await?;
    writer.done(&create("/a", "0")).await?;
    let writing = tokio::spawn(async move {
        for version in 1..=2_000 {
            writer.done(&set("/a", &version.to_string())).await?;
        }
        anyhow::Ok(())
    });
    while !writing.is_finished() {
        let mut requests = Vec::new();
        for _ in 0..64 {
            let query = Query::Get("/a".to_owned());
            requests.push(reader.start_read(Consistency::Stale, query).await?);
        }
        for request in requests {
            let ServerMessage::ReadReply { results, .. } = reader.answer(request).await? else {
                bail!("no results")
            };
            let Results::Node { data, stat } = results? else { bail!("no node") };
            assert_eq!(std::str::from_utf8(&data)?, stat.version.to_string());
        }
    }
    writing.await??;
    rig.stop().await;
    Ok(())
}
