//! The root of a client: the part of the tree that it takes for all of it. One mapping of everything that names a znode: on its
//! way out a path gets below the root, on its way back it is stripped of it. It knows the shapes of messages, and not how they
//! travel.
//!
//! Every kind and every field is named here, and no `_` stands for several: what is new does not compile before it is said what
//! becomes of it.
//!
//! What is not the client's name of a znode stays as it is: arguments and results of recipes, and fences, which are in a
//! recipe's words; manifests, which are the cluster's; the sentences of refusals, which are the service's and name whole paths.
//! What is about the whole tree is refused: the caller would take a part for it.
//!
//! Paths are not judged here. What is none does not begin with `/`, or is refused by the service below the root as it would be
//! anywhere; so nothing leads out of a root, `..` neither.

use quorate_core::access::ask::RulesPage;
use quorate_core::access::{AccessChange, Object};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::path::Path;
use quorate_core::query::quota::QuotaUse;
use quorate_core::query::scan::Scanned;
use quorate_core::request::{Answer, Body, Failure, Operation, Reply, Sequence};
use quorate_wire::message::watch::{Event, Watch, Watched};
use quorate_wire::message::{AccessQuery, AccessResults, Query, Results};

#[cfg(test)]
mod tests;

/// Where the tree of a client begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root(Path);

/// What the texts of a listing are, which an answer does not say of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Names of children.
    Names,
    /// Paths.
    Paths,
    /// Those of many reads, in their order.
    Each(Vec<Texts>),
}

/// An answer or an event that can not be one for a client with this root. It is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Senseless {
    /// It names a path outside of the root.
    #[error("{path} is not below this client's root, {root}")]
    Outside {
        /// The path.
        path: String,
        /// The root.
        root: Path,
    },
    /// It has not one part for each of many reads.
    #[error("there is not one answer for each read")]
    NotOneEach,
}

impl Root {
    /// The whole tree: everything stays as it is.
    pub(crate) fn whole() -> Self {
        Self(Path::root())
    }

    /// The root at a path below this one, whether there is a znode or not.
    ///
    /// # Errors
    /// `bad-path`; `limit` if it is too long or too deep.
    pub(crate) fn at(&self, path: &str) -> Result<Self, Refusal> {
        Ok(Self(Path::parse(path)?.below(&self.0)?))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn is_whole(&self) -> bool {
        self.0.is_root()
    }

    /// A path below the root. What does not begin with `/` is no path, and stays as it is.
    pub(crate) fn outward(&self, path: &str) -> String {
        let mut path = path.to_owned();
        self.descend(&mut path);
        path
    }

    /// A path without the root; none if it is not below it.
    pub(crate) fn inward<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.is_whole() {
            return Some(path);
        }
        match path.strip_prefix(self.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    fn descend(&self, path: &mut String) {
        if self.is_whole() {
            return;
        }
        if path == "/" {
            self.as_str().clone_into(path);
        } else if path.starts_with('/') {
            path.insert_str(0, self.as_str());
        }
    }

    fn ascend(&self, path: &mut String) -> Result<(), Senseless> {
        let Some(rest) = self.inward(path) else {
            return Err(Senseless::Outside { path: path.clone(), root: self.0.clone() });
        };
        if rest.len() < path.len() {
            *path = rest.to_owned();
        }
        Ok(())
    }

    fn ascend_parsed(&self, path: &mut Path) -> Result<(), Senseless> {
        let relative = path.relative_to(&self.0);
        let outside = || Senseless::Outside { path: path.to_string(), root: self.0.clone() };
        *path = relative.ok_or_else(outside)?;
        Ok(())
    }

    /// What is about the whole tree.
    fn refused(&self, what: &str) -> Refusal {
        let message = format!("{what}, and this client's root is {self}");
        Refusal::new(ErrorCode::BadArguments, message)
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// On their way out.
impl Root {
    /// # Errors
    /// `bad-arguments` for the deletion of the root, `limit` for a subtree with rules whose path is too long below it; of which
    /// operation, the failure says.
    pub(crate) fn body(&self, body: &mut Body) -> Result<(), Failure> {
        if self.is_whole() {
            return Ok(());
        }
        match body {
            Body::Single(operation) => self.operation(operation)?,
            Body::Multi(operations) => {
                for (index, operation) in (0..).zip(operations) {
                    self.operation(operation).map_err(|refusal| Failure {
                        refusal,
                        operation: Some(index),
                        value: None,
                    })?;
                }
            }
            Body::SetQuota { path, quota: _ } => self.descend(path),
            Body::Cancel(_)
            | Body::CloseSession
            | Body::StoreChunk(_)
            | Body::Deploy(_)
            | Body::Rollback { recipe: _, version: _ }
            | Body::RemoveRecipe(_)
            | Body::Identify(_) => {}
        }
        Ok(())
    }

    fn operation(&self, operation: &mut Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Create { path, data: _, lifetime: _, sequence, parents: _, acl: _ } => {
                if path == "/" && *sequence != Sequence::None {
                    // Digits alone: a child of the root, and not the root with digits behind.
                    path.insert_str(0, self.as_str());
                } else {
                    self.descend(path);
                }
            }
            Operation::Delete { path, condition: _ }
            | Operation::DeleteTree { path, condition: _ } => {
                if path == "/" {
                    return Err(self.refused("a client does not delete its own root"));
                }
                self.descend(path);
            }
            Operation::Set { path, data: _, condition: _ }
            | Operation::Check { path, condition: _ }
            | Operation::SetAcl { path, acl: _, version: _, is_forced: _ }
            | Operation::CheckAbsent { path }
            | Operation::CreateOrGet { path, data: _, lifetime: _, parents: _, acl: _ }
            | Operation::SetOrCreate { path, data: _, lifetime: _, parents: _, acl: _ }
            | Operation::Get { path }
            | Operation::Stat { path }
            | Operation::Exists { path }
            | Operation::Children { path, page: _, with_data: _ } => self.descend(path),
            Operation::Access { change, is_forced: _ } => self.access_change(change)?,
            // A recipe's own words: see above.
            Operation::Call(_) | Operation::Fence(_) => {}
        }
        Ok(())
    }

    fn access_change(&self, change: &mut AccessChange) -> Result<(), Refusal> {
        match change {
            AccessChange::Grant(object, _) | AccessChange::Revoke(object, _) => self.object(object),
            AccessChange::SetStance(_) => Ok(()),
        }
    }

    fn object(&self, object: &mut Object) -> Result<(), Refusal> {
        match object {
            Object::Subtree(path) => *path = path.below(&self.0)?,
            Object::Recipe(_) | Object::EveryRecipe | Object::Cluster => {}
        }
        Ok(())
    }

    /// What the texts of its answer will be.
    ///
    /// # Errors
    /// `bad-arguments` for what is about the whole tree, `limit` for a subtree with rules whose path is too long below the root.
    pub(crate) fn query(&self, query: &mut Query) -> Result<Texts, Refusal> {
        if self.is_whole() {
            return Ok(Texts::Names);
        }
        match query {
            Query::Get(path)
            | Query::Stat(path)
            | Query::Children { path, page: _, with_data: _ }
            | Query::Subtree(path) => self.descend(path),
            Query::Scan { bulk: _, path, after, with_data: _ } => {
                self.descend(path);
                after.iter_mut().for_each(|after| self.descend(after));
            }
            Query::Ephemerals { session: _, prefix, after, limit: _ } => {
                self.descend(prefix);
                after.iter_mut().for_each(|after| self.descend(after));
                return Ok(Texts::Paths);
            }
            Query::Watch(watch) => self.watch(watch)?,
            Query::Access(query) => self.access_query(query)?,
            Query::Many(queries) => {
                let each = queries.iter_mut().map(|query| self.query(query));
                return Ok(Texts::Each(each.collect::<Result<_, _>>()?));
            }
            Query::Quotas { after: _, limit: _ } => {
                // A page of them may have none below the root: `Client::quotas_page` goes on from there.
                return Err(self.refused("a page of quotas is of the whole tree"));
            }
            Query::Snapshot { bulk: _, go_on: _ } => {
                return Err(self.refused("a snapshot is of the whole tree"));
            }
            Query::Recipes
            | Query::History(_)
            | Query::Interface(_)
            | Query::Logs { recipe: _, limit: _ }
            | Query::Status
            | Query::Call(_)
            | Query::Unwatch(_)
            | Query::Whoami => {}
        }
        Ok(Texts::Names)
    }

    /// # Errors
    /// None of a watch that reads a znode.
    pub(crate) fn watch(&self, watch: &mut Watch) -> Result<(), Refusal> {
        let Watch {
            watch: _,
            path,
            scope: _,
            from: _,
            once: _,
            with_data: _,
            with_previous: _,
            first,
        } = watch;
        self.descend(path);
        // Of a znode: names of its children are all that is listed.
        first.as_mut().map_or(Ok(Texts::Names), |first| self.query(first)).map(|_| ())
    }

    fn access_query(&self, query: &mut AccessQuery) -> Result<(), Refusal> {
        match query {
            AccessQuery::Acl(path) => self.descend(path),
            AccessQuery::RulesOn(object)
            | AccessQuery::May { who: _, permission: _, object, function: _ } => {
                self.object(object)?;
            }
            AccessQuery::Rules { after: _ } => {
                // Those above the root decide below it, too.
                return Err(self.refused("all rules are those on the whole tree"));
            }
        }
        Ok(())
    }
}

/// On their way back.
impl Root {
    pub(crate) fn reply(&self, reply: &mut Reply) -> Result<(), Senseless> {
        match reply {
            Reply::Done(answer) => self.answer(answer),
            // A sentence, and a value of a recipe.
            Reply::Refused(Failure { refusal: _, operation: _, value: _ }) => Ok(()),
        }
    }

    fn answer(&self, answer: &mut Answer) -> Result<(), Senseless> {
        match answer {
            Answer::Created { path, stat: _ } => self.ascend(path),
            Answer::Multi(answers) => answers.iter_mut().try_for_each(|one| self.answer(one)),
            // Names are those of children.
            Answer::Names(_) | Answer::Children(_) => Ok(()),
            Answer::Done
            | Answer::Stat(_)
            | Answer::Called(_)
            | Answer::Activated { version: _ }
            | Answer::Node { data: _, stat: _ }
            | Answer::Exists(_)
            | Answer::Deleted { count: _ } => Ok(()),
        }
    }

    /// The results of a query, whose texts are these.
    pub(crate) fn results(&self, texts: &Texts, results: &mut Results) -> Result<(), Senseless> {
        if self.is_whole() {
            return Ok(());
        }
        match results {
            Results::Names(listing) => match texts {
                Texts::Names => Ok(()),
                Texts::Paths => listing.children.iter_mut().try_for_each(|path| self.ascend(path)),
                Texts::Each(_) => Err(Senseless::NotOneEach),
            },
            Results::Many(all) => match texts {
                Texts::Each(each) if each.len() == all.len() => {
                    let read = |(texts, one): (&Texts, &mut Result<Results, Refusal>)| match one {
                        Ok(results) => self.results(texts, results),
                        Err(Refusal { code: _, message: _ }) => Ok(()),
                    };
                    each.iter().zip(all).try_for_each(read)
                }
                Texts::Each(_) | Texts::Names | Texts::Paths => Err(Senseless::NotOneEach),
            },
            Results::Access(results) => self.access_results(results),
            Results::Watched(watched) => self.watched(watched),
            Results::Quotas(listing) => {
                let path =
                    |QuotaUse { path, used: _, metered: _ }: &mut QuotaUse| self.ascend(path);
                listing.children.iter_mut().try_for_each(path)
            }
            Results::Node { data: _, stat: _ }
            | Results::Stat(_)
            | Results::Children(_)
            | Results::Recipes(_)
            | Results::History { active: _, versions: _ }
            | Results::Interface { version: _, interfaces: _, read_only: _ }
            | Results::Logs(_)
            | Results::Status(_)
            | Results::Snapshot(_)
            | Results::Called(_)
            | Results::Unwatched
            | Results::Scan { mark: _ }
            | Results::Subtree(_)
            | Results::Whoami(_) => Ok(()),
        }
    }

    fn access_results(&self, results: &mut AccessResults) -> Result<(), Senseless> {
        match results {
            AccessResults::Rules { stance: _, page: RulesPage { rules, has_more: _ } } => {
                rules.iter_mut().try_for_each(|(object, _)| match object {
                    Object::Subtree(path) => self.ascend_parsed(path),
                    Object::Recipe(_) | Object::EveryRecipe | Object::Cluster => Ok(()),
                })
            }
            // What decides is a sentence, as those of refusals.
            AccessResults::Acl { acl: _, stat: _ }
            | AccessResults::May { is_allowed: _, decider: _ } => Ok(()),
        }
    }

    fn watched(&self, watched: &mut Watched) -> Result<(), Senseless> {
        match watched {
            Watched::Open { first } => match first.as_deref_mut() {
                Some(Ok(results)) => self.results(&Texts::Names, results),
                Some(Err(Refusal { code: _, message: _ })) | None => Ok(()),
            },
            Watched::NotHere { oldest: _ } => Ok(()),
        }
    }

    pub(crate) fn event(&self, event: &mut Event) -> Result<(), Senseless> {
        let Event { path, kind: _, version: _, data: _, previous: _ } = event;
        self.ascend(path)
    }

    pub(crate) fn scanned(&self, scanned: &mut Scanned) -> Result<(), Senseless> {
        let Scanned { path, stat: _, data: _ } = scanned;
        self.ascend_parsed(path)
    }

    /// Keeps what is below the root of what is of the whole tree.
    pub(crate) fn quotas_below(&self, quotas: &mut Vec<QuotaUse>) {
        quotas.retain_mut(|QuotaUse { path, used: _, metered: _ }| self.ascend(path).is_ok());
    }
}
