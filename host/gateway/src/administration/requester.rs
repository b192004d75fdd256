//! Who gives a command to the cluster, and whether they may: asked of the leader's tree, wherever the command was given.

use std::net::IpAddr;

use quorate_core::access::check::require_on_cluster;
use quorate_core::access::{Asker, Identity, Permissions};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::limits;
use quorate_wire::message::admin::{Command, Outcome};

use super::{Administration, no_leader};
use crate::authentication::Caller;
use crate::reads::wall_clock;

/// A client that gives commands: what its connection is known as, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// What it is known as.
    pub identities: Vec<Identity>,
    /// From where it asks.
    pub address: Option<IpAddr>,
}

impl From<&Caller> for Requester {
    fn from(caller: &Caller) -> Self {
        let Caller { identities, remote } = caller.clone();
        Self { identities, address: remote.map(|remote| remote.ip()) }
    }
}

/// Writes who asks, or that it is the member itself.
pub(super) fn write(writer: &mut Writer, asked_by: Option<&Requester>) {
    writer.option(asked_by, |writer, asked_by| {
        writer.u64(asked_by.identities.len() as u64);
        asked_by.identities.iter().for_each(|identity| identity.write(writer));
        writer.option(asked_by.address, |writer, address| writer.text(&address.to_string()));
    });
}

/// Reads what [`write`] wrote.
pub(super) fn read(reader: &mut Reader) -> Result<Option<Requester>, Malformed> {
    const WHAT: &str = "who gives a command";
    reader.option(WHAT, |reader| {
        let count = reader.count(WHAT, limits::IDENTITIES_PER_SESSION_MAX)?;
        let identities: Result<_, _> = (0..count).map(|_| Identity::read(reader)).collect();
        let address = reader.option(WHAT, |reader| reader.text(WHAT))?;
        let address = address.map(|text| text.parse().map_err(|_| malformed(WHAT))).transpose()?;
        Ok(Requester { identities: identities?, address })
    })
}

impl Administration {
    /// Changes the members for a client, who must be permitted to operate the cluster, or for a member, which tells its own
    /// addresses; this member leads.
    pub(super) async fn change_for(
        &self,
        command: Command,
        asked_by: Option<&Requester>,
    ) -> Result<Outcome, Refusal> {
        match (asked_by, &command) {
            (None, _) => {}
            (Some(_), Command::Update { .. }) => {
                let message = "a member tells its addresses itself";
                return Err(Refusal::new(ErrorCode::NoAccess, message));
            }
            (Some(asked_by), _) => {
                // A revocation that was acknowledged must have been applied here.
                let applied = self.node.linearizable_barrier().await;
                applied.map_err(|error| no_leader(&error.to_string()))?;
                let now = wall_clock().max(self.tree.meta().time);
                let Requester { identities, address } = asked_by.clone();
                let asker = Asker::of_connection(identities, address, now);
                require_on_cluster(&*self.tree, &asker, Permissions::OPERATE)?;
            }
        }
        self.change(command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_comes_back() {
        let identities = ["x509:CN=a", "token:b"].map(|text| Identity::parse(text).unwrap());
        let address = "10.0.0.1".parse().ok();
        let client = Requester { identities: identities.into(), address };
        for asked_by in [None, Some(client)] {
            let mut writer = Writer::new();
            write(&mut writer, asked_by.as_ref());
            assert_eq!(read(&mut Reader::new(writer.finish())), Ok(asked_by));
        }
    }
}
