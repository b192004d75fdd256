//! What clients are told of where the service is.

use quorate_wire::message::{PROTOCOLS, Welcome};

use super::*;

async fn told(lane: &mut Lane) -> Vec<String> {
    match lane.receive().await {
        ServerMessage::Members(members) => members,
        other => panic!("{other:?}"),
    }
}

fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOLS.max,
        agent: "a test".to_owned(),
        session: SESSION,
        secret: [0; 32],
        timeout_ms: 10_000,
        attachment: 1,
        zxid: Zxid(0),
        last_write: WriteNumber(0),
        members: Vec::new(),
    }
}

#[tokio::test]
async fn lanes_are_told_of_each_change_after_their_welcome_and_of_nothing_else() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut rig = Attached::new().await;
    rig.registry.set_members(list(&["a:1"]));
    rig.registry.set_members(list(&["a:1", "b:1"]));
    // The first word is the welcome, which names them as they are.
    rig.registry.welcome(&rig.attachment, welcome());
    match rig.lane.receive().await {
        ServerMessage::Welcome(welcome) => assert_eq!(welcome.members, ["a:1", "b:1"]),
        other => panic!("{other:?}"),
    }
    rig.registry.set_members(list(&["a:1", "b:1"]));
    rig.registry.set_members(list(&["a:1", "c:1"]));
    assert_eq!(told(&mut rig.lane).await, ["a:1", "c:1"], "and not of what is as it was");
}
