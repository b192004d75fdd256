//! A tree on its way to another member: head, where to go on, chunks, end, and the answer when it is installed there. It does
//! not know what is in the chunks, nor when a tree is sent.
//!
//! ```text
//! head      1, vote, stream: 16 bytes, place: option of bytes, stored membership: bytes
//! have      6, bytes of that stream which are there
//! progress  7, bytes that were read again, or installed
//! chunk     2, bytes to the frame's end
//! end       3
//! installed 4, vote
//! refused   5, text
//! ```

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, Snapshot};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_net::{LaneReceiver, LaneSender};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task;
use tokio::time::timeout;

use crate::codec::{self, put_vote, take_vote};
use crate::contact::Contact;
use crate::network::Lane;
use crate::snapshot::{self, Identity, Incoming, Outgoing, Progress, SnapshotData};
use crate::state_machine::StateMachine;
use crate::types::{CommittedLeaderId, LogId, SnapshotMeta, TypeConfig, Vote, log_id, position};

const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
const INSTALLED: u8 = 4;
const REFUSED: u8 = 5;
const HAVE: u8 = 6;
const PROGRESS: u8 = 7;

/// How long the other side may take to say what it has, from the last progress that it tells of: it reads what an earlier
/// transfer has left.
const HAVE_PATIENCE: Duration = Duration::from_secs(60);
/// How long an installation may take, from the last progress. openraft sets no limit, and sends the member nothing else
/// meanwhile. What comes after the last byte is one step of the disk: files are taken over, and the tree before goes.
const INSTALL_PATIENCE: Duration = Duration::from_secs(600);
/// How long the other side may take to take in what fits the lane.
const CHUNK_PATIENCE: Duration = Duration::from_secs(60);
/// How often who receives tells of its progress. Many times within the shortest patience.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

const _: () = assert!(PROGRESS_EVERY.as_secs() * 4 < HAVE_PATIENCE.as_secs());

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between the thread that reads or writes the disk and the lane.
const CHUNKS_MAX: usize = 4;

/// Sends a tree, and waits until it is installed. Gives the vote of the other side. `progressed` is called whenever some of
/// it has moved.
///
/// # Errors
/// Why it did not arrive, for people.
pub(crate) async fn send(
    (sender, mut receiver): Lane,
    vote: &Vote,
    snapshot: Snapshot<CommittedLeaderId, u64, Contact, SnapshotData>,
    progressed: &(impl Fn() + Sync),
) -> Result<Vote, String> {
    let data = snapshot.snapshot;
    let outgoing = task::spawn_blocking(move || data.outgoing()).await.map_err(text)?;
    let outgoing = outgoing.map_err(text)?;
    sender.send(head(vote, outgoing.identity(), &outgoing.meta())).await.map_err(text)?;
    let offset = match answered(&mut receiver, HAVE_PATIENCE, progressed).await? {
        Answer::Have(offset) => offset,
        Answer::Installed(vote) => return Ok(vote),
        Answer::Refused(why) => return Err(why),
        Answer::Progress(_) => return Err("progress is no answer".to_owned()),
    };
    if offset > 0 {
        tracing::info!(offset, "the tree is sent from where it was broken off");
    }
    let (chunks, mut chunks_out) = mpsc::channel(CHUNKS_MAX);
    let reading = task::spawn_blocking(move || read(&outgoing, offset, &chunks));
    let sending = async {
        while let Some(chunk) = chunks_out.recv().await {
            let sent = timeout(CHUNK_PATIENCE, sender.send(chunk)).await;
            sent.map_err(|_| "the other side takes nothing in".to_owned())?.map_err(text)?;
            progressed();
        }
        Ok::<(), String>(())
    };
    // What the other side says ends it early: it refuses, or has lost its disk.
    tokio::select! {
        sent = sending => sent?,
        answer = answered(&mut receiver, Duration::MAX, progressed) => return last(answer?),
    }
    reading.await.map_err(text)?.map_err(text)?;
    sender.send(Bytes::from_static(&[END])).await.map_err(text)?;
    last(answered(&mut receiver, INSTALL_PATIENCE, progressed).await?)
}

fn last(answer: Answer) -> Result<Vote, String> {
    match answer {
        Answer::Installed(vote) => Ok(vote),
        Answer::Refused(why) => Err(why),
        Answer::Have(_) | Answer::Progress(_) => {
            Err("the other side asks for the tree twice".to_owned())
        }
    }
}

/// The next answer that is one; telling of progress is none, and is waited behind anew.
async fn answered(
    receiver: &mut LaneReceiver,
    patience: Duration,
    progressed: &(impl Fn() + Sync),
) -> Result<Answer, String> {
    let mut patience = Patience::new(patience, Instant::now());
    loop {
        let received = timeout(patience.left(Instant::now()), receiver.recv()).await;
        let frame = received.map_err(|_| "the other side gets no further".to_owned())?;
        let frame = frame.map_err(text)?.ok_or("the lane ended before the tree was installed")?;
        match read_answer(frame).map_err(text)? {
            Answer::Progress(done) => {
                if patience.progressed(done, Instant::now()) {
                    progressed();
                }
            }
            answer => return Ok(answer),
        }
    }
}

/// How long somebody is waited for who gets on, slowly perhaps.
struct Patience {
    max: Duration,
    since: Instant,
    done: u64,
}

impl Patience {
    fn new(max: Duration, now: Instant) -> Self {
        Self { max, since: now, done: 0 }
    }

    /// Whether this is more than was known to be done; the patience is whole again then.
    fn progressed(&mut self, done: u64, now: Instant) -> bool {
        let is_more = done > self.done;
        if is_more {
            (self.done, self.since) = (done, now);
        }
        is_more
    }

    fn left(&self, now: Instant) -> Duration {
        self.max.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// Tells the other side now and then how far something is, until it is done.
async fn telling<T>(sender: &LaneSender, progress: &Progress, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    let mut told = progress.done();
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                let done = progress.done();
                if std::mem::replace(&mut told, done) != done {
                    let mut writer = Writer::new();
                    writer.u8(PROGRESS);
                    writer.u64(done);
                    // Who has gone is noticed at the next frame that matters.
                    let _sent = sender.send(writer.finish()).await;
                }
            }
        }
    }
}

/// Reads the tree for the lane; ends when nobody sends it any more.
fn read(outgoing: &Arc<Outgoing>, offset: u64, chunks: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut reader = outgoing.reader(offset)?;
    loop {
        let piece = reader.read(CHUNK_BYTES)?;
        if piece.is_empty() {
            return Ok(());
        }
        let mut chunk = Vec::with_capacity(piece.len() + 1);
        chunk.push(CHUNK);
        chunk.extend_from_slice(&piece);
        if chunks.blocking_send(chunk.into()).is_err() {
            return Ok(());
        }
    }
}

/// Receives a tree, of this namespace and of this feature level at most, into a file of this directory, and has it
/// installed.
///
/// # Errors
/// Why not, for people; the sender has been told if it could be.
pub(crate) async fn receive(
    raft: &Raft<TypeConfig, StateMachine>,
    (namespace, known): (NamespaceId, Level),
    directory: OwnedMutexGuard<PathBuf>,
    (sender, receiver): Lane,
) -> Result<(), String> {
    let mut writer = Writer::new();
    match take(raft, (namespace, known), directory, &sender, receiver).await {
        Ok(vote) => {
            writer.u8(INSTALLED);
            put_vote(&mut writer, &vote);
        }
        Err(why) => {
            tracing::warn!(why, "a tree that another member sent was not installed");
            writer.u8(REFUSED);
            writer.text(&why);
        }
    }
    sender.send(writer.finish()).await.map_err(text)?;
    sender.finish(crate::serve::FAREWELL).await.map_err(text)
}

async fn take(
    raft: &Raft<TypeConfig, StateMachine>,
    (namespace, known): (NamespaceId, Level),
    directory: OwnedMutexGuard<PathBuf>,
    sender: &LaneSender,
    mut receiver: LaneReceiver,
) -> Result<Vote, String> {
    let first = receiver.recv().await.map_err(text)?.ok_or("no head")?;
    let (vote, identity, meta) = read_head(first).map_err(text)?;
    if let Some(installed) = check(raft, &vote, &meta)? {
        return Ok(installed);
    }
    // The directory goes with whoever writes to it: this task may be aborted when the connection ends, and another lane must
    // not write beside what goes on.
    let progress = Progress::default();
    let reading = progress.clone();
    let begun = task::spawn_blocking(move || {
        Ok((Incoming::begin_telling(&directory, identity, known, &reading)?, directory))
    });
    let begun: io::Result<(Incoming, OwnedMutexGuard<PathBuf>)> =
        telling(sender, &progress, begun).await.map_err(text)?;
    let (mut incoming, directory) = begun.map_err(text)?;
    let mut have = Writer::new();
    have.u8(HAVE);
    have.u64(incoming.bytes());
    sender.send(have.finish()).await.map_err(text)?;
    let (chunks, mut chunks_out) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let writing = task::spawn_blocking(move || {
        while let Some(chunk) = chunks_out.blocking_recv() {
            incoming.write(&chunk)?;
        }
        Ok((incoming, directory))
    });
    let received = async {
        loop {
            let frame = receiver.recv().await.map_err(text)?;
            let frame = frame.ok_or("the lane ended within the tree")?;
            match frame.first() {
                Some(&CHUNK) => {
                    if chunks.send(frame.slice(1..)).await.is_err() {
                        // It says why when it is joined.
                        return Ok(());
                    }
                }
                Some(&END) if frame.len() == 1 => return Ok(()),
                _ => return Err("neither a chunk nor the end of a tree".to_owned()),
            }
        }
    };
    let received = received.await;
    drop(chunks);
    // Joined in any case: the file is not touched any more when this returns.
    let written: io::Result<(Incoming, OwnedMutexGuard<PathBuf>)> = writing.await.map_err(text)?;
    let (incoming, directory) = written.map_err(text)?;
    received?;
    let finished = task::spawn_blocking(move || Ok((incoming.finish()?, directory)));
    let finished: io::Result<(SnapshotData, OwnedMutexGuard<PathBuf>)> =
        finished.await.map_err(text)?;
    let (data, _directory) = finished.map_err(text)?;
    let SnapshotData::Received(received) = &data else {
        return Err("what was received is no file".to_owned());
    };
    // Looked at before raft sees it: what does not fit would stop this member for good.
    let head = &received.summary().head;
    let standing = snapshot::standing(head).map_err(text)?;
    if head.namespace != namespace || standing.meta() != meta {
        return Err("the tree is not the one that its sender said".to_owned());
    }
    let progress = received.progress();
    let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot: data });
    telling(sender, &progress, installed).await.map(|response| response.vote).map_err(text)
}

/// Looked at before anything is received: what contradicts itself, or what is committed here, would stop raft. Gives this
/// member's vote if it has what the tree has already.
fn check(
    raft: &Raft<TypeConfig, StateMachine>,
    vote: &Vote,
    meta: &SnapshotMeta,
) -> Result<Option<Vote>, String> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let is_there = fits(vote, meta, metrics.current_term, metrics.last_applied.as_ref())?;
    Ok(is_there.then_some(metrics.vote))
}

/// Whether a member that is in this term and has applied this has all of a tree already.
fn fits(
    vote: &Vote,
    meta: &SnapshotMeta,
    term: u64,
    applied: Option<&LogId>,
) -> Result<bool, String> {
    let Some(last) = &meta.last_log_id else {
        return Err("a tree to which nothing was applied".to_owned());
    };
    if !vote.committed || last.leader_id.term > vote.leader_id.term {
        return Err(
            "the tree is of a later term than its sender leads in, or that one does not lead"
                .to_owned(),
        );
    }
    if vote.leader_id.term < term {
        return Err(format!("term {} is over: this is term {term}", vote.leader_id.term));
    }
    match applied {
        Some(applied) if applied.index >= last.index => Ok(true),
        Some(applied) if applied.leader_id.term > last.leader_id.term => {
            Err("the tree is older than what is applied here, and says that it is longer"
                .to_owned())
        }
        Some(_) | None => Ok(false),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn head(vote: &Vote, identity: Identity, meta: &SnapshotMeta) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(HEAD);
    put_vote(&mut writer, vote);
    writer.raw(&identity.0);
    writer.option(meta.last_log_id.as_ref(), |writer, at| {
        writer.bytes(&codec::place(position(at)));
    });
    writer.bytes(&codec::stored_membership(&meta.last_membership));
    writer.finish()
}

fn read_head(frame: Bytes) -> Result<(Vote, Identity, SnapshotMeta), Malformed> {
    const WHAT: &str = "head of a tree";
    let mut reader = Reader::new(frame);
    if reader.u8(WHAT)? != HEAD {
        return Err(malformed(WHAT));
    }
    let vote = take_vote(&mut reader)?;
    let identity = Identity(reader.array(WHAT)?);
    let last_log_id =
        reader.option(WHAT, |reader| codec::read_place(reader.bytes(WHAT)?).map(log_id))?;
    let last_membership = codec::read_stored_membership(reader.bytes(WHAT)?)?;
    reader.finish(WHAT)?;
    Ok((vote, identity, SnapshotMeta { last_log_id, last_membership }))
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Have(u64),
    Progress(u64),
    Installed(Vote),
    Refused(String),
}

fn read_answer(frame: Bytes) -> Result<Answer, Malformed> {
    const WHAT: &str = "answer to a tree";
    let mut reader = Reader::new(frame);
    let answer = match reader.u8(WHAT)? {
        HAVE => Answer::Have(reader.u64(WHAT)?),
        PROGRESS => Answer::Progress(reader.u64(WHAT)?),
        INSTALLED => Answer::Installed(take_vote(&mut reader)?),
        REFUSED => Answer::Refused(reader.text(WHAT)?),
        _ => return Err(malformed(WHAT)),
    };
    reader.finish(WHAT)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_on_is_waited_for_from_the_last_progress() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut patience = Patience::new(60 * second, begin);
        assert_eq!(patience.left(begin + 45 * second), 15 * second);
        assert!(patience.progressed(1, begin + 45 * second));
        assert_eq!(patience.left(begin + 100 * second), 5 * second, "counted from there");
        assert!(!patience.progressed(1, begin + 100 * second), "it is no further");
        assert_eq!(patience.left(begin + 110 * second), Duration::ZERO);
        let mut writer = Writer::new();
        writer.u8(PROGRESS);
        writer.u64(9);
        assert_eq!(read_answer(writer.finish()), Ok(Answer::Progress(9)));
    }

    #[test]
    fn a_tree_that_contradicts_itself_or_what_is_applied_is_refused_before_it_is_received() {
        let at = |term, index| {
            log_id(crate::position::Position { term: quorate_core::ids::Term(term), index })
        };
        let meta = |at| SnapshotMeta { last_log_id: at, ..SnapshotMeta::default() };
        let leader = Vote::new_committed(3, 1);
        let of = |at, applied: Option<LogId>| fits(&leader, &meta(at), 3, applied.as_ref());
        assert_eq!(of(Some(at(3, 300)), None), Ok(false));
        assert_eq!(of(Some(at(3, 300)), Some(at(2, 299))), Ok(false));
        assert_eq!(of(Some(at(3, 300)), Some(at(3, 300))), Ok(true));
        assert!(of(None, None).is_err(), "nothing is in it");
        assert!(of(Some(at(4, 300)), None).is_err(), "of a term that its sender has not seen");
        assert!(of(Some(at(2, 300)), Some(at(3, 299))).is_err(), "longer, and older");
        let meta = meta(Some(at(3, 300)));
        assert!(fits(&Vote::new(3, 1), &meta, 3, None).is_err(), "who does not lead");
        assert!(fits(&leader, &meta, 4, None).is_err(), "a term that is over");
    }

    #[test]
    fn heads_come_back() {
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(crate::position::Position {
                term: quorate_core::ids::Term(3),
                index: 300,
            })),
            ..SnapshotMeta::default()
        };
        let vote = Vote::new_committed(3, 1);
        let frame = head(&vote, Identity([7; 16]), &meta);
        assert_eq!(read_head(frame), Ok((vote, Identity([7; 16]), meta)));
    }
}
