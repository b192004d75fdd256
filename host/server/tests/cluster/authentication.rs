//! Who clients are, in a cluster: whichever member they show it to, and whatever becomes of that.

use std::time::{Duration, SystemTime};

use quorate_client::{Client, Credential, Options};
use quorate_net::{Token, token};

use crate::cluster::Cluster;

const HOUR: Duration = Duration::from_secs(3600);

async fn identities(client: &Client) -> Vec<String> {
    let whoami = client.whoami().await.expect("answered");
    whoami.identities.iter().map(|held| held.identity.to_string()).collect()
}

fn password() -> Credential {
    Credential::Password { user: "super".to_owned(), password: "admin".to_owned() }
}

/// ZooKeeper's own example of its digests.
const DIGEST: &str = "digest:super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_at_any_member_holds_at_all_and_through_a_fail_over() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let [one, two] = cluster.others(leader)[..] else { panic!("three members") };
    let not_before = SystemTime::now();
    let made = Token {
        name: "ci".to_owned(),
        not_before,
        expires: not_before + HOUR,
        audience: cluster.status(one).await.and_then(|status| {
            status.cluster.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
        }),
    };
    assert!(made.audience.is_some());
    let token = token::issue(&cluster.authority(), &made).expect("a token");
    for member in [leader, one, two] {
        let mut options: Options = cluster.direct(member);
        options.credentials.push(Credential::Token(token.clone()));
        let client = Client::connect(options).await.expect("a session");
        client.authenticate(&password()).await.expect("accepted");
        assert_eq!(identities(&client).await, [DIGEST, "token:ci"], "member {member}");
        client.close().await.expect("closed");
    }

    // Shown to a follower, kept when that and the leader are gone, one after the other.
    let client = cluster.client(&[one, two, leader]).await;
    client.authenticate(&password()).await.expect("accepted");
    cluster.node_mut(one).kill();
    assert_eq!(identities(&client).await, [DIGEST]);
    client.authenticate(&Credential::Token(token)).await.expect("accepted elsewhere");
    cluster.restart(one).await;
    let leader = cluster.settled().await;
    cluster.node_mut(leader).kill();
    assert_eq!(identities(&client).await, [DIGEST, "token:ci"]);
}
