//! From a transaction to the frames that tell a watch of it. It does not know who is told.

use std::cell::OnceCell;
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
    previous: Option<Bytes>,
    /// Its bytes as watches are told of it, made for the first one: without data, with data, and both with what was before.
    encoded: [OnceCell<Bytes>; 4],
}

impl<'a> Told<'a> {
    pub(super) fn new(event: Event<'a>, previous: Option<Bytes>) -> Self {
        Self { event, previous, encoded: Default::default() }
    }

    fn encoded(&self, Form { with_data, with_previous, .. }: Form) -> Bytes {
        let at = usize::from(with_data) + 2 * usize::from(with_previous);
        let encode = || self.encode_with(with_data, with_previous).encode();
        self.encoded.get(at).map_or_else(encode, |made| made.get_or_init(encode).clone())
    }

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
    let frame = |events: &[Bytes], has_more| {
        wire::encode_events(form.watch, (zxid, time_ms), events, has_more)
    };
    let mut frames = Vec::new();
    let mut events: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    for told in told {
        let event = told.encoded(form);
        if !events.is_empty() && bytes + event.len() > wire::EVENT_FRAME_BYTES {
            frames.push(frame(&events, true));
            events.clear();
            bytes = 0;
        }
        bytes += event.len();
        events.push(event);
    }
    if !events.is_empty() {
        frames.push(frame(&events, false));
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
            Told::new(event, previous)
        });
        told.collect()
    }
}

/// The events of a transaction, of which nobody wants to know what was before.
pub(super) fn events(transaction: &Transaction) -> Vec<Told<'_>> {
    let events = transaction.changes.iter().filter_map(Event::of);
    events.map(|event| Told::new(event, None)).collect()
}

/// The last data that a transaction has given to a znode.
pub(super) fn data_after<'a>(changes: &'a [Change], path: &Path) -> Option<&'a Bytes> {
    let of_path = changes.iter().rev().filter_map(Event::of).find(|event| event.path == path);
    of_path.and_then(|event| event.data())
}
