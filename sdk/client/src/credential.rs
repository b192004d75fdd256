//! What a client shows to prove who it is, beside its certificate, and where that is kept. It does not know when it is shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use quorate_wire::message::credential::{self, CREDENTIAL_TEXT_BYTES_MAX};

/// A certificate with which a client shows who it is, and its key, in PEM files. Read at each connection, so that renewed ones are
/// used from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, followed by those between it and its authority, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What shows who a client is. Its `Debug` prints no secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A token, as `quorate auth token` prints it.
    Token(String),
    /// A token in a file, read anew for each session.
    TokenFile(PathBuf),
    /// A name and a password.
    Password {
        /// The name; without `:`.
        user: String,
        /// The password.
        password: String,
    },
    /// A name, and a password in a file, read anew for each session. The end of its last line does not count.
    PasswordFile {
        /// The name; without `:`.
        user: String,
        /// The file.
        file: PathBuf,
    },
    /// As it is sent: for a client in the process of a member.
    #[doc(hidden)]
    AsSent(credential::Credential),
}

impl Credential {
    /// As it is sent.
    pub(crate) fn load(&self) -> Result<credential::Credential, String> {
        Ok(match self {
            Self::Token(token) => credential::Credential::Token(token.trim().to_owned()),
            Self::TokenFile(file) => credential::Credential::Token(read(file)?.trim().to_owned()),
            Self::Password { user, password } => {
                credential::Credential::Password { user: user.clone(), password: password.clone() }
            }
            Self::PasswordFile { user, file } => {
                let text = read(file)?;
                let password = text.strip_suffix('\n').unwrap_or(&text);
                let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
                credential::Credential::Password { user: user.clone(), password }
            }
            Self::AsSent(credential) => credential.clone(),
        })
    }
}

/// Those of a session that is opened, or of a command.
pub(crate) fn load_all(all: &[Credential]) -> Result<Vec<credential::Credential>, String> {
    if all.len() > credential::CREDENTIALS_MAX {
        let max = credential::CREDENTIALS_MAX;
        return Err(format!("{} credentials; at most {max} are shown at once", all.len()));
    }
    all.iter().map(Credential::load).collect()
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let most = CREDENTIAL_TEXT_BYTES_MAX as u64;
    let opened = File::open(file);
    opened
        .and_then(|opened| opened.take(most + 1).read_to_string(&mut text))
        .map_err(|error| format!("{} can not be read: {error}", file.display()))?;
    if text.len() > CREDENTIAL_TEXT_BYTES_MAX {
        return Err(format!("{} has more than {most} bytes", file.display()));
    }
    Ok(text)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::TokenFile(file) => f.debug_tuple("TokenFile").field(file).finish(),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::PasswordFile { user, file } => {
                f.debug_struct("PasswordFile").field("user", user).field("file", file).finish()
            }
            Self::AsSent(credential) => credential.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_without_the_end_of_their_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let password = || {
            let credential =
                Credential::PasswordFile { user: "ann".to_owned(), file: file.clone() };
            match credential.load() {
                Ok(credential::Credential::Password { password, .. }) => password,
                other => panic!("{other:?}"),
            }
        };
        for (text, expected) in [("a b ", "a b "), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(password(), expected, "{text:?}");
        }
        std::fs::write(&file, " token\n\n").unwrap();
        let token = Credential::TokenFile(file.clone()).load();
        assert_eq!(token, Ok(credential::Credential::Token("token".to_owned())));
        std::fs::write(&file, "x".repeat(CREDENTIAL_TEXT_BYTES_MAX + 1)).unwrap();
        assert!(Credential::TokenFile(file.clone()).load().unwrap_err().contains("4096"));
        std::fs::remove_file(&file).unwrap();
        assert!(Credential::TokenFile(file).load().unwrap_err().contains("secret"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let user = || "ann".to_owned();
        for credential in [
            Credential::Token("hunter2".to_owned()),
            Credential::Password { user: user(), password: "hunter2".to_owned() },
            Credential::AsSent(credential::Credential::Token("hunter2".to_owned())),
        ] {
            assert!(!format!("{credential:?}").contains("hunter2"), "{credential:?}");
        }
    }
}
