//! What waits to be executed, in order, and which writes are among it. It decides nothing about them.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::ids::{SessionId, WriteNumber};

use crate::port::{Submission, Token};

pub(super) enum Work {
    Submit(Submission),
    OpenSession { token: Token, timeout_ms: u64, secret_hash: [u8; 32], principal: String },
}

/// Whoever sent a write last is answered, from whichever of its copies is executed first.
#[derive(Default)]
pub(super) struct Queue {
    works: VecDeque<Work>,
    /// The writes among them: who sent them last, and the request's hash.
    writes: BTreeMap<(SessionId, WriteNumber), (Token, u128)>,
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
        self.note(&work);
        self.works.push_back(work);
    }

    /// Puts back what was popped.
    pub(super) fn push_front(&mut self, work: Work) {
        self.note(&work);
        self.works.push_front(work);
    }

    pub(super) fn pop_front(&mut self) -> Option<Work> {
        let mut work = self.works.pop_front()?;
        if let Work::Submit(submission) = &mut work
            && let Some((token, _)) = self.writes.remove(&key(submission))
        {
            submission.token = token;
        }
        Some(work)
    }

    /// Makes this the copy that is answered, if the same request waits already. Whether it does.
    pub(super) fn join(&mut self, submission: &Submission) -> bool {
        match self.writes.get_mut(&key(submission)) {
            Some((token, hash)) if *hash == submission.request.hash => {
                *token = submission.token;
                true
            }
            _ => false,
        }
    }

    fn note(&mut self, work: &Work) {
        if let Work::Submit(submission) = work {
            self.writes.insert(key(submission), (submission.token, submission.request.hash));
        }
    }
}

fn key(submission: &Submission) -> (SessionId, WriteNumber) {
    (submission.request.session, submission.request.write)
}
