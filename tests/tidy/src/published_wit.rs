//! Published WIT stays as it is: recipes that were built against it must keep loading.
//! Knows the list of released files and their hashes; not what the interfaces say.

use crate::repository::{Finding, TrackedFile, git, report, root, tracked_files};

/// One line for each released file: its git blob hash, blanks, its path. Lines that start with `#`
/// explain.
const LIST: &str = "wit/published.txt";

#[test]
fn published_wit_is_unchanged() {
    let list = tracked_files().iter().find(|file| file.path == LIST);
    let list =
        list.expect("wit/published.txt lists the released WIT files, or says that there are none");
    report("published WIT is unchanged", &check(list, hash_of));
}

/// The same hash as `git hash-object PATH`; None when there is no such file.
fn hash_of(path: &str) -> Option<String> {
    let is_there = root().join(path).is_file();
    is_there.then(|| git(&["hash-object", "--no-filters", "--", path]).trim().to_string())
}

fn check(list: &TrackedFile, hash_of: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in list.text().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let message = match line.split_once(char::is_whitespace) {
            None => format!("`{line}` is not a hash and a path"),
            Some((hash, path)) => match hash_of(path.trim()) {
                Some(found) if found == hash => continue,
                Some(found) => format!(
                    "{path} was published as {hash} and is now {found}: restore it, and put the change into a new version of the package"
                ),
                None => format!("{path} was published and is gone: restore it"),
            },
        };
        findings.push(Finding::new(&list.path, index + 1, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::places;

    fn found_in(list: &str) -> Vec<String> {
        let hash_of = |path: &str| (path == "wit/a.wit").then(|| "11".to_string());
        places(&check(&TrackedFile::example(LIST, list), hash_of))
    }

    #[test]
    fn a_published_file_that_changed_or_went_is_flagged() {
        assert_eq!(found_in("# why\n22 wit/a.wit\n"), ["wit/published.txt:2"]);
        assert_eq!(found_in("11 wit/b.wit\n"), ["wit/published.txt:1"]);
        assert_eq!(found_in("11\n"), ["wit/published.txt:1"]);
    }

    #[test]
    fn a_published_file_that_is_as_it_was_passes() {
        assert_eq!(found_in("# why\n\n11  wit/a.wit\n"), [""; 0]);
    }

    #[test]
    fn the_hash_is_the_one_that_git_shows_for_the_file() {
        let hash = hash_of("tests/tidy/Cargo.toml").expect("this crate's manifest is there");
        assert_eq!(hash.len(), 40);
        assert_ne!(Some(hash), hash_of("Cargo.toml"));
        assert_eq!(hash_of("no-such-file"), None);
    }
}
