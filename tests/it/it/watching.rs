//! Watches in the raw messages of the protocol: what comes on the event lane, and what replies say of it.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Zxid;
use quorate_core::request::{Body, Operation, Reply};
use quorate_net::{Connection, FrameReceiver};
use quorate_wire::message::watch::{
    EVENT_FRAME_BYTES_MAX, EVENT_LANE, Event, EventKind, EventMessage, Previous, Scope, Watch,
    WatchEnd, Watched,
};
use quorate_wire::message::{Attach, Consistency, Query, Results, ServerMessage};
use tokio::time::timeout;

use crate::raw::{PATIENCE, Raw, Rig, create, set};

/// The client's end of an event lane.
struct Events {
    frames: FrameReceiver,
    /// The number of the last one that was taken.
    number: u64,
    /// Frames that were taken and not looked at.
    aside: VecDeque<EventMessage>,
}

impl Events {
    async fn accept(connection: &Connection, raw: &Raw) -> Result<Self> {
        let mut stream = timeout(PATIENCE, connection.accept_bulk()).await??;
        ensure!(stream.kind().await? == EVENT_LANE, "another kind of stream");
        let frames = FrameReceiver::new(stream, EVENT_FRAME_BYTES_MAX);
        let mut events = Self { frames, number: 0, aside: VecDeque::new() };
        let head = events.frame().await?;
        let (session, attachment) = (raw.session(), raw.welcome.attachment);
        assert_eq!(head, EventMessage::Head { session, attachment });
        events.number = 0;
        Ok(events)
    }

    async fn frame(&mut self) -> Result<EventMessage> {
        let frame = timeout(PATIENCE, self.frames.recv()).await.context("no event in time")??;
        self.number += 1;
        Ok(EventMessage::decode(frame.context("the event lane ended")?)?)
    }

    /// The next frame that is no mark.
    async fn next(&mut self) -> Result<EventMessage> {
        if let Some(frame) = self.aside.pop_front() {
            return Ok(frame);
        }
        loop {
            match self.frame().await? {
                EventMessage::Progress { .. } => {}
                frame => return Ok(frame),
            }
        }
    }

    /// The next events: their watch, transaction, and paths.
    async fn events(&mut self) -> Result<(u64, Zxid, Vec<Event>)> {
        match self.next().await? {
            EventMessage::Events { watch, zxid, events, has_more: false, .. } => {
                Ok((watch, zxid, events))
            }
            other => bail!("no events: {other:?}"),
        }
    }

    /// Takes frames up to this number: what a client does before it hands over a reply.
    async fn upto(&mut self, number: u64) -> Result<()> {
        while self.number < number {
            let frame = self.frame().await?;
            if !matches!(frame, EventMessage::Progress { .. }) {
                self.aside.push_back(frame);
            }
        }
        Ok(())
    }
}

fn watch(watch: u64, path: &str, scope: Scope) -> Watch {
    Watch {
        watch,
        path: path.to_owned(),
        scope,
        from: None,
        once: false,
        with_data: true,
        with_previous: false,
        first: None,
    }
}

/// Opens a watch; the zxid of the answer, and what it says.
async fn open(raw: &mut Raw, watch: Watch) -> Result<(Zxid, Watched)> {
    let request = raw.start_read(Consistency::Linearizable, Query::Watch(watch)).await?;
    match raw.answer(request).await? {
        ServerMessage::ReadReply { zxid, results: Ok(Results::Watched(watched)), .. } => {
            Ok((zxid, watched))
        }
        other => bail!("not watched: {other:?}"),
    }
}

fn is_open(watched: &Watched) -> bool {
    matches!(watched, Watched::Open { .. })
}

async fn reply_events(raw: &mut Raw, body: &Body) -> Result<(Zxid, u64)> {
    let request = raw.start_write(body).await?;
    match raw.answer(request).await? {
        ServerMessage::Reply { zxid, events, .. } => Ok((zxid, events)),
        other => bail!("no reply: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_behind_its_first_read_and_events_come_before_the_replies_that_reflect_them()
-> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    raw.done(&create("/a", "zero")).await?;
    let mut first = watch(1, "/a", Scope::Node);
    first.with_previous = true;
    first.first = Some(Box::new(Query::Get("/a".to_owned())));
    let (began, watched) = open(&mut raw, first).await?;
    let Watched::Open { first: Some(first) } = watched else { bail!("{watched:?}") };
    assert!(matches!(*first, Ok(Results::Node { ref data, .. }) if &data[..] == b"zero"));
    // Something that is not there can be watched.
    let mut none = watch(2, "/none", Scope::Node);
    none.first = Some(Box::new(Query::Stat("/none".to_owned())));
    let (_, watched) = open(&mut raw, none).await?;
    let Watched::Open { first: Some(first) } = watched else { bail!("{watched:?}") };
    assert_eq!(first.map_err(|refusal| refusal.code.name()), Err("no-node"));

    let connection = raw.connection.clone();
    let mut events = Events::accept(&connection, &raw).await?;
    let mut last = "zero".to_owned();
    for round in 1..=100u64 {
        let data = round.to_string();
        let (zxid, number) = reply_events(&mut raw, &set("/a", &data)).await?;
        assert!(zxid > began);
        events.upto(number).await?;
        let (watch, at, told) = events.events().await?;
        assert_eq!((watch, at, told.len()), (1, zxid, 1));
        assert_eq!((told[0].kind, told[0].version), (EventKind::Set, round));
        assert_eq!(told[0].data.as_deref(), Some(data.as_bytes()));
        assert_eq!(told[0].previous, Previous::Data(last.clone().into_bytes().into()));
        last = data;
    }
    // A read of another writer's change has the event before it, too.
    let mut other = rig.client().await?;
    other.done(&create("/none", "")).await?;
    let request =
        raw.start_read(Consistency::Linearizable, Query::Stat("/none".to_owned())).await?;
    let ServerMessage::ReadReply { results, events: number, .. } = raw.answer(request).await?
    else {
        bail!("no results")
    };
    results?;
    events.upto(number).await?;
    assert_eq!(events.events().await?.0, 2);
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_its_position_after_a_restart_of_the_member() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    raw.done(&create("/tree", "")).await?;
    let (position, watched) = open(&mut raw, watch(1, "/tree", Scope::Subtree)).await?;
    assert!(is_open(&watched));
    let mut expected = Vec::new();
    for number in 0..30 {
        let path = format!("/tree/{number}");
        let (zxid, _) = raw.write(&create(&path, "x")).await?;
        expected.push((zxid, path));
    }
    rig.restart().await?;
    let mut raw = Raw::connect(&rig, raw.resume()).await?;
    for number in 30..40 {
        let path = format!("/tree/{number}");
        let (zxid, _) = raw.write(&create(&path, "x")).await?;
        expected.push((zxid, path));
    }
    let mut resumed = watch(9, "/tree", Scope::Subtree);
    resumed.from = Some(position);
    let request = raw.start_read(Consistency::Session, Query::Watch(resumed)).await?;
    let ServerMessage::ReadReply { zxid, events: number, results, .. } =
        raw.answer(request).await?
    else {
        bail!("no results")
    };
    assert!(matches!(results?, Results::Watched(Watched::Open { .. })));
    assert!(zxid >= expected[39].0 && number >= 40, "the past is queued before the answer");
    let connection = raw.connection.clone();
    let mut events = Events::accept(&connection, &raw).await?;
    raw.done(&create("/tree/last", "x")).await?;
    for (zxid, path) in expected {
        let (watch, at, told) = events.events().await?;
        assert_eq!((watch, at, told[0].path.as_str()), (9, zxid, path.as_str()));
    }
    assert_eq!(events.events().await?.2[0].path, "/tree/last");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_when_they_are_ended_when_they_have_fired_and_with_their_lane() -> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    let mut once = watch(1, "/a", Scope::Node);
    once.once = true;
    assert!(is_open(&open(&mut raw, once).await?.1));
    assert!(is_open(&open(&mut raw, watch(2, "/", Scope::Subtree)).await?.1));
    let again = open(&mut raw, watch(2, "/b", Scope::Node)).await;
    assert!(again.unwrap_err().to_string().contains("BadArguments"));
    let connection = raw.connection.clone();
    let mut events = Events::accept(&connection, &raw).await?;
    let mut both = set("/a", "1");
    if let Body::Single(set) = both {
        let Body::Single(create) = create("/a", "0") else { bail!("one operation") };
        both = Body::Multi(vec![
            create,
            set,
            Operation::Delete { path: "/a".into(), condition: Condition::ANY },
        ]);
    }
    let (zxid, _) = reply_events(&mut raw, &both).await?;
    let (_, at, told) = events.events().await?;
    assert_eq!((at, told.len()), (zxid, 3), "a transaction comes whole");
    let ended = EventMessage::Ended { watch: 1, position: zxid, end: WatchEnd::Fired };
    assert_eq!(events.next().await?, ended);
    assert_eq!(events.events().await?.0, 2);

    let request = raw.start_read(Consistency::Stale, Query::Unwatch(2)).await?;
    let ServerMessage::ReadReply { events: number, results, .. } = raw.answer(request).await?
    else {
        bail!("no results")
    };
    assert_eq!(results?, Results::Unwatched);
    let (_, after) = reply_events(&mut raw, &create("/b", "")).await?;
    // Marks may come, but there is no watch that they could be for.
    assert_eq!(after, number);
    let resumed = raw.resume();
    assert!(is_open(&open(&mut raw, watch(3, "/", Scope::Subtree)).await?.1));
    // A newer lane of the session has watches of its own, with numbers of its own.
    let mut newer = Raw::connect(&rig, resumed).await?;
    assert!(is_open(&open(&mut newer, watch(3, "/", Scope::Children)).await?.1));
    let mut newer_events = Events::accept(&newer.connection.clone(), &newer).await?;
    let mut other =
        Raw::connect(&rig, Attach::New { timeout_ms: 10_000, credentials: Vec::new() }).await?;
    other.done(&create("/c", "")).await?;
    assert_eq!(newer_events.events().await?.2[0].path, "/c");
    rig.stop().await;
    Ok(())
}

async fn every_read_is_refused(raw: &mut Raw) -> Result<()> {
    let (path, after) = ("/a".to_owned(), None);
    let queries = [
        Query::Get(path.clone()),
        Query::Whoami,
        Query::Scan { bulk: 7, path, after, with_data: false },
        Query::Watch(watch(2, "/a", Scope::Node)),
    ];
    for query in queries {
        for consistency in [Consistency::Stale, Consistency::Linearizable] {
            let request = raw.start_read(consistency, query.clone()).await?;
            let told = raw.answer(request).await?;
            let is_refused = matches!(&told, ServerMessage::ReadReply { results: Err(refusal), .. }
                if refusal.code == ErrorCode::SessionEnded);
            ensure!(is_refused, "{query:?}: {told:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_session_end_its_watches_and_its_reads_and_its_writes_are_still_answered()
-> Result<()> {
    let rig = Rig::start().await?;
    let (mut raw, mut other) = (rig.client().await?, rig.client().await?);
    open(&mut raw, watch(1, "/a", Scope::Node)).await?;
    let mut events = Events::accept(&raw.connection, &raw).await?;
    raw.done(&create("/a", "")).await?;
    assert_eq!(events.events().await?.0, 1);
    raw.done(&Body::CloseSession).await?;
    match events.next().await? {
        EventMessage::Ended { watch: 1, end: WatchEnd::Refused(refusal), .. } => {
            assert_eq!(refusal.code, ErrorCode::SessionEnded);
        }
        other => bail!("not ended: {other:?}"),
    }
    other.done(&set("/a", "x")).await?;
    every_read_is_refused(&mut raw).await?;
    let mut resumed = Raw::connect(&rig, raw.resume()).await?;
    every_read_is_refused(&mut resumed).await?;
    // What its first write came to is still known.
    let request = resumed.send_write(1, &create("/a", "")).await?;
    ensure!(matches!(resumed.reply(request).await?, (_, Reply::Done(_))));
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_events_is_cut_off_and_goes_on_from_its_position()
-> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    let mut writer = rig.client().await?;
    writer.done(&create("/a", "")).await?;
    let (began, watched) = open(&mut raw, watch(1, "/a", Scope::Node)).await?;
    assert!(is_open(&watched));
    let data = "x".repeat(1 << 20);
    let mut last = began;
    for _ in 0..40 {
        let request = writer.start_bulk_write(&set("/a", &data)).await?;
        last = writer.reply(request).await?.0;
    }
    // It has read nothing, and nobody has waited for it. Now it reads: all up to where it was cut off.
    let mut events = Events::accept(&raw.connection.clone(), &raw).await?;
    let mut at = began;
    let position = loop {
        match events.next().await? {
            EventMessage::Events { zxid, .. } => {
                assert_eq!(zxid, Zxid(at.0 + 1), "nothing is left out");
                at = zxid;
            }
            EventMessage::Ended { watch: 1, position, end: WatchEnd::Refused(refusal) } => {
                assert_eq!(refusal.code.name(), "slow-consumer");
                break position;
            }
            other => bail!("{other:?}"),
        }
    };
    assert_eq!(position, at);
    assert!(at < last, "it was cut off");
    let mut again = watch(1, "/a", Scope::Node);
    again.from = Some(position);
    let request = raw.start_read(Consistency::Stale, Query::Watch(again)).await?;
    while at < last {
        let (_, zxid, _) = events.events().await?;
        assert_eq!(zxid, Zxid(at.0 + 1));
        at = zxid;
    }
    raw.answer(request).await?;
    rig.stop().await;
    Ok(())
}
