//! Who a server is and whom a client trusts: certificates from files, made at the first start where
//! there are none. It does not know sockets or connections.
//!
//! A directory holds `ca.pem` (clients get this one), `ca-key.pem`, `server.pem` and
//! `server-key.pem`. The authority's key is needed only to renew the server's certificate and may
//! be kept elsewhere. Clients verify the server, and may have certificates of their own (`client_identity`).
//! Members verify each other: the certificate of each carries [`member_name`] of its number beside its host names,
//! and serves in both directions.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::{AUTHORITY_NAME, Authority, make_authority};
use crate::files::{
    Secrecy, certificates, make_directory, read_certificates, read_key, write_whole,
};
use crate::limits::CERTIFICATE_RENEW_AHEAD;
use crate::verify::{check_key, parse_name, verify, verify_as_client};

/// Names that every certificate made here is valid for, beside those asked for.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The DNS name by which a member's certificate says its number. It is never looked up.
#[must_use]
pub fn member_name(member: u64) -> String {
    format!("member-{member}.quorate.internal")
}

/// What is wrong with a certificate, a key or a file of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file could not be opened or read.
    #[error("{} can not be read: {cause}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file (or its directory) could not be written.
    #[error("{} can not be written: {cause}", file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file is not PEM, or holds nothing of the kind that belongs there.
    #[error("{} is not a usable PEM file: {cause}", file.display())]
    NotPem {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it. Never quotes it.
        cause: String,
    },
    /// The file is PEM, but the certificate or key in it can not be used.
    #[error("{} can not be used: {cause}", file.display())]
    Unusable {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The key is not the certificate's.
    #[error("{} is not the key of the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} has expired", file.display())]
    Expired {
        /// Which file.
        file: PathBuf,
    },
    /// The certificate's time has not come. Mostly a wrong clock.
    #[error("the certificate in {} is not valid yet: is this clock right?", file.display())]
    NotYetValid {
        /// Which file.
        file: PathBuf,
    },
    /// The authority given to clients did not sign the certificate.
    #[error("the certificate in {} is not signed by {}", file.display(), authority.display())]
    WrongAuthority {
        /// The certificate's file.
        file: PathBuf,
        /// The authority's file.
        authority: PathBuf,
    },
    /// The certificate does not hold for a name that the server is to be reached by.
    #[error("the certificate in {} is not valid for the name {name}", file.display())]
    WrongName {
        /// Which file.
        file: PathBuf,
        /// The missing name.
        name: String,
    },
    /// The certificate's extended key usage leaves one of the two ends out.
    #[error(
        "the certificate in {} does not serve both ends: a member is dialled (serverAuth) and dials \
         others (clientAuth)",
        file.display()
    )]
    WrongPurpose {
        /// The certificate's file.
        file: PathBuf,
    },
    /// Not a host name and not an IP address.
    #[error("{name:?} is neither a host name nor an IP address")]
    BadName {
        /// The name as given.
        name: String,
    },
    /// The files can not be used, and the authority's key, needed to make new ones, is missing.
    #[error("{found}; to have a new one made, put the authority's key at {}", key.display())]
    AuthorityKeyMissing {
        /// What is wrong with the present certificate.
        found: Box<IdentityError>,
        /// Where the key would be looked for.
        key: PathBuf,
    },
    /// A file that was to be made is there already, and left alone.
    #[error("{} is there already, and nothing was written", file.display())]
    Exists {
        /// Which file.
        file: PathBuf,
    },
    /// A key or certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    NotMade(String),
}

/// The certificate chain and key with which a server proves who it is.
#[derive(Debug)]
pub struct ServerIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for ServerIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The authorities whose servers a client accepts.
#[derive(Debug, Clone)]
pub struct TrustAnchors {
    pub(crate) roots: Arc<RootCertStore>,
}

/// Where the PEM files of a server are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Certificate of the authority, as given to clients.
    pub authority: PathBuf,
    /// The server's certificate, followed by those between it and the authority, if any.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Where the certificates of [`Identity::open_or_make`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityOrigin {
    /// They were there and are good.
    Found,
    /// There were none: authority and certificate are new, clients need the new `ca.pem`.
    Made,
    /// The authority was there; the server's certificate is new. Clients need nothing.
    Renewed,
}

/// A server's identity and what its clients need to trust it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// For [`crate::ServerConfig`].
    pub server: ServerIdentity,
    /// For clients in the same process.
    pub trust: TrustAnchors,
    /// Who vouches for clients, with certificates and tokens; none: `trust`. Not of the directory: set by whoever knows.
    pub clients: Option<TrustAnchors>,
    /// The file to give to other clients.
    pub authority_file: PathBuf,
    /// Whether something was made.
    pub origin: IdentityOrigin,
}

impl IdentityFiles {
    /// Those of a directory that a member keeps.
    fn of(directory: &Path) -> Self {
        Self {
            authority: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
        }
    }
}

impl TrustAnchors {
    /// These authorities and those.
    pub(crate) fn and(&self, others: &Self) -> Self {
        let mut roots = RootCertStore::clone(&self.roots);
        roots.extend(others.roots.roots.iter().cloned());
        Self { roots: Arc::new(roots) }
    }

    /// Reads the certificates of authorities from a PEM file.
    ///
    /// # Errors
    /// `Unreadable`, `NotPem`, and `Unusable` if one of them is no certificate.
    pub fn load(file: &Path) -> Result<Self, IdentityError> {
        Self::of(read_certificates(file)?, file)
    }

    /// The certificates of authorities as PEM text, for those who do not keep them in a file.
    ///
    /// # Errors
    /// `NotPem`, and `Unusable` if one of them is no certificate. Both name the file "the PEM given".
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let given = Path::new("the PEM given");
        Self::of(certificates(pem, given)?, given)
    }

    fn of(certificates: Vec<CertificateDer<'static>>, file: &Path) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| IdentityError::Unusable {
                file: file.to_owned(),
                cause: error.to_string(),
            })?;
        }
        Ok(Self { roots: Arc::new(roots) })
    }
}

impl Identity {
    /// Reads the identity of a server from files that somebody else made, and verifies it as its
    /// clients will: the chain leads to the authority, the key fits, and the certificate is valid
    /// at `now` for each of `names`. For a member, told by its number, also as other members will:
    /// valid for its [`member_name`], at both ends of a connection.
    ///
    /// # Errors
    /// Each names the file and what is wrong with it.
    pub fn load(
        files: &IdentityFiles,
        names: &[String],
        member: Option<u64>,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let trust = TrustAnchors::load(&files.authority)?;
        let chain = read_certificates(&files.certificate)?;
        let key = read_key(&files.key)?;
        check_key(files, &chain, &key)?;
        for name in names {
            verify(files, &trust, &chain, name, now)?;
        }
        if let Some(member) = member {
            verify(files, &trust, &chain, &member_name(member), now)?;
            verify_as_client(files, &trust, &chain, now)?;
        }
        Ok(Self {
            server: ServerIdentity { chain, key },
            trust,
            clients: None,
            authority_file: files.authority.clone(),
            origin: IdentityOrigin::Found,
        })
    }

    /// As [`Identity::open_or_make`], of what is there; nothing is made.
    ///
    /// # Errors
    /// Each names the file and what is wrong with it.
    pub fn reload(
        directory: &Path,
        names: &[String],
        member: u64,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let names = all_names(names, member)?;
        Self::load(&IdentityFiles::of(directory), &names, Some(member), now)
    }

    /// The identity in a directory of the member with this number, for [`LOCAL_NAMES`] and `names`
    /// (host names or IP addresses).
    /// What is missing is made: all, if there is no `ca.pem`; the server's certificate, if it is
    /// missing, has less than [`CERTIFICATE_RENEW_AHEAD`] left, lacks a name, or has lost its key.
    /// Files that are there and can not be understood are left alone and reported. Two processes
    /// must not do this in one directory at once.
    ///
    /// # Errors
    /// Each names the file and what is wrong with it.
    pub fn open_or_make(
        directory: &Path,
        names: &[String],
        member: u64,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let names = all_names(names, member)?;
        let load = |files: &IdentityFiles, now| Self::load(files, &names, Some(member), now);
        let authority_key = directory.join("ca-key.pem");
        let files = IdentityFiles::of(directory);
        if !exists(&files.authority)? {
            make_directory(directory)?;
            let made = make_authority(AUTHORITY_NAME, now)?;
            // The certificate last: without it, the next start makes both anew.
            write_whole(&authority_key, &made.key, Secrecy::OwnerOnly)?;
            write_whole(&files.authority, &made.certificate, Secrecy::Public)?;
            renew(&files, &authority_key, &names, now)?;
            let loaded = load(&files, now)?;
            return Ok(Self { origin: IdentityOrigin::Made, ..loaded });
        }
        match load(&files, now + CERTIFICATE_RENEW_AHEAD) {
            // Good for a while; and now? A clock that is behind sees certificates of the future.
            Ok(_) => load(&files, now),
            Err(found) if can_be_renewed(&found, &files) => {
                if !exists(&authority_key)? {
                    // Still good for a while? Then serve with it as long as it lasts.
                    return load(&files, now).map_err(|found| {
                        let found = Box::new(found);
                        IdentityError::AuthorityKeyMissing { found, key: authority_key }
                    });
                }
                renew(&files, &authority_key, &names, now)?;
                let loaded = load(&files, now)?;
                Ok(Self { origin: IdentityOrigin::Renewed, ..loaded })
            }
            Err(found) => Err(found),
        }
    }
}

/// Key first: between the two writes the old certificate has a new key, which the next start sees
/// as a mismatch and renews.
fn renew(
    files: &IdentityFiles,
    authority_key: &Path,
    names: &[String],
    now: SystemTime,
) -> Result<(), IdentityError> {
    let made = Authority::open(&files.authority, authority_key)?.make_server(names, now)?;
    write_whole(&files.key, &made.key, Secrecy::OwnerOnly)?;
    write_whole(&files.certificate, &made.certificate, Secrecy::Public)
}

/// True for what time, a new name or a crash between two writes does to our own files, not for
/// foreign or broken ones.
fn can_be_renewed(found: &IdentityError, files: &IdentityFiles) -> bool {
    match found {
        IdentityError::Expired { .. }
        | IdentityError::WrongName { .. }
        | IdentityError::KeyMismatch { .. } => true,
        IdentityError::Unreadable { file, cause } => {
            cause.kind() == io::ErrorKind::NotFound && *file != files.authority
        }
        _ => false,
    }
}

pub(crate) fn exists(file: &Path) -> Result<bool, IdentityError> {
    file.try_exists().map_err(|cause| IdentityError::Unreadable { file: file.to_owned(), cause })
}

pub(crate) fn all_names(names: &[String], member: u64) -> Result<Vec<String>, IdentityError> {
    let mut all: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    for name in names {
        parse_name(name)?;
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all.push(member_name(member));
    Ok(all)
}
