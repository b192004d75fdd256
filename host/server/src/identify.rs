//! Flags by which a command shows who gives it: certificate, token, password. Passwords never stand on the command line, where
//! every user of the machine sees them. It does not know what anybody may do.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use quorate_client::{Certificate, Credential, Options};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::{Usage, hinted};

/// Where the password of `--user NAME` is looked for first.
const PASSWORD_VARIABLE: &str = "QUORATE_PASSWORD";

/// Flags of every command. Its `Debug` prints no secret.
#[derive(Clone, Default, clap::Args)]
pub struct Identify {
    /// Certificate that shows who you are, with --key
    #[arg(
        long,
        global = true,
        env = "QUORATE_CERT",
        value_name = "FILE",
        help_heading = "Identity"
    )]
    pub cert: Option<PathBuf>,
    /// Private key of --cert
    #[arg(
        long,
        global = true,
        env = "QUORATE_KEY",
        value_name = "FILE",
        help_heading = "Identity"
    )]
    pub key: Option<PathBuf>,
    /// Token that shows who you are, as `quorate auth token` prints it
    #[arg(
        long,
        global = true,
        env = "QUORATE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Identity"
    )]
    pub token: Option<String>,
    /// As --token, from a file
    #[arg(
        long,
        global = true,
        env = "QUORATE_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Identity"
    )]
    pub token_file: Option<PathBuf>,
    /// Name to show with a password, which stands in FILE, else in QUORATE_PASSWORD, else is asked for
    #[arg(
        long,
        global = true,
        env = "QUORATE_USER",
        value_name = "NAME[:FILE]",
        help_heading = "Identity"
    )]
    pub user: Option<String>,
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cert, key, token: _, token_file, user } = self;
        f.debug_struct("Identify")
            .field("cert", cert)
            .field("key", key)
            .field("token_file", token_file)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

impl Identify {
    /// Has a client show it.
    ///
    /// # Errors
    /// For half of a pair, and for a password that is not to be had.
    pub fn show(&self, options: &mut Options) -> anyhow::Result<()> {
        options.certificate = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Certificate { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(Usage("--cert needs --key, its private key".to_owned()).into());
            }
            (None, Some(_)) => {
                return Err(Usage("--key needs --cert, whose key it is".to_owned()).into());
            }
        };
        options.credentials.extend(self.token.iter().cloned().map(Credential::Token));
        options.credentials.extend(self.token_file.iter().cloned().map(Credential::TokenFile));
        if let Some(user) = &self.user {
            options.credentials.push(with_password(user)?);
        }
        Ok(())
    }
}

fn with_password(user: &str) -> anyhow::Result<Credential> {
    if let Some((user, file)) = user.split_once(':') {
        let (user, file) = (user.to_owned(), PathBuf::from(file));
        return Ok(Credential::PasswordFile { user, file });
    }
    let password = match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) => password,
        Err(_) if io::stdin().is_terminal() => {
            ask(user).context("the password could not be read from the terminal")?
        }
        Err(_) => {
            return Err(hinted(
                Usage(format!("nothing says the password of {user}")),
                format!("Name a file with --user {user}:FILE, or set {PASSWORD_VARIABLE}."),
            ));
        }
    };
    Ok(Credential::Password { user: user.to_owned(), password })
}

/// Asks on the terminal, which shows nothing of what is typed meanwhile.
fn ask(user: &str) -> io::Result<String> {
    write!(io::stderr(), "password of {user}: ")?;
    io::stderr().flush()?;
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Now, &shown)?;
    writeln!(io::stderr())?;
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use quorate_client::Authority;

    use super::*;

    fn shown(identify: &Identify) -> anyhow::Result<Options> {
        let mut options = Options::new(["there:1"], Authority::Pem(Vec::new()));
        identify.show(&mut options).map(|()| options)
    }

    #[test]
    fn half_of_a_pair_is_refused_and_says_what_is_missing() {
        let (cert, key) = (Some(PathBuf::from("a.pem")), Some(PathBuf::from("a-key.pem")));
        let refused = |identify| shown(&identify).expect_err("half of a pair").to_string();
        assert!(refused(Identify { cert: cert.clone(), ..Identify::default() }).contains("--key"));
        assert!(refused(Identify { key: key.clone(), ..Identify::default() }).contains("--cert"));
        let both = shown(&Identify { cert, key, ..Identify::default() }).expect("both");
        assert!(both.certificate.is_some());
    }

    #[test]
    fn a_password_comes_from_a_file_and_nothing_secret_is_printed() {
        let identify = Identify {
            token: Some("hunter2".to_owned()),
            user: Some("ann:/etc/password:1".to_owned()),
            ..Identify::default()
        };
        let options = shown(&identify).expect("both");
        let file = PathBuf::from("/etc/password:1");
        let of_file = Credential::PasswordFile { user: "ann".to_owned(), file };
        assert_eq!(options.credentials, [Credential::Token("hunter2".to_owned()), of_file]);
        assert!(!format!("{identify:?} {options:?}").contains("hunter2"));
    }
}
