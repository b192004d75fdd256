//! What a watch leaves out: what its reader may not read, by the rules of the moment in which the event is queued, and by the list
//! that the znode had when it happened. Live, and read back from the past.

use quorate_core::access::{
    Acl, AclEntry, Held, Identity, Object, Permissions, Rule, Rules, Stance,
};
use quorate_core::apply;
use quorate_core::draft::Draft;
use quorate_core::read::MemoryTree;

use super::*;

/// The tree that the rules stand in, and a member's watches.
struct Ruled {
    rig: Rig,
    tree: Arc<MemoryTree>,
}

impl Ruled {
    /// Who watches is known as `token:a`, and until 1970 as `token:b`.
    fn new() -> Self {
        let (rig, tree) = (Rig::new(), Arc::new(MemoryTree::new()));
        rig.watches.set_tree(tree.clone());
        let ruled = Self { rig, tree };
        let past = Held { identity: identity("token:b"), expires: Some(Millis(1)) };
        ruled.change(&Change::SessionOpened {
            timeout_ms: 1_000,
            secret_hash: [0; 32],
            principal: String::new(),
            identities: vec![Held::for_good(identity("token:a")), past],
        });
        ruled
    }

    fn change(&self, change: &Change) {
        let mut draft = Draft::new(self.tree.clone());
        apply::change(&mut draft, Zxid(SESSION.0), Millis(1), change);
        self.tree.commit(draft.into_parts().1);
    }

    /// From now on these may read a subtree; nobody in particular: there are no rules on it.
    fn readable_for(&self, text: &str, who: &[&str]) {
        let mut rules = Rules::default();
        for one in who {
            let (who, permissions) = (identity(one), Permissions::READ);
            rules.grant(Rule { who, function: None, permissions }).unwrap();
        }
        self.change(&Change::RulesSet { object: Object::Subtree(path(text)), rules });
    }

    /// What a watch is told that begins in the past, in place of those that are open.
    async fn told_from(&self, watch: &wire::Watch, from: u64) -> Vec<String> {
        self.rig.watches.forget(1);
        let outbox = self.rig.watches.outbox();
        self.rig.open(&outbox, watch, from).await;
        told(&outbox)
    }
}

fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn list(who: &str) -> Option<Acl> {
    Some(Acl { entries: vec![AclEntry::parse(&format!("{who}:r")).unwrap()] })
}

/// The same change, of a znode with a list for this one.
fn of(who: &str, mut change: Change) -> Change {
    let (Change::NodeCreated { acl, .. }
    | Change::DataSet { acl, .. }
    | Change::NodeDeleted { acl, .. }) = &mut change
    else {
        panic!("{change:?}")
    };
    *acl = list(who);
    change
}

#[tokio::test]
async fn events_of_znodes_whose_list_leaves_the_reader_out_are_left_out() {
    let ruled = Ruled::new();
    let outbox = ruled.rig.watches.outbox();
    ruled.rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    ruled.rig.open(&outbox, &asked(2, "/", wire::Scope::Children), 0).await;
    ruled.rig.open(&outbox, &asked(3, "/z", wire::Scope::Node), 0).await;
    let mut once = asked(4, "/z", wire::Scope::Node);
    once.once = true;
    ruled.rig.open(&outbox, &once, 0).await;
    ruled.rig.apply(vec![
        vec![of("token:a", created("/a", "")), of("token:z", created("/z", ""))],
        // By the list that it has then: it was another's, is the reader's for one set, and another's again.
        vec![of("token:z", set("/z", "secret", 1, 1))],
        vec![of("token:a", set("/z", "open", 2, 2))],
        vec![of("token:z", deleted("/z", 2, 3)), of("token:a", deleted("/a", 0, 1))],
        // One that has expired is nobody any more.
        vec![of("token:b", created("/b", ""))],
        vec![of("world:anyone", created("/w", ""))],
    ]);
    let all = told(&outbox);
    let expected = [
        "1@1 + /a v0",
        "2@1 + /a v0",
        "3@3 = /z v2",
        "4@3 = /z v2",
        "4 ended@3 fired",
        "1@3 = /z v2",
        "1@4 - /a v0",
        "2@4 - /a v0",
        "1@6 + /w v0",
        "2@6 + /w v0",
    ];
    assert_eq!(all, expected);
    // Read back from the past it is the same.
    let back = ruled.told_from(&asked(1, "/", wire::Scope::Subtree), 0).await;
    let of_first: Vec<&String> = all.iter().filter(|line| line.starts_with("1@")).collect();
    assert_eq!(back.iter().collect::<Vec<_>>(), of_first);
    assert_eq!(ruled.told_from(&once, 0).await, ["4@3 = /z v2", "4 ended@3 fired"]);
}

#[tokio::test]
async fn rules_are_those_of_the_moment_in_which_an_event_is_queued() {
    let ruled = Ruled::new();
    let outbox = ruled.rig.watches.outbox();
    ruled.rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    ruled.rig.apply(vec![vec![created("/r", ""), created("/r/a", "")]]);
    ruled.readable_for("/r", &["token:z"]);
    ruled.rig.apply(vec![vec![created("/r/b", "")], vec![of("token:a", created("/r/own", ""))]]);
    ruled.readable_for("/r", &["token:z", "token:a"]);
    ruled.rig.apply(vec![vec![created("/r/c", "")]]);
    assert_eq!(
        told(&outbox),
        ["1@1 + /r v0", "1@1 + /r/a v0", "1@3 + /r/own v0", "1@4 + /r/c v0"],
        "a list decides before rules"
    );

    // Whoever reads the past back is judged by the rules of today: what was kept from them is theirs now, and the other way round.
    let subtree = asked(1, "/r", wire::Scope::Subtree);
    let today =
        ["1@1 + /r v0", "1@1 + /r/a v0", "1@2 + /r/b v0", "1@3 + /r/own v0", "1@4 + /r/c v0"];
    assert_eq!(ruled.told_from(&subtree, 0).await, today);
    ruled.readable_for("/r", &["token:z"]);
    assert_eq!(ruled.told_from(&subtree, 0).await, ["1@3 + /r/own v0"]);
    ruled
        .change(&Change::RulesSet { object: Object::Subtree(path("/r")), rules: Rules::default() });
    ruled.change(&Change::StanceSet { stance: Stance::Deny });
    assert_eq!(ruled.told_from(&subtree, 0).await, ["1@3 + /r/own v0"]);
    ruled.rig.apply(vec![vec![created("/r/d", "")]]);
    assert_eq!(ruled.rig.watches.count(), 1, "it is open, and silent");
}

#[tokio::test]
async fn a_watch_that_is_told_of_nothing_is_told_up_to_where() {
    let ruled = Ruled::new();
    ruled.readable_for("/", &["token:z"]);
    let outbox = ruled.rig.watches.outbox();
    ruled.rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    ruled.rig.watches.mark_idle();
    ruled.rig.apply(vec![vec![created("/secret", "")], vec![set("/secret", "x", 1, 1)]]);
    ruled.rig.watches.mark_idle();
    assert_eq!(told(&outbox), ["upto 2"]);
}

#[tokio::test]
async fn a_member_that_does_not_know_the_rules_yet_shows_nothing_that_has_a_list() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    rig.apply(vec![vec![of("world:anyone", created("/a", "")), created("/b", "")]]);
    assert_eq!(told(&outbox), ["1@1 + /b v0"]);
}
