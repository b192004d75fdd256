//! Rules about every tracked file: no paths of the machine that it was written on, no stray
//! executable bits.
//! Knows paths, bits and text; not what the files are for.

use crate::repository::{Finding, TrackedFile, line_of_position, places, report, tracked_files};

/// Starts of paths that exist on one machine only. Put together here, so that this file passes.
const MACHINE_PATHS: &[&str] = &[
    concat!("/", "work", "/"),
    concat!("/", "root", "/"),
    concat!("/", "home", "/"),
    concat!("/", "Users", "/"),
    concat!("/", "tmp", "/bash"),
];

/// Files that may hold such a path, each with its reason.
const MAY_NAME_MACHINES: &[(&str, &str)] = &[];

/// Files that may be executable although they are no `*.sh`.
const EXECUTABLE: &[&str] = &[".ci/run", ".ci/setup", ".ci/steps"];

#[test]
fn no_file_names_a_path_of_the_machine_that_it_was_written_on() {
    report("no paths of one machine", &check_paths(tracked_files(), MAY_NAME_MACHINES));
}

#[test]
fn only_scripts_are_executable() {
    report("executable bits", &check_bits(tracked_files()));
}

fn check_paths(files: &[TrackedFile], may_name: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if may_name.iter().any(|(path, _)| *path == file.path) {
            continue;
        }
        for path in MACHINE_PATHS {
            for (position, _) in file.text().match_indices(path) {
                if starts_a_path(file.text(), position) {
                    let line = line_of_position(file.text(), position);
                    let message = format!("`{path}` exists on one machine: use a relative path");
                    findings.push(Finding::new(&file.path, line, message));
                }
            }
        }
    }
    findings
}

/// Whether the slash here is the first of its path: `docs/home/a` is relative.
fn starts_a_path(text: &str, position: usize) -> bool {
    let before = text[..position].chars().next_back();
    before.is_none_or(|before| !before.is_alphanumeric() && !"_-.~/}".contains(before))
}

fn check_bits(files: &[TrackedFile]) -> Vec<Finding> {
    let is_stray = |file: &&TrackedFile| {
        file.executable && !file.has_extension("sh") && !EXECUTABLE.contains(&file.path.as_str())
    };
    let advice = |file: &TrackedFile| {
        let message = format!("not a script: git update-index --chmod=-x {}", file.path);
        Finding::new(&file.path, 1, message)
    };
    files.iter().filter(is_stray).map(advice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_of_a_machine_is_flagged() {
        for path in MACHINE_PATHS {
            let text = format!("first\nsee `{path}x`\n");
            let found = check_paths(&[TrackedFile::example("docs/a.md", &text)], &[]);
            assert_eq!(places(&found), ["docs/a.md:2"], "{path}");
        }
    }

    #[test]
    fn a_relative_path_passes_and_so_does_a_listed_file() {
        let relative = format!("docs{}a.md", MACHINE_PATHS[0]);
        assert_eq!(check_paths(&[TrackedFile::example("a.md", &relative)], &[]), []);
        let absolute = [TrackedFile::example("a.md", MACHINE_PATHS[0])];
        assert_eq!(check_paths(&absolute, &[("a.md", "tests paths")]), []);
    }

    #[test]
    fn an_executable_source_is_flagged_and_a_script_is_not() {
        let executable = |path| TrackedFile { executable: true, ..TrackedFile::example(path, "") };
        let files = [executable("host/a.rs"), executable("tools/a.sh"), executable(".ci/run")];
        assert_eq!(places(&check_bits(&files)), ["host/a.rs:1"]);
    }
}
