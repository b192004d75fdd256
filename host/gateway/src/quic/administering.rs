//! Lanes without a session, for commands to the cluster. What the commands do is `administration`'s.

use std::net::SocketAddr;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_net::{LaneError, LaneReceiver, LaneSender};
use quorate_wire::message::admin::Command;
use quorate_wire::message::{ClientMessage, ServerMessage};
use tokio::sync::watch;

use super::{Ended, Face};
use crate::administration::Requester;

/// Carries out commands to the cluster, one after the other.
pub(super) async fn administer(
    face: &Face,
    remote: SocketAddr,
    first: (u64, Command),
    sender: &LaneSender,
    mut receiver: LaneReceiver,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let asked_by = Requester { identities: Vec::new(), address: Some(remote.ip()) };
    let mut next = first;
    loop {
        let (request, command) = next;
        let administered = async {
            face.audit.admit_command(&command)?;
            face.administration.administer(command.clone(), Some(&asked_by)).await
        };
        let outcome = tokio::select! {
            outcome = administered => outcome,
            _ = stop.changed() => Err(Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down")),
        };
        face.audit.commanded(remote, &command, &outcome);
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
                Ok(ClientMessage::Administer { request, command }) => (request, command),
                Ok(_) => return Ended::Protocol("neither a session nor a command".to_owned()),
                Err(error) => return error.into(),
            },
            // It has closed the connection as soon as it had its answer.
            Ok(None) | Err(LaneError::ConnectionLost(_)) => return Ended::Client,
            Err(error) => return Ended::Protocol(error.to_string()),
        };
    }
}
