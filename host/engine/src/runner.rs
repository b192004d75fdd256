//! Runs recipes: the engine's side of the core's port. It finds the component and the function, and decides which instance
//! serves a call and which is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Instances, Manifest, Version};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::CallId;
use quorate_core::recipe::{Reason, Recipes, Run, RunEnd};
use quorate_core::txn::Txn;

use crate::engine::Engine;
use crate::instance::{Ended, Live};
use crate::limits;
use crate::logs::Level;
use crate::prepared::Prepared;
use crate::state::Facts;

/// Runs recipes on one thread. Keeps the instances of deployments whose manifest says so.
pub struct Runner {
    engine: Engine,
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
        Self { engine, deployments: BTreeMap::new(), runs: 0 }
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
        if kept().count() <= limits::INSTANCES_KEPT_MAX {
            return;
        }
        let oldest = kept().min_by_key(|(_, known)| known.last_run).map(|(name, _)| name.clone());
        if let Some(known) = oldest.and_then(|name| self.deployments.get_mut(&name)) {
            known.kept = None;
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "the transaction goes back to its owner either way"
    )]
    fn try_run(&mut self, run: &Run<'_>, txn: Txn) -> Result<Ended, (Txn, Refusal)> {
        let engine = self.engine.clone();
        let recipe = run.call.recipe.as_str();
        let deployment = match self.deployment(recipe, run.version) {
            Ok(deployment) => deployment,
            Err(refusal) => return Err((txn, refusal)),
        };
        let digest = deployment.component;
        let (time, zxid) = (txn.time(), txn.zxid());
        if let Err(refusal) = engine.breaker().check(&digest, time) {
            return Err((txn, refusal));
        }
        let prepared = Arc::clone(&deployment.prepared);
        let (index, exported) = match prepared.function(&run.call.function) {
            Ok(found) => found,
            Err(refusal) => return Err((txn, refusal)),
        };
        if exported.signature != run.call.signature {
            let message = format!("the type of the function is now `{}`", exported.function);
            return Err((txn, Refusal::new(ErrorCode::SignatureChanged, message)));
        }
        if let Err(refusal) = exported.check_caller(&deployment.manifest, run.principal) {
            return Err((txn, refusal));
        }
        let facts = facts(run);
        let mut live = match deployment.kept.take() {
            Some(mut live) => {
                live.begin(facts, txn);
                live
            }
            None => Live::new(engine.wasm(), Arc::clone(&deployment.manifest), facts, txn),
        };
        let ticking = engine.begin_run();
        let ended = live.call(&prepared, index, exported, run.call.arguments.clone());
        drop(ticking);
        let has_returned = matches!(ended.end, RunEnd::Returned { is_error: false, .. });
        finish(&engine, recipe, &digest, (time, zxid), &mut live, &ended.end);
        if deployment.manifest.instances == Instances::Reused && has_returned && live.is_clean() {
            deployment.kept = Some(live);
            self.drop_surplus();
        }
        Ok(ended)
    }
}

/// What a run leaves behind outside its transaction: log lines, and a mark if it passed a limit.
fn finish(
    engine: &Engine,
    recipe: &str,
    digest: &ComponentDigest,
    (time, zxid): (quorate_core::ids::Millis, quorate_core::ids::Zxid),
    live: &mut Live,
    end: &RunEnd,
) {
    let mut lines = live.take_lines();
    if let RunEnd::Failed(refusal) = end {
        tracing::debug!(recipe, code = %refusal.code, "a run failed");
        if matches!(refusal.code, ErrorCode::RecipeTrapped | ErrorCode::RecipeOverLimit) {
            lines.note(Level::Error, refusal.to_string());
        }
        if refusal.code == ErrorCode::RecipeOverLimit
            && engine.breaker().note(digest, time, &refusal.message)
        {
            tracing::warn!(recipe, "a recipe ran over its limits too often and is tripped");
        }
    }
    if !lines.is_empty() {
        engine.append_log(recipe, time, zxid, lines);
    }
}

fn facts(run: &Run<'_>) -> Facts {
    Facts {
        id: run.id,
        principal: run.principal.to_owned(),
        reason: run.reason,
        state: run.state.clone(),
        deadline: run.deadline,
        may_park: run.may_park,
    }
}

impl Recipes for Runner {
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        match self.try_run(run, txn) {
            Ok(Ended { txn, end }) => (txn, end),
            Err((txn, refusal)) => (txn, RunEnd::Failed(refusal)),
        }
    }

    fn check(
        &mut self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        self.engine.breaking(component, previous)
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
            id: txn
                .caller()
                .unwrap_or(CallId { session: Default::default(), write: Default::default() }),
            principal: version.principal.clone(),
            reason: Reason::Upgraded,
            state: Bytes::new(),
            deadline: None,
            may_park: false,
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
