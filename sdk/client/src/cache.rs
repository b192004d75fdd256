//! A subtree in memory, kept as it is by one watch: reads of it cost no round trip. It says of which moment it is; it does not
//! know what it is for.
//!
//! It is built by one scan, which is of one state of the tree, and followed by a watch that begins behind just that state. When
//! the watch can not go on without a gap, all is built anew, and the generation says so.

mod tree;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{Advice, ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::znode::Stat;
use quorate_wire::message::{Consistency, Query};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Error;
use crate::limits::{
    CACHE_BYTES_MAX, CACHE_NOTICES_PER_TURN, CACHE_RETRY_MS_FIRST, CACHE_RETRY_MS_MAX,
    CACHE_ZNODES_MAX,
};
use crate::outbox::{Notice, Outbox};
use crate::scan::Scan;
use crate::session::Backoff;
use crate::watch::{WatchError, WatchStream};
use tree::Tree;

/// A znode as the cache has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedZnode {
    /// Its data.
    pub data: Bytes,
    /// Its stat. Changes of its access list and of its lifetime are not told to watches: `aversion` and `lifetime` are as they were
    /// when the znode was read or created.
    pub stat: Stat,
}

/// Of which moment a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheMark {
    /// Counts how often all was built anew: between two generations changes may have been missed. The first is 1.
    pub generation: u64,
    /// The cache is the subtree as this transaction left it, at least.
    pub zxid: Zxid,
    /// Whether it is being kept up. Not while it is built anew: what is read is of the generation before.
    pub is_followed: bool,
}

/// What can be asked of a cache before it is opened: `client.cache("/config").await`.
#[must_use]
#[derive(Debug, Clone)]
pub struct CacheRequest {
    client: Client,
    path: String,
    znodes_max: usize,
    bytes_max: usize,
}

/// A subtree in memory. Cheap to clone; it is followed until the last clone is dropped.
///
/// An answer to a request of this client comes after the cache's watch was told of what it reflects: [`Cache::caught_up`] with the
/// zxid of an answer waits only until that has been taken in.
#[derive(Debug, Clone)]
pub struct Cache {
    state: Arc<State>,
    client: Client,
    path: Arc<str>,
    marks: watch::Receiver<CacheMark>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct State {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    tree: Tree,
    generation: u64,
    /// All up to it is in the tree.
    zxid: Zxid,
    /// Of the watch that follows. What is in it is not in the tree.
    outbox: Option<Arc<Outbox>>,
    /// Why it ended.
    error: Option<Error>,
}

impl State {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn mark(&self) -> CacheMark {
        let watched = self.outbox.as_ref().map(|outbox| outbox.position());
        CacheMark {
            generation: self.generation,
            zxid: watched.map_or(self.zxid, |position| position.max(self.zxid)),
            is_followed: self.outbox.is_some() && self.error.is_none(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.error.clone().map_or(Ok(()), Err)
    }
}

impl Client {
    /// A cache of a znode and all that is below it, opened when awaited. The znode need not be there.
    pub fn cache(&self, path: &str) -> CacheRequest {
        CacheRequest {
            client: self.clone(),
            path: path.to_owned(),
            znodes_max: CACHE_ZNODES_MAX,
            bytes_max: CACHE_BYTES_MAX,
        }
    }
}

impl CacheRequest {
    /// How many znodes it may hold; [`CACHE_ZNODES_MAX`] if not said. One more ends it.
    pub fn znodes_max(self, count: usize) -> Self {
        Self { znodes_max: count, ..self }
    }

    /// How many bytes it may hold; [`CACHE_BYTES_MAX`] if not said. One more ends it.
    pub fn bytes_max(self, bytes: usize) -> Self {
        Self { bytes_max: bytes, ..self }
    }

    /// Reads the subtree, and follows it from then on.
    ///
    /// # Errors
    /// `Refused` with `limit` if the subtree is larger than it may be, with `bad-path`, `no-access`; `SessionLost`.
    pub async fn open(self) -> Result<Cache, Error> {
        let (client, path) = (self.client.clone(), Arc::from(self.path.as_str()));
        let mut builder = Builder::new(self);
        let (tree, stream) = builder.build().await?;
        let inner = Inner {
            tree,
            generation: 1,
            zxid: stream.position(),
            outbox: Some(stream.outbox()),
            error: None,
        };
        let (sender, marks) = watch::channel(inner.mark());
        let state = Arc::new(State { inner: RwLock::new(inner) });
        let follower = Follower { state: Arc::clone(&state), builder, marks: sender };
        let task = Arc::new(Task(tokio::spawn(follower.run(stream))));
        Ok(Cache { state, client, path, marks, _task: task })
    }
}

impl IntoFuture for CacheRequest {
    type Output = Result<Cache, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl Cache {
    /// A znode, if it is there. From memory.
    ///
    /// # Errors
    /// What ended the cache: `limit`, the loss of the session.
    pub fn get(&self, path: &str) -> Result<Option<CachedZnode>, Error> {
        let inner = self.state.read();
        inner.check()?;
        Ok(inner.tree.get(path))
    }

    /// The stat of a znode, if it is there. From memory.
    ///
    /// # Errors
    /// As `get`.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, Error> {
        let inner = self.state.read();
        inner.check()?;
        Ok(inner.tree.stat(path))
    }

    /// The names of a znode's children in bytewise order, if it is there. From memory.
    ///
    /// # Errors
    /// As `get`.
    pub fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        let inner = self.state.read();
        inner.check()?;
        Ok(inner.tree.children(path))
    }

    /// How many znodes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().tree.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of which moment it is now.
    #[must_use]
    pub fn mark(&self) -> CacheMark {
        self.state.read().mark()
    }

    /// Told after each change of what is in the cache, and when it ends; several changes may be told at once.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<CacheMark> {
        self.marks.clone()
    }

    /// Waits until the cache is no older than this transaction. Cancel-safe.
    ///
    /// # Errors
    /// As `get`.
    pub async fn caught_up(&self, zxid: Zxid) -> Result<CacheMark, Error> {
        let mut marks = self.marks.clone();
        loop {
            marks.mark_unchanged();
            let mark = {
                let inner = self.state.read();
                inner.check()?;
                inner.mark()
            };
            if mark.zxid >= zxid && mark.is_followed {
                return Ok(mark);
            }
            if marks.changed().await.is_err() {
                self.state.read().check()?;
                return Err(Error::BadAnswer("the cache's task has ended".to_owned()));
            }
        }
    }

    /// Waits until the cache has all that was acknowledged, to anybody, before this was called. One round trip.
    ///
    /// # Errors
    /// As `get`; what a read is refused with.
    pub async fn sync(&self) -> Result<CacheMark, Error> {
        let read = self.client.with_consistency(Consistency::Linearizable);
        // Within many reads a znode that is not there has a zxid, too.
        let (zxid, found) = read.read_many(vec![Query::Stat(self.path.to_string())]).await?;
        match found.into_iter().next() {
            Some(Err(refusal)) if refusal.code != ErrorCode::NoNode => Err(refusal.into()),
            _ => self.caught_up(zxid).await,
        }
    }
}

/// Builds the subtree, again and again.
struct Builder {
    request: CacheRequest,
    backoff: Backoff,
}

/// Why a build is tried again.
enum Failed {
    /// It may do at once, or after a while.
    ForNow(String),
    ForEver(Error),
}

impl Builder {
    fn new(request: CacheRequest) -> Self {
        let seed = request.client.session().id.0;
        let backoff = Backoff::new(CACHE_RETRY_MS_FIRST, CACHE_RETRY_MS_MAX, seed);
        Self { request, backoff }
    }

    /// Until it is built, or can not be.
    async fn build(&mut self) -> Result<(Tree, WatchStream), Error> {
        loop {
            match self.try_build().await {
                Ok(built) => {
                    self.backoff.reset();
                    return Ok(built);
                }
                Err(Failed::ForEver(error)) => return Err(error),
                Err(Failed::ForNow(reason)) => {
                    tracing::debug!(path = %self.request.path, %reason, "a cache is built again");
                    tokio::time::sleep(Duration::from_millis(self.backoff.next_ms())).await;
                }
            }
        }
    }

    async fn try_build(&self) -> Result<(Tree, WatchStream), Failed> {
        let CacheRequest { client, path, znodes_max, bytes_max } = &self.request;
        let mut tree = Tree::new(*znodes_max, *bytes_max);
        let mut scan: Scan = match client.scan(path).await {
            Ok(scan) => scan,
            Err(error) if error.code() == ErrorCode::NoNode => {
                let watch = self.watch().open_with_stat(path).await.map_err(watch_failed)?;
                return match watch {
                    (None, stream) => Ok((tree, stream)),
                    (Some(_), _) => Err(Failed::ForNow("it was created just now".to_owned())),
                };
            }
            Err(error) => return Err(failed(error)),
        };
        while let Some(found) =
            scan.next().await.map_err(|broken| Failed::ForNow(broken.to_string()))?
        {
            let data = found.data.unwrap_or_default();
            tree.insert(found.path.as_str(), data, found.stat)
                .map_err(|refusal| Failed::ForEver(refusal.into()))?;
        }
        let stream = self.watch().from(scan.zxid()).open().await.map_err(watch_failed)?;
        Ok((tree, stream))
    }

    fn watch(&self) -> crate::watch::Watch {
        self.request.client.watch(&self.request.path).subtree().with_data().with_progress()
    }
}

fn failed(error: Error) -> Failed {
    let is_passing = matches!(error.code().advice(), Advice::Backoff | Advice::SameSession);
    match error {
        Error::SessionLost { .. } => Failed::ForEver(error),
        error if is_passing => Failed::ForNow(error.to_string()),
        error => Failed::ForEver(error),
    }
}

fn watch_failed(error: WatchError) -> Failed {
    match error {
        WatchError::Compacted { .. } => Failed::ForNow(error.to_string()),
        error => failed(error.into()),
    }
}

/// Keeps a cache up. It runs as a task.
struct Follower {
    state: Arc<State>,
    builder: Builder,
    marks: watch::Sender<CacheMark>,
}

impl Follower {
    async fn run(mut self, mut stream: WatchStream) {
        loop {
            let ended = self.follow(&mut stream).await;
            let next = match ended {
                Err(refusal) => Err(refusal.into()),
                Ok(error) => self.go_on(error).await,
            };
            match next {
                Ok(next) => stream = next,
                Err(error) => {
                    let mut inner = self.state.write();
                    inner.tree.clear();
                    inner.error = Some(error);
                    self.marks.send_replace(inner.mark());
                    return;
                }
            }
        }
    }

    /// Takes in what the watch tells, until it ends. A refusal: the cache is over one of its limits.
    async fn follow(&self, stream: &mut WatchStream) -> Result<Option<WatchError>, Refusal> {
        loop {
            if let Err(ended) = stream.ready().await {
                return Ok(ended);
            }
            let mut inner = self.state.write();
            for _ in 0..CACHE_NOTICES_PER_TURN {
                match stream.try_next() {
                    Some(Notice::Change(change)) => {
                        inner.zxid = change.zxid;
                        inner.tree.apply(&change)?;
                    }
                    Some(Notice::Progress(zxid)) => inner.zxid = zxid.max(inner.zxid),
                    None => break,
                }
            }
            self.marks.send_replace(inner.mark());
        }
    }

    /// Another watch, behind the last one if that can be; else all is built anew.
    async fn go_on(&mut self, ended: Option<WatchError>) -> Result<WatchStream, Error> {
        let position = {
            let mut inner = self.state.write();
            inner.zxid = inner.mark().zxid;
            inner.outbox = None;
            self.marks.send_replace(inner.mark());
            inner.zxid
        };
        if let Some(WatchError::Slow { .. }) = ended
            && let Ok(stream) = self.builder.watch().from(position).open().await
        {
            let mut inner = self.state.write();
            inner.outbox = Some(stream.outbox());
            self.marks.send_replace(inner.mark());
            return Ok(stream);
        }
        if let Some(error) = ended {
            tracing::info!(path = %self.builder.request.path, %error, "a cache is built anew");
            if let Failed::ForEver(error) = watch_failed(error) {
                return Err(error);
            }
        }
        let (tree, stream) = self.builder.build().await?;
        let mut inner = self.state.write();
        inner.tree = tree;
        inner.generation += 1;
        inner.zxid = stream.position();
        inner.outbox = Some(stream.outbox());
        self.marks.send_replace(inner.mark());
        Ok(stream)
    }
}
