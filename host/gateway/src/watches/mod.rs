//! The watches of this member's clients: which are open, what each is told of an entry that has been applied, and how they
//! end. It does not know lanes: frames are put into each attachment's outbox, and taken out by whoever writes them.
//!
//! One lock orders everything: an entry's events are queued for all live watches under it, and a watch becomes live under it,
//! when nothing lies between what was queued and its position. What has happened before that is read back from the history,
//! beside the thread that applies (`catch_up`). Nobody waits here for a client: an outbox that is full ends its watches, with
//! their positions (`outbox`).
//!
//! Reading order: `outbox`, `frames` (from changes to events), `rights`, [`history`] (the port to what was applied), `live`
//! (told of entries), `catch_up` (the way there).

mod catch_up;
mod frames;
pub mod history;
mod live;
mod outbox;
mod rights;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::read::SharedRead;
use quorate_core::watch::{Index, Scope};
use quorate_wire::message::watch as wire;
use tokio::sync::Semaphore;

pub use self::catch_up::{NotOpen, Opening};
use self::frames::Form;
pub use self::history::{History, Unread, WantBefore};
use self::outbox::Budget;
pub use self::outbox::Outbox;
use self::rights::Rights;
use crate::limits;
use crate::principals::Counted;
use crate::reads::Client;

/// The watches of one member.
pub struct Watches {
    state: Mutex<State>,
    /// Comes when raft has started; nobody watches before.
    history: OnceLock<Arc<dyn History>>,
    /// Who may read what.
    rights: Rights,
    budget: Arc<Budget>,
    /// Those that read history at a time.
    turns: Semaphore,
}

#[derive(Default)]
struct State {
    /// All events up to this transaction are queued for the watches that are live.
    queued: Zxid,
    /// The watches that are live.
    index: Index<u64>,
    /// All watches, by a key that is never used again.
    all: BTreeMap<u64, One>,
    /// The attachments that have any, by number.
    watchers: BTreeMap<u64, Watcher>,
    next_key: u64,
    /// How many of those that are live want to know what data was before.
    want_previous: usize,
}

/// One attachment's.
struct Watcher {
    outbox: Arc<Outbox>,
    /// Keys by the numbers that the client has given.
    watches: BTreeMap<u64, u64>,
    /// Frames that were queued when it was last looked whether it is idle.
    looked_at: u64,
    /// The transaction of the last mark.
    marked: Zxid,
}

/// What is asked of a watch, checked.
#[derive(Clone)]
struct Asked {
    /// Its number at the client.
    watch: u64,
    client: Client,
    path: Path,
    scope: Scope,
    /// It names no position to begin behind.
    begins_now: bool,
    is_once: bool,
    with_data: bool,
    with_previous: bool,
}

impl Asked {
    fn form(&self) -> Form {
        let Self { watch, with_data, with_previous, .. } = *self;
        Form { watch, with_data, with_previous }
    }
}

/// One watch.
struct One {
    attachment: u64,
    outbox: Arc<Outbox>,
    asked: Asked,
    is_live: bool,
    /// Held while it wants to know what data was before.
    _want_before: Option<WantBefore>,
    /// Held while it counts for its client's principal.
    _counted: Option<Counted>,
    /// Its events of transactions up to this one were queued before it was live, or are not for it.
    after: Zxid,
    /// The last transaction of which it was sent events since.
    last: Zxid,
}

impl One {
    /// All its events up to here are queued, if those up to `queued` are.
    fn position(&self, queued: Zxid) -> Zxid {
        queued.max(self.after).max(self.last)
    }

    fn ended(&self, position: Zxid, end: wire::WatchEnd) -> bytes::Bytes {
        wire::EventMessage::Ended { watch: self.asked.watch, position, end }.encode()
    }
}

impl Watches {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            history: OnceLock::new(),
            rights: Rights::default(),
            budget: Arc::new(Budget::new(limits::MEMBER_EVENT_QUEUE_BYTES_MAX)),
            turns: Semaphore::new(limits::CATCH_UPS_MAX),
        }
    }

    /// Where the past is read. The tree stands at this transaction, at least, and no watch is older.
    pub fn start(&self, history: Arc<dyn History>, zxid: Zxid) {
        let _first = self.history.set(history);
        let mut state = self.lock();
        state.queued = state.queued.max(zxid);
    }

    /// Where it stands who may read what; until then a znode with an access list is nobody's to watch.
    pub fn set_tree(&self, tree: SharedRead) {
        self.rights.set(tree);
    }

    /// The outbox of a new attachment.
    #[must_use]
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(self.budget.clone()))
    }

    /// Takes in a watch of an attachment, known by its number, and of its session: the watch's number is used from now on. It is
    /// told of nothing before [`Opening::open`].
    ///
    /// # Errors
    /// `bad-path`, `bad-arguments` (its number is used, or a first read from a position), `too-many-watches`,
    /// `slow-consumer` if the event lane of the attachment has ended.
    pub fn begin(
        self: &Arc<Self>,
        (attachment, client): (u64, impl Into<Client>),
        outbox: &Arc<Outbox>,
        watch: &wire::Watch,
    ) -> Result<Opening, Refusal> {
        let path = Path::parse(&watch.path)?;
        if watch.from.is_some() && watch.first.is_some() {
            let message = "a watch from a position has no first read: the state of then is gone";
            return Err(Refusal::new(ErrorCode::BadArguments, message));
        }
        if outbox.is_ended() {
            let message = "the event lane of this connection has ended: watch on a new connection";
            return Err(Refusal::new(ErrorCode::SlowConsumer, message));
        }
        let asked = Asked {
            watch: watch.watch,
            client: client.into(),
            path,
            scope: scope(watch.scope),
            begins_now: watch.from.is_none(),
            is_once: watch.once,
            with_data: watch.with_data,
            with_previous: watch.with_previous,
        };
        let key = self.lock().take_in(attachment, outbox, asked.clone())?;
        Ok(Opening::new(self.clone(), key, outbox.clone(), asked))
    }

    /// Ends a watch of an attachment. Nothing of it is queued from the return on. Nothing happens if it is not open.
    pub fn close(&self, attachment: u64, watch: u64) {
        let mut state = self.lock();
        let key = state.watchers.get(&attachment).and_then(|it| it.watches.get(&watch).copied());
        if let Some(key) = key {
            state.remove(key);
        }
    }

    /// Ends all watches of an attachment that is over.
    pub fn forget(&self, attachment: u64) {
        self.lock().forget(attachment);
    }

    /// How many there are on this member, those included that are not live yet.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// Marks the outboxes to which nothing was queued since the last call, and something was applied: all their watches have
    /// their events up to there.
    pub(crate) fn mark_idle(&self) {
        let mut state = self.lock();
        let queued = state.queued;
        for watcher in state.watchers.values_mut() {
            let count = watcher.outbox.count();
            if count == watcher.looked_at && watcher.marked < queued {
                let mark = wire::EventMessage::Progress { zxid: queued }.encode();
                // One that is full is not idle; it is told when it has taken what is queued.
                if watcher.outbox.push(vec![mark]).is_ok() {
                    watcher.marked = queued;
                }
            }
            watcher.looked_at = watcher.outbox.count();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self::new()
    }
}

fn scope(scope: wire::Scope) -> Scope {
    match scope {
        wire::Scope::Node => Scope::Node,
        wire::Scope::Children => Scope::Children,
        wire::Scope::Subtree => Scope::Subtree,
    }
}

impl State {
    fn take_in(
        &mut self,
        attachment: u64,
        outbox: &Arc<Outbox>,
        asked: Asked,
    ) -> Result<u64, Refusal> {
        if self.all.len() >= limits::WATCHES_MAX {
            return Err(too_many("watches on this member", limits::WATCHES_MAX));
        }
        let watches = self.watchers.get(&attachment).map(|watcher| &watcher.watches);
        if watches.is_some_and(|watches| watches.contains_key(&asked.watch)) {
            let message = format!("a watch with the number {} is open already", asked.watch);
            return Err(Refusal::new(ErrorCode::BadArguments, message));
        }
        if watches.is_some_and(|watches| watches.len() >= limits::WATCHES_PER_ATTACHMENT_MAX) {
            let max = limits::WATCHES_PER_ATTACHMENT_MAX;
            return Err(too_many("watches of a connection", max));
        }
        self.next_key += 1;
        let key = self.next_key;
        let watcher = self.watchers.entry(attachment).or_insert_with(|| Watcher {
            outbox: outbox.clone(),
            watches: BTreeMap::new(),
            looked_at: outbox.count(),
            marked: self.queued,
        });
        watcher.watches.insert(asked.watch, key);
        let (after, last) = (Zxid(0), Zxid(0));
        let outbox = outbox.clone();
        let is_live = false;
        let (_want_before, _counted) = (None, None);
        let one = One { attachment, outbox, asked, is_live, _want_before, _counted, after, last };
        self.all.insert(key, one);
        Ok(key)
    }

    /// Takes a watch away, wherever it stands.
    fn remove(&mut self, key: u64) -> Option<One> {
        let one = self.all.remove(&key)?;
        if one.is_live {
            self.index.remove(one.asked.scope, &one.asked.path, key);
            self.want_previous -= usize::from(one.asked.with_previous);
        }
        if let Some(watcher) = self.watchers.get_mut(&one.attachment) {
            watcher.watches.remove(&one.asked.watch);
            if watcher.watches.is_empty() {
                self.watchers.remove(&one.attachment);
            }
        }
        Some(one)
    }

    fn forget(&mut self, attachment: u64) {
        for key in self.keys_of(attachment) {
            self.remove(key);
        }
    }

    fn keys_of(&self, attachment: u64) -> Vec<u64> {
        let watcher = self.watchers.get(&attachment);
        watcher.map_or_else(Vec::new, |watcher| watcher.watches.values().copied().collect())
    }
}

fn too_many(what: &str, max: usize) -> Refusal {
    let message = format!("{what}: one more would be over the limit of {max}");
    Refusal::new(ErrorCode::TooManyWatches, message)
}

/// Marks idle outboxes for as long as it is polled.
pub(crate) async fn keep_marking(watches: Arc<Watches>) {
    let mut ticks = tokio::time::interval(limits::EVENT_MARK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        watches.mark_idle();
    }
}
