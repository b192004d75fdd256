//! The bytes of what raft keeps: log records, votes, places in the log, memberships. It does not know what a normal entry
//! holds (`quorate_wire::entry` does), nor where bytes are kept.
//!
//! ```text
//! log record   format: u8 = 1, kind: u8, term, then
//!              0 blank: nothing; 1 normal: the entry's bytes to the end; 2 membership: membership
//! place        format: u8 = 1, term, index
//! vote         format: u8 = 1, term, member, committed: bool
//! membership   configs: list of lists of members, contacts: list of (member, address: text, incarnation: 16 bytes,
//!              client addresses: list of texts)
//! stored membership   format: u8 = 1, place of its entry: option of (term, index), membership
//! ```
//!
//! Numbers and lengths as in `quorate_core::codec`. The index of a log record is the log's, not in its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::ids::Term;

use crate::contact::{CLIENT_ADDRESSES_MAX, Contact, INCARNATION_BYTES, Incarnation};
use crate::position::Position;
use crate::types::{
    Membership, Payload, RaftEntry, RaftPayload, StoredMembership, Vote, log_id, position,
};

const FORMAT: u8 = 1;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Bytes that a record takes beside its payload: format, kind, term.
pub(crate) const RECORD_HEAD_BYTES: usize = 12;
/// Members of one configuration, learners included: what one log record and one applied record may name.
pub(crate) const MEMBERS_MAX: usize = 1024;
/// A joint configuration has two.
const CONFIGS_MAX: usize = 2;

/// For `map_err`: bytes of our own that can not be read.
pub(crate) fn rotten(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The record of an entry.
pub(crate) fn record(entry: &RaftEntry) -> Bytes {
    let payload = match &entry.payload {
        RaftPayload::Normal(payload) => payload.bytes.len(),
        RaftPayload::Blank | RaftPayload::Membership(_) => 0,
    };
    let mut writer = Writer::with_capacity(RECORD_HEAD_BYTES + payload);
    writer.u8(FORMAT);
    let term = entry.log_id.leader_id.term;
    match &entry.payload {
        RaftPayload::Blank => {
            writer.u8(BLANK);
            writer.u64(term);
        }
        RaftPayload::Normal(payload) => {
            writer.u8(NORMAL);
            writer.u64(term);
            writer.raw(&payload.bytes);
        }
        RaftPayload::Membership(membership) => {
            writer.u8(MEMBERSHIP);
            writer.u64(term);
            write_membership(&mut writer, membership);
        }
    }
    writer.finish()
}

/// The entry of a record at this index; a normal one stays encoded.
pub(crate) fn read_record(index: u64, bytes: Bytes) -> Result<RaftEntry, Malformed> {
    const WHAT: &str = "log record";
    let mut reader = Reader::new(bytes);
    let (kind, term) = read_head(&mut reader)?;
    let payload = match kind {
        BLANK => {
            reader.finish(WHAT)?;
            RaftPayload::Blank
        }
        NORMAL => RaftPayload::Normal(Payload { bytes: reader.rest(), entry: None }),
        MEMBERSHIP => {
            let membership = read_membership(&mut reader)?;
            reader.finish(WHAT)?;
            RaftPayload::Membership(membership)
        }
        _ => return Err(malformed("kind of a log record")),
    };
    Ok(RaftEntry { log_id: log_id(Position { term, index }), payload })
}

/// The term of a record, without the rest.
pub(crate) fn read_record_term(bytes: Bytes) -> Result<Term, Malformed> {
    read_head(&mut Reader::new(bytes)).map(|(_, term)| term)
}

fn read_head(reader: &mut Reader) -> Result<(u8, Term), Malformed> {
    read_format(reader, "log record")?;
    let kind = reader.u8("kind of a log record")?;
    Ok((kind, Term(reader.u64("term of a log record")?)))
}

fn read_format(reader: &mut Reader, what: &'static str) -> Result<(), Malformed> {
    if reader.u8(what)? == FORMAT { Ok(()) } else { Err(malformed(what)) }
}

/// The bytes of a place.
pub(crate) fn place(position: Position) -> Bytes {
    let mut writer = Writer::with_capacity(24);
    writer.u8(FORMAT);
    put_position(&mut writer, position);
    writer.finish()
}

/// Reads a place.
pub(crate) fn read_place(bytes: Bytes) -> Result<Position, Malformed> {
    const WHAT: &str = "place in the log";
    let mut reader = Reader::new(bytes);
    read_format(&mut reader, WHAT)?;
    let position = take_position(&mut reader)?;
    reader.finish(WHAT)?;
    Ok(position)
}

/// The bytes of a vote.
pub(crate) fn vote(vote: &Vote) -> Bytes {
    let mut writer = Writer::with_capacity(24);
    writer.u8(FORMAT);
    put_vote(&mut writer, vote);
    writer.finish()
}

/// Reads a vote.
pub(crate) fn read_vote(bytes: Bytes) -> Result<Vote, Malformed> {
    const WHAT: &str = "vote";
    let mut reader = Reader::new(bytes);
    read_format(&mut reader, WHAT)?;
    let vote = take_vote(&mut reader)?;
    reader.finish(WHAT)?;
    Ok(vote)
}

/// A vote within another message or record.
pub(crate) fn put_vote(writer: &mut Writer, vote: &Vote) {
    writer.u64(vote.leader_id.term);
    writer.u64(vote.leader_id.voted_for);
    writer.bool(vote.committed);
}

/// Reads a vote within another message or record.
pub(crate) fn take_vote(reader: &mut Reader) -> Result<Vote, Malformed> {
    const WHAT: &str = "vote";
    let (term, member) = (reader.u64(WHAT)?, reader.u64(WHAT)?);
    let is_committed = reader.bool(WHAT)?;
    Ok(if is_committed { Vote::new_committed(term, member) } else { Vote::new(term, member) })
}

/// A place within another message or record.
pub(crate) fn put_position(writer: &mut Writer, position: Position) {
    writer.u64(position.term.0);
    writer.u64(position.index);
}

/// Reads a place within another message or record.
pub(crate) fn take_position(reader: &mut Reader) -> Result<Position, Malformed> {
    const WHAT: &str = "place in the log";
    Ok(Position { term: Term(reader.u64(WHAT)?), index: reader.u64(WHAT)? })
}

/// The bytes of a membership and of the place where it stands in the log.
pub(crate) fn stored_membership(stored: &StoredMembership) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(FORMAT);
    writer.option(stored.log_id().as_ref(), |writer, at| put_position(writer, position(at)));
    write_membership(&mut writer, stored.membership());
    writer.finish()
}

/// Reads a membership and its place.
pub(crate) fn read_stored_membership(bytes: Bytes) -> Result<StoredMembership, Malformed> {
    const WHAT: &str = "stored membership";
    let mut reader = Reader::new(bytes);
    read_format(&mut reader, WHAT)?;
    let at = reader.option(WHAT, |reader| {
        let position = Position { term: Term(reader.u64(WHAT)?), index: reader.u64(WHAT)? };
        Ok(log_id(position))
    })?;
    let membership = read_membership(&mut reader)?;
    reader.finish(WHAT)?;
    Ok(StoredMembership::new(at, membership))
}

fn write_membership(writer: &mut Writer, membership: &Membership) {
    writer.u64(membership.get_joint_config().len() as u64);
    for config in membership.get_joint_config() {
        writer.u64(config.len() as u64);
        for member in config {
            writer.u64(*member);
        }
    }
    writer.u64(membership.nodes().count() as u64);
    for (member, node) in membership.nodes() {
        writer.u64(*member);
        write_contact(writer, node);
    }
}

/// How a member is reached, within another message.
pub(crate) fn write_contact(writer: &mut Writer, contact: &Contact) {
    writer.text(&contact.address);
    writer.raw(&contact.incarnation.0);
    writer.u64(contact.clients.len() as u64);
    for address in &contact.clients {
        writer.text(address);
    }
}

/// Reads how a member is reached.
pub(crate) fn read_contact(reader: &mut Reader) -> Result<Contact, Malformed> {
    const WHAT: &str = "contact of a member";
    let address = reader.text(WHAT)?;
    let incarnation = Incarnation(reader.array::<INCARNATION_BYTES>(WHAT)?);
    let mut clients = Vec::new();
    for _ in 0..reader.count(WHAT, CLIENT_ADDRESSES_MAX)? {
        clients.push(reader.text(WHAT)?);
    }
    Ok(Contact { address, incarnation, clients })
}

fn read_membership(reader: &mut Reader) -> Result<Membership, Malformed> {
    const WHAT: &str = "membership";
    let mut configs = Vec::new();
    for _ in 0..reader.count(WHAT, CONFIGS_MAX)? {
        let mut config = BTreeSet::new();
        for _ in 0..reader.count(WHAT, MEMBERS_MAX)? {
            config.insert(reader.u64(WHAT)?);
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.count(WHAT, MEMBERS_MAX)? {
        let member = reader.u64(WHAT)?;
        nodes.insert(member, read_contact(reader)?);
    }
    Membership::new(configs, nodes).map_err(|_| malformed(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let node = |address: &str, clients: &[&str]| Contact {
            address: address.to_owned(),
            incarnation: Incarnation([7; 16]),
            clients: clients.iter().map(|&client| client.to_owned()).collect(),
        };
        let nodes =
            BTreeMap::from([(1, node("a:1", &["c:1"])), (2, node("b:2", &[])), (9, node("", &[]))]);
        let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        Membership::new(configs, nodes).expect("valid")
    }

    fn at(term: u64, index: u64) -> Position {
        Position { term: Term(term), index }
    }

    #[test]
    fn records_come_back() {
        let normal = Payload { bytes: Bytes::from_static(b"entry"), entry: None };
        let payloads = [
            RaftPayload::Blank,
            RaftPayload::Normal(normal),
            RaftPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = RaftEntry { log_id: log_id(at(300, 7)), payload };
            let bytes = record(&entry);
            assert_eq!(read_record_term(bytes.clone()), Ok(Term(300)));
            assert_eq!(read_record(7, bytes), Ok(entry));
        }
    }

    #[test]
    fn votes_places_and_memberships_come_back() {
        for one in [Vote::new(3, 4), Vote::new_committed(u64::MAX, 1)] {
            assert_eq!(read_vote(vote(&one)), Ok(one));
        }
        assert_eq!(read_place(place(at(5, 6))), Ok(at(5, 6)));
        for stored in [
            StoredMembership::new(Some(log_id(at(5, 6))), membership()),
            StoredMembership::default(),
        ] {
            assert_eq!(read_stored_membership(stored_membership(&stored)), Ok(stored));
        }
    }

    #[test]
    fn the_bytes_stay() {
        let entry = RaftEntry { log_id: log_id(at(300, 7)), payload: RaftPayload::Blank };
        assert_eq!(&record(&entry)[..], [1, 0, 0xac, 2]);
        let bytes = Bytes::from_static(b"xyz");
        let payload = RaftPayload::Normal(Payload { bytes, entry: None });
        let entry = RaftEntry { log_id: log_id(at(1, 7)), payload };
        assert_eq!(&record(&entry)[..], [1, 1, 1, b'x', b'y', b'z']);
        let payload = RaftPayload::Membership(membership());
        let entry = RaftEntry { log_id: log_id(at(1, 0)), payload };
        let mut expected = b"\x01\x02\x01\x02\x01\x01\x02\x01\x02\x03".to_vec();
        expected.extend_from_slice(b"\x01\x03a:1\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x01\x03c:1");
        expected.extend_from_slice(
            b"\x02\x03b:2\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\0",
        );
        expected.extend_from_slice(
            b"\x09\0\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\0",
        );
        assert_eq!(&record(&entry)[..], expected);
        assert_eq!(&vote(&Vote::new_committed(2, 3))[..], [1, 2, 3, 1]);
        assert_eq!(&place(at(2, 300))[..], [1, 2, 0xac, 2]);
    }

    #[test]
    fn every_mutation_of_a_byte_is_read_or_refused() {
        let payload = RaftPayload::Membership(membership());
        let bytes = record(&RaftEntry { log_id: log_id(at(1, 7)), payload });
        let stored = StoredMembership::new(Some(log_id(at(5, 6))), membership());
        let stored = stored_membership(&stored);
        for (bytes, read) in [
            (bytes, (|bytes| read_record(7, bytes).is_ok()) as fn(Bytes) -> bool),
            (stored, |bytes| read_stored_membership(bytes).is_ok()),
        ] {
            for at in 0..bytes.len() {
                for value in 0..=u8::MAX {
                    let mut mutated = bytes.to_vec();
                    mutated[at] = value;
                    let _either = read(Bytes::from(mutated));
                }
                assert!(!read(bytes.slice(..at)), "the first {at} bytes");
            }
        }
    }
}
