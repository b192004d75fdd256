//! How people look after a cluster: commands, and what came of them. Answered on a lane without a session, so that they work
//! on a member that waits to join and in a cluster without a leader.

use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::error::Refusal;

use super::query::Status;
use super::{read_refusal, write_refusal};

/// Members that one command or answer names.
const MEMBERS_MAX: usize = 1024;
/// Bytes of a cluster's id.
pub const CLUSTER_ID_BYTES: usize = 16;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// How all members are, as far as the asked one can find out.
    Status,
    /// Make these members, the asked one among them, a new cluster.
    Initialize {
        /// Number and address for members (host:port) of each.
        members: Vec<(u64, String)>,
    },
    /// Add a running member that waits; it gets the log and does not vote.
    Add {
        /// Its number.
        member: u64,
        /// Where members reach it.
        address: String,
    },
    /// Make a member a voter.
    Promote {
        /// Which.
        member: u64,
    },
    /// Take a member out.
    Remove {
        /// Which.
        member: u64,
    },
    /// Hand the leadership over.
    TransferLeader {
        /// To whom.
        to: u64,
    },
    /// A member that belongs to the cluster has other addresses now; asked by itself.
    Update {
        /// Which.
        member: u64,
        /// Where members reach it.
        address: String,
        /// Its data directory.
        incarnation: [u8; 16],
        /// Where clients reach it.
        clients: Vec<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Of [`Command::Status`].
    Status(ClusterStatus),
}

/// How a cluster is, seen from one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The cluster; none if the asked member waits for one.
    pub cluster: Option<[u8; CLUSTER_ID_BYTES]>,
    /// The asked member.
    pub asked: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Whether a change of the voters is under way.
    pub is_changing: bool,
    /// Why the asked member is not part of a cluster, or was refused by others; empty if nothing is wrong.
    pub trouble: String,
    /// Every member, by number.
    pub members: Vec<MemberLine>,
}

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLine {
    /// Its number.
    pub member: u64,
    /// Where members reach it.
    pub address: String,
    /// Whether it votes.
    pub is_voter: bool,
    /// Its own word, or why there is none.
    pub status: Result<Status, String>,
}

impl Command {
    /// Writes it.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Status => writer.u8(0),
            Self::Initialize { members } => {
                writer.u8(1);
                writer.u64(members.len() as u64);
                for (member, address) in members {
                    writer.u64(*member);
                    writer.text(address);
                }
            }
            Self::Add { member, address } => {
                writer.u8(2);
                writer.u64(*member);
                writer.text(address);
            }
            Self::Promote { member } => {
                writer.u8(3);
                writer.u64(*member);
            }
            Self::Remove { member } => {
                writer.u8(4);
                writer.u64(*member);
            }
            Self::TransferLeader { to } => {
                writer.u8(5);
                writer.u64(*to);
            }
            Self::Update { member, address, incarnation, clients } => {
                writer.u8(6);
                writer.u64(*member);
                writer.text(address);
                writer.raw(incarnation);
                writer.u64(clients.len() as u64);
                for client in clients {
                    writer.text(client);
                }
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// For anything else.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "command to a cluster";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Status,
            1 => {
                let count = reader.count(WHAT, MEMBERS_MAX)?;
                let members = (0..count)
                    .map(|_| Ok((reader.u64(WHAT)?, reader.text(WHAT)?)))
                    .collect::<Result<_, Malformed>>()?;
                Self::Initialize { members }
            }
            2 => Self::Add { member: reader.u64(WHAT)?, address: reader.text(WHAT)? },
            3 => Self::Promote { member: reader.u64(WHAT)? },
            4 => Self::Remove { member: reader.u64(WHAT)? },
            5 => Self::TransferLeader { to: reader.u64(WHAT)? },
            6 => Self::Update {
                member: reader.u64(WHAT)?,
                address: reader.text(WHAT)?,
                incarnation: reader.array(WHAT)?,
                clients: {
                    let count = reader.count(WHAT, MEMBERS_MAX)?;
                    (0..count).map(|_| reader.text(WHAT)).collect::<Result<_, _>>()?
                },
            },
            _ => return Err(malformed(WHAT)),
        })
    }
}

/// Writes what came of a command.
pub fn write_outcome(writer: &mut Writer, outcome: &Result<Outcome, Refusal>) {
    match outcome {
        Ok(Outcome::Done) => writer.u8(0),
        Ok(Outcome::Status(status)) => {
            writer.u8(1);
            status.write(writer);
        }
        Err(refusal) => {
            writer.u8(2);
            write_refusal(writer, refusal);
        }
    }
}

/// Reads what came of a command.
///
/// # Errors
/// For anything else.
pub fn read_outcome(reader: &mut Reader) -> Result<Result<Outcome, Refusal>, Malformed> {
    const WHAT: &str = "outcome of a command";
    Ok(match reader.u8(WHAT)? {
        0 => Ok(Outcome::Done),
        1 => Ok(Outcome::Status(ClusterStatus::read(reader)?)),
        2 => Err(read_refusal(reader)?),
        _ => return Err(malformed(WHAT)),
    })
}

impl ClusterStatus {
    fn write(&self, writer: &mut Writer) {
        writer.option(self.cluster.as_ref(), |writer, cluster| writer.raw(cluster));
        writer.u64(self.asked);
        writer.option(self.leader, |writer, leader| writer.u64(leader));
        writer.bool(self.is_changing);
        writer.text(&self.trouble);
        writer.u64(self.members.len() as u64);
        for line in &self.members {
            writer.u64(line.member);
            writer.text(&line.address);
            writer.bool(line.is_voter);
            match &line.status {
                Ok(status) => {
                    writer.u8(0);
                    status.write(writer);
                }
                Err(why) => {
                    writer.u8(1);
                    writer.text(why);
                }
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "status of a cluster";
        let mut status = Self {
            cluster: reader.option(WHAT, |reader| reader.array(WHAT))?,
            asked: reader.u64(WHAT)?,
            leader: reader.option(WHAT, |reader| reader.u64(WHAT))?,
            is_changing: reader.bool(WHAT)?,
            trouble: reader.text(WHAT)?,
            members: Vec::new(),
        };
        for _ in 0..reader.count(WHAT, MEMBERS_MAX)? {
            status.members.push(MemberLine {
                member: reader.u64(WHAT)?,
                address: reader.text(WHAT)?,
                is_voter: reader.bool(WHAT)?,
                status: match reader.u8(WHAT)? {
                    0 => Ok(Status::read(reader)?),
                    1 => Err(reader.text(WHAT)?),
                    _ => return Err(malformed(WHAT)),
                },
            });
        }
        Ok(status)
    }
}
