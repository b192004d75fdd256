//! The recipes that workloads call: deployed under names of their own, so that nobody's recipes are touched.

use quorate_client::{Client, Error};
use quorate_core::deployment::{Instances, Manifest};
use quorate_core::error::ErrorCode;
use quorate_core::path::Path;

use super::super::recipe::upload;
use crate::builtin;

/// A recipe for workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchRecipe {
    /// Counters, instances reused.
    Counter,
    /// Counters, a fresh instance for each call.
    FreshCounter,
    /// Locks.
    Lock,
    /// Queues.
    Queue,
}

const ALL: [BenchRecipe; 4] =
    [BenchRecipe::Counter, BenchRecipe::FreshCounter, BenchRecipe::Lock, BenchRecipe::Queue];

impl BenchRecipe {
    /// The deployment's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "bench-counter",
            Self::FreshCounter => "bench-counter-fresh",
            Self::Lock => "bench-lock",
            Self::Queue => "bench-queue",
        }
    }

    fn builtin(self) -> &'static str {
        match self {
            Self::Counter | Self::FreshCounter => "counter",
            Self::Lock => "lock",
            Self::Queue => "queue",
        }
    }

    /// Puts it into service.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn deploy(self, client: &Client) -> anyhow::Result<()> {
        let Some(builtin) = builtin::ALL.iter().find(|builtin| builtin.name == self.builtin())
        else {
            anyhow::bail!("this binary has no recipe {}", self.builtin());
        };
        let mut manifest =
            Manifest::for_root(Path::parse(&format!("{}/{}", super::ROOT, self.name()))?);
        manifest.instances =
            if self == Self::FreshCounter { Instances::Fresh } else { Instances::Reused };
        upload::deploy(client, self.name(), builtin.component, manifest, true, |_| {}).await?;
        Ok(())
    }
}

/// Takes all of them out of service.
///
/// # Errors
/// What the service refuses.
pub async fn remove(client: &Client) -> anyhow::Result<()> {
    for line in client.list_recipes().await? {
        if line.active.is_some() && ALL.iter().any(|recipe| recipe.name() == line.name) {
            match client.remove_recipe(&line.name).await {
                Err(error) if error.code() != ErrorCode::NoRecipe => {
                    return Err(Error::into(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
