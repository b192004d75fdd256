//! Certificates that are renewed while their members serve, and new ones that can not be used.

use std::path::Path;
use std::time::{Duration, SystemTime};

use quorate_client::{Client, Options};
use quorate_net::issue;
use rustix::process::Signal;

use crate::cluster::{Cluster, one_at_a_time};
use crate::harness::send;
use crate::load::Load;

/// A name that only renewed certificates are for.
const NAME: &str = "renewed.example";
/// Said when the new one is shown.
const SHOWN: &str = "a renewed certificate is shown";
/// What a client waits for a certificate that is not shown.
const SHORTLY: Duration = Duration::from_secs(2);

/// Makes a certificate for a member by an authority, for one more name, and puts it over the present one.
fn replace(cluster: &Cluster, member: u64, authority: &Path, name: &str) {
    let made = cluster.home.path().join(format!("{name}-{member}"));
    issue::member(&made, authority, member, &[name.to_owned()], SystemTime::now()).expect("made");
    let shown = cluster.node(member).directory.join("certificates");
    for file in ["server-key.pem", "server.pem"] {
        std::fs::copy(made.join(file), shown.join(file)).expect("copied");
    }
}

/// A connection made anew that wants a certificate for the name.
async fn connects(cluster: &Cluster, member: u64) -> bool {
    let mut options: Options = cluster.direct(member);
    options.server_name = Some(NAME.to_owned());
    options.connect_timeout = SHORTLY;
    match Client::connect(options).await {
        Ok(client) => {
            client.close().await.expect("closed");
            true
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_show_renewed_certificates_without_a_restart_and_keep_the_old_for_a_bad_one() {
    let _alone = one_at_a_time().await;
    let cluster = Cluster::start(3).await;
    let mut load = Load::start(&cluster).await;
    for member in 1..=3 {
        assert!(!connects(&cluster, member).await, "member {member} has another certificate yet");
        replace(&cluster, member, &cluster.authority(), NAME);
        // The last one is not told: it looks by itself.
        if member < 3 {
            send(cluster.node(member).child(), Signal::HUP);
        }
        cluster.node(member).says(SHOWN).await;
        assert!(connects(&cluster, member).await, "member {member} shows the renewed one");
        load.goes_on().await;
    }
    // Members find each other again, with what they show now.
    let leader = cluster.leader().await;
    cluster.cut_off(leader);
    load.goes_on().await;
    cluster.heal(leader);
    load.goes_on().await;

    let other = cluster.home.path().join("other-authority");
    issue::authority(&other, None, SystemTime::now()).expect("an authority");
    replace(&cluster, 1, &other, "stranger.example");
    send(cluster.node(1).child(), Signal::HUP);
    cluster.node(1).says("can not be used: the certificate before is shown on").await;
    assert!(cluster.node(1).log().contains("is not signed by"), "{}", cluster.node(1).log());
    assert!(connects(&cluster, 1).await, "the one before is shown on");
    load.finish(&cluster).await;
}
