//! The binary `quorate`: takes the command line apart and runs one command. It knows no command's work.
#![forbid(unsafe_code)]

mod output;

mod failure;

mod duration;

mod data;

mod json;

mod dev_file;

mod connect;

mod signals;

mod builtin;

mod config;

mod telemetry;

mod commands;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::connect::Global;

/// Coordination that you program: locks, queues, elections and recipes of your own, in one replicated tree.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, max_term_width = 100, after_help = failure::EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let CommandLine { global, command } = CommandLine::parse();
    let output = global.output();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(output, &error.into()),
    };
    let ended = runtime.block_on(Box::pin(commands::run(command, &global)));
    // A thread that still reads standard input would hold up the end.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| failure::report(output, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
