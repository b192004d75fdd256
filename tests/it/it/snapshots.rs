//! Snapshots that a client takes from a member that goes on serving.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate_client::core::error::ErrorCode;
use quorate_client::core::level::Level;
use quorate_client::{
    Authority, Client, Error, Options, SessionState, SnapshotPlace, SnapshotStream,
};
use quorate_gateway::member::{Member, Options as MemberOptions};
use quorate_wire::snapshot::{Decoder, Item, Summary};

use crate::client::{connect, soon};
use crate::proxy::Proxy;
use crate::raw::Rig;

const NODES: usize = 100;
/// Together far more than a stream's window: what is not read stays with the member.
const NODE_BYTES: usize = 100_000;

async fn grow(client: &Client) -> Result<()> {
    for at in 0..NODES {
        client.create(&format!("/n{at:04}")).data(vec![7; NODE_BYTES]).await?;
    }
    Ok(())
}

fn judge(stream: &[u8]) -> Result<Summary> {
    let mut decoder = Decoder::new(Level::NEWEST);
    let mut summary = None;
    for piece in stream.chunks(1 << 16) {
        decoder.handle(piece);
        while let Some(item) = decoder.poll()? {
            if let Item::End(end) = item {
                summary = Some(*end);
            }
        }
    }
    decoder.finish()?;
    summary.context("no end")
}

/// Reads so many bytes, or to the end or break.
async fn read(stream: &mut SnapshotStream, bytes: &mut Vec<u8>, bytes_max: usize) -> Result<bool> {
    while bytes.len() < bytes_max {
        match soon(stream.next()).await? {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return Ok(true),
            Err(_broken) => return Ok(false),
        }
    }
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_all_that_was_acknowledged_and_its_lane_goes_on_meanwhile() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    grow(&client).await?;
    let acknowledged = client.create("/last").await?.zxid;
    let mut stream = soon(client.snapshot(None)).await??;
    // The stream is not read, and fills its window; the session is served all the same.
    for version in 1..=200_u64 {
        assert_eq!(soon(client.set("/last", "x", None)).await??.version, version);
    }
    let refused = soon(client.snapshot(None)).await?.err();
    let Some(Error::Refused(failure)) = refused else { bail!("a second one at the same time") };
    assert_eq!(failure.refusal.code, ErrorCode::Overloaded);
    let mut bytes = Vec::new();
    assert!(read(&mut stream, &mut bytes, usize::MAX).await?, "to its end");
    drop(stream);
    let summary = judge(&bytes)?;
    assert_eq!(summary.meta.zxid, acknowledged);
    assert_eq!(summary.znodes, NODES as u64 + 2);

    let mut stream = soon(client.snapshot(None)).await??;
    let mut bytes = Vec::new();
    assert!(read(&mut stream, &mut bytes, usize::MAX).await?, "to its end");
    assert_eq!(judge(&bytes)?.meta.zxid.0, acknowledged.0 + 200);
    client.close().await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_it_was_when_the_connection_broke() -> Result<()> {
    let proxy = Proxy::start().await?;
    let directory = tempfile::tempdir()?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = MemberOptions::new(directory.path().join("data"), listen);
    options.advertise = vec![proxy.address.to_string()];
    let rig = Rig { directory, member: Some(Member::start(options).await?) };
    proxy.lead_to(rig.address());
    let authority = Authority::Pem(std::fs::read(rig.authority())?);
    let mut options = Options::new([proxy.address.to_string()], authority);
    options.session_timeout = Some(Duration::from_secs(10));
    let client = Client::connect(options).await?;
    grow(&client).await?;

    let mut stream = soon(client.snapshot(None)).await??;
    let place = stream.place();
    assert_eq!(place.offset, 0);
    let mut bytes = Vec::new();
    read(&mut stream, &mut bytes, 2_000_000).await?;
    proxy.cut(true);
    let mut state = client.state();
    soon(state.wait_for(|state| *state == SessionState::Suspended)).await??;
    assert!(!read(&mut stream, &mut bytes, usize::MAX).await?, "it broke off");
    assert!(bytes.len() < NODES * NODE_BYTES, "in the middle");
    drop(stream);
    proxy.cut(false);

    // The tree is another one by now, and the snapshot is not.
    let later = soon(client.set("/n0000", "later", None)).await??;
    let go_on = SnapshotPlace { offset: bytes.len() as u64, ..place };
    let mut stream = soon(client.snapshot(Some(go_on))).await??;
    assert_eq!(stream.place(), go_on);
    assert!(read(&mut stream, &mut bytes, usize::MAX).await?, "to its end");
    drop(stream);
    let summary = judge(&bytes)?;
    assert!(summary.meta.zxid < later.mzxid, "{summary:?}");

    // One that the member does not have begins anew, as another one.
    let unknown = SnapshotPlace { identity: [9; 16], offset: 77 };
    let stream = soon(client.snapshot(Some(unknown))).await??;
    assert_eq!(stream.place().offset, 0);
    assert_ne!(stream.place().identity, unknown.identity);
    drop(stream);
    client.close().await?;
    rig.stop().await;
    Ok(())
}
