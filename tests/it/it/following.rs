//! Watches and caches of the client library against a real member: what they tell when it is restarted, and of the past.

use anyhow::{Context, Result, bail};
use quorate_client::core::condition::Condition;
use quorate_client::core::ids::Zxid;
use quorate_client::core::request::{Body, Operation};
use quorate_client::{Change, Client, EventKind, Notice, Previous, WatchError, WatchStream};
use quorate_gateway::member::{Member, Options as MemberOptions};

use crate::client::{connect, soon};
use crate::raw::Rig;

async fn change(stream: &mut WatchStream) -> Result<Change> {
    match soon(stream.next()).await? {
        Some(Ok(Notice::Change(change))) => Ok(change),
        other => bail!("a change and not {other:?}"),
    }
}

fn set(path: &str, data: String) -> Body {
    let data = data.into();
    Body::Single(Operation::Set { path: path.to_owned(), data, condition: Condition::ANY })
}

async fn restart(rig: &mut Rig) -> Result<()> {
    let listen = rig.address();
    rig.member.take().context("running")?.shutdown().await;
    let data = rig.directory.path().join("data");
    rig.member = Some(Member::start(MemberOptions::new(data, listen)).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change_once_and_in_order_while_the_member_restarts() -> Result<()> {
    let mut rig = Rig::start().await?;
    let (client, other) = (connect(&rig).await?, connect(&rig).await?);
    let created = client.create("/a").await?;
    let mut watching = client.watch("/a").with_data().with_previous().open().await?;
    let mut sent = Vec::new();
    for round in 0..300_u32 {
        let writer = if round % 2 == 0 { &client } else { &other };
        sent.push(writer.send(set("/a", round.to_string())).await?);
        if round == 150 {
            restart(&mut rig).await?;
        }
    }
    for write in sent {
        soon(write).await??;
    }
    let last = client.get("/a").await?;
    // Everything that the answer reflects has been told.
    let mut told = Vec::new();
    let mut before = Previous::Data(bytes::Bytes::new());
    while let Some(notice) = watching.try_next() {
        let Notice::Change(change) = notice else { bail!("{notice:?}") };
        assert_eq!(change.events.len(), 1);
        let event = &change.events[0];
        assert_eq!(event.version, told.len() as u64 + 1);
        let data = event.data.clone().context("asked for")?;
        assert!(event.previous == before || event.previous == Previous::Gone, "{event:?}");
        before = Previous::Data(data.clone());
        told.push((change.zxid, data));
    }
    assert_eq!(told.len(), 300);
    assert!(told.is_sorted_by_key(|(zxid, _)| *zxid));
    assert_eq!(told.last().map(|(zxid, _)| *zxid), Some(last.stat.mzxid));
    // The past, told anew.
    let mut again = client.watch("/a").with_data().from(created.zxid).open().await?;
    for (zxid, data) in &told {
        let change = change(&mut again).await?;
        assert_eq!((change.zxid, change.events[0].data.as_ref()), (*zxid, Some(data)));
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_just_behind_what_is_read_with_it() -> Result<()> {
    let rig = Rig::start().await?;
    let (client, other) = (connect(&rig).await?, connect(&rig).await?);
    client.create("/n").data("0").await?;
    let writing = tokio::spawn(async move {
        for round in 1..=400_u32 {
            other.write(set("/n", round.to_string())).await?;
        }
        anyhow::Ok(())
    });
    for _ in 0..20 {
        let watch = client.watch("/n").with_data();
        let (node, mut stream) = soon(watch.open_with_node("/n")).await??;
        let node = node.context("it is there")?;
        let number = |data: &[u8]| -> Result<u32> { Ok(std::str::from_utf8(data)?.parse()?) };
        let read = number(&node.data)?;
        if read == 400 {
            break;
        }
        let next = change(&mut stream).await?;
        assert_eq!(number(next.events[0].data.as_deref().context("data")?)?, read + 1);
        assert!(node.zxid >= node.stat.mzxid && node.zxid < next.zxid);
    }
    soon(writing).await???;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_is_one_change_however_large() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    client.create("/t").await?;
    let mut watching = client.watch("/t").subtree().with_data().open().await?;
    let creates = (0..500).fold(client.multi(), |multi, number| {
        let create = quorate_client::CreateOperation::new(&format!("/t/{number}"));
        multi.create(create.data(vec![7; 2_000]))
    });
    let (zxid, _) = soon(async { creates.await }).await??;
    let all = change(&mut watching).await?;
    assert_eq!((all.zxid, all.events.len()), (zxid, 500), "about a megabyte");
    assert!(all.events.iter().all(|event| matches!(event.kind, EventKind::Created(_))));
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_the_future_is_waited_for_and_a_bad_path_refused() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    let at = client.create("/a").await?.zxid;
    let later = client.clone();
    let opening = tokio::spawn(async move { later.watch("/a").from(Zxid(at.0 + 1)).open().await });
    client.set("/a", "x", None).await?;
    let mut stream = soon(opening).await???;
    client.set("/a", "y", None).await?;
    assert_eq!(change(&mut stream).await?.events[0].version, 2);
    let refused = soon(client.watch("/a/").open()).await?;
    assert!(matches!(refused, Err(WatchError::Refused { .. })), "{refused:?}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_the_tree_also_behind_a_restart() -> Result<()> {
    let mut rig = Rig::start().await?;
    let (client, other) = (connect(&rig).await?, connect(&rig).await?);
    for name in 0..50 {
        client.create(&format!("/c/{name}")).data("first").parents().await?;
    }
    let cache = soon(async { client.cache("/c").await }).await??;
    assert_eq!(cache.len(), 51);
    for name in 0..50_u32 {
        let path = format!("/c/{name}");
        match name % 3 {
            0 => drop(other.delete(&path, None).await?),
            1 => drop(other.set(&path, "second", None).await?),
            _ => drop(other.create(&format!("{path}/below")).ephemeral().await?),
        }
        if name == 25 {
            restart(&mut rig).await?;
        }
    }
    soon(cache.sync()).await??;
    same(&client, &cache).await?;
    rig.stop().await;
    Ok(())
}

async fn same(client: &Client, cache: &quorate_client::Cache) -> Result<()> {
    let mut scan = client.scan("/c").await?;
    let mut count = 0;
    while let Some(found) = scan.next().await? {
        count += 1;
        let cached = cache.get(found.path.as_str())?.context("it is missing")?;
        assert_eq!((cached.stat, Some(cached.data)), (found.stat, found.data), "{}", found.path);
    }
    assert_eq!(cache.len(), count);
    Ok(())
}
