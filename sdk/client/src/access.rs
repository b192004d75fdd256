//! Who may do what: access lists of znodes, rules, and questions about both. How a client comes to its identities is not known
//! here.

use quorate_core::access::ask::RulesPage;
use quorate_core::access::{AccessChange, Acl, Identity, Object, Permissions, Rule, Rules, Stance};
use quorate_core::ids::Zxid;
use quorate_core::request::{Answer, Body, Operation};
use quorate_core::znode::Stat;
use quorate_wire::message::{AccessQuery, AccessResults, Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::tree::unexpected;

/// All rules of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllRules {
    /// What holds where neither a list nor rules say anything.
    pub stance: Stance,
    /// Objects with the rules on them: the cluster, recipes, subtrees by their paths.
    pub rules: Vec<(Object, Rules)>,
}

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they may.
    pub is_allowed: bool,
    /// What decides, for people.
    pub decider: String,
}

impl Client {
    /// A znode's own access list, none while rules decide, and its stat. Without the right to change the list, hashes of
    /// passwords are not shown.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `no-access`, `bad-path`; `SessionLost`.
    pub async fn acl(&self, path: &str) -> Result<(Option<Acl>, Stat), Error> {
        match self.ask(AccessQuery::Acl(path.to_owned())).await? {
            AccessResults::Acl { acl, stat } => Ok((acl, stat)),
            _ => Err(unexpected("acl")),
        }
    }

    /// Sets a znode's own access list, or takes it away so that rules decide; with a version, only if the list has that one. The
    /// new stat. `is_forced`: although nobody could change the list then, which only super may say.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `no-access`, `bad-version`, `invalid-acl`, `would-lock-out`, `limit`; `SessionLost`.
    pub async fn set_acl(
        &self,
        path: &str,
        acl: Option<Acl>,
        version: Option<u64>,
        is_forced: bool,
    ) -> Result<Stat, Error> {
        let operation = Operation::SetAcl { path: path.to_owned(), acl, version, is_forced };
        match self.done(Body::Single(operation)).await? {
            (_, Answer::Stat(stat)) => Ok(stat),
            _ => Err(unexpected("set-acl")),
        }
    }

    /// Changes rules or the cluster's stance. The transaction. `is_forced`: although nobody could change them then, or this
    /// client could not, which only super may say.
    ///
    /// # Errors
    /// `Refused` with `no-access`, `invalid-acl`, `would-lock-out`, `bad-arguments` if there is nothing to take back, `limit`;
    /// `SessionLost`.
    pub async fn change_access(
        &self,
        change: AccessChange,
        is_forced: bool,
    ) -> Result<Zxid, Error> {
        let operation = Operation::Access { change, is_forced };
        Ok(self.done(Body::Single(operation)).await?.0)
    }

    /// Permits what a rule says, beside what is permitted on the object already.
    ///
    /// # Errors
    /// As [`Client::change_access`].
    pub async fn grant(&self, object: Object, rule: Rule) -> Result<Zxid, Error> {
        self.change_access(AccessChange::Grant(object, rule), false).await
    }

    /// Takes back what a rule says.
    ///
    /// # Errors
    /// As [`Client::change_access`].
    pub async fn revoke(&self, object: Object, rule: Rule) -> Result<Zxid, Error> {
        self.change_access(AccessChange::Revoke(object, rule), false).await
    }

    /// All rules, page by page; those that change meanwhile may be seen as they were or as they are.
    ///
    /// # Errors
    /// `Refused` with `no-access`, with `bad-arguments` below a root: rules above it decide there, too; `SessionLost`.
    pub async fn rules(&self) -> Result<AllRules, Error> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|(object, _): &(Object, Rules)| object.clone());
            match self.ask(AccessQuery::Rules { after }).await? {
                AccessResults::Rules { stance, page: RulesPage { rules, has_more } } => {
                    let is_end = rules.is_empty() || !has_more;
                    all.extend(rules);
                    if is_end {
                        return Ok(AllRules { stance, rules: all });
                    }
                }
                _ => return Err(unexpected("rules")),
            }
        }
    }

    /// The rules on one object; none if there are none on just that.
    ///
    /// # Errors
    /// `Refused` with `no-access`; `SessionLost`.
    pub async fn rules_on(&self, object: Object) -> Result<AllRules, Error> {
        match self.ask(AccessQuery::RulesOn(object)).await? {
            AccessResults::Rules { stance, page } => Ok(AllRules { stance, rules: page.rules }),
            _ => Err(unexpected("rules")),
        }
    }

    /// Whether somebody known as all of these, or this client, may do this to an object, or call this function of it.
    ///
    /// # Errors
    /// `Refused` with `no-access` for questions about others, `invalid-acl`; `SessionLost`.
    pub async fn may(
        &self,
        who: Option<Vec<Identity>>,
        permission: Permissions,
        object: Object,
        function: Option<String>,
    ) -> Result<Verdict, Error> {
        match self.ask(AccessQuery::May { who, permission, object, function }).await? {
            AccessResults::May { is_allowed, decider } => Ok(Verdict { is_allowed, decider }),
            _ => Err(unexpected("may")),
        }
    }

    async fn ask(&self, query: AccessQuery) -> Result<AccessResults, Error> {
        match self.read(Query::Access(query)).await? {
            (_, Results::Access(results)) => Ok(results),
            _ => Err(unexpected("a question about access")),
        }
    }
}
