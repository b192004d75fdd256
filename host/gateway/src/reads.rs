//! Answers reads from the applied tree of this member. Whether the tree is fresh enough is settled before (`quic`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::limits;
use bytes::Bytes;
use quorate_core::access::ask::{self, RulesPage};
use quorate_core::access::check::{Target, Wish, require, require_on_cluster, require_on_path};
use quorate_core::access::{Asker, Permissions};
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, SessionId, Zxid};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::query::Listing;
use quorate_core::query::ephemerals::ephemerals;
use quorate_core::query::quota::QuotaUse;
use quorate_core::query::subtree::subtree;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_core::session::Session;
use quorate_wire::message::access::{AccessQuery, AccessResults};
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
    ///
    /// # Errors
    /// `internal`: its tree does not say where it stands.
    fn status(&self) -> Result<Status, Refusal>;
}

/// Whose a read is, and from where it was asked.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Their session.
    pub session: SessionId,
    /// The address of their connection.
    pub address: Option<IpAddr>,
}

impl From<SessionId> for Client {
    fn from(session: SessionId) -> Self {
        Self { session, address: None }
    }
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

/// What the first read of a watch has found.
pub type First = Box<Result<Results, Refusal>>;

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
    /// Refusals as the operation: `bad-path`, `no-node`, `no-access`, `no-recipe`, `compiling`.
    pub fn answer(&self, client: Client, query: &Query) -> (Zxid, Result<Results, Refusal>) {
        let tree = self.surroundings.at_once();
        let asker = client.asker(&*tree);
        (tree.meta().zxid, self.answer_from(&*tree, &asker, query))
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

    /// The state behind which a watch begins: its transaction, and the first read if there is one. That a znode is not there
    /// is an answer; any other refusal is one of the watch.
    ///
    /// # Errors
    /// As the read.
    pub fn begin(
        &self,
        client: Client,
        first: Option<&Query>,
    ) -> Result<(Zxid, Option<First>), Refusal> {
        let tree = self.surroundings.at_once();
        let (zxid, asker) = (tree.meta().zxid, client.asker(&*tree));
        let first = first.map(|query| match self.answer_from(&*tree, &asker, query) {
            Err(refusal) if refusal.code != ErrorCode::NoNode => Err(refusal),
            answered => Ok(Box::new(answered)),
        });
        Ok((zxid, first.transpose()?))
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
            Query::Subtree(path) => Results::Subtree(subtree(tree, &readable(path)?)?),
            Query::Ephemerals { session, prefix, after, limit } => {
                let owned = Owned { session: *session, after: after.as_deref(), limit: *limit };
                Results::Names(owned_by(tree, asker, prefix, owned)?)
            }
            Query::Many(queries) => Results::Many(self.answer_many(tree, asker, queries)?),
            Query::Quotas { after, limit } => {
                Results::Quotas(quotas(tree, asker, after.as_deref(), *limit)?)
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
            Query::Status => Results::Status(self.surroundings.status()?),
            Query::Snapshot { .. }
            | Query::Call(_)
            | Query::Watch(_)
            | Query::Unwatch(_)
            | Query::Scan { .. }
            | Query::Whoami => {
                let message = "a stream, a watch or a call is not one of many reads";
                return Err(Refusal::new(ErrorCode::BadArguments, message));
            }
        })
    }

    /// Each for itself; all of it is refused if it does not fit one answer, before more is read than that.
    fn answer_many(
        &self,
        tree: &dyn Read,
        asker: &Asker,
        queries: &[Query],
    ) -> Result<Vec<Result<Results, Refusal>>, Refusal> {
        let mut all = Vec::with_capacity(queries.len());
        let mut bytes = 0;
        for query in queries {
            let one = if is_of_tree(query) {
                self.answer_from(tree, asker, query)
            } else {
                let message = "only reads of the tree can be among many";
                Err(Refusal::new(ErrorCode::BadArguments, message))
            };
            bytes +=
                one.as_ref().map_or_else(|refusal| refusal.message.len() + 16, Results::bytes_max);
            if bytes > limits::MANY_READS_BYTES_MAX {
                let (bytes, max) = (bytes as u64, limits::MANY_READS_BYTES_MAX as u64);
                return Err(Refusal::limit("bytes of the results of many reads", bytes, max));
            }
            all.push(one);
        }
        Ok(all)
    }
}

fn is_of_tree(query: &Query) -> bool {
    matches!(
        query,
        Query::Get(_)
            | Query::Stat(_)
            | Query::Children { .. }
            | Query::Subtree(_)
            | Query::Ephemerals { .. }
    )
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

/// Which page of a session's ephemeral znodes.
struct Owned<'a> {
    session: SessionId,
    after: Option<&'a str>,
    limit: u32,
}

/// The ephemeral znodes of a session at and below a path: of another's those that the asker may read.
fn owned_by(
    tree: &dyn Read,
    asker: &Asker,
    prefix: &str,
    Owned { session, after, limit }: Owned<'_>,
) -> Result<Listing<String>, Refusal> {
    let prefix = Path::parse(prefix)?;
    // One's own are no secret.
    let is_own = asker.session == Some(session);
    if !is_own {
        require_on_path(tree, asker, &prefix, Permissions::READ)?;
    }
    let may_see = |path: &Path| is_own || ask::require_read(tree, asker, path).is_ok();
    Ok(ephemerals(tree, session, &prefix, after, limit, may_see))
}

/// A page of quotas: those of subtrees that the asker may read.
fn quotas(
    tree: &dyn Read,
    asker: &Asker,
    after: Option<&str>,
    limit: u32,
) -> Result<Listing<QuotaUse>, Refusal> {
    let after = after.map(Path::parse).transpose()?;
    let may_see = |path: &Path| require_on_path(tree, asker, path, Permissions::READ).is_ok();
    Ok(tree::quota::quotas(tree, after.as_ref(), limit, may_see))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
