//! What is replicated of a session: its record, the replies kept for resends, its parked calls; and the one question
//! asked of them: may this write be executed? Connections and heartbeats are not known here.

use bytes::Bytes;

use crate::access::{Held, Identity};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Millis, SessionId, WriteNumber, Zxid};
use crate::limits;
use crate::read::Read;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its client closed it.
    Closed,
    /// The leader did not hear of it for its timeout.
    Expired,
}

impl End {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Expired => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Closed),
            1 => Ok(Self::Expired),
            _ => Err(malformed("end of a session")),
        }
    }
}

/// What a session is opened with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Milliseconds without a heartbeat after which it expires.
    pub timeout_ms: u64,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// Its name for people and recipes; empty for an anonymous client.
    pub principal: String,
    /// What it is known as; in any order.
    pub identities: Vec<Held>,
}

/// The record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Milliseconds without a heartbeat after which the leader expires it.
    pub timeout_ms: u64,
    /// SHA-256 of the secret that a resuming client must show.
    pub secret_hash: [u8; 32],
    /// Who opened it; empty for an anonymous client.
    pub principal: String,
    /// What it is known as, ascending by identity, each once. Those that have expired may still stand here.
    pub identities: Vec<Held>,
    /// Time at which it was opened.
    pub opened: Millis,
    /// The last write that was executed.
    pub last_write: WriteNumber,
    /// Every reply up to this one has been acknowledged.
    pub acked: WriteNumber,
    /// Replies kept.
    pub kept_count: u64,
    /// Bytes of replies kept.
    pub kept_bytes: u64,
    /// Calls parked.
    pub parked_count: u64,
    /// Ephemeral and call-owned znodes.
    pub owned_count: u64,
    /// Bytes of their access lists.
    pub owned_acl_bytes: u64,
    /// When and how it ended; none while it lives.
    pub ended: Option<(Millis, End)>,
}

const FORMAT: u8 = 1;

impl Session {
    /// A new one.
    pub(crate) fn opened(opening: Opening, now: Millis) -> Self {
        let Opening { timeout_ms, secret_hash, principal, identities } = opening;
        Self {
            timeout_ms,
            secret_hash,
            principal,
            identities,
            opened: now,
            last_write: WriteNumber(0),
            acked: WriteNumber(0),
            kept_count: 0,
            kept_bytes: 0,
            parked_count: 0,
            owned_count: 0,
            owned_acl_bytes: 0,
            ended: None,
        }
    }

    /// Whether it lives.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    /// What it is known as at this time.
    #[must_use]
    pub fn identities_at(&self, now: Millis) -> Vec<Identity> {
        let valid = self.identities.iter().filter(|held| held.is_at(now));
        valid.map(|held| held.identity.clone()).collect()
    }

    /// Notes that it is known as this too; what has expired by now is forgotten.
    pub(crate) fn add_identity(&mut self, held: Held, now: Millis) {
        self.identities.retain(|one| one.is_at(now) && one.identity != held.identity);
        let at = self.identities.partition_point(|one| one.identity < held.identity);
        self.identities.insert(at, held);
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(96);
        writer.u8(FORMAT);
        writer.u64(self.timeout_ms);
        writer.raw(&self.secret_hash);
        writer.text(&self.principal);
        Held::write_all(&self.identities, &mut writer);
        writer.u64(self.opened.0);
        writer.u64(self.last_write.0);
        writer.u64(self.acked.0);
        writer.u64(self.kept_count);
        writer.u64(self.kept_bytes);
        writer.u64(self.parked_count);
        writer.u64(self.owned_count);
        writer.u64(self.owned_acl_bytes);
        writer.option(self.ended, |writer, (at, end)| {
            writer.u64(at.0);
            writer.u8(end.number());
        });
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "session record";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed(WHAT));
        }
        let session = Self {
            timeout_ms: reader.u64(WHAT)?,
            secret_hash: reader.array(WHAT)?,
            principal: reader.text(WHAT)?,
            identities: Held::read_all(&mut reader)?,
            opened: Millis(reader.u64(WHAT)?),
            last_write: WriteNumber(reader.u64(WHAT)?),
            acked: WriteNumber(reader.u64(WHAT)?),
            kept_count: reader.u64(WHAT)?,
            kept_bytes: reader.u64(WHAT)?,
            parked_count: reader.u64(WHAT)?,
            owned_count: reader.u64(WHAT)?,
            owned_acl_bytes: reader.u64(WHAT)?,
            ended: reader.option(WHAT, |reader| {
                let at = Millis(reader.u64(WHAT)?);
                Ok((at, End::from_number(reader.u8(WHAT)?)?))
            })?,
        };
        reader.finish(WHAT)?;
        Ok(session)
    }
}

/// A reply kept until its session acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReply {
    /// Hash of the request that it answers.
    pub hash: u128,
    /// The transaction that answered.
    pub zxid: Zxid,
    /// The reply's bytes.
    pub reply: Bytes,
}

impl KeptReply {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(32 + self.reply.len());
        writer.u128(self.hash);
        writer.u64(self.zxid.0);
        writer.raw(&self.reply);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "kept reply";
        let mut reader = Reader::new(bytes);
        let hash = reader.u128(WHAT)?;
        let zxid = Zxid(reader.u64(WHAT)?);
        Ok(Self { hash, zxid, reply: reader.rest() })
    }
}

/// A parked call, as it is replicated. What it waits for lives in the leader's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Hash of the request.
    pub hash: u128,
    /// When it is run for the last time; fixed at the first run.
    pub deadline: Option<Millis>,
    /// The recipe that it calls.
    pub recipe: String,
    /// The version that wrote the state.
    pub version: u64,
    /// Bytes that the call keeps from run to run.
    pub state: Bytes,
}

impl Parked {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u128(self.hash);
        writer.option(self.deadline, |writer, at| writer.u64(at.0));
        writer.text(&self.recipe);
        writer.u64(self.version);
        writer.bytes(&self.state);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "parked call";
        Ok(Self {
            hash: reader.u128(WHAT)?,
            deadline: reader.option(WHAT, |reader| reader.u64(WHAT).map(Millis))?,
            recipe: reader.text(WHAT)?,
            version: reader.u64(WHAT)?,
            state: reader.bytes(WHAT)?,
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let parked = Self::read(&mut reader)?;
        reader.finish("parked call")?;
        Ok(parked)
    }
}

/// Replies that a client has got: everything up to a mark, and ranges above it. Rides on writes and takes effect with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acks {
    /// Every write up to and including this one.
    pub low: WriteNumber,
    /// Inclusive ranges above `low`, ascending, not touching.
    pub ranges: Vec<(WriteNumber, WriteNumber)>,
}

impl Acks {
    /// What is acknowledged beyond `acked`, up to `last`: inclusive ranges, the low mark's first. Never names what lies
    /// below `acked`, so that no scan steps over the replies of a session's whole life.
    pub fn spans(
        &self,
        acked: WriteNumber,
        last: WriteNumber,
    ) -> impl Iterator<Item = (WriteNumber, WriteNumber)> + '_ {
        std::iter::once((WriteNumber(1), self.low))
            .chain(self.ranges.iter().copied())
            .map(move |(from, to)| (from.max(acked.next()), to.min(last)))
            .filter(|(from, to)| from <= to)
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(self.low.0);
        writer.u64(self.ranges.len() as u64);
        for (from, to) in &self.ranges {
            writer.u64(from.0);
            writer.u64(to.0);
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For ranges that are not ascending and apart, or too many.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "acknowledgement";
        let low = WriteNumber(reader.u64(WHAT)?);
        let count = reader.count(WHAT, limits::ACK_RANGES_MAX)?;
        let mut ranges = Vec::with_capacity(count);
        let mut end = low.0;
        for _ in 0..count {
            let (from, to) = (reader.u64(WHAT)?, reader.u64(WHAT)?);
            if from <= end.saturating_add(1) || to < from {
                return Err(malformed(WHAT));
            }
            end = to;
            ranges.push((WriteNumber(from), WriteNumber(to)));
        }
        Ok(Self { low, ranges })
    }
}

/// What to do with a write that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one: execute it.
    Execute,
    /// It was executed: this is its reply.
    Kept(KeptReply),
    /// It was executed and is parked.
    Parked(Parked),
    /// It is not executed, and consumes no number.
    Refused(Refusal),
}

/// Decides on write `number` of a session (DESIGN D5): next, resent, or neither.
#[must_use]
pub fn admit<R: Read + ?Sized>(
    read: &R,
    id: SessionId,
    number: WriteNumber,
    hash: u128,
    acks: &Acks,
) -> Admission {
    let refused = |code, message: String| Admission::Refused(Refusal::new(code, message));
    let Some(session) = read.session(id) else {
        return refused(ErrorCode::NoSession, format!("session {id} is not known here"));
    };
    if number == WriteNumber(0) {
        return refused(ErrorCode::BadMessage, "writes are numbered from 1".to_owned());
    }
    if number <= session.last_write {
        return resent(read, id, &session, number, hash);
    }
    if let Some((at, end)) = session.ended {
        let message =
            format!("session {id} {} at {at}; write {number} was not executed", end.word());
        return refused(ErrorCode::SessionEnded, message);
    }
    let next = session.last_write.next();
    if number != next {
        return refused(
            ErrorCode::ResendFrom,
            format!("write {number} came before write {next}: resend from {next}"),
        );
    }
    if session.kept_count >= limits::KEPT_REPLIES_MAX
        || session.kept_bytes >= limits::KEPT_REPLIES_BYTES_MAX
    {
        let (count, bytes) = kept_after(read, id, &session, acks);
        if count >= limits::KEPT_REPLIES_MAX || bytes >= limits::KEPT_REPLIES_BYTES_MAX {
            let message = format!(
                "{count} replies of {bytes} bytes wait for an acknowledgement; the limits are {} and {}",
                limits::KEPT_REPLIES_MAX,
                limits::KEPT_REPLIES_BYTES_MAX
            );
            return refused(ErrorCode::TooManyUnacknowledged, message);
        }
    }
    Admission::Execute
}

fn resent<R: Read + ?Sized>(
    read: &R,
    id: SessionId,
    session: &Session,
    number: WriteNumber,
    hash: u128,
) -> Admission {
    let differs = || {
        let message = format!("write {number} of session {id} was another request");
        Admission::Refused(Refusal::new(ErrorCode::ResendDiffers, message))
    };
    if let Some(kept) = read.kept_reply(id, number) {
        return if kept.hash == hash { Admission::Kept(kept) } else { differs() };
    }
    if let Some(parked) = read.parked(id, number) {
        return if parked.hash == hash { Admission::Parked(parked) } else { differs() };
    }
    if let Some((at, end)) = session.ended.filter(|_| number > session.acked) {
        let message = format!(
            "session {id} {} at {at}; write {number} waited then and was dropped",
            end.word()
        );
        return Admission::Refused(Refusal::new(ErrorCode::SessionEnded, message));
    }
    let message = format!("the reply to write {number} of session {id} was acknowledged before");
    Admission::Refused(Refusal::new(ErrorCode::AlreadyAcknowledged, message))
}

/// Replies that are left once these acknowledgements have taken effect: count and bytes.
fn kept_after<R: Read + ?Sized>(
    read: &R,
    id: SessionId,
    session: &Session,
    acks: &Acks,
) -> (u64, u64) {
    let mut count = session.kept_count;
    let mut bytes = session.kept_bytes;
    for (from, to) in acks.spans(session.acked, session.last_write) {
        for (_, kept) in read.kept_replies(id, from, to) {
            count = count.saturating_sub(1);
            bytes = bytes.saturating_sub(kept.reply.len() as u64);
        }
    }
    (count, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_record_comes_back() {
        let session = Session {
            timeout_ms: 10_000,
            secret_hash: [7; 32],
            principal: "alice".to_owned(),
            identities: vec![
                Held {
                    identity: Identity::parse("token:a").expect("valid"),
                    expires: Some(Millis(9)),
                },
                Held::for_good(Identity::superuser()),
            ],
            opened: Millis(5),
            last_write: WriteNumber(9),
            acked: WriteNumber(6),
            kept_count: 2,
            kept_bytes: 100,
            parked_count: 1,
            owned_count: 3,
            owned_acl_bytes: 70,
            ended: Some((Millis(9), End::Expired)),
        };
        assert_eq!(Session::decode(session.encode()), Ok(session));
    }

    #[test]
    fn a_session_is_known_as_whom_it_showed_until_that_expires() {
        let held = |text: &str, at| Held {
            identity: Identity::parse(text).expect("valid"),
            expires: Some(Millis(at)),
        };
        let mut session = Session::opened(Opening::default(), Millis(1));
        session.add_identity(held("token:b", 10), Millis(1));
        session.add_identity(held("token:a", 20), Millis(1));
        let texts = |session: &Session, now| {
            let all = session.identities_at(Millis(now));
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(&session, 9), ["token:a", "token:b"]);
        assert_eq!(texts(&session, 10), ["token:a"]);
        session.add_identity(held("token:a", 30), Millis(10));
        assert_eq!(session.identities, [held("token:a", 30)]);
        assert_eq!(Session::decode(session.encode()), Ok(session));
    }

    #[test]
    fn acknowledgements_are_ascending_and_apart() {
        let acks = Acks { low: WriteNumber(3), ranges: vec![(WriteNumber(5), WriteNumber(6))] };
        let mut writer = Writer::new();
        acks.write(&mut writer);
        assert_eq!(Acks::read(&mut Reader::new(writer.finish())), Ok(acks));
        let touching = Acks { low: WriteNumber(3), ranges: vec![(WriteNumber(4), WriteNumber(6))] };
        let mut writer = Writer::new();
        touching.write(&mut writer);
        assert!(Acks::read(&mut Reader::new(writer.finish())).is_err());
    }
}
