//! A tree on its way to another member: head, where to go on, chunks, end, and the answer when it is installed there. It does
//! not know what is in the chunks, nor when a tree is sent.
//!
//! ```text
//! head      1, vote, stream: 16 bytes, place: option of bytes, stored membership: bytes
//! have      6, bytes of that stream which are there
//! chunk     2, bytes to the frame's end
//! end       3
//! installed 4, vote
//! refused   5, text
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
use crate::snapshot::{self, Identity, Incoming, Outgoing, SnapshotData};
use crate::state_machine::StateMachine;
use crate::types::{CommittedLeaderId, SnapshotMeta, TypeConfig, Vote, log_id, position};

const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
const INSTALLED: u8 = 4;
const REFUSED: u8 = 5;
const HAVE: u8 = 6;

/// How long the other side may take to say what it has: it reads what an earlier transfer has left.
const HAVE_PATIENCE: Duration = Duration::from_secs(60);
/// How long an installation may take after the last chunk. openraft sets no limit, and sends the member nothing else meanwhile.
const INSTALL_PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between the thread that reads or writes the disk and the lane.
const CHUNKS_MAX: usize = 4;

/// Sends a tree, and waits until it is installed. Gives the vote of the other side.
///
/// # Errors
/// Why it did not arrive, for people.
pub(crate) async fn send(
    (sender, mut receiver): Lane,
    vote: &Vote,
    snapshot: Snapshot<CommittedLeaderId, u64, Contact, SnapshotData>,
) -> Result<Vote, String> {
    let data = snapshot.snapshot;
    let outgoing = task::spawn_blocking(move || data.outgoing()).await.map_err(text)?;
    let outgoing = outgoing.map_err(text)?;
    sender.send(head(vote, outgoing.identity(), &outgoing.meta())).await.map_err(text)?;
    let answer = timeout(HAVE_PATIENCE, receiver.recv()).await.map_err(text)?.map_err(text)?;
    let answer = answer.ok_or("the lane ended at its head")?;
    let offset = match read_answer(answer).map_err(text)? {
        Answer::Have(offset) => offset,
        Answer::Installed(vote) => return Ok(vote),
        Answer::Refused(why) => return Err(why),
    };
    if offset > 0 {
        tracing::info!(offset, "the tree is sent from where it was broken off");
    }
    let (chunks, mut chunks_out) = mpsc::channel(CHUNKS_MAX);
    let reading = task::spawn_blocking(move || read(&outgoing, offset, &chunks));
    let sending = async {
        while let Some(chunk) = chunks_out.recv().await {
            sender.send(chunk).await.map_err(text)?;
        }
        Ok::<(), String>(())
    };
    // What the other side says ends it early: it refuses, or has lost its disk.
    tokio::select! {
        sent = sending => sent?,
        answer = receiver.recv() => return early(answer.map_err(text)?),
    }
    reading.await.map_err(text)?.map_err(text)?;
    sender.send(Bytes::from_static(&[END])).await.map_err(text)?;
    let answer = timeout(INSTALL_PATIENCE, receiver.recv()).await.map_err(text)?;
    early(answer.map_err(text)?)
}

fn early(answer: Option<Bytes>) -> Result<Vote, String> {
    match read_answer(answer.ok_or("the lane ended before the tree was installed")?) {
        Ok(Answer::Installed(vote)) => Ok(vote),
        Ok(Answer::Refused(why)) => Err(why),
        Ok(Answer::Have(_)) => Err("the other side asks for the tree twice".to_owned()),
        Err(error) => Err(error.to_string()),
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
    let begun = task::spawn_blocking(move || {
        Ok((Incoming::begin(&directory, identity, known)?, directory))
    });
    let begun: io::Result<(Incoming, OwnedMutexGuard<PathBuf>)> = begun.await.map_err(text)?;
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
    let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot: data }).await;
    installed.map(|response| response.vote).map_err(text)
}

/// Looked at before anything is received: what contradicts itself, or what is committed here, would stop raft. Gives this
/// member's vote if it has what the tree has already.
fn check(
    raft: &Raft<TypeConfig, StateMachine>,
    vote: &Vote,
    meta: &SnapshotMeta,
) -> Result<Option<Vote>, String> {
    let Some(last) = &meta.last_log_id else {
        return Err("a tree to which nothing was applied".to_owned());
    };
    if !vote.committed || last.leader_id.term > vote.leader_id.term {
        return Err(
            "the tree is of a later term than its sender leads in, or that one does not lead"
                .to_owned(),
        );
    }
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if vote.leader_id.term < metrics.current_term {
        return Err(format!(
            "term {} is over: this is term {}",
            vote.leader_id.term, metrics.current_term
        ));
    }
    match &metrics.last_applied {
        Some(applied) if applied.index >= last.index => Ok(Some(metrics.vote)),
        Some(applied) if applied.leader_id.term > last.leader_id.term => {
            Err("the tree is older than what is applied here, and says that it is longer"
                .to_owned())
        }
        Some(_) | None => Ok(None),
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
    Installed(Vote),
    Refused(String),
}

fn read_answer(frame: Bytes) -> Result<Answer, Malformed> {
    const WHAT: &str = "answer to a tree";
    let mut reader = Reader::new(frame);
    let answer = match reader.u8(WHAT)? {
        HAVE => Answer::Have(reader.u64(WHAT)?),
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
