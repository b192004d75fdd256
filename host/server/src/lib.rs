//! The program `quorate`: takes the command line apart and runs one command. It knows no command's work.
#![forbid(unsafe_code)]

mod output;

mod failure;
mod fence;

mod duration;

mod data;

mod json;

mod dev_file;

mod identify;

mod connect;

mod signals;

mod builtin;

mod config;

mod telemetry;

mod commands;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use quorate_core::level::Level;

use crate::commands::Command;
use crate::connect::Global;
use crate::output::{Format, Output};

/// Coordination that you program: locks, queues, elections and recipes of your own, in one replicated tree.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, max_term_width = 100, after_help = after_help())]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    let examples = "\
Examples:
  quorate dev
  quorate lock /deploys/web -- ./deploy.sh
  quorate call counter 'add(\"/hits\", 1)'
  quorate ls / --output json
  quorate --root /app get /config     # of /app/config
";
    format!("{examples}\n{}", failure::EXIT_CODES)
}

/// Runs the command of this process's command line, as a build that knows this feature level. The exit code is the process's.
#[must_use]
pub fn run(level: Level) -> ExitCode {
    let CommandLine { mut global, command } = match CommandLine::try_parse() {
        Ok(parsed) => parsed,
        // Machines get their form also of a command line that could not be read.
        Err(error) if error.use_stderr() && is_json_wanted() => {
            let usage = failure::Usage(
                error.render().to_string().trim_start_matches("error: ").trim().to_owned(),
            );
            return failure::report(Output::new(Format::Json, false), &usage.into());
        }
        Err(error) => error.exit(),
    };
    global.level = level;
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

fn is_json_wanted() -> bool {
    let words: Vec<OsString> = std::env::args_os().collect();
    words.iter().any(|word| word == "--output=json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_help_text_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, examples)| examples);
            let name = command.get_name();
            assert!(examples.is_some_and(|text| text.contains("  quorate ")), "{name}: {help}");
            command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
        }
        check(&CommandLine::command());
    }
}
