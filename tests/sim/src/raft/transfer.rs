//! A tree on its way to another member, by the rules of host/raft's `transfer`: head, where to go on, pieces, end, and the
//! answer when it is installed there. What a broken transfer has left is gone on with if it is of the same stream. It does
//! not know when a tree is sent.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use openraft::Snapshot;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::raft::SnapshotResponse;
use send_wrapper::SendWrapper;

use crate::mutant::Mutant;
use crate::process::{current, world_sleep};
use crate::raft::disk::{Part, Piece, TreeImage};
use crate::raft::machine::SnapshotData;
use crate::raft::network::{Find, Here, Way};
use crate::raft::types::{CommittedLeaderId, SnapshotMeta, TypeConfig, Vote};
use crate::wire::{Local, Wire};
use crate::world::World;

/// Records of a piece.
const PIECE_RECORDS: usize = 12;
/// Microseconds between two pieces at most, of a tree that travels quickly and of one that does not.
const PIECE_US_MAX: [u64; 2] = [4_000, 80_000];
/// Of so many pieces one is the last on its lane, while connections break: a tree takes longer than a message.
const PIECES_OF_A_BREAK: u64 = 8;

/// The tree that arrives at a process: one at a time.
#[derive(Default)]
pub struct Arrivals {
    /// The lane on which it does.
    lane: Cell<Option<u64>>,
}

/// What the sender says first.
#[derive(Clone)]
struct Head {
    lane: u64,
    vote: Vote,
    stream: (u64, u64),
    meta: SnapshotMeta,
}

enum Answer {
    Have(usize),
    Installed(Vote),
    Refused(&'static str),
}

/// A lane ends with the task that it belongs to.
struct Closes(Rc<Wire>);

impl Drop for Closes {
    fn drop(&mut self) {
        if current().is_some_and(|process| process.is_alive()) {
            self.0.close(0);
        }
    }
}

/// Sends a tree, and waits until it is installed.
///
/// # Errors
/// Why it did not arrive, for people.
pub async fn send(
    way: &Way,
    wire: Rc<Wire>,
    vote: Vote,
    snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, SnapshotData>,
) -> Result<SnapshotResponse<TypeConfig>, String> {
    let (world, find) = (way.ways.world.clone(), way.ways.find.clone());
    let _closes = Closes(wire.clone());
    let image = snapshot.snapshot.take();
    let stream = (way.ways.from, image.flush);
    let head = Head { lane: world.next(), vote, stream, meta: snapshot.meta };
    let lane = head.lane;
    let records: Vec<(Bytes, Bytes)> = image.records.clone().into_iter().collect();
    let pieces: Vec<Piece> = records.chunks(PIECE_RECORDS).map(Into::into).collect();
    let checksum = sum(&pieces);
    way.trace(|| format!("a tree of {} pieces, stream {stream:?}, lane {lane}", pieces.len()));
    let begun = {
        let (world, head) = (world.clone(), head.clone());
        at(&wire, &find, move |here, there| {
            let (world, head) = (world.clone(), head.clone());
            Box::pin(async move { begin(&world, &here, &there, &head) })
        })
    };
    let offset = match begun.await.ok_or("the lane ended at its head")? {
        Answer::Have(offset) => offset,
        Answer::Installed(vote) => return Ok(SnapshotResponse::new(vote)),
        Answer::Refused(why) => return Err(why.to_owned()),
    };
    let piece_us_max = PIECE_US_MAX[usize::from(world.random.one_in(2))];
    for piece in pieces.iter().skip(offset) {
        world_sleep(Duration::from_micros(world.random.below(piece_us_max))).await;
        if world.net.breaks_of_10000.get() > 0 && world.random.one_in(PIECES_OF_A_BREAK) {
            wire.break_now();
        }
        if wire.is_closed(0) {
            return Err("the lane ended within the tree".to_owned());
        }
        let (world, find, piece) = (world.clone(), find.clone(), piece.clone());
        wire.send(0, move || take(&world, &find, lane, &piece));
    }
    let ended = at(&wire, &find, move |here, _there| {
        let (world, head) = (world.clone(), head.clone());
        Box::pin(async move {
            let answer = finish(&world, &here, &head, checksum).await;
            here.arrivals.ended(lane);
            answer
        })
    });
    match ended.await.ok_or("the lane ended before the tree was installed")? {
        Answer::Installed(vote) => Ok(SnapshotResponse::new(vote)),
        Answer::Refused(why) => Err(why.to_owned()),
        Answer::Have(_) => Err("the other side asks for the tree twice".to_owned()),
    }
}

/// Asks whoever serves on the other side.
async fn at(
    wire: &Rc<Wire>,
    find: &Find,
    serve: impl Fn(Here, Rc<Wire>) -> Local<Answer> + 'static,
) -> Option<Answer> {
    let (there, find) = (wire.clone(), find.clone());
    let asked = wire.ask(0, move || match current().and_then(|process| find(&process)) {
        Some(here) => serve(here, there.clone()),
        None => Box::pin(async { Answer::Refused("it is starting") }),
    });
    asked.await
}

/// Depends on each record and its place.
fn sum(pieces: &[Piece]) -> u128 {
    pieces.iter().flat_map(|piece| piece.iter()).fold(0, |sum: u128, (key, value)| {
        sum.wrapping_mul(0x0100_0000_01b3) ^ quorate_core::draft::record_hash(key, value)
    })
}

impl Arrivals {
    fn ended(&self, lane: u64) {
        if self.lane.get() == Some(lane) {
            self.lane.set(None);
        }
    }
}

/// Looked at before anything is received; then where to go on.
fn begin(world: &Rc<World>, here: &Here, wire: &Rc<Wire>, head: &Head) -> Answer {
    let Some(last) = head.meta.last_log_id else {
        return Answer::Refused("a tree to which nothing was applied");
    };
    let metrics = here.raft.metrics();
    let (term, applied, vote) = {
        let metrics = metrics.borrow_watched();
        (metrics.current_term, metrics.last_applied, metrics.vote)
    };
    if head.vote.leader_id.term < term {
        return Answer::Refused("its term is over");
    }
    if applied.is_some_and(|applied| applied.index >= last.index) {
        return Answer::Installed(vote);
    }
    if here.arrivals.lane.get().is_some() {
        return Answer::Refused("another tree is arriving");
    }
    here.arrivals.lane.set(Some(head.lane));
    if let Some(process) = current() {
        let (wire, arrivals, lane) = (wire.clone(), here.arrivals.clone(), head.lane);
        drop(process.spawn(async move {
            wire.closed(1).await;
            arrivals.ended(lane);
        }));
    }
    let mut part = here.disk.part.borrow_mut();
    let of_another = part.as_ref().is_some_and(|part| part.stream != head.stream);
    if of_another && !world.has(Mutant::AnyStream) {
        world.count(|counts| counts.abandoned += 1);
        part.take();
    }
    let part = part.get_or_insert_with(|| Part { stream: head.stream, pieces: Vec::new() });
    world.count(|counts| counts.gone_on += u64::from(!part.pieces.is_empty()));
    Answer::Have(part.pieces.len())
}

/// The next piece: what is on a lane comes in order.
fn take(world: &World, find: &Find, lane: u64, piece: &Piece) {
    let Some(here) = current().and_then(|process| find(&process)) else { return };
    if here.arrivals.lane.get() != Some(lane) && !world.has(Mutant::LatePieces) {
        return;
    }
    if let Some(part) = here.disk.part.borrow_mut().as_mut() {
        part.pieces.push(piece.clone());
        world.count(|counts| counts.pieces += 1);
    }
}

/// The stream is over: what arrived is looked at, and installed.
async fn finish(world: &World, here: &Here, head: &Head, checksum: u128) -> Answer {
    if here.arrivals.lane.get() != Some(head.lane) {
        return Answer::Refused("its lane is over");
    }
    let Some(part) = here.disk.part.take() else { return Answer::Refused("there is nothing") };
    if sum(&part.pieces) != checksum && !world.has(Mutant::Unchecked) {
        return Answer::Refused("it is not sound");
    }
    let records = part.pieces.iter().flat_map(|piece| piece.iter().cloned()).collect();
    let (applied, membership) = (head.meta.last_log_id, head.meta.last_membership.clone());
    let image = TreeImage { records, applied, membership, flush: 0 };
    let (meta, snapshot) = (head.meta.clone(), SendWrapper::new(Rc::new(image)));
    match here.raft.install_full_snapshot(head.vote, Snapshot { meta, snapshot }).await {
        Ok(response) => Answer::Installed(response.vote),
        // It has stopped: nobody there answers any more.
        Err(_) => std::future::pending().await,
    }
}
