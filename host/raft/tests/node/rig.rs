//! A member on a directory, its lives and its deaths, and entries to propose. It does not know what is tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::{Meta, ReadRecords};
use quorate_core::ids::{Epoch, Millis, Term, Zxid};
use quorate_core::level::Level;
use quorate_core::path;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;
use quorate_raft::network::Alone;
use quorate_raft::{
    Applied, ApplyListener, Config, Contact, Leadership, Node, ProposeResult, Store,
};
use quorate_store::{Log, LogOptions, Tree, TreeOptions};
use tokio::runtime::Runtime;

/// No wait of a test is longer.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Member 1, and nobody else.
pub fn alone() -> BTreeMap<u64, Contact> {
    let contact = Contact { address: "here:1".to_owned(), ..Contact::default() };
    BTreeMap::from([(1, contact)])
}

/// A running member. Dropping it kills it: nothing is flushed by the node.
pub struct Life {
    pub runtime: Runtime,
    pub node: Arc<Node>,
    pub store: Store,
    pub events: Arc<Mutex<Vec<Applied>>>,
}

pub fn open(directory: &Path) -> Store {
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    let fatal = Box::new(|error: &std::io::Error| panic!("{error}"));
    let log = Log::open(&directory.join("log"), options, fatal).expect("a log");
    let options = TreeOptions { cache_bytes: 8 << 20 };
    let tree = Tree::open(&directory.join("tree"), &options).expect("a tree");
    let incoming = directory.join("incoming");
    Store { log: Arc::new(log), tree: Arc::new(tree), incoming, on_first_vote: None }
}

impl Life {
    /// Starts a member that may have lived before.
    pub fn start(directory: &Path, config: Config) -> Self {
        let events: Arc<Mutex<Vec<Applied>>> = Arc::default();
        let told = Arc::clone(&events);
        let listener = move |applied| told.lock().expect("sound").push(applied);
        Self::start_with(directory, config, Box::new(listener), events)
    }

    pub fn start_with(
        directory: &Path,
        config: Config,
        listener: ApplyListener,
        events: Arc<Mutex<Vec<Applied>>>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().expect("a runtime");
        let store = open(directory);
        let node = Node::start(config, store.clone(), Arc::new(Alone), listener);
        let node = runtime.block_on(node);
        Self { runtime, node: Arc::new(node.expect("started")), store, events }
    }

    /// Starts a member that never lived, as a cluster of its own that leads.
    pub fn first(directory: &Path, config: Config) -> (Self, Leadership) {
        let life = Self::start(directory, config);
        life.initialize();
        let leadership = life.leads();
        (life, leadership)
    }

    /// Makes the member a cluster of its own.
    pub fn initialize(&self) {
        self.runtime.block_on(self.node.initialize(alone())).expect("initialized");
    }

    /// Waits until the member leads.
    pub fn leads(&self) -> Leadership {
        let mut told = self.node.leadership();
        let leads = async move {
            let waited = tokio::time::timeout(DEADLINE, told.wait_for(Option::is_some)).await;
            let leadership = *waited.expect("leads in time").expect("raft lives");
            leadership.expect("waited for")
        };
        self.runtime.block_on(leads)
    }

    /// Opens an epoch; the state that entries of it build on.
    pub fn barrier(&self, leadership: Leadership, epoch: u64) -> Script {
        let meta = self.node.tree().meta();
        let script = Script { term: leadership.term, epoch: Epoch(epoch), zxid: meta.zxid };
        let result = self.node.propose(script.barrier(), leadership).wait();
        assert!(matches!(result, ProposeResult::Taken { .. }), "{result:?}");
        script
    }

    pub fn meta(&self) -> Meta {
        self.node.tree().meta()
    }

    pub fn has(&self, name: &str) -> bool {
        self.node.tree().node(&path(name)).is_some()
    }

    /// What a crash now would leave: all that was acknowledged is synced, and the tree's memory is not in its files.
    pub fn crash_into(self, from: &Path, to: &Path) {
        copy(from, to);
        let Self { runtime, node, store, .. } = self;
        drop(node);
        runtime.shutdown_timeout(DEADLINE);
        drop(store);
    }

    pub fn shutdown(self) {
        self.runtime.block_on(self.node.shutdown());
        self.runtime.shutdown_timeout(DEADLINE);
    }
}

/// Copies a directory as it is now.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

pub fn path(text: &str) -> path::Path {
    path::Path::parse(text).expect("a valid path")
}

/// Makes entries as a sequencer would, each on the state that the one before makes.
#[derive(Clone)]
pub struct Script {
    pub term: Term,
    pub epoch: Epoch,
    pub zxid: Zxid,
}

impl Script {
    pub fn barrier(&self) -> Arc<Entry> {
        Arc::new(Entry { term: self.term, epoch: self.epoch, body: EntryBody::Barrier })
    }

    /// One entry, a transaction for each path, which is created.
    pub fn create<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) -> Arc<Entry> {
        let base = self.zxid;
        let mut transactions = Vec::new();
        for text in paths {
            self.zxid = self.zxid.next();
            let data = Bytes::copy_from_slice(text.as_bytes());
            let lifetime = Lifetime::Persistent;
            transactions.push(Transaction {
                zxid: self.zxid,
                time: Millis(1_000 + self.zxid.0),
                origin: Origin::Host,
                changes: vec![Change::NodeCreated { path: path(text), data, lifetime, acl: None }],
                outcome: Outcome::None,
            });
        }
        let body = EntryBody::Batch { base, transactions };
        Arc::new(Entry { term: self.term, epoch: self.epoch, body })
    }

    /// One entry that raises the feature level.
    pub fn raise(&mut self, level: Level) -> Arc<Entry> {
        let base = self.zxid;
        self.zxid = self.zxid.next();
        let transaction = Transaction {
            zxid: self.zxid,
            time: Millis(1_000 + self.zxid.0),
            origin: Origin::Host,
            changes: vec![Change::LevelRaised { level }],
            outcome: Outcome::None,
        };
        let body = EntryBody::Batch { base, transactions: vec![transaction] };
        Arc::new(Entry { term: self.term, epoch: self.epoch, body })
    }
}
