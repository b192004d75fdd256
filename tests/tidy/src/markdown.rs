//! Rules about Markdown files: links that lead somewhere, one title per page.
//! Knows headings, links and code blocks; does not render.

use std::collections::BTreeSet;

use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

#[test]
fn relative_links_lead_to_files_and_headings_that_are_there() {
    report("links in Markdown", &check_links(tracked_files()));
}

#[test]
fn each_page_has_one_title() {
    report("one title per page", &check_titles(tracked_files()));
}

/// Lines of prose with their numbers, counted from 1: code blocks and HTML comments are left out,
/// inline code is blanked.
pub(crate) fn prose(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut fence: Option<&str> = None;
    let mut in_comment = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                in_comment |= trimmed.starts_with("<!--");
                if !in_comment {
                    lines.push((index + 1, without_inline_code(line)));
                }
                in_comment &= !line.contains("-->");
            }
        }
    }
    lines
}

/// Text of the headings of this level, with their line numbers.
fn headings(text: &str, level: usize) -> Vec<(usize, String)> {
    let mark = format!("{} ", "#".repeat(level));
    let raw: Vec<&str> = text.lines().collect();
    let found = prose(text).into_iter().filter(|(_, line)| line.starts_with(&mark));
    found.map(|(number, _)| (number, raw[number - 1][mark.len()..].trim().to_string())).collect()
}

fn check_titles(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in pages(files) {
        let titles = headings(file.text(), 1);
        match titles.as_slice() {
            [] => findings.push(Finding::new(&file.path, 1, "has no title: begin with `# Title`")),
            [_] => {}
            [_, more @ ..] => findings.extend(more.iter().map(|(line, title)| {
                let message = format!("`{title}` is a second title: make it `##`, or another page");
                Finding::new(&file.path, *line, message)
            })),
        }
    }
    findings
}

fn check_links(files: &[TrackedFile]) -> Vec<Finding> {
    let mut places: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        let ends = file.path.match_indices('/').map(|(position, _)| position);
        places.extend(ends.map(|end| &file.path[..end]));
        places.insert(&file.path);
    }
    let mut findings = Vec::new();
    for file in pages(files) {
        for (line, text) in prose(file.text()) {
            for target in targets(&text) {
                if let Err(message) = follow(files, &places, file, &target) {
                    findings.push(Finding::new(&file.path, line, message));
                }
            }
        }
    }
    findings
}

/// Whether a link leads somewhere; the error says what is missing.
fn follow(
    files: &[TrackedFile],
    places: &BTreeSet<&str>,
    page: &TrackedFile,
    target: &str,
) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let path = if path.is_empty() { Some(page.path.clone()) } else { resolve(&page.path, path) };
    let path = path.ok_or_else(|| format!("`{target}` leads out of the repository"))?;
    if !path.is_empty() && !places.contains(path.as_str()) {
        return Err(format!("`{target}` leads to {path}, which is not tracked: correct the link"));
    }
    let Some(heading) = heading else {
        return Ok(());
    };
    let linked = files.iter().find(|file| file.path == path && file.has_extension("md"));
    let has_heading = |file: &TrackedFile| {
        let mut all = (1..=6).flat_map(|level| headings(file.text(), level));
        all.any(|(_, title)| slug(&title) == heading)
    };
    match linked {
        Some(file) if !has_heading(file) => Err(format!("{path} has no heading `#{heading}`")),
        _ => Ok(()),
    }
}

fn pages(files: &[TrackedFile]) -> impl Iterator<Item = &TrackedFile> {
    files.iter().filter(|file| file.has_extension("md"))
}

/// Targets of `[text](target)` and of `[label]: target`.
fn targets(line: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (position, _) in line.match_indices("](") {
        let rest = &line[position + 2..];
        let target = rest.split([')', ' ']).next().unwrap_or_default();
        targets.push(target.trim_matches(['<', '>']).to_string());
    }
    if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        targets.extend(target.split_whitespace().next().map(str::to_string));
    }
    targets
}

/// Path from the root of what `relative` means on `page`; None when it leads out of the repository.
fn resolve(page: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchor that hosts of repositories give to a heading.
fn slug(title: &str) -> String {
    let kept = title
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'));
    kept.map(|character| if character == ' ' { '-' } else { character.to_ascii_lowercase() })
        .collect()
}

fn without_inline_code(line: &str) -> String {
    let mut pieces = line.split('`');
    let mut text = pieces.next().unwrap_or_default().to_string();
    while let (Some(_), Some(after)) = (pieces.next(), pieces.next()) {
        text.push(' ');
        text.push_str(after);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> TrackedFile {
        TrackedFile::example(path, text)
    }

    #[test]
    fn a_dead_link_is_flagged_at_its_line() {
        let files =
            [page("docs/a.md", "# A\n\n[b](b.md) and [c](../c.md)\n"), page("c.md", "# C\n")];
        let found = check_links(&files);
        assert_eq!(places(&found), ["docs/a.md:3"]);
        assert!(found[0].message.contains("docs/b.md"), "{}", found[0].message);
    }

    #[test]
    fn a_link_to_a_heading_that_is_not_there_is_flagged() {
        let files = [
            page("a.md", "# A\n[x](b.md#what-it-is)\n[y](b.md#what)\n[z](#a)\n"),
            page("b.md", "# What it is\n"),
        ];
        assert_eq!(places(&check_links(&files)), ["a.md:3"]);
    }

    #[test]
    fn a_link_out_of_the_repository_and_a_dead_reference_are_flagged() {
        let files = [page("a.md", "# A\n[x](../b.md)\n\n[label]: gone.md\n")];
        assert_eq!(places(&check_links(&files)), ["a.md:2", "a.md:4"]);
    }

    #[test]
    fn links_to_folders_the_web_and_those_inside_code_pass() {
        let text =
            "# A\n[d](docs/) [w](https://example.org/x) `[c](gone.md)`\n```\n[c](gone.md)\n```\n";
        let files = [page("a.md", text), page("docs/b.md", "# B\n")];
        assert_eq!(check_links(&files), []);
    }

    #[test]
    fn a_page_without_a_title_or_with_two_is_flagged() {
        let files = [page("a.md", "text\n"), page("b.md", "# B\n```\n# comment\n```\n# C\n")];
        assert_eq!(places(&check_titles(&files)), ["a.md:1", "b.md:5"]);
    }

    #[test]
    fn headings_make_the_anchors_that_hosts_make() {
        assert_eq!(slug("What's `in` it, and why?"), "whats-in-it-and-why");
    }
}
