//! What waits to be executed, in order, and which writes are among it. It decides nothing about them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::session::Opening;

use crate::port::{Submission, Token};

pub(super) enum Work {
    Submit(Submission),
    OpenSession { token: Token, opening: Opening },
}

/// Each copy of a write is answered to whoever sent it; what joins is answered with the copy that is executed last. An
/// earlier copy may be told of a gap that is none any more when the last one's turn comes.
#[derive(Default)]
pub(super) struct Queue {
    works: VecDeque<Work>,
    /// The writes among them.
    writes: BTreeMap<(SessionId, WriteNumber), Copies>,
}

/// The copies of one write that wait.
struct Copies {
    count: usize,
    /// Who is answered with the last one, and that one's hash.
    token: Token,
    hash: u128,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.works.clear();
        self.writes.clear();
    }

    pub(super) fn push_back(&mut self, work: Work) {
        if let Work::Submit(submission) = &work {
            let (token, hash) = (submission.token, submission.request.hash);
            let count = self.writes.get(&key(submission)).map_or(0, |copies| copies.count) + 1;
            self.writes.insert(key(submission), Copies { count, token, hash });
        }
        self.works.push_back(work);
    }

    /// Puts back what was popped.
    pub(super) fn push_front(&mut self, work: Work) {
        if let Work::Submit(submission) = &work {
            let (token, hash) = (submission.token, submission.request.hash);
            let none = Copies { count: 0, token, hash };
            self.writes.entry(key(submission)).or_insert(none).count += 1;
        }
        self.works.push_front(work);
    }

    pub(super) fn pop_front(&mut self) -> Option<Work> {
        let mut work = self.works.pop_front()?;
        if let Work::Submit(submission) = &mut work
            && let Entry::Occupied(mut copies) = self.writes.entry(key(submission))
        {
            copies.get_mut().count -= 1;
            if copies.get().count == 0 {
                submission.token = copies.remove().token;
            }
        }
        Some(work)
    }

    /// Has this answered with the last copy that waits, if that is the same request. Whether it is.
    pub(super) fn join(&mut self, submission: &Submission) -> bool {
        match self.writes.get_mut(&key(submission)) {
            Some(copies) if copies.hash == submission.request.hash => {
                copies.token = submission.token;
                true
            }
            _ => false,
        }
    }
}

fn key(submission: &Submission) -> (SessionId, WriteNumber) {
    (submission.request.session, submission.request.write)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use quorate_core::request::{Body, Request};
    use quorate_core::session::Acks;

    use super::*;

    fn copy(number: u64) -> Submission {
        let token = Token::local(number);
        let (session, write, acks) = (SessionId(1), WriteNumber(1), Acks::default());
        let request =
            Request { session, write, hash: 5, acks, body: Body::CloseSession, address: None };
        Submission { token, request: Arc::new(request) }
    }

    fn popped(queue: &mut Queue) -> u64 {
        match queue.pop_front().unwrap() {
            Work::Submit(submission) => submission.token.number,
            Work::OpenSession { token, .. } => token.number,
        }
    }

    #[test]
    fn a_write_is_joined_for_as_long_as_one_of_its_copies_waits() {
        let mut queue = Queue::default();
        assert!(!queue.join(&copy(1)));
        queue.push_back(Work::Submit(copy(1)));
        queue.push_back(Work::Submit(copy(2)));
        assert_eq!(popped(&mut queue), 1);
        assert!(queue.join(&copy(3)));
        assert_eq!(popped(&mut queue), 3);
        assert!(!queue.join(&copy(4)));
    }

    #[test]
    fn a_copy_that_is_put_back_takes_nothing_from_the_ones_behind_it() {
        let mut queue = Queue::default();
        queue.push_back(Work::Submit(copy(1)));
        queue.push_back(Work::Submit(copy(2)));
        let first = queue.pop_front().unwrap();
        queue.push_front(first);
        assert_eq!([popped(&mut queue), popped(&mut queue)], [1, 2]);
    }
}
