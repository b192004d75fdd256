//! Watches as callers see them: how one is opened, and the stream of what it tells. It does not know how events get here.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::znode::Stat;
use quorate_wire::message::watch::{Scope, Watch as WireWatch, Watched};
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::limits::WATCH_BUFFER_BYTES;
use crate::outbox::{End, Notice, Outbox};
use crate::session::Loss;
use crate::tree::Znode;

/// Why a watch ended, or could not be opened. Everything up to its position was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// No member has the events behind the position any more: what happened up to `oldest` is not known. Read the state anew.
    #[error(
        "the events behind zxid {position} are not retained any more; the oldest position is zxid {oldest}"
    )]
    Compacted {
        /// Where the watch was.
        position: Zxid,
        /// The lowest position that a watch can begin behind.
        oldest: Zxid,
    },
    /// The events were not taken as fast as they came, by this program or by its machine. A watch from the position on misses
    /// nothing.
    #[error(
        "the events were not taken as fast as they came; zxid {position} is where to go on from"
    )]
    Slow {
        /// Where to go on from.
        position: Zxid,
    },
    /// The service refuses the watch, or to go on with it.
    #[error("{refusal}")]
    Refused {
        /// Where it was.
        position: Zxid,
        /// Why.
        refusal: Refusal,
    },
    /// The session is lost. A watch of another session can go on from the position.
    #[error("{loss}; zxid {position} is where to go on from")]
    SessionLost {
        /// Where to go on from.
        position: Zxid,
        /// How it was lost.
        loss: Loss,
    },
}

impl WatchError {
    /// All events up to this transaction were told.
    #[must_use]
    pub fn position(&self) -> Zxid {
        match self {
            Self::Compacted { position, .. }
            | Self::Slow { position }
            | Self::Refused { position, .. }
            | Self::SessionLost { position, .. } => *position,
        }
    }

    /// The code to branch on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Compacted { .. } => ErrorCode::WatchCompacted,
            Self::Slow { .. } => ErrorCode::SlowConsumer,
            Self::Refused { refusal, .. } => refusal.code,
            Self::SessionLost { loss: Loss::Ended(refusal), .. } => refusal.code,
            Self::SessionLost { .. } => ErrorCode::SessionEnded,
        }
    }
}

impl From<WatchError> for Error {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Refused { refusal, .. } => refusal.into(),
            WatchError::SessionLost { loss, .. } => {
                Self::SessionLost { loss, may_have_happened: false }
            }
            other => Refusal::new(other.code(), other.to_string()).into(),
        }
    }
}

/// A watch that is to be opened: `client.watch("/a").subtree().with_data().await`.
///
/// Without more it is about the znode itself: its creation, each setting of its data, its deletion.
#[must_use]
#[derive(Debug, Clone)]
pub struct Watch {
    client: Client,
    path: String,
    scope: Scope,
    from: Option<Zxid>,
    once: bool,
    with_data: bool,
    with_previous: bool,
    with_progress: bool,
    buffer_bytes: usize,
}

impl Client {
    /// A watch, opened when awaited. It goes on when this client moves to another member: its stream has each event once, in the
    /// order of transactions, and is never silent about a gap.
    ///
    /// An answer to a request of this client comes after every event that it reflects: these are in the streams by then.
    ///
    /// # Errors
    /// [`WatchError::Refused`] with `bad-path`, `no-access`, `too-many-watches`; `Compacted`; `SessionLost`.
    pub fn watch(&self, path: &str) -> Watch {
        Watch {
            client: self.clone(),
            path: path.to_owned(),
            scope: Scope::Node,
            from: None,
            once: false,
            with_data: false,
            with_previous: false,
            with_progress: false,
            buffer_bytes: WATCH_BUFFER_BYTES,
        }
    }
}

impl Watch {
    /// About the direct children: created, deleted; and the deletion of the znode itself.
    pub fn children(self) -> Self {
        Self { scope: Scope::Children, ..self }
    }

    /// About the znode and everything below it.
    pub fn subtree(self) -> Self {
        Self { scope: Scope::Subtree, ..self }
    }

    /// Begins behind this transaction, with what was retained of the past; else behind the state of now. The stream is there with
    /// the first event; until all of the past has come, answers do not wait for it.
    pub fn from(self, position: Zxid) -> Self {
        Self { from: Some(position), ..self }
    }

    /// Ends with the first transaction that it tells of.
    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Events carry the data that a znode has from then on.
    pub fn with_data(self) -> Self {
        Self { with_data: true, ..self }
    }

    /// Events carry the data that a znode had before.
    pub fn with_previous(self) -> Self {
        Self { with_previous: true, ..self }
    }

    /// The stream has [`Notice::Progress`] too, every few seconds in which nothing happens.
    pub fn with_progress(self) -> Self {
        Self { with_progress: true, ..self }
    }

    /// How many bytes may wait for the reader before the watch is cut off; [`WATCH_BUFFER_BYTES`] if not said.
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        Self { buffer_bytes: bytes, ..self }
    }

    /// Opens it.
    ///
    /// Cancel-safe: dropped before it is ready, the watch is given up.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn open(self) -> Result<WatchStream, WatchError> {
        Ok(self.begin(None).await?.1)
    }

    /// Opens it, and reads a znode as it is where the watch begins: nothing happens in between that is not told. None: there is no
    /// such znode. Not with `from`.
    ///
    /// # Errors
    /// As [`Client::watch`]; `bad-arguments` with `from`.
    pub async fn open_with_node(
        self,
        path: &str,
    ) -> Result<(Option<Znode>, WatchStream), WatchError> {
        let (first, stream) = self.begin(Some(Query::Get(path.to_owned()))).await?;
        match first {
            (zxid, Some(Results::Node { data, stat })) => {
                Ok((Some(Znode { data, stat, zxid }), stream))
            }
            (_, None) => Ok((None, stream)),
            _ => Err(stream.senseless()),
        }
    }

    /// As [`Watch::open_with_node`], with the stat alone.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with_stat(
        self,
        path: &str,
    ) -> Result<(Option<Stat>, WatchStream), WatchError> {
        match self.begin(Some(Query::Stat(path.to_owned()))).await? {
            ((_, Some(Results::Stat(stat))), stream) => Ok((Some(stat), stream)),
            ((_, None), stream) => Ok((None, stream)),
            (_, stream) => Err(stream.senseless()),
        }
    }

    /// As [`Watch::open_with_node`], with a page of children, their data and stats.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with_children(
        self,
        path: &str,
        page: Page,
    ) -> Result<(Option<Listing<Child>>, WatchStream), WatchError> {
        let query = Query::Children { path: path.to_owned(), page, with_data: true };
        match self.begin(Some(query)).await? {
            ((_, Some(Results::Children(listing))), stream) => Ok((Some(listing), stream)),
            ((_, None), stream) => Ok((None, stream)),
            (_, stream) => Err(stream.senseless()),
        }
    }

    async fn begin(
        self,
        first: Option<Query>,
    ) -> Result<((Zxid, Option<Results>), WatchStream), WatchError> {
        let Self { client, path, scope, from, once, with_data, with_previous, .. } = self;
        let (number, seen) = client.next_watch();
        if first.is_some() && from.is_some() {
            let message = "a watch that begins behind a position has no read of the state there";
            let refusal = Refusal::new(ErrorCode::BadArguments, message);
            return Err(WatchError::Refused { position: from.unwrap_or_default(), refusal });
        }
        let outbox = Outbox::new(seen, from, self.buffer_bytes, self.with_progress);
        let outbox = Arc::new(outbox.with_root(client.mapping()));
        let stream = WatchStream { client, number, outbox: Arc::clone(&outbox) };
        let first = first.map(Box::new);
        let watch =
            WireWatch { watch: number, path, scope, from, once, with_data, with_previous, first };
        match stream.client.ask_watch(watch, outbox).await {
            Ok((zxid, Results::Watched(Watched::Open { first }))) => match first.map(|it| *it) {
                None => Ok(((zxid, None), stream)),
                Some(Ok(results)) => Ok(((zxid, Some(results)), stream)),
                Some(Err(refusal)) if refusal.code == ErrorCode::NoNode => {
                    Ok(((zxid, None), stream))
                }
                Some(Err(refusal)) => {
                    Err(WatchError::Refused { position: stream.position(), refusal })
                }
            },
            Ok(_) => Err(stream.senseless()),
            Err(error) => Err(stream.not_opened(error)),
        }
    }
}

impl IntoFuture for Watch {
    type Output = Result<WatchStream, WatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// What an open watch tells. Dropped, the watch ends.
///
/// It ends with an error, which says from where to go on, or, if it was opened with [`Watch::once`], behind its one change.
/// A reader that lets more than its buffer come is cut off ([`WatchError::Slow`]) when it has read what is there; it holds up nobody.
#[derive(Debug)]
pub struct WatchStream {
    client: Client,
    number: u64,
    outbox: Arc<Outbox>,
}

impl WatchStream {
    /// What comes next; `None` behind the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Notice, WatchError>> {
        std::future::poll_fn(|context| self.poll_notice(context)).await
    }

    /// What is here already, without waiting; `None` if that is nothing, also behind the end.
    pub fn try_next(&mut self) -> Option<Notice> {
        self.outbox.try_take()
    }

    /// Waits until there is something to take, without taking it. An error: the stream has ended, and why. Cancel-safe.
    pub(crate) async fn ready(&mut self) -> Result<(), Option<WatchError>> {
        match std::future::poll_fn(|context| self.outbox.poll_ready(context)).await {
            true => Ok(()),
            false => Err(self.error()),
        }
    }

    /// What it reads.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// All events up to this transaction have been taken from here: another watch can begin behind it. It grows with what is
    /// taken, and while nothing happens with what the member says.
    #[must_use]
    pub fn position(&self) -> Zxid {
        self.outbox.position()
    }

    fn poll_notice(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Notice, WatchError>>> {
        self.outbox.poll(context).map(|notice| match notice {
            Some(notice) => Some(Ok(notice)),
            None => self.error().map(Err),
        })
    }

    /// Why it has ended, if it has, and not as it was to.
    fn error(&self) -> Option<WatchError> {
        let position = self.outbox.position();
        Some(match self.outbox.take_end()? {
            End::Fired => return None,
            End::Compacted { oldest } => WatchError::Compacted { position, oldest },
            End::Slow => WatchError::Slow { position },
            End::Refused(refusal) => WatchError::Refused { position, refusal },
            End::SessionOver => {
                let loss = self.client.loss().unwrap_or(Loss::Dropped);
                WatchError::SessionLost { position, loss }
            }
        })
    }

    fn not_opened(&self, error: Error) -> WatchError {
        let position = self.outbox.position();
        match (self.error(), error) {
            (Some(error), _) => error,
            (None, Error::SessionLost { loss, .. }) => WatchError::SessionLost { position, loss },
            (None, error) => {
                let refusal = Refusal::new(error.code(), error.to_string());
                WatchError::Refused { position, refusal }
            }
        }
    }

    fn senseless(&self) -> WatchError {
        let refusal = Refusal::new(ErrorCode::BadMessage, "the answer is not one to a watch");
        WatchError::Refused { position: self.position(), refusal }
    }
}

impl Stream for WatchStream {
    type Item = Result<Notice, WatchError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_notice(context)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.outbox.abandon();
        self.client.end_watch(self.number);
    }
}
