//! What two members say to each other before anything else, and what a lane between them begins with. What follows on a
//! lane is written elsewhere: raft's messages in quorate-raft, a link's in `link`.
//!
//! The dialling side opens a lane and says [`Hello`]; the other side answers [`Answer`] and both sides close that lane.
//! Every further lane begins with one frame of one byte, its kind.

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::error::Refusal;
use quorate_core::level::Level;

use crate::message::{read_refusal, write_refusal};
use crate::protocol::Versions;

/// The protocols between members that this version speaks. Those who speak 1 have trees without records of principals.
pub const PROTOCOLS: Versions = Versions { min: 2, max: 2 };
/// First bytes of a member's first frame.
pub const MAGIC: [u8; 4] = *b"QRM1";
/// Bytes of the frames of this module.
pub const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of a member's description of itself.
const AGENT_BYTES_MAX: usize = 256;
/// Addresses for clients of one member.
const CLIENTS_MAX: usize = 8;

/// A cluster's random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub member: u64,
    /// Its cluster; none if it waits for one.
    pub cluster: Option<ClusterId>,
    /// Its data directory.
    pub incarnation: [u8; 16],
    /// How often a process was started on that directory.
    pub starts: u64,
    /// A random number of this start: two copies of a directory may have been started as often.
    pub life: u64,
    /// Where clients reach it.
    pub clients: Vec<String>,
    /// Name and version.
    pub agent: String,
    /// The highest set of features that this version knows; see docs/operations.md on rolling upgrades.
    pub level: Level,
}

/// The first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocols that the sender speaks.
    pub protocols: Versions,
    /// The sender.
    pub from: Identity,
    /// The number of the member that is meant.
    pub to: u64,
    /// The data directory that is meant; none if the question is only who is there.
    pub to_incarnation: Option<[u8; 16]>,
}

/// The answer to the first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Lanes may follow.
    Welcome {
        /// The protocol that is spoken.
        protocol: u32,
        /// Who answers.
        from: Identity,
    },
    /// They may not; the connection is closed.
    Refused(Refusal),
}

impl Hello {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(&MAGIC);
        writer.u64(u64::from(self.protocols.min));
        writer.u64(u64::from(self.protocols.max));
        self.from.write(&mut writer);
        writer.u64(self.to);
        writer.option(self.to_incarnation.as_ref(), |writer, incarnation| writer.raw(incarnation));
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything else.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "hello of a member";
        let mut reader = Reader::new(frame);
        let hello = Self {
            protocols: read_begin(&mut reader)?,
            from: Identity::read(&mut reader)?,
            to: reader.u64(WHAT)?,
            to_incarnation: reader.option(WHAT, |reader| reader.array(WHAT))?,
        };
        reader.finish(WHAT)?;
        Ok(hello)
    }
}

/// The protocols that the sender of a hello speaks, whatever follows in it: the first bytes are the same in all versions.
///
/// # Errors
/// For what does not begin as a hello.
pub fn protocols(hello: Bytes) -> Result<Versions, Malformed> {
    read_begin(&mut Reader::new(hello))
}

fn read_begin(reader: &mut Reader) -> Result<Versions, Malformed> {
    const WHAT: &str = "magic of a member";
    if reader.array::<4>(WHAT)? != MAGIC {
        return Err(malformed(WHAT));
    }
    Versions::read(reader)
}

impl Answer {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Welcome { protocol, from } => {
                writer.u8(0);
                writer.u64(u64::from(*protocol));
                from.write(&mut writer);
            }
            Self::Refused(refusal) => {
                writer.u8(1);
                write_refusal(&mut writer, refusal);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything else.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "answer of a member";
        let mut reader = Reader::new(frame);
        let answer = match reader.u8(WHAT)? {
            0 => Self::Welcome { protocol: reader.u32(WHAT)?, from: Identity::read(&mut reader)? },
            1 => Self::Refused(read_refusal(&mut reader)?),
            _ => return Err(malformed(WHAT)),
        };
        reader.finish(WHAT)?;
        Ok(answer)
    }
}

impl Identity {
    fn write(&self, writer: &mut Writer) {
        writer.u64(self.member);
        writer.option(self.cluster.as_ref(), |writer, cluster| writer.raw(&cluster.0));
        writer.raw(&self.incarnation);
        writer.u64(self.starts);
        writer.u64(self.life);
        writer.u64(self.clients.len() as u64);
        for client in &self.clients {
            writer.text(client);
        }
        writer.text(&self.agent);
        writer.u64(u64::from(self.level.0));
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "member";
        let mut found = Self {
            member: reader.u64(WHAT)?,
            cluster: reader.option(WHAT, |reader| reader.array(WHAT).map(ClusterId))?,
            incarnation: reader.array(WHAT)?,
            starts: reader.u64(WHAT)?,
            life: reader.u64(WHAT)?,
            clients: Vec::new(),
            agent: String::new(),
            level: Level::FIRST,
        };
        for _ in 0..reader.count(WHAT, CLIENTS_MAX)? {
            found.clients.push(reader.text(WHAT)?);
        }
        found.agent = reader.text(WHAT)?;
        if found.agent.len() > AGENT_BYTES_MAX {
            return Err(malformed(WHAT));
        }
        found.level = Level(reader.u32(WHAT)?);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::error::ErrorCode;

    fn someone() -> Identity {
        Identity {
            member: 300,
            cluster: Some(ClusterId([5; 16])),
            incarnation: [6; 16],
            starts: 7,
            life: 8,
            clients: vec!["a:1".to_owned(), "b:2".to_owned()],
            agent: "quorate/1".to_owned(),
            level: Level(1),
        }
    }

    fn hello() -> Hello {
        let to_incarnation = Some([9; 16]);
        Hello { protocols: Versions { min: 1, max: 2 }, from: someone(), to: 3, to_incarnation }
    }

    #[test]
    fn hellos_and_answers_come_back() {
        assert_eq!(Hello::decode(hello().encode()), Ok(hello()));
        let waiting = Identity { cluster: None, clients: Vec::new(), ..someone() };
        let question = Hello { from: waiting, to_incarnation: None, ..hello() };
        assert_eq!(Hello::decode(question.encode()), Ok(question));
        for answer in [
            Answer::Welcome { protocol: 1, from: someone() },
            Answer::Refused(Refusal::new(ErrorCode::ShuttingDown, "not now")),
        ] {
            assert_eq!(Answer::decode(answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn the_bytes_of_a_hello_stay() {
        let mut expected = b"QRM1\x01\x02\xac\x02\x01".to_vec();
        expected.extend_from_slice(&[5; 16]);
        expected.extend_from_slice(&[6; 16]);
        expected.extend_from_slice(b"\x07\x08\x02\x03a:1\x03b:2\x09quorate/1\x01\x03\x01");
        expected.extend_from_slice(&[9; 16]);
        assert_eq!(&hello().encode()[..], expected);
    }

    #[test]
    fn the_protocols_of_a_later_hello_are_read_whatever_follows_in_it() {
        let later = [&b"QRM1\x02\x04"[..], b"something else"].concat();
        assert!(Hello::decode(later.clone().into()).is_err());
        assert_eq!(protocols(later.into()), Ok(Versions { min: 2, max: 4 }));
        assert!(protocols(Bytes::from_static(b"QRT1\x01\x01")).is_err());
    }

    #[test]
    fn every_mutation_of_a_byte_is_read_or_refused() {
        let frame = hello().encode();
        for at in 0..frame.len() {
            for value in 0..=u8::MAX {
                let mut mutated = frame.to_vec();
                mutated[at] = value;
                let _either = Hello::decode(Bytes::from(mutated));
            }
            assert!(Hello::decode(frame.slice(..at)).is_err(), "the first {at} bytes");
        }
    }
}
