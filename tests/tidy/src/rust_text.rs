//! Tells code, comments and literals of a Rust source apart, so that a rule about code does not
//! trip over a sentence.
//! Knows the lexical rules only; does not parse.

use std::ops::Range;

/// What a byte of a source file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    /// Strings of all kinds and characters, with their quotes.
    Literal,
}

/// The source with comments and literals blanked. Positions and lines stay as they are.
pub(crate) fn only_code(source: &str) -> String {
    blank(source, |kind| kind == Kind::Code)
}

/// The source with comments blanked. Positions and lines stay as they are.
pub(crate) fn without_comments(source: &str) -> String {
    blank(source, |kind| kind != Kind::Comment)
}

/// How many lines hold something else than comments and blanks.
pub(crate) fn count_code_lines(source: &str) -> usize {
    without_comments(source).lines().filter(|line| !line.trim().is_empty()).count()
}

/// Positions of the bodies of `#[cfg(test)] mod ... { ... }` in code that `only_code` returned.
pub(crate) fn test_modules(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        from = start + MARK.len();
        let rest = &code[from..];
        let (Some(brace), semicolon) = (rest.find('{'), rest.find(';')) else {
            continue;
        };
        let is_inline_module = rest[..brace].split_whitespace().any(|word| word == "mod")
            && semicolon.is_none_or(|semicolon| brace < semicolon);
        if is_inline_module {
            let end = closing_brace(code, from + brace);
            modules.push(start..end);
            from = end;
        }
    }
    modules
}

/// Positions at which `word` stands alone, not as a part of a longer name.
pub(crate) fn find_word(code: &str, word: &str) -> Vec<usize> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word)
        .map(|(position, _)| position)
        .filter(|position| {
            let before = code[..*position].chars().next_back();
            let after = code[position + word.len()..].chars().next();
            let starts = word.chars().next().is_some_and(is_name);
            let ends = word.chars().next_back().is_some_and(is_name);
            let is_longer_before = starts && before.is_some_and(is_name);
            let is_longer_after = ends && after.is_some_and(is_name);
            !is_longer_before && !is_longer_after
        })
        .collect()
}

/// Position behind the brace that closes the one at `open`; the end of the code when none does.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (position, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return position + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn blank(source: &str, keep: impl Fn(Kind) -> bool) -> String {
    let kinds = kinds(source.as_bytes());
    let bytes = source
        .bytes()
        .zip(kinds)
        .map(|(byte, kind)| if byte == b'\n' || keep(kind) { byte } else { b' ' });
    String::from_utf8(bytes.collect()).expect("characters are kept or blanked whole")
}

fn kinds(source: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; source.len()];
    let mut at = 0;
    while at < source.len() {
        let (kind, end) = next_piece(source, at);
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

/// The piece that starts here: its kind and the position behind it.
fn next_piece(source: &[u8], at: usize) -> (Kind, usize) {
    let rest = &source[at..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        return (Kind::Comment, at + length);
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, at + block_comment_length(rest));
    }
    if let Some(length) = raw_string_length(rest) {
        return (Kind::Literal, at + length);
    }
    match rest[0] {
        b'"' => (Kind::Literal, at + quoted_length(rest, b'"')),
        b'\'' if is_character(rest) => (Kind::Literal, at + quoted_length(rest, b'\'')),
        // A name is one piece, so that the `r` at the end of a name does not begin a raw string.
        byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len());
            (Kind::Code, at + length)
        }
        _ => (Kind::Code, at + 1),
    }
}

/// Block comments nest.
fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; None when none starts here. A `r#name` is code.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|byte| **byte == b'#').count();
    let body = prefix.len() + hashes + 1;
    if rest.get(body - 1) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    Some(found.map_or(rest.len(), |found| body + found + end.len()))
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(_) => {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
            let mut characters = text.chars();
            characters.next().is_some_and(|first| first != '\'') && characters.next() == Some('\'')
        }
        None => false,
    }
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let source =
        "let a = \"todo\"; // todo\nlet b = 'x'; /* todo /* nested */ todo */ let c: &'a u8;\n";
    let code = only_code(source);
    assert!(!code.contains("todo"), "{code}");
    assert!(!code.contains('x'), "{code}");
    assert!(code.contains("let c: &'a u8;"), "{code}");
    assert_eq!(code.len(), source.len());
    assert_eq!(code.lines().count(), source.lines().count());
}

#[test]
fn raw_strings_escapes_and_raw_names_are_told_apart() {
    let source = r####"let a = r#"say "todo" "#; let b = "\"todo"; let c = b"todo"; let d = '\''; let r#type = 1;"####;
    let code = only_code(source);
    assert!(!code.contains("todo"), "{code}");
    assert!(code.contains("let r#type = 1;"), "{code}");
}

#[test]
fn strings_stay_when_only_comments_go() {
    assert_eq!(without_comments("a(\"b // c\"); // d"), "a(\"b // c\");     ");
}

#[test]
fn code_lines_leave_out_comments_and_blank_lines() {
    assert_eq!(count_code_lines("//! doc\n\n/* a\n b */\nfn a() {\n    // why\n}\n"), 2);
}

#[test]
fn the_body_of_a_test_module_is_found_and_other_items_are_not() {
    let code =
        "#[cfg(test)]\nuse a;\nfn f() {}\n#[cfg(test)]\nmod tests {\n fn g() { {} }\n}\nfn h() {}";
    let modules = test_modules(code);
    assert_eq!(modules.len(), 1);
    let body = &code[modules[0].clone()];
    assert!(body.contains("fn g()") && !body.contains("fn f()") && !body.contains("fn h()"));
}

#[test]
fn a_word_is_not_found_inside_a_longer_one() {
    assert_eq!(find_word("operand rand strand rand_core", "rand"), vec![8]);
    assert_eq!(find_word("a dbg!(b) xdbg!(c)", "dbg!"), vec![2]);
}
