//! ZooKeeper's digest of a user's name and password. It does not know who has the right to what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use crate::limits::{NAME_BYTES_MAX, PASSWORD_BYTES_MAX};
use crate::names::is_name;

/// Why a name and password are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The name can not stand before a colon.
    #[error(
        "the name of a user has 1 to {NAME_BYTES_MAX} bytes, without control characters and without `:`"
    )]
    Name,
    /// The password is too long.
    #[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
    Password,
}

/// What stands for a user and a password where neither may be kept: `user:BASE64(SHA-1(user:password))`, as in ZooKeeper's
/// scheme `digest`. The password can not be read from it, though a bad one can be guessed by who sees it.
///
/// # Errors
/// [`PasswordError`], before anything is computed.
pub fn password_digest(user: &str, password: &str) -> Result<String, PasswordError> {
    if !is_name(user) || user.contains(':') {
        return Err(PasswordError::Name);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::Password);
    }
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in [user.as_bytes(), b":", password.as_bytes()] {
        context.update(part);
    }
    Ok(format!("{user}:{}", STANDARD.encode(context.finish())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_zookeeper() {
        // From ZooKeeper's documentation of its superDigest and of the digest scheme.
        assert_eq!(
            password_digest("super", "admin"),
            Ok("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=".to_owned())
        );
        assert_eq!(password_digest("bob", ""), Ok(format!("bob:{}", sha1_of("bob:"))));
        assert_eq!(password_digest("b", "a:c"), Ok(format!("b:{}", sha1_of("b:a:c"))));
    }

    fn sha1_of(text: &str) -> String {
        STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
    }

    #[test]
    fn names_and_passwords_have_bounds() {
        for bad in ["", "a:b", "a\nb", &"n".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(password_digest(bad, "p"), Err(PasswordError::Name), "{bad:?}");
        }
        let long = "p".repeat(PASSWORD_BYTES_MAX);
        assert!(password_digest(&"n".repeat(NAME_BYTES_MAX), &long).is_ok());
        assert_eq!(password_digest("a", &(long + "p")), Err(PasswordError::Password));
    }
}
