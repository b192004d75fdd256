//! What can be wrong: with a request, with its path, with who asks, with the tree. What is then told is not known here.

use quorate_core::request::LifetimeKind;

use super::kinds::{Kind, listed};

listed! {
    /// One thing that is wrong.
    Fault {
        // Who asks.
        SessionUnknown, SessionEnded,
        // How long a znode is to live.
        TtlZero, TtlTooLong, NotForClients,
        DataTooLarge,
        // The path: at its beginning, or at its end.
        PathMalformed, NameMalformed, NameTooLong,
        // The access list.
        AclEmpty, AclSenseless, AclOfNobody, AclTooLong, AclWithoutAdmin,
        // A version, or the token of a fence.
        OtherVersion,
        // A page: longer than any, behind what is no name.
        PageSenseless,
        // A rule.
        RuleSenseless, NothingToTakeBack, LocksOut,
        PaceTooHigh,
        // What the tree has at the path, and what Alice may do there.
        ParentMissing, ParentForbidden, ParentEphemeral, TargetMissing, TargetThere, TargetForbidden, TargetHasChildren,
        BelowForbidden,
        // What is full.
        OwnedTooMany, QuotaPassed, DiskFull,
        ClusterForbidden,
        // Recipes and components.
        RecipeForbidden, RecipeMissing, RecipeNameMalformed, VersionMissing, NotACaller, ManifestOverLimit, ComponentMissing,
        ComponentEmpty, ComponentTooLarge, ChunkBeyond, ChunkOfOtherSize, OtherDigest,
        // What a credential has shown.
        NotProved, IdentityExpired, IdentityOfLists, IdentitiesTooMany,
    }
}

/// Of each of these a request can have one.
const GROUPS: &[&[Fault]] = &[
    &[Fault::SessionUnknown, Fault::SessionEnded],
    &[Fault::TtlZero, Fault::TtlTooLong, Fault::NotForClients, Fault::OwnedTooMany],
    &[Fault::PathMalformed, Fault::NameMalformed, Fault::NameTooLong],
    &[
        Fault::AclEmpty,
        Fault::AclSenseless,
        Fault::AclOfNobody,
        Fault::AclTooLong,
        Fault::AclWithoutAdmin,
    ],
    &[Fault::RuleSenseless, Fault::NothingToTakeBack, Fault::LocksOut],
    &[Fault::ComponentEmpty, Fault::ComponentTooLarge, Fault::ChunkBeyond, Fault::ChunkOfOtherSize],
    &[Fault::ComponentEmpty, Fault::OtherDigest],
    &[Fault::NotProved, Fault::IdentityExpired, Fault::IdentityOfLists, Fault::IdentitiesTooMany],
    &[Fault::RecipeMissing, Fault::NotACaller],
    // What it would own is nothing but a number here.
    &[Fault::SessionEnded, Fault::OwnedTooMany],
    // The tree: what is missing has nothing.
    &[Fault::ParentMissing, Fault::ParentEphemeral, Fault::TargetThere],
    &[Fault::ParentMissing, Fault::TargetHasChildren],
    &[Fault::ParentMissing, Fault::BelowForbidden],
    &[Fault::TargetMissing, Fault::TargetHasChildren],
    &[Fault::TargetMissing, Fault::BelowForbidden],
];

impl Fault {
    /// Whether the two can not be there at once.
    pub fn excludes(self, other: Self) -> bool {
        GROUPS.iter().any(|group| group.contains(&self) && group.contains(&other))
    }

    /// Whether a request of this kind, or the tree that it meets, can have it.
    pub fn can_be(self, kind: Kind) -> bool {
        let has_target = kind.needs_target();
        let has_znode = kind.has_path() && !matches!(kind, Kind::Fence | Kind::Quota) || has_target;
        match self {
            Self::SessionUnknown
            | Self::SessionEnded
            | Self::QuotaPassed
            | Self::DiskFull
            | Self::RecipeForbidden => true,
            // Without rules on the cluster nobody would have been given these.
            Self::ClusterForbidden => true,
            Self::TtlZero | Self::TtlTooLong | Self::NotForClients => kind.has_lifetime(),
            Self::DataTooLarge => kind.has_data(),
            Self::PathMalformed | Self::NameMalformed | Self::NameTooLong => kind.has_path(),
            Self::AclEmpty
            | Self::AclSenseless
            | Self::AclOfNobody
            | Self::AclTooLong
            | Self::AclWithoutAdmin => kind.has_acl(),
            Self::OtherVersion => kind.has_version(),
            Self::PageSenseless => matches!(kind, Kind::Children | Kind::ChildrenWithData),
            Self::RuleSenseless => kind != Kind::SetStance && kinds_of_rules().contains(&kind),
            Self::NothingToTakeBack => {
                matches!(kind, Kind::RevokeOnSubtree | Kind::RevokeOnCluster)
            }
            Self::LocksOut => kinds_of_rules().contains(&kind),
            Self::PaceTooHigh => kind == Kind::Quota,
            Self::ParentForbidden => has_znode && kind != Kind::Fence,
            Self::ParentMissing => {
                has_znode && kind != Kind::Fence && kind != Kind::RevokeOnSubtree
            }
            Self::ParentEphemeral => kind.creates(),
            Self::TargetMissing => has_target && !is_rule_on_subtree(kind),
            Self::TargetThere => {
                kind.creates()
                    && !kind.is_sequential()
                    && kind != Kind::CreateOrGetNew
                    && kind != Kind::SetOrCreateNew
                    || kind == Kind::CheckAbsent
            }
            Self::TargetForbidden => has_znode && kind != Kind::Fence,
            Self::TargetHasChildren => has_target && kind != Kind::Fence,
            Self::BelowForbidden => {
                matches!(kind, Kind::DeleteTree | Kind::Children | Kind::ChildrenWithData)
            }
            Self::OwnedTooMany => kind.lifetime() == LifetimeKind::Ephemeral,
            Self::RecipeMissing => matches!(
                kind,
                Kind::Call | Kind::Fence | Kind::Deploy | Kind::Rollback | Kind::Remove
            ),
            Self::VersionMissing => kind == Kind::Rollback,
            Self::NotACaller => kind == Kind::Call,
            Self::RecipeNameMalformed | Self::ManifestOverLimit | Self::ComponentMissing => {
                kind == Kind::Deploy
            }
            Self::ComponentEmpty
            | Self::ComponentTooLarge
            | Self::ChunkBeyond
            | Self::ChunkOfOtherSize
            | Self::OtherDigest => kind == Kind::Chunk,
            Self::NotProved
            | Self::IdentityExpired
            | Self::IdentityOfLists
            | Self::IdentitiesTooMany => kind == Kind::Identify,
        }
    }
}

fn kinds_of_rules() -> [Kind; 5] {
    [
        Kind::GrantOnSubtree,
        Kind::GrantOnCluster,
        Kind::RevokeOnSubtree,
        Kind::RevokeOnCluster,
        Kind::SetStance,
    ]
}

fn is_rule_on_subtree(kind: Kind) -> bool {
    matches!(kind, Kind::GrantOnSubtree | Kind::RevokeOnSubtree)
}
