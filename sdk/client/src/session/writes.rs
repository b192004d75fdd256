//! The numbered writes of a session: which number each has, what is sent again, and what an answer settles. It knows neither
//! heartbeats nor reads, and no socket.
//!
//! # Why every write is executed exactly once, and in order
//!
//! The server executes write n only after n - 1, keeps its reply with a hash of its body until that is acknowledged, answers a
//! resend with that reply, and refuses another body under a used number (`resend-differs`). So what has been executed is a
//! prefix of the numbers, and *a number can be sent any number of times, by any way, as long as it stays with its body*.
//!
//! 1. A write gets its number when it is sent for the first time, the next free one, and keeps it for ever. Nothing is ever
//!    renumbered: old copies may still be on their way through a member that this client has left long ago, and a body under
//!    two numbers could be executed twice.
//! 2. A write leaves this table only with its reply. So after a reconnect all that are left are sent again, from the lowest on,
//!    before anything new; those that were executed get their kept replies, since only what was answered is acknowledged.
//! 3. "Not executed" is a statement about one copy, and other copies may be on their way, so nothing is concluded from it but
//!    that something must be sent again: everything from that write on, in order, because the server has refused, or will,
//!    whatever came behind the gap. Only the newest copy's answer counts: what follows an older one has been sent again already.
//! 4. A write that would be refused whenever it is sent (malformed, over a limit) must not keep its number, or nothing behind it
//!    could ever be executed; and the writes behind it have theirs already. So its number is *filled*: a request that does
//!    nothing (the cancellation of a write that can not exist) is sent in its place. The refused body may still be on its way by another member with
//!    other limits, so the two compete for the number, and the server's hash decides. The filler is answered: the body was
//!    not executed and never will be, the caller gets the refusal. The filler is refused with `resend-differs`: the body was
//!    executed, and is sent again for its reply. The caller is answered only then.
//! 5. A session that was taken over from another process has a next number that nobody here knows: the member's last number
//!    is only a lower bound. So before the first write, fillers probe upwards from there until one is answered. The write that
//!    they cancel is chosen at random: the other process may have sent fillers too, and theirs must not be taken for ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::error::{Advice, ErrorCode, Outcome as Certainty, Refusal};
use quorate_core::ids::{WriteNumber, Zxid};
use quorate_core::request::Body;
use quorate_wire::message::{ClientMessage, body};

use super::answered::Answered;
use super::backoff::Backoff;
use super::{Loss, Token};
use crate::limits::{REFUSALS_MAX, RETRY_MS_FIRST, RETRY_MS_MAX};

/// Numbers from here on no session comes to.
const NO_WRITE: u64 = 1 << 63;

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A caller's request, or a cancellation.
    Request,
    /// It ends the session.
    Close,
    /// It finds the next number of a session that was taken over.
    Probe,
}

#[derive(Debug)]
struct Write {
    token: Option<Token>,
    purpose: Purpose,
    body: Bytes,
    /// Its number is being filled: what its caller will hear (rule 4).
    refused: Option<Refusal>,
    /// Request number of the newest copy on this connection; none before it.
    newest: Option<u64>,
    /// Whether its body, and its filler, have been sent before: then an answer may come from a kept reply.
    was_sent: [bool; 2],
    /// Refusals in sequence.
    refusals: u32,
    is_cancelled: bool,
    /// The server has said that this body was executed under this number.
    is_executed: bool,
}

/// A copy of a write on this connection that has not been answered.
#[derive(Debug, Clone, Copy)]
struct Copied {
    number: u64,
    is_filler: bool,
    /// When it was sent, if it was the first copy ever: then its execution proves that the leader has heard it.
    first_sent_ms: Option<u64>,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) number: u64,
    pub(super) token: Option<Token>,
    pub(super) purpose: Purpose,
    /// Transaction and encoded reply; a refusal is final, and nothing was executed.
    pub(super) result: Result<(Zxid, Bytes), Refusal>,
    /// When something was sent that the leader has heard since.
    pub(super) heard_ms: Option<u64>,
}

/// What "not executed" comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is dealt with here.
    GoOn,
    /// This member is of no more use.
    Leave,
    /// The session is over. Writes from this number on were certainly not executed.
    Lost(Loss, Option<u64>),
}

#[derive(Debug)]
pub(super) struct Writes {
    next: u64,
    unanswered: BTreeMap<u64, Write>,
    /// Everything unanswered below it has been sent on this connection, and is not to be sent again.
    cursor: u64,
    /// A reply has come for this number: all up to it have been executed.
    executed: u64,
    copies: BTreeMap<u64, Copied>,
    answered: Answered,
    backoff: Backoff,
    hold_until_ms: u64,
    /// A request that does nothing wherever it is executed, and that nobody else sends.
    filler: Bytes,
}

impl Writes {
    /// Of a session whose writes up to `last` are none of ours. `seed`: random, see rule 5.
    pub(super) fn after(last: WriteNumber, seed: u64) -> Self {
        let next = last.next().0;
        Self {
            next,
            unanswered: BTreeMap::new(),
            cursor: next,
            executed: last.0,
            copies: BTreeMap::new(),
            answered: Answered::up_to(last.0),
            backoff: Backoff::new(RETRY_MS_FIRST, RETRY_MS_MAX, seed),
            hold_until_ms: 0,
            filler: body::encode(&Body::Cancel(WriteNumber(seed | NO_WRITE))),
        }
    }

    /// Gives a write the next number. To be followed by [`Writes::poll`], which sends it: until then it is not known to anybody.
    pub(super) fn number(&mut self, token: Option<Token>, purpose: Purpose, body: Bytes) {
        let write = Write {
            token,
            purpose,
            body,
            refused: None,
            newest: None,
            was_sent: [false; 2],
            refusals: 0,
            is_cancelled: false,
            is_executed: false,
        };
        self.unanswered.insert(self.next, write);
        self.next += 1;
    }

    /// Sends a probe for the next free number (rule 5).
    pub(super) fn probe(&mut self) {
        self.number(None, Purpose::Probe, self.filler.clone());
    }

    /// The highest number that was ever sent. Those of an earlier process, of a session that was taken over, are not known.
    pub(super) fn last_sent(&self) -> WriteNumber {
        WriteNumber(self.next - 1)
    }

    /// Whether something is to be sent (again) before anything new may be.
    pub(super) fn is_behind(&self) -> bool {
        self.unanswered.range(self.cursor..).next().is_some()
            || self.unanswered.values().next().is_some_and(|write| write.purpose == Purpose::Probe)
    }

    /// Whether the end of the session was asked for, and is not answered.
    pub(super) fn is_closing(&self) -> bool {
        self.unanswered.values().any(|write| write.purpose == Purpose::Close)
    }

    /// Whether one was sent on this connection and is not answered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.copies.is_empty()
    }

    /// The number of a caller's write whose fate is open, for a cancellation: once, and not while its number is filled.
    pub(super) fn cancel(&mut self, token: Token) -> Option<WriteNumber> {
        let mut writes = self.unanswered.iter_mut();
        let (number, write) = writes.find(|(_, write)| write.token == Some(token))?;
        if write.is_cancelled || write.refused.is_some() {
            return None;
        }
        write.is_cancelled = true;
        Some(WriteNumber(*number))
    }

    /// A lane is attached: everything unanswered is sent again, from the lowest on (rule 2).
    pub(super) fn attached(&mut self) {
        self.cursor = 0;
        self.copies.clear();
        self.hold_until_ms = 0;
        self.backoff.reset();
        for write in self.unanswered.values_mut() {
            write.newest = None;
        }
    }

    /// When the next write may be sent, if one waits for its delay.
    pub(super) fn hold_until_ms(&self) -> Option<u64> {
        self.unanswered.range(self.cursor..).next().map(|_| self.hold_until_ms)
    }

    /// The next write to send, under this request number.
    pub(super) fn poll(&mut self, request: u64, now_ms: u64) -> Option<ClientMessage> {
        let (&number, write) = self.unanswered.range_mut(self.cursor..).next()?;
        if now_ms < self.hold_until_ms {
            return None;
        }
        let is_filler = write.refused.is_some();
        let was_sent = std::mem::replace(&mut write.was_sent[usize::from(is_filler)], true);
        let copied = Copied { number, is_filler, first_sent_ms: (!was_sent).then_some(now_ms) };
        write.newest = Some(request);
        self.copies.insert(request, copied);
        self.cursor = number + 1;
        let body = if is_filler { self.filler.clone() } else { write.body.clone() };
        let write = WriteNumber(number);
        Some(ClientMessage::Write { request, write, acks: self.answered.acks(), body })
    }

    /// A reply has come.
    pub(super) fn handle_reply(
        &mut self,
        request: u64,
        zxid: Zxid,
        reply: Bytes,
    ) -> Option<Settled> {
        let copied = self.copies.remove(&request)?;
        // Another copy of the same write may have been answered before.
        let write = self.unanswered.remove(&copied.number)?;
        self.executed = self.executed.max(copied.number);
        self.answered.add(copied.number);
        self.copies.retain(|_, other| other.number != copied.number);
        self.backoff.reset();
        let result = match (write.refused, copied.is_filler) {
            (Some(refusal), true) => Err(refusal),
            _ => Ok((zxid, reply)),
        };
        let Write { token, purpose, .. } = write;
        let Copied { number, first_sent_ms, .. } = copied;
        Some(Settled { number, token, purpose, result, heard_ms: first_sent_ms })
    }

    /// A copy was not executed.
    pub(super) fn handle_not_executed(
        &mut self,
        request: u64,
        refusal: Refusal,
        now_ms: u64,
    ) -> Verdict {
        let Some(Copied { number, is_filler, .. }) = self.copies.remove(&request) else {
            return Verdict::GoOn;
        };
        let Some(write) = self.unanswered.get_mut(&number) else { return Verdict::GoOn };
        if write.newest != Some(request) {
            return Verdict::GoOn;
        }
        let is_probe = write.purpose == Purpose::Probe;
        match refusal.code {
            ErrorCode::NoSession => return Verdict::Lost(Loss::Ended(refusal), None),
            ErrorCode::SessionEnded => return Verdict::Lost(Loss::Ended(refusal), Some(number)),
            ErrorCode::SessionMoved | ErrorCode::ShuttingDown => return Verdict::Leave,
            ErrorCode::ResendDiffers | ErrorCode::AlreadyAcknowledged if is_probe => {
                self.unanswered.remove(&number);
                self.answered.add(number);
                self.probe();
            }
            // Of another copy of the filler, in the second case: what was executed is known already.
            ErrorCode::ResendDiffers if is_filler || write.is_executed => {
                write.refused = None;
                write.is_executed = true;
                self.go_back(number, now_ms);
            }
            ErrorCode::ResendDiffers | ErrorCode::AlreadyAcknowledged => {
                return Verdict::Lost(Loss::Contradiction(refusal), None);
            }
            ErrorCode::ResendFrom => self.resend_from(number, now_ms),
            _ if is_final(&refusal) && (is_filler || is_probe) => {
                return Verdict::Lost(Loss::Contradiction(refusal), None);
            }
            // Executed by way of a member that takes it: only such a one gives the reply.
            _ if is_final(&refusal) && write.is_executed => return Verdict::Leave,
            _ if is_final(&refusal) || write.gives_up(&refusal, is_filler) => {
                write.refused = Some(refusal);
                self.cursor = self.cursor.min(number);
            }
            code => {
                write.refusals += 1;
                let delay_ms = match code.advice() {
                    Advice::Backoff => self.backoff.next_ms(),
                    _ => self.backoff.next_after_first_ms(),
                };
                self.go_back(number, now_ms + delay_ms);
            }
        }
        Verdict::GoOn
    }

    /// Request number of the newest copy of the first write that is to be sent again, if it was sent on this connection. What
    /// was sent behind that copy may be answered without the write; behind older copies of later writes nothing waits any
    /// more, since nothing new is sent before all of them are.
    pub(super) fn goes_back(&self) -> Option<u64> {
        self.unanswered.range(self.cursor..).next().and_then(|(_, write)| write.newest)
    }

    /// All that is left, when the session is over: token, and the number.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Option<Token>, u64)> {
        self.copies.clear();
        let left = std::mem::take(&mut self.unanswered);
        left.into_iter().map(|(number, write)| (write.token, number))
    }

    /// A gap lies before this number. It starts behind what is known to have been executed; what is older and unanswered is
    /// parked, or its reply is on the way.
    fn resend_from(&mut self, refused: u64, now_ms: u64) {
        let unknown = self.unanswered.range(self.executed + 1..).next();
        let from = unknown.map_or(refused, |(number, _)| (*number).min(refused));
        if from < self.cursor {
            let delay_ms = self.backoff.next_after_first_ms();
            self.go_back(from, now_ms + delay_ms);
        }
    }

    fn go_back(&mut self, number: u64, not_before_ms: u64) {
        self.cursor = self.cursor.min(number);
        self.hold_until_ms = self.hold_until_ms.max(not_before_ms);
    }
}

/// Whether a refusal is the last word about a write.
fn is_final(refusal: &Refusal) -> bool {
    refusal.code.outcome() == Certainty::NotApplied && refusal.code.advice() == Advice::Never
}

impl Write {
    /// Whether its caller has waited long enough. A full disk or a recipe out of order need a person; a missing leader comes
    /// back by itself. What stands behind it (deletions, say) goes on then.
    fn gives_up(&self, refusal: &Refusal, is_filler: bool) -> bool {
        self.purpose == Purpose::Request
            && !is_filler
            && !self.is_executed
            && refusal.code.outcome() == Certainty::NotApplied
            && refusal.code.advice() == Advice::Backoff
            && !matches!(refusal.code, ErrorCode::NoLeader | ErrorCode::Overloaded)
            && self.refusals + 1 >= REFUSALS_MAX
    }
}
