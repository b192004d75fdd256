//! Commands to the cluster: carried out where they can be, by the leader most of them, handed on to it else. It does not know
//! how who asks was proved, nor how members are reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::codec::{Reader, Writer};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::read::SharedRead;
use quorate_raft::contact::CLIENT_ADDRESSES_MAX;
use quorate_raft::{ChangeRefusal, Contact, Incarnation, Lane, Members, Node};
use quorate_wire::member::Identity;
use quorate_wire::message::admin::{
    ClusterStatus, Command, MemberLine, Outcome, read_outcome, write_outcome,
};
use quorate_wire::message::query::Status;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::level::Levels;
use crate::limits;
use crate::mesh::{Mesh, Purpose};

mod requester;

pub use requester::Requester;

/// How long another member may take to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a leader may take for a change of the members.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a member may take to take the leadership over.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(5);

/// How this member is.
pub type OwnStatus = Arc<dyn Fn() -> Result<Status, Refusal> + Send + Sync>;

/// Carries out commands to the cluster.
#[derive(Clone)]
pub struct Administration {
    /// This member's part in raft.
    pub node: Arc<Node>,
    /// The way to the others.
    pub mesh: Arc<Mesh>,
    /// How this member is.
    pub status: OwnStatus,
    /// What the members know, and which feature level the cluster has.
    pub levels: Arc<Levels>,
    /// Commands that may be on their way to the leader: their lanes are on the connection that raft's are on.
    pub handed_on: Arc<Semaphore>,
    /// The applied tree: who may operate the cluster stands there.
    pub tree: SharedRead,
}

/// Commands that a member hands on to the leader at once.
pub const HANDED_ON_MAX: usize = 2;

impl Administration {
    /// Carries out a command that a client has given to this member, or that the member gives itself.
    ///
    /// # Errors
    /// `no-access`, `no-leader`, `no-cluster`, `change-refused`, `change-unfinished`, `member-refused`, `bad-arguments`.
    pub async fn administer(
        &self,
        command: Command,
        asked_by: Option<&Requester>,
    ) -> Result<Outcome, Refusal> {
        if let Some(by) = asked_by.filter(|_| command != Command::Status) {
            tracing::info!(by = ?by.identities, from = ?by.address, "a command to the cluster");
        }
        match command {
            Command::Status => Ok(Outcome::Status(self.gather().await)),
            Command::Initialize { members } => self.initialize(members).await,
            command if self.leads() => self.change_for(command, asked_by).await,
            command => self.hand_on(command, asked_by).await,
        }
    }

    /// Serves a lane on which another member hands a command on, or a member says how it is.
    ///
    /// # Errors
    /// Why the lane has ended early, for people.
    pub async fn serve(
        &self,
        purpose: Purpose,
        (sender, mut receiver): Lane,
    ) -> Result<(), String> {
        let mut writer = Writer::new();
        if purpose == Purpose::Status {
            (self.status)().map_err(|refusal| refusal.to_string())?.write(&mut writer);
        } else {
            let frame = receiver.recv().await.map_err(|error| error.to_string())?;
            let mut reader = Reader::new(frame.ok_or("no command")?);
            let asked_by = requester::read(&mut reader).map_err(|error| error.to_string())?;
            let command = Command::read(&mut reader).map_err(|error| error.to_string())?;
            let outcome = if self.leads() {
                self.change_for(command, asked_by.as_ref()).await
            } else {
                Err(no_leader("the leadership has moved on meanwhile; ask again"))
            };
            write_outcome(&mut writer, &outcome);
        }
        sender.send(writer.finish()).await.map_err(|error| error.to_string())?;
        sender.finish(limits::FAREWELL).await.map_err(|error| error.to_string())
    }

    /// Sees to it that the membership names the addresses that this member has now. Returns when it does.
    pub async fn announce(&self) {
        let own = self.mesh.own();
        loop {
            let contact = self.mesh.contact();
            let known = self.node.members().contacts.get(&own.member).cloned();
            if known.as_ref() == Some(&contact) {
                return;
            }
            // A member that waits, or whose log does not name it yet, has nothing to correct.
            if known.is_some() {
                let Contact { address, incarnation, clients } = contact;
                let incarnation = incarnation.0;
                let command = Command::Update { member: own.member, address, incarnation, clients };
                match self.tell_any_leader(command).await {
                    Ok(_) => {
                        tracing::info!(address = own.address, "the cluster knows the new addresses")
                    }
                    Err(refusal) => tracing::debug!(%refusal, "the new addresses are not told yet"),
                }
            }
            // Also after a success: this member's own log may be far behind, or not grow any more.
            tokio::time::sleep(limits::ANNOUNCE_EVERY).await;
        }
    }

    /// Gives a command to whoever leads. The others may have elected another leader than the last that was heard of here, and
    /// it can not be heard of while it looks for this member at the old address: so each of them is asked.
    async fn tell_any_leader(&self, command: Command) -> Result<Outcome, Refusal> {
        let mut answer = self.administer(command.clone(), None).await;
        let own = self.mesh.own().member;
        for (member, contact) in self.node.members().contacts {
            if answer.is_ok() {
                break;
            }
            if member == own {
                continue;
            }
            let asked = self.ask_leader(member, &contact, &command, None);
            match timeout(CHANGE_PATIENCE, asked).await {
                Ok(Ok(found)) => answer = found,
                Ok(Err(why)) => tracing::debug!(member, why, "a member does not take a command"),
                Err(_) => tracing::debug!(member, "a member does not take a command in time"),
            }
        }
        answer
    }

    fn leads(&self) -> bool {
        let own = self.mesh.own().member;
        self.node.leader().borrow().is_some_and(|leader| leader.member == own)
    }

    async fn hand_on(
        &self,
        command: Command,
        asked_by: Option<&Requester>,
    ) -> Result<Outcome, Refusal> {
        let Ok(_room) = self.handed_on.try_acquire() else {
            let message =
                format!("{HANDED_ON_MAX} commands are on their way to the leader already");
            return Err(Refusal::new(ErrorCode::Overloaded, message));
        };
        if self.mesh.note().cluster().is_none() && self.node.members().contacts.is_empty() {
            return Err(Refusal::new(
                ErrorCode::NoCluster,
                "this member belongs to no cluster yet: make one with `quorate cluster init`, or add it to one",
            ));
        }
        let leader = *self.node.leader().borrow();
        let Some(leader) = leader else {
            return Err(no_leader(
                "no leader is known here: a quorum of the voters must be running",
            ));
        };
        let contact = self.node.members().contacts.get(&leader.member).cloned();
        let contact = contact.ok_or_else(|| no_leader("the leader is not known here yet"))?;
        let asked = self.ask_leader(leader.member, &contact, &command, asked_by);
        match timeout(CHANGE_PATIENCE, asked).await {
            Ok(Ok(outcome)) => outcome,
            // It may have been heard: the answer is what is missing.
            Ok(Err(why)) => Err(Refusal::new(
                ErrorCode::ChangeUnfinished,
                format!("member {} leads and did not answer: {why}", leader.member),
            )),
            Err(_) => Err(Refusal::new(
                ErrorCode::ChangeUnfinished,
                format!("member {} leads and did not answer in time", leader.member),
            )),
        }
    }

    async fn ask_leader(
        &self,
        leader: u64,
        contact: &Contact,
        command: &Command,
        asked_by: Option<&Requester>,
    ) -> Result<Result<Outcome, Refusal>, String> {
        let opened =
            timeout(limits::HELLO_TIMEOUT, self.mesh.open(leader, contact, Purpose::Administer));
        let (sender, mut receiver) = match opened.await {
            Ok(Ok(lane)) => lane,
            Ok(Err(why)) => {
                return Ok(Err(no_leader(&format!(
                    "member {leader} leads and is not reached: {why}"
                ))));
            }
            Err(_) => {
                return Ok(Err(no_leader(&format!(
                    "member {leader} leads and is not reached in time"
                ))));
            }
        };
        let mut writer = Writer::new();
        requester::write(&mut writer, asked_by);
        command.write(&mut writer);
        sender.send(writer.finish()).await.map_err(|error| error.to_string())?;
        let frame = receiver.recv().await.map_err(|error| error.to_string())?;
        read_whole(frame.ok_or("the lane ended without an answer")?)
    }

    /// Changes the members; this member leads.
    async fn change(&self, command: Command) -> Result<Outcome, Refusal> {
        let changed = async {
            match command {
                Command::Add { member, address } => self.add(member, address).await,
                Command::Promote { member } => self.promote(member).await,
                Command::Remove { member } => refused(self.node.remove(member).await),
                Command::TransferLeader { to } => {
                    refused(self.node.transfer_leader(to, TRANSFER_PATIENCE).await)
                }
                Command::Update { member, address, incarnation, clients } => {
                    let contact =
                        Contact { address, incarnation: Incarnation(incarnation), clients };
                    refused(self.node.update_contact(member, contact).await)
                }
                Command::Status | Command::Initialize { .. } => {
                    Err(Refusal::new(ErrorCode::BadArguments, "this command is not handed on"))
                }
            }
        };
        match timeout(CHANGE_PATIENCE, changed).await {
            Ok(Ok(())) => Ok(Outcome::Done),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::new(
                ErrorCode::ChangeUnfinished,
                "the change was not committed in time; see what `quorate cluster status` says",
            )),
        }
    }

    async fn add(&self, member: u64, address: String) -> Result<(), Refusal> {
        if member == 0 {
            return Err(Refusal::new(ErrorCode::BadArguments, "members are numbered from 1"));
        }
        if let Some(known) = self.node.members().contacts.get(&member) {
            let message =
                format!("member {member} belongs to the cluster already, at {}", known.address);
            return Err(Refusal::new(ErrorCode::ChangeRefused, message));
        }
        let _level = self.levels.hold().await;
        let found = self.probe(member, &address).await?;
        let own = self.mesh.note().cluster();
        if found.cluster.is_some_and(|theirs| Some(theirs) != own) {
            return Err(Refusal::new(
                ErrorCode::MemberRefused,
                format!(
                    "member {member} at {address} belongs to another cluster already: give it an empty directory"
                ),
            ));
        }
        // What leaders before this one have raised must have been applied here.
        let applied = self.node.linearizable_barrier().await;
        applied.map_err(|error| no_leader(&error.to_string()))?;
        self.levels.check(&found)?;
        refused(self.node.add_learner(member, contact(&found, address)).await)
    }

    async fn promote(&self, member: u64) -> Result<(), Refusal> {
        let contact = self.node.members().contacts.get(&member).cloned();
        if let Some(contact) = contact {
            match self.mesh.probe(member, &contact.address).await {
                Ok(found) => self.levels.check(&found)?,
                // It may be reached the other way round; whether it is there at all is found out below.
                Err(why) => tracing::debug!(member, why, "a member to promote is not dialled"),
            }
        }
        refused(self.node.promote(member).await)
    }

    pub(crate) async fn probe(&self, member: u64, address: &str) -> Result<Identity, Refusal> {
        self.mesh.probe(member, address).await.map_err(|why| {
            Refusal::new(
                ErrorCode::MemberRefused,
                format!("member {member} was not found at {address}: {why}; is it running, with a certificate of this cluster's authority?"),
            )
        })
    }

    /// What is wrong with this member, or with others that it refuses.
    fn trouble(&self) -> String {
        let reverted = self.node.reverted().into_values();
        let all =
            std::iter::once(self.mesh.trouble()).chain(reverted).chain(self.node.unfinished());
        all.filter(|why| !why.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// Asks every member how it is, all at once.
    async fn gather(&self) -> ClusterStatus {
        let Members { voters, is_changing, contacts } = self.node.members();
        let own = self.mesh.own();
        let mut asked = JoinSet::new();
        for (member, contact) in &contacts {
            let (mesh, member, contact) = (Arc::clone(&self.mesh), *member, contact.clone());
            let status = Arc::clone(&self.status);
            let is_own = member == own.member;
            asked.spawn(async move {
                let found = match is_own {
                    true => status().map_err(|refusal| refusal.to_string()),
                    false => ask_status(&mesh, member, &contact).await,
                };
                (member, found)
            });
        }
        let mut found: BTreeMap<u64, Result<Status, String>> = BTreeMap::new();
        while let Some(answered) = asked.join_next().await {
            if let Ok((member, status)) = answered {
                found.insert(member, status);
            }
        }
        if contacts.is_empty() {
            let status = (self.status)().map_err(|refusal| refusal.to_string());
            found.insert(own.member, status);
        }
        let members = found.into_iter().map(|(member, status)| MemberLine {
            member,
            address: contacts
                .get(&member)
                .map_or_else(|| own.address.clone(), |contact| contact.address.clone()),
            is_voter: voters.contains(&member),
            status,
        });
        ClusterStatus {
            cluster: self.mesh.note().cluster().map(|cluster| cluster.0),
            asked: own.member,
            leader: self.node.leader().borrow().map(|leader| leader.member),
            is_changing,
            trouble: self.trouble(),
            members: members.collect(),
        }
    }
}

async fn ask_status(mesh: &Arc<Mesh>, member: u64, contact: &Contact) -> Result<Status, String> {
    let asked = async {
        let (_sender, mut receiver) = mesh.open(member, contact, Purpose::Status).await?;
        let frame = receiver.recv().await.map_err(|error| error.to_string())?;
        let mut reader = Reader::new(frame.ok_or("no answer")?);
        let status = Status::read(&mut reader).map_err(|error| error.to_string())?;
        Ok(status)
    };
    match timeout(STATUS_PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn read_whole(frame: Bytes) -> Result<Result<Outcome, Refusal>, String> {
    let mut reader = Reader::new(frame);
    let outcome = read_outcome(&mut reader).map_err(|error| error.to_string())?;
    reader.finish("outcome of a command").map_err(|error| error.to_string())?;
    Ok(outcome)
}

pub(crate) fn contact(found: &Identity, address: String) -> Contact {
    let clients = found.clients.iter().take(CLIENT_ADDRESSES_MAX).cloned().collect();
    Contact { address, incarnation: Incarnation(found.incarnation), clients }
}

fn no_leader(message: &str) -> Refusal {
    Refusal::new(ErrorCode::NoLeader, message)
}

fn refused(changed: Result<(), ChangeRefusal>) -> Result<(), Refusal> {
    changed.map_err(|refusal| {
        let code = match &refusal {
            ChangeRefusal::NotLeader(_) => ErrorCode::NoLeader,
            ChangeRefusal::Refused(_) => ErrorCode::ChangeRefused,
            ChangeRefusal::NotCaughtUp(_) => ErrorCode::NotCaughtUp,
            ChangeRefusal::Unfinished(_) => ErrorCode::ChangeUnfinished,
            ChangeRefusal::Stopped(_) => ErrorCode::ShuttingDown,
        };
        Refusal::new(code, refusal.to_string())
    })
}
