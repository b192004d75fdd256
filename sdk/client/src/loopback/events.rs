//! What the tests' member knows of events: all that happened since it began, and what of it a lane's watches are sent. It knows
//! no rights, and forgets nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::{Millis, Zxid};
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::read::MemoryTree;
use quorate_core::transaction::{Entry, EntryBody};
use quorate_net::{Connection, LaneLimits};
use quorate_wire::message::watch::{
    EVENT_FRAME_BYTES_MAX, EVENT_LANE, Event, EventKind, EventMessage, Previous, Scope, Watch,
    WatchEnd,
};
use tokio::sync::{mpsc, watch};

/// What a transaction did: events with all data.
#[derive(Debug, Clone)]
pub(super) struct Told {
    zxid: Zxid,
    time: Millis,
    events: Vec<Event>,
}

/// All that happened.
#[derive(Default)]
pub(super) struct History {
    told: Vec<Told>,
}

impl History {
    /// What an entry does to the tree, one item for each transaction.
    pub(super) fn record(&mut self, before: &MemoryTree, entry: &Entry) -> Vec<Told> {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return Vec::new() };
        // Version and data of what this entry has touched.
        let mut now: BTreeMap<Path, (u64, Bytes)> = BTreeMap::new();
        let mut told = Vec::new();
        for transaction in transactions {
            let mut events = Vec::new();
            for change in &transaction.changes {
                let (kind, path) = match change {
                    Change::NodeCreated { path, lifetime, .. } => {
                        (EventKind::Created(*lifetime), path)
                    }
                    Change::DataSet { path, .. } => (EventKind::Set, path),
                    Change::NodeDeleted { path, .. } => (EventKind::Deleted, path),
                    _ => continue,
                };
                let was = now.get(path).cloned().or_else(|| {
                    let version = before.node(path)?.version;
                    Some((version, tree::get(before, path).ok()?.0))
                });
                let (version, data) = match change {
                    Change::NodeCreated { data, .. } => (0, Some(data.clone())),
                    Change::DataSet { data, .. } => {
                        (was.as_ref().map_or(0, |(version, _)| version + 1), Some(data.clone()))
                    }
                    _ => (was.as_ref().map_or(0, |(version, _)| *version), None),
                };
                match &data {
                    Some(data) => now.insert(path.clone(), (version, data.clone())),
                    None => now.remove(path),
                };
                let previous = match (kind, was) {
                    (EventKind::Created(_), _) | (_, None) => Previous::None,
                    (_, Some((_, data))) => Previous::Data(data),
                };
                events.push(Event { path: path.to_string(), kind, version, data, previous });
            }
            told.push(Told { zxid: transaction.zxid, time: transaction.time, events });
        }
        self.told.extend(told.iter().filter(|told| !told.events.is_empty()).cloned());
        told
    }
}

/// The watches of a lane.
pub(super) struct Watching {
    open: BTreeMap<u64, Watch>,
    frames: mpsc::UnboundedSender<EventMessage>,
    frames_count: u64,
}

impl Watching {
    pub(super) fn new(frames: mpsc::UnboundedSender<EventMessage>) -> Self {
        Self { open: BTreeMap::new(), frames, frames_count: 0 }
    }

    pub(super) fn frames_count(&self) -> u64 {
        self.frames_count
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn open(&mut self, watch: &Watch, history: &History, per_frame: usize) {
        let before = self.open.insert(watch.watch, watch.clone());
        assert_eq!(before, None, "its number is in use");
        let Some(from) = watch.from else { return };
        for told in history.told.iter().filter(|told| told.zxid > from) {
            self.tell_one(watch.watch, told, per_frame);
        }
    }

    pub(super) fn close(&mut self, watch: u64) {
        self.open.remove(&watch);
    }

    pub(super) fn tell(&mut self, told: &Told, per_frame: usize) {
        let ids: Vec<u64> = self.open.keys().copied().collect();
        for id in ids {
            self.tell_one(id, told, per_frame);
        }
    }

    fn tell_one(&mut self, id: u64, told: &Told, per_frame: usize) {
        let Some(watch) = self.open.get(&id) else { return };
        let once = watch.once;
        let its = told.events.iter().filter(|event| is_about(watch, event));
        let its: Vec<Event> = its.map(|event| shown(watch, event)).collect();
        if its.is_empty() {
            return;
        }
        let (zxid, time_ms) = (told.zxid, told.time.0);
        let per_frame = if per_frame == 0 { its.len() } else { per_frame };
        let count = its.len().div_ceil(per_frame);
        for (at, events) in its.chunks(per_frame).enumerate() {
            let (events, has_more) = (events.to_vec(), at + 1 < count);
            self.send(EventMessage::Events { watch: id, zxid, time_ms, events, has_more });
        }
        if once {
            self.open.remove(&id);
            self.send(EventMessage::Ended { watch: id, position: zxid, end: WatchEnd::Fired });
        }
    }

    pub(super) fn progress(&mut self, zxid: Zxid) {
        if !self.open.is_empty() {
            self.send(EventMessage::Progress { zxid });
        }
    }

    pub(super) fn end_all(&mut self, position: Zxid, end: &WatchEnd) {
        for watch in std::mem::take(&mut self.open).into_keys() {
            self.send(EventMessage::Ended { watch, position, end: end.clone() });
        }
    }

    fn send(&mut self, frame: EventMessage) {
        self.frames_count += 1;
        // The lane may be gone.
        self.frames.send(frame).ok();
    }
}

fn is_about(watch: &Watch, event: &Event) -> bool {
    let below = event.path.strip_prefix(watch.path.trim_end_matches('/'));
    let below = below.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_itself = event.path == watch.path;
    match (watch.scope, below) {
        (_, None) => false,
        (Scope::Node, _) => is_itself,
        (Scope::Subtree, _) => true,
        (Scope::Children, _) if is_itself => event.kind == EventKind::Deleted,
        (Scope::Children, Some(rest)) => {
            event.kind != EventKind::Set && rest.trim_start_matches('/').split('/').count() == 1
        }
    }
}

fn shown(watch: &Watch, event: &Event) -> Event {
    let mut event = event.clone();
    if !watch.with_data {
        event.data = None;
    }
    if !watch.with_previous {
        event.previous = Previous::None;
    }
    event
}

/// Sends what there is on an event lane, which is opened for the first frame, while it is not held.
pub(super) async fn send_events(
    connection: Connection,
    head: EventMessage,
    mut frames: mpsc::UnboundedReceiver<EventMessage>,
    mut held: watch::Receiver<bool>,
) {
    let limits = LaneLimits { frame_bytes_max: EVENT_FRAME_BYTES_MAX, ..LaneLimits::default() };
    let mut lane = None;
    while let Some(frame) = frames.recv().await {
        if held.wait_for(|held| !held).await.is_err() {
            return;
        }
        if lane.is_none() {
            let opened = connection.open_one_way_lane(EVENT_LANE, limits, None).await;
            let Ok(opened) = opened else { return };
            if opened.send(head.encode()).await.is_err() {
                return;
            }
            lane = Some(opened);
        }
        let Some(lane) = &lane else { return };
        if lane.send(frame.encode()).await.is_err() {
            return;
        }
    }
    // Not dropped before the connection: what has queued is on its way.
    connection.closed().await;
}
