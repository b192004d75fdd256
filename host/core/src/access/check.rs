//! May they? The one place where access lists, rules and the stance of the cluster are put together: on a draft for a
//! transaction, on an applied tree for a read. Which operation asks for what is not known here.

use core::net::IpAddr;
use std::fmt;

use super::{Acl, Identity, Object, Permissions, Rules, Scheme, Stance};
use crate::change::Change;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Millis, SessionId};
use crate::path::Path;
use crate::query;
use crate::read::Read;
use crate::request::Request;

/// Who asks, from where, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Their session, whose identities count at this time; none for a command without a session, and for nobody.
    pub session: Option<SessionId>,
    /// What they are known as beside.
    pub identities: Vec<Identity>,
    /// From where they ask.
    pub address: Option<IpAddr>,
    /// The time at which identities must be valid.
    pub now: Millis,
}

impl Asker {
    /// Whoever asks through this session.
    #[must_use]
    pub fn of_session(session: SessionId, address: Option<IpAddr>, now: Millis) -> Self {
        Self { session: Some(session), identities: Vec::new(), address, now }
    }

    /// Whoever sent this write, at the time of its transaction.
    #[must_use]
    pub fn of_request(request: &Request, now: Millis) -> Self {
        Self::of_session(request.session, request.address, now)
    }

    /// Somebody without a session.
    #[must_use]
    pub fn of_connection(identities: Vec<Identity>, address: Option<IpAddr>, now: Millis) -> Self {
        Self { session: None, identities, address, now }
    }

    /// All that they are known as.
    pub fn known_as<R: Read + ?Sized>(&self, read: &R) -> Vec<Identity> {
        let session = self.session.and_then(|id| read.session(id));
        let mut all = session.map_or_else(Vec::new, |session| session.identities_at(self.now));
        all.extend(self.identities.iter().cloned());
        all
    }
}

/// What decides whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decider {
    /// They may do everything.
    Super,
    /// The znode's own access list.
    List(Path),
    /// The rules on this object.
    Rules(Object),
    /// There are no rules.
    Stance(Stance),
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Super => f.write_str("who asks is super"),
            Self::List(path) => write!(f, "the access list of {path}"),
            Self::Rules(object) => write!(f, "the rules on {object}"),
            Self::Stance(stance) => write!(f, "no rule: the cluster's stance is {}", stance.name()),
        }
    }
}

/// Whether, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they may.
    pub is_allowed: bool,
    /// What decided.
    pub decider: Decider,
}

/// What is to be done, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Any one of these.
    pub permission: Permissions,
    /// To what.
    pub target: Target<'a>,
}

/// What something is to be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A znode, which need not be there, with its own access list.
    Znode(&'a Path, Option<&'a Acl>),
    /// A recipe, and which of its functions is called.
    Recipe(&'a str, Option<&'a str>),
    /// The cluster.
    Cluster,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Znode(path, _) => write!(f, "{path}"),
            Self::Recipe(name, None) => write!(f, "recipe:{name}"),
            Self::Recipe(name, Some(function)) => write!(f, "recipe:{name} function {function}"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

/// Whether they may do this, and what decides it: the znode's own list alone if it has one; else the rules on the nearest
/// subtree that has some, or those on the recipe or on every recipe; else the cluster's stance. Whoever is super may.
pub fn decide<R: Read + ?Sized>(read: &R, asker: &Asker, wish: Wish<'_>) -> Verdict {
    let summary = read.access_summary();
    let found = match wish.target {
        Target::Znode(path, Some(acl)) => Found::List(path, acl),
        _ if summary.objects_count == 0 => Found::Stance,
        Target::Znode(path, None) => subtree_rules(read, path),
        Target::Recipe(name, _) => {
            first_rules(read, [Object::Recipe(name.to_owned()), Object::EveryRecipe].into_iter())
        }
        Target::Cluster => first_rules(read, std::iter::once(Object::Cluster)),
    };
    // What is open to everybody asks for no identity.
    let identities = || asker.known_as(read);
    let function = match wish.target {
        Target::Recipe(_, function) => function,
        _ => None,
    };
    let (is_allowed, decider) = match found {
        Found::Stance => (summary.stance == Stance::Open, Decider::Stance(summary.stance)),
        Found::List(path, acl) => {
            let known = identities();
            let allows = |one| acl.allows(&known, asker.address, one);
            (wish.permission.each().into_iter().any(allows), Decider::List(path.clone()))
        }
        Found::Rules(object, rules) => {
            let known = identities();
            let allows = |one| rules.allows(&known, asker.address, one, function);
            (wish.permission.each().into_iter().any(allows), Decider::Rules(object))
        }
    };
    if !is_allowed && is_super(read, asker) {
        return Verdict { is_allowed: true, decider: Decider::Super };
    }
    Verdict { is_allowed, decider }
}

/// What says something about a wish.
enum Found<'a> {
    List(&'a Path, &'a Acl),
    Rules(Object, Rules),
    Stance,
}

fn subtree_rules<'a, R: Read + ?Sized>(read: &R, path: &Path) -> Found<'a> {
    let upwards = std::iter::successors(Some(path.clone()), Path::parent);
    first_rules(read, upwards.map(Object::Subtree))
}

fn first_rules<'a, R: Read + ?Sized>(
    read: &R,
    mut objects: impl Iterator<Item = Object>,
) -> Found<'a> {
    let found = objects.find_map(|object| read.rules(&object).map(|rules| (object, rules)));
    found.map_or(Found::Stance, |(object, rules)| Found::Rules(object, rules))
}

/// Whether they may do everything: known as `super:`, or a rule on the cluster lets them administer it. That everybody may,
/// because there is no such rule, makes nobody super.
pub fn is_super<R: Read + ?Sized>(read: &R, asker: &Asker) -> bool {
    let known = asker.known_as(read);
    known.iter().any(|identity| identity.scheme() == Scheme::Super)
        || read
            .rules(&Object::Cluster)
            .is_some_and(|rules| rules.allows(&known, asker.address, Permissions::ADMIN, None))
}

/// Refuses what they may not do.
///
/// # Errors
/// `no-access`, naming what was to be done to what, who asked, and what decided.
pub fn require<R: Read + ?Sized>(read: &R, asker: &Asker, wish: Wish<'_>) -> Result<(), Refusal> {
    let verdict = decide(read, asker, wish);
    if verdict.is_allowed {
        return Ok(());
    }
    let known = asker.known_as(read);
    let mut names: Vec<String> =
        known.iter().map(|identity| identity.masked().to_string()).collect();
    names.extend(asker.address.map(|address| format!("ip:{}", address.to_canonical())));
    names.push(Identity::anyone().to_string());
    let message = format!(
        "{} on {} is not permitted to {}; decided by {}",
        wish.permission.names(),
        wish.target,
        names.join(", "),
        verdict.decider
    );
    Err(Refusal::new(ErrorCode::NoAccess, message))
}

/// Refuses what they may not do to a znode, which need not be there.
///
/// # Errors
/// `no-access`.
pub fn require_on_path<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    path: &Path,
    permission: Permissions,
) -> Result<(), Refusal> {
    let node = query::node(read, path);
    let acl = node.as_ref().and_then(|node| node.acl.as_ref());
    require(read, asker, Wish { permission, target: Target::Znode(path, acl) })
}

/// Refuses what they may not do to the cluster.
///
/// # Errors
/// `no-access`.
pub fn require_on_cluster<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    permission: Permissions,
) -> Result<(), Refusal> {
    require(read, asker, Wish { permission, target: Target::Cluster })
}

/// Whether they may see that this changed: they may read the znode, as its own access list was then and as the rules are
/// now. Changes of anything but znodes are nobody's to see.
pub fn may_see<R: Read + ?Sized>(read: &R, asker: &Asker, change: &Change) -> bool {
    let (path, acl) = match change {
        Change::NodeCreated { path, acl, .. }
        | Change::DataSet { path, acl, .. }
        | Change::NodeDeleted { path, acl, .. }
        | Change::AclSet { path, acl } => (path, acl.as_ref()),
        _ => return false,
    };
    let wish = Wish { permission: Permissions::READ, target: Target::Znode(path, acl) };
    decide(read, asker, wish).is_allowed
}
