//! Where a value ends on a line that holds several: at a space outside of quotes and brackets. It does not know what a value
//! is; the parser does.

/// What a line is cut into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut<'a> {
    /// The words in front of the arrow, or all of them.
    pub(crate) words: Vec<&'a str>,
    /// What is behind the first word that is `->`, without spaces around it.
    pub(crate) behind_arrow: Option<&'a str>,
}

/// Cuts a line into words, up to its arrow.
///
/// # Errors
/// A quote or a bracket that is not closed.
pub(crate) fn cut(line: &str) -> Result<Cut<'_>, String> {
    let mut cut = Cut { words: Vec::new(), behind_arrow: None };
    let mut rest = line.trim_matches(' ');
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(word_end(rest)?);
        if word == "->" {
            cut.behind_arrow = Some(behind.trim_matches(' '));
            return Ok(cut);
        }
        cut.words.push(word);
        rest = behind.trim_start_matches(' ');
    }
    Ok(cut)
}

/// Length of the first word in bytes.
fn word_end(text: &str) -> Result<usize, String> {
    let mut depth = 0usize;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ' ' if depth == 0 => return Ok(at),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => skip_quoted(&mut chars, char)?,
            _ => {}
        }
    }
    if depth > 0 {
        return Err(format!("a bracket of `{text}` is not closed"));
    }
    Ok(text.len())
}

/// Goes on behind the closing quote.
pub(super) fn skip_quoted(
    chars: &mut impl Iterator<Item = (usize, char)>,
    quote: char,
) -> Result<(), String> {
    while let Some((_, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            char if char == quote => return Ok(()),
            _ => {}
        }
    }
    Err(format!("a quote {quote} is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_spaces_outside_of_quotes_and_brackets() {
        let line = r#"call  "a b\" ->" {x: 1, y: "}"} ' ' $n -> ok({a: 1, b: "->"}) "#;
        let cut = cut(line).expect("well-formed");
        assert_eq!(cut.words, ["call", r#""a b\" ->""#, r#"{x: 1, y: "}"}"#, "' '", "$n"]);
        assert_eq!(cut.behind_arrow, Some(r#"ok({a: 1, b: "->"})"#));
    }

    #[test]
    fn a_line_without_an_arrow_is_all_words() {
        let cut = cut(" advance 10 ").expect("well-formed");
        assert_eq!((cut.words, cut.behind_arrow), (vec!["advance", "10"], None));
        assert_eq!(super::cut("a ->").map(|cut| cut.behind_arrow), Ok(Some("")));
    }

    #[test]
    fn what_is_opened_is_closed() {
        for line in ["a (b c", "a \"b c", "a 'b", "a \"b\\\"", "{x: [1}"] {
            assert!(cut(line).is_err(), "{line}");
        }
    }
}
