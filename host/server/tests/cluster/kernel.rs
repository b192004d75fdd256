//! What real networks do and a relay can not: a kernel that refuses to send, an interface that goes down, an address that is
//! another one. Each member has a network namespace of its own, at a bridge; clients are at the bridge.

use std::process::Command;

use crate::cluster::{Cluster, one_at_a_time};
use crate::load::Load;
use crate::namespace::again_in;
use crate::node::address_in_namespace;

const TEST: &str =
    "kernel::the_counter_is_exact_and_tokens_grow_while_the_kernel_refuses_what_members_send";
const PROBE: &str = "mount -t tmpfs tmpfs /run && ip netns add there \
    && ip link add here type veth peer name eth netns there && ip link add clients type bridge";
/// Of the clients, at first and later.
const CLIENTS: [&str; 2] = ["10.77.0.254/24", "10.77.0.253/24"];

/// Of a member, as `ip` names it.
fn namespace(member: u64) -> String {
    format!("m{member}")
}

fn ip(arguments: &str) {
    let mut command = Command::new("ip");
    let status = command.args(arguments.split_whitespace()).status().expect("ip");
    assert!(status.success(), "ip {arguments}");
}

/// A bridge, and at it a namespace for each member.
fn network(members: u64) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).status();
    assert!(mounted.expect("mount").success());
    ip("link set lo up");
    ip("link add clients type bridge");
    ip(&format!("addr add {} dev clients", CLIENTS[0]));
    ip("link set clients up");
    for member in 1..=members {
        let (name, host) = (namespace(member), address_in_namespace(member).ip());
        ip(&format!("netns add {name}"));
        ip(&format!("link add v{member} type veth peer name eth netns {name}"));
        ip(&format!("link set v{member} master clients up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} addr add {host}/24 dev eth"));
        ip(&format!("-n {name} link set eth up"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_is_exact_and_tokens_grow_while_the_kernel_refuses_what_members_send() {
    let _alone = one_at_a_time().await;
    if !again_in(TEST, &["--mount", "--net"], &["sh", "-c", PROBE], "make networks") {
        return;
    }
    network(3);
    let cluster = Cluster::start_with(3, |node| {
        node.listen = address_in_namespace(node.number);
        node.namespace = Some(namespace(node.number));
    })
    .await;
    let mut load = Load::start(&cluster).await;
    load.goes_on().await;
    // Its interface is down: whatever it sends is refused at once, to members and to clients.
    for _ in 0..2 {
        let leader = cluster.leader().await;
        let name = namespace(leader);
        ip(&format!("-n {name} link set eth down"));
        load.goes_on().await;
        assert_ne!(cluster.leader_among(&cluster.others(leader)).await, leader);
        ip(&format!("-n {name} link set eth up"));
        load.goes_on().await;
    }
    // It may not send to one other member, who may send to it.
    let leader = cluster.leader().await;
    for refusal in ["unreachable", "prohibit", "blackhole"] {
        let (name, other) = (namespace(leader), cluster.others(leader)[0]);
        let route = format!("{refusal} {}", address_in_namespace(other).ip());
        ip(&format!("-n {name} route add {route}"));
        load.goes_on().await;
        ip(&format!("-n {name} route del {route}"));
        load.goes_on().await;
    }
    // The clients move: for a moment they have no address at all.
    ip(&format!("addr del {} dev clients", CLIENTS[0]));
    ip(&format!("addr add {} dev clients", CLIENTS[1]));
    load.goes_on().await;
    load.finish(&cluster).await;
}
