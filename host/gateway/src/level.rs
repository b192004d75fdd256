//! When the cluster's feature level rises: while this member leads, and all that belong to the cluster, voters and learners,
//! have said on a connection that stands that they know a higher one. It does not know what the features are, nor how the
//! level is kept: raising it is a transaction of the sequencer.
//!
//! What a member has said is true of the process that said it. One that is replaced by an older build between its word and
//! the raise is refused when it comes back, by every member, and stops when its own log brings the raise: it has to be
//! upgraded again. Nothing can rule that out, since a process may be replaced at any moment.
//!
//! A member that is added while the level rises is either seen by the raise, or measured against the level that it has
//! brought about: the two exclude each other ([`Levels::hold`]), and a leader that adds one has first applied all that the
//! leaders before it have raised.

use std::sync::Arc;

use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::level::Level;
use quorate_core::read::SharedRead;
use quorate_raft::{Leadership, Node};
use quorate_sequencer::Input;
use quorate_wire::member::Identity;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;

use crate::leader::SequencerHandle;
use crate::limits;
use crate::mesh::Mesh;

/// What the members of the cluster know, and which level it has.
pub struct Levels {
    /// The highest that this build knows.
    pub own: Level,
    /// Who belongs to the cluster.
    pub node: Arc<Node>,
    /// What they have said.
    pub mesh: Arc<Mesh>,
    /// Which level the cluster has.
    pub tree: SharedRead,
    /// Where the level is raised.
    pub sequencer: SequencerHandle,
    /// Held while a member is added, and while the level rises.
    pub changes: Mutex<()>,
}

/// A raise that the sequencer was told of: no member is added until it has happened, or the leadership is over.
pub struct Raise<'a> {
    level: Level,
    _held: MutexGuard<'a, ()>,
}

impl Levels {
    /// Keeps the level from rising for as long as this is held.
    pub async fn hold(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    /// Whether a member may belong to this cluster, as far as its build is concerned.
    ///
    /// # Errors
    /// `member-refused`, naming both levels.
    pub fn check(&self, found: &Identity) -> Result<(), Refusal> {
        check(found, self.tree.level())
    }

    /// Tells the sequencer to raise the level, if all members know a higher one by now and none is being added. May come
    /// before the sequencer is told of the leadership: its first transaction is the raise then.
    pub fn begin(&self, leadership: Leadership) -> Option<Raise<'_>> {
        let now = self.tree.level();
        if now >= self.own {
            return None;
        }
        // Whoever holds it changes the members; it is looked again soon.
        let held = self.changes.try_lock().ok()?;
        let level = self.known_by_all()?;
        if level <= now {
            return None;
        }
        let leadership = quorate_sequencer::Leadership { term: leadership.term };
        self.sequencer.send(Input::MembersKnow { leadership, level });
        Some(Raise { level, _held: held })
    }

    /// Goes on with what [`Levels::begin`] has begun, and looks again and again whether the level can rise. Never ends; to be
    /// dropped when the leadership is over.
    pub async fn keep(&self, leadership: Leadership, mut begun: Option<Raise<'_>>) {
        let mut looks = tokio::time::interval(limits::LEVEL_LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cluster = self.mesh.cluster_level();
        loop {
            if let Some(raise) = begun.take()
                && cluster.wait_for(|level| *level >= raise.level).await.is_err()
            {
                return std::future::pending().await;
            }
            looks.tick().await;
            begun = self.begin(leadership);
        }
    }

    /// The highest level that every member knows; none if one of them has not said what it knows.
    fn known_by_all(&self) -> Option<Level> {
        let own = self.mesh.own().member;
        let mut lowest = self.own;
        for (member, contact) in &self.node.members().contacts {
            if *member != own {
                lowest = lowest.min(self.mesh.known_level(*member, contact.incarnation)?);
            }
        }
        Some(lowest)
    }
}

/// Whether a build may take part in a cluster of this level.
///
/// # Errors
/// `member-refused`, naming both levels.
pub(crate) fn check(found: &Identity, cluster: Level) -> Result<(), Refusal> {
    if found.level >= cluster {
        return Ok(());
    }
    let Identity { member, agent, level, .. } = found;
    let message = format!(
        "this cluster uses feature level {cluster}; the build of member {member} ({agent}) knows {level}: upgrade it"
    );
    Err(Refusal::new(ErrorCode::MemberRefused, message))
}
