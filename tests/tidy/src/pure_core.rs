//! The core can not look at the world: no clock, no thread, no IO, no unordered iteration, no
//! randomness, no async.
//! Knows the core's sources; host/core/clippy.toml says the same to clippy, which sees through
//! aliases.

use crate::repository::{Finding, TrackedFile, line_of_position, places, report, tracked_files};
use crate::rust_text::{find_word, only_code};

const CORE: &str = "host/core/src/";

/// Paths that the core does not import or write out, and what it does instead.
const BANNED_PATHS: &[(&str, &str)] = &[
    ("std::time::Instant", "time comes in as an argument, in milliseconds"),
    ("std::time::SystemTime", "time comes in as an argument, in milliseconds"),
    ("std::thread", "the core is called, it does not run: threads belong to the crates above"),
    ("std::fs", "inputs are values; files belong to host/store"),
    ("std::net", "inputs are values; sockets belong to host/net"),
    ("std::env", "settings come in as arguments"),
    ("std::process", "a refusal is a reply; processes belong to host/server"),
];

/// Words that do not appear in the core's code at all.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("SystemTime", "time comes in as an argument, in milliseconds"),
    ("HashMap", "members must iterate in the same order: BTreeMap"),
    ("HashSet", "members must iterate in the same order: BTreeSet"),
    ("rand", "random bytes come in as arguments"),
    ("getrandom", "random bytes come in as arguments"),
    ("tokio", "the core is synchronous"),
    ("async", "the core is synchronous"),
];

#[test]
fn the_core_does_not_look_at_the_world() {
    let core = tracked_files().iter().filter(|file| file.path.starts_with(CORE)).count();
    assert!(core > 0, "no source under {CORE}: the rule would check nothing");
    report("the core is pure", &check(tracked_files()));
}

fn check(files: &[TrackedFile]) -> Vec<Finding> {
    let is_core = |file: &&TrackedFile| file.path.starts_with(CORE) && file.has_extension("rs");
    let mut findings = Vec::new();
    for file in files.iter().filter(is_core) {
        let code = only_code(file.text());
        let mut flag = |position, name: &str, advice: &str| {
            let line = line_of_position(&code, position);
            findings.push(Finding::new(
                &file.path,
                line,
                format!("`{name}` in the core: {advice}"),
            ));
        };
        for (word, advice) in BANNED_WORDS {
            find_word(&code, word).into_iter().for_each(|position| flag(position, word, advice));
        }
        for (path, advice) in BANNED_PATHS {
            find_word(&code, path).into_iter().for_each(|position| flag(position, path, advice));
        }
        for (position, imported) in grouped_imports(&code) {
            let banned = BANNED_PATHS
                .iter()
                .find(|(path, _)| imported == *path || imported.starts_with(&format!("{path}::")));
            if let Some((path, advice)) = banned {
                flag(position, path, advice);
            }
        }
    }
    findings
}

/// Full paths of all that `use a::{b, c::{d}};` imports, each with the position of its `use`.
/// Imports without a group are left out: their path stands in the text as it is.
fn grouped_imports(code: &str) -> Vec<(usize, String)> {
    let mut imports = Vec::new();
    for position in find_word(code, "use") {
        let statement = code[position + "use".len()..].split(';').next().unwrap_or_default();
        if statement.contains('{') {
            let statement: String = statement.split_whitespace().collect();
            expand("", &statement, &mut |path| imports.push((position, path)));
        }
    }
    imports
}

/// Calls `found` with each path of a use tree without blanks.
fn expand(prefix: &str, tree: &str, found: &mut dyn FnMut(String)) {
    let Some((head, group)) = tree.split_once('{') else {
        let path = format!("{prefix}{tree}");
        found(path.strip_suffix("::self").unwrap_or(&path).to_string());
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0_usize;
    let mut start = 0;
    for (position, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                expand(&format!("{prefix}{head}"), &group[start..position], found);
                start = position + 1;
            }
            _ => {}
        }
    }
    if start < group.len() {
        expand(&format!("{prefix}{head}"), &group[start..], found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(text: &str) -> Vec<String> {
        places(&check(&[TrackedFile::example("host/core/src/a.rs", text)]))
    }

    #[test]
    fn each_way_to_look_at_the_world_is_flagged() {
        for line in [
            "let now = std::time::Instant::now();",
            "use std::time::{Duration, Instant};",
            "use std::{collections::BTreeMap, time::{self, Instant}};",
            "use std::{fs, fmt};",
            "use std::{env::{self, args}};",
            "let now = SystemTime::now();",
            "std::thread::spawn(work);",
            "let text = std::fs::read(path);",
            "use std::net::UdpSocket;",
            "let seed = std::env::var(name);",
            "let map: HashMap<u8, u8>;",
            "let set: HashSet<u8>;",
            "let dice = rand::random();",
            "tokio::spawn(work);",
            "async fn work() {}",
        ] {
            let text = format!("//! A.\n{line}\n");
            let found = found_in(&text);
            assert_eq!(found.first().map(String::as_str), Some("host/core/src/a.rs:2"), "{line}");
        }
    }

    #[test]
    fn words_in_comments_and_longer_names_pass() {
        let text = r"//! No HashMap, no std::fs, no async.
use std::{collections::BTreeMap, time::Duration};
let operand = strand;
";
        assert_eq!(found_in(text), [""; 0]);
    }

    #[test]
    fn other_crates_may_look_at_the_world() {
        let net = TrackedFile::example("host/net/src/a.rs", "use tokio::net::UdpSocket;");
        assert_eq!(check(&[net]), []);
    }
}
