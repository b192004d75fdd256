//! Members of two versions: what rises when all are of the newer one, what is refused until then and after, and that nothing
//! is lost meanwhile.

use quorate_client::core::deployment::Manifest;
use quorate_client::core::error::ErrorCode;
use quorate_client::core::level::Level;
use quorate_client::core::path::Path;
use quorate_client::core::request::Deploy;
use quorate_client::{Client, Error};

use crate::bad_input::copy;
use crate::cluster::{Cluster, one_at_a_time};
use crate::harness::Done;
use crate::load::Load;
use crate::node::{older, until};

/// What this version knows, and the version before.
const NEWER: Level = Level::NEWEST;
const OLDER: Level = Level(NEWER.0 - 1);

/// Deploys the component of the counter once more, with functions that are listed as read-only.
async fn deploy_reader(client: &Client) -> Result<u64, Error> {
    let history = client.history("counter").await?;
    let version = history.versions.last().expect("the counter is deployed");
    let mut manifest = Manifest::for_root(Path::parse("/recipes/reader").expect("a path"));
    manifest.read_only.insert("get".to_owned());
    let (recipe, component) = ("reader".to_owned(), version.component);
    client.deploy(Deploy { recipe, component, manifest, breaking_allowed: false }).await
}

/// What needs the newer level is refused now, and the refusal says why.
async fn is_refused(client: &Client) {
    let refused = deploy_reader(client).await.expect_err("the level is too low");
    assert_eq!(refused.code(), ErrorCode::LevelTooLow, "{refused}");
    let said = refused.to_string();
    for part in ["read-only functions in a manifest", "needs level 2", "has level 1", "upgrade"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// Waits until every member answers, all that ran before is applied, and the cluster has this level.
async fn level_is(cluster: &Cluster, level: Level) {
    let what = format!("every member has applied level {level}");
    until(&what, async || {
        let status = cluster.status(*cluster.up().first()?).await?;
        let all: Option<Vec<_>> =
            status.members.iter().map(|line| line.status.as_ref().ok()).collect();
        let has = |found: &&quorate_client::Status| found.cluster_level == level;
        all?.iter().all(has).then_some(())
    })
    .await;
}

/// Hands the leadership to a member, if it is this one's turn.
async fn hand_over(cluster: &Cluster, from: u64) {
    if cluster.leader().await == from {
        let to = cluster.others(from)[0].to_string();
        cluster.ok(from, &["cluster", "transfer-leader", &to]);
        cluster.leader_among(&cluster.others(from)).await;
    }
}

/// Ends a member in order, and starts it again as the one or the other build; the clients go on in between.
async fn restart(cluster: &mut Cluster, load: &mut Load, member: u64, is_older: bool) {
    hand_over(cluster, member).await;
    load.goes_on().await;
    assert_eq!(cluster.node_mut(member).stop(), 0, "member {member} ends in order");
    load.goes_on().await;
    cluster.node_mut(member).is_older = is_older;
    cluster.restart(member).await;
    load.goes_on().await;
}

/// The line of `cluster status` about the level.
fn shown(cluster: &Cluster, member: u64) -> String {
    let shown = cluster.run(member, &["cluster", "status"]).stdout;
    shown.lines().find(|line| line.starts_with("level ")).expect(&shown).to_owned()
}

/// The older build neither believes nor restores a snapshot of a cluster whose level has risen.
fn reads_no_snapshot(cluster: &Cluster, member: u64) {
    let file = cluster.home.path().join("risen.snapshot");
    let file = file.to_str().expect("UTF-8");
    cluster.ok(member, &["snapshot", "save", file]);
    assert!(cluster.home.ok(&["snapshot", "inspect", file]).contains("level      2"));
    let restored = cluster.home.path().join("restored");
    let data = restored.to_str().expect("UTF-8");
    let [inspect, restore] =
        [&["snapshot", "inspect", file][..], &["snapshot", "restore", file, "--data", data]];
    for arguments in [inspect, restore] {
        let done = Done::of(cluster.home.command_named(older(), arguments).output().expect("runs"));
        let said = done.stdout + &done.stderr;
        let why = "the snapshot has feature level 2, this program knows 1";
        assert!(done.code == 1 && said.contains(why), "{arguments:?}: {said}");
        assert!(!restored.exists(), "nothing was made");
    }
    cluster.home.ok(restore);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_under_load_loses_nothing_and_the_level_rises_at_its_end() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start_with(3, |node| node.is_older = true).await;
    let mut load = Load::start(&cluster).await;
    let client = cluster.client(&[1, 2, 3]).await;
    level_is(&cluster, OLDER).await;
    is_refused(&client).await;
    let leader = cluster.leader().await;
    let followers = cluster.others(leader);
    let [first, second] = followers[..] else { panic!("three members") };

    restart(&mut cluster, &mut load, first, false).await;
    level_is(&cluster, OLDER).await;
    is_refused(&client).await;
    let before = cluster.node(first).directory.join("before");
    copy(&cluster.node(first).data, &before);
    // What is mixed can be taken back.
    restart(&mut cluster, &mut load, first, true).await;
    restart(&mut cluster, &mut load, first, false).await;
    restart(&mut cluster, &mut load, second, false).await;
    level_is(&cluster, OLDER).await;
    is_refused(&client).await;
    let holds = format!("level 1; member {leader} (0.1.0, level 1) holds it back");
    assert_eq!(shown(&cluster, first), holds);

    restart(&mut cluster, &mut load, leader, false).await;
    level_is(&cluster, NEWER).await;
    assert_eq!(shown(&cluster, first), "level 2");
    deploy_reader(&client).await.expect("all members know the feature");
    load.goes_on().await;

    // The older build, on a directory that has risen.
    cluster.expect_error("this cluster uses feature level 2");
    assert_eq!(cluster.node_mut(first).stop(), 0);
    cluster.node_mut(first).is_older = true;
    for _ in 0..2 {
        assert_eq!(cluster.start_in_vain(first).await, 1);
    }
    let log = cluster.node(first).log();
    let why = "this cluster uses feature level 2, and this build knows 1: start the member with a version that knows level 2";
    assert!(log.contains(why), "{log}");
    // On a directory that has missed the rise it starts, and nobody speaks to it.
    cluster.expect_error("other members refuse this one");
    let risen = std::mem::replace(&mut cluster.node_mut(first).data, before);
    cluster.restart(first).await;
    let why = format!(
        "this cluster uses feature level 2; the build of member {first} (quorate/0.1.0) knows 1: upgrade it"
    );
    cluster.node(first).says(&why).await;
    cluster.says_of(second, first, &why).await;
    load.goes_on().await;
    cluster.node_mut(first).kill();
    reads_no_snapshot(&cluster, second);

    cluster.node_mut(first).data = risen;
    cluster.node_mut(first).is_older = false;
    cluster.restart(first).await;
    level_is(&cluster, NEWER).await;
    load.goes_on().await;

    // All members of one version, one after the other.
    for member in 1..=3 {
        restart(&mut cluster, &mut load, member, false).await;
    }
    client.close().await.expect("its session outlives all of it");
    load.finish(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_counts_in_the_level_and_one_that_knows_too_little_is_refused() {
    let mut cluster = Cluster::start_with(3, |node| node.is_older = node.number == 3).await;
    level_is(&cluster, OLDER).await;
    let leader = cluster.settled().await;
    if leader == 3 {
        cluster.ok(1, &["cluster", "transfer-leader", "1"]);
    }
    let leader = cluster.leader_among(&[1, 2]).await;
    // It is not there when the level rises, and belongs to the cluster no more.
    assert_eq!(cluster.node_mut(3).stop(), 0);
    cluster.ok(leader, &["cluster", "remove", "3"]);
    level_is(&cluster, NEWER).await;

    let new = cluster.further_member_with(|node| node.is_older = true).await;
    let place = format!("{new}={}", cluster.node(new).address());
    let said = cluster.refused(leader, &["cluster", "add", &place]);
    let why = format!(
        "this cluster uses feature level 2; the build of member {new} (quorate/0.1.0) knows 1: upgrade it"
    );
    assert!(said.contains("Q5007") && said.contains(&why), "{said}");
    // The one that was removed does not know it, and takes itself for a member.
    cluster.expect_error("other members refuse this one");
    cluster.restart(3).await;
    cluster
        .node(3)
        .says("this cluster uses feature level 2; the build of member 3 (quorate/0.1.0) knows 1: upgrade it")
        .await;
    cluster.node_mut(3).kill();

    assert_eq!(cluster.node_mut(new).stop(), 0);
    cluster.node_mut(new).is_older = false;
    cluster.restart(new).await;
    cluster.ok(leader, &["cluster", "add", &place]);
    cluster.ok(leader, &["cluster", "promote", &new.to_string()]);
    level_is(&cluster, NEWER).await;
    cluster.goes_on(&[1, 2, new]).await;
}
