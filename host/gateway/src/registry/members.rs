//! Where clients are told to find the service: in their welcome, and again whenever that changes. It does not know who is a
//! member.

use std::sync::atomic::Ordering;

use quorate_wire::message::{ServerMessage, Welcome};

use super::{Attachment, Registry, lock, read_all};

impl Registry {
    /// The service is reached at these addresses from now on: every lane that has had its welcome is told, if they are others.
    pub fn set_members(&self, addresses: Vec<String>) {
        let mut members = lock(&self.members);
        if *members == addresses {
            return;
        }
        let message = ServerMessage::Members(addresses.clone());
        *members = addresses;
        for attachment in read_all(&self.sessions) {
            if attachment.is_welcomed.load(Ordering::Acquire) {
                attachment.send(&message);
            }
        }
    }

    /// Says the first word on a lane, with the addresses as they are. Those who change them wait: no lane misses a change, or
    /// hears of it first.
    pub fn welcome(&self, attachment: &Attachment, mut welcome: Welcome) {
        let members = lock(&self.members);
        welcome.members.clone_from(&members);
        attachment.send(&ServerMessage::Welcome(welcome));
        attachment.is_welcomed.store(true, Ordering::Release);
    }
}
