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
    refusals: Refusals,
}

impl Read {
    pub(super) fn new(token: Token, consistency: Consistency, query: Query) -> Self {
        Self { token, consistency, query, refusals: Refusals::default() }
    }

    /// Whether it sees all that its session wrote before, and can be asked a second time. What comes as a stream of its own is
    /// asked for once on a connection.
    fn is_behind_writes(&self) -> bool {
        self.consistency != Consistency::Stale
            && !matches!(self.query, Query::Scan { .. } | Query::Snapshot { .. })
    }
}

/// How often a read was refused, by how long that may go on: what is waited for in one case says nothing of another.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    no_leader: u32,
    compiling: u32,
    others: u32,
}

impl Refusals {
    /// Counts one more. Gives how often it was refused so before, and whether it is to be asked again.
    fn count(&mut self, code: ErrorCode) -> (u32, bool) {
        let (count, most) = match code {
            ErrorCode::NoLeader => (&mut self.no_leader, u32::MAX),
            ErrorCode::Compiling => (&mut self.compiling, COMPILING_REFUSALS_MAX),
            _ => (&mut self.others, REFUSALS_MAX),
        };
        let before = *count;
        *count = before.saturating_add(1);
        (before, *count < most)
    }
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
    delays: Backoff,
}

impl Reads {
    pub(super) fn new(seed: u64) -> Self {
        let delays = Backoff::new(RETRY_MS_FIRST, RETRY_MS_MAX, seed);
        Self { under_way: BTreeMap::new(), again: BTreeMap::new(), delays }
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

    /// A write is sent again whose newest copy went out with this request number. Reads that were sent behind it may be
    /// answered without it, so they are asked again, behind the next copy; their first answers count for nothing.
    pub(super) fn write_goes_back(&mut self, copy: u64) {
        for (request, read) in self.under_way.split_off(&copy) {
            if read.is_behind_writes() {
                self.again.insert(request, (0, read));
            } else {
                self.under_way.insert(request, read);
            }
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
            Ok(results) => return ReadEnd::Answered(read.token, Ok((zxid, results))),
            Err(refusal) => refusal,
        };
        let is_passing = matches!(refusal.code.advice(), Advice::Backoff | Advice::SameSession);
        let (refusals_before, is_asked_again) = read.refusals.count(refusal.code);
        match refusal.code {
            ErrorCode::NoSession | ErrorCode::SessionEnded => {
                self.again.insert(request, (0, read));
                ReadEnd::Ended(refusal)
            }
            ErrorCode::SessionMoved | ErrorCode::ShuttingDown => {
                self.again.insert(request, (0, read));
                ReadEnd::Leave
            }
            _ if is_passing && is_asked_again => {
                let at_ms = now_ms + self.delays.after_ms(refusals_before);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: Token, consistency: Consistency) -> Read {
        Read::new(token, consistency, Query::Stat("/".to_owned()))
    }

    /// A read that is alone among others which succeed.
    struct Alone {
        reads: Reads,
        request: u64,
        now_ms: u64,
    }

    impl Alone {
        fn new() -> Self {
            let mut reads = Reads::new(1);
            reads.send(0, read(1, Consistency::Session));
            Self { reads, request: 0, now_ms: 0 }
        }

        /// Whether it is asked again after this refusal.
        fn goes_on_after(&mut self, code: ErrorCode) -> bool {
            let refused = Err(Refusal::new(code, "not now"));
            let end = self.reads.handle(self.request, Zxid(0), refused, self.now_ms);
            if let ReadEnd::Answered(..) = end {
                return false;
            }
            self.reads.send(self.request + 1, read(2, Consistency::Session));
            let other = Ok(Results::Logs(Vec::new()));
            self.reads.handle(self.request + 1, Zxid(0), other, self.now_ms);
            self.request += 2;
            self.now_ms = self.reads.next_timer_ms().expect("it is sent again");
            self.reads.poll_again(self.request, self.now_ms).expect("it is due");
            true
        }

        /// Refusals for this reason after which it is answered with them.
        fn refusals(&mut self, code: ErrorCode) -> u32 {
            let mut refusals = 1;
            while self.goes_on_after(code) {
                refusals += 1;
            }
            refusals
        }
    }

    #[test]
    fn a_recipe_that_is_compiled_is_waited_for_longer_than_for_what_an_operator_must_end() {
        assert_eq!(Alone::new().refusals(ErrorCode::ReadOnly), 1);
        let mut overloaded = Alone::new();
        assert_eq!(overloaded.refusals(ErrorCode::Overloaded), REFUSALS_MAX);
        assert!(overloaded.now_ms > 800, "{} ms", overloaded.now_ms);
        let mut compiling = Alone::new();
        assert_eq!(compiling.refusals(ErrorCode::Compiling), COMPILING_REFUSALS_MAX);
        // Whatever other reads come to meanwhile.
        assert!(compiling.now_ms > 25_000, "{} ms", compiling.now_ms);
    }

    #[test]
    fn refusals_of_one_kind_do_not_count_for_another() {
        let mut alone = Alone::new();
        for _ in 0..2 * COMPILING_REFUSALS_MAX {
            assert!(alone.goes_on_after(ErrorCode::NoLeader));
        }
        for _ in 1..REFUSALS_MAX {
            assert!(alone.goes_on_after(ErrorCode::Overloaded));
            assert!(alone.goes_on_after(ErrorCode::Compiling));
        }
        assert!(alone.goes_on_after(ErrorCode::NoLeader));
        assert!(!alone.goes_on_after(ErrorCode::Overloaded));
    }

    #[test]
    fn a_read_behind_a_write_that_goes_back_is_asked_again_unless_it_promises_nothing() {
        let mut reads = Reads::new(1);
        let scan = Query::Scan { bulk: 1, path: "/".to_owned(), after: None, with_data: true };
        reads.send(3, read(1, Consistency::Session));
        reads.send(5, read(2, Consistency::Session));
        reads.send(6, read(3, Consistency::Stale));
        reads.send(7, Read::new(4, Consistency::Linearizable, scan));
        reads.write_goes_back(4);
        let found = || Ok(Results::Logs(Vec::new()));
        let is_answered = |reads: &mut Reads, request| {
            matches!(reads.handle(request, Zxid(1), found(), 0), ReadEnd::Answered(..))
        };
        assert_eq!(
            [3, 5, 6, 7].map(|request| is_answered(&mut reads, request)),
            [true, false, true, true]
        );
        let again = reads.poll_again(9, 0);
        assert!(matches!(again, Some(ClientMessage::Read { request: 9, .. })), "{again:?}");
        assert!(is_answered(&mut reads, 9));
    }
}
