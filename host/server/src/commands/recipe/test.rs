//! `quorate recipe test`: builds the recipe and runs its scenarios in-process. How they run is quorate-testkit's.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use quorate_testkit::{run_scenarios, scenario_files};
use serde_json::json;

use super::build;
use super::manifest::{self, ManifestFile};
use crate::failure::{REFUSED, Usage};
use crate::output::Output;

/// `quorate recipe test`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Scenarios are the text files scenarios/*.txt of the recipe: several sessions, virtual time, cancellation and expiry,
on the engine and the sequencer of the service, without a server.

Examples:
  quorate recipe test
  quorate recipe test my-semaphore
  quorate recipe test . --scenario scenarios/next.txt"
)]
pub struct Test {
    /// Directory of the recipe
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only these files
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
}

impl Test {
    /// Runs it.
    ///
    /// # Errors
    /// If the recipe does not build, or can not be deployed.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let (component, _) = build::build(&self.dir)?;
        let name = build::crate_name(&self.dir)?;
        let file = self.dir.join(manifest::FILE);
        let file =
            if file.is_file() { ManifestFile::load(&file)? } else { ManifestFile::default() };
        let name = file.name.clone().unwrap_or(name);
        let manifest = file.manifest(&name)?;
        let files = if self.scenario.is_empty() {
            let folder = self.dir.join("scenarios");
            scenario_files(&folder)
                .with_context(|| format!("{} can not be read", folder.display()))?
        } else {
            self.scenario
        };
        if files.is_empty() {
            return Err(Usage(
                "there is no scenario: write one in scenarios/, as a *.txt".to_owned(),
            )
            .into());
        }
        let bytes = std::fs::read(&component)
            .with_context(|| format!("{} can not be read", component.display()))?;
        let report = run_scenarios(bytes, &manifest, &files)?;
        let json = || {
            let scenarios = report.scenarios.iter().map(|scenario| {
                json!({
                    "file": scenario.file,
                    "steps": scenario.steps_count,
                    "failure": scenario.failure.as_ref().map(|failure| {
                        json!({ "line": failure.line, "message": failure.message })
                    }),
                })
            });
            json!({ "ok": report.is_ok(), "scenarios": scenarios.collect::<Vec<_>>() })
        };
        output.show(json, |out| write!(out, "{report}"))?;
        Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}
