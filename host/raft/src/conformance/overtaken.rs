//! A log that an installed snapshot has overtaken, when the process ended before openraft purged it. It does not know how
//! a snapshot is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::storage::{LogState, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use quorate_core::draft::ReadRecords;
use quorate_core::ids::Term;
use quorate_store::{Log, LogOptions, Tree, TreeOptions};

use super::{NAMESPACE, Two, build, export, fill, receive, two};
use crate::config::Config;
use crate::contact::Contact;
use crate::log_store::LogStore;
use crate::network::Alone;
use crate::node::{Node, Store};
use crate::position::Position;
use crate::standing::membership_write;
use crate::types::{
    Membership, RaftEntry, RaftPayload, StoredMembership, TypeConfig, Vote, log_id,
};

/// No wait is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log with entries of these terms, from index 0.
async fn log_of(directory: &Path, terms: &[u64]) -> LogStore {
    let (mut log_store, _, _) = build(directory);
    append(&mut log_store, terms).await;
    log_store
}

async fn append(log_store: &mut LogStore, terms: &[u64]) {
    let entries = terms.iter().zip(0..).map(|(term, index)| RaftEntry {
        log_id: log_id(Position { term: Term(*term), index }),
        payload: RaftPayload::Blank,
    });
    log_store.blocking_append(entries).await.expect("appended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_brought_up_to_a_snapshot_that_was_installed_before_a_crash() {
    let at = |term: u64, index: u64| log_id(Position { term: Term(term), index });
    let directory = || tempfile::tempdir().expect("a directory");
    let ends = |state: &LogState<TypeConfig>| (state.last_purged_log_id, state.last_log_id);
    // Shorter than the snapshot; the second time with an entry of a leader that never had a quorum.
    for terms in [[1, 1, 2], [1, 1, 9]] {
        let directory = directory();
        let mut log = log_of(directory.path(), &terms).await;
        log.fit(at(4, 90)).await.expect("fits");
        let state = log.get_log_state().await.expect("readable");
        assert_eq!(ends(&state), (Some(at(4, 90)), Some(at(4, 90))));
    }
    // The snapshot's entry is in the log: what follows it stays, and openraft purges the rest.
    let directory = directory();
    let mut log = log_of(directory.path(), &[1, 1, 1, 2, 2]).await;
    log.fit(at(2, 3)).await.expect("fits");
    let state = log.get_log_state().await.expect("readable");
    assert_eq!(ends(&state), (None, Some(at(2, 4))));
    log.fit(at(3, 3)).await.expect_err("another entry is there");
}

/// Waits until the apply thread of an earlier life has let the tree go.
fn reopened(directory: &Path) -> Arc<Tree> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Tree::open(directory, &TreeOptions { cache_bytes: 8 << 20 }) {
            Ok(tree) => return Arc::new(tree),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ended_between_installation_and_purge_leads_on_the_snapshot() {
    // The last entry of the log is of a leader that never had a quorum.
    for terms in [vec![1, 1, 2], vec![1, 1, 9], vec![1; 200]] {
        let Two { directory, mut source, source_tree, target, target_tree } = two();
        drop((target, target_tree));
        let own = directory.path().join("own");
        std::fs::create_dir(&own).expect("a directory");
        {
            let (mut log, mut machine, _) = build(&own);
            append(&mut log, &terms).await;
            log.save_vote(&Vote::new(9, 2)).await.expect("saved");
            fill(&source_tree, 90, 50, 10);
            let node = Contact::default();
            let alone = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)]));
            let at = log_id(Position { term: Term(4), index: 80 });
            let alone = StoredMembership::new(Some(at), alone.expect("valid"));
            source_tree.commit([membership_write(NAMESPACE, &alone)]);
            let (meta, stream) = export(&mut source).await;
            let data = receive(&directory.path().join("incoming"), &stream).expect("sound");
            let mut log = log;
            if terms.len() > 90 {
                // openraft truncates what conflicts before it installs.
                let before = log_id(Position { term: Term(1), index: 89 });
                log.truncate_after(Some(before)).await.expect("truncated");
            }
            machine.install_snapshot(&meta, data).await.expect("installed");
        }
        let fatal = Box::new(|error: &std::io::Error| panic!("{error}"));
        let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
        let log = Log::open(&own.join("log"), options, fatal).expect("a log");
        let store = Store {
            log: log.into(),
            tree: reopened(&own.join("tree")),
            incoming: own.join("incoming"),
            on_first_vote: None,
        };
        let config = Config { namespace: NAMESPACE, ..Config::new(1) };
        let node = Node::start(config, store, Arc::new(Alone), Box::new(|_applied| ())).await;
        let node = node.unwrap_or_else(|error| panic!("{error} after {terms:?}"));
        let mut leads = node.leadership();
        let led = tokio::time::timeout(PATIENCE, leads.wait_for(Option::is_some)).await;
        let leadership = led
            .unwrap_or_else(|_| panic!("not led after {terms:?}"))
            .expect("raft lives")
            .expect("waited for");
        assert!(leadership.term > Term(9), "{leadership:?}");
        assert_eq!(node.tree().meta().zxid.0, 90);
        let metrics = node.metrics();
        // Its own blank entry follows the snapshot's.
        assert_eq!(metrics.last_log, Some(91), "{metrics:?} after {terms:?}");
        node.shutdown().await;
    }
}
