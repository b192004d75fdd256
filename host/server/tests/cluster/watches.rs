//! Watches through everything that happens to a cluster: what a watch tells is what the log holds, in order, each once, whatever
//! member it is told by. The client is without any cleverness, and speaks the protocol's own frames: from member to member, from
//! the position that it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate_client::core::error::ErrorCode;
use quorate_client::{Client, Notice};
use quorate_core::ids::{NamespaceId, Zxid};
use quorate_net::{
    ClientConfig, Connection, FrameReceiver, LaneLimits, LaneReceiver, LaneSender, Protocol,
    TrustAnchors, issue,
};
use quorate_wire::message::watch::{
    EVENT_FRAME_BYTES_MAX, EVENT_LANE, EventMessage, Scope, Watch, WatchEnd, Watched,
};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Hello, LANE_FRAME_BYTES_MAX, PROTOCOLS, Query, Results,
    ServerMessage,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{Cluster, one_at_a_time};
use crate::node::{PATIENCE, until};

/// Writes between two things that happen.
const WRITES: u64 = 60;
/// The last change that is watched.
const END: &str = "/w/end";
/// A member that says nothing for so long is left: something is always written.
const SILENCE: Duration = Duration::from_secs(3);

/// What a watch has told: transactions, and the paths of their events.
type Told = Vec<(Zxid, Vec<String>)>;

/// Follows the events below `/w`, from one member to the next.
struct Follower {
    trust: TrustAnchors,
    told: Told,
    /// What has come of a transaction that goes on.
    part: Vec<String>,
    /// How often it had to go on elsewhere.
    moves: u64,
    /// How its watches were ended.
    ends: Vec<WatchEnd>,
    /// A member that says nothing for so long is left.
    silence: Duration,
    /// Transactions that were told, for others to see.
    count: Arc<AtomicU64>,
}

impl Follower {
    fn new(cluster: &Cluster) -> Self {
        let trust = TrustAnchors::load(&cluster.authority().join(issue::AUTHORITY_FILE));
        let (told, part) = (Vec::new(), Vec::new());
        let (ends, count) = (Vec::new(), Arc::default());
        let trust = trust.expect("an authority");
        Self { trust, told, part, moves: 0, ends, silence: SILENCE, count }
    }

    /// Follows them up to the last change, by way of these members in turn.
    async fn follow(mut self, members: Vec<SocketAddr>) -> Self {
        for member in members.iter().cycle() {
            match self.follow_at(*member).await {
                Ok(()) => break,
                Err(_) => self.moves += 1,
            }
        }
        self
    }

    async fn follow_at(&mut self, member: SocketAddr) -> Result<()> {
        let client = quorate_net::Client::bind(ClientConfig::default())?;
        let ip = member.ip().to_string();
        let connection = client.connect(member, &ip, &self.trust, Protocol::Client);
        let connection = timeout(SILENCE, connection).await??;
        let (sender, mut lane) = watching_lane(&connection, self.position()).await?;
        let events = async {
            let mut stream = timeout(SILENCE, connection.accept_bulk()).await??;
            if timeout(SILENCE, stream.kind()).await?? != EVENT_LANE {
                bail!("another stream");
            }
            let mut frames = FrameReceiver::new(stream, EVENT_FRAME_BYTES_MAX);
            loop {
                let frame = timeout(self.silence, frames.recv()).await??;
                if self.take_in(EventMessage::decode(frame.context("it has ended")?)?)? {
                    return Ok(());
                }
            }
        };
        let refused = async {
            loop {
                match ServerMessage::decode(lane.recv().await?.context("the lane has ended")?)? {
                    ServerMessage::ReadReply { results, .. } => match results? {
                        Results::Watched(Watched::Open { .. }) => {}
                        other => bail!("not watched: {other:?}"),
                    },
                    ServerMessage::Goodbye(refusal) => return Err(refusal.into()),
                    _ => {}
                }
            }
        };
        let followed = tokio::select! {
            followed = events => followed,
            refused = refused => refused,
        };
        drop(sender);
        followed
    }

    /// Everything up to here was told.
    fn position(&self) -> Zxid {
        self.told.last().map_or(Zxid(0), |(zxid, _)| *zxid)
    }

    /// Whether it was the last change.
    fn take_in(&mut self, message: EventMessage) -> Result<bool> {
        match message {
            EventMessage::Head { .. } => self.part.clear(),
            EventMessage::Progress { .. } => {}
            EventMessage::Events { zxid, events, has_more, .. } => {
                self.part.extend(events.into_iter().map(|event| event.path));
                if !has_more {
                    self.told.push((zxid, std::mem::take(&mut self.part)));
                    self.count.fetch_add(1, Ordering::SeqCst);
                }
            }
            EventMessage::Ended { position, end, .. } => {
                assert!(position >= self.position(), "it was told of more than that");
                self.ends.push(end.clone());
                bail!("{end:?}");
            }
        }
        let last = self.told.last();
        Ok(last.is_some_and(|(_, paths)| paths.iter().any(|path| path == END)))
    }
}

/// A lane of a session of its own, on which a watch is asked for.
async fn watching_lane(connection: &Connection, from: Zxid) -> Result<(LaneSender, LaneReceiver)> {
    let limits = LaneLimits { frame_bytes_max: LANE_FRAME_BYTES_MAX, ..LaneLimits::default() };
    let (sender, mut receiver) = timeout(SILENCE, connection.open_lane(limits)).await??;
    let hello = Hello {
        protocols: PROTOCOLS,
        namespace: NamespaceId::DEFAULT,
        agent: "test".to_owned(),
        attach: Attach::New { timeout_ms: 60_000, credentials: Vec::new() },
    };
    sender.send(ClientMessage::Hello(hello).encode()).await?;
    let welcome = timeout(PATIENCE, receiver.recv()).await??.context("the lane has ended")?;
    let ServerMessage::Welcome(_) = ServerMessage::decode(welcome)? else { bail!("no welcome") };
    let watch = Watch {
        watch: 1,
        path: "/w".to_owned(),
        scope: Scope::Subtree,
        from: Some(from),
        once: false,
        with_data: true,
        with_previous: true,
        first: None,
    };
    let (request, consistency, query) = (1, Consistency::Session, Query::Watch(watch));
    sender.send(ClientMessage::Read { request, consistency, query }.encode()).await?;
    Ok((sender, receiver))
}

/// Writes below `/w`, one after the other, until told to stop.
struct Writer {
    written: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// It has created `/w` then.
    async fn start(client: Client) -> Self {
        client.create("/w").await.expect("created");
        let written = Arc::new(AtomicU64::new(1));
        let is_over: Arc<AtomicBool> = Arc::default();
        let (count, over) = (written.clone(), is_over.clone());
        let task = tokio::spawn(async move {
            let mut number = 0u64;
            while !over.load(Ordering::SeqCst) {
                let path = format!("/w/n{}", number % 7);
                match number / 7 % 3 {
                    0 => drop(client.create(&path).await.expect("created")),
                    1 => drop(client.set(&path, number.to_string(), None).await.expect("set")),
                    _ => drop(client.delete(&path, None).await.expect("deleted")),
                }
                number += 1;
                count.fetch_add(1, Ordering::SeqCst);
            }
            client.create(END).await.expect("created");
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self { written, is_over, task }
    }

    /// Waits until so many more are acknowledged.
    async fn goes_on(&self) {
        let target = self.written.load(Ordering::SeqCst) + WRITES;
        until("writes go on", async || {
            (self.written.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    /// The number of changes.
    async fn finish(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        timeout(PATIENCE, self.task).await.expect("in time").expect("no panic");
        self.written.load(Ordering::SeqCst)
    }
}

/// Whether a member has nothing any more of what follows a position, but for what its log has of now.
async fn is_gone_at(cluster: &Cluster, member: u64, position: Zxid) -> Result<bool> {
    let trust = TrustAnchors::load(&cluster.authority().join(issue::AUTHORITY_FILE))?;
    let client = quorate_net::Client::bind(ClientConfig::default())?;
    let listen = cluster.node(member).listen;
    let ip = listen.ip().to_string();
    let connection = client.connect(listen, &ip, &trust, Protocol::Client);
    let connection = timeout(SILENCE, connection).await??;
    let (_sender, mut lane) = watching_lane(&connection, position).await?;
    loop {
        let frame = timeout(SILENCE, lane.recv()).await??.context("the lane has ended")?;
        if let ServerMessage::ReadReply { results, .. } = ServerMessage::decode(frame)? {
            return Ok(matches!(results?, Results::Watched(Watched::NotHere { .. })));
        }
    }
}

/// Writes until these members have forgotten what follows a position.
async fn forget(cluster: &Cluster, client: &Client, members: &[u64], position: Zxid) {
    for member in members {
        until("it is forgotten", async || {
            let data = vec![0u8; 200 * 1024];
            for _ in 0..4 {
                client.set("/large", data.clone(), None).await.expect("set");
            }
            is_gone_at(cluster, *member, position).await.ok().filter(|is_gone| *is_gone)
        })
        .await;
    }
}

async fn in_time(following: JoinHandle<Follower>) -> Follower {
    timeout(PATIENCE, following).await.expect("in time").expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change_once_and_in_order_through_kills_and_a_change_of_members() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let places: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.listen).collect();
    let mut following = Vec::new();
    for first in 0..3 {
        let mut members = places.clone();
        members.rotate_left(first);
        following.push(tokio::spawn(Follower::new(&cluster).follow(members)));
    }
    let writer = Writer::start(cluster.client(&[1, 2, 3]).await).await;
    writer.goes_on().await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.node_mut(leader).kill();
        writer.goes_on().await;
        cluster.restart(leader).await;
        writer.goes_on().await;
        let leader = cluster.leader().await;
        let follower = cluster.others(leader)[0];
        cluster.node_mut(follower).kill();
        writer.goes_on().await;
        cluster.restart(follower).await;
        writer.goes_on().await;
    }
    let new = cluster.further_member().await;
    let place = format!("{new}={}", cluster.node(new).address());
    cluster.ok(1, &["cluster", "add", &place]);
    cluster.ok(1, &["cluster", "promote", &new.to_string()]);
    cluster.ok(1, &["cluster", "transfer-leader", &new.to_string()]);
    writer.goes_on().await;
    let count = writer.finish().await;

    let mut all = Vec::new();
    let mut moves = 0;
    for one in following {
        let followed = in_time(one).await;
        moves += followed.moves;
        all.push(followed.told);
    }
    assert!(moves > 0, "no watch has gone on elsewhere");
    // What each member reads back of the past is what every watch was told. The new one has the whole log too.
    for node in &cluster.nodes {
        let read_back = tokio::spawn(Follower::new(&cluster).follow(vec![node.listen]));
        all.push(in_time(read_back).await.told);
    }
    for told in &all {
        assert_eq!(told.len() as u64, count, "each change is a transaction of its own");
        assert!(told.is_sorted_by(|one, next| one.0 < next.0), "in order, each once");
        assert_eq!(told, &all[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_at_a_member_that_is_cut_off_goes_on_elsewhere_and_misses_nothing() {
    let _alone = one_at_a_time().await;
    let cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let others = cluster.others(leader);
    let members = vec![cluster.node(others[0]).listen, cluster.node(others[1]).listen];
    let following = tokio::spawn(Follower::new(&cluster).follow(members));
    let writer = Writer::start(cluster.client(&[leader]).await).await;
    writer.goes_on().await;
    cluster.cut_off(others[0]);
    writer.goes_on().await;
    let count = writer.finish().await;
    let followed = in_time(following).await;
    assert!(followed.moves > 0, "the member was not cut off");
    assert_eq!(followed.told.len() as u64, count);
    assert!(followed.told.is_sorted_by(|one, next| one.0 < next.0));
    cluster.heal(others[0]);
    cluster.settled().await;
}

/// Of the log of such a member next to nothing stays.
const FORGETFUL: &str = "history_keep = \"1s\"\nhistory_mib_max = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_member_is_sent_the_whole_tree_goes_on_where_the_past_is() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start_with(3, |node| {
        if node.number != 2 {
            FORGETFUL.clone_into(&mut node.further);
        }
    })
    .await;
    if cluster.settled().await != 1 {
        cluster.ok(1, &["cluster", "transfer-leader", "1"]);
        cluster.leader_among(&[1]).await;
    }
    let large = cluster.client_direct(1).await;
    large.create("/large").await.expect("created");
    let mut follower = Follower::new(&cluster);
    // It stays at a member that says nothing: its watch is not over before that is told.
    follower.silence = PATIENCE;
    let told = follower.count.clone();
    let members = vec![cluster.node(3).listen, cluster.node(2).listen];
    let following = tokio::spawn(follower.follow(members));
    let writer = Writer::start(cluster.client_direct(1).await).await;
    until("the watch tells", async || (told.load(Ordering::SeqCst) >= 10).then_some(())).await;

    cluster.cut_off(3);
    writer.goes_on().await;
    // Behind all that the member that is cut off has.
    let applied = large.set("/large", "last", None).await.expect("set").mzxid;
    forget(&cluster, &large, &[1], applied).await;
    cluster.heal(3);
    writer.goes_on().await;
    let count = writer.finish().await;
    let followed = in_time(following).await;
    assert!(
        followed.ends.iter().any(|end| matches!(end, WatchEnd::NotHere { .. })),
        "member 3 was sent no tree: {:?}",
        followed.ends
    );
    assert_eq!(followed.told.len() as u64, count, "each once, and none is missing");
    assert!(followed.told.is_sorted_by(|one, next| one.0 < next.0));

    // The client library finds the one member that has the past. When that has forgotten it too, it says so.
    let first = followed.told[0].0;
    let client = cluster.client(&[1, 2, 3]).await;
    let mut past = client.watch("/w").subtree().from(first).open().await.expect("member 2 has it");
    let next = timeout(PATIENCE, past.next()).await.expect("in time").expect("open");
    assert!(matches!(next, Ok(Notice::Change(change)) if change.zxid == followed.told[1].0));
    drop(past);
    assert_eq!(cluster.node_mut(2).stop(), 0);
    FORGETFUL.clone_into(&mut cluster.node_mut(2).further);
    cluster.restart(2).await;
    forget(&cluster, &large, &[1, 2, 3], first).await;
    let refused = match client.watch("/w").subtree().from(first).open().await {
        Err(refused) => refused,
        Ok(mut stream) => timeout(PATIENCE, stream.next())
            .await
            .expect("in time")
            .expect("why it ends")
            .expect_err("nobody has the past"),
    };
    assert_eq!(refused.code(), ErrorCode::WatchCompacted, "{refused}");
    cluster.settled().await;
}
