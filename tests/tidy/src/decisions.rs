//! Rules about decision records: numbered without gaps, all in the index, each with the same parts.
//! Knows the form; what was decided is the records' own matter.

use crate::markdown::prose;
use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

const FOLDER: &str = "docs/decisions/";
const INDEX: &str = "docs/decisions/README.md";

/// Headings that each record has, in this order.
const PARTS: &[&str] = &["## Context", "## Decision", "## Consequences", "## Rejected"];

/// What the line below the title begins with.
const STATUS: &str = "Status: ";
const STATUSES: &[&str] = &["proposed", "accepted", "superseded by"];

/// A record is a page.
const LINES_MAX: usize = 90;

#[test]
fn decision_records_are_numbered_indexed_and_complete() {
    assert!(records(tracked_files()).count() > 0);
    report("decision records", &check(tracked_files()));
}

fn check(files: &[TrackedFile]) -> Vec<Finding> {
    let index = files.iter().find(|file| file.path == INDEX).map_or("", TrackedFile::text);
    let mut findings = Vec::new();
    for (position, (number, file)) in records(files).enumerate() {
        let name = &file.path[FOLDER.len()..];
        let mut flag =
            |line, message: String| findings.push(Finding::new(&file.path, line, message));
        if number != position + 1 {
            flag(
                1,
                format!("expected number {:04}: records are numbered without gaps", position + 1),
            );
        }
        if !index.contains(&format!("]({name})")) {
            flag(1, format!("is not in {INDEX}: add a line with a link to {name}"));
        }
        let title = format!("# {number:04}. ");
        if !file.text().starts_with(&title) {
            flag(1, format!("begin with `{title}` and the decision in a few words"));
        }
        let has_status = file.text().lines().any(|line| {
            let status = line.strip_prefix(STATUS).unwrap_or_default();
            STATUSES.iter().any(|known| status.starts_with(known))
        });
        if !has_status {
            flag(1, format!("needs a line `{STATUS}` with one of {STATUSES:?}, and the month"));
        }
        if let Some(message) = check_parts(file.text()) {
            flag(1, message);
        }
        let lines = file.text().lines().count();
        if lines > LINES_MAX {
            flag(LINES_MAX, format!("{lines} lines, {LINES_MAX} at most: a record is a page"));
        }
    }
    findings
}

fn check_parts(text: &str) -> Option<String> {
    let headings: Vec<String> = prose(text)
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line.starts_with("## "))
        .collect();
    let is_complete = PARTS.len() <= headings.len()
        && PARTS.iter().zip(&headings).all(|(part, heading)| heading.starts_with(part));
    (!is_complete).then(|| format!("needs the parts {PARTS:?} in this order, not {headings:?}"))
}

/// Files named `NNNN-*.md`, with their numbers, in order.
fn records(files: &[TrackedFile]) -> impl Iterator<Item = (usize, &TrackedFile)> {
    files.iter().filter_map(|file| {
        let (number, _) = file.path.strip_prefix(FOLDER)?.split_once('-')?;
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && file.has_extension("md"))
            .then(|| number.parse().ok().map(|number| (number, file)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &str = r"# 0001. A

Status: accepted, 2026-11

## Context

## Decision

## Consequences

## Rejected
";

    fn found_in(name: &str, index: &str, text: &str) -> Vec<Finding> {
        let record = TrackedFile::example(&format!("{FOLDER}{name}"), text);
        check(&[record, TrackedFile::example(INDEX, index)])
    }

    #[test]
    fn a_complete_record_passes() {
        assert_eq!(found_in("0001-a.md", "[A](0001-a.md)", COMPLETE), []);
    }

    #[test]
    fn a_record_that_the_index_does_not_know_is_flagged() {
        let found = found_in("0001-a.md", "[A](0002-a.md)", COMPLETE);
        assert_eq!(places(&found), ["docs/decisions/0001-a.md:1"]);
        assert!(found[0].message.contains("README.md"));
    }

    #[test]
    fn a_gap_in_the_numbers_is_flagged() {
        let text = COMPLETE.replace("0001", "0002");
        assert!(found_in("0002-a.md", "[A](0002-a.md)", &text)[0].message.contains("without gaps"));
    }

    #[test]
    fn a_missing_part_status_or_title_is_flagged() {
        for missing in ["## Rejected", "Status: accepted", "# 0001."] {
            let text = COMPLETE.replace(missing, "");
            assert_eq!(found_in("0001-a.md", "[A](0001-a.md)", &text).len(), 1, "{missing}");
        }
    }

    #[test]
    fn a_record_of_several_pages_is_flagged() {
        let text = format!("{COMPLETE}{}", "line\n".repeat(LINES_MAX));
        assert_eq!(found_in("0001-a.md", "[A](0001-a.md)", &text).len(), 1);
    }
}
