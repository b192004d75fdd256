//! Scenario files: each run on a kit of its own, and what came of them. The grammar is that of recipes/SCENARIOS.md.

mod run;
mod script;

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorate_core::deployment::Manifest;

use crate::component::Component;
use crate::kit::{Kit, KitError};
use run::Run;

/// What came of scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each file, in the order in which they were given.
    pub scenarios: Vec<ScenarioReport>,
}

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioReport {
    /// Its file, as it was given.
    pub file: PathBuf,
    /// Steps that went as they should.
    pub steps_count: usize,
    /// Where it ended early, and why.
    pub failure: Option<Failure>,
}

/// Where a scenario and its recipe disagree, or a file is no scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Sentences, on several lines: where there is a difference, what was expected and what came.
    pub message: String,
}

impl Report {
    /// Whether all of them went as they should.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.failure.is_none())
    }
}

/// A line for each scenario, and more below the failed ones.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scenarios.iter().try_for_each(|scenario| writeln!(f, "{scenario}"))
    }
}

impl fmt::Display for ScenarioReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.failure {
            None => write!(f, "ok      {file} ({} steps)", self.steps_count),
            Some(Failure { line, message }) => {
                write!(f, "FAILED  {file}:{line}")?;
                message.lines().try_for_each(|line| write!(f, "\n        {line}"))
            }
        }
    }
}

/// Runs scenario files, each on the recipe newly deployed with this manifest.
///
/// # Errors
/// The component or the manifest can not be deployed. What is wrong with a file is part of the report.
pub fn run_scenarios(
    component: impl Into<Bytes>,
    manifest: &Manifest,
    files: &[PathBuf],
) -> Result<Report, KitError> {
    let component = Component::load(component)?;
    let one = |file: &PathBuf| {
        let (steps_count, failure) = match std::fs::read_to_string(file) {
            Ok(text) => run_text(&component, manifest, &text)?,
            Err(error) => (
                0,
                Some(Failure { line: 0, message: format!("the file can not be read: {error}") }),
            ),
        };
        Ok(ScenarioReport { file: file.clone(), steps_count, failure })
    };
    Ok(Report { scenarios: files.iter().map(one).collect::<Result<_, KitError>>()? })
}

/// The scenario files of a folder (`*.txt`), in the order of their names.
///
/// # Errors
/// The folder can not be read.
pub fn scenario_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs one scenario: how many steps went well, and where it ended if it did early.
fn run_text(
    component: &Component,
    manifest: &Manifest,
    text: &str,
) -> Result<(usize, Option<Failure>), KitError> {
    let failure = |(line, message)| Some(Failure { line, message });
    let steps = match script::parse(text) {
        Ok(steps) => steps,
        Err(wrong) => return Ok((0, failure(wrong))),
    };
    let mut run = Run::new(Kit::of(component, manifest.clone())?);
    for (done, step) in steps.iter().enumerate() {
        if let Err(wrong) = run.step(step) {
            return Ok((done, failure(wrong)));
        }
    }
    Ok((steps.len(), None))
}
