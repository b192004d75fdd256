//! What one lane between two members carries: frames of the size of a large append, one way, on
//! loopback, both members in this process.
//!
//! `cargo run -p quorate-net --example member_bench [SECONDS] [FRAME_BYTES] [THREADS]`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_net::{Identity, LaneLimits, LaneReceiver, LaneSender, Protocol, Server, ServerConfig};

const MEMBER: u64 = 1;
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let frame_bytes: u32 = arguments.next().map_or(Ok(4 * 1024 * 1024), |text| text.parse())?;
    let threads: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    println!("frames of {frame_bytes} bytes, {seconds} s a row, {threads} threads");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async move { tokio::spawn(bench(seconds, frame_bytes)).await? })
}

async fn bench(seconds: f64, frame_bytes: u32) -> Result<()> {
    let duration = Duration::from_secs_f64(seconds);
    let directory = tempfile::tempdir()?;
    let identity = Identity::open_or_make(directory.path(), &[], MEMBER, SystemTime::now())?;
    let dialling = bind(&identity)?;
    let mut dialled = bind(&identity)?;

    let address = dialled.local_address().to_string();
    let dialer = dialling.dialer();
    let (connected, accepted) = tokio::join!(dialer.dial(&address, MEMBER), dialled.accept());
    let (connected, accepted) = (connected?, accepted.context("the server is gone")?);
    let limits = LaneLimits { frame_bytes_max: frame_bytes, ..LaneLimits::default() };
    let (there, from_there) = connected.open_lane(limits).await?;
    there.send(Bytes::new()).await?;
    let (back, mut from_here) = accepted.accept_lane(limits).await?;
    from_here.recv().await?;

    let frame = Bytes::from(vec![7; frame_bytes as usize]);
    println!("direction               MB/s   round trip");
    let rate = one_way(there, from_here, &frame, duration).await?;
    println!("towards the dialled   {rate:6.0}   {:?}", connected.rtt());
    let rate = one_way(back, from_there, &frame, duration).await?;
    println!("towards the dialling  {rate:6.0}   {:?}", connected.rtt());
    Ok(())
}

fn bind(identity: &Identity) -> Result<Server> {
    let config = ServerConfig {
        protocols: vec![Protocol::Member],
        ..ServerConfig::new("127.0.0.1:0".parse()?, identity.server.clone(), identity.trust.clone())
    };
    Ok(Server::bind(&config)?)
}

/// Megabytes per second that arrive.
async fn one_way(
    sender: LaneSender,
    mut receiver: LaneReceiver,
    frame: &Bytes,
    duration: Duration,
) -> Result<f64> {
    let started = Instant::now();
    let frame = frame.clone();
    let sending = tokio::spawn(async move {
        while started.elapsed() < duration {
            sender.send(frame.clone()).await?;
        }
        anyhow::Ok(sender.finish(FINISH_DEADLINE).await?)
    });
    let mut bytes = 0;
    while let Some(frame) = receiver.recv().await? {
        bytes += frame.len();
    }
    let took = started.elapsed();
    sending.await??;
    Ok(bytes as f64 / 1e6 / took.as_secs_f64())
}
