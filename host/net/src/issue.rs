//! The desk of an authority for people who have none: makes its files, and those of members and
//! clients, each once. It does not know where members run, nor what clients may do.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::authority::{AUTHORITY_NAME, Authority, make_authority};
use crate::client_identity::ClientIdentity;
use crate::files::{Secrecy, make_directory, read_certificates, write_whole};
use crate::identity::{Identity, IdentityError, IdentityFiles, all_names, exists};
use crate::limits::{AUTHORITY_NAME_CHARS_MAX, CREDENTIAL_VALIDITY_MAX};

/// The certificate of an authority, for clients and members.
pub const AUTHORITY_FILE: &str = "ca.pem";
/// The key of an authority. Members need it only to renew their certificates by themselves.
pub const AUTHORITY_KEY_FILE: &str = "ca-key.pem";
/// The certificate of a member.
pub const MEMBER_FILE: &str = "server.pem";
/// The key of a member.
pub const MEMBER_KEY_FILE: &str = "server-key.pem";
/// The certificate of a client.
pub const CLIENT_FILE: &str = "client.pem";
/// The key of a client.
pub const CLIENT_KEY_FILE: &str = "client-key.pem";

/// Makes an authority: [`AUTHORITY_FILE`] and [`AUTHORITY_KEY_FILE`] in `directory`, which is made
/// if it is missing. `name` is for people.
///
/// # Errors
/// `Exists` if one of the files is there; `NotMade` for a name that is empty, over
/// [`AUTHORITY_NAME_CHARS_MAX`] or holds control characters; `Unwritable`.
pub fn authority(
    directory: &Path,
    name: Option<&str>,
    now: SystemTime,
) -> Result<(), IdentityError> {
    let name = name.unwrap_or(AUTHORITY_NAME);
    check_common_name(name, "an authority")?;
    let (certificate, key) = (directory.join(AUTHORITY_FILE), directory.join(AUTHORITY_KEY_FILE));
    refuse_present([&certificate, &key])?;
    let made = make_authority(name, now)?;
    make_directory(directory)?;
    write_whole(&key, &made.key, Secrecy::OwnerOnly)?;
    write_whole(&certificate, &made.certificate, Secrecy::Public)
}

/// Makes the certificate of the member with this number (1 or more) for
/// [`crate::identity::LOCAL_NAMES`] and `names`, signed by the authority in the directory
/// `authority`: [`MEMBER_FILE`], [`MEMBER_KEY_FILE`] and a copy of [`AUTHORITY_FILE`] in `directory`, which
/// is made if it is missing. The copy may be there already.
///
/// # Errors
/// `Exists` if the member's files are there, or another authority's; `BadName`; what is wrong with
/// the authority's files; `Unwritable`.
pub fn member(
    directory: &Path,
    authority: &Path,
    member: u64,
    names: &[String],
    now: SystemTime,
) -> Result<(), IdentityError> {
    if member == 0 {
        return Err(IdentityError::NotMade("members are numbered from 1".to_owned()));
    }
    let names = all_names(names, member)?;
    let source = authority.join(AUTHORITY_FILE);
    let signing = Authority::open(&source, &authority.join(AUTHORITY_KEY_FILE))?;
    let files = IdentityFiles {
        authority: directory.join(AUTHORITY_FILE),
        certificate: directory.join(MEMBER_FILE),
        key: directory.join(MEMBER_KEY_FILE),
    };
    refuse_present([&files.certificate, &files.key])?;
    let is_copied = exists(&files.authority)?;
    if is_copied && read_certificates(&files.authority)? != read_certificates(&source)? {
        return Err(IdentityError::Exists { file: files.authority });
    }
    let made = signing.make_server(&names, now)?;
    make_directory(directory)?;
    // First: a member that starts beside a certificate and no authority makes an authority of its own.
    if !is_copied {
        let text = std::fs::read_to_string(&source)
            .map_err(|cause| IdentityError::Unreadable { file: source.clone(), cause })?;
        write_whole(&files.authority, &text, Secrecy::Public)?;
    }
    write_whole(&files.key, &made.key, Secrecy::OwnerOnly)?;
    write_whole(&files.certificate, &made.certificate, Secrecy::Public)?;
    // As the member's own start will.
    Identity::load(&files, &names, Some(member), now).map(|_| ())
}

/// Makes the certificate of the client of that name, valid from `now` for so long, signed by the authority in the directory
/// `authority`: [`CLIENT_FILE`] and [`CLIENT_KEY_FILE`] in `directory`, which is made if it is missing.
///
/// # Errors
/// `Exists` if one of the files is there; `NotMade` for a name that is empty, over [`AUTHORITY_NAME_CHARS_MAX`], holds control
/// characters or a `*`, and for a time of 0 or over [`CREDENTIAL_VALIDITY_MAX`]; what is wrong with the authority's files;
/// `Unwritable`.
pub fn client(
    directory: &Path,
    authority: &Path,
    name: &str,
    valid: Duration,
    now: SystemTime,
) -> Result<(), IdentityError> {
    check_common_name(name, "a client")?;
    if name.contains('*') {
        return Err(IdentityError::NotMade("a client's name holds no *".to_owned()));
    }
    if valid.is_zero() || valid > CREDENTIAL_VALIDITY_MAX {
        let days = CREDENTIAL_VALIDITY_MAX.as_secs() / 86_400;
        let rule = format!("a client's certificate is valid for {days} days at most");
        return Err(IdentityError::NotMade(rule));
    }
    let signing =
        Authority::open(&authority.join(AUTHORITY_FILE), &authority.join(AUTHORITY_KEY_FILE))?;
    let (certificate, key) = (directory.join(CLIENT_FILE), directory.join(CLIENT_KEY_FILE));
    refuse_present([&certificate, &key])?;
    let made = signing.make_client(name, valid, now)?;
    make_directory(directory)?;
    write_whole(&key, &made.key, Secrecy::OwnerOnly)?;
    write_whole(&certificate, &made.certificate, Secrecy::Public)?;
    // As the client's own start will.
    ClientIdentity::load(&certificate, &key, now).map(|_| ())
}

/// A common name has a bound of its own (RFC 5280, ub-common-name).
fn check_common_name(name: &str, whose: &str) -> Result<(), IdentityError> {
    let chars_count = name.chars().count();
    if (1..=AUTHORITY_NAME_CHARS_MAX).contains(&chars_count) && !name.chars().any(char::is_control)
    {
        return Ok(());
    }
    let rule = format!("{whose}'s name has 1 to {AUTHORITY_NAME_CHARS_MAX} printable characters");
    Err(IdentityError::NotMade(rule))
}

fn refuse_present(files: [&Path; 2]) -> Result<(), IdentityError> {
    for file in files {
        if exists(file)? {
            return Err(IdentityError::Exists { file: file.to_owned() });
        }
    }
    Ok(())
}
