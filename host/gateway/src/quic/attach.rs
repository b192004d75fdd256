//! A lane is attached to a new session or an old one: who the client is, whether it may, and its welcome. It does not know what
//! is asked on the lane then.

use super::*;
use crate::authentication;
use crate::reads::wall_clock;

/// Attaches a lane to a new session or an old one. The welcome names no members yet.
pub(super) async fn attach(
    face: &Face,
    connection: &Connection,
    hello: &Hello,
    sender: &LaneSender,
) -> Result<(Arc<Attachment>, Welcome), Refusal> {
    let protocol = protocol_with(hello.protocols)?;
    if hello.namespace != NamespaceId::DEFAULT {
        let message = format!("there is no namespace {} here", hello.namespace.0);
        return Err(Refusal::new(ErrorCode::BadArguments, message));
    }
    let (id, secret, sent) = match &hello.attach {
        Attach::New { timeout_ms, credentials } => {
            face.audit.admit_session()?;
            let names = connection.peer_names();
            let known = face.authentication.known(names, credentials, SystemTime::now())?;
            let (id, secret) = open(face, *timeout_ms, known).await?;
            (id, secret, WriteNumber(0))
        }
        Attach::Resume { session, secret, sent } => {
            within(limits::ATTACH_TIMEOUT, face.barrier.pass()).await?;
            let record = check_secret(face.reads.tree().session(*session), *session, secret)?;
            // The secret is the right to go on as whom the session is known; what this connection shows adds nothing to that.
            let now = wall_clock().max(face.reads.tree().meta().time);
            face.authentication.check_still_somebody(&record.identities, now)?;
            (*session, *secret, *sent)
        }
    };
    // Attached before the record is read: a write that is applied in between answers this lane, or is in the record.
    let lane = (sender.handle(), connection.clone());
    let attachment = face.registry.attach(id, lane, sent)?;
    // What ended before is in the tree, and what ends from now on finds the lane.
    face.registry.check_session(&attachment, face.reads.tree());
    let record = face.reads.tree().session(id);
    if let Some(record) = &record {
        face.registry.count_for(&attachment, &record.principal);
    }
    let executed = record.as_ref().map_or(WriteNumber(0), |record| record.last_write);
    attachment.note_doubtful(executed);
    let welcome = Welcome {
        protocol,
        agent: face.agent.clone(),
        session: id,
        secret,
        timeout_ms: record.as_ref().map_or(0, |record| record.timeout_ms),
        attachment: attachment.number,
        zxid: face.registry.zxid(),
        last_write: executed,
        members: Vec::new(),
    };
    Ok((attachment, welcome))
}

async fn open(
    face: &Face,
    timeout_ms: u64,
    known: Vec<Held>,
) -> Result<(SessionId, [u8; 32]), Refusal> {
    let timeout_ms = match timeout_ms {
        0 => core_limits::SESSION_TIMEOUT_MS_DEFAULT,
        asked => {
            asked.clamp(core_limits::SESSION_TIMEOUT_MS_MIN, core_limits::SESSION_TIMEOUT_MS_MAX)
        }
    };
    let mut secret = [0; core_limits::SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| {
        Refusal::new(ErrorCode::Internal, format!("no random bytes for a secret: {error}"))
    })?;
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let opened = face.registry.open_session(authentication::opening(timeout_ms, hash, known));
    Ok((within(limits::ATTACH_TIMEOUT, opened).await?, secret))
}

fn check_secret(
    record: Option<Session>,
    id: SessionId,
    secret: &[u8; 32],
) -> Result<Session, Refusal> {
    let Some(record) = record else {
        return Err(Refusal::new(ErrorCode::NoSession, format!("session {id} is not known here")));
    };
    let hash: [u8; 32] = Sha256::digest(secret).into();
    if hash != record.secret_hash {
        return Err(Refusal::new(
            ErrorCode::BadSecret,
            format!("this is not the secret of session {id}"),
        ));
    }
    Ok(record)
}
