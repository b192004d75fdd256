//! The leader's ends of links: which members are linked, and what each is told. Owned by the thread that sequences;
//! `serve` runs beside it, one for each link, and brings what it receives through that thread's inbox. It does not know
//! what the sequencer makes of requests.

mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::ids::Zxid;
use quorate_wire::link::{Answer, Tag, ToMember};

use crate::limits;
use crate::link::Outbox;

pub use serve::serve;

/// What a link tells the thread that sequences, in this order: the first once, then the second, at last the third.
pub(crate) enum LinkEvent {
    /// It is there. An older link of the same member is over: nothing that comes from it later is handled.
    Attached { member: u64, outbox: Arc<Outbox<ToMember>> },
    /// It has brought something.
    Frame { message: quorate_wire::link::ToLeader, room: tokio::sync::OwnedSemaphorePermit },
    /// It has ended.
    Detached,
}

/// The links of other members to this one, whether it leads or not.
#[derive(Default)]
pub(crate) struct Links {
    /// By number: those numbered later came later.
    links: BTreeMap<u64, OneLink>,
}

struct OneLink {
    member: u64,
    outbox: Arc<Outbox<ToMember>>,
}

impl Links {
    /// A link is there, and learns which epoch is open.
    pub(crate) fn attach(
        &mut self,
        number: u64,
        member: u64,
        outbox: Arc<Outbox<ToMember>>,
        open: Option<Tag>,
    ) {
        let older = self.links.extract_if(.., |_, link| link.member == member);
        for (number, link) in older {
            tracing::debug!(member, number, "a newer link of the member replaces this one");
            link.outbox.close();
        }
        let link = OneLink { member, outbox };
        if let Some(tag) = open {
            link.tell(ToMember::Open(tag), 0);
        }
        self.links.insert(number, link);
    }

    /// A link has ended.
    pub(crate) fn detach(&mut self, number: u64) {
        if let Some(link) = self.links.remove(&number) {
            link.outbox.close();
        }
    }

    /// Whether this link is the current one of its member.
    pub(crate) fn is_attached(&self, number: u64) -> bool {
        self.links.contains_key(&number)
    }

    /// Whose link this is, if it is the current one of its member.
    pub(crate) fn member_of(&self, number: u64) -> Option<u64> {
        self.links.get(&number).map(|link| link.member)
    }

    /// An epoch is open: every member submits again.
    pub(crate) fn open(&self, tag: Tag) {
        for link in self.links.values() {
            link.tell(ToMember::Open(tag), 0);
        }
    }

    /// An epoch has ended.
    pub(crate) fn closed(&self, tag: Tag) {
        for link in self.links.values() {
            link.tell(ToMember::Closed(tag), 0);
        }
    }

    /// Answers a request that came over this link, if it is still there. A member that does not read its answers is cut
    /// off: it links again, and submits again what is unanswered.
    pub(crate) fn answer(&mut self, number: u64, zxid: Zxid, token: u64, answer: Answer) {
        let Some(link) = self.links.get(&number) else { return };
        let bytes = match &answer {
            Answer::Kept { reply, .. } => reply.len(),
            _ => 0,
        };
        link.tell(ToMember::Answer { zxid, token, answer }, bytes);
        let (_, waiting) = link.outbox.load();
        if waiting > limits::LINK_ANSWERS_BYTES_MAX {
            tracing::warn!(
                member = link.member,
                waiting,
                limit = limits::LINK_ANSWERS_BYTES_MAX,
                "a member does not read the answers to what it forwards: its link is cut"
            );
            self.detach(number);
        }
    }
}

impl OneLink {
    fn tell(&self, message: ToMember, bytes: usize) {
        self.outbox.push(bytes + limits::LINK_MESSAGE_BYTES, message);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in self.links.values() {
            link.outbox.close();
        }
    }
}
