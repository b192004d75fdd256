//! Owns standard output and standard error: text with colour for people, JSON for machines. A reader that has gone away is
//! no error. It does not know what is written.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

/// Names of znodes, recipes, commands.
pub const NAME: Style = AnsiColor::Cyan.on_default().bold();
/// What is beside the point.
pub const FAINT: Style = Style::new().dimmed();
/// Titles.
pub const TITLE: Style = Style::new().bold();
/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people; colour on a terminal, unless `NO_COLOR` is set
    Human,
    /// JSON with stable field names
    Json,
}

/// Where commands write.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    verbose: bool,
}

impl Output {
    /// In this form; with notes about what is done, if wanted.
    #[must_use]
    pub fn new(format: Format, verbose: bool) -> Self {
        Self { format, verbose }
    }

    /// Whether machines read it.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes a result to standard output, in the form that was asked for. JSON is one line.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn show(
        self,
        json: impl FnOnce() -> Value,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut stdout = anstream::stdout().lock();
        let written = match self.format {
            Format::Json => writeln!(stdout, "{}", json()),
            Format::Human => human(&mut stdout),
        };
        finish(written.and_then(|()| stdout.flush()))
    }

    /// Writes a line of standard output for each row; with JSON, an object each. Whether anybody still reads them.
    ///
    /// # Errors
    /// If they can not be written.
    pub fn lines<T>(
        self,
        rows: &[T],
        json: impl Fn(&T) -> Value,
        human: impl Fn(&T, &mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut stdout = anstream::stdout().lock();
        let write = |row| match self.format {
            Format::Json => writeln!(stdout, "{}", json(row)),
            Format::Human => human(row, &mut stdout),
        };
        let written = rows.iter().try_for_each(write).and_then(|()| stdout.flush());
        let is_read = written.is_ok();
        finish(written)?;
        Ok(is_read)
    }

    /// Writes bytes to standard output as they are.
    ///
    /// # Errors
    /// If they can not be written.
    pub fn bytes(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        finish(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Says something to people, on standard error.
    pub fn say(self, text: impl fmt::Display) {
        // Nobody is left to be told when standard error is gone.
        writeln!(anstream::stderr().lock(), "{text}").ok();
    }

    /// As `say`, but only if wanted.
    pub fn note(self, text: impl fmt::Display) {
        if self.verbose {
            self.say(format_args!("{FAINT}{text}{FAINT:#}"));
        }
    }

    /// An error, and what can be done about it.
    pub fn error(self, json: &Value, message: &str, hint: Option<&str>) {
        match self.format {
            Format::Json => self.say(json),
            Format::Human => {
                self.say(format_args!("{BAD}error:{BAD:#} {message}"));
                if let Some(hint) = hint {
                    self.say(format_args!("  {hint}"));
                }
            }
        }
    }
}

/// A pipe that was closed at the other end (`quorate ls / | head`) is not our error.
fn finish(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output can not be written"),
    }
}
