//! What can go wrong for a caller. It does not know what was asked.

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::request::Failure;
use quorate_wire::value::{DecodeError, EncodeError};

use crate::root::Senseless;
use crate::session::Loss;
use crate::wave::WaveError;

/// Why a request did not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refused it. It changed nothing and never will.
    #[error("{}", .0.refusal)]
    Refused(Failure),
    /// The session ended before there was an answer. See [`Error::may_have_happened`].
    #[error("{loss}; {}", certainty(*.may_have_happened))]
    SessionLost {
        /// How it ended.
        loss: Loss,
        /// Whether a write may have been executed all the same. False for reads.
        may_have_happened: bool,
    },
    /// The arguments are not what the function takes. Nothing was sent.
    #[error("bad arguments: {0}")]
    Arguments(String),
    /// The text of a call or value is not what the function takes. Nothing was sent.
    #[error(transparent)]
    Text(#[from] WaveError),
    /// The service's answer is not one to this request. The request may have been executed.
    #[error("the answer can not be understood: {0}")]
    BadAnswer(String),
}

impl Error {
    /// The code to branch on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(failure) => failure.refusal.code,
            Self::SessionLost { loss: Loss::Ended(refusal), .. } => refusal.code,
            Self::SessionLost { may_have_happened: true, .. } => ErrorCode::NoSession,
            Self::SessionLost { may_have_happened: false, .. } => ErrorCode::SessionEnded,
            Self::Arguments(_) | Self::Text(_) => ErrorCode::BadValue,
            Self::BadAnswer(_) => ErrorCode::BadMessage,
        }
    }

    /// Whether a write may have been executed although it has failed here.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::SessionLost { may_have_happened, .. } => *may_have_happened,
            Self::BadAnswer(_) => true,
            Self::Refused(_) | Self::Arguments(_) | Self::Text(_) => false,
        }
    }
}

fn certainty(may_have_happened: bool) -> &'static str {
    if may_have_happened {
        "whether the request was executed is unknown"
    } else {
        "the request was not executed"
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        Self::Arguments(error.to_string())
    }
}

impl From<Senseless> for Error {
    fn from(error: Senseless) -> Self {
        Self::BadAnswer(error.to_string())
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::BadAnswer(error.to_string())
    }
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An option makes no sense, or names a file that can not be used.
    #[error("{0}")]
    Options(String),
    /// A member was reached, and refuses the session: the same options will be refused again.
    #[error("{address} refuses the session: {refusal}")]
    Rejected {
        /// The address, as given.
        address: String,
        /// Why.
        refusal: Refusal,
    },
    /// No member gave a session within the time allowed.
    #[error("no member could be reached:{}", listed(.0))]
    Unreachable(Vec<Attempt>),
}

/// The last attempt at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The address, as given.
    pub address: String,
    /// What came of it.
    pub reason: String,
}

fn listed(attempts: &[Attempt]) -> String {
    let lines = attempts.iter().map(|attempt| format!(" {}: {};", attempt.address, attempt.reason));
    lines.collect::<String>().trim_end_matches(';').to_owned()
}
