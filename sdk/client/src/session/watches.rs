//! The watches of a session: which are open on this attachment, which are to be opened (again) and from where, and the frames of
//! the event lane, handed to each watch's outbox. It knows no stream, and not when answers are handed over (`hold`).
//!
//! # Why each event is handed over once, in order, and none is missing
//!
//! 1. An outbox has a position: all events up to it are in it, or were taken. It moves with each transaction that is queued whole,
//!    with the answer that opened the watch, and with what the member says to have been sent to all open watches.
//! 2. On a new attachment a watch is opened behind its position: what was queued does not come again, and what was not, does. A
//!    transaction of which only a part had come is not queued; it comes again as a whole.
//! 3. A watch that was never answered, and names no position to begin behind, has none yet. What came for it is thrown away when
//!    the attachment ends, since its answer may come from another member and another time; nobody has seen any of it.
//! 4. A member that does not have the events behind the position is left for another one, when it has answered all watches. Only
//!    when it was so at all addresses is the watch ended, with the position: a gap is never silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::error::{Advice, ErrorCode, Refusal};
use quorate_core::ids::{Millis, Zxid};
use quorate_wire::message::watch::{Event, EventMessage, Watch, WatchEnd, Watched};
use quorate_wire::message::{ClientMessage, Consistency, Query, Results};

use super::Token;
use super::backoff::Backoff;
use crate::limits::{REFUSALS_MAX, RETRY_MS_FIRST, RETRY_MS_MAX, WATCH_TRANSACTION_BYTES_MAX};
use crate::outbox::{Change, End, Full, Outbox, Seen};

/// What a caller asks for.
#[derive(Debug, Clone)]
pub(crate) struct WatchAsk {
    /// How fresh the state is behind which it begins.
    pub(crate) consistency: Consistency,
    /// Its number is its name for as long as the client lives.
    pub(crate) watch: Watch,
    pub(crate) outbox: Arc<Outbox>,
}

/// What a message about watches comes to.
#[derive(Debug)]
pub(super) enum WatchStep {
    GoOn,
    /// This member is of no more use, or does not have what another one may have.
    Leave,
    /// The session is over.
    Over(Refusal),
    /// The answer for whoever asked for a watch.
    Answered(Token, Zxid, Result<Results, Refusal>),
}

#[derive(Debug)]
enum Stage {
    /// To be asked for, again or for the first time after a refusal; not before when.
    Due(u64),
    /// Asked for under this request.
    Asked,
    /// Answered.
    Open,
}

/// A transaction of which the last frame has not come.
#[derive(Debug)]
struct Assembly {
    zxid: Zxid,
    events: Vec<Event>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Whoever waits for it to be open.
    token: Option<Token>,
    ask: WatchAsk,
    stage: Stage,
    /// It has a position: from now on it is opened behind that.
    is_started: bool,
    assembly: Option<Assembly>,
    /// It has ended before the answer that it was opened.
    early_end: Option<End>,
    refusals: u32,
    /// The addresses at which the events behind its position were not, how often it was asked for there, and the lowest position
    /// that was offered.
    not_here: BTreeSet<String>,
    not_here_count: usize,
    oldest: Option<Zxid>,
}

#[derive(Debug)]
pub(super) struct Watches {
    entries: BTreeMap<u64, Entry>,
    /// Requests under way that open a watch again, and those that open one.
    asked: [BTreeMap<u64, u64>; 2],
    /// Those with a position that are not open on this attachment.
    reopening: BTreeSet<u64>,
    /// To be asked for, before what else is sent and behind what was not answered.
    due: [BTreeSet<u64>; 2],
    /// Given up here; the member may not know yet.
    closing: BTreeSet<u64>,
    unwatch: VecDeque<u64>,
    unwatching: BTreeMap<u64, u64>,
    /// The address of this attachment, and how many are known.
    address: String,
    addresses_count: usize,
    /// Another member may have what this one has not.
    is_leaving: bool,
    seen: Seen,
    backoff: Backoff,
}

/// How often each address is asked on the average before it is taken that those that do not answer do not have it.
const NOT_HERE_FACTOR: usize = 3;

const FIRST: usize = 0;
const BEHIND: usize = 1;

impl Watches {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            asked: [BTreeMap::new(), BTreeMap::new()],
            reopening: BTreeSet::new(),
            due: [BTreeSet::new(), BTreeSet::new()],
            closing: BTreeSet::new(),
            unwatch: VecDeque::new(),
            unwatching: BTreeMap::new(),
            address: String::new(),
            addresses_count: 1,
            is_leaving: false,
            seen: Arc::new(AtomicU64::new(0)),
            backoff: Backoff::new(RETRY_MS_FIRST, RETRY_MS_MAX, seed.rotate_left(48)),
        }
    }

    /// What the outboxes of this session's watches look at.
    pub(super) fn seen(&self) -> Seen {
        Arc::clone(&self.seen)
    }

    pub(super) fn set_address(&mut self, address: &str, addresses_count: usize) {
        address.clone_into(&mut self.address);
        self.addresses_count = addresses_count.max(1);
    }

    /// Whether another member is to be asked: there is a watch that this one can not serve, and it has said so of all that are
    /// to be opened again. Answers of others may wait for those.
    pub(super) fn wants_another_member(&self) -> bool {
        self.is_leaving && self.asked[FIRST].is_empty() && self.due[FIRST].is_empty()
    }

    /// Whether all watches that have a position are open.
    pub(super) fn is_settled(&self) -> bool {
        self.reopening.is_empty()
    }

    /// Whether this is a request that opens a watch again.
    pub(super) fn is_reopening(&self, request: u64) -> bool {
        self.asked[FIRST].contains_key(&request)
    }

    /// Whether one is asked for.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.iter().any(|asked| !asked.is_empty())
    }

    /// Asks for a watch for the first time.
    pub(super) fn ask(
        &mut self,
        token: Option<Token>,
        ask: WatchAsk,
        request: u64,
    ) -> ClientMessage {
        let id = ask.watch.watch;
        let entry = Entry {
            token,
            ask,
            stage: Stage::Asked,
            is_started: false,
            assembly: None,
            early_end: None,
            refusals: 0,
            not_here: BTreeSet::new(),
            not_here_count: 0,
            oldest: None,
        };
        let message = entry.message(request);
        self.entries.insert(id, entry);
        self.asked[BEHIND].insert(request, id);
        message
    }

    /// What goes before everything else: watches that have a position, and the end of those that were given up.
    pub(super) fn poll_first(&mut self, request: u64, now_ms: u64) -> Option<ClientMessage> {
        if let Some(id) = self.unwatch.pop_front() {
            self.unwatching.insert(request, id);
            let query = Query::Unwatch(id);
            return Some(ClientMessage::Read { request, consistency: Consistency::Stale, query });
        }
        self.poll_due(FIRST, request, now_ms)
    }

    /// What goes behind writes that were not answered: a watch that begins with now has to see them.
    pub(super) fn poll_again(&mut self, request: u64, now_ms: u64) -> Option<ClientMessage> {
        self.poll_due(BEHIND, request, now_ms)
    }

    fn poll_due(&mut self, place: usize, request: u64, now_ms: u64) -> Option<ClientMessage> {
        let is_due = |id: &&u64| match self.entries.get(id).map(|entry| &entry.stage) {
            Some(Stage::Due(at_ms)) => *at_ms <= now_ms,
            _ => true,
        };
        let id = self.due[place].iter().find(is_due).copied()?;
        self.due[place].remove(&id);
        let entry = self.entries.get_mut(&id)?;
        entry.stage = Stage::Asked;
        self.asked[place].insert(request, id);
        Some(entry.message(request))
    }

    /// When something is to be asked for again. `is_behind`: writes go before those that have no position.
    pub(super) fn next_timer_ms(&self, is_behind: bool) -> Option<u64> {
        let due = self.due[FIRST].iter();
        let due = due.chain(self.due[BEHIND].iter().filter(|_| !is_behind));
        let times = due.filter_map(|id| match self.entries.get(id)?.stage {
            Stage::Due(at_ms) => Some(at_ms),
            Stage::Asked | Stage::Open => None,
        });
        times.min()
    }

    fn put_off(&mut self, id: u64, at_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stage = Stage::Due(at_ms);
            self.due[if entry.is_started { FIRST } else { BEHIND }].insert(id);
        }
    }

    /// The attachment is over: everything is opened again on the next one.
    pub(super) fn detached(&mut self) {
        self.asked = [BTreeMap::new(), BTreeMap::new()];
        self.closing.clear();
        self.unwatch.clear();
        self.unwatching.clear();
        self.due = [BTreeSet::new(), BTreeSet::new()];
        self.reopening.clear();
        self.is_leaving = false;
        for (id, entry) in &mut self.entries {
            (entry.assembly, entry.early_end) = (None, None);
            entry.stage = Stage::Due(0);
            if entry.is_started {
                entry.ask.outbox.closed();
                self.reopening.insert(*id);
                self.due[FIRST].insert(*id);
            } else {
                // With a position to begin behind, whatever had come would have started it.
                if entry.ask.watch.from.is_none() {
                    entry.ask.outbox.clear();
                }
                self.due[BEHIND].insert(*id);
            }
        }
        self.seen.store(0, Ordering::Release);
        self.backoff.reset();
    }

    /// A frame of the event lane.
    pub(super) fn handle_frame(&mut self, frame: EventMessage) -> WatchStep {
        match frame {
            EventMessage::Head { .. } => WatchStep::Leave,
            EventMessage::Events { watch, zxid, time_ms, events, has_more } => {
                self.handle_events(watch, zxid, Millis(time_ms), events, has_more)
            }
            EventMessage::Progress { zxid } => {
                self.saw(zxid);
                for entry in self.entries.values() {
                    entry.ask.outbox.progress(zxid);
                }
                WatchStep::GoOn
            }
            EventMessage::Ended { watch, position, end } => self.handle_ended(watch, position, end),
        }
    }

    /// The member has said that all events up to this transaction have been sent to every open watch.
    pub(super) fn saw(&mut self, zxid: Zxid) {
        self.seen.fetch_max(zxid.0, Ordering::AcqRel);
    }

    fn handle_events(
        &mut self,
        id: u64,
        zxid: Zxid,
        time: Millis,
        events: Vec<Event>,
        has_more: bool,
    ) -> WatchStep {
        let Some(entry) = self.entries.get_mut(&id) else {
            // It was given up before it was open, and the member opened it afterwards.
            if self.closing.insert(id) {
                self.unwatch.push_back(id);
            }
            return WatchStep::GoOn;
        };
        if entry.ask.outbox.is_abandoned() {
            return self.give_up(id);
        }
        if zxid <= entry.ask.outbox.queued() {
            tracing::debug!(watch = id, %zxid, "an event that was told before");
            return WatchStep::GoOn;
        }
        let whole = match entry.assemble(zxid, events, has_more) {
            Assembled::Part => return WatchStep::GoOn,
            Assembled::Broken => return WatchStep::Leave,
            Assembled::TooLarge(bytes) => {
                let max = WATCH_TRANSACTION_BYTES_MAX as u64;
                let refusal = Refusal::limit("bytes of one transaction's events", bytes, max);
                return self.end(id, End::Refused(refusal), true);
            }
            Assembled::Whole(events) => Change { zxid, time, events },
        };
        if let Err(Full) = entry.ask.outbox.push(whole) {
            return self.end(id, End::Slow, true);
        }
        if entry.is_unanswered() {
            if entry.ask.watch.once {
                entry.early_end = Some(End::Fired);
            }
            return WatchStep::GoOn;
        }
        if entry.ask.watch.once {
            return self.end(id, End::Fired, false);
        }
        if !entry.is_started {
            // Its reader need not wait for the rest of the past.
            entry.is_started = true;
            if let Some(token) = entry.token.take() {
                return WatchStep::Answered(token, zxid, Ok(open(None)));
            }
        }
        WatchStep::GoOn
    }

    fn handle_ended(&mut self, id: u64, position: Zxid, end: WatchEnd) -> WatchStep {
        if let WatchEnd::Refused(refusal) = &end
            && matches!(refusal.code, ErrorCode::SessionEnded | ErrorCode::NoSession)
        {
            // Whoever reads it hears of that.
            return WatchStep::Over(refusal.clone());
        }
        let Some(entry) = self.entries.get_mut(&id) else { return WatchStep::GoOn };
        entry.assembly = None;
        if entry.is_started {
            entry.ask.outbox.opened(position);
        }
        let is_unanswered = entry.is_unanswered();
        let end = match end {
            WatchEnd::Fired => End::Fired,
            WatchEnd::Refused(refusal) if refusal.code == ErrorCode::SlowConsumer => End::Slow,
            WatchEnd::Refused(refusal) => End::Refused(refusal),
            WatchEnd::NotHere { oldest } if !is_unanswered => return self.not_here(id, oldest),
            // It has to be asked for again, and its reader will know from where on.
            WatchEnd::NotHere { .. } => End::Slow,
        };
        if is_unanswered {
            entry.early_end.get_or_insert(end);
            return WatchStep::GoOn;
        }
        self.end(id, end, false)
    }

    /// The answer to a request, if it is about a watch; else it is given back.
    pub(super) fn handle_answer(
        &mut self,
        request: u64,
        zxid: Zxid,
        results: Result<Results, Refusal>,
        now_ms: u64,
    ) -> ControlFlow<WatchStep, Result<Results, Refusal>> {
        if let Some(id) = self.unwatching.remove(&request) {
            self.closing.remove(&id);
            return ControlFlow::Break(WatchStep::GoOn);
        }
        let mut asked = self.asked.iter_mut();
        let Some(id) = asked.find_map(|asked| asked.remove(&request)) else {
            return ControlFlow::Continue(results);
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stage = Stage::Due(0);
        } else {
            if let Ok(Results::Watched(Watched::Open { .. })) = results {
                self.unwatch.push_back(id);
            } else {
                self.closing.remove(&id);
            }
            return ControlFlow::Break(WatchStep::GoOn);
        }
        ControlFlow::Break(match results {
            Ok(Results::Watched(Watched::Open { first })) => self.opened(id, zxid, first),
            Ok(Results::Watched(Watched::NotHere { oldest })) => {
                self.begin_again(id);
                match self.entries.get(&id).is_some_and(Entry::is_unanswered) {
                    // It begins with now, wherever that is: the member had no time for it.
                    true => {
                        let refusal = Refusal::new(ErrorCode::Overloaded, "it was too late");
                        self.refused(id, refusal, now_ms)
                    }
                    false => self.not_here(id, oldest),
                }
            }
            Ok(_) => {
                let refusal = Refusal::new(ErrorCode::BadMessage, "an answer to another request");
                self.end(id, End::Refused(refusal), false)
            }
            Err(refusal) => {
                self.begin_again(id);
                self.refused(id, refusal, now_ms)
            }
        })
    }

    /// It was not opened, though some of its events may have come: the next attempt is told all from its position on.
    fn begin_again(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        (entry.assembly, entry.early_end) = (None, None);
        if entry.is_unanswered() {
            entry.ask.outbox.clear();
        }
    }

    fn opened(
        &mut self,
        id: u64,
        zxid: Zxid,
        first: Option<Box<Result<Results, Refusal>>>,
    ) -> WatchStep {
        self.reopening.remove(&id);
        let Some(entry) = self.entries.get_mut(&id) else { return WatchStep::GoOn };
        entry.ask.outbox.opened(zxid);
        entry.stage = Stage::Open;
        entry.is_started = true;
        (entry.refusals, entry.not_here_count, entry.oldest) = (0, 0, None);
        entry.not_here.clear();
        self.backoff.reset();
        let (token, early_end) = (entry.token.take(), entry.early_end.take());
        if let Some(end) = early_end {
            self.end(id, end, false);
        }
        match token {
            Some(token) => WatchStep::Answered(token, zxid, Ok(open(first))),
            None => WatchStep::GoOn,
        }
    }

    fn not_here(&mut self, id: u64, oldest: Zxid) -> WatchStep {
        let Some(entry) = self.entries.get_mut(&id) else { return WatchStep::GoOn };
        entry.not_here.insert(self.address.clone());
        entry.not_here_count += 1;
        let oldest = entry.oldest.map_or(oldest, |before| before.min(oldest));
        entry.oldest = Some(oldest);
        let is_nowhere = entry.not_here.len() >= self.addresses_count;
        if is_nowhere || entry.not_here_count >= NOT_HERE_FACTOR * self.addresses_count {
            return self.end(id, End::Compacted { oldest }, false);
        }
        // It is asked for again where the session goes.
        entry.stage = Stage::Due(0);
        if entry.is_started {
            // What the member says of its progress is not about this one any more.
            entry.ask.outbox.closed();
            self.reopening.insert(id);
        }
        self.is_leaving = true;
        WatchStep::GoOn
    }

    fn refused(&mut self, id: u64, refusal: Refusal, now_ms: u64) -> WatchStep {
        let Some(entry) = self.entries.get_mut(&id) else { return WatchStep::GoOn };
        entry.refusals = entry.refusals.saturating_add(1);
        let is_passing = matches!(refusal.code.advice(), Advice::Backoff | Advice::SameSession);
        let is_patient = refusal.code == ErrorCode::NoLeader || entry.refusals < REFUSALS_MAX;
        match refusal.code {
            ErrorCode::NoSession | ErrorCode::SessionEnded => WatchStep::Over(refusal),
            ErrorCode::SessionMoved | ErrorCode::ShuttingDown => WatchStep::Leave,
            _ if is_passing && is_patient => {
                let at_ms = now_ms + self.backoff.next_ms();
                self.put_off(id, at_ms);
                WatchStep::GoOn
            }
            _ => self.end(id, End::Refused(refusal), false),
        }
    }

    /// Its reader has gone. The token of whoever still waits for it to be open.
    pub(super) fn close(&mut self, id: u64) -> Option<Token> {
        match self.give_up(id) {
            WatchStep::Answered(token, ..) => Some(token),
            _ => None,
        }
    }

    fn give_up(&mut self, id: u64) -> WatchStep {
        let refusal = Refusal::new(ErrorCode::Cancelled, "given up before it was open");
        self.end(id, End::Refused(refusal), true)
    }

    /// Nothing more comes for a watch. `is_open`: the member does not know yet.
    fn end(&mut self, id: u64, end: End, is_open: bool) -> WatchStep {
        let Some(entry) = self.entries.remove(&id) else { return WatchStep::GoOn };
        self.reopening.remove(&id);
        for due in &mut self.due {
            due.remove(&id);
        }
        match entry.stage {
            Stage::Open if is_open => {
                self.closing.insert(id);
                self.unwatch.push_back(id);
            }
            // Its answer says whether it is open.
            Stage::Asked => {
                self.closing.insert(id);
            }
            Stage::Due(_) | Stage::Open => {}
        }
        let refusal = match &end {
            End::Refused(refusal) => Some(refusal.clone()),
            End::Fired => None,
            End::Compacted { oldest } => {
                let message = format!("the oldest position is zxid {oldest}");
                Some(Refusal::new(ErrorCode::WatchCompacted, message))
            }
            End::Slow | End::SessionOver => {
                Some(Refusal::new(ErrorCode::SlowConsumer, "its events came too fast"))
            }
        };
        let position = entry.ask.outbox.queued();
        entry.ask.outbox.end(end);
        let Some(token) = entry.token else { return WatchStep::GoOn };
        WatchStep::Answered(token, position, refusal.map_or(Ok(open(None)), Err))
    }

    /// The session is over: who still waits for a watch; the outboxes go to `over`.
    pub(super) fn drain(&mut self, over: &mut Vec<Arc<Outbox>>) -> Vec<Token> {
        let entries = std::mem::take(&mut self.entries).into_values();
        entries
            .filter_map(|entry| {
                over.push(entry.ask.outbox);
                entry.token
            })
            .collect()
    }
}

fn open(first: Option<Box<Result<Results, Refusal>>>) -> Results {
    Results::Watched(Watched::Open { first })
}

enum Assembled {
    Part,
    Whole(Vec<Event>),
    /// So many bytes, so far.
    TooLarge(u64),
    /// A transaction that begins before the last one ended.
    Broken,
}

impl Entry {
    /// It has no position before its answer comes.
    fn is_unanswered(&self) -> bool {
        !self.is_started && self.ask.watch.from.is_none()
    }

    fn message(&self, request: u64) -> ClientMessage {
        let mut watch = self.ask.watch.clone();
        let mut consistency = self.ask.consistency;
        if self.is_started {
            // The position says what must have been applied.
            consistency = Consistency::Stale;
            watch.from = Some(self.ask.outbox.queued());
            watch.first = None;
        }
        ClientMessage::Read { request, consistency, query: Query::Watch(watch) }
    }

    fn assemble(&mut self, zxid: Zxid, events: Vec<Event>, has_more: bool) -> Assembled {
        let bytes = events.iter().map(Event::weight).sum::<usize>();
        let assembly = match self.assembly.take() {
            None => Assembly { zxid, events, bytes },
            Some(begun) if begun.zxid != zxid => return Assembled::Broken,
            Some(mut begun) => {
                begun.events.extend(events);
                Assembly { bytes: begun.bytes + bytes, ..begun }
            }
        };
        if assembly.bytes > WATCH_TRANSACTION_BYTES_MAX {
            return Assembled::TooLarge(assembly.bytes as u64);
        }
        if has_more {
            self.assembly = Some(assembly);
            return Assembled::Part;
        }
        Assembled::Whole(assembly.events)
    }
}
