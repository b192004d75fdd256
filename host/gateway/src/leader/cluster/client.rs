//! A client of the cluster: one session, lanes at one member at a time, writes that it sends again until it is told what
//! became of them. It checks what it is told against what it asked, and never takes a number again for what was executed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::request::{
    Answer as Done, Body, LifetimeKind, Operation, Reply, Request, Sequence,
};
use quorate_core::session::Acks;
use quorate_wire::message::ServerMessage;

use super::world::World;
use crate::leader::*;
use crate::registry::{Attachment, ClientLane, NotTaken};

/// A lane, and what came on it.
type OwnLane = (Arc<Attachment>, Arc<Mutex<Vec<Bytes>>>);

pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) member: usize,
    lane: Option<OwnLane>,
    /// What is unanswered: each with the variant that tells bodies of the same number apart.
    unanswered: BTreeMap<u64, u64>,
    /// The highest write that was ever sent.
    sent: u64,
    /// The last write that was executed, and was told to be.
    replied: u64,
    variants: u64,
    next_request: u64,
    requests: BTreeMap<u64, u64>,
    /// Heartbeats, and the term of the leader that there was when they were sent.
    beats: BTreeMap<u64, Term>,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) cut: u64,
}

impl Client {
    pub(super) fn new(session: SessionId, member: usize) -> Self {
        Self {
            session,
            member,
            lane: None,
            unanswered: BTreeMap::new(),
            sent: 0,
            replied: 0,
            variants: 0,
            next_request: 1,
            requests: BTreeMap::new(),
            beats: BTreeMap::new(),
            confirmed: 0,
            refused: 0,
            cut: 0,
        }
    }

    pub(super) fn show(&self) -> String {
        let (member, unanswered, has_lane) = (self.member, &self.unanswered, self.has_lane());
        format!("at {member} (lane: {has_lane}): {unanswered:?} behind {}", self.replied)
    }

    pub(super) fn has_lane(&self) -> bool {
        self.lane.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn replied(&self) -> u64 {
        self.replied
    }

    /// Attaches at a member that is fresh, and sends again what is unanswered. The member before is not told.
    pub(super) fn resume(&mut self, world: &mut World, member: usize) {
        assert!(world.is_fresh(member));
        let one = &world.members[member];
        assert!(one.has_session(self.session), "it was opened before");
        let frames: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let lane = ClientLane::Kept(frames.clone());
        let attachment = one.registry.attach(self.session, lane, WriteNumber(self.sent)).unwrap();
        attachment.note_doubtful(one.last_write(self.session));
        self.member = member;
        self.lane = Some((attachment, frames));
        self.requests.clear();
        self.beats.clear();
        for (write, variant) in self.unanswered.clone().range(..=self.replied) {
            self.send(world, *write, *variant);
        }
        // Gaps are filled: nothing true could ever be said of what stands behind one.
        let last = self.unanswered.keys().next_back().copied().unwrap_or(0);
        for write in self.replied + 1..=last {
            let next = self.variants + 1;
            let variant = *self.unanswered.entry(write).or_insert(next);
            self.variants = self.variants.max(variant);
            self.send(world, write, variant);
        }
    }

    /// Sends the next write; or one beyond it, which is refused unless the one before comes first.
    pub(super) fn submit(&mut self, world: &mut World, is_beyond: bool) {
        let last = self.unanswered.keys().next_back().copied().unwrap_or(0);
        let next = self.replied.max(last) + 1;
        // A number that was refused, or passed over, is taken first.
        let behind = self.unanswered.range(self.replied + 1..).count() as u64;
        let has_gap = behind != next - 1 - self.replied;
        let write = if has_gap {
            let free = (self.replied + 1..next).find(|write| !self.unanswered.contains_key(write));
            free.unwrap_or(next)
        } else {
            next + u64::from(is_beyond)
        };
        self.variants += 1;
        self.unanswered.insert(write, self.variants);
        self.send(world, write, self.variants);
    }

    pub(super) fn heartbeat(&mut self, world: &World) {
        let Some((attachment, _)) = &self.lane else { return };
        let request = self.next_request;
        self.next_request += 1;
        if world.members[self.member].registry.heartbeat(attachment, request).is_ok() {
            self.beats.insert(request, world.term);
        }
    }

    fn send(&mut self, world: &mut World, write: u64, variant: u64) {
        let Some((attachment, _)) = &self.lane else { return };
        let request_id = self.next_request;
        self.next_request += 1;
        self.requests.insert(request_id, write);
        self.sent = self.sent.max(write);
        // All below the first one that is unanswered has been answered.
        let first = self.unanswered.keys().next().map_or(write, |first| *first.min(&write));
        let low = WriteNumber(self.replied.min(first - 1));
        let request = Request {
            session: self.session,
            write: WriteNumber(write),
            hash: u128::from(variant),
            acks: Acks { low, ranges: Vec::new() },
            body: Body::Single(Operation::Create {
                path: self.path(write, variant),
                data: Bytes::new(),
                lifetime: LifetimeKind::Persistent,
                sequence: Sequence::None,
                parents: false,
                acl: None,
            }),
            address: None,
        };
        let registry = &world.members[self.member].registry;
        match registry.submit(attachment, request_id, Arc::new(request), 100) {
            Ok(()) => {}
            Err(NotTaken::NotExecuted(refusal) | NotTaken::Unknown(refusal)) => panic!("{refusal}"),
        }
    }

    fn path(&self, write: u64, variant: u64) -> String {
        format!("/{}-{write}-{variant}", self.session.0)
    }

    /// Reads what has come.
    pub(super) fn read(&mut self, world: &mut World) {
        let Some((_, frames)) = &self.lane else { return };
        let frames = std::mem::take(&mut *frames.lock().unwrap());
        for frame in frames {
            if self.lane.is_some() {
                self.handle(world, ServerMessage::decode(frame).unwrap());
            }
        }
    }

    fn handle(&mut self, world: &mut World, message: ServerMessage) {
        let member = &world.members[self.member];
        match message {
            ServerMessage::Reply { request, zxid, reply, .. } => {
                assert!(member.zxid() >= zxid, "the reply overtakes the state that it reflects");
                let write = self.requests[&request];
                let variant = self.unanswered.remove(&write).unwrap();
                let reply = Reply::decode(reply).unwrap();
                let Reply::Done(Done::Created { path, .. }) = reply else { panic!("{reply:?}") };
                assert_eq!(path, self.path(write, variant), "the write's own reply");
                assert!(member.last_write(self.session).0 >= write);
                self.replied = self.replied.max(write);
            }
            ServerMessage::NotExecuted { request, refusal } => {
                assert_eq!(refusal.code, ErrorCode::ResendFrom, "{refusal}");
                let write = self.requests[&request];
                let variant = self.unanswered.remove(&write).unwrap();
                let write = WriteNumber(write);
                world.oracle.is_told_not_executed(self.session, write, u128::from(variant));
                self.refused += 1;
            }
            ServerMessage::Goodbye(_) => {
                self.lane = None;
                self.cut += 1;
            }
            ServerMessage::Confirmed { request } => {
                let sent_in = self.beats.remove(&request).unwrap();
                // The route may have been closed right behind the confirmation.
                let term = member.registry.highest_tag().map(|tag| tag.term);
                assert!(
                    term >= Some(sent_in),
                    "{term:?} confirms what was sent when {sent_in:?} led already"
                );
                self.confirmed += 1;
            }
            ServerMessage::Unconfirmed { request, refusal } => {
                assert_eq!(refusal.code, ErrorCode::NoLeader, "{refusal}");
                self.beats.remove(&request).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}
