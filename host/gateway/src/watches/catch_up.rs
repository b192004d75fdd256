//! A watch on its way from its position to where the others are: what it has missed is read from history, piece by piece, and
//! queued as fast as its client takes it; then it is live. It does not know how history is kept.
//!
//! A piece is read and put together beside the async threads. Pieces are bounded: one for each attachment, and no more than
//! `CATCH_UPS_MAX` on the member until they are queued. Nobody else waits for a client that takes its piece slowly, as long as
//! the outboxes' memory has room for that; where it has none, these few have it until their clients have taken it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::transaction::{Entry, EntryBody, Transaction};
use quorate_core::watch::Event;
use quorate_wire::message::watch::WatchEnd;
use tokio::task;
use tokio::time::timeout;

use super::frames::{self, Told, data_after};
use super::history::{History, Unread, WantBefore};
use super::outbox::Outbox;
use super::rights::{Rights, RightsNow};
use super::{Asked, Watches};
use crate::limits;
use crate::principals::Counted;

/// Why a watch is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpen {
    /// What follows its position is not retained here.
    NotHere {
        /// The lowest position that is.
        oldest: Zxid,
    },
    /// Anything else.
    Refused(Refusal),
}

impl From<Refusal> for NotOpen {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A watch that has its number and is told of nothing yet. Dropped, it is gone.
pub struct Opening {
    watches: Arc<Watches>,
    /// None: it is live, or it has fired already.
    key: Option<u64>,
    outbox: Arc<Outbox>,
    asked: Asked,
    want_before: Option<WantBefore>,
    /// Entries up to this transaction may be told without what they replaced.
    without_before: Zxid,
}

impl Opening {
    pub(super) fn new(watches: Arc<Watches>, key: u64, outbox: Arc<Outbox>, asked: Asked) -> Self {
        Self { watches, key: Some(key), outbox, asked, want_before: None, without_before: Zxid(0) }
    }

    /// What it counts for its client's principal is kept for as long as the watch is there.
    pub fn count(&self, counted: Option<Counted>) {
        let Some(key) = self.key else { return };
        if let Some(one) = self.watches.lock().all.get_mut(&key) {
            one._counted = counted;
        }
    }

    /// To be called before the position is taken from the tree: from then on entries are told with what they replace, if the
    /// watch asks for that. What the tree shows by then, and nobody was told of yet, is read back as the past is.
    ///
    /// # Errors
    /// `no-leader`, while this member starts.
    pub async fn prepare(&mut self) -> Result<(), Refusal> {
        if self.asked.with_previous {
            let history = self.watches.history()?;
            let wanted = task::spawn_blocking(move || history.want_before()).await;
            let (want_before, shown) = wanted.map_err(|_| shutting_down())?;
            (self.want_before, self.without_before) = (Some(want_before), shown);
        }
        Ok(())
    }

    /// Queues all its events behind this position, and makes it live; returns the zxid of its answer: up to where its events are
    /// queued, or, if it begins with now, the position, which is the state that its client was shown. The member has applied
    /// the position. Dropped before it is ready, the watch is gone; some events may have been queued.
    ///
    /// # Errors
    /// [`NotOpen`]; some events may have been queued.
    pub async fn open(mut self, position: Zxid) -> Result<Zxid, NotOpen> {
        let queued = self.catch_up(position).await?;
        Ok(if self.asked.begins_now { position } else { queued })
    }

    async fn catch_up(&mut self, mut position: Zxid) -> Result<Zxid, NotOpen> {
        let history = self.watches.history()?;
        let (watches, outbox) = (self.watches.clone(), self.outbox.clone());
        while !self.go_live(position)? {
            let _own_turn = outbox.turn.lock().await;
            eased(&outbox).await?;
            if outbox.is_ended() {
                return Err(ended());
            }
            let Ok(_turn) = watches.turns.acquire().await else {
                return Err(shutting_down().into());
            };
            let piece = self.read(history.clone(), position).await?;
            let (upto, has_room) = self.queue_all(piece)?;
            position = upto;
            if !has_room {
                let eased = eased(&outbox).await;
                if eased.is_err() {
                    // Its client finds out, and goes on from its positions.
                    outbox.end();
                }
                eased?;
            }
            if self.key.is_none() {
                return Ok(position);
            }
        }
        Ok(position)
    }

    async fn read(&self, history: Arc<dyn History>, position: Zxid) -> Result<Piece, NotOpen> {
        let (asked, watches) = (self.asked.clone(), self.watches.clone());
        let read = move || piece(&*history, &asked, &watches.rights, position);
        task::spawn_blocking(read).await.map_err(|_| shutting_down())?
    }

    /// Queues a piece; up to where its events are queued then, and whether there was room for them. One that is for one
    /// transaction is gone with it.
    fn queue_all(&mut self, piece: Piece) -> Result<(Zxid, bool), NotOpen> {
        let mut has_room = true;
        for (zxid, frames) in piece.frames {
            has_room &= self.queue(zxid, frames)?;
            if self.asked.is_once {
                self.fire();
                return Ok((zxid, has_room));
            }
        }
        Ok((piece.position, has_room))
    }

    /// Makes it live if nothing lies between what is queued for the others and this position.
    fn go_live(&mut self, position: Zxid) -> Result<bool, NotOpen> {
        let mut state = self.watches.lock();
        if self.key.is_none_or(|key| !state.all.contains_key(&key)) {
            return Err(cancelled());
        }
        if position < state.queued.max(self.without_before) {
            return Ok(false);
        }
        let one = self.key.and_then(|key| state.all.get_mut(&key)).ok_or_else(cancelled)?;
        one.is_live = true;
        one.after = position;
        one._want_before = self.want_before.take();
        let (scope, path) = (one.asked.scope, one.asked.path.clone());
        if let Some(key) = self.key.take() {
            state.index.insert(scope, path, key);
            state.want_previous += usize::from(self.asked.with_previous);
        }
        Ok(true)
    }

    /// Queues what one transaction has for it, however much is queued: it was eased before, and pieces are bounded. Whether there
    /// was room for it.
    fn queue(&self, zxid: Zxid, mut frames: Vec<Bytes>) -> Result<bool, NotOpen> {
        // Under the lock: nothing is queued for a watch that was closed.
        let state = self.watches.lock();
        let one = self.key.and_then(|key| state.all.get(&key)).ok_or_else(cancelled)?;
        if one.asked.is_once {
            frames.push(one.ended(zxid, WatchEnd::Fired));
        }
        Ok(one.outbox.push_always(frames))
    }

    fn fire(&mut self) {
        if let Some(key) = self.key.take() {
            self.watches.lock().remove(key);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.watches.lock().remove(key);
        }
    }
}

impl Watches {
    fn history(&self) -> Result<Arc<dyn History>, Refusal> {
        let starting = || Refusal::new(ErrorCode::NoLeader, "this member is starting");
        self.history.get().cloned().ok_or_else(starting)
    }
}

/// Waits until a client has taken enough of what is queued for it.
async fn eased(outbox: &Outbox) -> Result<(), NotOpen> {
    let seconds = outbox.bytes() as u64 / limits::CATCH_UP_BYTES_PER_SECOND_MIN;
    let patience = limits::CATCH_UP_PATIENCE + Duration::from_secs(seconds);
    timeout(patience, outbox.eased()).await.map_err(|_| {
        let message = format!(
            "its client has not read the events that are queued within {} s",
            patience.as_secs()
        );
        NotOpen::Refused(Refusal::new(ErrorCode::SlowConsumer, message))
    })
}

/// Its attachment tells no events any more: its client asks for it again on another one.
fn ended() -> NotOpen {
    let message = "the events of this lane have ended: open the watch again on another lane";
    NotOpen::Refused(Refusal::new(ErrorCode::Overloaded, message))
}

fn cancelled() -> NotOpen {
    let message = "the watch was ended before it was open";
    NotOpen::Refused(Refusal::new(ErrorCode::Cancelled, message))
}

fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down")
}

/// A part of what a watch has missed.
#[derive(Debug)]
struct Piece {
    /// Frames by transaction, in order.
    frames: Vec<(Zxid, Vec<Bytes>)>,
    /// Everything up to here is in them.
    position: Zxid,
}

/// Reads the next piece behind a position.
fn piece(
    history: &dyn History,
    asked: &Asked,
    rights: &Rights,
    after: Zxid,
) -> Result<Piece, NotOpen> {
    let entries = history.read(after, limits::CATCH_UP_ENTRIES_MAX).map_err(not_open)?;
    // Behind the reading: no event is judged by rules that are older than it.
    let rights = &rights.now();
    let mut piece = Piece { frames: Vec::new(), position: after };
    let mut bytes = 0;
    for entry in entries {
        let EntryBody::Batch { transactions, .. } = &entry.body else { continue };
        for transaction in transactions {
            if transaction.zxid <= piece.position {
                continue;
            }
            if transaction.zxid != piece.position.next() {
                let message = "the history of this member has a hole";
                return Err(Refusal::new(ErrorCode::Internal, message).into());
            }
            let frames = missed(history, asked, rights, transaction)?;
            piece.position = transaction.zxid;
            if frames.is_empty() {
                continue;
            }
            bytes += frames.iter().map(Bytes::len).sum::<usize>();
            piece.frames.push((transaction.zxid, frames));
            if asked.is_once || bytes >= limits::CATCH_UP_BYTES {
                return Ok(piece);
            }
        }
    }
    Ok(piece)
}

/// The frames of one transaction.
fn missed(
    history: &dyn History,
    asked: &Asked,
    rights: &RightsNow<'_>,
    transaction: &Transaction,
) -> Result<Vec<Bytes>, NotOpen> {
    let mut told = Vec::new();
    let mut previous_bytes = 0;
    for (at, change) in transaction.changes.iter().enumerate() {
        let event = Event::of(change).filter(|event| {
            event.is_for(asked.scope, &asked.path) && rights.may_see(asked.client, event)
        });
        let Some(event) = event else { continue };
        let previous = match event.previous() {
            Some(zxid) if asked.with_previous => {
                let in_front = transaction.changes.get(..at).unwrap_or_default();
                if zxid == transaction.zxid {
                    data_after(in_front, event.path).cloned()
                } else {
                    data_of(history, event.path, zxid)?
                }
            }
            _ => None,
        };
        let previous = previous.filter(|data| {
            previous_bytes += data.len();
            previous_bytes <= limits::CATCH_UP_PREVIOUS_BYTES_MAX
        });
        told.push(Told { event, previous });
    }
    Ok(frames::frames(asked.form(), (transaction.zxid, transaction.time.0), &told))
}

/// The data that a transaction gave to a znode, if that is retained. Nobody ever set that of the root.
fn data_of(history: &dyn History, path: &Path, zxid: Zxid) -> Result<Option<Bytes>, NotOpen> {
    let Some(before) = zxid.0.checked_sub(1) else { return Ok(Some(Bytes::new())) };
    let entries = match history.read(Zxid(before), 1) {
        Ok(entries) => entries,
        Err(Unread::NotHere { .. }) => return Ok(None),
        Err(failed) => return Err(not_open(failed)),
    };
    let found = entries.first().and_then(|entry| transaction_of(entry, zxid));
    Ok(found.and_then(|found| data_after(&found.changes, path)).cloned())
}

fn transaction_of(entry: &Entry, zxid: Zxid) -> Option<&Transaction> {
    match &entry.body {
        EntryBody::Barrier => None,
        EntryBody::Batch { transactions, .. } => transactions.iter().find(|one| one.zxid == zxid),
    }
}

fn not_open(unread: Unread) -> NotOpen {
    match unread {
        Unread::NotHere { oldest } => NotOpen::NotHere { oldest },
        Unread::Failed(error) => {
            tracing::error!(%error, "the history of this member can not be read");
            let message = "the history of this member can not be read; its log says more";
            NotOpen::Refused(Refusal::new(ErrorCode::Internal, message))
        }
    }
}
