//! Answers reads from the applied tree of this member. Whether the tree is fresh enough is settled before (`quic`).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_core::session::Session;
use quorate_wire::message::query::{LogLine, Query, RecipeLine, Results, Status};
use quorate_wire::message::whoami::Whoami;

/// What reads need to know beside the tree.
pub trait Surroundings: Send + Sync {
    /// Encoded descriptions of the interfaces that a component exports.
    ///
    /// # Errors
    /// `compiling`, while this member has not admitted it yet.
    fn interfaces(&self, component: &ComponentDigest) -> Result<Vec<Bytes>, Refusal>;

    /// The last lines of a recipe's log on this member, oldest first.
    fn logs(&self, recipe: &str, limit: u32) -> Vec<LogLine>;

    /// The applied tree as it is at one moment: what a read puts together from several records fits together. Not to be kept
    /// for long.
    fn at_once(&self) -> SharedRead;

    /// How this member is.
    fn status(&self) -> Status;
}

/// Answers reads.
#[derive(Clone)]
pub struct Reads {
    tree: SharedRead,
    surroundings: Arc<dyn Surroundings>,
}

/// Recipes of one answer.
const RECIPES_MAX: usize = 1_000;

impl Reads {
    /// Over this applied tree.
    #[must_use]
    pub fn new(tree: SharedRead, surroundings: Arc<dyn Surroundings>) -> Self {
        Self { tree, surroundings }
    }

    /// The applied tree.
    #[must_use]
    pub fn tree(&self) -> &SharedRead {
        &self.tree
    }

    /// The applied tree as it is at one moment, for as long as it is kept.
    #[must_use]
    pub fn at_once(&self) -> SharedRead {
        self.surroundings.at_once()
    }

    /// Answers a read, and tells the last transaction that the answer reflects: exactly that of the tree that was read.
    ///
    /// Refusals as the operation: `bad-path`, `no-node`, `no-recipe`, `compiling`.
    pub fn answer(&self, query: &Query) -> (Zxid, Result<Results, Refusal>) {
        let tree = self.surroundings.at_once();
        (tree.meta().zxid, self.answer_from(&*tree, query))
    }

    /// Who the client of a session is, which is connected from this address, and the last transaction that the answer reflects.
    pub fn whoami(
        &self,
        session: SessionId,
        address: Option<IpAddr>,
    ) -> (Zxid, Result<Results, Refusal>) {
        let tree = self.surroundings.at_once();
        let meta = tree.meta();
        let answer = tree.session(session).map(|Session { principal, identities, .. }| {
            Results::Whoami(Whoami { principal, identities, address, time: meta.time })
        });
        let gone =
            || Refusal::new(ErrorCode::NoSession, format!("session {session} is not known here"));
        (meta.zxid, answer.ok_or_else(gone))
    }

    fn answer_from(&self, tree: &dyn Read, query: &Query) -> Result<Results, Refusal> {
        Ok(match query {
            Query::Get(path) => {
                let (data, stat) = tree::get(tree, &Path::parse(path)?)?;
                Results::Node { data, stat }
            }
            Query::Stat(path) => Results::Stat(tree::stat(tree, &Path::parse(path)?)?),
            Query::Children { path, page, with_data: false } => {
                Results::Names(tree::children(tree, &Path::parse(path)?, page)?)
            }
            Query::Children { path, page, with_data: true } => {
                Results::Children(tree::children_with_data(tree, &Path::parse(path)?, page)?)
            }
            Query::Recipes => recipes(tree),
            Query::History(recipe) => history(tree, recipe)?,
            Query::Interface(recipe) => {
                let version = tree.active_version(recipe).ok_or_else(|| no_recipe(recipe))?;
                let interfaces = self.surroundings.interfaces(&version.component)?;
                let read_only = version.manifest.read_only.into_iter().collect();
                Results::Interface { version: version.number, interfaces, read_only }
            }
            Query::Logs { recipe, limit } => Results::Logs(self.surroundings.logs(recipe, *limit)),
            Query::Status => Results::Status(self.surroundings.status()),
            Query::Snapshot { .. }
            | Query::Call(_)
            | Query::Watch(_)
            | Query::Unwatch(_)
            | Query::Scan { .. }
            | Query::Whoami => {
                let message = "it is answered beside the lane's other reads";
                return Err(Refusal::new(ErrorCode::Internal, message));
            }
        })
    }
}

fn recipes(tree: &dyn Read) -> Results {
    let (from, to) = key::recipes();
    let lines = tree
        .range(&from, &to, Direction::Forward)
        .filter_map(|(key, _)| std::str::from_utf8(key.get(1..)?).ok().map(str::to_owned))
        .filter_map(|name| {
            let recipe = tree.recipe(&name)?;
            Some(RecipeLine { name, active: recipe.active, changed: recipe.changed })
        })
        .take(RECIPES_MAX)
        .collect();
    Results::Recipes(lines)
}

fn history(tree: &dyn Read, name: &str) -> Result<Results, Refusal> {
    let recipe = tree.recipe(name).ok_or_else(|| no_recipe(name))?;
    let (from, to) = key::versions(name);
    let versions = tree
        .range(&from, &to, Direction::Forward)
        .filter_map(|(key, _)| {
            let number = u64::from_be_bytes(key.get(key.len().checked_sub(8)?..)?.try_into().ok()?);
            tree.version(name, number)
        })
        .collect();
    Ok(Results::History { active: recipe.active, versions })
}

fn no_recipe(name: &str) -> Refusal {
    Refusal::new(ErrorCode::NoRecipe, format!("no recipe is deployed as \"{name}\""))
}
