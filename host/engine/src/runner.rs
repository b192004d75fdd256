//! Runs recipes: the engine's side of the core's port. It finds the component and the function, and decides which instance
//! serves a call and which is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Instances, Manifest, Version};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{CallId, Millis, SessionId, WriteNumber, Zxid};
use quorate_core::recipe::{Reason, Recipes, Run, RunEnd};
use quorate_core::txn::Txn;

use crate::engine::{Engine, ReaderPlace, Role};
use crate::instance::{Ended, Live};
use crate::limits;
use crate::logs::Level;
use crate::prepared::Prepared;
use crate::state::Facts;
use crate::wasi::RandomKey;

/// The caller of an activation that no session asked for.
const NOBODY: CallId = CallId { session: SessionId(0), write: WriteNumber(0) };

/// Runs recipes on one thread. Keeps the instances of deployments whose manifest says so.
pub struct Runner {
    engine: Engine,
    /// Held by one that only reads.
    place: Option<ReaderPlace>,
    /// By recipe.
    deployments: BTreeMap<String, Deployment>,
    runs: u64,
}

/// What a runner has worked out about the version of a recipe that ran last.
struct Deployment {
    component: ComponentDigest,
    manifest: Arc<Manifest>,
    prepared: Arc<Prepared>,
    kept: Option<Live>,
    last_run: u64,
}

impl Runner {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, place: None, deployments: BTreeMap::new(), runs: 0 }
    }

    pub(crate) fn reading(engine: Engine, place: ReaderPlace) -> Self {
        Self { place: Some(place), ..Self::new(engine) }
    }

    fn role(&self) -> Role {
        if self.place.is_some() { Role::Reading } else { Role::Sequencing }
    }

    /// The time by which runs over a limit are counted, and which lines of the log carry.
    fn now(&self, txn: &Txn) -> Millis {
        match self.role() {
            Role::Sequencing => txn.time(),
            Role::Reading => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).max(txn.time())
            }
        }
    }

    /// The deployment of this version, as it was left by its last run.
    fn deployment(&mut self, recipe: &str, version: &Version) -> Result<&mut Deployment, Refusal> {
        self.runs += 1;
        let prepared = self.engine.prepared(&version.component)?;
        // By content and not by number: a version that was discarded with its term had the number of another.
        let is_known = self.deployments.get(recipe).is_some_and(|known| {
            known.component == version.component
                && Arc::ptr_eq(&known.prepared, &prepared)
                && *known.manifest == version.manifest
        });
        if !is_known {
            self.make_room();
            let manifest = Arc::new(version.manifest.clone());
            let component = version.component;
            let fresh = Deployment { component, manifest, prepared, kept: None, last_run: 0 };
            self.deployments.insert(recipe.to_owned(), fresh);
        }
        let found = self.deployments.get_mut(recipe).expect("looked up or inserted above");
        found.last_run = self.runs;
        Ok(found)
    }

    fn make_room(&mut self) {
        if self.deployments.len() >= limits::DEPLOYMENTS_KEPT_MAX {
            self.deployments.clear();
        }
    }

    /// Drops the instance that was used least recently, if too many are kept.
    fn drop_surplus(&mut self) {
        let kept = || self.deployments.iter().filter(|(_, known)| known.kept.is_some());
        let kept_max = match self.role() {
            Role::Sequencing => limits::INSTANCES_KEPT_MAX,
            Role::Reading => limits::READER_INSTANCES_KEPT_MAX,
        };
        if kept().count() <= kept_max {
            return;
        }
        let oldest = kept().min_by_key(|(_, known)| known.last_run).map(|(name, _)| name.clone());
        if let Some(known) = oldest.and_then(|name| self.deployments.get_mut(&name)) {
            known.kept = None;
        }
    }

    /// What a call runs, if it may run at all.
    fn choose(&mut self, run: &Run<'_>, now: Millis) -> Result<Chosen, Refusal> {
        let (engine, role) = (self.engine.clone(), self.role());
        let deployment = self.deployment(&run.call.recipe, run.version)?;
        engine.breaker(role).check(&deployment.component, now)?;
        let prepared = Arc::clone(&deployment.prepared);
        let (index, exported) = prepared.function(&run.call.function)?;
        if exported.signature != run.call.signature {
            let message = format!("the type of the function is now `{}`", exported.function);
            return Err(Refusal::new(ErrorCode::SignatureChanged, message));
        }
        exported.check_caller(&deployment.manifest, run.principal)?;
        let manifest = Arc::clone(&deployment.manifest);
        Ok(Chosen { prepared, manifest, index, kept: deployment.kept.take() })
    }

    fn keep(&mut self, recipe: &str, live: Live) {
        if let Some(deployment) = self.deployments.get_mut(recipe) {
            deployment.kept = Some(live);
            self.drop_surplus();
        }
    }
}

/// What a call runs.
struct Chosen {
    prepared: Arc<Prepared>,
    manifest: Arc<Manifest>,
    /// Of the function.
    index: usize,
    kept: Option<Live>,
}

/// What a run leaves behind outside its transaction: log lines, and a mark if it passed a limit.
fn finish(
    (engine, role): (&Engine, Role),
    recipe: &str,
    digest: &ComponentDigest,
    (time, zxid): (Millis, Zxid),
    live: &mut Live,
    end: &RunEnd,
) {
    let mut lines = live.take_lines();
    if let RunEnd::Failed(refusal) = end {
        tracing::debug!(recipe, code = %refusal.code, "a run failed");
        let is_for_its_author = matches!(
            refusal.code,
            ErrorCode::RecipeTrapped | ErrorCode::RecipeOverLimit | ErrorCode::ReadOnly
        );
        if is_for_its_author {
            lines.note(Level::Error, refusal.to_string());
        }
        if refusal.code == ErrorCode::RecipeOverLimit
            && engine.breaker(role).note(digest, time, &refusal.message)
        {
            tracing::warn!(recipe, "a recipe ran over its limits too often and is tripped");
        }
    }
    if !lines.is_empty() {
        engine.append_log(recipe, time, zxid, lines);
    }
}

fn facts(run: &Run<'_>, random_key: RandomKey, nonce: u64) -> Facts {
    Facts {
        id: run.id,
        principal: run.principal.to_owned(),
        reason: run.reason,
        state: run.state.clone(),
        deadline: run.deadline,
        may_park: run.may_park,
        random_key,
        nonce,
    }
}

impl Recipes for Runner {
    fn run(&mut self, run: &Run<'_>, mut txn: Txn) -> (Txn, RunEnd) {
        let (recipe, time, zxid) = (&run.call.recipe, self.now(&txn), txn.zxid());
        let Chosen { prepared, manifest, index, kept } = match self.choose(run, time) {
            Ok(chosen) => chosen,
            Err(refusal) => return (txn, RunEnd::Failed(refusal)),
        };
        if prepared.exported(index).is_read_only(&manifest) {
            txn.forbid_changes();
        }
        let is_reused = manifest.instances == Instances::Reused;
        let role = self.role();
        let facts = facts(run, self.engine.random_key(), self.engine.nonce(role));
        let mut live = match kept {
            Some(mut live) => {
                live.begin(facts, txn);
                live
            }
            None => Live::new(self.engine.wasm(), manifest, facts, txn),
        };
        let ticking = self.engine.begin_run();
        let Ended { txn, end } = live.call(&prepared, index, run.call.arguments.clone());
        drop(ticking);
        finish((&self.engine, role), recipe, &run.version.component, (time, zxid), &mut live, &end);
        let has_returned = matches!(end, RunEnd::Returned { is_error: false, .. });
        if is_reused && has_returned && live.is_clean() {
            self.keep(recipe, live);
        }
        (txn, end)
    }

    fn check(
        &mut self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        self.engine.breaking(component, previous)
    }

    fn check_function(
        &mut self,
        component: &ComponentDigest,
        function: &str,
    ) -> Result<(), Refusal> {
        self.engine.prepared(component)?.function(function).map(|_| ())
    }

    /// A component that is not ready here, or lacks the function, has it with no type at all.
    fn same_signature(
        &mut self,
        old: &ComponentDigest,
        new: &ComponentDigest,
        function: &str,
    ) -> bool {
        let signature = |component| {
            let prepared = self.engine.prepared(component).ok()?;
            prepared.function(function).ok().map(|(_, exported)| exported.signature)
        };
        let (old, new) = (signature(old), signature(new));
        old.is_some() && old == new
    }

    /// The first version of a recipe migrates from 0: it may set up its tree.
    fn migrate(
        &mut self,
        version: &Version,
        previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        let prepared = match self.engine.prepared(&version.component) {
            Ok(prepared) => prepared,
            Err(refusal) => return (txn, Err(refusal)),
        };
        let Some(export) = &prepared.migrate else { return (txn, Ok(())) };
        let facts = Facts {
            id: txn.caller().unwrap_or(NOBODY),
            principal: version.principal.clone(),
            reason: Reason::Upgraded,
            state: Bytes::new(),
            deadline: None,
            may_park: false,
            random_key: self.engine.random_key(),
            nonce: 0,
        };
        let manifest = Arc::new(version.manifest.clone());
        let mut live = Live::new(self.engine.wasm(), manifest, facts, txn);
        let ticking = self.engine.begin_run();
        let Ended { txn, end } = live.migrate(&prepared, export, previous.unwrap_or(0));
        drop(ticking);
        let result = match end {
            RunEnd::Returned { is_error: false, .. } => Ok(()),
            RunEnd::Returned { is_error: true, value } => {
                let shown = String::from_utf8_lossy(&value);
                let message = format!("its migrate returned an error: {shown}");
                Err(Refusal::new(ErrorCode::RecipeRefused, message))
            }
            RunEnd::Parked { .. } => {
                Err(Refusal::new(ErrorCode::WouldBlock, "a migrate can not wait"))
            }
            RunEnd::Failed(refusal) => {
                let message = format!("its migrate failed: {}", refusal.message);
                Err(Refusal::new(refusal.code, message))
            }
        };
        (txn, result)
    }

    fn reset(&mut self) {
        self.deployments.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_may_move_to_its_thread_and_an_engine_may_be_shared() {
        fn moves<T: Send>() {}
        fn is_shared<T: Send + Sync + Clone>() {}
        moves::<Runner>();
        is_shared::<Engine>();
    }
}
