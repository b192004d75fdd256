//! What stands between the brackets of `recipe!`.
//! Knows the macro's syntax; does not look at any file.

use proc_macro::{TokenStream, TokenTree};

/// `recipe!(Type)`, `recipe!(Type, world: "name", path: "folder")`.
pub struct Arguments {
    /// The type on which the recipe implements `Guest`.
    pub component: String,
    /// The world to implement; may be missing when the package has one world.
    pub world: Option<String>,
    /// The folder or file of the recipe's own WIT, relative to its crate.
    pub path: String,
}

const USAGE: &str =
    "expected recipe!(Type) or recipe!(Type, world: \"name\", path: \"folder of the WIT files\")";

/// # Errors
/// A sentence that says what was expected.
pub fn parse(input: TokenStream) -> Result<Arguments, String> {
    let mut tokens = input.into_iter();
    let Some(TokenTree::Ident(component)) = tokens.next() else {
        return Err(USAGE.to_owned());
    };
    let mut arguments =
        Arguments { component: component.to_string(), world: None, path: "wit".to_owned() };
    loop {
        match tokens.next() {
            None => return Ok(arguments),
            Some(TokenTree::Punct(comma)) if comma.as_char() == ',' => {}
            Some(_) => return Err(USAGE.to_owned()),
        }
        let Some(key) = tokens.next() else {
            return Ok(arguments);
        };
        match tokens.next() {
            Some(TokenTree::Punct(colon)) if colon.as_char() == ':' => {}
            _ => return Err(USAGE.to_owned()),
        }
        let value = tokens.next().and_then(|token| text(&token)).ok_or(USAGE)?;
        match key.to_string().as_str() {
            "world" => arguments.world = Some(value),
            "path" => arguments.path = value,
            other => return Err(format!("unknown option `{other}`; {USAGE}")),
        }
    }
}

/// The text of a plain string literal without escapes: names of worlds and paths need none.
fn text(token: &TokenTree) -> Option<String> {
    let literal = token.to_string();
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then(|| inner.to_owned())
}
