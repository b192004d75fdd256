//! What a frame costs: request and reply over one lane on loopback, client and server in this
//! process.
//!
//! `cargo run -p quorate-net --example lane_bench [SECONDS] [FRAME_BYTES] [THREADS]`
//!
//! Two ways to load it. "window": one task keeps N frames in flight and refills what came back (a
//! pipelining client). "callers": N tasks that each send a frame and wait for its reply
//! (independent users of one session).
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_net::lane::LaneLimits;
use quorate_net::{
    Client, ClientConfig, Identity, LaneHandle, LaneReceiver, LaneSender, Protocol, Server,
    ServerConfig,
};
use tokio::sync::mpsc;

const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
const FRAMES_AT_ONCE_MAX: usize = 1024;
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let frame_bytes: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let threads: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    println!("{frame_bytes} bytes a frame, {seconds} s a row, {threads} threads");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    // Spawned: what `block_on` runs itself is on a thread beside the workers, and pays a wake-up
    // for each step.
    runtime.block_on(async move { tokio::spawn(bench(seconds, frame_bytes)).await? })
}

async fn bench(seconds: f64, frame_bytes: usize) -> Result<()> {
    let duration = Duration::from_secs_f64(seconds);

    let directory = tempfile::tempdir()?;
    let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now())?;
    let listen = "127.0.0.1:0".parse()?;
    let mut server =
        Server::bind(&ServerConfig::new(listen, identity.server.clone(), identity.trust.clone()))?;
    let client = Client::bind(ClientConfig::default())?;
    let address = server.local_address();

    println!(
        "load     in flight   frames/s    p50 us    p99 us    CPU us/frame    CPU s (both ends)"
    );
    for load in [Load::Window, Load::Callers] {
        for in_flight in IN_FLIGHT {
            let connecting =
                client.connect(address, "localhost", &identity.trust, Protocol::Client);
            let (connected, accepted) = tokio::join!(connecting, server.accept());
            let connection = connected?;
            let accepted = accepted.context("the server is gone")?;
            let echo = tokio::spawn(async move {
                let (sender, receiver) = accepted.accept_lane(LaneLimits::default()).await?;
                echo(sender, receiver).await
            });
            let (sender, mut receiver) = connection.open_lane(LaneLimits::default()).await?;
            let started = Instant::now();
            let cpu_started = cpu_seconds()?;
            let mut latencies = match load {
                Load::Window => {
                    run_window(&sender, &mut receiver, in_flight, frame_bytes, duration).await?
                }
                Load::Callers => {
                    run_callers(&sender, &mut receiver, in_flight, frame_bytes, duration).await?
                }
            };
            let cpu = cpu_seconds()? - cpu_started;
            let elapsed = started.elapsed().as_secs_f64();
            sender.finish(FINISH_DEADLINE).await?;
            echo.await??;
            if receiver.recv().await?.is_some() {
                bail!("a reply too many");
            }
            latencies.sort_unstable();
            let count = latencies.len();
            let at = |part: usize| latencies[(count - 1) * part / 100].as_secs_f64() * 1e6;
            println!(
                "{:8} {in_flight:9} {:10.0} {:9.1} {:9.1} {:15.2} {cpu:8.2}",
                format!("{load:?}").to_lowercase(),
                count as f64 / elapsed,
                at(50),
                at(99),
                cpu / count as f64 * 1e6,
            );
        }
    }
    client.shutdown(FINISH_DEADLINE).await?;
    server.shutdown(FINISH_DEADLINE).await?;
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Load {
    Window,
    Callers,
}

async fn echo(sender: LaneSender, mut receiver: LaneReceiver) -> Result<()> {
    let mut frames = Vec::new();
    while receiver.recv_many(&mut frames, FRAMES_AT_ONCE_MAX).await? > 0 {
        for frame in frames.drain(..) {
            sender.send(frame).await?;
        }
    }
    sender.finish(FINISH_DEADLINE).await?;
    Ok(())
}

async fn run_window(
    sender: &LaneSender,
    receiver: &mut LaneReceiver,
    in_flight: usize,
    frame_bytes: usize,
    duration: Duration,
) -> Result<Vec<Duration>> {
    let frame = Bytes::from(vec![7; frame_bytes]);
    let mut latencies = Vec::new();
    let mut sent = VecDeque::new();
    let mut frames = Vec::new();
    let end = Instant::now() + duration;
    for _ in 0..in_flight {
        sent.push_back(Instant::now());
        sender.send(frame.clone()).await?;
    }
    while !sent.is_empty() {
        if receiver.recv_many(&mut frames, FRAMES_AT_ONCE_MAX).await? == 0 {
            bail!("the lane ended early");
        }
        let now = Instant::now();
        for reply in frames.drain(..) {
            let sent_at = sent.pop_front().context("a reply without a request")?;
            latencies.push(now - sent_at);
            if now < end {
                sent.push_back(now);
                sender.send(reply).await?;
            }
        }
    }
    Ok(latencies)
}

/// Each caller puts its number into its frames, and a dispatcher gives the replies back by it.
async fn run_callers(
    sender: &LaneSender,
    receiver: &mut LaneReceiver,
    in_flight: usize,
    frame_bytes: usize,
    duration: Duration,
) -> Result<Vec<Duration>> {
    let end = Instant::now() + duration;
    let mut wakers = Vec::new();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..in_flight {
        let (waker, replies) = mpsc::channel(1);
        wakers.push(waker);
        callers.spawn(call_until(sender.handle(), replies, number, frame_bytes, end));
    }
    let mut latencies = Vec::new();
    let mut frames = Vec::new();
    loop {
        tokio::select! {
            received = receiver.recv_many(&mut frames, FRAMES_AT_ONCE_MAX) => {
                if received? == 0 {
                    bail!("the lane ended early");
                }
                for frame in frames.drain(..) {
                    let number = frame.first_chunk::<8>().context("a short reply")?;
                    let number = usize::try_from(u64::from_le_bytes(*number))?;
                    wakers[number].try_send(())?;
                }
            }
            caller = callers.join_next() => match caller {
                Some(caller) => latencies.append(&mut caller??),
                None => return Ok(latencies),
            },
        }
    }
}

async fn call_until(
    lane: LaneHandle,
    mut replies: mpsc::Receiver<()>,
    number: usize,
    frame_bytes: usize,
    end: Instant,
) -> Result<Vec<Duration>> {
    let mut frame = BytesMut::new();
    frame.put_u64_le(u64::try_from(number)?);
    frame.resize(frame_bytes.max(8), 0);
    let frame = frame.freeze();
    let mut latencies = Vec::new();
    loop {
        let sent_at = Instant::now();
        if sent_at >= end {
            return Ok(latencies);
        }
        lane.send(frame.clone()).await?;
        replies.recv().await.context("no reply")?;
        latencies.push(sent_at.elapsed());
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().context("stat without a name")?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next().context("no user time")?.parse()?;
    let system: f64 = fields.next().context("no system time")?.parse()?;
    Ok((user + system) / TICKS_PER_SECOND)
}
