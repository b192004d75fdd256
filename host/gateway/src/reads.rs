//! Answers reads from the applied tree of this member. Whether the tree is fresh enough is settled before (`quic`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_core::access::ask::{self, RulesPage};
use quorate_core::access::check::{Target, Wish, require, require_on_cluster};
use quorate_core::access::{Asker, Permissions};
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, SessionId, Zxid};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_wire::message::access::{AccessQuery, AccessResults};
use quorate_wire::message::query::{LogLine, Query, RecipeLine, Results, Status};

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

/// Whose a read is, and from where it was asked.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Their session.
    pub session: SessionId,
    /// The address of their connection.
    pub address: Option<IpAddr>,
}

impl Client {
    /// They, as far as access to this tree is concerned. Identities expire by this member's clock, if it is not behind the
    /// transactions: on a cluster in which nothing happens too.
    pub fn asker(self, tree: &dyn Read) -> Asker {
        Asker::of_session(self.session, self.address, wall_clock().max(tree.meta().time))
    }
}

/// This member's clock.
pub(crate) fn wall_clock() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
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

    /// Answers a read, and tells the last transaction that the answer reflects: exactly that of the tree that was read.
    ///
    /// Refusals as the operation: `bad-path`, `no-node`, `no-access`, `no-recipe`, `compiling`.
    pub fn answer(&self, client: Client, query: &Query) -> (Zxid, Result<Results, Refusal>) {
        let tree = self.surroundings.at_once();
        let asker = client.asker(&*tree);
        (tree.meta().zxid, self.answer_from(&*tree, &asker, query))
    }

    /// Refuses whoever may not have the whole tree: it holds what access lists keep from them.
    ///
    /// # Errors
    /// `no-access`.
    pub fn require_whole_tree(&self, client: Client) -> Result<(), Refusal> {
        let tree = self.surroundings.at_once();
        require_on_cluster(&*tree, &client.asker(&*tree), Permissions::OPERATE)
    }

    fn answer_from(
        &self,
        tree: &dyn Read,
        asker: &Asker,
        query: &Query,
    ) -> Result<Results, Refusal> {
        let readable = |text: &str| {
            let path = Path::parse(text)?;
            ask::require_read(tree, asker, &path).map(|()| path)
        };
        Ok(match query {
            Query::Get(path) => {
                let (data, stat) = tree::get(tree, &readable(path)?)?;
                Results::Node { data, stat }
            }
            Query::Stat(path) => Results::Stat(tree::stat(tree, &readable(path)?)?),
            Query::Children { path, page, with_data: false } => {
                Results::Names(tree::children(tree, &readable(path)?, page)?)
            }
            Query::Children { path, page, with_data: true } => {
                let parent = readable(path)?;
                let listing = tree::children_with_data(tree, &parent, page)?;
                for child in &listing.children {
                    ask::require_read(tree, asker, &parent.child(&child.name)?)?;
                }
                Results::Children(listing)
            }
            Query::Recipes => recipes(tree),
            Query::History(recipe) => history(tree, recipe)?,
            Query::Interface(recipe) => {
                let version = tree.active_version(recipe).ok_or_else(|| no_recipe(recipe))?;
                let interfaces = self.surroundings.interfaces(&version.component)?;
                let read_only = version.manifest.read_only.into_iter().collect();
                Results::Interface { version: version.number, interfaces, read_only }
            }
            Query::Logs { recipe, limit } => {
                let target = Target::Recipe(recipe, None);
                require(tree, asker, Wish { permission: Permissions::DEPLOY, target })?;
                Results::Logs(self.surroundings.logs(recipe, *limit))
            }
            Query::Access(query) => Results::Access(access(tree, asker, query)?),
            Query::Status => Results::Status(self.surroundings.status()),
            Query::Snapshot { .. } | Query::Call(_) => {
                let message = "it is answered beside the lane's other reads";
                return Err(Refusal::new(ErrorCode::Internal, message));
            }
        })
    }
}

fn access(tree: &dyn Read, asker: &Asker, query: &AccessQuery) -> Result<AccessResults, Refusal> {
    let stance = tree.access_summary().stance;
    Ok(match query {
        AccessQuery::Acl(path) => {
            let (acl, stat) = ask::acl(tree, asker, &Path::parse(path)?)?;
            AccessResults::Acl { acl, stat }
        }
        AccessQuery::RulesOn(object) => {
            let found = ask::rules_on(tree, asker, object)?;
            let rules = found.map(|rules| (object.clone(), rules)).into_iter().collect();
            AccessResults::Rules { stance, page: RulesPage { rules, has_more: false } }
        }
        AccessQuery::Rules { after } => {
            let page = ask::rules_all(tree, asker, after.as_ref())?;
            AccessResults::Rules { stance, page }
        }
        AccessQuery::May { who, permission, object, function } => {
            let (who, function) = (who.as_deref(), function.as_deref());
            let verdict = ask::verdict(tree, asker, who, *permission, object, function)?;
            let decider = verdict.decider.to_string();
            AccessResults::May { is_allowed: verdict.is_allowed, decider }
        }
    })
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
