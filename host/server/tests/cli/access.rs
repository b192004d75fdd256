//! Access lists and rules, for clients that are known by their address alone.

use serde_json::json;

use crate::harness::Home;

#[test]
fn a_list_and_rules_refuse_what_they_do_not_name() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/a", "one", "--acl", "ip:127.0.0.0/8:ra", "--acl", "ip:::1:ra"]);
    assert_eq!(home.ok(&["get", "/a"]), "one");
    let refused = home.run(&["set", "/a", "two"]);
    assert!(refused.stderr.contains("Q6001 no-access: write on /a"), "{}", refused.stderr);
    let refused = home.run(&["acl", "set", "/a", "world:anyone:r"]);
    assert!(refused.stderr.contains("Q6031 would-lock-out"), "{}", refused.stderr);
    assert_eq!(home.json(&["acl", "set", "/a", "--none"])["version"], 1);
    home.ok(&["set", "/a", "two"]);

    home.ok(&["create", "/app"]);
    home.ok(&["auth", "grant", "/app", "token:owner", "all"]);
    let refused = home.run(&["get", "/app"]);
    assert!(refused.stderr.contains("decided by the rules on /app"), "{}", refused.stderr);
    let asked = home.run(&["auth", "check", "me", "write", "/app"]);
    assert_eq!((asked.code, asked.stdout.starts_with("no")), (1, true), "{}", asked.stdout);
}

#[test]
fn who_looks_after_the_cluster_closes_it_and_may_do_everything() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/a", "one", "--acl", "token:owner:cdrwa"]);
    let refused = home.run(&["auth", "default", "deny"]);
    assert!(refused.stderr.contains("Q6031 would-lock-out"), "{}", refused.stderr);
    let refused = home.run(&["auth", "grant", "cluster", "token:ops", "operate,admin"]);
    assert!(refused.stderr.contains("Q6031 would-lock-out"), "{}", refused.stderr);
    let refused = home.run(&["get", "/a"]);
    assert!(refused.stderr.contains("Q6001 no-access"), "open makes nobody super");

    home.ok(&["auth", "grant", "cluster", "world:anyone", "operate,admin"]);
    home.ok(&["auth", "default", "deny"]);
    assert_eq!(home.ok(&["get", "/a"]), "one");
    let listed = home.json(&["auth", "list"]);
    assert_eq!(listed["default"], "deny");
    assert_eq!(
        listed["rules"],
        json!([{
            "object": "cluster",
            "identity": "world:anyone",
            "permissions": "admin,operate",
            "function": null,
        }])
    );
    let asked = home.json(&["auth", "check", "token:owner", "write", "/a"]);
    assert_eq!(asked["allowed"], true);
    home.ok(&["auth", "revoke", "cluster", "world:anyone", "operate"]);
}
