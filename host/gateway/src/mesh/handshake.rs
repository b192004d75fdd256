//! Who is there: what both ends of a connection between members check before anything else. It does not know what is said
//! after.

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_net::{Connection, LaneLimits, LaneSender};
use quorate_raft::Incarnation;
use quorate_wire::member::{
    Answer, ClusterId, FRAME_BYTES_MAX, Hello, Identity, PROTOCOLS, protocols,
};

use super::Mesh;
use super::note::NoteError;
use crate::level;
use crate::limits;

const GREETING_LIMITS: LaneLimits = LaneLimits {
    frame_bytes_max: FRAME_BYTES_MAX,
    queue_bytes_max: 2 * FRAME_BYTES_MAX,
    queue_bytes_own: 2 * FRAME_BYTES_MAX,
};

/// What is wrong with a hello.
enum Fault {
    /// This member is not the one that is meant: it has another data directory.
    Here(Refusal),
    /// The one that says it is not who it should be, or can not be understood.
    There(Refusal),
}

impl Mesh {
    /// Says who this is, on a connection that it has dialled, and hears who answers: the member with this number, and the
    /// data directory that is meant, if one is.
    ///
    /// # Errors
    /// Why it is not, or does not want this one, for people.
    pub(super) async fn greet(
        &self,
        connection: &Connection,
        member: u64,
        incarnation: Option<Incarnation>,
    ) -> Result<Identity, String> {
        let opened = connection.open_lane(GREETING_LIMITS).await;
        let (sender, mut receiver) = opened.map_err(|reason| reason.to_string())?;
        if incarnation.is_some() {
            self.note.about_to_tell();
        }
        let hello = Hello {
            protocols: PROTOCOLS,
            from: self.identity(),
            to: member,
            to_incarnation: incarnation.map(|incarnation| incarnation.0),
        };
        sender.send(hello.encode()).await.map_err(|error| error.to_string())?;
        let frame = receiver.recv().await.map_err(|error| error.to_string())?;
        let frame = frame.ok_or("the other side has ended the greeting")?;
        let found = match Answer::decode(frame).map_err(|error| error.to_string())? {
            Answer::Welcome { protocol, from } if PROTOCOLS.has(protocol) => from,
            Answer::Welcome { protocol, .. } => {
                return Err(format!(
                    "member {member} wants to speak protocol {protocol}, and this one speaks {PROTOCOLS}"
                ));
            }
            Answer::Refused(refusal) => {
                if incarnation.is_some() {
                    self.note.was_refused();
                }
                if incarnation.is_some() && refusal.code == ErrorCode::MemberRemoved {
                    self.removed(&format!("member {member}: {}", refusal.message));
                } else if incarnation.is_some() && refusal.code == ErrorCode::MemberRefused {
                    self.set_trouble(&format!("member {member}: {}", refusal.message));
                }
                return Err(format!("member {member} refuses: {}", refusal.message));
            }
        };
        if found.member != member {
            return Err(format!("member {} answers for member {member}", found.member));
        }
        let Some(wanted) = incarnation else { return Ok(found) };
        check_directory(&found, wanted).map_err(|refusal| refusal.message)?;
        if found.cluster != self.note.cluster() {
            return Err(format!("member {member} belongs to another cluster"));
        }
        level::check(&found, self.level()).map_err(|refusal| refusal.message)?;
        let met = self.note.meet(member, Incarnation(found.incarnation), found.starts, found.life);
        met.map_err(|older| older.to_string())?;
        self.set_trouble("");
        self.is_removed.send_replace(false);
        Ok(found)
    }

    /// Hears who has dialled, and answers. Gives the member whose lanes may be served; none if it has only asked who is
    /// here.
    ///
    /// # Errors
    /// Why not, for people; the other side has been told.
    pub(super) async fn be_greeted(
        &self,
        connection: &Connection,
    ) -> Result<Option<Identity>, String> {
        let accepted = connection.accept_lane(GREETING_LIMITS).await;
        let (sender, mut receiver) = accepted.map_err(|reason| reason.to_string())?;
        let frame = receiver.recv().await.map_err(|error| error.to_string())?;
        let frame = frame.ok_or("the lane of the greeting has ended")?;
        let protocol = match protocol_of(&frame)? {
            Ok(protocol) => protocol,
            Err(refusal) => {
                let why = refusal.message.clone();
                answer(sender, &Answer::Refused(refusal)).await?;
                return Err(why);
            }
        };
        let hello = Hello::decode(frame).map_err(|error| error.to_string())?;
        let checked = if connection.is_member(hello.from.member) {
            self.check(&hello)
        } else {
            let cause = format!("the certificate is not one of member {}", hello.from.member);
            Err(Fault::There(Refusal::new(ErrorCode::MemberRefused, cause)))
        };
        // Who has the wrong directory here hears who this is, and finds that out itself: nothing is wrong with it.
        let said = match &checked {
            Ok(()) | Err(Fault::Here(_)) => Answer::Welcome { protocol, from: self.identity() },
            Err(Fault::There(refusal)) => Answer::Refused(refusal.clone()),
        };
        answer(sender, &said).await?;
        checked.map_err(|fault| match fault {
            Fault::Here(refusal) => {
                format!("member {} means another: {}", hello.from.member, refusal.message)
            }
            Fault::There(refusal) => format!("member {}: {}", hello.from.member, refusal.message),
        })?;
        Ok(hello.to_incarnation.is_some().then_some(hello.from))
    }

    /// Whether who says this hello may speak to this member as the one that it says it is.
    fn check(&self, hello: &Hello) -> Result<(), Fault> {
        self.check_numbers(hello).map_err(Fault::There)?;
        // Who only asks who is here learns it.
        let Some(wanted) = hello.to_incarnation else { return Ok(()) };
        check_directory(&self.identity(), Incarnation(wanted)).map_err(Fault::Here)?;
        self.check_dialler(&hello.from).map_err(Fault::There)
    }

    fn check_numbers(&self, hello: &Hello) -> Result<(), Refusal> {
        let from = &hello.from;
        if hello.to != self.own.member {
            return Err(refused(format!(
                "member {} is meant, and this is member {}: the address is another member's",
                hello.to, self.own.member
            )));
        }
        if from.member == self.own.member {
            return Err(refused(format!("two members have the number {}", from.member)));
        }
        Ok(())
    }

    /// Whether the other side is a member of this cluster with the data directory that is known.
    fn check_dialler(&self, from: &Identity) -> Result<(), Refusal> {
        let Some(cluster) = from.cluster else {
            return Err(refused(format!("member {} belongs to no cluster", from.member)));
        };
        self.check_joined(from, cluster)?;
        level::check(from, self.level())?;
        match self.served_by().map(|serve| serve.contact(from.member)) {
            Some(Some(known)) => check_directory(from, known.incarnation)?,
            Some(None) => {
                self.check_not_removed(from)?;
                // One that is too new for this member's log: it counts as met when the log has brought it. Were it noted
                // now, it would be taken for one that was removed the next time.
                if self.is_member() {
                    return Ok(());
                }
            }
            None => {}
        }
        let met =
            self.note.meet(from.member, Incarnation(from.incarnation), from.starts, from.life);
        met.map_err(|older| refused(older.to_string()))
    }

    /// Whether the membership, as far as it is known here, names this member.
    fn is_member(&self) -> bool {
        self.served_by().is_some_and(|serve| serve.contact(self.own.member).is_some())
    }

    /// Who was met is or was a member. One that the membership does not name may be too new for this member's log.
    fn check_not_removed(&self, from: &Identity) -> Result<(), Refusal> {
        if !self.is_member() || !self.note.has_met(from.member, Incarnation(from.incarnation)) {
            return Ok(());
        }
        let message = format!("member {} was removed from the cluster", from.member);
        Err(Refusal::new(ErrorCode::MemberRemoved, message))
    }

    /// Whether both are of the same cluster. A member that waits for one joins that which knows its data directory.
    fn check_joined(&self, from: &Identity, cluster: ClusterId) -> Result<(), Refusal> {
        let was_free = self.note.cluster().is_none();
        let own = self.note.join_for(cluster);
        let own = own.map_err(|error| match error {
            NoteError::TakenPart => refused(error.to_string()),
            error => Refusal::new(ErrorCode::Internal, error.to_string()),
        })?;
        if was_free {
            tracing::info!(cluster = %own, by = from.member, "this member has joined a cluster");
        }
        if own == cluster {
            return Ok(());
        }
        Err(refused(format!(
            "member {} belongs to cluster {cluster}, and this is one of cluster {own}",
            from.member
        )))
    }
}

/// The protocol to speak with who says this hello, or why there is none: told apart before the rest is read, which may have
/// another form in another version.
fn protocol_of(hello: &Bytes) -> Result<Result<u32, Refusal>, String> {
    let theirs = protocols(hello.clone()).map_err(|error| error.to_string())?;
    Ok(PROTOCOLS.common(theirs).ok_or_else(|| {
        let message = format!(
            "the other member speaks the protocols {theirs} with members, this one {PROTOCOLS}: neighbouring versions have one in \
             common; upgrade one version at a time"
        );
        Refusal::new(ErrorCode::BadProtocolVersion, message)
    }))
}

/// Answers a hello, and ends the lane.
async fn answer(sender: LaneSender, said: &Answer) -> Result<(), String> {
    sender.send(said.encode()).await.map_err(|error| error.to_string())?;
    if let Err(error) = sender.finish(limits::FAREWELL).await {
        tracing::debug!(%error, "a member left during its greeting");
    }
    Ok(())
}

fn refused(message: String) -> Refusal {
    Refusal::new(ErrorCode::MemberRefused, message)
}

/// Whether a member has the data directory with which it joined.
fn check_directory(found: &Identity, joined: Incarnation) -> Result<(), Refusal> {
    let directory = Incarnation(found.incarnation);
    if directory == joined {
        return Ok(());
    }
    let member = found.member;
    Err(refused(format!(
        "member {member} has the data directory {directory}, and {joined} has joined the cluster: its directory was lost, or \
         two members have the number {member}; start the one that has joined, or remove member {member} from the cluster and \
         add the new one with a number that was never used"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::SystemTime;

    use quorate_core::level::Level;
    use quorate_net::{Port, Server, ServerConfig};
    use quorate_raft::{Contact, Lane};
    use quorate_store::DataDirectory;

    use super::super::{Note, Own, Purpose, Serve, Task, lock};
    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    /// The membership as far as this member knows it.
    struct Known(BTreeMap<u64, Contact>);

    impl Serve for Known {
        fn lane(&self, _from: u64, _purpose: Purpose, _lane: Lane) -> Task<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn contact(&self, member: u64) -> Option<Contact> {
            self.0.get(&member).cloned()
        }
    }

    fn contact(directory: u8) -> Contact {
        let incarnation = Incarnation([directory; 16]);
        Contact { address: "there:1".to_owned(), incarnation, clients: Vec::new() }
    }

    fn identity(member: u64, starts: u64) -> Identity {
        Identity {
            member,
            cluster: Some(CLUSTER),
            incarnation: [u8::try_from(member).unwrap(); 16],
            starts,
            life: starts,
            clients: Vec::new(),
            agent: String::new(),
            level: Level::NEWEST,
        }
    }

    /// Member 1, which knows these members.
    fn mesh(directory: &std::path::Path, members: &[u64]) -> Arc<Mesh> {
        let files = directory.join("certificates");
        let identity =
            quorate_net::Identity::open_or_make(&files, &[], 1, SystemTime::now()).unwrap();
        let at = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig::new(at, identity.server, identity.trust);
        let server = Server::listen(Port::take(at).unwrap(), &config).unwrap();
        let data = DataDirectory::open(&directory.join("data"), || b"member 1".to_vec()).unwrap();
        let note = Note::open(Arc::new(data)).unwrap();
        note.join(CLUSTER).unwrap();
        let own = Own {
            member: 1,
            address: at.to_string(),
            clients: Vec::new(),
            agent: String::new(),
            level: Level::NEWEST,
        };
        let mesh = Mesh::new(own, note, server.dialer());
        know(&mesh, members);
        mesh
    }

    fn know(mesh: &Mesh, members: &[u64]) {
        let contacts = members.iter().map(|&one| (one, contact(u8::try_from(one).unwrap())));
        *lock(&mesh.serve) = Some(Arc::new(Known(contacts.collect())));
    }

    #[tokio::test]
    async fn a_founder_that_fails_stays_with_whom_has_counted_it() {
        let directory = tempfile::tempdir().unwrap();
        let mesh = mesh(directory.path(), &[]);
        // The same command at another member has dialled this one; then this one's fails.
        assert_eq!(mesh.check_dialler(&identity(2, 1)), Ok(()));
        mesh.note.leave(CLUSTER).unwrap();
        assert_eq!(mesh.note.cluster(), Some(CLUSTER), "the other has begun, perhaps");
        let other = Identity { cluster: Some(ClusterId([8; 16])), ..identity(3, 1) };
        let refusal = mesh.check_dialler(&other).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::MemberRefused);
    }

    #[tokio::test]
    async fn a_member_that_is_too_new_for_the_log_here_is_not_taken_for_a_removed_one() {
        let directory = tempfile::tempdir().unwrap();
        let mesh = mesh(directory.path(), &[1, 2, 3]);
        // Added while this member was away: it comes again and again before the log has brought it.
        for starts in 1..4 {
            assert_eq!(mesh.check_dialler(&identity(4, starts)), Ok(()));
        }
        know(&mesh, &[1, 2, 4]);
        assert_eq!(mesh.check_dialler(&identity(4, 4)), Ok(()));
        assert!(mesh.check_dialler(&identity(4, 3)).is_err(), "an older copy of it");
        // And one that was known, and is no member any more, is told so.
        know(&mesh, &[1, 2]);
        let refusal = mesh.check_dialler(&identity(4, 5)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::MemberRemoved);
    }
}
