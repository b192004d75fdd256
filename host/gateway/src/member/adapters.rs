//! The parts of a member, in the words of those that use them: ports of this crate over raft, the engine and the mesh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Term};
use quorate_core::read::SharedRead;
use quorate_core::transaction::Entry;
use quorate_engine::Engine;
use quorate_raft::{Contact, Lane, Leadership, Node, ProposeResult};
use quorate_wire::message::query::{LogLine, Status};

use super::who::agent;
use crate::administration::Administration;
use crate::compile::Prepare;
use crate::divergence;
use crate::leader::{Propose, SequencerHandle};
use crate::link::{BoxFuture, Dial, LinkBroken, LinkEnds};
use crate::links;
use crate::mesh::{Mesh, Purpose, Serve, Task};
use crate::process;
use crate::quorum::Rounds;
use crate::reads::Surroundings;

/// What other members ask.
pub(super) struct Served {
    pub(super) raft: quorate_raft::serve::Served,
    pub(super) node: Arc<Node>,
    pub(super) sequencer: SequencerHandle,
    pub(super) rounds: Rounds,
    pub(super) administration: Administration,
}

/// Opens links over the mesh.
pub(super) struct MeshDial {
    pub(super) mesh: Arc<Mesh>,
    pub(super) node: Arc<Node>,
}

impl Dial for MeshDial {
    fn link(&self, leader: u64) -> BoxFuture<'_, Result<LinkEnds, LinkBroken>> {
        Box::pin(async move {
            let contact = self.node.members().contacts.get(&leader).cloned();
            let contact = contact.ok_or_else(|| {
                LinkBroken(format!("the membership does not name member {leader} here yet"))
            })?;
            let opened = self.mesh.open(leader, &contact, Purpose::Link).await;
            let (sender, receiver) = opened.map_err(LinkBroken)?;
            Ok(LinkEnds { sender: Box::new(sender), receiver: Box::new(receiver) })
        })
    }
}

impl Serve for Served {
    fn lane(&self, from: u64, purpose: Purpose, lane: Lane) -> Task<'_, ()> {
        Box::pin(async move {
            let ended = match purpose {
                Purpose::Raft(kind) => {
                    self.raft.lane(kind, lane).await;
                    Ok(())
                }
                Purpose::Administer | Purpose::Status => {
                    self.administration.serve(purpose, lane).await
                }
                Purpose::Digests => divergence::tell(&self.node, lane).await,
                Purpose::Link => {
                    let (sender, receiver) = lane;
                    let ends = LinkEnds { sender: Box::new(sender), receiver: Box::new(receiver) };
                    links::serve(self.sequencer.clone(), self.rounds.clone(), from, ends).await;
                    Ok(())
                }
            };
            if let Err(why) = ended {
                tracing::debug!(from, ?purpose, why, "a lane of a member has ended");
            }
        })
    }

    fn contact(&self, member: u64) -> Option<Contact> {
        self.node.members().contacts.get(&member).cloned()
    }
}

pub(super) struct NodeProposer {
    pub(super) member: u64,
    pub(super) node: Arc<Node>,
    pub(super) sequencer: SequencerHandle,
}

impl Propose for NodeProposer {
    fn propose(&mut self, epoch: Epoch, batch: u64, entry: Arc<Entry>) {
        let sequencer = self.sequencer.clone();
        let leadership = Leadership { term: entry.term, member: self.member };
        self.node.propose_with(entry, leadership, move |result| {
            // An entry that was taken, or discarded, is told by the apply listener, in order.
            if matches!(result, ProposeResult::Refused(_) | ProposeResult::Lost) {
                sequencer.refused(epoch, batch);
            }
        });
    }
}

pub(super) struct EnginePrepare {
    pub(super) engine: Engine,
}

impl Prepare for EnginePrepare {
    fn prepare(&self, component: ComponentDigest, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.engine.prepare(component, Bytes::from(bytes))
    }

    fn is_prepared(&self, component: &ComponentDigest) -> bool {
        self.engine.is_prepared(component)
    }
}

/// What reads are told beside the tree.
pub(super) struct Around {
    pub(super) engine: Engine,
    pub(super) node: Arc<Node>,
    pub(super) mesh: Arc<Mesh>,
    pub(super) sequencer: SequencerHandle,
    pub(super) began: Instant,
    /// Bytes free on the data directory's disk, when it was last looked.
    pub(super) free: Arc<AtomicU64>,
}

impl Surroundings for Around {
    fn interfaces(&self, component: &ComponentDigest) -> Result<Vec<Bytes>, Refusal> {
        self.engine
            .interfaces(component)?
            .iter()
            .map(|interface| {
                interface
                    .encode()
                    .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))
            })
            .collect()
    }

    fn logs(&self, recipe: &str, limit: u32) -> Vec<LogLine> {
        let lines = self.engine.logs(recipe, limit as usize);
        lines
            .into_iter()
            .map(|line| LogLine {
                time_ms: line.time.0,
                zxid: line.zxid,
                level: match line.level {
                    quorate_engine::Level::Debug => 0,
                    quorate_engine::Level::Info => 1,
                    quorate_engine::Level::Warn => 2,
                    quorate_engine::Level::Error => 3,
                },
                message: line.message,
            })
            .collect()
    }

    fn at_once(&self) -> SharedRead {
        self.node.tree_at_once()
    }

    fn status(&self) -> Result<Status, Refusal> {
        let metrics = self.node.metrics();
        // At one moment: members that stand at one index are compared by their digests.
        let (applied, tree) = self.node.tree_at_index().map_err(|error| {
            let message =
                format!("the tree of member {} does not say where it stands", metrics.member);
            Refusal::new(ErrorCode::Internal, format!("{message}: {error}"))
        })?;
        let meta = tree.meta();
        let usage = process::usage();
        Ok(Status {
            member: metrics.member,
            version: agent(),
            role: metrics.role.name().to_owned(),
            term: Term(metrics.term.0),
            epoch: self.sequencer.epoch(),
            zxid: meta.zxid,
            leader: metrics.leader,
            last_index: metrics.last_log.unwrap_or(0),
            committed_index: metrics.committed.map_or(0, |at| at.index),
            applied_index: applied.unwrap_or(0),
            digest: meta.digest,
            sessions: meta.sessions_count,
            cpu_us: usage.cpu_us,
            memory_bytes: usage.memory_bytes,
            uptime_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            disk_free_bytes: self.free.load(Ordering::Relaxed),
            level: self.mesh.own().level,
            cluster_level: tree.level(),
        })
    }
}
