//! New clusters: of members that wait, or of one. Two that are made at once of the same members never both come about: all
//! members are claimed before the first of them begins. It does not know what happens in a cluster.

use std::collections::BTreeMap;

use quorate_core::codec::Writer;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_raft::{Contact, InitializeRefusal};
use quorate_wire::member::ClusterId;
use quorate_wire::message::admin::Outcome;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::administration::{Administration, contact};
use crate::limits;
use crate::mesh::Purpose;

impl Administration {
    /// Makes a cluster of members that wait, this one among them.
    pub(crate) async fn initialize(&self, members: Vec<(u64, String)>) -> Result<Outcome, Refusal> {
        let own = self.mesh.own().member;
        if self.node.is_initialized().await.map_err(stopped)? {
            return Err(initialized());
        }
        if members.iter().all(|(member, _)| *member != own) {
            return Err(bad(format!(
                "the members must include the one that is asked, which is {own}"
            )));
        }
        let mut contacts = BTreeMap::new();
        let mut belonging = Vec::new();
        for (member, address) in members {
            if member == 0 {
                return Err(bad("members are numbered from 1".to_owned()));
            }
            let found = if member == own {
                Contact { address, ..self.mesh.contact() }
            } else {
                let found = self.probe(member, &address).await?;
                belonging.extend(found.cluster.map(|cluster| (member, address.clone(), cluster)));
                contact(&found, address)
            };
            if contacts.insert(member, found).is_some() {
                return Err(bad(format!("member {member} is named twice")));
            }
        }
        let cluster = cluster_of(&contacts);
        if let Some((member, address, _)) = belonging.iter().find(|(_, _, one)| *one != cluster) {
            let message = format!(
                "member {member} at {address} belongs to a cluster already, or to one that is being made by another \
                 `quorate cluster init`: {ADVICE}"
            );
            return Err(Refusal::new(ErrorCode::MemberRefused, message));
        }
        self.claim(cluster, &contacts).await?;
        self.begin(contacts).await?;
        Ok(Outcome::Done)
    }

    /// Makes this member a cluster of its own, unless it belongs to one.
    ///
    /// # Errors
    /// If raft has stopped, or the disk can not be written.
    pub async fn stand_alone(&self) -> Result<(), Refusal> {
        if self.node.is_initialized().await.map_err(stopped)? {
            return Ok(());
        }
        let contacts = BTreeMap::from([(self.mesh.own().member, self.mesh.contact())]);
        self.claim(cluster_of(&contacts), &contacts).await?;
        self.begin(contacts).await
    }

    /// Has all members belong to this cluster, first this one: of two who claim each other, one at least sees the other's
    /// claim. Nothing has begun here when this fails, and this member is free again, unless another may have heard of the
    /// claim: the same command, given there, may have begun with this one.
    async fn claim(
        &self,
        cluster: ClusterId,
        contacts: &BTreeMap<u64, Contact>,
    ) -> Result<(), Refusal> {
        let internal = |error: String| Refusal::new(ErrorCode::Internal, error);
        let note = self.mesh.note();
        let was_free = note.cluster().is_none();
        let mut joined = note.join(cluster).map_err(|error| internal(error.to_string()))?;
        if joined != cluster && contacts.len() == 1 {
            // Named by a start that did not come through, or claimed for a cluster that others may have begun since: alone
            // under its name this member would be taken for theirs.
            note.leave(joined).map_err(|error| internal(error.to_string()))?;
            joined = note.join(cluster).map_err(|error| internal(error.to_string()))?;
        }
        if joined != cluster {
            let message = format!(
                "this member was claimed by another `quorate cluster init`, for cluster {joined}: {ADVICE}"
            );
            return Err(Refusal::new(ErrorCode::MemberRefused, message));
        }
        tracing::info!(cluster = %joined, "a new cluster");
        for (member, contact) in contacts {
            if *member == self.mesh.own().member {
                continue;
            }
            // The greeting of a connection makes a member that waits belong to the cluster of who dials.
            let opened = self.mesh.open(*member, contact, Purpose::Status);
            let why = match timeout(limits::HELLO_TIMEOUT, opened).await {
                Ok(Ok(_lane)) => continue,
                Ok(Err(why)) => why,
                Err(_) => "it does not answer in time".to_owned(),
            };
            if was_free {
                note.leave(cluster).map_err(|error| internal(error.to_string()))?;
            }
            let message = format!(
                "member {member} at {} can not be made part of the cluster: {why}; {ADVICE}",
                contact.address
            );
            return Err(Refusal::new(ErrorCode::MemberRefused, message));
        }
        Ok(())
    }

    async fn begin(&self, contacts: BTreeMap<u64, Contact>) -> Result<(), Refusal> {
        let wanted: Vec<u64> = contacts.keys().copied().collect();
        match self.node.initialize(contacts).await {
            Ok(()) => Ok(()),
            // The same command at another member was faster.
            Err(InitializeRefusal::Initialized)
                if self.node.members().contacts.into_keys().eq(wanted) =>
            {
                Ok(())
            }
            Err(InitializeRefusal::Initialized) => Err(initialized()),
            Err(InitializeRefusal::Members(why)) => Err(bad(why)),
            Err(InitializeRefusal::Stopped(why)) => Err(stopped(why)),
        }
    }
}

/// What to do when members are claimed twice.
const ADVICE: &str = "if another one is under way, wait for it; if one was broken off, give the same command again, or empty the \
                      data directories of members that were never part of a cluster and start them again";

/// The id of the cluster that is made of these members: the same if it is made twice, and no other's, since each data directory
/// has random bytes.
fn cluster_of(contacts: &BTreeMap<u64, Contact>) -> ClusterId {
    let mut writer = Writer::new();
    for (member, Contact { address, incarnation, clients }) in contacts {
        writer.u64(*member);
        writer.text(address);
        writer.raw(&incarnation.0);
        writer.u64(clients.len() as u64);
        clients.iter().for_each(|client| writer.text(client));
    }
    let hash: [u8; 32] = Sha256::digest(writer.finish()).into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    ClusterId(id)
}

fn stopped(why: String) -> Refusal {
    Refusal::new(ErrorCode::Internal, why)
}

fn bad(message: String) -> Refusal {
    Refusal::new(ErrorCode::BadArguments, message)
}

fn initialized() -> Refusal {
    Refusal::new(
        ErrorCode::ChangeRefused,
        "this member belongs to a cluster already; further members join with `quorate cluster add`",
    )
}

#[cfg(test)]
mod tests {
    use quorate_raft::Incarnation;

    use super::*;

    fn members(address: &str, directory: u8) -> BTreeMap<u64, Contact> {
        let contact = |address: &str, directory| Contact {
            address: address.to_owned(),
            incarnation: Incarnation([directory; 16]),
            clients: vec!["here:1".to_owned()],
        };
        BTreeMap::from([(1, contact(address, directory)), (2, contact("there:1", 2))])
    }

    #[test]
    fn the_same_members_make_the_same_cluster_and_others_another() {
        assert_eq!(cluster_of(&members("a:1", 1)), cluster_of(&members("a:1", 1)));
        assert_ne!(cluster_of(&members("a:1", 1)), cluster_of(&members("b:1", 1)));
        assert_ne!(cluster_of(&members("a:1", 1)), cluster_of(&members("a:1", 9)));
    }
}
