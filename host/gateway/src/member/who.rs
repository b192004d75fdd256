//! Who this member is: its number, its names and addresses, and whether its data directory may be used. It does not know
//! what is made of them.

use std::net::{IpAddr, SocketAddr};

use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_net::{IdentityError, TrustAnchors};
use quorate_raft::contact::CLIENT_ADDRESSES_MAX;
use quorate_raft::{Members, Store};
use quorate_store::{DataDirectory, Tree, TreeOptions};
use quorate_wire::message::MEMBERS_MAX;

use super::{Auth, Options, StartError};
use crate::mesh::{Mesh, Own};

/// What a new data directory says of whose it is.
pub(super) fn identity(member: u64) -> Vec<u8> {
    format!("member {member}").into_bytes()
}

/// Whose directory it is, if it is that of the member that is meant.
pub(super) fn number(
    directory: &DataDirectory,
    configured: Option<u64>,
) -> Result<u64, StartError> {
    let text = String::from_utf8_lossy(directory.identity()).into_owned();
    let found = text.strip_prefix("member ").and_then(|number| number.parse().ok());
    match (found, configured) {
        (Some(found), None) => Ok(found),
        (Some(found), Some(configured)) if found == configured => Ok(found),
        (found, configured) => Err(StartError::OtherMember {
            found: found.map_or(text, |number: u64| number.to_string()),
            configured: configured.unwrap_or(1),
        }),
    }
}

/// Who vouches for clients, where it is somebody else than for members.
pub(super) fn clients_of(auth: &Auth) -> Result<Option<TrustAnchors>, IdentityError> {
    auth.authority.as_deref().map(TrustAnchors::load).transpose()
}

/// Opens the tree, if this build understands all that may be in it.
pub(super) fn open_tree(directory: &DataDirectory, options: &Options) -> Result<Tree, StartError> {
    let tree_options = TreeOptions { cache_bytes: options.cache_bytes };
    let tree = Tree::open(&directory.tree_path(), &tree_options)?;
    let (found, known) = (level_of_tree(&tree), options.level);
    if found > known {
        return Err(StartError::Level(quorate_raft::LevelTooHigh { found, known }));
    }
    Ok(tree)
}

pub(super) fn level_of_tree(tree: &Tree) -> Level {
    quorate_raft::level::of_tree(tree, NamespaceId::DEFAULT)
}

/// An empty log and tree must be those of a member that has not taken part yet.
pub(super) fn check_not_forgotten(store: &Store, mesh: &Mesh) -> Result<(), StartError> {
    let has_something =
        store.has_taken_part(NamespaceId::DEFAULT).map_err(StartError::Unreadable)?;
    if has_something {
        // Of a restored directory the first vote was written by the restoration; and a process may have ended behind its first.
        return mesh.note().take_part().map_err(StartError::Unreadable);
    }
    if mesh.note().has_taken_part() {
        return Err(StartError::Forgotten { member: mesh.own().member });
    }
    Ok(())
}

/// Names for the certificate: those asked for, and the one by which members know this one.
pub(super) fn names(options: &Options) -> Vec<String> {
    let mut names = options.names.clone();
    let host = options.address.as_deref().and_then(|address| address.rsplit_once(':'));
    if let Some((host, _)) = host {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !names.contains(&host) {
            names.push(host);
        }
    }
    names
}

/// How members and clients reach this one.
pub(super) fn own(member: u64, options: &Options, listens: SocketAddr) -> Result<Own, StartError> {
    let is_everywhere = |ip: IpAddr| ip.is_unspecified();
    let address = match &options.address {
        Some(address) => {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            match port {
                None => return Err(StartError::Address(format!("{address:?}, which has no port"))),
                Some(_) => address.clone(),
            }
        }
        None if is_everywhere(listens.ip()) && options.member.is_some() => {
            return Err(StartError::Address(listens.to_string()));
        }
        None => listens.to_string(),
    };
    let clients = match &*options.advertise {
        [] => vec![options.address.clone().unwrap_or_else(|| listens.to_string())],
        some => some.to_vec(),
    };
    if clients.len() > CLIENT_ADDRESSES_MAX {
        return Err(StartError::TooManyAddresses(clients.len()));
    }
    Ok(Own { member, address, clients, agent: agent(), level: options.level })
}

/// Where clients reach the service: at this member first, then at the others.
pub(super) fn client_addresses(own: &Own, members: Members) -> Vec<String> {
    let others = members.contacts.into_iter().filter(|(member, _)| *member != own.member);
    let mut addresses = own.clients.clone();
    addresses.extend(others.flat_map(|(_, contact)| contact.clients));
    addresses.truncate(MEMBERS_MAX);
    addresses
}

/// Name and version of this server.
#[must_use]
pub fn agent() -> String {
    format!("quorate/{}", env!("CARGO_PKG_VERSION"))
}
