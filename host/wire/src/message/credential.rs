//! What a client shows to prove who it is, on its way to the one member that looks at it. It does not know what is good, nor
//! whom it makes of a client.
//!
//! None of it is printed: [`Credential`] says in its `Debug` only of which kind it is.

use std::fmt;

use quorate_core::codec::{Malformed, Reader, Writer, malformed};

/// Credentials in one message: one of each kind, and another while one is replaced.
pub const CREDENTIALS_MAX: usize = 4;
/// Bytes of a text in a credential, whichever: tokens are the longest, with two thousand at most.
pub const CREDENTIAL_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the secret that a process shares with itself.
pub const HOUSE_SECRET_BYTES: usize = 32;

/// What shows who somebody is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A signed token.
    Token(String),
    /// A name and a password, as ZooKeeper has them: everybody may choose both, and what counts is who knows them.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// The secret that the member made up at its start, and gave to nobody outside of its process.
    House([u8; HOUSE_SECRET_BYTES]),
}

impl Credential {
    /// Writes it.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Token(token) => {
                writer.u8(0);
                writer.text(token);
            }
            Self::Password { user, password } => {
                writer.u8(1);
                writer.text(user);
                writer.text(password);
            }
            Self::House(secret) => {
                writer.u8(2);
                writer.raw(secret);
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// For another kind, and for texts over [`CREDENTIAL_TEXT_BYTES_MAX`].
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "credential";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Token(text(reader)?),
            1 => Self::Password { user: text(reader)?, password: text(reader)? },
            2 => Self::House(reader.array(WHAT)?),
            _ => return Err(malformed(WHAT)),
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(..)",
            Self::Password { .. } => "Password(..)",
            Self::House(_) => "House(..)",
        })
    }
}

fn text(reader: &mut Reader) -> Result<String, Malformed> {
    let text = reader.text("credential")?;
    if text.len() > CREDENTIAL_TEXT_BYTES_MAX { Err(malformed("credential")) } else { Ok(text) }
}

/// Writes those of one message.
pub fn write_all(writer: &mut Writer, credentials: &[Credential]) {
    writer.u64(credentials.len() as u64);
    for credential in credentials {
        credential.write(writer);
    }
}

/// Reads those of one message.
///
/// # Errors
/// As [`Credential::read`]; for more than [`CREDENTIALS_MAX`].
pub fn read_all(reader: &mut Reader) -> Result<Vec<Credential>, Malformed> {
    let count = reader.count("credentials", CREDENTIALS_MAX)?;
    (0..count).map(|_| Credential::read(reader)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_printed() {
        for (credential, shown) in [
            (Credential::Token("secret".to_owned()), "Token(..)"),
            (
                Credential::Password { user: "ann".to_owned(), password: "secret".to_owned() },
                "Password(..)",
            ),
            (Credential::House([7; HOUSE_SECRET_BYTES]), "House(..)"),
        ] {
            assert_eq!(format!("{credential:?}"), shown);
        }
    }

    #[test]
    fn texts_have_a_bound() {
        let mut writer = Writer::new();
        Credential::Token("t".repeat(CREDENTIAL_TEXT_BYTES_MAX + 1)).write(&mut writer);
        assert!(Credential::read(&mut Reader::new(writer.finish())).is_err());
    }
}
