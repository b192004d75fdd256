//! The functions by which the host enters a recipe, written out.
//! Knows the shape of the generator's `export!` macros; does not know what they export.
//!
//! The generator leaves entry points in `macro_rules!` that the recipe's author invokes. What such a macro expands to
//! counts as code of the author's crate, and `#![forbid(unsafe_code)]` there refuses it. What *this* macro emits counts as
//! foreign. So the bodies of those macros are taken out and emitted here, and recipe crates can forbid unsafe code.

use proc_macro::{Group, TokenStream, TokenTree};
use std::str::FromStr as _;

/// The entry points of all exports in `bindings`, for implementations on `component`, to stand in the same module.
///
/// # Errors
/// A sentence: the generator's output has another shape than the pinned version's.
pub fn entry_points(bindings: &str, component: &str) -> Result<String, String> {
    let tokens = TokenStream::from_str(bindings).map_err(|error| format!("bindings: {error}"))?;
    let mut found = Vec::new();
    collect(tokens, "self", component, &mut found);
    match found.is_empty() {
        true => {
            Err("the bindings have no entry points: is wit-bindgen of the pinned version?".into())
        }
        false => Ok(found.concat()),
    }
}

/// Walks modules and keeps the path to each, since an entry point names its module's functions.
fn collect(tokens: TokenStream, module: &str, component: &str, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let word = token.to_string();
        let after = |distance: usize| tokens.get(index + distance);
        if word == "mod" {
            if let (Some(name), Some(TokenTree::Group(body))) = (after(1), after(2)) {
                collect(body.stream(), &format!("{module}::{name}"), component, found);
            }
        } else if word == "macro_rules"
            && let (Some(name), Some(TokenTree::Group(rules))) = (after(2), after(3))
            && name.to_string().ends_with("_cabi")
            && let Some(body) = only_rule(rules)
        {
            // A host's linker has no use for such names, and some refuse them: unit tests run without entry points.
            found.push("#[cfg(target_arch = \"wasm32\")] ".to_owned());
            found.push(substitute(body, module, component));
        }
    }
}

/// The right side of `(matcher) => (body);`.
fn only_rule(rules: &Group) -> Option<TokenStream> {
    rules.stream().into_iter().skip(1).find_map(|token| match token {
        TokenTree::Group(body) => Some(body.stream()),
        _ => None,
    })
}

/// The body with `$ty` and `$($path_to_types)*` replaced, as the macro itself would.
fn substitute(body: TokenStream, module: &str, component: &str) -> String {
    let mut out = String::new();
    let mut tokens = body.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(dollar) if dollar.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(_)) => {
                    // The star behind the repetition.
                    drop(tokens.next());
                    out.push_str(module);
                }
                _ => out.push_str(component),
            },
            TokenTree::Group(group) => {
                let inner = substitute(group.stream(), module, component);
                let (open, close) = match group.delimiter() {
                    proc_macro::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro::Delimiter::Brace => ("{", "}"),
                    proc_macro::Delimiter::Bracket => ("[", "]"),
                    proc_macro::Delimiter::None => ("", ""),
                };
                out.push_str(open);
                out.push_str(&inner);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => {
                out.push(punct.as_char());
                if punct.spacing() == proc_macro::Spacing::Alone {
                    out.push(' ');
                }
            }
            other => {
                out.push_str(&other.to_string());
                out.push(' ');
            }
        }
    }
    out
}
