//! What raft tells this member, and who hears it: entries that were applied, who leads, and whether this member does. It does
//! not know what they make of it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quorate_core::apply::Applied;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::SessionId;
use quorate_core::principal::masked;
use quorate_core::read::SharedRead;
use quorate_core::transaction::{Entry, EntryBody};
use quorate_raft::{Before, Kind, Leader, Leadership, Node};
use quorate_sequencer::Input;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::compile::Compiler;
use crate::leader::SequencerHandle;
use crate::level::Levels;
use crate::limits;
use crate::mesh::Mesh;
use crate::registry::Registry;
use crate::soft_bounds;

/// Who hears of entries. The compiler and the tree come after raft has begun to tell.
pub(crate) struct Listener {
    pub registry: Arc<Registry>,
    pub sequencer: SequencerHandle,
    pub mesh: Arc<Mesh>,
    pub compiler: Arc<OnceLock<Mutex<Compiler>>>,
    pub tree: Arc<OnceLock<SharedRead>>,
    pub audit: Audit,
}

impl Listener {
    /// What happens when an entry has been applied: events and replies go out, then the sequencer learns of it.
    pub(crate) fn hears(self) -> quorate_raft::ApplyListener {
        Box::new(move |told| match told.kind {
            Kind::Entry { applied, entry, before } => {
                self.applied(&entry, applied == Applied::Taken, before.as_ref());
            }
            Kind::Installed => self.installed(),
            Kind::Blank | Kind::Membership => {}
        })
    }

    fn applied(&self, entry: &Entry, is_taken: bool, before: Option<&Before>) {
        if is_taken {
            self.registry.applied(entry, before);
            if self.registry.has_executed(entry) {
                self.audit.executed(entry, |session| self.principal_of(session));
            }
            if let Some(compiler) = self.compiler.get() {
                lock(compiler).applied(entry);
            }
            self.note_level(entry);
        }
        self.sequencer.applied(entry, is_taken);
    }

    fn installed(&self) {
        if let Some(tree) = self.tree.get() {
            self.registry.installed(&**tree);
            self.mesh.set_cluster_level(tree.level());
        }
        if let Some(compiler) = self.compiler.get() {
            drop(lock(compiler).want_active());
        }
    }

    /// Who opened a session, also one that has just ended.
    fn principal_of(&self, session: SessionId) -> String {
        let record = self.tree.get().and_then(|tree| tree.session(session));
        record.map(|record| masked(&record.principal)).unwrap_or_default()
    }

    fn note_level(&self, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for change in transactions.iter().flat_map(|transaction| &transaction.changes) {
            if let Change::LevelRaised { level } = change {
                tracing::info!(level = level.0, "the cluster uses this feature level from now on");
                self.mesh.set_cluster_level(*level);
            }
        }
    }
}

/// Tells the number of whoever leads, whatever the term.
pub(crate) async fn tell_leader(
    mut from: watch::Receiver<Option<Leader>>,
    to: watch::Sender<Option<u64>>,
) {
    loop {
        let now = from.borrow_and_update().map(|leader| leader.member);
        to.send_if_modified(|before| std::mem::replace(before, now) != now);
        if from.changed().await.is_err() {
            return;
        }
    }
}

/// A leadership is told when the code of all that is active is ready here, or has been waited for long enough: a call that
/// waited elsewhere would else be woken into nothing.
pub(crate) async fn tell_leadership(
    node: Arc<Node>,
    sequencer: SequencerHandle,
    compiler: Arc<OnceLock<Mutex<Compiler>>>,
    levels: Arc<Levels>,
) {
    let mut leadership = node.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        let Some(now @ Leadership { term, .. }) = now else {
            sequencer.send(Input::Follow);
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        };
        // It may have led in another term until now.
        sequencer.send(Input::Follow);
        let ready = compiler.get().map(|compiler| lock(compiler).want_active());
        let ready = async {
            if let Some(ready) = ready
                && tokio::time::timeout(limits::LEAD_CODE_PATIENCE, ready).await.is_err()
            {
                tracing::warn!(
                    "recipes are not compiled yet: calls of them are answered `compiling`"
                );
            }
        };
        tokio::select! {
            () = ready => {}
            changed = leadership.changed() => if changed.is_err() { return } else { continue },
        }
        // First: a member alone raises the level before anybody has asked for what it brings.
        let raise = levels.begin(now);
        sequencer.send(Input::Lead(quorate_sequencer::Leadership { term }));
        tokio::select! {
            () = levels.keep(now, raise) => return,
            () = soft_bounds::watch(levels.tree.clone()) => return,
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

fn lock(compiler: &Mutex<Compiler>) -> MutexGuard<'_, Compiler> {
    compiler.lock().unwrap_or_else(PoisonError::into_inner)
}
