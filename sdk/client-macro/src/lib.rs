//! The macro behind `quorate_client::recipe!`: from WIT to types and calls in Rust, at compile time.
//! Knows WIT and how it is described on the wire; knows nothing of sessions, or of who answers the calls.
//!
//! The hash of a function's type, by which the service refuses a stale client, is not made here. What is made here is the
//! function's description, with the wire's own types; the hash is taken from that, as the service takes it.
//!
//! Modules in reading order: `arguments` (what stands between the brackets), `source` (WIT packages), `select` (which interfaces),
//! `describe` (WIT types as the wire describes them), `names`, `types` (declarations in Rust), `generate` (modules and calls).
#![forbid(unsafe_code)]

mod arguments;

mod source;

mod select;

mod describe;

mod names;

mod types;

mod generate;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Documented where users meet it: as `quorate_client::recipe!`.
#[proc_macro]
pub fn recipe(input: TokenStream) -> TokenStream {
    into_tokens(arguments::parse(input).and_then(|arguments| generate::recipe(&arguments)))
}

/// The types of `quorate:recipe/types`, for the client's own crate and for nobody else.
#[doc(hidden)]
#[proc_macro]
pub fn __host_types(_input: TokenStream) -> TokenStream {
    into_tokens(generate::host_types())
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
