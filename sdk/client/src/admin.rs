//! Commands to a cluster, without a session: they work on a member that waits to join, and in a cluster without a leader. It
//! does not know what the commands do.

use std::time::Duration;

use quorate_core::error::Refusal;
use quorate_wire::message::{ClientMessage, ServerMessage};

pub use quorate_wire::message::admin::{ClusterStatus, Command, MemberLine, Outcome};

use crate::dial::Dialer;
use crate::error::{Attempt, ConnectError};
use crate::options::Options;

/// How long a member may take for a command: a change of the members waits for its commit.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(40);

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The cluster refused. Whether anything has changed, the code says.
    #[error("{0}")]
    Refused(Refusal),
    /// No member has got the command.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A member has got the command and did not answer: it may have been carried out.
    #[error("{0}; the command may have been carried out")]
    NoAnswer(String),
}

/// Gives a command to the first of the members in `options` that can be reached, and waits for what comes of it. A command
/// that only a leader can carry out is handed on to it.
///
/// Dropped before it is ready, the command may be carried out all the same.
///
/// # Errors
/// [`AdminError`].
pub async fn command(options: Options, command: Command) -> Result<Outcome, AdminError> {
    let connect_timeout = options.connect_timeout;
    let mut dialer = Dialer::new(options)?;
    let reach = dialer.reach();
    let credentials = reach.credentials().map_err(ConnectError::Options)?;
    let message = ClientMessage::Administer { request: 1, credentials, command };
    let mut attempts = Vec::new();
    let deadline = tokio::time::Instant::now() + connect_timeout;
    for address in dialer.candidates(None, 0) {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let connected = tokio::time::timeout(left, reach.connect(&address, left)).await;
        let reason = match connected {
            Ok(Ok(connection)) => {
                let asked = reach.ask_on(address, connection, &message, COMMAND_TIMEOUT).await;
                let link = asked.map_err(AdminError::NoAnswer)?;
                link.connection.close(quorate_net::CloseCode::Normal, "");
                return match link.first {
                    ServerMessage::Administered { outcome, .. } => {
                        outcome.map_err(AdminError::Refused)
                    }
                    _ => Err(AdminError::NoAnswer("the member did not understand".to_owned())),
                };
            }
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        attempts.push(Attempt { address, reason });
    }
    Err(ConnectError::Unreachable(attempts).into())
}
