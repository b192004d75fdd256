//! What stands between the brackets of `recipe!`. It knows the macro's syntax, and looks at no file.

use proc_macro::{TokenStream, TokenTree};

/// `recipe!("path")`, `recipe!(inline: "text")`, each with `world: "name"` or `interface: "name"` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Where the WIT is.
    pub source: Source,
    /// What of it is wanted.
    pub wanted: Wanted,
}

/// Where WIT is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file or a folder, relative to the crate.
    Path(String),
    /// Here.
    Inline(String),
}

/// Which interfaces calls are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All that the package's one world exports; without a world, its one interface.
    All,
    /// All that this world exports.
    World(String),
    /// This interface.
    Interface(String),
}

const USAGE: &str = "expected recipe!(\"path of WIT\") or recipe!(inline: \"WIT\"), and behind it, if wanted, \
     `, world: \"name\"` or `, interface: \"name\"`";

/// # Errors
/// A sentence that says what was expected.
pub fn parse(input: TokenStream) -> Result<Arguments, String> {
    let mut tokens = input.into_iter().peekable();
    let source = match tokens.next() {
        Some(TokenTree::Ident(key)) if key.to_string() == "inline" => {
            Source::Inline(value(&mut tokens)?)
        }
        Some(TokenTree::Literal(path)) => Source::Path(text(&path.to_string())?),
        _ => return Err(USAGE.to_owned()),
    };
    let mut wanted = Wanted::All;
    loop {
        match tokens.next() {
            None => return Ok(Arguments { source, wanted }),
            Some(TokenTree::Punct(comma)) if comma.as_char() == ',' => {}
            Some(_) => return Err(USAGE.to_owned()),
        }
        let key = match tokens.next() {
            None => return Ok(Arguments { source, wanted }),
            Some(key) => key.to_string(),
        };
        if wanted != Wanted::All {
            return Err("one `world` or one `interface`; for more, use the macro again".to_owned());
        }
        wanted = match key.as_str() {
            "world" => Wanted::World(value(&mut tokens)?),
            "interface" => Wanted::Interface(value(&mut tokens)?),
            other => return Err(format!("unknown option `{other}`; {USAGE}")),
        };
    }
}

/// `: "text"`
fn value(tokens: &mut impl Iterator<Item = TokenTree>) -> Result<String, String> {
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Punct(colon)), Some(TokenTree::Literal(literal)))
            if colon.as_char() == ':' =>
        {
            text(&literal.to_string())
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// The text of a string literal, raw or with the usual escapes.
fn text(literal: &str) -> Result<String, String> {
    let not_text = || format!("expected a string, found {literal}");
    if let Some(raw) = literal.strip_prefix('r') {
        let inner = raw.trim_matches('#');
        let inner = inner.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
        return inner.map(str::to_owned).ok_or_else(not_text);
    }
    let inner = literal.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    let inner = inner.ok_or_else(not_text)?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some(plain @ ('\\' | '"' | '\'')) => text.push(plain),
            _ => return Err(format!("an escape that WIT does not need, in {literal}")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn strings_are_read_raw_and_escaped() {
        assert_eq!(text(r#""wit/a.wit""#).as_deref(), Ok("wit/a.wit"));
        assert_eq!(text(r#""a\n\"b\\""#).as_deref(), Ok("a\n\"b\\"));
        assert_eq!(text("r\"a\\b\"").as_deref(), Ok("a\\b"));
        assert_eq!(text("r##\"say \"#\"##").as_deref(), Ok("say \"#"));
        for literal in ["7", "'a'", "b\"a\"", "\"\\u{41}\""] {
            assert!(text(literal).is_err(), "{literal}");
        }
    }
}
