//! `quorate completions`. It knows no command but its own.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::output::{Format, Output};

/// `quorate completions`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate completions bash > ~/.local/share/bash-completion/completions/quorate
  quorate completions zsh > \"${fpath[1]}/_quorate\"
  quorate completions fish > ~/.config/fish/completions/quorate.fish")]
pub struct Completions {
    /// For which shell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Runs it.
    ///
    /// # Errors
    /// If standard output can not be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::CommandLine::command(),
            "quorate",
            &mut script,
        );
        Output::new(Format::Human, false).bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
