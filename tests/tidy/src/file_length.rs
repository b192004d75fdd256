//! The length of files: a ratchet, so that long files can only get shorter.
//! Counts lines of code; comments are free.

use crate::repository::{Finding, TrackedFile, places, report, tracked_files};
use crate::rust_text::count_code_lines;

/// Lines of code that a Rust source may have. Good files here have 80 to 400 lines.
const CODE_LINES_MAX: usize = 700;

/// Files above the limit, each with the lines of code that it may have. This list can only shrink.
const LONGER: &[(&str, usize)] = &[];

/// A listed file may be this much shorter than its entry before the entry has to follow.
const SLACK_LINES: usize = 20;

#[test]
fn no_source_grows_above_the_limit() {
    report("length of files", &check(tracked_files(), LONGER));
}

fn check(files: &[TrackedFile], longer: &[(&str, usize)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        let lines = count_code_lines(file.text());
        let listed = longer.iter().find(|(path, _)| *path == file.path).map(|(_, most)| *most);
        let message = match listed {
            None if lines > CODE_LINES_MAX => {
                format!("{lines} lines of code, {CODE_LINES_MAX} at most: split it by what it owns")
            }
            Some(most) if lines > most => {
                format!("grew to {lines} lines of code, from {most}: it may only get shorter")
            }
            Some(_) if lines <= CODE_LINES_MAX => {
                "short enough now: take it out of the list LONGER".into()
            }
            Some(most) if lines + SLACK_LINES < most => {
                format!("down to {lines} lines of code: lower its entry in the list LONGER")
            }
            _ => continue,
        };
        findings.push(Finding::new(&file.path, 1, message));
    }
    for (path, _) in longer {
        if !files.iter().any(|file| file.path == *path) {
            findings.push(Finding::new(path, 1, "is gone: take it out of the list LONGER"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(lines: usize) -> [TrackedFile; 1] {
        [TrackedFile::example("a.rs", &"let a = 1;\n// free\n".repeat(lines))]
    }

    #[test]
    fn a_file_above_the_limit_is_flagged_and_comments_are_free() {
        assert_eq!(check(&file_of(CODE_LINES_MAX), &[]), []);
        assert_eq!(places(&check(&file_of(CODE_LINES_MAX + 1), &[])), ["a.rs:1"]);
    }

    #[test]
    fn a_listed_file_may_not_grow() {
        assert_eq!(check(&file_of(900), &[("a.rs", 900)]), []);
        assert_eq!(check(&file_of(901), &[("a.rs", 900)]).len(), 1);
    }

    #[test]
    fn an_entry_follows_its_file_down_and_out() {
        assert_eq!(check(&file_of(870), &[("a.rs", 900)]).len(), 1);
        assert_eq!(check(&file_of(600), &[("a.rs", 900)]).len(), 1);
        assert_eq!(check(&[], &[("a.rs", 900)]).len(), 1);
    }
}
