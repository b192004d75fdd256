//! A tree on its way to another member: head, chunks, end, and the answer when it is installed there. It does not know what
//! is in the chunks, nor when a tree is sent.
//!
//! ```text
//! head      1, vote, meta: option of place, stored membership: bytes
//! chunk     2, bytes to the frame's end
//! end       3
//! installed 4, vote
//! refused   5, text
//! ```

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use openraft::{Raft, Snapshot};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_net::LaneSender;
use tokio::sync::mpsc;
use tokio::task;

use crate::codec;
use crate::contact::Contact;
use crate::messages::{read_vote, write_vote};
use crate::network::Lane;
use crate::snapshot::SnapshotData;
use crate::state_machine::StateMachine;
use crate::types::{CommittedLeaderId, SnapshotMeta, TypeConfig, Vote, log_id, position};

const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
const INSTALLED: u8 = 4;
const REFUSED: u8 = 5;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between the thread that reads the tree and the lane.
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
    sender.send(head(vote, &snapshot.meta)).await.map_err(|error| error.to_string())?;
    let (chunks, mut chunks_out) = mpsc::channel(CHUNKS_MAX);
    let data = snapshot.snapshot;
    let reading = task::spawn_blocking(move || {
        let mut chunks = Chunks { chunks, pending: Vec::with_capacity(CHUNK_BYTES + 1) };
        data.write_to(&mut chunks)?;
        chunks.flush()
    });
    let sending = async {
        while let Some(chunk) = chunks_out.recv().await {
            sender.send(chunk).await.map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    sending.await?;
    reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    sender.send(Bytes::from_static(&[END])).await.map_err(|error| error.to_string())?;
    let answer = receiver.recv().await.map_err(|error| error.to_string())?;
    let answer = answer.ok_or("the lane ended before the tree was installed")?;
    read_answer(answer).map_err(|error| error.to_string())?
}

/// Receives a tree into a file of this directory, and has it installed.
///
/// # Errors
/// Why not, for people; the sender has been told if it could be.
pub(crate) async fn receive(
    raft: &Raft<TypeConfig, StateMachine>,
    directory: &Path,
    (sender, receiver): Lane,
) -> Result<(), String> {
    let answer = match take(raft, directory, receiver).await {
        Ok(vote) => {
            let mut writer = Writer::new();
            writer.u8(INSTALLED);
            write_vote(&mut writer, &vote);
            writer.finish()
        }
        Err(why) => {
            let mut writer = Writer::new();
            writer.u8(REFUSED);
            writer.text(&why);
            tracing::warn!(why, "a tree that another member sent was not installed");
            writer.finish()
        }
    };
    finish(sender, answer).await
}

async fn finish(sender: LaneSender, answer: Bytes) -> Result<(), String> {
    sender.send(answer).await.map_err(|error| error.to_string())?;
    sender.finish(crate::serve::FAREWELL).await.map_err(|error| error.to_string())
}

async fn take(
    raft: &Raft<TypeConfig, StateMachine>,
    directory: &Path,
    mut receiver: quorate_net::LaneReceiver,
) -> Result<Vote, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let first = receiver.recv().await.map_err(|error| text(&error))?;
    let (vote, meta) = read_head(first.ok_or("no head")?).map_err(|error| text(&error))?;
    std::fs::create_dir_all(directory).map_err(|error| text(&error))?;
    let file = tempfile_in(directory);
    let mut out = tokio::fs::File::create(&file.0).await.map_err(|error| text(&error))?;
    loop {
        let frame = receiver.recv().await.map_err(|error| text(&error))?;
        let frame = frame.ok_or("the lane ended within the tree")?;
        match frame.first() {
            Some(&CHUNK) => {
                tokio::io::AsyncWriteExt::write_all(&mut out, &frame[1..])
                    .await
                    .map_err(|error| text(&error))?;
            }
            Some(&END) if frame.len() == 1 => break,
            _ => return Err("neither a chunk nor the end of a tree".to_owned()),
        }
    }
    out.sync_all().await.map_err(|error| text(&error))?;
    drop(out);
    let snapshot = Snapshot { meta, snapshot: SnapshotData::File(file.0.clone()) };
    let installed = raft.install_full_snapshot(vote, snapshot).await;
    drop(file);
    installed.map(|response| response.vote).map_err(|error| text(&error))
}

/// A file that goes with its name.
struct Incoming(std::path::PathBuf);

fn tempfile_in(directory: &Path) -> Incoming {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Incoming(directory.join(format!("incoming-{number}")))
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "a received tree could not be removed");
        }
    }
}

/// Turns a stream of bytes into frames.
struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    pending: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.is_empty() {
            self.pending.push(CHUNK);
        }
        let room = (CHUNK_BYTES + 1).saturating_sub(self.pending.len()).min(bytes.len());
        self.pending.extend_from_slice(&bytes[..room]);
        if self.pending.len() > CHUNK_BYTES {
            self.flush()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_BYTES + 1));
        self.chunks
            .blocking_send(full.into())
            .map_err(|_| io::Error::other("nobody sends the tree any more"))
    }
}

fn head(vote: &Vote, meta: &SnapshotMeta) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(HEAD);
    write_vote(&mut writer, vote);
    writer.option(meta.last_log_id.as_ref(), |writer, at| {
        writer.bytes(&codec::place(position(at)));
    });
    writer.bytes(&codec::stored_membership(&meta.last_membership));
    writer.finish()
}

fn read_head(frame: Bytes) -> Result<(Vote, SnapshotMeta), Malformed> {
    const WHAT: &str = "head of a tree";
    let mut reader = Reader::new(frame);
    if reader.u8(WHAT)? != HEAD {
        return Err(malformed(WHAT));
    }
    let vote = read_vote(&mut reader)?;
    let last_log_id =
        reader.option(WHAT, |reader| codec::read_place(reader.bytes(WHAT)?).map(log_id))?;
    let last_membership = codec::read_stored_membership(reader.bytes(WHAT)?)?;
    reader.finish(WHAT)?;
    Ok((vote, SnapshotMeta { last_log_id, last_membership }))
}

fn read_answer(frame: Bytes) -> Result<Result<Vote, String>, Malformed> {
    const WHAT: &str = "answer to a tree";
    let mut reader = Reader::new(frame);
    let answer = match reader.u8(WHAT)? {
        INSTALLED => Ok(read_vote(&mut reader)?),
        REFUSED => Err(reader.text(WHAT)?),
        _ => return Err(malformed(WHAT)),
    };
    reader.finish(WHAT)?;
    Ok(answer)
}
