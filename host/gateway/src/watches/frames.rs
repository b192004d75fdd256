//! From a transaction to the frames that tell a watch of it. It does not know who is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::transaction::Transaction;
use quorate_core::watch::{Event, EventKind};
use quorate_wire::message::watch as wire;

/// An event, and the data before it as far as it is known.
pub(super) struct Told<'a> {
    pub(super) event: Event<'a>,
    pub(super) previous: Option<Bytes>,
}

impl Told<'_> {
    fn encode_with(&self, with_data: bool, with_previous: bool) -> wire::Event {
        let version = match self.event.kind {
            EventKind::Created { .. } => 0,
            EventKind::Set { version, .. } | EventKind::Deleted { version, .. } => version,
        };
        let kind = match self.event.kind {
            EventKind::Created { lifetime, .. } => wire::EventKind::Created(lifetime),
            EventKind::Set { .. } => wire::EventKind::Set,
            EventKind::Deleted { .. } => wire::EventKind::Deleted,
        };
        let previous = match (self.event.previous(), &self.previous) {
            (Some(_), Some(data)) if with_previous => wire::Previous::Data(data.clone()),
            (Some(_), None) if with_previous => wire::Previous::Gone,
            _ => wire::Previous::None,
        };
        let data = self.event.data().filter(|_| with_data).cloned();
        wire::Event { path: self.event.path.as_str().to_owned(), kind, version, data, previous }
    }
}

/// How a watch wants to be told.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) watch: u64,
    pub(super) with_data: bool,
    pub(super) with_previous: bool,
}

/// The frames for one watch: all these events of one transaction, in pieces.
pub(super) fn frames<'a>(
    form: Form,
    (zxid, time_ms): (Zxid, u64),
    told: impl IntoIterator<Item = &'a Told<'a>>,
) -> Vec<Bytes> {
    let Form { watch, with_data, with_previous } = form;
    let mut frames = Vec::new();
    let mut events: Vec<wire::Event> = Vec::new();
    let mut weight = 0;
    for told in told {
        let event = told.encode_with(with_data, with_previous);
        let more = event.weight();
        if !events.is_empty() && weight + more > wire::EVENT_FRAME_BYTES {
            let events = std::mem::take(&mut events);
            let frame = wire::EventMessage::Events { watch, zxid, time_ms, events, has_more: true };
            frames.push(frame.encode());
            weight = 0;
        }
        weight += more;
        events.push(event);
    }
    if !events.is_empty() {
        let frame = wire::EventMessage::Events { watch, zxid, time_ms, events, has_more: false };
        frames.push(frame.encode());
    }
    frames
}

/// The data of znodes as transactions go by: what each event has replaced.
#[derive(Default)]
pub(super) struct Replaced {
    now: BTreeMap<Path, Bytes>,
}

impl Replaced {
    /// From what was read before the first of them.
    pub(super) fn new(before: Option<&BTreeMap<Path, Bytes>>) -> Self {
        Self { now: before.cloned().unwrap_or_default() }
    }

    /// The events of the next transaction.
    pub(super) fn tell<'a>(&mut self, transaction: &'a Transaction) -> Vec<Told<'a>> {
        let events = transaction.changes.iter().filter_map(Event::of);
        let told = events.map(|event| {
            let previous = match event.data() {
                Some(data) => self.now.insert(event.path.clone(), data.clone()),
                None => self.now.remove(event.path.as_str()),
            };
            Told { event, previous }
        });
        told.collect()
    }
}

/// The events of a transaction, of which nobody wants to know what was before.
pub(super) fn events(transaction: &Transaction) -> Vec<Told<'_>> {
    let events = transaction.changes.iter().filter_map(Event::of);
    events.map(|event| Told { event, previous: None }).collect()
}

/// The last data that a transaction has given to a znode.
pub(super) fn data_after<'a>(changes: &'a [Change], path: &Path) -> Option<&'a Bytes> {
    let of_path = changes.iter().rev().filter_map(Event::of).find(|event| event.path == path);
    of_path.and_then(|event| event.data())
}
