//! openraft's own suite for storage, over our log and our tree on a real disk.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_core::ids::{NamespaceId, Term};
use quorate_store::{Log, LogOptions};
use quorate_store::{Tree, TreeOptions};
use tokio::sync::{mpsc, watch};

use crate::apply::Applier;
use crate::log_store::LogStore;
use crate::state_machine::{JOBS_MAX, StateMachine};
use crate::types::TypeConfig;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a directory");
        let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
        let fatal = Box::new(|error: &std::io::Error| panic!("{error}"));
        let log = Log::open(&directory.path().join("log"), options, fatal).expect("a log");
        let options = TreeOptions { cache_bytes: 8 << 20 };
        let tree = Tree::open(&directory.path().join("tree"), &options).expect("a tree");
        let (namespace, tree) = (NamespaceId(3), Arc::new(tree));
        let log_store = LogStore::new(Arc::new(log), namespace);
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let (term, _) = watch::channel(Term(0));
        let listener = Box::new(|_applied| ());
        let recent = log_store.recent();
        let applier = Applier { tree: Arc::clone(&tree), namespace, listener, recent, term };
        std::thread::spawn(move || applier.run(receiver));
        Ok((directory, log_store, StateMachine::new(tree, namespace, jobs)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_storage_is_what_openraft_expects() {
    Suite::test_all(Builder).await.expect("the suite");
}
