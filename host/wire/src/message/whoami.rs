//! Who a client is, as its session and its connection say. It does not know how that was proved.

use std::net::IpAddr;

use quorate_core::access::Held;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::ids::Millis;
use quorate_core::limits;

use crate::link::{read_address, write_address};

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whoami {
    /// The session's name for people and recipes; empty for an anonymous one.
    pub principal: String,
    /// What the session is known as, ascending; those that have expired may be among it.
    pub identities: Vec<Held>,
    /// From where the client is connected, as the member sees it.
    pub address: Option<IpAddr>,
    /// The time by which identities expire: that of the last transaction that the member has applied.
    pub time: Millis,
}

impl Whoami {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.text(&self.principal);
        Held::write_all(&self.identities, writer);
        write_address(writer, self.address);
        writer.u64(self.time.0);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "who a client is";
        let principal = reader.text(WHAT)?;
        if principal.len() > limits::PRINCIPAL_BYTES_MAX {
            return Err(malformed(WHAT));
        }
        Ok(Self {
            principal,
            identities: Held::read_all(reader)?,
            address: read_address(reader)?,
            time: Millis(reader.u64(WHAT)?),
        })
    }
}
