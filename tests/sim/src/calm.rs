//! Since when nothing has kept a majority from its leader: what makes an election a finding. It sees all of a run, which no
//! member does, and decides nothing.

use std::rc::Rc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use crate::member::Member;
use crate::process::world_ns;
use crate::world::World;

/// How long a majority of the voters, the leader among them, has been undisturbed and in touch with it, in milliseconds;
/// and the one who asks has run all the time. 0 if nobody leads, or if it can not be told.
#[must_use]
pub fn heard_ms(world: &World, asks: u64) -> u64 {
    heard_since_ns(world, asks)
        .map_or(0, |since_ns| world_ns().saturating_sub(since_ns) / 1_000_000)
}

fn heard_since_ns(world: &World, asks: u64) -> Option<u64> {
    if !world.net.is_quiet() {
        return None;
    }
    let members: Vec<Rc<Member>> = world.members.borrow().values().cloned().collect();
    let leading = members.iter().filter_map(|member| {
        let raft = member.running()?.raft()?;
        let server = raft.server_metrics();
        let server = server.borrow_watched();
        let is_leader = server.state == ServerState::Leader && server.vote.committed;
        is_leader.then(|| (server.vote.leader_id.term, member, server.membership_config.clone()))
    });
    let (_, leader, membership) = leading.max_by_key(|(term, ..)| *term)?;
    if leader.number == asks || membership.membership().get_joint_config().len() != 1 {
        return None;
    }
    let voters: Vec<u64> = membership.voter_ids().collect();
    let mut since: Vec<u64> = voters
        .iter()
        .filter_map(|voter| {
            let member = members.iter().find(|member| member.number == *voter)?;
            let (to, from) = (member.number, leader.number);
            let ways = world.net.open_since_ns(from, to)?.max(world.net.open_since_ns(to, from)?);
            Some(member.steady_since_ns()?.max(ways))
        })
        .collect();
    since.sort_unstable();
    let majority_ns = *since.get(voters.len() / 2)?;
    let asks = members.iter().find(|member| member.number == asks)?.steady_since_ns()?;
    let running = leader.running()?;
    // A leader that hands its office over refuses proposals, and nobody's lease is renewed until somebody else stands.
    running.leader.open_tag()?;
    let leads_ns = running.led_since_ns.get()?.max(leader.steady_since_ns()?);
    Some(majority_ns.max(asks).max(leads_ns).max(world.stirred_ns.get()))
}
