//! The protocol from the outside: what is answered, what is refused, and that the member goes on.

use anyhow::{Result, bail};
use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::ids::WriteNumber;
use quorate_core::request::{Answer, Reply};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Hello, Query, Results, ServerMessage,
};
use quorate_wire::protocol::Versions;
use tokio::time::timeout;

use crate::raw::{PATIENCE, Raw, Rig, create, lane, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_and_read_back() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let answer = client.done(&create("/a", "one")).await?;
    assert!(matches!(answer, Answer::Created { ref path, .. } if path == "/a"), "{answer:?}");
    client.done(&set("/a", "two")).await?;
    let read = client.read(Consistency::Linearizable, Query::Get("/a".to_owned())).await?;
    assert!(
        matches!(read, Results::Node { ref data, stat } if data == "two" && stat.version == 1),
        "{read:?}"
    );
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_code_and_the_session_goes_on() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let (_, reply) = client.write(&set("/missing", "x")).await?;
    let Reply::Refused(failure) = reply else { bail!("done: {reply:?}") };
    assert_eq!(failure.refusal.code, ErrorCode::NoNode);
    client.done(&create("/a", "")).await?;
    assert!(matches!(client.heartbeat().await?, ServerMessage::Confirmed { .. }));
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_and_the_session_resumes() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut client = rig.client().await?;
    for number in 0..50 {
        client.done(&create(&format!("/n{number}"), "x")).await?;
    }
    let resume = client.resume();
    rig.restart().await?;
    let mut client = Raw::connect(&rig, resume).await?;
    assert_eq!(client.welcome.last_write.0, 50);
    client.done(&create("/after", "")).await?;
    for number in 0..50 {
        client.read(Consistency::Linearizable, Query::Stat(format!("/n{number}"))).await?;
    }
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_garbage_ends_its_lane_and_nothing_else() -> Result<()> {
    let rig = Rig::start().await?;
    let mut good = rig.client().await?;
    let mut bad = rig.client().await?;
    bad.send_frame(Bytes::from_static(&[0x77, 1, 2, 3])).await?;
    let told = bad.receive().await?;
    assert!(
        matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::BadMessage),
        "{told:?}"
    );
    good.done(&create("/a", "")).await?;
    // The session of the lane that was ended lives on.
    let mut again = Raw::connect(&rig, bad.resume()).await?;
    again.done(&create("/b", "")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_frame_that_is_no_hello_is_refused() -> Result<()> {
    let rig = Rig::start().await?;
    let (_client, connection, sender, _receiver) = lane(&rig).await?;
    sender.send(ClientMessage::Heartbeat { request: 1 }.encode()).await?;
    let reason = timeout(PATIENCE, connection.closed()).await?;
    assert!(reason.to_string().contains("no hello"), "{reason}");
    rig.client().await?.done(&create("/a", "")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_protocol_version_is_told_which_is_spoken() -> Result<()> {
    let rig = Rig::start().await?;
    let (_client, _connection, sender, mut receiver) = lane(&rig).await?;
    let hello = Hello {
        protocols: Versions { min: 900, max: 901 },
        namespace: quorate_core::ids::NamespaceId::DEFAULT,
        agent: "from the future".to_owned(),
        attach: Attach::New { timeout_ms: 0, credentials: Vec::new() },
    };
    sender.send(ClientMessage::Hello(hello).encode()).await?;
    let frame = timeout(PATIENCE, receiver.recv()).await??.unwrap();
    let told = ServerMessage::decode(frame)?;
    let ServerMessage::Rejected(refusal) = told else { bail!("{told:?}") };
    assert_eq!(refusal.code, ErrorCode::BadProtocolVersion);
    let both = "speaks the protocols 1 with clients; this client 900 to 901";
    assert!(refusal.message.contains(both), "{refusal}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_resumes_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client().await?;
    let attach =
        Attach::Resume { session: client.session(), secret: [7; 32], sent: WriteNumber(0) };
    let error = Raw::connect(&rig, attach).await.err().unwrap();
    assert!(error.to_string().contains("BadSecret"), "{error}");
    rig.stop().await;
    Ok(())
}
