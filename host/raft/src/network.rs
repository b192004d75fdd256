//! The way to other members, as openraft wants it: appends on a long lane each, votes and heartbeats on lanes of higher
//! priority, snapshots on lanes of their own. It does not know connections ([`Network`] opens lanes), nor what an entry
//! does.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};
use quorate_net::{LaneReceiver, LaneSender};
use tokio::time::timeout;

use crate::acknowledged::Acknowledged;
use crate::contact::Contact;
use crate::messages::{self, Call, NoAnswer};
use crate::retention::Retention;
use crate::serve::FAREWELL;
use crate::snapshot::SnapshotData;
use crate::transfer;
use crate::types::{CommittedLeaderId, TypeConfig, Vote};

/// Bytes of one frame between members: what one read of the log brings, or the largest entry, and its head.
pub const FRAME_BYTES_MAX: u32 = quorate_store::log::PAYLOAD_BYTES_MAX + (64 << 10);

/// An append that is not answered for so long breaks its lane: connections notice a dead member before, so this is a
/// member that is stalled, and all that was sent to it is sent again.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const APPEND_LOOK_EVERY: Duration = Duration::from_millis(500);
/// The first pause after a member was not reached, doubled each time, and the longest. A member that comes back is in
/// touch within the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What a lane is for. Numbers are frozen: they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LaneKind {
    /// Entries for the log, one after the other, answered in their order.
    Append = 1,
    /// A heartbeat or a question, ahead of everything else.
    Call = 2,
    /// A whole tree.
    Snapshot = 3,
}

/// Both ends of a lane on this side.
pub type Lane = (LaneSender, LaneReceiver);

/// Opens lanes to other members.
pub trait Network: Send + Sync + 'static {
    /// Opens a lane of this kind, on a connection of which it is sure that the other end is this member. What it gives is
    /// ready for the first frame. Dropped before it is ready, nothing stays behind but perhaps the connection.
    ///
    /// # Errors
    /// Why the member is not reached, for people.
    fn open<'a>(
        &'a self,
        member: u64,
        contact: &'a Contact,
        kind: LaneKind,
    ) -> BoxFuture<'a, Result<Lane, String>>;
}

/// The network of a cluster of one: it knows no way to anybody, and says so, so that a vote that nobody gave never counts.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Network for Alone {
    fn open<'a>(
        &'a self,
        member: u64,
        _contact: &'a Contact,
        _kind: LaneKind,
    ) -> BoxFuture<'a, Result<Lane, String>> {
        Box::pin(async move { Err(format!("there is no way to member {member}")) })
    }
}

/// Makes the ways to members.
pub(crate) struct Ways {
    pub own: u64,
    pub network: Arc<dyn Network>,
    pub acknowledged: Arc<Acknowledged>,
    pub retention: Arc<Retention>,
}

/// The way to one member.
pub(crate) struct Way {
    own: u64,
    member: u64,
    contact: Contact,
    network: Arc<dyn Network>,
    acknowledged: Arc<Acknowledged>,
    retention: Arc<Retention>,
    /// What openraft sends appends for on this way: entries, or signs of life that do not wait behind them.
    appends: LaneKind,
}

impl RaftNetworkFactory<TypeConfig> for Ways {
    type Network = Way;

    async fn new_client(&mut self, member: u64, contact: &Contact) -> Way {
        Way {
            own: self.own,
            member,
            contact: contact.clone(),
            network: Arc::clone(&self.network),
            acknowledged: Arc::clone(&self.acknowledged),
            retention: Arc::clone(&self.retention),
            appends: LaneKind::Append,
        }
    }

    async fn new_heartbeat_client(&mut self, member: u64, contact: &Contact) -> Way {
        Way { appends: LaneKind::Call, ..self.new_client(member, contact).await }
    }
}

fn unreachable(why: impl fmt::Display) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why)
}

fn broken(why: impl fmt::Display) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(why))
}

impl Way {
    async fn open(
        &self,
        kind: LaneKind,
        patience: Duration,
    ) -> Result<Lane, Unreachable<TypeConfig>> {
        let opened = self.network.open(self.member, &self.contact, kind);
        match timeout(patience, opened).await {
            Ok(opened) => opened.map_err(unreachable),
            Err(_) => Err(unreachable(format!("member {} is not reached in time", self.member))),
        }
    }

    /// Asks once, on a lane of its own.
    async fn ask<T>(
        &self,
        call: Call,
        option: RPCOption,
        read: fn(Bytes) -> Result<T, NoAnswer>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let patience = option.hard_ttl();
        let asked = async {
            let (sender, mut receiver) = self.open(LaneKind::Call, patience).await?;
            sender.send(call.encode()).await.map_err(broken)?;
            let frame = receiver.recv().await.map_err(broken)?;
            let frame = frame.ok_or_else(|| broken("the lane ended without an answer"))?;
            read(frame).map_err(|error| unreachable(error).into())
        };
        match timeout(patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(broken(format!("member {} did not answer in time", self.member))),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, Contact, SnapshotData>,
        patience: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (member, own) = (self.member, self.own);
        // Before anything waits: what comes behind the tree must be there when the member has it.
        let index = snapshot.meta.last_log_id.map_or(0, |at| at.index);
        self.retention.begin(member, index, Instant::now());
        let lane = self.open(LaneKind::Snapshot, patience).await?;
        tracing::info!(
            member,
            own,
            "sending the tree to a member whose log ends before ours begins"
        );
        let progressed = || self.retention.progressed(member, Instant::now());
        match transfer::send(lane, &vote, snapshot, &progressed).await {
            Ok(vote) => {
                self.retention.arrived(member, Instant::now());
                Ok(SnapshotResponse::new(vote))
            }
            Err(error) => {
                tracing::warn!(member, %error, "the tree did not reach a member");
                Err(unreachable(error).into())
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut answers = self.stream_append(stream::iter([request]), option).await?;
        match answers.next().await {
            Some(Ok(Ok(_last))) => Ok(AppendEntriesResponse::Success),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => {
                Ok(AppendEntriesResponse::HigherVote(vote))
            }
            Some(Err(error)) => Err(error),
            None => Err(broken("the lane ended without an answer")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let appended = async move {
            let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
            let leader = first.vote;
            let who = (self.member, self.contact.incarnation);
            if let Some((index, why)) = self.acknowledged.lost(who, &leader) {
                // It is sent nothing any more, but told why.
                let lost = Call::Lost { vote: leader, index };
                let is_agreed = self.ask(lost, option, messages::read_agreed).await?;
                tracing::debug!(
                    self.member,
                    is_agreed,
                    "a member was told that it has lost entries"
                );
                return Err(unreachable(why).into());
            }
            let lane = self.open(self.appends, option.hard_ttl()).await?;
            let requests = stream::once(async move { first }).chain(input);
            let acknowledged = move |result: &_| self.acknowledged.note(who, &leader, result);
            Ok(pipeline(lane, requests, acknowledged).boxed())
        };
        appended.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Call::Vote(request), option, messages::read_voted).await
    }

    /// openraft's default grants (DESIGN D15).
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Call::PreVote(request), option, messages::read_voted).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, Contact, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            sent = self.send_snapshot(vote, snapshot, option.hard_ttl()) => sent,
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Call::Transfer(request), option, messages::read_transferred).await
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses =
            std::iter::successors(Some(BACKOFF_FIRST), |pause| Some((*pause * 2).min(BACKOFF_MAX)));
        Some(Backoff::new(pauses))
    }
}

type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// When the requests that wait for an answer were sent, oldest first.
type Sent = Arc<Mutex<VecDeque<Instant>>>;

/// Requests out, answers in, neither waiting for the other; answers come in the order of their requests. Ends with the
/// first answer that is an error, or when all is answered.
fn pipeline<'s>(
    (sender, receiver): Lane,
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 's,
    check: impl Fn(&StreamAppendResult<TypeConfig>) -> Result<(), String> + Send + 's,
) -> impl Stream<Item = Answer> + Send + 's {
    let sent: Sent = Arc::default();
    let sending = stream::once(send_all(sender, requests, Arc::clone(&sent)))
        .filter_map(|done| async move { done.err().map(Err) });
    let receiving = stream::unfold(Some((receiver, check)), move |state| {
        let sent = Arc::clone(&sent);
        async move {
            let (mut receiver, check) = state?;
            let answer = next_answer(&mut receiver, &sent).await?;
            let answer = answer.and_then(|result| match check(&result) {
                Ok(()) => Ok(result),
                Err(why) => Err(unreachable(why).into()),
            });
            let is_last = !matches!(&answer, Ok(Ok(_)));
            Some((answer, (!is_last).then_some((receiver, check))))
        }
    });
    // Ends with the first error of either side, and when the answers have ended: requests may go on for ever.
    let both =
        stream::select(sending.map(Some), receiving.map(Some).chain(stream::once(async { None })));
    both.scan(false, |is_over, next: Option<Answer>| {
        let next = if *is_over { None } else { next };
        *is_over = !matches!(&next, Some(Ok(Ok(_))));
        async move { next }
    })
}

async fn send_all(
    sender: LaneSender,
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>>,
    sent: Sent,
) -> Result<(), RPCError<TypeConfig>> {
    let mut requests = std::pin::pin!(requests);
    while let Some(request) = requests.next().await {
        lock(&sent).push_back(Instant::now());
        sender.send(messages::append(&request)).await.map_err(broken)?;
    }
    // The answers of the last ones may still be on their way.
    sender.finish(FAREWELL).await.map_err(broken)
}

/// The next answer; `None` when there will be none.
async fn next_answer(receiver: &mut LaneReceiver, sent: &Sent) -> Option<Answer> {
    loop {
        match timeout(APPEND_LOOK_EVERY, receiver.recv()).await {
            Ok(Ok(Some(frame))) => {
                lock(sent).pop_front();
                let answer = messages::read_appended(frame);
                return Some(answer.map_err(|error| unreachable(error).into()));
            }
            Ok(Ok(None)) => {
                let is_owed = !lock(sent).is_empty();
                return is_owed.then(|| Err(broken("the lane ended before its answers")));
            }
            Ok(Err(error)) => return Some(Err(broken(error))),
            Err(_) => {
                let oldest = lock(sent).front().copied();
                if oldest.is_some_and(|at| at.elapsed() >= APPEND_PATIENCE) {
                    return Some(Err(broken("an append is not answered")));
                }
            }
        }
    }
}

fn lock(sent: &Sent) -> MutexGuard<'_, VecDeque<Instant>> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn heartbeats_have_a_lane_that_entries_do_not_take() {
        let mut ways = Ways {
            own: 1,
            network: Arc::new(Alone),
            acknowledged: Arc::default(),
            retention: Arc::default(),
        };
        let contact = Contact::default();
        assert_eq!(ways.new_client(2, &contact).await.appends, LaneKind::Append);
        assert_eq!(ways.new_heartbeat_client(2, &contact).await.appends, LaneKind::Call);
    }
}
