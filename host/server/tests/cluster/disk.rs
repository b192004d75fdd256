//! A member whose disk is full ends, and says so; the others go on, and when there is room again it comes back.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use quorate_client::core::error::ErrorCode;

use crate::cluster::{Cluster, one_at_a_time};
use crate::node::{PATIENCE, until};
use crate::small_disk::{in_namespace, mount, noise};

/// Room for two segments of the log (64 MiB each) and the tree.
const DISK: &str = "size=400m";
/// The member with the small disk.
const SMALL: u64 = 2;
/// Writes of 900 KiB until the disk must be full by far: a segment of the log is 64 MiB.
const WRITES_MAX: u64 = 200;

/// Uses up a disk.
fn fill(disk: &Path) -> PathBuf {
    let ballast = disk.join("ballast");
    let mut file = File::create(&ballast).expect("made");
    let piece = vec![1; 1024 * 1024];
    while file.write_all(&piece).is_ok() {}
    ballast
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_its_member_a_follower_or_the_leader_and_the_others_go_on() {
    const NAME: &str =
        "disk::a_full_disk_ends_its_member_a_follower_or_the_leader_and_the_others_go_on";
    if !in_namespace(NAME) {
        return;
    }
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start_with(3, |node| {
        node.further = "disk_reserve_mib = 0\ncache_mib = 8".to_owned();
        if node.number == SMALL {
            let disk = node.directory.join("disk");
            std::fs::create_dir(&disk).expect("made");
            mount(&disk, DISK);
            node.data = disk.join("data");
        }
    })
    .await;
    // One line says what failed, where and why; raft and the process say something of their own around it.
    for said in ["No space left on device", "apply", "RaftCore::main", "HeartbeatWorker", "error: "]
    {
        cluster.expect_error(said);
    }
    let disk = cluster.node(SMALL).directory.join("disk");
    let client = cluster.client(&[1, 3]).await;
    client.create("/w").await.expect("created");
    let mut written = 0;
    for leader in [1, SMALL] {
        cluster.settled().await;
        cluster.ok(1, &["cluster", "transfer-leader", &leader.to_string()]);
        let ballast = fill(&disk);
        let first = written;
        while !cluster.node_mut(SMALL).has_ended() {
            assert!(written - first < WRITES_MAX, "the disk is full, and the member goes on");
            let create = client.create(&format!("/w/{written}")).data(noise(written));
            let created = tokio::time::timeout(PATIENCE, create.into_future()).await;
            created.expect("in time").expect("acknowledged");
            written += 1;
        }
        assert_ne!(cluster.node_mut(SMALL).end(), 0);
        let log = cluster.node(SMALL).log();
        assert!(log.contains("No space left on device") && log.contains("make room"), "{log}");
        cluster.goes_on(&[1, 3]).await;
        std::fs::remove_file(ballast).expect("removed");
        cluster.restart(SMALL).await;
    }
    cluster.settled().await;
    let here = cluster.client_direct(SMALL).await;
    for number in 0..written {
        let there = here.get(&format!("/w/{number}")).await.expect("acknowledged, and there");
        assert!(there.data == noise(number), "/w/{number} is not what was acknowledged");
    }
}

const MIB: u64 = 1024 * 1024;

/// Uses up a member's disk, but for so much.
async fn fill_up_to(cluster: &Cluster, member: u64, left_bytes: u64) -> PathBuf {
    let free = disk_free(cluster, member).await.expect("it answers");
    let ballast = cluster.node(member).directory.join("disk/ballast");
    let piece = vec![1; 1024 * 1024];
    let mut file = File::create(&ballast).expect("made");
    for _ in 0..(free.checked_sub(left_bytes).expect("there is room") / MIB) {
        file.write_all(&piece).expect("written");
    }
    until("it knows", async || {
        (disk_free(cluster, member).await? < left_bytes + 2 * MIB).then_some(())
    })
    .await;
    ballast
}

/// What a member says of its disk.
async fn disk_free(cluster: &Cluster, member: u64) -> Option<u64> {
    let status = cluster.status(member).await?;
    let own = status.members.into_iter().find(|line| line.member == member)?;
    own.status.ok().map(|status| status.disk_free_bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn growing_writes_are_refused_while_too_few_members_have_room_and_the_refusal_names_them() {
    const NAME: &str = "disk::growing_writes_are_refused_while_too_few_members_have_room_and_the_refusal_names_them";
    if !in_namespace(NAME) {
        return;
    }
    let _alone = one_at_a_time().await;
    let cluster = Cluster::start_with(3, |node| {
        node.further = "disk_reserve_mib = 128\ncache_mib = 8".to_owned();
        if node.number != 1 {
            let disk = node.directory.join("disk");
            std::fs::create_dir(&disk).expect("made");
            mount(&disk, DISK);
            node.data = disk.join("data");
        }
    })
    .await;
    cluster.settled().await;
    cluster.ok(1, &["cluster", "transfer-leader", "1"]);
    let client = cluster.client(&[1, 2, 3]).await;
    client.create("/w/n").parents().await.expect("created");
    // The leader and another one are enough.
    fill_up_to(&cluster, 2, 100 * MIB).await;
    client.create("/w/one-is-short").await.expect("two of three have room");
    let ballast = fill_up_to(&cluster, 3, 100 * MIB).await;
    let refusal =
        until("it is refused", async || client.create("/w/").sequential().await.err()).await;
    assert_eq!(refusal.code(), ErrorCode::DiskFull, "{refusal}");
    assert!(refusal.to_string().contains("(not: 2, 3)"), "{refusal}");
    client.delete("/w/n", None).await.expect("deletions go on");
    std::fs::remove_file(ballast).expect("removed");
    until("there is room", async || client.create("/w/again").await.ok()).await;
    client.close().await.expect("closed");
    cluster.settled().await;
}
