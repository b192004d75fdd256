//! Runs the scripts of `tests/scripts`: tree semantics through the transaction and `apply`, output recorded below each
//! command. `UPDATE_EXPECT=1` rewrites it. What commands there are is `language`'s knowledge.

mod language;
mod support;

use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn check(topic: &str) {
    let file = directory().join(format!("{topic}.txt"));
    let text = std::fs::read_to_string(&file).expect("a script of this name");
    let output = language::play(&text);
    expect_test::expect_file![file].assert_eq(&output);
}

macro_rules! scripts {
    ($($topic:ident)*) => {
        $(
            #[test]
            fn $topic() {
                check(stringify!($topic));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let mut found: Vec<String> = std::fs::read_dir(directory())
                .expect("the directory of scripts")
                .map(|entry| entry.expect("an entry").path())
                .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            found.sort();
            let mut listed = vec![$(stringify!($topic)),*];
            listed.sort_unstable();
            assert_eq!(found, listed);
        }
    };
}

scripts! {
    access_lists
    access_recipes
    access_rules
    acknowledgements
    call_owned
    children
    conditions
    containers
    create
    create_or
    create_or_lists
    delete_tree
    delete_tree_by_clients
    deployments
    entries
    ephemerals
    fence
    full_disk
    identities
    level
    limits
    multi
    owned_below
    parked
    precedence
    principals
    quotas
    read_only
    reads_in_a_multi
    sequence
    sessions
    set_delete_check
    subtrees
    ttl
    uploads
}
