//! `quorate recipe deploy`: finds component and manifest, uploads and activates. What may be deployed is the service's to say.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{Client, Error, Progress};
use quorate_core::deployment::{self, Manifest};
use quorate_core::error::ErrorCode;
use quorate_core::level::Level;
use serde_json::json;

use super::build;
use super::manifest::{self, ManifestFile};
use crate::builtin;
use crate::connect::Global;
use crate::failure::Usage;
use crate::output::NAME;

/// `quorate recipe deploy`
#[derive(Debug, clap::Args)]
#[command(after_help = manifest::HELP.to_owned() + "

Examples:
  quorate recipe deploy                                # the recipe in this directory, as built
  quorate recipe deploy my-semaphore
  quorate recipe deploy target/my-semaphore.wasm --manifest quorate.toml
  quorate recipe deploy lock                           # a built-in one
  quorate recipe deploy . --allow-breaking")]
pub struct Deploy {
    /// Directory of a recipe, component file, or name of a built-in recipe
    #[arg(default_value = ".", value_name = "DIR|FILE|NAME")]
    what: PathBuf,
    /// Name of the deployment, if it is not that of the manifest, crate or file
    #[arg(long)]
    name: Option<String>,
    /// The manifest, if it is not the quorate.toml beside the recipe
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Go on although callers of the version in service will break
    #[arg(long)]
    allow_breaking: bool,
}

/// What goes up.
struct Parcel {
    name: String,
    component: Vec<u8>,
    manifest: Manifest,
    /// Whether it comes with this binary, and so in the form that the cluster's level allows.
    is_builtin: bool,
}

/// How long a member may take to compile a recipe.
const COMPILE: Duration = Duration::from_secs(60);
/// Between two questions whether it is compiled.
const COMPILE_LOOK: Duration = Duration::from_millis(50);

impl Deploy {
    /// Runs it.
    ///
    /// # Errors
    /// What the disk or the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let Parcel { name, component, mut manifest, is_builtin } = self.parcel()?;
        deployment::check_name(&name).map_err(Error::from)?;
        let bytes = component.len();
        let bar = ProgressBar::new(bytes as u64)
            .with_style(style())
            .with_message(format!("uploading {name}"));
        let up = |progress: Progress| bar.set_position(progress.bytes);
        let root = manifest.root.as_str().to_owned();
        let version = global
            .with_client(async |client| {
                let component = bytes::Bytes::from(component);
                if is_builtin {
                    manifest = manifest.of_level(client.status().await?.cluster_level);
                }
                deploy(&client, &name, component, manifest, self.allow_breaking, up).await
            })
            .await;
        bar.finish_and_clear();
        let version = version?;
        global.output().show(
            || json!({ "name": name, "version": version, "bytes": bytes, "root": root }),
            |out| writeln!(out, "{NAME}{name}{NAME:#} is in service: version {version}, {bytes} bytes, its tree is {root}"),
        )
    }

    fn parcel(&self) -> anyhow::Result<Parcel> {
        let read = |file: &Path| {
            std::fs::read(file).with_context(|| format!("{} can not be read", file.display()))
        };
        if self.what.is_dir() {
            let name = build::crate_name(&self.what)?;
            let component = build::component_file(&self.what, &name);
            if !component.is_file() {
                let told = format!(
                    "{} is not there: run `quorate recipe build` first",
                    component.display()
                );
                return Err(Usage(told).into());
            }
            let beside = self.what.join(manifest::FILE);
            let file = self.manifest.clone().or_else(|| beside.is_file().then_some(beside));
            return self.packed(file.as_deref(), &name, read(&component)?);
        }
        if self.what.is_file() {
            let stem = self
                .what
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            return self.packed(self.manifest.as_deref(), &stem, read(&self.what)?);
        }
        let wanted = self.what.to_string_lossy();
        match builtin::ALL.iter().find(|builtin| builtin.name == wanted) {
            Some(builtin) if self.manifest.is_none() && self.name.is_none() => Ok(Parcel {
                name: builtin.name.to_owned(),
                component: builtin.component.to_vec(),
                manifest: builtin.manifest(Level::NEWEST)?,
                is_builtin: true,
            }),
            Some(builtin) => {
                self.packed(self.manifest.as_deref(), builtin.name, builtin.component.to_vec())
            }
            None => {
                Err(Usage(format!("{wanted} is no directory, no file, and no built-in recipe"))
                    .into())
            }
        }
    }

    fn packed(
        &self,
        file: Option<&Path>,
        usual: &str,
        component: Vec<u8>,
    ) -> anyhow::Result<Parcel> {
        let file = file.map_or_else(|| Ok(ManifestFile::default()), ManifestFile::load)?;
        let name =
            self.name.clone().or_else(|| file.name.clone()).unwrap_or_else(|| usual.to_owned());
        let manifest = file.manifest(&name)?;
        Ok(Parcel { name, component, manifest, is_builtin: false })
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Uploads and activates; waits while the member compiles. The new version.
///
/// # Errors
/// What the service refuses.
pub async fn deploy(
    client: &Client,
    name: &str,
    component: impl Into<bytes::Bytes>,
    manifest: Manifest,
    breaking_allowed: bool,
    progress: impl FnMut(Progress),
) -> anyhow::Result<u64> {
    let component = client.upload(component, progress).await?;
    let recipe = name.to_owned();
    let deploy = quorate_core::request::Deploy { recipe, component, manifest, breaking_allowed };
    until_compiled(|| client.deploy(deploy.clone())).await
}

/// Asks again as long as the answer is `compiling`.
///
/// # Errors
/// Any other, and `compiling` when it takes too long.
pub async fn until_compiled<F>(mut ask: impl FnMut() -> F) -> anyhow::Result<u64>
where
    F: Future<Output = Result<u64, Error>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.code() == ErrorCode::Compiling && began.elapsed() < COMPILE => {
                tokio::time::sleep(COMPILE_LOOK).await;
            }
            other => return Ok(other?),
        }
    }
}
