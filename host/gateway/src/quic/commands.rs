//! Commands to the cluster, on a lane that belongs to no session: who gives them, what comes of them, and what is told of that.
//! What they do is `administration`'s.

use quorate_wire::message::admin::Command;

use super::*;
use crate::authentication::Caller;

/// A command to the cluster, with what shows who gives it.
pub(super) struct Given {
    pub(super) request: u64,
    pub(super) credentials: Vec<Credential>,
    pub(super) command: Command,
}

/// Carries out commands to the cluster, one after the other.
pub(super) async fn administer(
    face: &Face,
    connection: &Connection,
    first: Given,
    sender: &LaneSender,
    mut receiver: LaneReceiver,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut next = first;
    loop {
        let Given { request, credentials, command } = next;
        let caller = face.authentication.caller(connection, &credentials, SystemTime::now());
        let administered = async {
            let caller = caller.as_ref().map_err(Clone::clone)?;
            face.audit.admit_command(&command)?;
            face.administration.administer(command.clone(), Some(&caller.into())).await
        };
        let outcome = tokio::select! {
            outcome = administered => outcome,
            _ = stop.changed() => Err(Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down")),
        };
        let caller = caller.unwrap_or_else(|_| Caller::of(connection));
        face.audit.commanded(&caller, &command, &outcome);
        let answer = ServerMessage::Administered { request, outcome };
        if sender.send(answer.encode()).await.is_err() {
            return Ended::Client;
        }
        let frame = tokio::select! {
            frame = receiver.recv() => frame,
            _ = stop.changed() => return Ended::Over,
        };
        next = match frame {
            Ok(Some(frame)) => match ClientMessage::decode(frame) {
                Ok(ClientMessage::Administer { request, credentials, command }) => {
                    Given { request, credentials, command }
                }
                Ok(_) => return Ended::Protocol("neither a session nor a command".to_owned()),
                Err(error) => return error.into(),
            },
            // It has closed the connection as soon as it had its answer.
            Ok(None) | Err(LaneError::ConnectionLost(_)) => return Ended::Client,
            Err(error) => return Ended::Protocol(error.to_string()),
        };
    }
}
