//! Values as WAVE text: read as patterns, shown, and told apart on a line. It knows types and values, not who calls what.

mod pattern;
mod show;
mod words;

use wasm_wave::parser::ParserError;

pub(crate) use pattern::{Bindings, Mismatch, Pattern};
pub(crate) use show::show;
pub(crate) use words::{Cut, cut};

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`, column {column}: {message}")]
pub(crate) struct WaveError {
    text: String,
    /// In characters, from 1.
    column: usize,
    message: String,
}

impl WaveError {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.char_indices().take_while(|(at, _)| *at < offset).count();
        Self { text: text.to_owned(), column: before + 1, message: message.into() }
    }

    fn parser(text: &str, error: &ParserError) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self::at(text, error.span().start, message)
    }
}
