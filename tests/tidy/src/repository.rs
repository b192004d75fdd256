//! Reads the tracked files of this repository, and prints what the rules found in them.
//! Knows git's list of files; does not know any rule.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A file above this many bytes has no text for the rules: the rules are about what people write
/// and read.
const TEXT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// One tracked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackedFile {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    /// Whether git has the executable bit for it.
    pub(crate) executable: bool,
    /// None for binary files, for files above the limit, and for links.
    pub(crate) text: Option<String>,
}

impl TrackedFile {
    /// A made-up file, for the tests of the rules.
    pub(crate) fn example(path: &str, text: &str) -> TrackedFile {
        TrackedFile { path: path.into(), executable: false, text: Some(text.into()) }
    }

    /// The file's text; empty when it has none.
    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Whether the file's name ends with `.extension`.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path of the file.
    pub(crate) file: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do instead.
    pub(crate) message: String,
}

impl Finding {
    /// A finding at a line, counted from 1.
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { file: file.into(), line, message: message.into() }
    }
}

/// Root of the checkout that this crate was built in.
pub(crate) fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder.ancestors().nth(2).expect("this crate lives in <root>/tests/tidy");
    root.to_path_buf()
}

/// Every tracked file that is still on disk, read once per process, in the order of paths.
pub(crate) fn tracked_files() -> &'static [TrackedFile] {
    static FILES: OnceLock<Vec<TrackedFile>> = OnceLock::new();
    FILES.get_or_init(|| {
        let listing = git(&["ls-files", "--stage", "-z"]);
        let files: Vec<TrackedFile> = listing.split('\0').filter_map(read_listed).collect();
        assert!(
            files.iter().any(|file| file.path == "Cargo.toml"),
            "git lists no Cargo.toml at the root of the repository: the rules would check nothing"
        );
        files
    })
}

/// Output of a git command, run at the root of the repository.
pub(crate) fn git(arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the house rules need the program `git`");
    assert!(
        output.status.success(),
        "git {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("paths of tracked files are UTF-8")
}

/// One record of `git ls-files --stage -z`: `mode hash stage<TAB>path`.
fn read_listed(record: &str) -> Option<TrackedFile> {
    let (head, path) = record.split_once('\t')?;
    let mode = head.split(' ').next()?;
    let text = match mode {
        "100644" | "100755" => {
            let bytes = std::fs::read(root().join(path)).ok()?;
            (bytes.len() <= TEXT_BYTES_MAX)
                .then_some(bytes)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|text| !text.contains('\0'))
        }
        _ => None,
    };
    Some(TrackedFile { path: path.into(), executable: mode == "100755", text })
}

/// Fails the test with one line per finding, in the form that editors make clickable.
pub(crate) fn report(rule: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    let mut lines = format!("{rule}: broken in {} place(s)\n", findings.len());
    for Finding { file, line, message } in findings {
        lines.push_str(&format!("  {file}:{line}: {message}\n"));
    }
    panic!("{lines}");
}

/// The places of findings as `path:line`, to compare with in the tests of the rules.
pub(crate) fn places(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect()
}

/// Number of the line, counted from 1, on which the byte at this position stands.
pub(crate) fn line_of_position(text: &str, position: usize) -> usize {
    text.as_bytes()[..position.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[test]
fn this_very_file_is_tracked_and_read() {
    let this = tracked_files().iter().find(|file| file.path == "tests/tidy/src/repository.rs");
    let this = this.expect("git lists this file, once it has been added");
    assert!(this.text().contains("this_very_file_is_tracked_and_read"));
    assert!(!this.executable);
}

#[test]
#[should_panic(expected = "a.rs:3: do not")]
fn a_report_with_a_finding_fails_the_test() {
    report("an example", &[Finding::new("a.rs", 3, "do not")]);
}

#[test]
fn lines_are_counted_from_one() {
    let text = "one\ntwo\nthree";
    assert_eq!(line_of_position(text, 0), 1);
    assert_eq!(line_of_position(text, 3), 1);
    assert_eq!(line_of_position(text, 4), 2);
    assert_eq!(line_of_position(text, 99), 3);
}
