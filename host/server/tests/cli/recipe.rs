//! A recipe of one's own, from nothing to a call. It builds a guest, with whatever toolchain this machine has.

use crate::harness::Home;

#[test]
fn a_new_recipe_builds_passes_its_test_deploys_and_answers() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["recipe", "new", "my-semaphore"]);
    assert_eq!(home.run(&["recipe", "new", "my-semaphore"]).code, 1, "what is there is left alone");
    assert_eq!(home.run(&["recipe", "new", "My_Semaphore"]).code, 2);
    let early = home.run(&["recipe", "deploy", "my-semaphore"]);
    assert!(early.code == 2 && early.stderr.contains("recipe build"), "{}", early.stderr);
    home.ok(&["recipe", "build", "my-semaphore"]);
    let tested = home.ok(&["recipe", "test", "my-semaphore"]);
    assert!(tested.contains("ok "), "{tested}");
    assert_eq!(home.json(&["recipe", "deploy", "my-semaphore"])["version"], 1);
    home.ok(&["call", "my-semaphore", "set(\"/motd\", \"hello\")"]);
    assert!(home.ok(&["call", "my-semaphore", "get(\"/motd\")"]).contains("hello"));
}

#[test]
fn what_is_no_recipe_is_refused() {
    let home = Home::new();
    let _server = home.dev();
    std::fs::write(home.path().join("not.wasm"), b"\0asm but no").expect("written");
    let refused = home.run(&["recipe", "deploy", "not.wasm"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("Q4009 not-admitted"),
        "{}",
        refused.stderr
    );
    assert_eq!(home.run(&["recipe", "deploy", "nothing-like-that"]).code, 2);
    assert_eq!(home.run(&["recipe", "build"]).code, 2);
}
