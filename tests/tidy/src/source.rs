//! Rules about single Rust sources: their first line, words that are not committed, sleeps and
//! ports of tests.
//! Knows text; clippy knows the language and checks the rest.

use std::ops::Range;

use crate::repository::{Finding, TrackedFile, line_of_position, places, report, tracked_files};
use crate::rust_text::{find_word, only_code, test_modules, without_comments};

/// Folders whose Rust sources follow the rules.
const FOLDERS: &[&str] = &["host/", "sdk/", "tests/", "recipes/"];

/// Code that is not committed, and what to do instead.
const BANNED_CODE: &[(&str, &str)] = &[
    ("todo!", "build it, or leave it out and say so under current limitations"),
    ("unimplemented!", "build it, or leave it out and say so under current limitations"),
    ("dbg!", "remove it, or make it a tracing event"),
    ("#[ignore", "a test that does not run protects nothing: fix it or delete it"),
];

/// Words that are not committed, in code and comments. Put together here, so that this file passes.
const BANNED_WORDS: &[(&str, &str)] =
    &[(concat!("FIX", "ME"), "fix it now, or open an issue and describe the limitation")];

/// Files of tests that may block a thread for a time, each with its reason.
const MAY_SLEEP: &[(&str, &str)] = &[(
    "host/raft/tests/cluster/world.rs",
    "looks at several members until they agree, with a deadline: no one event says so",
)];

/// Files of tests that may name a port, each with its reason.
const MAY_NAME_PORTS: &[(&str, &str)] =
    &[("host/server/src/dev_file.rs", "addresses as text in a file; nothing listens on them")];

/// What stands before a port in an address of this machine.
const LOCAL_HOSTS: &[&str] = &["127.0.0.1:", "localhost:", "[::1]:", "0.0.0.0:", "[::]:"];

#[test]
fn each_source_says_first_what_it_owns() {
    assert!(sources(tracked_files()).count() > 0);
    report("`//!` on the first line", &check_first_lines(tracked_files()));
}

#[test]
fn no_leftovers_are_committed() {
    report("no leftovers", &check_banned(tracked_files()));
}

#[test]
fn tests_do_not_sleep() {
    report("tests wait for conditions", &check_sleeps(tracked_files(), MAY_SLEEP));
}

#[test]
fn tests_do_not_name_ports() {
    report("no fixed ports in tests", &check_ports(tracked_files(), MAY_NAME_PORTS));
}

#[test]
fn each_allowed_lint_has_a_reason() {
    report("lints are allowed with a reason", &check_allows(tracked_files()));
}

fn sources(files: &[TrackedFile]) -> impl Iterator<Item = &TrackedFile> {
    files.iter().filter(|file| {
        file.has_extension("rs") && FOLDERS.iter().any(|folder| file.path.starts_with(folder))
    })
}

fn check_first_lines(files: &[TrackedFile]) -> Vec<Finding> {
    let says_nothing = |file: &&TrackedFile| {
        let first = file.text().lines().next().unwrap_or_default();
        first.strip_prefix("//!").is_none_or(|sentence| sentence.trim().is_empty())
    };
    let message =
        "begin the file with `//!`: a sentence on what it owns, one on what it does not know";
    sources(files).filter(says_nothing).map(|file| Finding::new(&file.path, 1, message)).collect()
}

fn check_banned(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources(files) {
        let code = only_code(file.text());
        let found_code = BANNED_CODE.iter().map(|banned| (&code[..], banned));
        let found_words = BANNED_WORDS.iter().map(|banned| (file.text(), banned));
        for (text, (word, advice)) in found_code.chain(found_words) {
            for position in find_word(text, word) {
                let line = line_of_position(text, position);
                findings.push(Finding::new(&file.path, line, format!("`{word}`: {advice}")));
            }
        }
    }
    findings
}

fn check_sleeps(files: &[TrackedFile], may_sleep: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources(files).filter(|file| !is_listed(may_sleep, file)) {
        let code = only_code(file.text());
        for range in test_ranges(file, &code) {
            let start = range.start;
            for found in find_word(&code[range.clone()], "thread::sleep")
                .into_iter()
                .chain(find_grouped_sleep(&code[range]))
            {
                let line = line_of_position(&code, start + found);
                let advice = "a test does not sleep: wait for a condition with a deadline, or drive virtual time";
                findings.push(Finding::new(&file.path, line, advice));
            }
        }
    }
    findings
}

/// Positions of `thread::{…}` groups that import `sleep`.
fn find_grouped_sleep(code: &str) -> Vec<usize> {
    let mut found = find_word(code, "thread::{");
    found.retain(|position| {
        let group = code[*position..].split('}').next().unwrap_or_default();
        !find_word(group, "sleep").is_empty()
    });
    found
}

fn check_ports(files: &[TrackedFile], may_name_ports: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources(files).filter(|file| !is_listed(may_name_ports, file)) {
        let text = without_comments(file.text());
        for range in test_ranges(file, &only_code(file.text())) {
            for position in find_ports(&text[range.clone()]) {
                let line = line_of_position(&text, range.start + position);
                let advice =
                    "a test names no port: bind port 0 and ask the socket which one it got";
                findings.push(Finding::new(&file.path, line, advice));
            }
        }
    }
    findings
}

/// Positions of addresses of this machine with a port other than 0.
fn find_ports(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for host in LOCAL_HOSTS {
        for (position, _) in text.match_indices(host) {
            let rest = text[position + host.len()..].bytes();
            let digits: Vec<u8> = rest.take_while(u8::is_ascii_digit).collect();
            if digits.iter().any(|digit| *digit != b'0') {
                found.push(position);
            }
        }
    }
    found
}

fn check_allows(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources(files) {
        let code = only_code(file.text());
        for start in ["#[allow(", "#![allow("].iter().flat_map(|start| code.match_indices(start)) {
            let (position, _) = start;
            let attribute = code[position..].split(']').next().unwrap_or_default();
            if !attribute.replace(' ', "").contains("reason=") {
                let line = line_of_position(&code, position);
                let message = "say why: `#[allow(lint, reason = \"…\")]`";
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The parts of a source that are tests: all of it under a folder `tests`, else the modules for
/// tests only.
fn test_ranges(file: &TrackedFile, code: &str) -> Vec<Range<usize>> {
    if file.path.split('/').any(|folder| folder == "tests") {
        return std::iter::once(0..code.len()).collect();
    }
    test_modules(code)
}

fn is_listed(table: &[(&str, &str)], file: &TrackedFile) -> bool {
    table.iter().any(|(path, _)| *path == file.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(path: &str, text: &str) -> [TrackedFile; 1] {
        [TrackedFile::example(path, text)]
    }

    #[test]
    fn a_source_without_a_first_sentence_is_flagged() {
        for text in ["use std::fmt;\n", "//!\nuse a;\n", "\n//! Late.\n", ""] {
            let found = check_first_lines(&example("host/core/src/a.rs", text));
            assert_eq!(places(&found), ["host/core/src/a.rs:1"], "{text:?}");
        }
        assert_eq!(check_first_lines(&example("host/core/src/a.rs", "//! Owns a.\n")), []);
    }

    #[test]
    fn leftovers_are_flagged_in_code_and_not_in_sentences() {
        let text = r#"//! A.
fn a() { todo!() }
// todo! is a macro
fn b() { dbg!("dbg!"); }
#[ignore]
fn c() { unimplemented!() }
"#;
        let found = places(&check_banned(&example("sdk/a.rs", text)));
        assert_eq!(found, ["sdk/a.rs:2", "sdk/a.rs:6", "sdk/a.rs:4", "sdk/a.rs:5"]);
    }

    #[test]
    fn a_note_to_fix_something_is_flagged_in_a_comment() {
        let text = format!("//! A.\n// {}: later\n", BANNED_WORDS[0].0);
        assert_eq!(places(&check_banned(&example("sdk/a.rs", &text))), ["sdk/a.rs:2"]);
    }

    #[test]
    fn a_sleep_in_a_test_is_flagged_and_one_in_the_product_is_not() {
        let text = r"//! A.
fn a() { std::thread::sleep(b); }
#[cfg(test)]
mod tests {
  fn c() { thread::sleep(d); }
}
";
        let found = check_sleeps(&example("host/net/src/a.rs", text), &[]);
        assert_eq!(places(&found), ["host/net/src/a.rs:5"]);
        let found =
            check_sleeps(&example("tests/it/src/a.rs", "use std::thread::{self, sleep};"), &[]);
        assert_eq!(places(&found), ["tests/it/src/a.rs:1"]);
    }

    #[test]
    fn a_file_that_is_listed_with_its_reason_may_sleep() {
        let files = example("tests/it/src/wait.rs", "fn a() { std::thread::sleep(b); }");
        assert_eq!(check_sleeps(&files, &[("tests/it/src/wait.rs", "owns the wait")]), []);
    }

    #[test]
    fn a_fixed_port_in_a_test_is_flagged_and_port_zero_is_not() {
        let address = |port: u16| format!("let a = \"127.0.0.1:{port}\";");
        let found = check_ports(&example("tests/it/src/a.rs", &address(4747)), &[]);
        assert_eq!(places(&found), ["tests/it/src/a.rs:1"]);
        assert_eq!(check_ports(&example("tests/it/src/a.rs", &address(0)), &[]), []);
        assert_eq!(check_ports(&example("host/server/src/a.rs", &address(4747)), &[]), []);
    }

    #[test]
    fn an_allowed_lint_without_a_reason_is_flagged() {
        let text = r#"#[allow(dead_code)]
fn a() {}
#[allow(
    dead_code,
    reason = "b"
)]
fn c() {}
"#;
        assert_eq!(places(&check_allows(&example("sdk/a.rs", text))), ["sdk/a.rs:1"]);
    }
}
