//! Warnings of quotas: what the log of the member that leads says of a subtree above a soft bound.

use crate::disk::Served;
use crate::harness::Home;

#[test]
fn a_subtree_above_a_soft_bound_is_warned_of_in_the_leader_s_log() {
    let home = Home::new();
    let mut served = Served::start(&home, &home.path().join("data"), "");
    served.ok(&home, &["quota", "set", "/jobs", "--znodes-soft", "1"]);
    served.ok(&home, &["create", "/jobs/1", "--parents"]);
    let found = served.ok(&home, &["quota", "list"]);
    assert!(found.contains("1 znode (soft)"), "{found}");
    assert!(found.contains("there are 2 znodes, 0 bytes; 1 write above a soft bound"), "{found}");
    served.listen_for(
        "the subtree /jobs has 2 znodes, above its soft bound of 1; writes above a soft bound so far: 1",
    );
}
