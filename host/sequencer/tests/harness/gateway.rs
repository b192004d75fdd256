//! The gateways: clients' requests on their way in, answers on their way out, and everything unanswered again when an
//! epoch opens. As host/gateway's registry does it, in one thread.

use quorate_core::draft::ReadRecords;
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::Body;
use quorate_core::session::Opening;
use quorate_core::transaction::{Entry, EntryBody, Outcome};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Output, Submission, Token};

use super::client::Client;
use super::{Proposal, World};

impl World {
    /// A new client asks for a session.
    pub fn open(&mut self, member: usize, timeout_ms: u64) -> usize {
        let token = Token::local(self.next_token);
        self.next_token += 1;
        self.clients.push(Client::new(token, member, timeout_ms, self.now.monotonic_ms));
        self.handle(self.serving, open_session(token, timeout_ms));
        self.clients.len() - 1
    }

    /// A client sends a write.
    pub fn send(&mut self, client: usize, body: Body) -> WriteNumber {
        let request = self.clients[client].request(body);
        let write = request.write;
        let token = self.clients[client].token;
        self.handle(self.serving, Input::Submit(Submission { token, request }));
        write
    }

    /// A client sends all that is unanswered, once more.
    pub fn resend_all(&mut self, client: usize) {
        self.clients[client].resend = false;
        let token = self.clients[client].token;
        let requests: Vec<_> = self.clients[client].unanswered.values().cloned().collect();
        for request in requests {
            self.handle(self.serving, Input::Submit(Submission { token, request }));
        }
    }

    /// A client connects to another member: what was answered in between went to a lane that is gone.
    pub fn move_client(&mut self, client: usize, member: usize) {
        self.clients[client].member = member;
        self.clients[client].token = Token::local(self.next_token);
        self.next_token += 1;
        self.clients[client].heartbeats.clear();
        self.resend_all(client);
    }

    pub fn heartbeat(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else { return };
        let token = self.clients[client].token;
        self.clients[client].heartbeats.push(self.now.monotonic_ms);
        self.handle(self.serving, Input::Heartbeat { token, session });
    }

    /// An input that is none of raft's.
    pub fn handle(&mut self, member: usize, input: Input) {
        let now = self.now;
        self.members[member].sequencer.handle(input, now);
        self.drain(member);
    }

    pub(super) fn resend(&mut self) -> bool {
        let mut any = false;
        for client in 0..self.clients.len() {
            if self.clients[client].resend {
                self.resend_all(client);
                any = true;
            }
        }
        any
    }

    pub(super) fn drain(&mut self, member: usize) {
        while let Some(output) = self.members[member].sequencer.poll_output() {
            match output {
                Output::Propose { epoch, batch, entry } => {
                    self.members[member].outbox.push_back(Proposal { epoch, batch, entry });
                }
                Output::Ready { .. } => {
                    self.members[member].said.push(output);
                    self.resubmit(member);
                }
                other => {
                    self.members[member].said.push(other.clone());
                    self.deliver(member, other);
                }
            }
        }
    }

    /// An epoch is open: everything unanswered is submitted, as the gateway does it.
    fn resubmit(&mut self, member: usize) {
        // One that was replaced and has not been told yet does not take the clients away from who leads.
        if self.leader.is_none_or(|leader| leader == member || leader != self.serving) {
            self.serving = member;
        }
        for client in 0..self.clients.len() {
            let (token, timeout_ms) = (self.clients[client].token, self.clients[client].timeout_ms);
            self.clients[client].heartbeats.clear();
            if self.clients[client].opened == 0 {
                self.handle(member, open_session(token, timeout_ms));
            } else {
                self.resend_all(client);
            }
        }
    }

    fn deliver(&mut self, member: usize, output: Output) {
        let applied = self.members[member].tree.meta().zxid;
        match output {
            Output::Answer { token, session, write, answer } => {
                let Some(client) = self.client_of(token, session) else { return };
                match answer {
                    DirectAnswer::Kept { zxid, reply } => {
                        assert!(
                            zxid <= applied,
                            "the reply of {zxid} leaves when {applied} is applied"
                        );
                        client.reply(write, zxid, &reply);
                    }
                    DirectAnswer::Parked => client.park(write),
                    DirectAnswer::Refused(refusal) => client.refuse(write, refusal),
                }
            }
            Output::SessionOpened { token, session } => {
                if let Ok(session) = &session {
                    assert!(
                        Zxid(session.0) <= applied,
                        "session {session} is not applied: {applied}"
                    );
                }
                let Some(client) = self.clients.iter_mut().find(|client| client.token == token)
                else {
                    return;
                };
                client.opened += 1;
                match session {
                    // A second answer is for an opening that nobody waits for any more.
                    Ok(session) if client.session.is_none() => client.session = Some(session),
                    Ok(_) => {}
                    Err(refusal) => client.open_refused = Some(refusal),
                }
            }
            Output::HeartbeatConfirmed { token, session, is_live } => {
                // The gateway's part: only who still leads may confirm.
                let leads = self.leader == Some(member);
                let Some(client) = self.client_of(token, session) else { return };
                if client.heartbeats.is_empty() || !leads {
                    return;
                }
                let sent_ms = client.heartbeats.remove(0);
                if is_live {
                    client.alive_from_ms = client.alive_from_ms.max(sent_ms);
                }
            }
            Output::Propose { .. } | Output::Ready { .. } => {}
        }
    }

    fn client_of(&mut self, token: Token, session: SessionId) -> Option<&mut Client> {
        self.clients
            .iter_mut()
            .find(|client| client.token == token && client.session == Some(session))
    }

    /// The replies of an applied entry go to the clients that are connected here.
    pub(super) fn answer_from(&mut self, member: usize, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for transaction in transactions {
            let Some((session, write)) = transaction.origin.write() else { continue };
            let here =
                |client: &&mut Client| client.session == Some(session) && client.member == member;
            let Some(client) = self.clients.iter_mut().find(here) else { continue };
            match &transaction.outcome {
                Outcome::None => {}
                Outcome::Parked(_) => {
                    client.waiting.insert(write);
                }
                Outcome::Replied(reply) => client.reply(write, transaction.zxid, reply),
            }
        }
    }
}

/// Of all sessions.
pub const PRINCIPAL: &str = "token:everybody";

fn open_session(token: Token, timeout_ms: u64) -> Input {
    let principal = PRINCIPAL.to_owned();
    let opening = Opening { timeout_ms, secret_hash: [7; 32], principal, ..Opening::default() };
    Input::OpenSession { token, opening }
}
