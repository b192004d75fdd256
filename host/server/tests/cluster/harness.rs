//! A cluster of processes on this machine, each behind a relay of its own, and what is done to it. It does not know what is tested.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use quorate_client::admin::{self, ClusterStatus, Command, Outcome};
use quorate_client::{Authority, Client, Options, Status};
use quorate_net::issue;
use quorate_relay::Faults;

use crate::harness::{Done, Home};
use crate::node::{LOG_VARIABLE, Node, until};

/// Lines of each member's log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;
/// How long a member may take to answer a question about the cluster.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// Held by tests that load their cluster.
pub async fn one_at_a_time() -> tokio::sync::MutexGuard<'static, ()> {
    static LOAD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    LOAD.lock().await
}

/// Members, started and looked after. Dropped, all are ended, and an error in a log that was not expected fails the test.
pub struct Cluster {
    /// Of all files.
    pub home: Home,
    /// In the order of their numbers, from 1.
    pub nodes: Vec<Node>,
    expected: Mutex<Vec<String>>,
}

impl Cluster {
    /// A cluster of members 1 to `count`, with a leader.
    pub async fn start(count: u64) -> Self {
        Self::start_with(count, |_| ()).await
    }

    /// As `start`, of members that are prepared before their first start.
    pub async fn start_with(count: u64, prepare: impl Fn(&mut Node)) -> Self {
        let cluster = Self::waiting_with(count, prepare).await;
        let places: Vec<String> = cluster
            .nodes
            .iter()
            .map(|node| format!("{}={}", node.number, node.address()))
            .collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        cluster.ok(1, &[&["cluster", "init"], &places[..]].concat());
        cluster.settled().await;
        cluster
    }

    /// Members that run and wait for a cluster.
    pub async fn waiting(count: u64) -> Self {
        Self::waiting_with(count, |_| ()).await
    }

    /// As `waiting`, of members that are prepared before their first start.
    pub async fn waiting_with(count: u64, prepare: impl Fn(&mut Node)) -> Self {
        // What the client library says, as the members: with the test's output.
        if let Ok(level) = std::env::var(LOG_VARIABLE) {
            let lines = tracing_subscriber::fmt().with_test_writer().with_env_filter(level);
            lines.try_init().ok();
        }
        let home = Home::new();
        issue::authority(&home.path().join("authority"), None, SystemTime::now())
            .expect("an authority");
        let mut cluster = Self { home, nodes: Vec::new(), expected: Mutex::default() };
        for number in 1..=count {
            let mut node = Node::new(&cluster.home, &cluster.authority(), number).await;
            prepare(&mut node);
            node.start(&cluster.home).await;
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Starts one more member, which waits; its number.
    pub async fn further_member(&mut self) -> u64 {
        self.further_member_with(|_| ()).await
    }

    /// As `further_member`, prepared before its first start.
    pub async fn further_member_with(&mut self, prepare: impl Fn(&mut Node)) -> u64 {
        let number = self.nodes.len() as u64 + 1;
        let mut node = Node::new(&self.home, &self.authority(), number).await;
        prepare(&mut node);
        node.start(&self.home).await;
        self.nodes.push(node);
        number
    }

    /// Directory of the authority.
    pub fn authority(&self) -> PathBuf {
        self.home.path().join("authority")
    }

    fn ca(&self) -> PathBuf {
        self.authority().join(issue::AUTHORITY_FILE)
    }

    /// A member.
    pub fn node(&self, number: u64) -> &Node {
        self.nodes.iter().find(|node| node.number == number).expect("a member of this number")
    }

    /// A member.
    pub fn node_mut(&mut self, number: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.number == number).expect("a member of this number")
    }

    /// Starts a member again and waits until it serves.
    pub async fn restart(&mut self, number: u64) {
        let Self { home, nodes, .. } = self;
        let node = nodes.iter_mut().find(|node| node.number == number).expect("a member");
        node.start(home).await;
    }

    /// Starts a member that is to end by itself, and waits for that; its code.
    pub async fn start_in_vain(&mut self, number: u64) -> i32 {
        let Self { home, nodes, .. } = self;
        let node = nodes.iter_mut().find(|node| node.number == number).expect("a member");
        node.spawn(home);
        node.ends().await
    }

    /// Errors that hold this text may be in the logs.
    pub fn expect_error(&self, text: &str) {
        self.expected.lock().expect("no panic").push(text.to_owned());
    }

    /// Options of a client that knows these members, by their relays.
    pub fn options(&self, members: &[u64]) -> Options {
        let addresses = members.iter().map(|member| self.node(*member).address());
        Options::new(addresses, Authority::File(self.ca()))
    }

    /// Options of a client of one member that the relay is not between.
    pub fn direct(&self, member: u64) -> Options {
        Options::new([self.node(member).listen.to_string()], Authority::File(self.ca()))
    }

    /// A client that knows these members.
    pub async fn client(&self, members: &[u64]) -> Client {
        Client::connect(self.options(members)).await.expect("a session")
    }

    /// A client of one member that is connected to it whatever the relay does.
    pub async fn client_direct(&self, member: u64) -> Client {
        Client::connect(self.direct(member)).await.expect("a session")
    }

    /// A command of the binary, given to a member without a relay between.
    pub fn run(&self, member: u64, arguments: &[&str]) -> Done {
        self.run_at(self.node(member), arguments)
    }

    /// As `run`, at a member that is not one of these.
    pub fn run_at(&self, node: &Node, arguments: &[&str]) -> Done {
        let (address, ca) = (node.listen.to_string(), self.ca());
        let ca = ca.to_str().expect("UTF-8");
        let known = ["--connect", &address, "--ca", ca, "--connect-timeout", "10s"];
        self.home.run(&[arguments, &known].concat())
    }

    /// A command that must succeed; its standard output.
    pub fn ok(&self, member: u64, arguments: &[&str]) -> String {
        let done = self.run(member, arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// A command that must be refused; what is said.
    pub fn refused(&self, member: u64, arguments: &[&str]) -> String {
        let done = self.run(member, arguments);
        assert_eq!(done.code, 1, "{arguments:?}: {}{}", done.stdout, done.stderr);
        done.stderr
    }

    /// What a member says of the cluster, if it answers.
    pub async fn status(&self, member: u64) -> Option<ClusterStatus> {
        let mut options = self.direct(member);
        options.connect_timeout = STATUS_PATIENCE;
        match tokio::time::timeout(STATUS_PATIENCE, admin::command(options, Command::Status)).await
        {
            Ok(Ok(Outcome::Status(status))) => Some(status),
            _ => None,
        }
    }

    /// Deploys built-in recipes.
    pub fn deploy(&self, recipes: &[&str]) {
        for recipe in recipes {
            self.ok(1, &["recipe", "deploy", recipe]);
        }
    }

    /// Waits until one of these members leads and says so itself; its number.
    pub async fn leader_among(&self, members: &[u64]) -> u64 {
        let what = format!("one of {members:?} leads");
        until(&what, async || {
            for member in members {
                let status = self.status(*member).await?;
                let own = status.members.iter().find(|line| line.member == *member)?;
                if own.status.as_ref().is_ok_and(|own| own.role == "leader") {
                    return Some(*member);
                }
            }
            None
        })
        .await
    }

    /// The numbers of members that run and are not paused.
    pub fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.is_up()).map(|node| node.number).collect()
    }

    /// Waits until one of the members that run leads; its number.
    pub async fn leader(&self) -> u64 {
        self.leader_among(&self.up()).await
    }

    /// The other members that run.
    pub fn others(&self, but: u64) -> Vec<u64> {
        self.up().into_iter().filter(|member| *member != but).collect()
    }

    /// Waits until a member is not reached by this one for a reason that a person understands, and is told so.
    pub async fn says_of(&self, member: u64, of: u64, why: &str) {
        let what = format!("member {member} says of member {of}: {why:?}");
        let mut said = String::new();
        until(&what, async || {
            let status = self.status(member).await?;
            let line = status.members.iter().find(|line| line.member == of)?;
            let now =
                line.status.as_ref().err().cloned().unwrap_or_else(|| "it is there".to_owned());
            if now != said {
                println!("member {member} says of member {of}: {now}");
                said = now;
            }
            said.contains(why).then_some(())
        })
        .await;
    }

    /// The cluster is unharmed: it takes writes, and these members agree on them.
    pub async fn goes_on(&self, members: &[u64]) {
        let client = self.client(members).await;
        client.create("/goes-on/").sequential().parents().await.expect("it takes writes");
        client.close().await.expect("closed");
        until("the members agree", async || {
            let status = self.status(members[0]).await?;
            let found = status.members.iter().filter(|line| members.contains(&line.member));
            let found: Option<Vec<_>> = found.map(|line| line.status.as_ref().ok()).collect();
            let stand = |found: &Status| (found.applied_index, found.digest);
            let stands: BTreeSet<_> = found?.into_iter().map(stand).collect();
            (stands.len() == 1).then_some(())
        })
        .await;
    }

    /// Waits until all members of the cluster answer and have applied the same, and compares their digests; nothing may be
    /// written meanwhile. Gives the leader.
    pub async fn settled(&self) -> u64 {
        until("all members stand at the same transaction", async || {
            let status = self.status(*self.up().first()?).await?;
            let all: Option<Vec<_>> =
                status.members.iter().map(|line| line.status.as_ref().ok()).collect();
            let all = all?;
            let indexes: BTreeSet<u64> = all.iter().map(|found| found.applied_index).collect();
            if indexes.len() != 1 || status.is_changing {
                return None;
            }
            let digests: BTreeSet<u128> = all.iter().map(|found| found.digest).collect();
            assert_eq!(digests.len(), 1, "digests differ at one index: {status:?}");
            status.leader
        })
        .await
    }

    /// Nothing passes between this member and the others, either way. Clients reach all of them.
    pub fn cut_off(&self, member: u64) {
        self.split(&[member]);
    }

    /// Nothing passes between these members and the others, either way. Clients reach all of them.
    pub fn split(&self, members: &[u64]) {
        let (some, others): (Vec<&Node>, Vec<&Node>) =
            self.nodes.iter().partition(|node| members.contains(&node.number));
        for one in some {
            for other in &others {
                one.relay.set_for(other.listen, Some(Faults::CUT));
                other.relay.set_for(one.listen, Some(Faults::CUT));
            }
        }
    }

    /// As `cut_off`, and clients reach this member only.
    pub fn cut_off_with_its_clients(&self, member: u64) {
        self.cut_off(member);
        let others = || self.nodes.iter().filter(|node| node.number != member);
        for node in others() {
            node.relay.set_both(Faults::CUT);
            for other in others() {
                node.relay.set_for(other.listen, Some(Faults::default()));
            }
        }
    }

    /// The member, and its clients, reach the others again, and they it.
    pub fn heal(&self, member: u64) {
        let listens: Vec<_> = self.nodes.iter().map(|node| node.listen).collect();
        for node in &self.nodes {
            node.relay.set_both(Faults::default());
            listens.iter().for_each(|listens| node.relay.set_for(*listens, None));
        }
        assert!(self.node(member).is_up(), "a member that runs is cut off and healed");
    }

    /// What happens to everything that anybody sends.
    pub fn set_faults(&self, faults: Faults) {
        self.nodes.iter().for_each(|node| node.relay.set_both(faults));
    }

    fn unexpected_errors(&self) -> Vec<String> {
        let expected = self.expected.lock().expect("no panic");
        let logs = self.nodes.iter().map(|node| (node.number, node.log()));
        let mut unexpected = Vec::new();
        for (number, log) in logs {
            let errors = log.lines().filter(|line| {
                line.contains(" ERROR ")
                    || line.contains("panicked at")
                    || line.starts_with("error")
            });
            let errors = errors.filter(|line| !expected.iter().any(|text| line.contains(text)));
            unexpected.extend(errors.map(|line| format!("member {number}: {line}")));
        }
        unexpected
    }

    fn show(&self) {
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
            println!("--- log of member {}", node.number);
            lines[from..].iter().for_each(|line| println!("{line}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
            return;
        }
        let mut unexpected = Vec::new();
        for node in self.nodes.iter_mut().filter(|node| node.is_up()) {
            if node.has_ended() {
                unexpected.push(format!("member {} has ended by itself", node.number));
            }
            node.kill();
        }
        unexpected.extend(self.unexpected_errors());
        assert!(unexpected.is_empty(), "errors that nobody expected:\n{}", unexpected.join("\n"));
    }
}
