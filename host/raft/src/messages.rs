//! What members say to each other about raft: the bytes of openraft's requests and answers, one message a frame. It does not
//! know lanes.
//!
//! ```text
//! append      1, vote, before: option of place, commit: option of place, entries: list of (index, record: bytes)
//! appended    2, 0 and last: option of place | 1 and conflict: place | 2 and higher vote
//! vote        3, vote, last: option of place, transfer: bool
//! pre-vote    4, the same
//! voted       5, vote, granted: bool, last: option of place
//! transfer    6, vote of the leader, to: member, last: option of place
//! transferred 7, 0 | 1 and expected vote, actual vote | 2 and expected: option of place, actual: option of place
//! failed      8, text: raft has stopped on the other side
//! lost        9, vote of the leader, index: the member has acknowledged it, and does not have it
//! agreed      10, bool: whether the member has found it so, and takes no part any more
//! ```
//!
//! A place is (term, index), a vote (term, member, committed: bool), a record as in the log's codec. Numbers and lengths as
//! in `quorate_core::codec`.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};

use crate::codec::{self, put_position, put_vote, take_position, take_vote};
use crate::types::{LogId, TypeConfig, Vote, log_id, position};

const APPEND: u8 = 1;
const APPENDED: u8 = 2;
const VOTE: u8 = 3;
const PRE_VOTE: u8 = 4;
const VOTED: u8 = 5;
const TRANSFER: u8 = 6;
const TRANSFERRED: u8 = 7;
const FAILED: u8 = 8;
const LOST: u8 = 9;
const AGREED: u8 = 10;

/// Entries of one append: above what openraft sends (`Config::max_payload_entries`).
const ENTRIES_MAX: usize = 4096;

/// What is asked on a lane of its own, and answered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// The leader of this vote has this member's acknowledgement of this index, and was told that it is not there.
    Lost {
        vote: Vote,
        index: u64,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Raft has stopped there.
    #[error("raft has stopped there: {0}")]
    Failed(String),
    /// The bytes are no answer to what was asked.
    #[error("an answer that can not be read: {0}")]
    Malformed(#[from] Malformed),
}

pub(crate) fn append(request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let records: Vec<Bytes> = request.entries.iter().map(codec::record).collect();
    let bytes: usize = records.iter().map(|record| record.len() + 16).sum();
    let mut writer = Writer::with_capacity(64 + bytes);
    writer.u8(APPEND);
    put_vote(&mut writer, &request.vote);
    write_places(&mut writer, request.prev_log_id.as_ref());
    write_places(&mut writer, request.leader_commit.as_ref());
    writer.u64(records.len() as u64);
    for (entry, record) in request.entries.iter().zip(&records) {
        writer.u64(entry.log_id.index);
        writer.bytes(record);
    }
    writer.finish()
}

pub(crate) fn read_append(frame: Bytes) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    const WHAT: &str = "append to the log";
    let mut reader = Reader::new(frame);
    kind(&mut reader, APPEND, WHAT)?;
    let vote = take_vote(&mut reader)?;
    let prev_log_id = read_places(&mut reader)?;
    let leader_commit = read_places(&mut reader)?;
    let count = reader.count(WHAT, ENTRIES_MAX)?;
    let mut entries = Vec::with_capacity(count);
    let mut next = prev_log_id.map_or(0, |before| before.index.saturating_add(1));
    for _ in 0..count {
        let index = reader.u64(WHAT)?;
        if index != next {
            return Err(malformed("order of the entries of an append"));
        }
        next = next.saturating_add(1);
        entries.push(codec::read_record(index, reader.bytes(WHAT)?)?);
    }
    reader.finish(WHAT)?;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn appended(result: &StreamAppendResult<TypeConfig>) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(APPENDED);
    match result {
        Ok(last) => {
            writer.u8(0);
            write_places(&mut writer, last.as_ref());
        }
        Err(StreamAppendError::Conflict(at)) => {
            writer.u8(1);
            put_position(&mut writer, position(at));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            writer.u8(2);
            put_vote(&mut writer, vote);
        }
    }
    writer.finish()
}

pub(crate) fn read_appended(frame: Bytes) -> Result<StreamAppendResult<TypeConfig>, NoAnswer> {
    const WHAT: &str = "answer to an append";
    let mut reader = answer(frame, APPENDED, WHAT)?;
    let result = match reader.u8(WHAT)? {
        0 => Ok(read_places(&mut reader)?),
        1 => Err(StreamAppendError::Conflict(take_position(&mut reader).map(log_id)?)),
        2 => Err(StreamAppendError::HigherVote(take_vote(&mut reader)?)),
        _ => return Err(malformed(WHAT).into()),
    };
    reader.finish(WHAT)?;
    Ok(result)
}

impl Call {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Vote(request) => write_vote_request(&mut writer, VOTE, request),
            Self::PreVote(request) => write_vote_request(&mut writer, PRE_VOTE, request),
            Self::Transfer(request) => {
                writer.u8(TRANSFER);
                put_vote(&mut writer, request.from_leader());
                writer.u64(*request.to_node_id());
                write_places(&mut writer, request.last_log_id());
            }
            Self::Lost { vote, index } => {
                writer.u8(LOST);
                put_vote(&mut writer, vote);
                writer.u64(*index);
            }
        }
        writer.finish()
    }

    pub(crate) fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "question of a member";
        let mut reader = Reader::new(frame);
        let kind = reader.u8(WHAT)?;
        let vote = take_vote(&mut reader)?;
        let call = match kind {
            VOTE | PRE_VOTE => {
                let mut request = VoteRequest::new(vote, read_places(&mut reader)?);
                request.leadership_transfer = reader.bool(WHAT)?;
                if kind == VOTE { Self::Vote(request) } else { Self::PreVote(request) }
            }
            TRANSFER => {
                let to = reader.u64(WHAT)?;
                Self::Transfer(TransferLeaderRequest::new(vote, to, read_places(&mut reader)?))
            }
            LOST => Self::Lost { vote, index: reader.u64(WHAT)? },
            _ => return Err(malformed(WHAT)),
        };
        reader.finish(WHAT)?;
        Ok(call)
    }
}

pub(crate) fn voted(response: &VoteResponse<TypeConfig>) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(VOTED);
    put_vote(&mut writer, &response.vote);
    writer.bool(response.vote_granted);
    write_places(&mut writer, response.last_log_id.as_ref());
    writer.finish()
}

pub(crate) fn read_voted(frame: Bytes) -> Result<VoteResponse<TypeConfig>, NoAnswer> {
    const WHAT: &str = "answer to a vote";
    let mut reader = answer(frame, VOTED, WHAT)?;
    let vote = take_vote(&mut reader)?;
    let is_granted = reader.bool(WHAT)?;
    let last = read_places(&mut reader)?;
    reader.finish(WHAT)?;
    Ok(VoteResponse::new(vote, last, is_granted))
}

pub(crate) fn transferred(response: &TransferLeaderResponse<TypeConfig>) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(TRANSFERRED);
    match response {
        Ok(()) => writer.u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            writer.u8(1);
            put_vote(&mut writer, expected);
            put_vote(&mut writer, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            writer.u8(2);
            write_places(&mut writer, expected.as_ref());
            write_places(&mut writer, actual.as_ref());
        }
    }
    writer.finish()
}

pub(crate) fn read_transferred(
    frame: Bytes,
) -> Result<TransferLeaderResponse<TypeConfig>, NoAnswer> {
    const WHAT: &str = "answer to a transfer of the leadership";
    let mut reader = answer(frame, TRANSFERRED, WHAT)?;
    let response = match reader.u8(WHAT)? {
        0 => Ok(()),
        1 => {
            let (expected, actual) = (take_vote(&mut reader)?, take_vote(&mut reader)?);
            Err(TransferLeaderError::VoteChanged { expected, actual })
        }
        2 => {
            let (expected, actual) = (read_places(&mut reader)?, read_places(&mut reader)?);
            Err(TransferLeaderError::LogNotFlushed { expected, actual })
        }
        _ => return Err(malformed(WHAT).into()),
    };
    reader.finish(WHAT)?;
    Ok(response)
}

pub(crate) fn agreed(is_agreed: bool) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(AGREED);
    writer.bool(is_agreed);
    writer.finish()
}

pub(crate) fn read_agreed(frame: Bytes) -> Result<bool, NoAnswer> {
    const WHAT: &str = "answer to a loss";
    let mut reader = answer(frame, AGREED, WHAT)?;
    let is_agreed = reader.bool(WHAT)?;
    reader.finish(WHAT)?;
    Ok(is_agreed)
}

/// Said in the place of any answer.
pub(crate) fn failed(why: &str) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(FAILED);
    writer.text(why);
    writer.finish()
}

fn answer(frame: Bytes, wanted: u8, what: &'static str) -> Result<Reader, NoAnswer> {
    let mut reader = Reader::new(frame);
    match reader.u8(what)? {
        FAILED => Err(NoAnswer::Failed(reader.text(what)?)),
        found if found == wanted => Ok(reader),
        _ => Err(malformed(what).into()),
    }
}

fn kind(reader: &mut Reader, wanted: u8, what: &'static str) -> Result<(), Malformed> {
    if reader.u8(what)? == wanted { Ok(()) } else { Err(malformed(what)) }
}

fn write_vote_request(writer: &mut Writer, kind: u8, request: &VoteRequest<TypeConfig>) {
    writer.u8(kind);
    put_vote(writer, &request.vote);
    write_places(writer, request.last_log_id.as_ref());
    writer.bool(request.leadership_transfer);
}

fn write_places(writer: &mut Writer, at: Option<&LogId>) {
    writer.option(at, |writer, at| put_position(writer, position(at)));
}

fn read_places(reader: &mut Reader) -> Result<Option<LogId>, Malformed> {
    reader.option("place in the log", |reader| take_position(reader).map(log_id))
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::Term;

    use super::*;
    use crate::position::Position;
    use crate::types::{Payload, RaftEntry, RaftPayload};

    fn at(term: u64, index: u64) -> LogId {
        log_id(Position { term: Term(term), index })
    }

    fn request() -> AppendEntriesRequest<TypeConfig> {
        let normal = Payload { bytes: Bytes::from_static(b"entry"), entry: None };
        let entries = vec![
            RaftEntry { log_id: at(2, 8), payload: RaftPayload::Blank },
            RaftEntry { log_id: at(3, 9), payload: RaftPayload::Normal(normal) },
        ];
        let vote = Vote::new_committed(3, 1);
        let (prev_log_id, leader_commit) = (Some(at(2, 7)), Some(at(2, 6)));
        AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }
    }

    fn check_append(request: &AppendEntriesRequest<TypeConfig>) {
        let read = read_append(append(request)).expect("readable");
        let parts = |request: &AppendEntriesRequest<TypeConfig>| {
            (request.vote, request.prev_log_id, request.leader_commit, request.entries.clone())
        };
        assert_eq!(parts(&read), parts(request));
    }

    #[test]
    fn appends_and_their_answers_come_back() {
        check_append(&request());
        let empty = AppendEntriesRequest {
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
            ..request()
        };
        check_append(&empty);
        for result in [
            Ok(None),
            Ok(Some(at(4, 5))),
            Err(StreamAppendError::Conflict(at(4, 5))),
            Err(StreamAppendError::HigherVote(Vote::new(9, 2))),
        ] {
            assert_eq!(read_appended(appended(&result)), Ok(result));
        }
    }

    #[test]
    fn calls_and_their_answers_come_back() {
        let mut vote = VoteRequest::new(Vote::new(3, 2), Some(at(2, 9)));
        let transfer = TransferLeaderRequest::new(Vote::new_committed(3, 1), 2, Some(at(3, 3)));
        let lost = Call::Lost { vote: Vote::new_committed(3, 1), index: 9 };
        let calls = [Call::Vote(vote.clone()), Call::Transfer(transfer), lost];
        vote.leadership_transfer = true;
        for call in calls.into_iter().chain([Call::PreVote(vote)]) {
            assert_eq!(Call::decode(call.encode()), Ok(call));
        }
        let response = VoteResponse::new(Vote::new(4, 1), Some(at(1, 1)), true);
        assert_eq!(read_voted(voted(&response)), Ok(response));
        assert_eq!(read_agreed(agreed(true)), Ok(true));
        let (expected, actual) = (Vote::new(4, 1), Vote::new_committed(5, 2));
        for response in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected, actual }),
            Err(TransferLeaderError::LogNotFlushed { expected: Some(at(1, 2)), actual: None }),
        ] {
            assert_eq!(read_transferred(transferred(&response)), Ok(response));
        }
    }

    #[test]
    fn a_member_that_has_stopped_is_not_a_malformed_one() {
        let why = NoAnswer::Failed("full disk".to_owned());
        assert_eq!(read_voted(failed("full disk")), Err(why.clone()));
        assert_eq!(read_appended(failed("full disk")), Err(why));
    }

    #[test]
    fn entries_with_a_gap_are_refused() {
        let mut gap = request();
        gap.entries.remove(0);
        assert!(read_append(append(&gap)).is_err());
    }

    #[test]
    fn every_mutation_of_a_byte_is_read_or_refused() {
        let frame = append(&request());
        for at in 0..frame.len() {
            for value in 0..=u8::MAX {
                let mut mutated = frame.to_vec();
                mutated[at] = value;
                let _either = read_append(Bytes::from(mutated));
            }
            assert!(read_append(frame.slice(..at)).is_err(), "the first {at} bytes");
        }
    }
}
