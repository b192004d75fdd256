//! Putting recipes into service and looking after them. It knows components as bytes, and not what they do.

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Manifest, Version};
use quorate_core::error::Refusal;
use quorate_core::limits::{CHUNK_BYTES_MAX, COMPONENT_BYTES_MAX};
use quorate_core::request::{Answer, Body, Chunk, Deploy};
use quorate_wire::message::query::{LogLine, RecipeLine, Status};
use quorate_wire::message::{Consistency, Query, Results};
use sha2::{Digest, Sha256};

use crate::client::{Client, WriteHandle, done};
use crate::error::Error;
use crate::tree::unexpected;

/// Chunks that are under way at a time: the next is sent while the last is written, and others get their turn.
const CHUNKS_UNDER_WAY: usize = 2;

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the service has.
    pub bytes: u64,
    /// Bytes of the whole.
    pub total_bytes: u64,
}

/// A recipe's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The active one; none after a removal.
    pub active: Option<u64>,
    /// All that are remembered, oldest first.
    pub versions: Vec<Version>,
}

impl Client {
    /// Stores a component's bytes under their digest, which it gives. `progress` is called after each chunk that has been
    /// stored. Chunks that the service has already cost a round trip and no space.
    ///
    /// Dropped, the upload stops; what was stored stays, and another upload of the same bytes goes over it.
    ///
    /// # Errors
    /// `Refused` with `limit`; `SessionLost`.
    pub async fn upload(
        &self,
        component: impl Into<Bytes>,
        mut progress: impl FnMut(Progress),
    ) -> Result<ComponentDigest, Error> {
        let component = component.into();
        let total_bytes = component.len() as u64;
        if total_bytes > COMPONENT_BYTES_MAX {
            return Err(
                Refusal::limit("bytes of a component", total_bytes, COMPONENT_BYTES_MAX).into()
            );
        }
        let digest: ComponentDigest = Sha256::digest(&component).into();
        let mut under_way = std::collections::VecDeque::new();
        let mut stored = Progress { bytes: 0, total_bytes };
        let mut stored_chunk = async |sent: (WriteHandle, usize)| {
            done(sent.0.await?)?;
            stored.bytes += sent.1 as u64;
            progress(stored);
            Ok::<_, Error>(())
        };
        for (index, start) in (0..component.len().max(1)).step_by(CHUNK_BYTES_MAX).enumerate() {
            if under_way.len() >= CHUNKS_UNDER_WAY
                && let Some(sent) = under_way.pop_front()
            {
                stored_chunk(sent).await?;
            }
            let bytes = component.slice(start..component.len().min(start + CHUNK_BYTES_MAX));
            let length = bytes.len();
            let index = u32::try_from(index).expect("a component has a few chunks");
            let chunk = Chunk { component: digest, index, total_bytes, bytes };
            under_way.push_back((self.send(Body::StoreChunk(chunk)).await?, length));
        }
        for sent in under_way {
            stored_chunk(sent).await?;
        }
        Ok(digest)
    }

    /// Activates an uploaded component under a name. The number of the new version.
    ///
    /// # Errors
    /// `Refused` with `not-admitted`, `breaking-change` unless that is allowed, `bad-arguments`; `SessionLost`.
    pub async fn deploy(&self, deploy: Deploy) -> Result<u64, Error> {
        self.forget(&deploy.recipe);
        activated(self.done(Body::Deploy(deploy)).await?.1)
    }

    /// Uploads a component and activates it.
    ///
    /// # Errors
    /// As [`Client::upload`] and [`Client::deploy`].
    pub async fn deploy_component(
        &self,
        recipe: &str,
        component: impl Into<Bytes>,
        manifest: Manifest,
        breaking_allowed: bool,
        progress: impl FnMut(Progress),
    ) -> Result<u64, Error> {
        let component = self.upload(component, progress).await?;
        let recipe = recipe.to_owned();
        self.deploy(Deploy { recipe, component, manifest, breaking_allowed }).await
    }

    /// Activates an earlier version again. Its number.
    ///
    /// # Errors
    /// `Refused` with `no-recipe`, `bad-arguments`; `SessionLost`.
    pub async fn rollback(&self, recipe: &str, version: u64) -> Result<u64, Error> {
        self.forget(recipe);
        activated(self.done(Body::Rollback { recipe: recipe.to_owned(), version }).await?.1)
    }

    /// Takes a recipe out of service. Its versions stay, and so does what it wrote.
    ///
    /// # Errors
    /// `Refused` with `no-recipe`; `SessionLost`.
    pub async fn remove_recipe(&self, recipe: &str) -> Result<(), Error> {
        self.forget(recipe);
        self.done(Body::RemoveRecipe(recipe.to_owned())).await.map(|_| ())
    }

    /// All recipes, by name.
    ///
    /// # Errors
    /// `SessionLost`.
    pub async fn list_recipes(&self) -> Result<Vec<RecipeLine>, Error> {
        match self.read(Query::Recipes).await? {
            (_, Results::Recipes(lines)) => Ok(lines),
            _ => Err(unexpected("recipes")),
        }
    }

    /// The versions of a recipe.
    ///
    /// # Errors
    /// `Refused` with `no-recipe`; `SessionLost`.
    pub async fn history(&self, recipe: &str) -> Result<History, Error> {
        match self.read(Query::History(recipe.to_owned())).await? {
            (_, Results::History { active, versions }) => Ok(History { active, versions }),
            _ => Err(unexpected("history")),
        }
    }

    /// The last lines of a recipe's log on the member that this client is attached to.
    ///
    /// # Errors
    /// `Refused` with `no-recipe`; `SessionLost`.
    pub async fn logs(&self, recipe: &str, limit: u32) -> Result<Vec<LogLine>, Error> {
        let here = self.with_consistency(Consistency::Stale);
        match here.read(Query::Logs { recipe: recipe.to_owned(), limit }).await? {
            (_, Results::Logs(lines)) => Ok(lines),
            _ => Err(unexpected("logs")),
        }
    }

    /// How the member is that this client is attached to. It needs no leader.
    ///
    /// # Errors
    /// `SessionLost`.
    pub async fn status(&self) -> Result<Status, Error> {
        match self.with_consistency(Consistency::Stale).read(Query::Status).await? {
            (_, Results::Status(status)) => Ok(status),
            _ => Err(unexpected("status")),
        }
    }

    /// The next call asks for the types of the version that is active then.
    fn forget(&self, recipe: &str) {
        self.recipes().remove(recipe);
    }
}

fn activated(answer: Answer) -> Result<u64, Error> {
    match answer {
        Answer::Activated { version } => Ok(version),
        _ => Err(unexpected("a deployment")),
    }
}
