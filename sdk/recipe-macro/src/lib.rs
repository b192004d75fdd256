//! The macros behind `quorate_recipe`: they turn WIT into Rust at compile time.
//! Knows WIT and the generator; knows nothing of what a recipe does or where it runs.
//!
//! The package `quorate:recipe` is embedded here, once. A recipe's own crate therefore needs its own WIT file and
//! nothing else: no `deps` directory, no path to the SDK's files.

#![forbid(unsafe_code)]

mod arguments;
mod entries;
mod exports;
mod generate;
mod source;

use proc_macro::TokenStream;

/// Documented where users meet it: as `quorate_recipe::recipe!`.
#[proc_macro]
pub fn recipe(input: TokenStream) -> TokenStream {
    let expanded = arguments::parse(input).and_then(|arguments| generate::recipe(&arguments));
    into_tokens(expanded)
}

/// The imports of `quorate:recipe`, for the SDK crate itself and for nobody else.
#[doc(hidden)]
#[proc_macro]
pub fn __imports(_input: TokenStream) -> TokenStream {
    into_tokens(generate::imports())
}

/// Source text as tokens; a failure becomes an error of the crate that is being compiled, at the macro's place.
fn into_tokens(expanded: Result<String, String>) -> TokenStream {
    expanded
        .and_then(|source| source.parse().map_err(|error| format!("generated source: {error}")))
        .unwrap_or_else(|message| compile_error(&message))
}

fn compile_error(message: &str) -> TokenStream {
    let source = format!("::core::compile_error!({message:?});");
    source.parse().unwrap_or_else(|_| TokenStream::new())
}
