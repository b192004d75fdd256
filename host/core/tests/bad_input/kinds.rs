//! The kinds of requests: each operation and body, as often as it has ways to go wrong that differ. The matches over operations
//! and bodies have no arm for all others: what is new needs rows before this compiles.

use bytes::Bytes;
use quorate_core::access::{AccessChange, Object, Permissions, Rule, Stance};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::WriteNumber;
use quorate_core::query::Page;
use quorate_core::quota::{Bounds, Quota};
use quorate_core::read::Direction;
use quorate_core::request::{Body, Call, Chunk, Deploy, Fence, LifetimeKind, Operation, Sequence};

use super::faults::Fault;
use super::world::{self, Given};

/// An enum and the list of all that it can be.
macro_rules! listed {
    ($(#[$doc:meta])* $enum:ident { $($name:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum {
            $($name,)*
        }

        impl $enum {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}
pub(crate) use listed;

listed! {
    /// A request.
    Kind {
        Create, CreateSequential, CreateSequential10, CreateEphemeral, CreateEphemeralSequential, CreateContainer, CreateTtl,
        CreateTtlSequential, CreateWithParents,
        CreateOrGetNew, CreateOrGetThere, SetOrCreateNew, SetOrCreateThere,
        Set, Delete, DeleteTree, Check, CheckAbsent, Fence, Call,
        Get, Stat, Exists, Children, ChildrenWithData,
        SetAcl, GrantOnSubtree, GrantOnCluster, RevokeOnSubtree, RevokeOnCluster, SetStance,
        Quota, Cancel, Close, Chunk, Deploy, Rollback, Remove, Identify,
    }
}

listed! {
    /// A variant of `Operation`, or of `Body` where it is no operation.
    Variant {
        Create, Set, Delete, Check, Call, SetAcl, Access, CheckAbsent, CreateOrGet, SetOrCreate, DeleteTree, Fence, Get, Stat,
        Exists, Children, Multi, Cancel, CloseSession, StoreChunk, Deploy, Rollback, RemoveRecipe, SetQuota, Identify,
    }
}

/// Which variant a request is.
pub fn variant(body: &Body) -> Variant {
    match body {
        Body::Single(operation) => match operation {
            Operation::Create { .. } => Variant::Create,
            Operation::Set { .. } => Variant::Set,
            Operation::Delete { .. } => Variant::Delete,
            Operation::Check { .. } => Variant::Check,
            Operation::Call(_) => Variant::Call,
            Operation::SetAcl { .. } => Variant::SetAcl,
            Operation::Access { .. } => Variant::Access,
            Operation::CheckAbsent { .. } => Variant::CheckAbsent,
            Operation::CreateOrGet { .. } => Variant::CreateOrGet,
            Operation::SetOrCreate { .. } => Variant::SetOrCreate,
            Operation::DeleteTree { .. } => Variant::DeleteTree,
            Operation::Fence(_) => Variant::Fence,
            Operation::Get { .. } => Variant::Get,
            Operation::Stat { .. } => Variant::Stat,
            Operation::Exists { .. } => Variant::Exists,
            Operation::Children { .. } => Variant::Children,
        },
        Body::Multi(_) => Variant::Multi,
        Body::Cancel(_) => Variant::Cancel,
        Body::CloseSession => Variant::CloseSession,
        Body::StoreChunk(_) => Variant::StoreChunk,
        Body::Deploy(_) => Variant::Deploy,
        Body::Rollback { .. } => Variant::Rollback,
        Body::RemoveRecipe(_) => Variant::RemoveRecipe,
        Body::SetQuota { .. } => Variant::SetQuota,
        Body::Identify(_) => Variant::Identify,
    }
}

/// The kinds that stand for a variant: at least one. A multi is made of the kinds of all operations.
pub fn kinds_of(variant: Variant) -> (Kind, &'static [Kind]) {
    match variant {
        Variant::Create => (
            Kind::Create,
            &[
                Kind::CreateSequential,
                Kind::CreateSequential10,
                Kind::CreateEphemeral,
                Kind::CreateEphemeralSequential,
                Kind::CreateContainer,
                Kind::CreateTtl,
                Kind::CreateTtlSequential,
                Kind::CreateWithParents,
            ],
        ),
        Variant::Set => (Kind::Set, &[]),
        Variant::Delete => (Kind::Delete, &[]),
        Variant::Check => (Kind::Check, &[]),
        Variant::Call => (Kind::Call, &[]),
        Variant::SetAcl => (Kind::SetAcl, &[]),
        Variant::Access => (
            Kind::GrantOnSubtree,
            &[Kind::GrantOnCluster, Kind::RevokeOnSubtree, Kind::RevokeOnCluster, Kind::SetStance],
        ),
        Variant::CheckAbsent => (Kind::CheckAbsent, &[]),
        Variant::CreateOrGet => (Kind::CreateOrGetNew, &[Kind::CreateOrGetThere]),
        Variant::SetOrCreate => (Kind::SetOrCreateNew, &[Kind::SetOrCreateThere]),
        Variant::DeleteTree => (Kind::DeleteTree, &[]),
        Variant::Fence => (Kind::Fence, &[]),
        Variant::Get => (Kind::Get, &[]),
        Variant::Stat => (Kind::Stat, &[]),
        Variant::Exists => (Kind::Exists, &[]),
        Variant::Children => (Kind::Children, &[Kind::ChildrenWithData]),
        Variant::Multi => (Kind::Set, Kind::ALL),
        Variant::Cancel => (Kind::Cancel, &[]),
        Variant::CloseSession => (Kind::Close, &[]),
        Variant::StoreChunk => (Kind::Chunk, &[]),
        Variant::Deploy => (Kind::Deploy, &[]),
        Variant::Rollback => (Kind::Rollback, &[]),
        Variant::RemoveRecipe => (Kind::Remove, &[]),
        Variant::SetQuota => (Kind::Quota, &[]),
        Variant::Identify => (Kind::Identify, &[]),
    }
}

/// The variant that a kind stands for.
pub fn variant_of(kind: Kind) -> Variant {
    let single = Variant::ALL.iter().filter(|variant| **variant != Variant::Multi);
    let stands = |variant: &&Variant| {
        let (first, more) = kinds_of(**variant);
        first == kind || more.contains(&kind)
    };
    let found: Vec<Variant> = single.filter(stands).copied().collect();
    let [variant] = found[..] else { panic!("{kind:?} stands for {found:?}") };
    variant
}

impl Kind {
    /// Whether it creates a znode that is not there.
    pub fn creates(self) -> bool {
        matches!(variant_of(self), Variant::Create)
            || matches!(self, Self::CreateOrGetNew | Self::SetOrCreateNew)
    }

    /// Whether its path ends in a number that is not its own.
    pub fn is_sequential(self) -> bool {
        self.sequence() != Sequence::None
    }

    /// Whether the znode that it names must be there, so that it is done.
    pub fn needs_target(self) -> bool {
        let needs_none = self.creates() || matches!(self, Self::CheckAbsent | Self::Quota);
        self.has_path() && !needs_none
            || matches!(self, Self::GrantOnSubtree | Self::RevokeOnSubtree)
    }

    /// Whether it names a znode by text.
    pub fn has_path(self) -> bool {
        !matches!(
            variant_of(self),
            Variant::Call
                | Variant::Access
                | Variant::Cancel
                | Variant::CloseSession
                | Variant::StoreChunk
                | Variant::Deploy
                | Variant::Rollback
                | Variant::RemoveRecipe
                | Variant::Identify
        )
    }

    /// Whether a request of this kind says how long a znode lives.
    pub fn has_lifetime(self) -> bool {
        matches!(variant_of(self), Variant::Create | Variant::CreateOrGet | Variant::SetOrCreate)
    }

    /// Whether it brings data.
    pub fn has_data(self) -> bool {
        self.has_lifetime() || self == Self::Set
    }

    /// Whether it brings an access list.
    pub fn has_acl(self) -> bool {
        self.has_lifetime() || self == Self::SetAcl
    }

    /// Whether it asks for a version, or a token.
    pub fn has_version(self) -> bool {
        matches!(
            self,
            Self::Set | Self::Delete | Self::DeleteTree | Self::Check | Self::SetAcl | Self::Fence
        )
    }

    fn sequence(self) -> Sequence {
        match self {
            Self::CreateSequential | Self::CreateEphemeralSequential => Sequence::Native,
            Self::CreateSequential10 | Self::CreateTtlSequential => Sequence::ZooKeeper,
            _ => Sequence::None,
        }
    }

    /// As which kind of znode it creates one.
    pub fn lifetime(self) -> LifetimeKind {
        match self {
            Self::CreateEphemeral | Self::CreateEphemeralSequential => LifetimeKind::Ephemeral,
            Self::CreateContainer => LifetimeKind::Container,
            Self::CreateTtl | Self::CreateTtlSequential => LifetimeKind::Ttl(1_000),
            _ => LifetimeKind::Persistent,
        }
    }
}

/// The request of some kind, with what is given.
pub fn body(given: &Given) -> Body {
    let path = given.path.clone();
    match given.kind {
        Kind::Quota => {
            let per_s = if given.has(Fault::PaceTooHigh) { u64::MAX } else { 10 };
            let writes_per_s = Bounds { soft: None, hard: Some(per_s) };
            Body::SetQuota { path, quota: Some(Quota { writes_per_s, ..Quota::default() }) }
        }
        Kind::Cancel => Body::Cancel(WriteNumber(u64::MAX)),
        Kind::Close => Body::CloseSession,
        Kind::Chunk => Body::StoreChunk(chunk(given)),
        Kind::Deploy => Body::Deploy(deploy(given)),
        Kind::Rollback => Body::Rollback {
            recipe: world::RECIPE.to_owned(),
            version: if given.has(Fault::VersionMissing) { 9 } else { 1 },
        },
        Kind::Remove => Body::RemoveRecipe(world::RECIPE.to_owned()),
        Kind::Identify => Body::Identify(if given.has(Fault::NotProved) {
            Err(Refusal::new(ErrorCode::AuthenticationFailed, "no token"))
        } else {
            Ok(given.held())
        }),
        _ => Body::Single(operation(given)),
    }
}

fn chunk(given: &Given) -> Chunk {
    let bytes = Bytes::from_static(b"another component");
    let (total_bytes, index) = match () {
        () if given.has(Fault::ComponentEmpty) => (0, 0),
        () if given.has(Fault::ComponentTooLarge) => (u64::MAX, 0),
        () if given.has(Fault::ChunkBeyond) => (bytes.len() as u64, u32::MAX),
        () if given.has(Fault::ChunkOfOtherSize) => (bytes.len() as u64 - 1, 0),
        () => (bytes.len() as u64, 0),
    };
    let is_other = given.has(Fault::OtherDigest);
    let component = world::digest(if is_other { b"something else" } else { &bytes });
    Chunk { component, index, total_bytes, bytes }
}

fn deploy(given: &Given) -> Deploy {
    let mut deploy = world::deployment();
    if given.has(Fault::RecipeNameMalformed) {
        deploy.recipe = "No Name".to_owned();
    }
    if given.has(Fault::ManifestOverLimit) {
        deploy.manifest.limits.changes = u64::MAX;
    }
    if given.has(Fault::ComponentMissing) {
        deploy.component = world::digest(b"never uploaded");
    }
    deploy
}

fn operation(given: &Given) -> Operation {
    let Given { kind, path, condition, .. } = given;
    let (path, condition, data) = (path.clone(), *condition, given.data());
    let (lifetime, parents) = (given.lifetime(), *kind == Kind::CreateWithParents);
    match kind {
        Kind::Set => Operation::Set { path, data, condition },
        Kind::Delete => Operation::Delete { path, condition },
        Kind::DeleteTree => Operation::DeleteTree { path, condition },
        Kind::Check => Operation::Check { path, condition },
        Kind::CheckAbsent => Operation::CheckAbsent { path },
        Kind::CreateOrGetNew | Kind::CreateOrGetThere => {
            Operation::CreateOrGet { path, data, lifetime, parents, acl: given.acl() }
        }
        Kind::SetOrCreateNew | Kind::SetOrCreateThere => {
            Operation::SetOrCreate { path, data, lifetime, parents, acl: given.acl() }
        }
        Kind::Fence => {
            let token = given.token();
            Operation::Fence(Fence { recipe: world::RECIPE.to_owned(), node: path, token })
        }
        Kind::Call => Operation::Call(Call {
            recipe: world::RECIPE.to_owned(),
            function: "go".to_owned(),
            signature: 0,
            arguments: Bytes::new(),
        }),
        Kind::Get => Operation::Get { path },
        Kind::Stat => Operation::Stat { path },
        Kind::Exists => Operation::Exists { path },
        Kind::Children | Kind::ChildrenWithData => {
            let mut page = Page::first();
            if given.has(Fault::PageSenseless) {
                let after = Some("//../\0\u{10ffff}".to_owned());
                page = Page { after, limit: u32::MAX, direction: Direction::Backward };
            }
            Operation::Children { path, page, with_data: *kind == Kind::ChildrenWithData }
        }
        Kind::SetAcl => {
            let (acl, version) = (given.acl(), condition.version);
            Operation::SetAcl { path, acl, version, is_forced: false }
        }
        Kind::GrantOnSubtree
        | Kind::GrantOnCluster
        | Kind::RevokeOnSubtree
        | Kind::RevokeOnCluster
        | Kind::SetStance => Operation::Access { change: access(given), is_forced: false },
        _ => {
            let acl = given.acl();
            Operation::Create { path, data, lifetime, sequence: kind.sequence(), parents, acl }
        }
    }
}

fn access(given: &Given) -> AccessChange {
    let is_on_cluster = matches!(given.kind, Kind::GrantOnCluster | Kind::RevokeOnCluster);
    let object =
        if is_on_cluster { Object::Cluster } else { Object::Subtree(world::path(world::TARGET)) };
    let (who, permissions) = match given.kind {
        // What the object does not know.
        _ if given.has(Fault::RuleSenseless) => ("token:a", Permissions::CALL),
        _ if given.has(Fault::NothingToTakeBack) => ("token:nobody", Permissions::ALL_OF_ZNODE),
        Kind::GrantOnSubtree if given.has(Fault::LocksOut) => ("token:a", Permissions::READ),
        Kind::GrantOnCluster if given.has(Fault::LocksOut) => ("token:a", Permissions::OPERATE),
        Kind::RevokeOnSubtree if given.has(Fault::LocksOut) => ("token:a", Permissions::ADMIN),
        Kind::RevokeOnCluster if given.has(Fault::LocksOut) => ("token:a", Permissions::ADMIN),
        Kind::GrantOnSubtree => ("token:a", Permissions::ALL_OF_ZNODE),
        Kind::GrantOnCluster => ("token:a", Permissions::ADMIN.with(Permissions::OPERATE)),
        Kind::RevokeOnCluster => ("token:other", Permissions::OPERATE),
        _ => ("token:other", Permissions::READ),
    };
    // On the cluster there are other permissions.
    let permissions = match (is_on_cluster, given.has(Fault::NothingToTakeBack)) {
        (true, true) => Permissions::OPERATE,
        _ => permissions,
    };
    let rule = Rule { who: world::identity(who), function: None, permissions };
    match given.kind {
        Kind::SetStance if given.has(Fault::LocksOut) => AccessChange::SetStance(Stance::Deny),
        Kind::SetStance => AccessChange::SetStance(Stance::Open),
        Kind::RevokeOnSubtree | Kind::RevokeOnCluster => AccessChange::Revoke(object, rule),
        _ => AccessChange::Grant(object, rule),
    }
}
