//! The error codes agree: in the core's list, in docs/errors.md, and in what recipes see.
//! Knows the list's text and the page's form; not when a code is given.
//!
//! With UPDATE_EXPECT=1 the page's table is written anew.

use std::fmt::Write as _;

use crate::repository::{Finding, TrackedFile, places, report, root, tracked_files};

const LIST: &str = "host/core/src/error.rs";
const PAGE: &str = "docs/errors.md";
const WIT: &str = "wit/types.wit";

/// The lines of the page between which the table stands.
const BEGIN: &str =
    "<!-- begin: written by `UPDATE_EXPECT=1 cargo test -p quorate-tidy` from the core's list -->";
const END: &str = "<!-- end -->";

/// One error code as the core's list has it.
#[derive(Debug, PartialEq, Eq)]
struct Code {
    /// Line of the list, counted from 1.
    line: usize,
    number: u16,
    kebab: String,
    outcome: String,
    advice: String,
    /// The doc comment.
    meaning: String,
    /// The comment above the class that this code stands in.
    class: String,
}

#[test]
fn the_list_of_error_codes_is_in_order() {
    let codes = parse(file(LIST)).unwrap_or_else(|finding| panic!("{finding:?}"));
    assert!(!codes.is_empty(), "{LIST} has no codes: the rules would check nothing");
    report("the list of error codes", &check_list(&codes));
}

#[test]
fn the_page_of_errors_shows_the_list() {
    let codes = parse(file(LIST)).unwrap_or_else(|finding| panic!("{finding:?}"));
    let page = file(PAGE);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = with_table(page.text(), &table(&codes)).expect("the page has its two marks");
        std::fs::write(root().join(PAGE), text).expect("the page can be written");
        return;
    }
    report("docs/errors.md shows the list", &check_page(page, &codes));
}

#[test]
fn recipes_see_the_same_names_of_errors() {
    let codes = parse(file(LIST)).unwrap_or_else(|finding| panic!("{finding:?}"));
    report("error names in WIT", &check_wit(file(WIT), &codes));
}

fn file(path: &str) -> &'static TrackedFile {
    let found = tracked_files().iter().find(|file| file.path == path);
    found.unwrap_or_else(|| panic!("{path} is not tracked"))
}

/// Reads the body of `error_codes! { … }`, whose lines are comments and
/// `Name = number, "kebab", Outcome, Advice;`.
fn parse(list: &TrackedFile) -> Result<Vec<Code>, Finding> {
    let mut codes = Vec::new();
    let mut class = String::new();
    let mut meaning: Vec<&str> = Vec::new();
    let lines = list.text().lines().map(str::trim).enumerate();
    let body = lines.skip_while(|(_, line)| !line.starts_with("error_codes! {")).skip(1);
    for (index, line) in body.take_while(|(_, line)| *line != "}") {
        if let Some(doc) = line.strip_prefix("///") {
            meaning.push(doc.trim());
        } else if let Some(comment) = line.strip_prefix("//") {
            class = comment.trim().trim_end_matches('.').to_string();
        } else if !line.is_empty() {
            let code = parse_entry(index + 1, line, &meaning.join(" "), &class);
            let message = "expected `Name = number, \"kebab\", Outcome, Advice;` in one line";
            codes.push(code.ok_or_else(|| Finding::new(&list.path, index + 1, message))?);
            meaning.clear();
        }
    }
    Ok(codes)
}

fn parse_entry(line: usize, entry: &str, meaning: &str, class: &str) -> Option<Code> {
    let (_, values) = entry.strip_suffix(';')?.split_once('=')?;
    let values: Vec<&str> = values.split(',').map(str::trim).collect();
    let [number, kebab, outcome, advice] = values[..] else {
        return None;
    };
    Some(Code {
        line,
        number: number.parse().ok()?,
        kebab: kebab.strip_prefix('"')?.strip_suffix('"')?.into(),
        outcome: kebab_case(outcome),
        advice: kebab_case(advice),
        meaning: meaning.into(),
        class: class.into(),
    })
}

fn kebab_case(name: &str) -> String {
    let mut kebab = String::new();
    for (index, character) in name.chars().enumerate() {
        if character.is_uppercase() && index > 0 {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}

fn check_list(codes: &[Code]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, code) in codes.iter().enumerate() {
        let mut flag = |message: String| findings.push(Finding::new(LIST, code.line, message));
        if codes[..index].iter().any(|other| other.number >= code.number) {
            flag(format!("{}: numbers ascend, and none is used twice", code.number));
        }
        if codes[..index].iter().any(|other| other.kebab == code.kebab) {
            flag(format!("`{}`: each name is used once", code.kebab));
        }
        if !code.class.starts_with(&format!("Q{}:", code.number / 1000)) {
            flag(format!(
                "{} stands in the class `{}`: move it to its own",
                code.number, code.class
            ));
        }
        if code.meaning.is_empty() {
            flag(format!("`{}` has no doc comment: say what it means", code.kebab));
        }
    }
    findings
}

/// The generated part of the page: for each class a heading and a table.
fn table(codes: &[Code]) -> String {
    let mut text = String::new();
    let mut class = "";
    for code in codes {
        if code.class != class {
            class = &code.class;
            text.push_str(&format!("\n### {class}\n\n"));
            text.push_str("| Code | Name | Meaning | Outcome | Advice |\n|---|---|---|---|---|\n");
        }
        let Code { number, kebab, meaning, outcome, advice, .. } = code;
        let meaning = meaning.replace('|', "\\|");
        writeln!(text, "| Q{number} | `{kebab}` | {meaning} | {outcome} | {advice} |")
            .expect("a String takes all text");
    }
    text.push('\n');
    text
}

/// The page with another table between its marks; None when a mark is missing.
fn with_table(page: &str, table: &str) -> Option<String> {
    let begin = page.find(BEGIN)? + BEGIN.len() + "\n".len();
    let end = begin + page.get(begin..)?.find(END)?;
    Some(format!("{}{table}{}", &page[..begin], &page[end..]))
}

fn check_page(page: &TrackedFile, codes: &[Code]) -> Vec<Finding> {
    let Some(wanted) = with_table(page.text(), &table(codes)) else {
        let message =
            format!("lacks the lines `{BEGIN}` and `{END}`, between which the table stands");
        return vec![Finding::new(&page.path, 1, message)];
    };
    let lines = page.text().lines().zip(wanted.lines());
    let first = lines.take_while(|(found, wanted)| found == wanted).count();
    if page.text() == wanted {
        return Vec::new();
    }
    let wanted = wanted.lines().nth(first).unwrap_or("the end of the page");
    let advice = "run UPDATE_EXPECT=1 cargo test -p quorate-tidy and look at the difference";
    vec![Finding::new(&page.path, first + 1, format!("expected `{wanted}`: {advice}"))]
}

/// Every case of the WIT enum `error-code` is a name of the list.
fn check_wit(wit: &TrackedFile, codes: &[Code]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut cases = 0_usize;
    let lines = wit.text().lines().map(str::trim).enumerate();
    let body = lines.skip_while(|(_, line)| !line.starts_with("enum error-code")).skip(1);
    for (index, line) in body.take_while(|(_, line)| *line != "}") {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        cases += 1;
        let name = line.trim_end_matches(',');
        if !codes.iter().any(|code| code.kebab == name) {
            let message = format!("`{name}` is not in {LIST}: one name for one error, everywhere");
            findings.push(Finding::new(&wit.path, index + 1, message));
        }
    }
    if cases == 0 {
        findings.push(Finding::new(
            &wit.path,
            1,
            "has no `enum error-code` with cases, one a line",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"macro_rules! error_codes {
    () => {}
}

error_codes! {
    // Q1: malformed.
    /// A path that
    /// no znode has.
    BadPath = 1002, "bad-path", NotApplied, Never;

    // Q2: the tree.
    /// Gone.
    NoNode = 2001, "no-node", Unknown, SameSession;
}
"#;

    fn codes_of(text: &str) -> Vec<Code> {
        parse(&TrackedFile::example(LIST, text)).expect("the example is well formed")
    }

    fn page_of(table: &str) -> TrackedFile {
        TrackedFile::example(PAGE, &format!("# Errors\n\n{BEGIN}\n{table}{END}\n\nMore.\n"))
    }

    #[test]
    fn the_list_is_read_with_classes_meanings_and_values() {
        let codes = codes_of(EXAMPLE);
        assert_eq!(codes.len(), 2);
        assert_eq!((codes[0].number, codes[0].line), (1002, 9));
        assert_eq!(codes[0].meaning, "A path that no znode has.");
        assert_eq!(codes[0].outcome, "not-applied");
        assert_eq!(codes[1].advice, "same-session");
        assert_eq!(codes[1].class, "Q2: the tree");
        assert_eq!(check_list(&codes), []);
    }

    #[test]
    fn an_entry_of_another_form_is_an_error_with_its_line() {
        let text = EXAMPLE.replace(", Never;", ";");
        let finding = parse(&TrackedFile::example(LIST, &text)).expect_err("a value is missing");
        assert_eq!(finding.line, 9);
    }

    #[test]
    fn numbers_and_names_used_twice_and_wrong_classes_are_flagged() {
        for (from, to) in [("2001", "1002"), ("no-node", "bad-path"), ("2001", "3001")] {
            let codes = codes_of(&EXAMPLE.replace(from, to));
            let found = places(&check_list(&codes));
            assert!(found.contains(&format!("{LIST}:13")), "{from} -> {to}: {found:?}");
        }
        let codes = codes_of(&EXAMPLE.replace("    /// Gone.\n", ""));
        assert_eq!(places(&check_list(&codes)), [format!("{LIST}:12")]);
    }

    #[test]
    fn a_page_that_shows_another_list_is_flagged_where_it_differs() {
        let codes = codes_of(EXAMPLE);
        assert_eq!(check_page(&page_of(&table(&codes)), &codes), []);
        let stale = page_of(&table(&codes).replace("Gone.", "Lost."));
        assert_eq!(places(&check_page(&stale, &codes)), ["docs/errors.md:15"]);
        assert_eq!(check_page(&page_of(""), &codes).len(), 1);
        assert_eq!(check_page(&TrackedFile::example(PAGE, "# Errors\n"), &codes).len(), 1);
    }

    #[test]
    fn writing_the_table_keeps_the_rest_of_the_page() {
        let written = with_table(page_of("old\n").text(), "new\n").expect("both marks are there");
        assert!(written.starts_with("# Errors\n") && written.ends_with("More.\n"));
        assert!(written.contains("new") && !written.contains("old"));
    }

    #[test]
    fn a_name_in_wit_that_the_list_does_not_have_is_flagged() {
        let wit = "enum error-code {\n  /// A.\n  bad-path,\n  lost-node,\n}\n";
        let found = check_wit(&TrackedFile::example(WIT, wit), &codes_of(EXAMPLE));
        assert_eq!(places(&found), ["wit/types.wit:4"]);
        let none = TrackedFile::example(WIT, "interface types {}\n");
        assert_eq!(check_wit(&none, &codes_of(EXAMPLE)).len(), 1);
    }
}
