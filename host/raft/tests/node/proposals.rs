//! What becomes of proposed entries.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_core::apply::{Applied as Fate, Discard};
use quorate_core::ids::{Epoch, Millis, Term};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_raft::{
    Applied, BarrierError, Config, InitializeRefusal, Kind, Leadership, ProposeResult, Refusal,
};

use crate::rig::{Life, Script, alone};

#[test]
fn pipelined_entries_enter_the_log_in_the_order_of_their_proposals() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    let names: Vec<String> = (0..400).map(|at| format!("/n{at:03}")).collect();
    // None is waited for before the last is proposed: each builds on a state that is not there yet.
    let proposals: Vec<_> = names
        .chunks(2)
        .map(|pair| life.node.propose(script.create(pair.iter().map(String::as_str)), leadership))
        .collect();
    let indexes: Vec<u64> = proposals
        .into_iter()
        .map(|proposal| match proposal.wait() {
            ProposeResult::Taken { index } => index,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{indexes:?}");
    assert_eq!(life.meta().zxid, script.zxid);
    assert!(names.iter().all(|name| life.has(name)));
    let events = life.events.lock().expect("sound").clone();
    let told: Vec<u64> = events.iter().map(|event| event.index).collect();
    assert_eq!(told, (0..told.len() as u64).collect::<Vec<_>>(), "each once, in order");
    assert_eq!([&events[0].kind, &events[1].kind], [&Kind::Membership, &Kind::Blank]);
    life.shutdown();
}

#[test]
fn an_entry_for_another_state_epoch_or_term_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 2);
    assert!(life.node.propose(script.create(["/a"]), leadership).wait().is_taken());
    let before = life.meta();
    let forged = |change: fn(&mut Script)| {
        let mut forged = script.clone();
        change(&mut forged);
        let result = life.node.propose(forged.create(["/forged"]), leadership).wait();
        assert!(!life.has("/forged"));
        assert_eq!(life.meta(), before);
        match result {
            ProposeResult::Discarded { reason, index } => {
                let last = life.events.lock().expect("sound").last().cloned();
                let last = last.expect("told");
                assert_eq!(last.index, index);
                let Kind::Entry { applied, .. } = last.kind else { panic!("{last:?}") };
                assert_eq!(applied, Fate::Discarded(reason));
                reason
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(forged(|script| script.zxid = script.zxid.next()), Discard::OtherBase);
    assert_eq!(forged(|script| script.epoch = Epoch(1)), Discard::OtherEpoch);
    assert_eq!(forged(|script| script.epoch = Epoch(3)), Discard::OtherEpoch);
    assert_eq!(forged(|script| script.term = script.term.next()), Discard::OtherTerm);
    assert!(life.node.propose(script.create(["/b"]), leadership).wait().is_taken());
    life.shutdown();
}

#[test]
fn an_entry_of_another_leadership_is_refused_and_not_appended() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    let last_log = || life.node.metrics().last_log;
    let before = last_log();
    for term in [Term(0), leadership.term.next()] {
        let other = Leadership { term, ..leadership };
        let result = life.node.propose(script.clone().create(["/a"]), other).wait();
        let leader = Some(1);
        assert_eq!(result, ProposeResult::Refused(Refusal::NotLeader { leader }));
    }
    assert_eq!(last_log(), before);
    // The next one takes the index that the refused ones did not.
    let result = life.node.propose(script.create(["/b"]), leadership).wait();
    assert_eq!(result, ProposeResult::Taken { index: before.expect("a log") + 1 });
    life.shutdown();
}

#[test]
fn an_entry_that_the_log_does_not_take_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let script = life.barrier(leadership, 1);
    let transaction = Transaction {
        zxid: script.zxid.next(),
        time: Millis(1),
        origin: Origin::Host,
        changes: Vec::new(),
        outcome: Outcome::Replied(Bytes::from(vec![0; 33 << 20])),
    };
    let body = EntryBody::Batch { base: script.zxid, transactions: vec![transaction] };
    let entry = Entry { term: script.term, epoch: script.epoch, body };
    let result = life.node.propose(Arc::new(entry), leadership).wait();
    assert!(matches!(result, ProposeResult::Refused(Refusal::TooLarge { .. })), "{result:?}");
    life.shutdown();
}

#[test]
fn a_proposal_whose_answer_is_lost_is_told_so_and_the_entry_may_be_there() {
    let directory = tempfile::tempdir().expect("a directory");
    // The listener holds the apply thread at the entry that makes /held.
    let (reached, is_reached) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let listener = move |applied: Applied| {
        if let Kind::Entry { entry, .. } = &applied.kind
            && matches!(entry.body, EntryBody::Batch { .. })
        {
            reached.send(()).expect("the test waits");
            // Ends when the test drops its end.
            let _released = released.lock().expect("sound").recv();
        }
        told.lock().expect("sound").push(applied);
    };
    let life = Life::start_with(directory.path(), Config::new(1), Box::new(listener), events);
    life.initialize();
    let leadership = life.leads();
    let mut script = life.barrier(leadership, 1);
    let proposal = life.node.propose(script.create(["/held"]), leadership);
    is_reached.recv().expect("applied");
    // The entry is committed, its answer is not sent; now everything that could send it goes.
    let next = life.node.propose(script.create(["/next"]), leadership);
    let Life { runtime, node, store, .. } = life;
    runtime.shutdown_background();
    assert_eq!(next.wait(), ProposeResult::Lost);
    drop(release);
    assert!(matches!(proposal.wait(), ProposeResult::Taken { .. } | ProposeResult::Lost));
    drop(node);
    store.log.close().expect("closed");
    drop(store);

    let life = Life::start(directory.path(), Config::new(1));
    life.leads();
    assert!(life.has("/held"));
    life.shutdown();
}

#[test]
fn what_is_proposed_after_the_end_is_not_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    life.runtime.block_on(life.node.shutdown());
    let result = life.node.propose(script.create(["/late"]), leadership).wait();
    assert!(!matches!(result, ProposeResult::Taken { .. }), "{result:?}");
    assert_eq!(life.runtime.block_on(life.node.stopped()), None);
    assert_eq!(*life.node.leadership().borrow(), None);
    assert_eq!(life.runtime.block_on(life.node.linearizable_barrier()), Err(BarrierError::Stopped));
}

#[test]
fn a_barrier_covers_what_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    for name in ["/a", "/b", "/c"] {
        let ProposeResult::Taken { index } =
            life.node.propose(script.create([name]), leadership).wait()
        else {
            panic!("not taken")
        };
        let barrier = life.runtime.block_on(life.node.linearizable_barrier());
        assert!(barrier.as_ref().is_ok_and(|barrier| *barrier >= index), "{barrier:?}");
    }
    life.shutdown();
}

#[test]
fn a_member_of_no_cluster_leads_nothing_and_a_cluster_is_made_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let life = Life::start(directory.path(), Config::new(1));
    let barrier = life.runtime.block_on(life.node.linearizable_barrier());
    assert!(matches!(barrier, Err(BarrierError::NotLeader(_))), "{barrier:?}");
    let leadership = Leadership { term: Term(1), member: 1 };
    let script = Script { term: Term(1), epoch: Epoch(1), zxid: life.meta().zxid };
    let result = life.node.propose(script.barrier(), leadership).wait();
    assert_eq!(result, ProposeResult::Refused(Refusal::NotLeader { leader: None }));
    assert_eq!(life.node.metrics().last_log, None);

    life.initialize();
    life.leads();
    let again = life.runtime.block_on(life.node.initialize(alone()));
    assert!(matches!(again, Err(InitializeRefusal::Initialized)), "{again:?}");
    let metrics = life.node.metrics();
    assert_eq!((metrics.leader, metrics.voters), (Some(1), vec![1]));
    life.shutdown();
}

#[test]
fn an_entry_that_does_not_fit_the_tree_stops_the_member() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    assert!(life.node.propose(script.create(["/a"]), leadership).wait().is_taken());
    // On the right state, and yet it creates what is there: no sequencer does that unless it has a defect.
    let result = life.node.propose(script.create(["/a"]), leadership).wait();
    assert_eq!(result, ProposeResult::Lost);
    let stopped = life.runtime.block_on(life.node.stopped()).expect("not an orderly end");
    assert!(stopped.contains("apply thread"), "{stopped}");
    assert!(life.has("/a") && life.meta().zxid.next() == script.zxid);
}
