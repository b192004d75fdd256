//! openraft's messages over the simulated network: appends in one ordered lane, votes and heartbeats in another, whole trees
//! on a connection of their own ([`transfer`]). It knows neither what they say nor who is right.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use futures::future::{Either, select};
use futures::{FutureExt, Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, Instant, OptionalSend, RPCTypes, Raft, Snapshot};
use quorate_core::ids::Term;
use send_wrapper::SendWrapper;

use crate::check::event::Event;
use crate::mutant::Mutant;
use crate::process::{Process, current};
use crate::raft::disk::Disk;
use crate::raft::machine::{Machine, SnapshotData};
use crate::raft::transfer::{self, Arrivals};
use crate::raft::types::{CommittedLeaderId, TypeConfig, Vote};
use crate::runtime::{LocalInstant, MemberRuntime};
use crate::wire::{Address, Local, Wire};
use crate::world::World;

/// openraft, as the simulation runs it.
pub type RaftNode = Raft<TypeConfig, Machine>;

/// What serves others at a member.
#[derive(Clone)]
pub struct Here {
    /// openraft.
    pub raft: RaftNode,
    /// The member's disk.
    pub disk: Rc<Disk>,
    /// The tree that arrives.
    pub arrivals: Rc<Arrivals>,
}

/// Finds what serves at the member that a process is, once it has started.
pub type Find = Rc<dyn Fn(&Rc<Process>) -> Option<Here>>;

/// Appends that are under way to one member at most.
const PIPELINE_MAX: usize = 8;

/// The ways of one member to the others.
#[derive(Clone)]
pub struct Ways(pub SendWrapper<Rc<Around>>);

/// What a member needs to reach the others.
pub struct Around {
    /// The run.
    pub world: Rc<World>,
    /// This member.
    pub from: Address,
    /// Who serves there.
    pub find: Find,
}

impl RaftNetworkFactory<TypeConfig> for Ways {
    type Network = Way;

    async fn new_client(&mut self, member: u64, _node: &BasicNode) -> Way {
        Way { ways: self.0.clone(), to: member, wire: SendWrapper::new(None) }
    }
}

/// One lane to one member.
pub struct Way {
    pub(super) ways: SendWrapper<Rc<Around>>,
    pub(super) to: Address,
    wire: SendWrapper<Option<Rc<Wire>>>,
}

/// Serves a request, and serves it again if it arrives again.
type Serve<T> = Rc<dyn Fn(RaftNode) -> Local<T>>;
type SendServe<T> = SendWrapper<Serve<T>>;

fn send<T>(serve: impl Fn(RaftNode) -> Local<T> + 'static) -> SendServe<T> {
    SendWrapper::new(Rc::new(serve))
}

fn lost(to: Address) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(format!("the connection to {to} broke")))
}

impl Way {
    /// The connection, made again if it broke.
    pub(super) async fn wire(&mut self) -> Result<Rc<Wire>, RPCError<TypeConfig>> {
        if let Some(wire) = self.wire.as_ref().filter(|wire| !wire.is_closed(0)) {
            return Ok(wire.clone());
        }
        let dialled = self.ways.world.net.dial(self.ways.from, self.to, |_wire| ()).await;
        let Some(wire) = dialled else {
            let why = format!("nobody answers at {}", self.to);
            self.trace(|| why.clone());
            return Err(RPCError::Unreachable(Unreachable::from_string(why)));
        };
        *self.wire = Some(wire.clone());
        Ok(wire)
    }

    /// Asks on a connection that is there.
    fn ask<T: 'static>(&self, wire: Rc<Wire>, serve: SendServe<T>) -> Local<Option<T>> {
        let find = self.ways.find.clone();
        Box::pin(async move {
            let there = wire.clone();
            let ask = wire.ask(0, move || {
                let (find, serve, there) = (find.clone(), serve.clone(), there.clone());
                Box::pin(async move {
                    match current().and_then(|process| find(&process)) {
                        Some(here) => serve(here.raft).await,
                        None => {
                            // It is starting, or has stopped: it serves nobody.
                            there.close(1);
                            std::future::pending().await
                        }
                    }
                })
            });
            ask.await
        })
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        self.ways.world.trace(|| format!("raft {} -> {}: {}", self.ways.from, self.to, line()));
    }

    async fn call<T: 'static>(
        &mut self,
        what: RPCTypes,
        option: &RPCOption,
        serve: SendServe<T>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let (target, id, patience) = (self.to, self.ways.from, option.soft_ttl());
        let asked = async {
            let wire = self.wire().await?;
            self.ask(wire, serve).await.ok_or_else(|| lost(target))
        };
        match MemberRuntime::timeout(patience, SendWrapper::new(asked)).await {
            Ok(answer) => answer,
            Err(_) => {
                // What comes late on the old connection must not be taken for an answer: a new one is made.
                *self.wire = None;
                Err(RPCError::Timeout(Timeout { action: what, id, target, timeout: patience }))
            }
        }
    }
}

/// Flattens what the other side's raft says: one that has stopped answers nothing.
async fn or_never<T, E>(answer: Result<T, E>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await,
    }
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let serve: SendServe<_> = send(move |raft| {
            let request = request.clone();
            Box::pin(async move { or_never(raft.append_entries(request).await).await })
        });
        SendWrapper::new(self.call(RPCTypes::AppendEntries, &option, serve)).await
    }

    /// Requests go out without waiting for the answers to those before; answers are given in the order of requests.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
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
        Box::pin(SendWrapper::new(async move {
            let wire = self.wire().await?;
            let pipeline = Pipeline {
                way: self,
                wire,
                input,
                is_input_over: false,
                is_over: false,
                waiting: VecDeque::new(),
                option,
            };
            let answers = futures::stream::unfold(Some(pipeline), |pipeline| async move {
                let mut pipeline = pipeline?;
                let answer = pipeline.next().await?;
                let goes_on = matches!(answer, Ok(Ok(_))) && !pipeline.is_over;
                Some((answer, goes_on.then_some(pipeline)))
            });
            let answers: BoxStream<'s, _> = Box::pin(SendWrapper::new(answers));
            Ok(answers)
        }))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let vote = request.vote;
        let world = SendWrapper::new(self.ways.world.clone());
        let (voter, candidate) = (self.to, self.ways.from);
        if !request.leadership_transfer {
            let (member, term) = (candidate, Term(vote.leader_id.term));
            let heard_ms = crate::calm::heard_ms(&world, candidate);
            world.see(&Event::Stands { member, term, heard_ms });
        }
        let serve: SendServe<_> = send(move |raft| {
            let (world, request) = (world.clone(), request.clone());
            Box::pin(async move {
                let response = or_never(raft.vote(request).await).await;
                if response.vote_granted {
                    let term = Term(vote.leader_id.term);
                    world.see(&Event::Granted { voter, term, candidate });
                }
                response
            })
        });
        let answer = SendWrapper::new(self.call(RPCTypes::Vote, &option, serve)).await;
        self.or_granted(answer, vote, Mutant::GrantForThem)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let vote = request.vote;
        let serve: SendServe<_> = send(move |raft| {
            let request = request.clone();
            Box::pin(async move { or_never(raft.pre_vote(request).await).await })
        });
        let answer = SendWrapper::new(self.call(RPCTypes::Vote, &option, serve)).await;
        self.or_granted(answer, vote, Mutant::PreGrantForThem)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        // A connection of its own, as the real one.
        let mut way = Way { ways: self.ways.clone(), to: self.to, wire: SendWrapper::new(None) };
        let sent = async {
            let wire = way.wire().await.map_err(|error| {
                StreamingError::Unreachable(Unreachable::from_string(error.to_string()))
            })?;
            let sent = transfer::send(&way, wire, vote, snapshot).await;
            sent.map_err(|why| {
                way.trace(|| format!("the tree did not arrive: {why}"));
                StreamingError::Network(NetworkError::from_string(why))
            })
        };
        let sent = SendWrapper::new(Box::pin(sent));
        match select(sent, pin!(cancel)).await {
            Either::Left((sent, _)) => sent,
            Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let serve: SendServe<_> = send(move |raft| {
            let request = request.clone();
            Box::pin(async move { or_never(raft.handle_transfer_leader(request).await).await })
        });
        SendWrapper::new(self.call(RPCTypes::TransferLeader, &option, serve)).await
    }
}

impl Way {
    fn or_granted(
        &self,
        answer: Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>>,
        vote: Vote,
        mutant: Mutant,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match answer {
            Err(_) if self.ways.world.has(mutant) => Ok(VoteResponse::new(vote, None, true)),
            answer => answer,
        }
    }
}

type Answered = (
    SendWrapper<Local<Option<AppendEntriesResponse<TypeConfig>>>>,
    AppendEntriesRange,
    LocalInstant,
);
type AppendEntriesRange = (Option<crate::raft::types::LogId>, Option<crate::raft::types::LogId>);

/// Appends under way on one connection.
struct Pipeline<'s, S> {
    way: &'s mut Way,
    wire: Rc<Wire>,
    input: S,
    is_input_over: bool,
    /// A request was taken in part: those behind it do not fit.
    is_over: bool,
    waiting: VecDeque<Answered>,
    option: RPCOption,
}

impl<S> Pipeline<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    fn send(&mut self, request: AppendEntriesRequest<TypeConfig>) {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let range = (request.prev_log_id, last);
        let serve: SendServe<_> = send(move |raft| {
            let request = request.clone();
            Box::pin(async move { or_never(raft.append_entries(request).await).await })
        });
        let mut answer = self.way.ask(self.wire.clone(), serve);
        // The first poll sends it.
        if let Some(answered) = (&mut answer).now_or_never() {
            answer = Box::pin(std::future::ready(answered));
        }
        let due = <LocalInstant as Instant>::now() + self.option.soft_ttl();
        self.waiting.push_back((SendWrapper::new(answer), range, due));
    }

    /// The next answer, in order; none at the end.
    async fn next(
        &mut self,
    ) -> Option<Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> {
        loop {
            if self.waiting.is_empty() {
                if self.is_input_over {
                    return None;
                }
                match self.input.next().await {
                    Some(request) => self.send(request),
                    None => self.is_input_over = true,
                }
                continue;
            }
            let has_room = self.waiting.len() < PIPELINE_MAX && !self.is_input_over;
            let (answer, _, due) = self.waiting.front_mut()?;
            let answer = MemberRuntime::timeout_at(*due, answer);
            if has_room {
                match select(pin!(answer), self.input.next()).await {
                    Either::Left((answered, _)) => return Some(self.take(answered.ok().flatten())),
                    Either::Right((Some(request), _)) => self.send(request),
                    Either::Right((None, _)) => self.is_input_over = true,
                }
            } else {
                let answered = answer.await.ok().flatten();
                return Some(self.take(answered));
            }
        }
    }

    fn take(
        &mut self,
        answered: Option<AppendEntriesResponse<TypeConfig>>,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        let Some((_, (prev, last), _)) = self.waiting.pop_front() else {
            return Err(lost(self.way.to));
        };
        match answered {
            Some(response) => {
                self.is_over = matches!(
                    &response,
                    AppendEntriesResponse::PartialSuccess(partial) if *partial != last
                );
                self.way.trace(|| format!("append {prev:?}..{last:?}: {response:?}"));
                Ok(response.into_stream_result(prev, last))
            }
            None => {
                self.way.trace(|| "an append is not answered".to_owned());
                *self.way.wire = None;
                Err(lost(self.way.to))
            }
        }
    }
}
