//! What a script acts on: leader and follower, the sessions in the order of their opening, the requests that were sent, the
//! toys. It executes and applies; words are not known here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use quorate_core::draft::{ReadRecords, View};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute::{self, Executed};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::recipe::Reason;
use quorate_core::request::{Body, Operation, Reply, Request};
use quorate_core::session::{self, Acks, Admission, Parked};
use quorate_core::transaction::Transaction;
use quorate_core::txn::Slot;

use super::show;
use crate::support::pair::Pair;
use crate::support::toys::Toys;

/// See above.
pub struct World {
    pub pair: Pair,
    pub sessions: Vec<SessionId>,
    pub requests: BTreeMap<(SessionId, WriteNumber), Request>,
    pub toys: Toys,
    /// From where the next write is asked.
    pub address: Option<IpAddr>,
}

impl World {
    /// Empty trees, no sessions.
    pub fn new() -> Self {
        Self {
            pair: Pair::new(),
            sessions: Vec::new(),
            requests: BTreeMap::new(),
            toys: Toys::default(),
            address: None,
        }
    }

    /// The id of the script's session 1, 2, ...
    pub fn session(&self, word: &str) -> Result<SessionId, String> {
        let number = word.parse::<usize>().map_err(|_| format!("no session: {word}"))?;
        let id = number.checked_sub(1).and_then(|index| self.sessions.get(index));
        // A session that nobody opened, for requests that name one.
        Ok(id.copied().unwrap_or(SessionId(1_000_000 + number as u64)))
    }

    /// How the script names a session.
    pub fn name(&self, id: SessionId) -> String {
        let at = self.sessions.iter().position(|known| *known == id);
        at.map_or_else(|| format!("?{id}"), |index| (index + 1).to_string())
    }

    /// The write that a session sends next.
    pub fn next_write(&self, id: SessionId) -> WriteNumber {
        self.pair.view.session(id).map_or(WriteNumber(1), |session| session.last_write.next())
    }

    /// Sends a write: admitted, executed if it is the next one, applied.
    pub fn send(
        &mut self,
        id: SessionId,
        write: WriteNumber,
        acks: Acks,
        body: Body,
    ) -> Vec<String> {
        let hash = xxhash_rust::xxh3::xxh3_128(format!("{body:?}").as_bytes());
        let request =
            Request { session: id, write, hash, acks, body, address: self.address.take() };
        match session::admit(&self.pair.view, id, write, hash, &request.acks) {
            Admission::Execute => {
                self.requests.insert((id, write), request.clone());
                let toys = &mut self.toys;
                let (transaction, waits) = self.pair.execute(|view, slot| {
                    let Executed { view, transaction, waits } =
                        execute::write(view, slot, &request, toys);
                    (view, transaction, waits)
                });
                self.told(transaction, waits)
            }
            Admission::Kept(kept) => {
                let reply = Reply::decode(kept.reply).expect("a kept reply decodes");
                vec![format!(
                    "kept, zxid {}: {}",
                    kept.zxid,
                    show::reply(&reply, &|id| self.name(id))
                )]
            }
            Admission::Parked(parked) => vec![format!("still parked{}", show::kept_state(&parked))],
            Admission::Refused(refusal) => vec![format!("not executed: {refusal}")],
        }
    }

    /// Runs a parked call again.
    pub fn rerun(&mut self, id: SessionId, write: WriteNumber, reason: Reason) -> Vec<String> {
        let Some(request) = self.requests.get(&(id, write)).cloned() else {
            return vec!["no such request".to_owned()];
        };
        let Body::Single(Operation::Call(call)) = request.body.clone() else {
            return vec!["no call".to_owned()];
        };
        // One that is over may be in somebody's queue of wakes still.
        let parked = self.pair.view.parked(id, write).unwrap_or_else(|| Parked {
            hash: request.hash,
            deadline: None,
            recipe: call.recipe.clone(),
            version: 1,
            state: Bytes::new(),
        });
        let toys = &mut self.toys;
        let (transaction, waits) = self.pair.execute(|view, slot| {
            let Executed { view, transaction, waits } =
                execute::rerun(view, slot, &request, &call, &parked, reason, toys);
            (view, transaction, waits)
        });
        self.told(transaction, waits)
    }

    /// Ends a parked call without a run.
    pub fn end_parked(
        &mut self,
        id: SessionId,
        write: WriteNumber,
        code: ErrorCode,
    ) -> Vec<String> {
        let Some(request) = self.requests.get(&(id, write)).cloned() else {
            return vec!["no such request".to_owned()];
        };
        let (transaction, waits) = self.pair.execute(|view, slot| {
            let refusal = Refusal::new(code, "the host ended it");
            let executed = execute::end_parked(view, slot, &request, refusal);
            (executed.view, executed.transaction, executed.waits)
        });
        self.told(transaction, waits)
    }

    /// The host's own transactions.
    pub fn host(
        &mut self,
        act: impl FnOnce(View, Slot) -> (View, Option<Transaction>),
    ) -> Vec<String> {
        let (transaction, ()) = self.pair.execute(|view, slot| {
            let (view, transaction) = act(view, slot);
            (view, transaction, ())
        });
        self.told(transaction, None)
    }

    fn told(
        &mut self,
        transaction: Option<Transaction>,
        waits: Option<execute::Waits>,
    ) -> Vec<String> {
        self.pair.apply_all();
        let mut lines = std::mem::take(&mut self.toys.runs);
        match transaction {
            Some(transaction) => {
                lines.extend(show::transaction(&transaction, &|id| self.name(id)));
            }
            None => lines.push("no transaction".to_owned()),
        }
        if let Some(waits) = waits {
            lines.push(format!("  waits for {}", show::interests(&waits.interests)));
        }
        lines
    }
}
