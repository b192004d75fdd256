//! Who belongs to the cluster, and the changes of that: made at the leader, refused when they would lose the quorum. It does
//! not know how members are reached, nor what data directories they have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{RaftMetrics, ServerState};
use quorate_core::ids::Term;
use tokio::sync::MutexGuard;

use crate::codec::MEMBERS_MAX;
use crate::contact::{CLIENT_ADDRESSES_MAX, Contact};
use crate::node::Node;
use crate::proposal::{Refusal, refusal};
use crate::types::TypeConfig;

/// Entries that a learner may lag behind the leader when it becomes a voter: what a busy leader commits in some heartbeats.
/// With more, commits would wait for it to catch up if another voter died now.
pub const PROMOTE_LAG_MAX: u64 = 1024;
/// Said to who comes second.
const UNDER_WAY: &str = "another change of the members is under way: wait until it is done";
/// Voters of a cluster: more only make every write slower.
pub const VOTERS_MAX: usize = 9;
/// A member that has not acknowledged anything for so long counts as dead when the quorum is counted.
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often it is looked who has answered meanwhile.
const LIVE_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Who belongs to the cluster, as the log of this member says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those that vote; during a change, those that vote before or after it.
    pub voters: BTreeSet<u64>,
    /// Whether a change of the voters is under way.
    pub is_changing: bool,
    /// All, learners too.
    pub contacts: BTreeMap<u64, Contact>,
}

/// What the leader knows of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last entry that it has acknowledged as durable.
    pub matched: Option<u64>,
    /// Milliseconds since the leader sent the last request that it has acknowledged.
    pub acknowledged_ms: Option<u64>,
}

/// Why the cluster was not changed. Nothing has changed then, but for [`ChangeRefusal::Unfinished`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// Another member has to be asked.
    #[error("{0}")]
    NotLeader(Refusal),
    /// The member has not caught up with the log yet.
    #[error("{0}")]
    NotCaughtUp(String),
    /// It would lose the quorum, makes no sense, or is under way already.
    #[error("{0}")]
    Refused(String),
    /// The change had begun when the leadership ended: the next leader goes on with it, or undoes it.
    #[error(
        "the change had begun when this member ceased to lead; see what `cluster status` says, and ask again: {0}"
    )]
    Unfinished(String),
    /// Raft has stopped.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

impl Node {
    /// Who belongs to the cluster.
    #[must_use]
    pub fn members(&self) -> Members {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Members {
            voters: membership.voter_ids().collect(),
            is_changing: membership.get_joint_config().len() > 1,
            contacts: membership.nodes().map(|(id, contact)| (*id, contact.clone())).collect(),
        }
    }

    /// Tells who belongs to the cluster, at once and whenever that has changed. Ends with raft.
    pub async fn watch_members(&self, mut tell: impl FnMut(Members) + Send) {
        let mut metrics = self.raft.server_metrics();
        let mut told = None;
        loop {
            let now = self.members();
            if told.as_ref() != Some(&now) {
                tell(now.clone());
                told = Some(now);
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// What a change of the voters that is under way waits for, for people; `None` if there is none.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let metrics = self.raft.server_metrics();
        let configs: Vec<BTreeSet<u64>> =
            metrics.borrow_watched().membership_config.membership().get_joint_config().clone();
        let [from, to] = &configs[..] else { return None };
        let all = |voters: &BTreeSet<u64>| {
            voters.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
        };
        let change = format!("the voters are being changed from {} to {}", all(from), all(to));
        // Only the leader knows who answers.
        let Ok(live) = self.live(DEAD_AFTER) else { return Some(change) };
        let lacks =
            |voters: &&BTreeSet<u64>| voters.intersection(&live).count() <= voters.len() / 2;
        let Some(lacking) = configs.iter().find(lacks) else { return Some(change) };
        let silent: BTreeSet<u64> = lacking.difference(&live).copied().collect();
        Some(format!(
            "{change}, for which a majority of both is needed, and nothing can be written before: bring back one of those \
             that are silent: {}",
            all(&silent)
        ))
    }

    /// What this leader knows of the others; `None` if it does not lead.
    #[must_use]
    pub fn progress(&self) -> Option<BTreeMap<u64, Progress>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Some(progress(&metrics)?.collect())
    }

    /// Members that this leader refuses because they have lost entries that they had acknowledged, with a sentence for
    /// people. None where another leads: what it refuses is its own matter.
    #[must_use]
    pub fn reverted(&self) -> BTreeMap<u64, String> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return BTreeMap::new();
        }
        let mut found = self.acknowledged.reverted(Term(metrics.vote.leader_id.term));
        found.retain(|member, _| metrics.membership_config.membership().get_node(member).is_some());
        found
    }

    /// Adds a member that gets the log and does not vote. Returns when the change is committed; the member may still be
    /// catching up.
    ///
    /// # Errors
    /// [`ChangeRefusal`].
    pub async fn add_learner(&self, member: u64, contact: Contact) -> Result<(), ChangeRefusal> {
        let changing = self.begin_change()?;
        let members = self.members();
        if let Some(known) = members.contacts.get(&member) {
            return Err(ChangeRefusal::Refused(format!(
                "member {member} belongs to the cluster already, at {}; remove it first, and give a replacement a \
                 number that was never used",
                known.address
            )));
        }
        self.change(changing, ChangeMembers::AddNodes(BTreeMap::from([(member, contact)]))).await
    }

    /// Tells the cluster the new addresses of a member that belongs to it.
    ///
    /// # Errors
    /// [`ChangeRefusal`].
    pub async fn update_contact(&self, member: u64, contact: Contact) -> Result<(), ChangeRefusal> {
        let changing = self.begin_change()?;
        let members = self.members();
        let known = members.contacts.get(&member).ok_or_else(|| unknown(member))?;
        if known.incarnation != contact.incarnation {
            return Err(ChangeRefusal::Refused(format!(
                "member {member} has another data directory than the one that joined"
            )));
        }
        if *known == contact {
            return Ok(());
        }
        self.change(changing, ChangeMembers::SetNodes(BTreeMap::from([(member, contact)]))).await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`ChangeRefusal`]: also if it lags by more than [`PROMOTE_LAG_MAX`] entries.
    pub async fn promote(&self, member: u64) -> Result<(), ChangeRefusal> {
        let changing = self.begin_change()?;
        let members = self.settled_members()?;
        if !members.contacts.contains_key(&member) {
            return Err(unknown(member));
        }
        if members.voters.contains(&member) {
            return Err(ChangeRefusal::Refused(format!("member {member} votes already")));
        }
        if members.voters.len() >= VOTERS_MAX {
            let cause = format!("{VOTERS_MAX} voters are the most that a cluster has");
            return Err(ChangeRefusal::Refused(cause));
        }
        self.check_caught_up(member)?;
        let voters = members.voters.iter().copied().chain([member]).collect();
        self.check_quorum(&voters, &format!("with member {member} as a voter")).await?;
        self.change(changing, ChangeMembers::AddVoterIds(BTreeSet::from([member]))).await
    }

    /// Takes a member out of the cluster, voter or learner, alive or dead; also the leader, which hands over first.
    ///
    /// # Errors
    /// [`ChangeRefusal`].
    pub async fn remove(&self, member: u64) -> Result<(), ChangeRefusal> {
        let changing = self.begin_change()?;
        let members = self.settled_members()?;
        if !members.contacts.contains_key(&member) {
            return Err(unknown(member));
        }
        let one = BTreeSet::from([member]);
        if !members.voters.contains(&member) {
            self.change(changing, ChangeMembers::RemoveNodes(one)).await?;
        } else {
            let voters: BTreeSet<u64> =
                members.voters.iter().copied().filter(|voter| *voter != member).collect();
            if voters.is_empty() {
                let cause = format!("member {member} is the only voter");
                return Err(ChangeRefusal::Refused(cause));
            }
            self.check_quorum(&voters, &format!("without member {member}")).await?;
            self.change(changing, ChangeMembers::RemoveVoters(one)).await?;
        }
        self.acknowledged.forget(member);
        Ok(())
    }

    /// Asks this leader to hand the leadership to a voter. Returns when another member leads, or `patience` is over.
    ///
    /// # Errors
    /// [`ChangeRefusal`].
    pub async fn transfer_leader(&self, to: u64, patience: Duration) -> Result<(), ChangeRefusal> {
        let members = self.members();
        if !members.voters.contains(&to) {
            return Err(ChangeRefusal::Refused(format!("member {to} is not a voter")));
        }
        let mut server = self.raft.server_metrics();
        {
            let metrics = server.borrow_watched();
            if metrics.state != ServerState::Leader {
                let leader = metrics.current_leader;
                return Err(ChangeRefusal::NotLeader(Refusal::NotLeader { leader }));
            }
        }
        if to == self.config.member {
            return Ok(());
        }
        self.caught_up(to).await?;
        self.check_alive(to)?;
        let stopped =
            |error: openraft::errors::Fatal<TypeConfig>| ChangeRefusal::Stopped(error.to_string());
        self.raft.trigger().transfer_leader(to).await.map_err(stopped)?;
        let led = async {
            loop {
                {
                    let metrics = server.borrow_watched();
                    if metrics.current_leader.is_some_and(|leader| leader != self.config.member) {
                        return;
                    }
                }
                if server.changed().await.is_err() {
                    return;
                }
            }
        };
        match tokio::time::timeout(patience, led).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ChangeRefusal::Refused(format!(
                "member {to} has not taken the leadership over in {} ms; this member goes on",
                patience.as_millis()
            ))),
        }
    }

    /// Waits for a voter to catch up, for a moment: one that leads since just now has heard of nobody yet.
    async fn caught_up(&self, member: u64) -> Result<(), ChangeRefusal> {
        let mut metrics = self.raft.metrics();
        let until = async {
            loop {
                // Seen before it is judged: what changes meanwhile is judged again.
                drop(metrics.borrow_watched());
                match self.check_caught_up(member) {
                    Err(ChangeRefusal::NotCaughtUp(_)) if metrics.changed().await.is_ok() => {}
                    judged => return judged,
                }
            }
        };
        let judged = tokio::time::timeout(DEAD_AFTER, until).await;
        judged.unwrap_or_else(|_| self.check_caught_up(member))
    }

    /// A voter that lags holds up every commit in which it is needed.
    fn check_caught_up(&self, member: u64) -> Result<(), ChangeRefusal> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(mut all) = progress(&metrics) else { return Err(not_leader(&metrics)) };
        let found = all.find(|(id, _)| *id == member).map(|(_, found)| found);
        let matched = found.and_then(|found| found.matched);
        let last = metrics.last_log_index.unwrap_or(0);
        let lag = last.saturating_sub(matched.unwrap_or(0));
        if matched.is_some() && lag <= PROMOTE_LAG_MAX {
            return Ok(());
        }
        let cause = match matched {
            None => format!(
                "member {member} has not acknowledged anything yet: is it running, and reachable?"
            ),
            Some(at) => format!(
                "member {member} has {at} of {last} entries; it may lag by {PROMOTE_LAG_MAX}: wait until it has caught up"
            ),
        };
        Err(ChangeRefusal::NotCaughtUp(cause))
    }

    /// A leader that hands over to nobody leaves the cluster without one for an election.
    fn check_alive(&self, member: u64) -> Result<(), ChangeRefusal> {
        if self.live(DEAD_AFTER)?.contains(&member) {
            return Ok(());
        }
        Err(ChangeRefusal::Refused(format!(
            "member {member} does not answer now: it can not lead; is it running, and reachable?"
        )))
    }

    /// This leader, and the members that have acknowledged something that was sent to them no longer ago.
    fn live(&self, within: Duration) -> Result<BTreeSet<u64>, ChangeRefusal> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(all) = progress(&metrics) else { return Err(not_leader(&metrics)) };
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let live =
            all.filter(|(_, found)| found.acknowledged_ms.is_some_and(|ago| ago < within_ms));
        Ok(live.map(|(id, _)| id).chain([self.config.member]).collect())
    }

    /// Whether enough of these voters are alive now: who loses the quorum by a change can not undo it, and a change that can
    /// not end stops everything. To have been alive a moment ago is not enough: they are asked, which a heartbeat does.
    async fn check_quorum(&self, voters: &BTreeSet<u64>, how: &str) -> Result<(), ChangeRefusal> {
        let began = Instant::now();
        let quorum = voters.len() / 2 + 1;
        let (live, alive) = loop {
            let asked = began.elapsed();
            let live = self.live(asked)?;
            let alive = voters.intersection(&live).count();
            if alive >= quorum {
                return Ok(());
            }
            if asked >= DEAD_AFTER {
                break (live, alive);
            }
            tokio::time::sleep(LIVE_LOOK_EVERY).await;
        };
        let silent: Vec<String> = voters.difference(&live).map(u64::to_string).collect();
        Err(ChangeRefusal::Refused(format!(
            "{how}, {quorum} of {} voters would be needed, and only {alive} answer now (silent: {}): the cluster would \
             stop; bring one back or remove a silent one first",
            voters.len(),
            silent.join(", ")
        )))
    }

    /// The one change that may be under way: taken before anything is judged by who belongs to the cluster.
    fn begin_change(&self) -> Result<MutexGuard<'_, ()>, ChangeRefusal> {
        self.changing.try_lock().map_err(|_| ChangeRefusal::Refused(UNDER_WAY.to_owned()))
    }

    /// Who belongs to the cluster, when that is one set of voters: a quorum of what a change makes of two is not that of all
    /// who vote in either. One that was left between two is ended within a second or two.
    fn settled_members(&self) -> Result<Members, ChangeRefusal> {
        let members = self.members();
        if members.is_changing {
            return Err(ChangeRefusal::Refused(UNDER_WAY.to_owned()));
        }
        Ok(members)
    }

    /// Makes a change, and with it ends one that was left unfinished.
    async fn change(
        &self,
        _changing: MutexGuard<'_, ()>,
        changes: ChangeMembers<u64, Contact>,
    ) -> Result<(), ChangeRefusal> {
        if let ChangeMembers::AddNodes(new) | ChangeMembers::SetNodes(new) = &changes {
            check_contacts(new).map_err(ChangeRefusal::Refused)?;
            if self.members().contacts.len() >= MEMBERS_MAX
                && matches!(changes, ChangeMembers::AddNodes(_))
            {
                let cause = format!("{MEMBERS_MAX} members are the most that a cluster has");
                return Err(ChangeRefusal::Refused(cause));
            }
        }
        // No voter stays as a learner: who votes no more was being removed, by this change or by the one before it.
        match self.raft.change_membership(changes, false).await {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(ChangeRefusal::Stopped(fatal.to_string())),
            Err(RaftError::APIError(error)) => Err(match error {
                ClientWriteError::ForwardToLeader(forward) => {
                    ChangeRefusal::NotLeader(refusal(&forward))
                }
                ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                    ChangeRefusal::Refused(UNDER_WAY.to_owned())
                }
                ClientWriteError::ChangeMembershipError(error) => {
                    ChangeRefusal::Refused(error.to_string())
                }
                error @ (ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::LogEntryDiscarded(_)) => {
                    ChangeRefusal::Unfinished(error.to_string())
                }
            }),
        }
    }
}

fn progress(
    metrics: &RaftMetrics<TypeConfig>,
) -> Option<impl Iterator<Item = (u64, Progress)> + use<'_>> {
    let replication = metrics.replication.as_ref()?;
    let heartbeats = metrics.heartbeat.as_ref();
    Some(replication.iter().map(move |(id, matched)| {
        let acknowledged = heartbeats.and_then(|all| all.get(id)).copied().flatten();
        let acknowledged_ms = acknowledged
            .map(|at| u64::try_from(at.into_inner().elapsed().as_millis()).unwrap_or(u64::MAX));
        let matched = matched.as_ref().map(|matched| matched.index);
        (*id, Progress { matched, acknowledged_ms })
    }))
}

/// What is written to the log must be readable there, for ever.
pub(crate) fn check_contacts(contacts: &BTreeMap<u64, Contact>) -> Result<(), String> {
    let over = contacts.iter().find(|(_, contact)| contact.clients.len() > CLIENT_ADDRESSES_MAX);
    match over {
        None => Ok(()),
        Some((member, contact)) => Err(format!(
            "member {member} has {} addresses for clients, limit {CLIENT_ADDRESSES_MAX}",
            contact.clients.len()
        )),
    }
}

fn not_leader(metrics: &RaftMetrics<TypeConfig>) -> ChangeRefusal {
    ChangeRefusal::NotLeader(Refusal::NotLeader { leader: metrics.current_leader })
}

fn unknown(member: u64) -> ChangeRefusal {
    ChangeRefusal::Refused(format!("there is no member {member} in this cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_that_could_not_be_read_back_are_refused() {
        let contact =
            |clients| Contact { clients: vec!["here:1".to_owned(); clients], ..Contact::default() };
        let most = BTreeMap::from([(1, contact(CLIENT_ADDRESSES_MAX))]);
        assert_eq!(check_contacts(&most), Ok(()));
        let more = BTreeMap::from([(1, contact(0)), (2, contact(CLIENT_ADDRESSES_MAX + 1))]);
        assert!(check_contacts(&more).is_err_and(|why| why.contains("member 2 has 9 addresses")));
    }
}
