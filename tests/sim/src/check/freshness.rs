//! What a member shows a session is never older than what that session was told (DESIGN D12, reads of the session): no reply
//! overtakes the apply of the member that passes it on.

use std::collections::BTreeMap;

use quorate_core::ids::{SessionId, Zxid};

use super::Invariant;
use super::event::Event;

/// What each session was told.
#[derive(Default)]
pub struct Freshness {
    told: BTreeMap<SessionId, Zxid>,
    asked: BTreeMap<u64, (SessionId, Zxid)>,
}

impl Invariant for Freshness {
    fn name(&self) -> &'static str {
        "freshness"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Replied { session, zxid, .. } => {
                let told = self.told.entry(*session).or_default();
                *told = (*told).max(*zxid);
                Ok(())
            }
            Event::Asked { session, read } => {
                let told = self.told.get(session).copied().unwrap_or_default();
                self.asked.insert(*read, (*session, told));
                Ok(())
            }
            Event::Shown { read, zxid } => match self.asked.remove(read) {
                Some((session, told)) if *zxid < told => {
                    Err(format!("session {session} was told of {told}, and then is shown {zxid}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::ids::WriteNumber;

    use super::*;

    #[test]
    fn an_older_tree_after_a_reply_is_seen() {
        let mut freshness = Freshness::default();
        let session = SessionId(1);
        let shown = |read, zxid| Event::Shown { read, zxid: Zxid(zxid) };
        freshness.see(&Event::Asked { session, read: 1 }, 0).expect("fine");
        let (write, zxid, reply) = (WriteNumber(1), Zxid(7), Bytes::new());
        freshness.see(&Event::Replied { session, write, zxid, reply }, 0).expect("fine");
        assert_eq!(freshness.see(&shown(1, 6), 0), Ok(()), "asked before");
        freshness.see(&Event::Asked { session, read: 2 }, 0).expect("fine");
        freshness.see(&Event::Asked { session, read: 3 }, 0).expect("fine");
        assert_eq!(freshness.see(&shown(2, 7), 0), Ok(()));
        assert!(freshness.see(&shown(3, 6), 0).is_err());
    }
}
