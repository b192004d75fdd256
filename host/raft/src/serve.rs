//! What other members ask of this one's raft, lane by lane. It does not know who they are: whoever hands over a lane has
//! made sure of that.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use openraft::Raft;
use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_net::{LaneReceiver, LaneSender};
use tokio::sync::{Mutex, watch};

use crate::acknowledged::has_lost;
use crate::log_store::LogStore;
use crate::messages::{self, Call};
use crate::network::{Lane, LaneKind};
use crate::state_machine::StateMachine;
use crate::transfer;
use crate::types::{TypeConfig, Vote};

/// Time for the last frames of a lane.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// This member's raft, for others. Cheap to clone.
#[derive(Clone)]
pub struct Served {
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) namespace: NamespaceId,
    /// The highest feature level of a tree that is received.
    pub(crate) level: Level,
    /// Where a tree is received; held by the one that is.
    pub(crate) incoming: Arc<Mutex<PathBuf>>,
    pub(crate) log: LogStore,
    /// Why this member takes no part any more, once it was found to have lost entries.
    pub(crate) lost: Arc<watch::Sender<Option<String>>>,
}

impl Served {
    /// Serves one lane to its end: until the other side ends it, breaks the protocol, or raft has stopped here.
    pub async fn lane(&self, kind: LaneKind, lane: Lane) {
        if self.lost.borrow().is_some() {
            return;
        }
        let ended = match kind {
            LaneKind::Append => self.appends(lane).await,
            LaneKind::Call => self.call(lane).await,
            LaneKind::Snapshot => self.tree(lane).await,
        };
        if let Err(why) = ended {
            tracing::debug!(?kind, why, "a lane of another member has ended");
        }
    }

    /// One at a time: a second one, of another leader perhaps, is sent away and comes again.
    async fn tree(&self, lane: Lane) -> Result<(), String> {
        let Ok(directory) = Arc::clone(&self.incoming).try_lock_owned() else {
            return Err("another tree is arriving".to_owned());
        };
        transfer::receive(&self.raft, (self.namespace, self.level), directory, lane).await
    }

    async fn appends(&self, (sender, receiver): Lane) -> Result<(), String> {
        self.append_all(sender, receiver, None).await
    }

    /// One question, or a heartbeat.
    async fn call(&self, (sender, mut receiver): Lane) -> Result<(), String> {
        let frame = receiver.recv().await.map_err(|error| error.to_string())?;
        let Some(frame) = frame else { return Ok(()) };
        if let Ok(request) = messages::read_append(frame.clone()) {
            return self.append_all(sender, receiver, Some(request)).await;
        }
        let call = Call::decode(frame).map_err(|error| error.to_string())?;
        let answer = match call {
            Call::Vote(request) => {
                self.raft.vote(request).await.map(|answer| messages::voted(&answer))
            }
            Call::PreVote(request) => {
                self.raft.pre_vote(request).await.map(|answer| messages::voted(&answer))
            }
            Call::Transfer(request) => {
                let answer = self.raft.handle_transfer_leader(request).await;
                answer.map(|answer| messages::transferred(&answer)).map_err(Into::into)
            }
            Call::Lost { vote, index } => Ok(messages::agreed(self.judge(&vote, index)?)),
        };
        let answer = answer.unwrap_or_else(|fatal| messages::failed(&fatal.to_string()));
        sender.send(answer).await.map_err(|error| error.to_string())?;
        sender.finish(FAREWELL).await.map_err(|error| error.to_string())
    }

    /// Looks whether this member has lost what it has acknowledged to a leader, and ends its part if so.
    fn judge(&self, leader: &Vote, index: u64) -> Result<bool, String> {
        let (own, last) = self.log.promised().map_err(|error| error.to_string())?;
        if !has_lost(own.as_ref(), last, leader, index) {
            tracing::warn!(
                index,
                ?last,
                "a leader says that this member has lost entries that it had acknowledged, and this member does not find it so"
            );
            return Ok(false);
        }
        let last = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
        let why = format!(
            "this member has lost entries that it had acknowledged to the leader of term {}: it had {index} and has {last}. Its \
             data directory is an older copy, or its disk has lost what it had synced; it takes no part any more, since its \
             vote could cost the cluster what was acknowledged: remove it from the cluster and add a new one with an empty \
             directory and a number that was never used",
            leader.leader_id.term
        );
        self.lost.send_replace(Some(why));
        // Now: it must not stand for election, either.
        let raft = self.raft.clone();
        tokio::spawn(async move {
            if let Err(error) = raft.shutdown().await {
                tracing::error!(%error, "raft did not stop in an orderly way");
            }
        });
        Ok(true)
    }

    async fn append_all(
        &self,
        sender: LaneSender,
        receiver: LaneReceiver,
        first: Option<openraft::raft::AppendEntriesRequest<TypeConfig>>,
    ) -> Result<(), String> {
        let requests = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(Some(frame)) => match messages::read_append(frame) {
                    Ok(request) => Some((request, receiver)),
                    Err(error) => {
                        tracing::warn!(%error, "another member sent what can not be read; its lane ends");
                        None
                    }
                },
                Ok(None) | Err(_) => None,
            }
        });
        let requests = stream::iter(first).chain(requests).boxed();
        let mut answers = pin!(self.raft.stream_append(requests));
        while let Some(answer) = answers.next().await {
            let (frame, is_last) = match &answer {
                Ok(result) => (messages::appended(result), result.is_err()),
                Err(fatal) => (messages::failed(&fatal.to_string()), true),
            };
            sender.send(frame).await.map_err(|error| error.to_string())?;
            if is_last {
                break;
            }
        }
        sender.finish(FAREWELL).await.map_err(|error| error.to_string())
    }
}
