//! `quorate recipe new`: a crate from the template in recipes/template. What a recipe is, the template shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use quorate_core::deployment;
use serde_json::json;

use super::sdk;
use crate::failure::Usage;
use crate::output::{FAINT, NAME, Output};

/// `quorate recipe new`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate recipe new my-semaphore
  quorate recipe new my-semaphore --dir ~/src/semaphore
  quorate recipe new my-semaphore --sdk ~/src/quorate/sdk/recipe")]
pub struct New {
    /// Lower-case letters, digits and `-`, beginning with a letter
    name: String,
    /// Where; a new directory [default: the name]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The guest SDK, sdk/recipe of Quorate's sources [default: in the sources that this binary was built from; if they are
    /// gone, that of the binary itself, written to ~/.local/share/quorate/sdk]
    #[arg(long, value_name = "DIR", env = "QUORATE_SDK")]
    sdk: Option<PathBuf>,
}

/// Paths in the new crate, and what is in them.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("../../../../../recipes/template/Cargo.toml")),
    // The versions that the built-in recipes are built with: they are known to build, and are on this machine already.
    // The first build drops what this recipe does not need.
    ("Cargo.lock", include_str!("../../../../../recipes/Cargo.lock")),
    ("README.md", include_str!("../../../../../recipes/template/README.md")),
    (".gitignore", include_str!("../../../../../recipes/template/.gitignore")),
    ("src/lib.rs", include_str!("../../../../../recipes/template/src/lib.rs")),
    ("wit/__NAME__.wit", include_str!("../../../../../recipes/template/wit/__NAME__.wit")),
    ("scenarios/next.txt", include_str!("../../../../../recipes/template/scenarios/next.txt")),
    (
        "quorate.toml",
        "# What the service grants this recipe; `quorate recipe deploy --help` shows every key.\nroot = \"/recipes/__NAME__\"\n",
    ),
];

impl New {
    /// Runs it.
    ///
    /// # Errors
    /// For a bad name, or a directory that is there.
    pub fn run(self, output: Output) -> anyhow::Result<()> {
        if let Err(refusal) = deployment::check_name(&self.name) {
            return Err(Usage(refusal.message).into());
        }
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let sdk = self.sdk()?;
        write(&dir, &self.name, &sdk)?;
        let shown = dir.display().to_string();
        let name = &self.name;
        output.show(
            || json!({ "name": name, "dir": dir }),
            |out| {
                writeln!(out, "{NAME}{shown}{NAME:#} is a recipe. Its interface is wit/{name}.wit, its code src/lib.rs.\n")?;
                for (command, what) in [
                    (format!("cd {shown}"), ""),
                    ("quorate recipe build".to_owned(), "a component in target/"),
                    ("quorate recipe test".to_owned(), "the scenarios, in-process"),
                    ("quorate recipe deploy".to_owned(), "into service"),
                    (format!("quorate call {name} 'set(\"/motd\", \"hello\")'"), ""),
                ] {
                    writeln!(out, "  {command:<48} {FAINT}{what}{FAINT:#}")?;
                }
                Ok(())
            },
        )
    }

    /// What the crate's manifest says for the SDK.
    fn sdk(&self) -> anyhow::Result<String> {
        let found = sdk::find(self.sdk.as_deref())?;
        let path = found.to_str().context("the SDK's path is not UTF-8")?;
        // A TOML string; serde_json escapes as TOML's basic strings do.
        Ok(format!("{{ path = {} }}", serde_json::Value::from(path)))
    }
}

/// Writes the crate. What is there already is left alone.
fn write(dir: &Path, name: &str, sdk: &str) -> anyhow::Result<()> {
    if dir.exists() {
        bail!(
            "{} is there already: choose another name, or another place with --dir",
            dir.display()
        );
    }
    for (file, text) in FILES {
        let file = dir.join(file.replace("__NAME__", name));
        let told = || format!("{} can not be written", file.display());
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(told)?;
        }
        let text = text.replace("__NAME__", name).replace("__SDK__", sdk);
        std::fs::write(&file, text).with_context(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().join("my-semaphore");
        write(&dir, "my-semaphore", "{ path = \"/sdk\" }").expect("written");
        for (file, _) in FILES {
            let file = dir.join(file.replace("__NAME__", "my-semaphore"));
            let text = std::fs::read_to_string(&file).expect("a file of the crate");
            assert!(!text.contains("__"), "{}: {text}", file.display());
        }
        assert_eq!(super::super::build::crate_name(&dir).expect("a crate"), "my-semaphore");
        assert!(write(&dir, "my-semaphore", "").is_err());
    }
}
