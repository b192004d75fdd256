//! Whether this member may execute: it leads, and has applied the blank entry of its own term (DESIGN D1). It does not
//! know who executes.

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use quorate_core::ids::Term;
use tokio::sync::watch;

use crate::types::TypeConfig;

/// A leadership of this member. There is one leader a term, so the term tells all of them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Its term.
    pub term: Term,
    /// The member that leads: this one.
    pub member: u64,
}

/// Who leads, as far as a member knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The term.
    pub term: Term,
    /// The member.
    pub member: u64,
}

type ServerMetrics = WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// Watches openraft and the apply thread, and tells when this member begins and ends to lead; until openraft has ended.
///
/// What is told may be old by the time it is read: the condition of each proposal is what counts.
pub(crate) async fn watch(
    mut server: ServerMetrics,
    mut applied: watch::Receiver<Term>,
    told: watch::Sender<Option<Leadership>>,
    leader: watch::Sender<Option<Leader>>,
) {
    let told = Told(told);
    loop {
        let (now, leads) = {
            let server = server.borrow_watched();
            let leads = server.current_leader.map(|member| {
                let term = Term(server.vote.leader_id.term);
                Leader { term, member }
            });
            (current(&server, *applied.borrow_and_update()), leads)
        };
        leader.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        let is_changed = told.0.send_if_modified(|before| std::mem::replace(before, now) != now);
        if is_changed {
            match now {
                Some(Leadership { term, member }) => {
                    tracing::info!(%term, member, "this member leads");
                }
                None => tracing::info!("this member does not lead any more"),
            }
        }
        let is_alive = tokio::select! {
            changed = server.changed() => changed.is_ok(),
            changed = applied.changed() => changed.is_ok(),
        };
        if !is_alive {
            return;
        }
    }
}

/// Tells at its end that this member does not lead, also when who tells it is aborted: nobody would correct it.
struct Told(watch::Sender<Option<Leadership>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// The first entry of a leader's term is its blank one, so an applied entry of that term means that it was applied, and all
/// before it.
fn current(server: &RaftServerMetrics<TypeConfig>, applied: Term) -> Option<Leadership> {
    let elected = &server.vote.leader_id;
    let is_leader = server.state == ServerState::Leader
        && server.vote.committed
        && elected.voted_for == server.id
        && Term(elected.term) == applied;
    is_leader.then_some(Leadership { term: applied, member: server.id })
}
