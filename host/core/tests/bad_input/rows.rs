//! The table: for each kind of request what is told of each fault, in the order in which they are looked for. A fault that has no
//! row does no harm.

use quorate_core::error::ErrorCode::{
    self, AuthenticationFailed, BadArguments, BadPath, BadVersion, DiskFull, Fenced, InvalidAcl,
    LimitPassed, NoAccess, NoChildrenForEphemerals, NoNode, NoRecipe, NoSession, NodeExists,
    NotAdmitted, NotEmpty, QuotaPassed, SessionEnded, WouldLockOut,
};

use super::faults::Fault;
use super::kinds::Kind;

/// A fault, and what is told of it.
pub type Row = (Fault, ErrorCode);

/// What is told of a request without a fault.
pub const DONE: Option<ErrorCode> = None;

const SESSION: &[Row] = &[(Fault::SessionUnknown, NoSession), (Fault::SessionEnded, SessionEnded)];

/// ZooKeeper's flags and TTL.
const LIFETIME: &[Row] = &[
    (Fault::NotForClients, BadArguments),
    (Fault::TtlZero, BadArguments),
    (Fault::TtlTooLong, LimitPassed),
];

const DATA: &[Row] = &[(Fault::DataTooLarge, LimitPassed)];

/// ZooKeeper's `validatePath`.
const PATH: &[Row] = &[
    (Fault::PathMalformed, BadPath),
    (Fault::NameMalformed, BadPath),
    (Fault::NameTooLong, LimitPassed),
];

/// ZooKeeper's `fixupACL`.
const ACL: &[Row] = &[
    (Fault::AclEmpty, InvalidAcl),
    (Fault::AclSenseless, InvalidAcl),
    (Fault::AclOfNobody, InvalidAcl),
    (Fault::AclTooLong, LimitPassed),
];

const THERE: &[Row] = &[(Fault::ParentMissing, NoNode), (Fault::TargetMissing, NoNode)];
const PERMITTED: &[Row] = &[(Fault::TargetForbidden, NoAccess)];
const VERSION: &[Row] = &[(Fault::OtherVersion, BadVersion)];
const QUOTA: &[Row] = &[(Fault::QuotaPassed, QuotaPassed)];
const DISK: &[Row] = &[(Fault::DiskFull, DiskFull)];
const RECIPE_PERMITTED: &[Row] = &[(Fault::RecipeForbidden, NoAccess)];
const RECIPE_THERE: &[Row] = &[(Fault::RecipeMissing, NoRecipe)];
const CLUSTER: &[Row] = &[(Fault::ClusterForbidden, NoAccess)];

/// Behind the access list of a new znode: ZooKeeper looks for the parent, asks it, makes the name, looks at the whole path, for
/// the znode, and whether the parent may have children.
fn place(kind: Kind) -> Vec<Row> {
    let parent: &[Row] = match kind {
        Kind::CreateWithParents => &[],
        _ => &[(Fault::ParentMissing, NoNode)],
    };
    let rest: &[Row] = &[
        (Fault::ParentForbidden, NoAccess),
        (Fault::NameMalformed, BadPath),
        (Fault::NameTooLong, LimitPassed),
    ];
    let there: &[Row] = match kind {
        _ if kind.is_sequential() => &[],
        Kind::CreateOrGetNew | Kind::SetOrCreateNew => &[],
        _ => &[(Fault::TargetThere, NodeExists)],
    };
    let last: &[Row] = &[(Fault::ParentEphemeral, NoChildrenForEphemerals)];
    let owned: &[Row] = match kind {
        Kind::CreateEphemeral | Kind::CreateEphemeralSequential => {
            &[(Fault::OwnedTooMany, LimitPassed)]
        }
        _ => &[],
    };
    [parent, rest, there, last, owned, QUOTA, DISK].concat()
}

fn created(kind: Kind) -> Vec<Row> {
    let path: &[Row] = &[(Fault::PathMalformed, BadPath)];
    [LIFETIME, DATA, path, ACL, &place(kind)].concat()
}

/// The rows of a kind of request, in order.
#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
pub fn rows(kind: Kind) -> Vec<Row> {
    let own = match kind {
        Kind::Create
        | Kind::CreateSequential
        | Kind::CreateSequential10
        | Kind::CreateEphemeral
        | Kind::CreateEphemeralSequential
        | Kind::CreateContainer
        | Kind::CreateTtl
        | Kind::CreateTtlSequential
        | Kind::CreateWithParents
        | Kind::CreateOrGetNew
        | Kind::SetOrCreateNew => created(kind),
        // What is there is read. Where it is not, it would be created.
        Kind::CreateOrGetThere => [LIFETIME, DATA, &of_there(PERMITTED)].concat(),
        Kind::SetOrCreateThere => {
            let rest = [PERMITTED, QUOTA, DISK].concat();
            [LIFETIME, DATA, &of_there(&rest)].concat()
        }
        Kind::Set => [PATH, DATA, THERE, PERMITTED, QUOTA, VERSION, DISK].concat(),
        // The parent is asked, and before the znode is looked for.
        Kind::Delete => {
            let empty: &[Row] = &[(Fault::TargetHasChildren, NotEmpty)];
            [PATH, &deletion(), VERSION, empty].concat()
        }
        Kind::DeleteTree => {
            let below: &[Row] =
                &[(Fault::BelowForbidden, NoAccess), (Fault::TargetForbidden, NoAccess)];
            [PATH, &deletion(), VERSION, below].concat()
        }
        Kind::Check => [PATH, THERE, PERMITTED, VERSION].concat(),
        Kind::CheckAbsent => {
            let there: &[Row] = &[(Fault::TargetThere, NodeExists)];
            [PATH, there].concat()
        }
        Kind::Get | Kind::Stat | Kind::Children => [PATH, THERE, PERMITTED].concat(),
        // That it is not there is an answer.
        Kind::Exists => [PATH, PERMITTED].concat(),
        Kind::ChildrenWithData => {
            let below: &[Row] = &[(Fault::BelowForbidden, NoAccess)];
            [PATH, THERE, PERMITTED, below].concat()
        }
        Kind::SetAcl => {
            let locks_out: &[Row] = &[(Fault::AclWithoutAdmin, WouldLockOut)];
            [PATH, ACL, THERE, PERMITTED, VERSION, locks_out].concat()
        }
        Kind::GrantOnSubtree => rules(PERMITTED, false),
        Kind::RevokeOnSubtree => rules(PERMITTED, true),
        Kind::GrantOnCluster => rules(CLUSTER, false),
        Kind::RevokeOnCluster => rules(CLUSTER, true),
        Kind::SetStance => [CLUSTER, &[(Fault::LocksOut, WouldLockOut)]].concat(),
        Kind::Quota => [PATH, CLUSTER, &[(Fault::PaceTooHigh, LimitPassed)]].concat(),
        // The token is the right.
        Kind::Fence => {
            let ended: &[Row] = &[(Fault::TargetMissing, Fenced), (Fault::OtherVersion, Fenced)];
            [RECIPE_THERE, PATH, ended].concat()
        }
        Kind::Call => {
            let caller: &[Row] = &[(Fault::NotACaller, NoAccess)];
            [RECIPE_THERE, RECIPE_PERMITTED, caller].concat()
        }
        Kind::Deploy => {
            let component: &[Row] = &[
                (Fault::RecipeNameMalformed, BadArguments),
                (Fault::ManifestOverLimit, LimitPassed),
                (Fault::ComponentMissing, NotAdmitted),
            ];
            [RECIPE_PERMITTED, component, DISK].concat()
        }
        Kind::Rollback => {
            let version: &[Row] = &[(Fault::VersionMissing, NoRecipe)];
            [RECIPE_PERMITTED, RECIPE_THERE, version].concat()
        }
        Kind::Remove => [RECIPE_PERMITTED, RECIPE_THERE].concat(),
        Kind::Chunk => {
            let pieces: &[Row] = &[
                (Fault::ComponentEmpty, BadArguments),
                (Fault::ComponentTooLarge, LimitPassed),
                (Fault::ChunkBeyond, BadArguments),
                (Fault::ChunkOfOtherSize, BadArguments),
                (Fault::OtherDigest, BadArguments),
            ];
            [RECIPE_PERMITTED, pieces, DISK].concat()
        }
        Kind::Identify => vec![
            (Fault::NotProved, AuthenticationFailed),
            (Fault::IdentityExpired, AuthenticationFailed),
            (Fault::IdentityOfLists, BadArguments),
            (Fault::IdentitiesTooMany, LimitPassed),
        ],
        Kind::Cancel | Kind::Close => Vec::new(),
    };
    [SESSION, &own].concat()
}

/// Of an operation that creates a znode which is there: its path, or it would be created.
fn of_there(rest: &[Row]) -> Vec<Row> {
    let path: &[Row] = &[(Fault::PathMalformed, BadPath)];
    let name: &[Row] = &[
        (Fault::ParentMissing, NoNode),
        (Fault::NameMalformed, BadPath),
        (Fault::NameTooLong, LimitPassed),
    ];
    [path, ACL, name, rest].concat()
}

fn deletion() -> Vec<Row> {
    vec![
        (Fault::ParentMissing, NoNode),
        (Fault::ParentForbidden, NoAccess),
        (Fault::TargetMissing, NoNode),
    ]
}

fn rules(permitted: &[Row], is_revocation: bool) -> Vec<Row> {
    let senseless: &[Row] = &[(Fault::RuleSenseless, InvalidAcl)];
    let nothing: &[Row] =
        if is_revocation { &[(Fault::NothingToTakeBack, BadArguments)] } else { &[] };
    let locks_out: &[Row] = &[(Fault::LocksOut, WouldLockOut)];
    [senseless, permitted, nothing, locks_out].concat()
}
