//! Whether this member's tree is the same as the others' (DESIGN section 4, invariant 1). Every member asks the others for the
//! digests of their trees, now and then, and judges itself: one that differs from a majority stops for good, so a leader among
//! them leads no more; where there is no majority, nobody can say who is right, and an alarm is raised. It does not know what is
//! in a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::codec::{Malformed, Reader, Writer};
use quorate_raft::{Contact, Lane, Members, Node};
use quorate_store::DataDirectory;
use tokio::time::{MissedTickBehavior, timeout};

use crate::halted::{self, Halt};
use crate::limits;
use crate::mesh::{Mesh, Purpose};

/// Digests that one member tells another.
const DIGESTS_MAX: usize = 1024;

/// Digests by index of the log.
type Digests = BTreeMap<u64, u128>;

/// What a member finds when it compares itself with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nobody differs, or nothing can be compared.
    Same,
    /// A majority of the voters has another digest at this index.
    Minority {
        /// Where.
        index: u64,
    },
    /// Some differ at this index, and there is no majority for either.
    Undecided {
        /// Where.
        index: u64,
    },
    /// These members differ from this one, which is with the majority.
    Others {
        /// Where.
        index: u64,
        /// Who.
        members: Vec<u64>,
    },
}

/// Compares a member's digests with the voters', at the highest index at which some differ. Who does not vote is judged, and
/// does not count.
#[must_use]
pub fn judge(own: u64, found: &BTreeMap<u64, Digests>, voters: &BTreeSet<u64>) -> Judgement {
    let Some(ours) = found.get(&own) else { return Judgement::Same };
    let quorum = voters.len() / 2 + 1;
    for (index, digest) in ours.iter().rev() {
        let at_index = found.iter().filter_map(|(member, all)| Some((*member, *all.get(index)?)));
        let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
        let mut others = Vec::new();
        for (member, other) in at_index {
            *counts.entry(other).or_default() += usize::from(voters.contains(&member));
            if other != *digest {
                others.push(member);
            }
        }
        if others.is_empty() {
            continue;
        }
        let index = *index;
        return match counts.iter().find(|(_, count)| **count >= quorum) {
            Some((majority, _)) if majority == digest => {
                Judgement::Others { index, members: others }
            }
            Some(_) => Judgement::Minority { index },
            None => Judgement::Undecided { index },
        };
    }
    Judgement::Same
}

/// Compares and compares; returns when this member must stop, with the reason.
pub async fn watch(node: Arc<Node>, mesh: Arc<Mesh>, directory: Arc<DataDirectory>) -> String {
    let mut looks = tokio::time::interval(limits::DIGESTS_COMPARE_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let own = mesh.own().member;
    let mut compared = None;
    loop {
        looks.tick().await;
        let ours: Digests = node.digests().into_iter().collect();
        let newest = ours.last_key_value().map(|(index, _)| *index);
        let Members { voters, contacts, .. } = node.members();
        // Nothing new to compare, and nobody to compare with.
        if newest == compared || voters.len() < 2 {
            continue;
        }
        let mut found = BTreeMap::from([(own, ours)]);
        for member in voters.iter().filter(|member| **member != own) {
            let Some(contact) = contacts.get(member) else { continue };
            let asked = timeout(limits::DIGESTS_PATIENCE, ask(&mesh, *member, contact)).await;
            match asked {
                Ok(Ok(theirs)) => drop(found.insert(*member, theirs)),
                Ok(Err(why)) => tracing::debug!(member, why, "a member did not tell its digests"),
                Err(_) => tracing::debug!(member, "a member did not tell its digests in time"),
            }
        }
        if found.len() == voters.len() || !voters.contains(&own) {
            compared = newest;
        }
        match judge(own, &found, &voters) {
            Judgement::Same => {}
            Judgement::Others { index, members } => tracing::error!(
                ?members,
                index,
                "members differ from the majority, with which this one is: they stop, or must be stopped"
            ),
            Judgement::Undecided { index } => tracing::error!(
                index,
                "the members' trees differ, and there is no majority: stop the cluster and compare `quorate snapshot` files"
            ),
            Judgement::Minority { index } => {
                let why = format!(
                    "the tree of member {own} differs from that of the majority at index {index} of the log: this member \
                     takes no part any more; keep its directory for an inquiry, remove the member from the cluster and add \
                     a new one with a number that was never used"
                );
                halted::keep(&directory, Halt::Diverged, &why);
                return why;
            }
        }
    }
}

async fn ask(mesh: &Arc<Mesh>, member: u64, contact: &Contact) -> Result<Digests, String> {
    let (_sender, mut receiver) = mesh.open(member, contact, Purpose::Digests).await?;
    let frame = receiver.recv().await.map_err(|error| error.to_string())?;
    let mut reader = Reader::new(frame.ok_or("no answer")?);
    read(&mut reader).map_err(|error| error.to_string())
}

/// Tells another member this one's digests.
///
/// # Errors
/// Why it was not told, for people.
pub async fn tell(node: &Node, (sender, _receiver): Lane) -> Result<(), String> {
    let mut digests = node.digests();
    let surplus = digests.len().saturating_sub(DIGESTS_MAX);
    digests.drain(..surplus);
    let mut writer = Writer::new();
    writer.u64(digests.len() as u64);
    for (index, digest) in digests {
        writer.u64(index);
        writer.u128(digest);
    }
    sender.send(writer.finish()).await.map_err(|error| error.to_string())?;
    sender.finish(limits::FAREWELL).await.map_err(|error| error.to_string())
}

fn read(reader: &mut Reader) -> Result<Digests, Malformed> {
    const WHAT: &str = "digests of a member";
    let mut digests = Digests::new();
    for _ in 0..reader.count(WHAT, DIGESTS_MAX)? {
        digests.insert(reader.u64(WHAT)?, reader.u128(WHAT)?);
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(members: &[(u64, &[(u64, u128)])]) -> BTreeMap<u64, Digests> {
        members
            .iter()
            .map(|(member, digests)| (*member, digests.iter().copied().collect()))
            .collect()
    }

    fn voters(count: u64) -> BTreeSet<u64> {
        (1..=count).collect()
    }

    #[test]
    fn equal_digests_at_equal_indexes_are_the_same() {
        let all = found(&[(1, &[(64, 5), (128, 6)]), (2, &[(64, 5)]), (3, &[(128, 6), (192, 9)])]);
        for own in 1..=3 {
            assert_eq!(judge(own, &all, &voters(3)), Judgement::Same);
        }
        assert_eq!(judge(4, &all, &voters(3)), Judgement::Same, "it has none");
    }

    #[test]
    fn the_minority_knows_itself_and_the_majority_knows_it_too() {
        let all = found(&[(1, &[(64, 5), (128, 7)]), (2, &[(64, 5), (128, 6)]), (3, &[(128, 6)])]);
        assert_eq!(judge(1, &all, &voters(3)), Judgement::Minority { index: 128 });
        let others = Judgement::Others { index: 128, members: vec![1] };
        assert_eq!(judge(2, &all, &voters(3)), others);
        assert_eq!(judge(3, &all, &voters(3)), others);
    }

    #[test]
    fn without_a_majority_nobody_stops() {
        let all = found(&[(1, &[(64, 5)]), (2, &[(64, 6)])]);
        assert_eq!(judge(1, &all, &voters(2)), Judgement::Undecided { index: 64 });
        // Of five, two that agree are no majority, even if nobody else answers.
        let all = found(&[(1, &[(64, 5)]), (2, &[(64, 6)]), (3, &[(64, 6)])]);
        assert_eq!(judge(1, &all, &voters(5)), Judgement::Undecided { index: 64 });
    }

    #[test]
    fn a_learner_is_judged_and_does_not_count() {
        let all = found(&[(1, &[(64, 5)]), (2, &[(64, 5)]), (4, &[(64, 6)])]);
        assert_eq!(judge(4, &all, &voters(3)), Judgement::Minority { index: 64 });
        let all = found(&[(1, &[(64, 5)]), (4, &[(64, 6)]), (5, &[(64, 6)])]);
        assert_eq!(judge(1, &all, &voters(3)), Judgement::Undecided { index: 64 });
    }
}
