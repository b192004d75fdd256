//! Members, directories, certificates and commands that are wrong: each is refused with a reason that a person understands, and
//! the cluster goes on unharmed.

use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use quorate_net::{Client, ClientConfig, LaneLimits, Protocol, TrustAnchors, issue};

use crate::cluster::Cluster;
use crate::harness::Done;
use crate::node::{Node, until};

/// The member that is not what it should be.
const WRONG: u64 = 3;
/// The others.
const RIGHT: [u64; 2] = [1, 2];
/// Said of a directory that is another than the one that joined.
const OTHER_DIRECTORY: &str = "its directory was lost, or two members have the number 3";

/// Copies a directory, of a member that may run.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            // One that was there a moment ago may be gone: a running member deletes files.
            std::fs::copy(entry.path(), to).ok();
        }
    }
}

/// A cluster of three whose third member is stopped, in order.
async fn without_one() -> Cluster {
    let mut cluster = Cluster::start(3).await;
    cluster.settled().await;
    assert_eq!(cluster.node_mut(WRONG).stop(), 0);
    cluster
}

/// Ends the wrong member, starts the right one on its own data, and sees that all is well.
async fn right_again(mut cluster: Cluster) {
    if cluster.node(WRONG).is_up() {
        cluster.node_mut(WRONG).kill();
    }
    let node = cluster.node_mut(WRONG);
    node.data = node.directory.join("data");
    cluster.restart(WRONG).await;
    cluster.goes_on(&[1, 2, 3]).await;
    cluster.settled().await;
}

/// Where the two others say why.
async fn right_say(cluster: &Cluster, why: &str) {
    for member in RIGHT {
        cluster.says_of(member, WRONG, why).await;
    }
    cluster.goes_on(&RIGHT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    let mut cluster = without_one().await;
    let other = cluster.home.path().join("other-authority");
    issue::authority(&other, None, SystemTime::now()).expect("an authority");
    let certificates = cluster.node(WRONG).directory.join("certificates");
    let kept = cluster.node(WRONG).directory.join("kept");
    std::fs::rename(&certificates, &kept).expect("renamed");
    issue::member(&certificates, &other, WRONG, &[], SystemTime::now()).expect("a certificate");
    cluster.restart(WRONG).await;
    right_say(&cluster, "certificate").await;
    // A new member with one is not taken, either.
    let mut stranger = Node::named(&cluster.home, &other, 4, "stranger").await;
    stranger.start(&cluster.home).await;
    let said = cluster.refused(1, &["cluster", "add", &format!("4={}", stranger.address())]);
    assert!(said.contains("certificate"), "{said}");
    std::fs::remove_dir_all(&certificates).expect("removed");
    std::fs::rename(&kept, &certificates).expect("renamed");
    right_again(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_s_certificate_is_refused_at_the_start() {
    let mut cluster = without_one().await;
    let certificates = cluster.node(WRONG).directory.join("certificates");
    let kept = cluster.node(WRONG).directory.join("kept");
    std::fs::rename(&certificates, &kept).expect("renamed");
    copy(&cluster.node(2).directory.join("certificates"), &certificates);
    assert_ne!(cluster.start_in_vain(WRONG).await, 0);
    let said = cluster.node(WRONG).log();
    assert!(said.contains("member-3.quorate.internal"), "{said}");
    cluster.expect_error("certificate");
    cluster.goes_on(&RIGHT).await;
    std::fs::remove_dir_all(&certificates).expect("removed");
    std::fs::rename(&kept, &certificates).expect("renamed");
    right_again(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused() {
    let mut cluster = without_one().await;
    let authority = cluster.authority();
    for number in [4, WRONG] {
        let name = format!("stranger-{number}");
        let mut stranger = Node::named(&cluster.home, &authority, number, &name).await;
        stranger.start(&cluster.home).await;
        let place = format!("{number}={}", stranger.address());
        let made = cluster.run_at(&stranger, &["cluster", "init", &place]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        let said = cluster.refused(1, &["cluster", "add", &place]);
        if number == WRONG {
            assert!(said.contains("member 3 belongs to the cluster already"), "{said}");
            stranger.kill();
            cluster.node_mut(WRONG).data.clone_from(&stranger.data);
        } else {
            assert!(said.contains("belongs to another cluster already"), "{said}");
        }
    }
    cluster.restart(WRONG).await;
    right_say(&cluster, OTHER_DIRECTORY).await;
    cluster.node(WRONG).says(OTHER_DIRECTORY).await;
    right_again(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_directory_under_its_old_number_is_refused() {
    let mut cluster = without_one().await;
    cluster.node_mut(WRONG).data = cluster.node(WRONG).directory.join("wiped");
    cluster.restart(WRONG).await;
    right_say(&cluster, OTHER_DIRECTORY).await;
    cluster.node(WRONG).says(OTHER_DIRECTORY).await;
    right_again(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_before_later_starts_is_refused() {
    let mut cluster = without_one().await;
    let older = cluster.node(WRONG).directory.join("older");
    copy(&cluster.node(WRONG).data, &older);
    for _ in 0..2 {
        cluster.restart(WRONG).await;
        cluster.goes_on(&[1, 2, 3]).await;
        assert_eq!(cluster.node_mut(WRONG).stop(), 0);
    }
    cluster.expect_error("is an older copy");
    cluster.node_mut(WRONG).data = older;
    cluster.restart(WRONG).await;
    // Who has met the later starts knows; the leader has.
    let leader = cluster.leader_among(&RIGHT).await;
    cluster.says_of(leader, WRONG, "is an older copy").await;
    cluster.node(WRONG).says("is an older copy").await;
    cluster.goes_on(&RIGHT).await;
    right_again(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_its_member_ran_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    if leader == WRONG {
        cluster.ok(1, &["cluster", "transfer-leader", "1"]);
    }
    let older = cluster.node(WRONG).directory.join("older");
    copy(&cluster.node(WRONG).data, &older);
    for _ in 0..10 {
        cluster.goes_on(&[1, 2, 3]).await;
    }
    let leader = cluster.leader().await;
    cluster.node_mut(WRONG).kill();
    cluster.node_mut(WRONG).data = older;
    cluster.expect_error("has lost entries");
    cluster.expect_error("data directory");
    cluster.expect_error("takes no part any more");
    // What was copied may be no whole directory: then it does not start. Else it is told, and ends.
    let Cluster { home, nodes, .. } = &mut cluster;
    let wrong = nodes.iter_mut().find(|node| node.number == WRONG).expect("a member");
    wrong.spawn(home);
    assert_ne!(cluster.node_mut(WRONG).ends().await, 0);
    let was_told = cluster.node(WRONG).log().contains("has lost entries");
    assert_eq!(was_told, cluster.node(leader).log().contains("has lost entries"));
    println!("a copy of a running directory: it was told: {was_told}");
    assert_ne!(cluster.start_in_vain(WRONG).await, 0, "it has started again");
    cluster.goes_on(&RIGHT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_a_number_on_a_directory_of_its_own_is_refused() {
    let cluster = Cluster::start(3).await;
    let mut second = Node::named(&cluster.home, &cluster.authority(), WRONG, "second").await;
    second.start(&cluster.home).await;
    let place = format!("{WRONG}={}", second.address());
    let said = cluster.refused(1, &["cluster", "add", &place]);
    assert!(said.contains("member 3 belongs to the cluster already"), "{said}");
    let said = cluster.run_at(&second, &["create", "/lost"]);
    assert_ne!(said.code, 0, "{}", said.stdout);
    cluster.goes_on(&[1, 2, 3]).await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_a_number_on_a_copy_of_its_directory_is_refused() {
    let mut cluster = without_one().await;
    let authority = cluster.authority();
    let mut second = Node::named(&cluster.home, &authority, WRONG, "second").await;
    copy(&cluster.node(WRONG).data, &second.data);
    cluster.restart(WRONG).await;
    cluster.goes_on(&[1, 2, 3]).await;
    // A further start makes it the newer one.
    assert_eq!(cluster.node_mut(WRONG).stop(), 0);
    cluster.restart(WRONG).await;
    cluster.goes_on(&[1, 2, 3]).await;
    second.start(&cluster.home).await;
    second.says("is an older copy").await;
    cluster.goes_on(&[1, 2, 3]).await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_as_a_member_without_a_certificate() {
    let cluster = Cluster::start(3).await;
    let ca = cluster.authority().join(issue::AUTHORITY_FILE);
    let trust = TrustAnchors::load(&ca).expect("an authority");
    let client = Client::bind(ClientConfig::default()).expect("a port");
    let target = cluster.node(1).listen;
    let connected = client.connect(target, "127.0.0.1", &trust, Protocol::Member).await;
    // TLS tells the server's no after the client's part of the handshake.
    if let Ok(connection) = connected {
        let reason = connection.closed().await.to_string();
        assert!(reason.contains("certificate"), "{reason}");
        assert!(connection.open_lane(LaneLimits::default()).await.is_err());
    }
    cluster.goes_on(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_made_once_of_members_that_are_there_under_their_numbers() {
    let mut cluster = Cluster::waiting(3).await;
    let [one, two, three] =
        [1, 2, 3].map(|number| format!("{number}={}", cluster.node(number).address()));
    let swapped = format!("3={}", cluster.node(2).address());
    cluster.node_mut(3).kill();
    for (members, says) in [
        (&[&one, &two, &three][..], "member 3 was not found at"),
        (&[&one, &swapped], "member 3 was not found at"),
        (&[&two, &three], "must include the one that is asked, which is 1"),
        (&[&one, &two, &two], "named twice"),
    ] {
        let members: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
        let said = cluster.refused(1, &[&["cluster", "init"], &members[..]].concat());
        assert!(said.contains(says), "{members:?}: {said}");
    }
    cluster.restart(3).await;
    cluster.ok(1, &["cluster", "init", &one, &two, &three]);
    cluster.settled().await;
    for member in 1..=3 {
        let said = cluster.refused(member, &["cluster", "init", &one, &two, &three]);
        assert!(said.contains("belongs to a cluster already"), "{said}");
    }
    cluster.goes_on(&[1, 2, 3]).await;
    cluster.settled().await;
}

/// Gives `cluster init` at two members at once; what each said of it.
fn both_at_once(cluster: &Cluster, commands: [(u64, &[&str]); 2]) -> [Done; 2] {
    let ca = cluster.authority().join(issue::AUTHORITY_FILE);
    let begun = commands.map(|(member, members)| {
        let listen = cluster.node(member).listen.to_string();
        let mut command = cluster.home.command(&["cluster", "init"]);
        let command = command.args(members).args(["--connect", &listen, "--ca"]).arg(&ca);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    });
    begun.map(|child| Done::of(child.wait_with_output().expect("it ends")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_made_at_two_members_at_once_is_one() {
    let cluster = Cluster::waiting(3).await;
    let places = [1, 2, 3].map(|number| format!("{number}={}", cluster.node(number).address()));
    let [one, two, three] = places.each_ref().map(String::as_str);
    let said = both_at_once(&cluster, [(1, &[one, two, three]), (2, &[one, two, three])]);
    assert!(said.iter().any(|done| done.code == 0), "{said:?}");
    cluster.settled().await;
    cluster.goes_on(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clusters_that_are_made_of_one_member_at_once_one_is_refused() {
    let cluster = Cluster::waiting(3).await;
    cluster.expect_error("other members refuse this one");
    let places = [1, 2, 3].map(|number| format!("{number}={}", cluster.node(number).address()));
    let [one, two, three] = places.each_ref().map(String::as_str);
    let said = both_at_once(&cluster, [(1, &[one, three]), (2, &[two, three])]);
    let [winner, loser] = match said.each_ref().map(|done| done.code) {
        [0, code] if code != 0 => [1_usize, 2],
        [code, 0] if code != 0 => [2, 1],
        _ => panic!("one of the two: {said:?}"),
    };
    let why = &said[loser - 1].stderr;
    assert!(
        why.contains("another `quorate cluster init`") || why.contains("belongs to cluster"),
        "{why}"
    );
    // Who was refused is free, and joins.
    let (asked, refused) = (winner as u64, loser.to_string());
    until("the cluster has a leader", async || cluster.status(asked).await?.leader).await;
    let place = places[loser - 1].clone();
    cluster.ok(asked, &["cluster", "add", &place]);
    cluster.ok(asked, &["cluster", "promote", &refused]);
    cluster.settled().await;
}
