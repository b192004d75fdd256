//! What a failed command says and the code that it exits with. It does not know which command it was.

use std::fmt;
use std::process::ExitCode;

use quorate_client::admin::AdminError;
use quorate_client::{ConnectError, Error};
use quorate_core::error::{Advice, ErrorCode};
use serde_json::{Value, json};

use crate::output::Output;

/// The service refused, a call returned `err`, a server did not start.
pub const REFUSED: u8 = 1;
/// The command line makes no sense. clap uses the same.
pub const USAGE: u8 = 2;
/// No server could be reached.
pub const UNREACHABLE: u8 = 3;
/// A lock was lost while its command ran: `EX_TEMPFAIL` of sysexits.h.
pub const LOCK_LOST: u8 = 75;

/// Exit codes, for help texts.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused by the service, a call returned err(...), or the server could not go on
  2   the command line makes no sense
  3   no server could be reached
  75  `quorate lock`: the lock was lost while the command ran (else it exits with the command's code)
  130 ended by Ctrl-C (`quorate call`: cancelled by it); 128 and the number for other signals";

/// A command line that makes no sense, told after clap has found nothing wrong with it.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A failure with a sentence on what to do about it.
#[derive(Debug)]
pub struct Hinted {
    /// What went wrong.
    pub error: anyhow::Error,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Hinted {}

/// An error with a hint.
pub fn hinted(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { error: error.into(), hint: hint.into() }.into()
}

/// Reports a failure and gives the exit code.
pub fn report(output: Output, error: &anyhow::Error) -> ExitCode {
    let (exit, code, hint) = classify(error);
    let mut message = format!("{error:#}");
    if let Some(code) = code
        && !message.contains(&code.to_string())
    {
        message = format!("{code}: {message}");
    }
    let told = match code {
        Some(code) => json!({ "error": {
            "code": format!("Q{}", code.number()),
            "name": code.name(),
            "message": message,
            "hint": hint,
        }}),
        None => json!({ "error": {
            "code": Value::Null,
            "name": name(exit),
            "message": message,
            "hint": hint,
        }}),
    };
    output.error(&told, &message, hint.as_deref());
    ExitCode::from(exit)
}

/// What stands in the place of a code's name where the service was not asked.
fn name(exit: u8) -> &'static str {
    match exit {
        USAGE => "usage",
        UNREACHABLE => "unreachable",
        _ => "failed",
    }
}

fn classify(error: &anyhow::Error) -> (u8, Option<ErrorCode>, Option<String>) {
    let mut known = None;
    for cause in error.chain() {
        if let Some(Hinted { error, hint }) = cause.downcast_ref() {
            let (exit, code, _) = classify(error);
            return (exit, code, Some(hint.clone()));
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            known = Some((REFUSED, Some(error.code()), hint(error.code()).map(str::to_owned)));
        } else if let Some(error) = cause.downcast_ref::<AdminError>() {
            if let AdminError::Refused(refusal) = error {
                let hint = hint(refusal.code).map(str::to_owned);
                known = Some((REFUSED, Some(refusal.code), hint));
            }
        } else if let Some(error) = cause.downcast_ref::<ConnectError>() {
            known = Some(unreachable(error));
        } else if cause.is::<Usage>() {
            known = Some((USAGE, None, Some("`--help` shows examples.".to_owned())));
        }
    }
    known.unwrap_or((REFUSED, None, None))
}

fn unreachable(error: &ConnectError) -> (u8, Option<ErrorCode>, Option<String>) {
    match error {
        ConnectError::Rejected { refusal, .. } => {
            (UNREACHABLE, Some(refusal.code), hint(refusal.code).map(str::to_owned))
        }
        ConnectError::Unreachable(attempts) => {
            let says = |text: &str| attempts.iter().any(|attempt| attempt.reason.contains(text));
            let hint = if says("certificate that was shown") || says("the certificate is not of") {
                "--cert and --key must be signed by an authority that the members trust for clients, valid now, and made for \
                 clients: `quorate cert show FILE` shows it, `quorate cert client NAME` makes one."
            } else if says("clients show a certificate here") {
                "Show one with --cert FILE and --key FILE."
            } else if says("certificate") {
                "Give the server's own authority with --ca FILE (its data directory has it as \
                 certificates/ca.pem), and --server-name if its certificate is for another name."
            } else {
                "Start one with `quorate dev`, or say where it is with --connect ADDR and --ca FILE."
            };
            (UNREACHABLE, None, Some(hint.to_owned()))
        }
        _ => (UNREACHABLE, None, Some("Check --connect, --ca and --server-name.".to_owned())),
    }
}

/// What to do about a code, where its meaning alone does not say so.
fn hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NoNode => {
            "`quorate ls PARENT` shows what is there; `create --parents` makes what is missing above."
        }
        ErrorCode::NodeExists => "`quorate set` changes a znode that is there.",
        ErrorCode::NotEmpty => "`quorate rm --recursive` deletes a znode with all below it.",
        ErrorCode::BadVersion => "Somebody else changed it: read it again, then decide.",
        ErrorCode::BadPath => "A path begins with / and has no empty, . or .. element.",
        ErrorCode::NoRecipe => "`quorate recipe list` shows what is deployed.",
        ErrorCode::NoFunction | ErrorCode::BadValue => {
            "`quorate recipe inspect NAME` shows its functions and their types."
        }
        ErrorCode::SignatureChanged => {
            "Another version was deployed meanwhile; `quorate recipe inspect NAME` shows its types."
        }
        ErrorCode::RecipeTrapped | ErrorCode::FailedAfterPark => {
            "`quorate recipe logs NAME` shows what the recipe wrote."
        }
        ErrorCode::RecipeOverLimit => {
            "Limits are in the manifest, `[limits]` of quorate.toml: raise them, or do less in a call."
        }
        ErrorCode::ReadOnly => {
            "Call it without --read-only; if the manifest lists the function, its author must take it off `read-only`."
        }
        ErrorCode::BreakingChange => {
            "Deploy it under another name, or with --allow-breaking if no caller needs the old functions."
        }
        ErrorCode::SlowConsumer => "A watch --from the position that it names misses nothing.",
        ErrorCode::AuthenticationRequired => {
            "Show a certificate (--cert, --key) or a token (--token-file); whoever runs the service makes them."
        }
        ErrorCode::AuthenticationFailed => {
            "`quorate auth token` makes a new token; `quorate auth whoami` shows who you are."
        }
        ErrorCode::NotAdmitted => "`quorate recipe build` makes components that the service takes.",
        code => match code.advice() {
            Advice::Backoff => "Try again in a moment.",
            Advice::NewSession => {
                "Run the command again; locks and ephemeral znodes of the old session are gone."
            }
            Advice::Never | Advice::SameSession => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::error::Refusal;

    #[test]
    fn a_hint_around_a_refusal_keeps_its_code() {
        let refusal = Error::from(Refusal::new(ErrorCode::NoNode, "no /a"));
        let (exit, code, hint) = classify(&hinted(refusal, "look again"));
        assert_eq!(
            (exit, code, hint.as_deref()),
            (REFUSED, Some(ErrorCode::NoNode), Some("look again"))
        );
    }

    #[test]
    fn a_refusal_is_found_below_its_context() {
        let refusal = Error::from(Refusal::new(ErrorCode::BadVersion, "3, not 2"));
        let error = anyhow::Error::from(refusal).context("line 2");
        assert_eq!(classify(&error).1, Some(ErrorCode::BadVersion));
        assert_eq!(format!("{error:#}"), "line 2: Q2004 bad-version: 3, not 2");
    }

    #[test]
    fn usage_has_a_code_of_its_own() {
        assert_eq!(classify(&Usage("both".to_owned()).into()).0, USAGE);
    }
}
