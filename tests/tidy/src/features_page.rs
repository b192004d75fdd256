//! docs/features.md keeps its word: every row says what shows it, and every test and file that it names is there.
//! Knows the page's form and the text of tests; runs none of them, and does not know whether a row is true.

use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

const PAGE: &str = "docs/features.md";
/// What the last column of a row says that has nothing to show.
const MISSING: &str = "not here yet";

#[test]
fn each_feature_says_what_shows_it() {
    let page = tracked_files().iter().find(|file| file.path == PAGE);
    let page = page.unwrap_or_else(|| panic!("{PAGE} is not tracked"));
    assert!(rows(page.text()).count() > 20, "{PAGE} has no rows: the rule would check nothing");
    report("the table of features", &check(page, tracked_files()));
}

/// The last column of each row of the page's tables, with its line number, counted from 1.
fn rows(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_row = |line: &str| line.starts_with("| ") && !line.starts_with("| Feature");
    text.lines().enumerate().filter(move |(_, line)| is_row(line)).filter_map(|(index, line)| {
        let last = line.trim_end().strip_suffix('|')?.rsplit('|').next()?;
        Some((index + 1, last.trim()))
    })
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn check(page: &TrackedFile, files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, shown_by) in rows(page.text()) {
        let mut flag = |message: String| findings.push(Finding::new(&page.path, line, message));
        if shown_by.contains(MISSING) {
            continue;
        }
        let mut shows_count = 0_usize;
        for name in quoted(shown_by) {
            if name.starts_with("quorate ") || name.starts_with("make ") {
                shows_count += 1;
            } else if let Some((path, test)) = name.split_once("::") {
                shows_count += 1;
                let function = format!("fn {test}(");
                let file = files.iter().find(|file| file.path == path);
                if !file.is_some_and(|file| file.text().contains(&function)) {
                    flag(format!("there is no test `{test}` in {path}"));
                }
            } else if name.contains('/') && !name.starts_with('/') {
                shows_count += 1;
                if files.iter().all(|file| file.path != name) {
                    flag(format!("there is no file {name}"));
                }
            }
        }
        if shows_count == 0 {
            flag(format!("names no command, test or script; if there is none, say `{MISSING}`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(row: &str) -> Vec<String> {
        let page = TrackedFile::example(PAGE, &format!("# Features\n\n{row}\n"));
        let files = [
            TrackedFile::example("a/b.rs", "fn a_test_of_it() {}\n"),
            TrackedFile::example("a/c.txt", ""),
        ];
        places(&check(&page, &files))
    }

    #[test]
    fn rows_that_name_what_is_there_pass() {
        assert!(
            found("| stat | yes | `quorate stat`, `a/b.rs::a_test_of_it`, `a/c.txt` |").is_empty()
        );
        assert!(found("| stat | no | not here yet |").is_empty());
        assert!(found("| Feature | How | Shown by |\n|---|---|---|").is_empty());
    }

    #[test]
    fn rows_that_name_nothing_or_what_is_not_there_are_flagged() {
        for shown_by in ["by itself", "`a/b.rs::another_test`", "`a/x.txt`", "`x.rs::a_test_of_it`"]
        {
            let row = format!("| stat | yes | {shown_by} |");
            assert_eq!(found(&row), ["docs/features.md:3"], "{row}");
        }
    }
}
