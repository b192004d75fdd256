//! Reads under way: sent again after a reconnect or a passing refusal. They change nothing, so there is nothing to prove. It
//! knows no writes and no socket.

use std::collections::BTreeMap;

use quorate_core::error::{Advice, ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_wire::message::{ClientMessage, Consistency, Query, Results};

use super::Token;
use super::backoff::Backoff;
use crate::limits::{COMPILING_REFUSALS_MAX, REFUSALS_MAX, RETRY_MS_FIRST, RETRY_MS_MAX};

/// A read that has not been answered.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) token: Token,
    pub(super) consistency: Consistency,
    pub(super) query: Query,
    pub(super) refusals: u32,
}

/// What became of a read.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// It will be sent again, or was answered before.
    GoOn,
    /// This member is of no more use.
    Leave,
    /// The session is over.
    Ended(Refusal),
    /// Its answer.
    Answered(Token, Result<(Zxid, Results), Refusal>),
}

#[derive(Debug)]
pub(super) struct Reads {
    under_way: BTreeMap<u64, Read>,
    /// To be sent (again), and not before when; in the order of their requests.
    again: BTreeMap<u64, (u64, Read)>,
    backoff: Backoff,
}

impl Reads {
    pub(super) fn new(seed: u64) -> Self {
        let backoff = Backoff::new(RETRY_MS_FIRST, RETRY_MS_MAX, seed);
        Self { under_way: BTreeMap::new(), again: BTreeMap::new(), backoff }
    }

    /// Sends a read under this request number.
    pub(super) fn send(&mut self, request: u64, read: Read) -> ClientMessage {
        let Read { consistency, query, .. } = read.clone();
        self.under_way.insert(request, read);
        ClientMessage::Read { request, consistency, query }
    }

    /// Sends a read before anything else. The number only gives it its place among those that are sent again.
    pub(super) fn send_next(&mut self, number: u64, read: Read) {
        self.again.insert(number, (0, read));
    }

    /// The next read that is to be sent (again).
    pub(super) fn poll_again(&mut self, request: u64, now_ms: u64) -> Option<ClientMessage> {
        let due =
            self.again.iter().find(|(_, (at_ms, _))| *at_ms <= now_ms).map(|(key, _)| *key)?;
        let (_, read) = self.again.remove(&due)?;
        Some(self.send(request, read))
    }

    /// Whether one is under way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn next_timer_ms(&self) -> Option<u64> {
        self.again.values().map(|(at_ms, _)| *at_ms).min()
    }

    /// The connection is gone: all that is under way is sent again on the next one.
    pub(super) fn detached(&mut self) {
        for (request, read) in std::mem::take(&mut self.under_way) {
            self.again.insert(request, (0, read));
        }
    }

    pub(super) fn handle(
        &mut self,
        request: u64,
        zxid: Zxid,
        results: Result<Results, Refusal>,
        now_ms: u64,
    ) -> ReadEnd {
        let Some(mut read) = self.under_way.remove(&request) else { return ReadEnd::GoOn };
        let refusal = match results {
            Ok(results) => {
                self.backoff.reset();
                return ReadEnd::Answered(read.token, Ok((zxid, results)));
            }
            Err(refusal) => refusal,
        };
        let is_passing = matches!(refusal.code.advice(), Advice::Backoff | Advice::SameSession);
        read.refusals = read.refusals.saturating_add(1);
        match refusal.code {
            ErrorCode::NoSession | ErrorCode::SessionEnded => {
                self.again.insert(request, (0, read));
                ReadEnd::Ended(refusal)
            }
            ErrorCode::SessionMoved | ErrorCode::ShuttingDown => {
                self.again.insert(request, (0, read));
                ReadEnd::Leave
            }
            code if is_passing && read.refusals < refusals_max(code) => {
                let at_ms = now_ms + self.backoff.next_ms();
                self.again.insert(request, (at_ms, read));
                ReadEnd::GoOn
            }
            _ => ReadEnd::Answered(read.token, Err(refusal)),
        }
    }

    /// All that is left, when the session is over.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Token> {
        let under_way = std::mem::take(&mut self.under_way).into_values();
        let again = std::mem::take(&mut self.again).into_values().map(|(_, read)| read);
        under_way.chain(again).map(|read| read.token)
    }
}

/// How often a read is sent again that is refused for this reason.
fn refusals_max(code: ErrorCode) -> u32 {
    match code {
        ErrorCode::NoLeader => u32::MAX,
        ErrorCode::Compiling => COMPILING_REFUSALS_MAX,
        _ => REFUSALS_MAX,
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::request::Call;

    use super::*;

    /// Refusals after which a read is answered with them.
    fn refusals(code: ErrorCode) -> u32 {
        let mut reads = Reads::new(1);
        let (recipe, function) = ("lock".to_owned(), "holder".to_owned());
        let call = Call { recipe, function, signature: 0, arguments: bytes::Bytes::new() };
        let consistency = Consistency::Session;
        let read = Read { token: 1, consistency, query: Query::Call(call), refusals: 0 };
        reads.send(0, read);
        for request in 0.. {
            let refused = Err(Refusal::new(code, "not now"));
            if let ReadEnd::Answered(..) = reads.handle(request, Zxid(0), refused, 0) {
                return u32::try_from(request).expect("few") + 1;
            }
            let due = reads.next_timer_ms().expect("it is sent again");
            reads.poll_again(request + 1, due).expect("it is due");
        }
        0
    }

    #[test]
    fn a_recipe_that_is_compiled_is_waited_for_longer_than_for_what_an_operator_must_end() {
        assert_eq!(refusals(ErrorCode::ReadOnly), 1);
        assert_eq!(refusals(ErrorCode::Overloaded), REFUSALS_MAX);
        assert_eq!(refusals(ErrorCode::Compiling), COMPILING_REFUSALS_MAX);
    }
}
