//! What a transaction did, one step each. A change carries all that its event needs; the records that it rewrites follow
//! from it and from the tree (`apply`).

use bytes::Bytes;

use crate::access::{Acl, Held, Object, Rules, Stance};
use crate::deployment::{ComponentDigest, Version};
use crate::ids::{SessionId, Zxid};
use crate::level::Level;
use crate::limits;
use crate::path::Path;
use crate::quota::Quota;
use crate::session::End;
use crate::znode::{Lifetime, Node};

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A znode came into being.
    NodeCreated {
        /// Its final path, sequence number included.
        path: Path,
        /// Its data.
        data: Bytes,
        /// How long it lives.
        lifetime: Lifetime,
        /// Its own access list.
        acl: Option<Acl>,
    },
    /// A znode's data was set.
    DataSet {
        /// Which.
        path: Path,
        /// The new data.
        data: Bytes,
        /// Its data version from now on.
        version: u64,
        /// The transaction that set the data before: whoever retains that has it. 0: nothing was ever set there.
        previous: Zxid,
        /// Its own access list at that time: who may read the event is asked when the znode may be gone.
        acl: Option<Acl>,
    },
    /// A znode without children was deleted.
    NodeDeleted {
        /// Which.
        path: Path,
        /// Its last data version.
        version: u64,
        /// The transaction that set its last data.
        previous: Zxid,
        /// Its own access list at that time.
        acl: Option<Acl>,
    },
    /// A call-owned znode became an ephemeral one of the same session.
    NodeReleased {
        /// Which.
        path: Path,
    },
    /// A session was opened. Its id is the transaction's zxid.
    SessionOpened {
        /// Milliseconds.
        timeout_ms: u64,
        /// SHA-256 of its secret.
        secret_hash: [u8; 32],
        /// Who opened it.
        principal: String,
        /// What it is known as, ascending.
        identities: Vec<Held>,
    },
    /// A session ended. Its znodes were deleted by changes before this one; its parked calls go with it.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// How.
        end: End,
    },
    /// An ended session's last replies were dropped.
    SessionForgotten {
        /// Which.
        session: SessionId,
    },
    /// A session uploads this component from now on.
    UploadBegan {
        /// Who.
        session: SessionId,
        /// What.
        component: ComponentDigest,
    },
    /// A session does not upload this component any more: it has deployed it, or has ended. The component goes, unless a
    /// version names it or another session uploads it.
    UploadEnded {
        /// Who.
        session: SessionId,
        /// What.
        component: ComponentDigest,
    },
    /// A piece of a component was stored.
    ChunkStored {
        /// The component.
        component: ComponentDigest,
        /// Position of the chunk.
        index: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// All pieces of a component are there. No version names it yet.
    ComponentStored {
        /// The component.
        component: ComponentDigest,
        /// Its size.
        bytes: u64,
        /// Its chunks.
        chunks: u32,
    },
    /// A version of a recipe was made.
    VersionMade {
        /// The recipe.
        recipe: String,
        /// The version.
        version: Box<Version>,
    },
    /// The oldest inactive version of a recipe was forgotten, to make room for another; its component goes with it, unless
    /// another version names it or a session uploads it.
    VersionDropped {
        /// The recipe.
        recipe: String,
        /// The version.
        version: u64,
    },
    /// A recipe points at this version now.
    RecipeActivated {
        /// The recipe.
        recipe: String,
        /// The version.
        version: u64,
    },
    /// A recipe points at no version now.
    RecipeRemoved {
        /// The recipe.
        recipe: String,
    },
    /// A subtree has another quota from now on, or none.
    QuotaSet {
        /// Its top, which need not be there.
        path: Path,
        /// What may be in it.
        quota: Option<Quota>,
    },
    /// Every member knows this feature level, which is above the one before. The last change of its entry: what uses a
    /// feature of the level comes in later ones, which a member of an older version is not to read.
    LevelRaised {
        /// The level of the cluster from now on.
        level: Level,
    },
    /// A session is known as somebody more, or until another time. What it was known as until before now is forgotten.
    IdentityAdded {
        /// Which.
        session: SessionId,
        /// As whom, and until when.
        held: Held,
    },
    /// A znode's own access list was set, or taken away.
    AclSet {
        /// Which.
        path: Path,
        /// The new one; none if rules decide from now on.
        acl: Option<Acl>,
    },
    /// These are the rules on an object now; none are left if it is empty.
    RulesSet {
        /// On what.
        object: Object,
        /// All of them.
        rules: Rules,
    },
    /// This holds from now on where neither lists nor rules say anything.
    StanceSet {
        /// What.
        stance: Stance,
    },
}

impl Change {
    /// The data of a znode is set that was this until now.
    #[must_use]
    pub fn data_set(path: Path, data: Bytes, before: &Node) -> Self {
        let (version, previous) = (before.version + 1, before.mzxid);
        Self::DataSet { path, data, version, previous, acl: before.acl.clone() }
    }

    /// A znode is deleted that was this until now.
    #[must_use]
    pub fn node_deleted(path: Path, before: &Node) -> Self {
        let (version, previous) = (before.version, before.mzxid);
        Self::NodeDeleted { path, version, previous, acl: before.acl.clone() }
    }

    /// What limits of bytes count: never less than the bytes that it takes in the log.
    #[must_use]
    pub fn weight(&self) -> usize {
        limits::CHANGE_HEAD_BYTES_MAX
            + match self {
                Self::NodeCreated { path, data, acl, .. }
                | Self::DataSet { path, data, acl, .. } => {
                    path.as_str().len() + data.len() + acl.as_ref().map_or(0, Acl::bytes_max)
                }
                Self::NodeDeleted { path, acl, .. } | Self::AclSet { path, acl } => {
                    path.as_str().len() + acl.as_ref().map_or(0, Acl::bytes_max)
                }
                Self::NodeReleased { path } => path.as_str().len(),
                Self::RulesSet { object, rules } => {
                    object.kind_and_name().1.len() + rules.bytes_max()
                }
                Self::StanceSet { .. } => 1,
                Self::SessionOpened { principal, identities, .. } => {
                    40 + principal.len() + identities.iter().map(Held::bytes_max).sum::<usize>()
                }
                Self::IdentityAdded { held, .. } => 10 + held.bytes_max(),
                Self::SessionEnded { .. }
                | Self::SessionForgotten { .. }
                | Self::LevelRaised { .. } => 8,
                Self::QuotaSet { path, .. } => path.as_str().len() + limits::QUOTA_BYTES_MAX,
                Self::UploadBegan { .. } | Self::UploadEnded { .. } => 40,
                Self::ChunkStored { bytes, .. } => 40 + bytes.len(),
                Self::ComponentStored { .. } => 44,
                Self::VersionMade { recipe, version } => recipe.len() + version.encode().len(),
                Self::VersionDropped { recipe, .. }
                | Self::RecipeActivated { recipe, .. }
                | Self::RecipeRemoved { recipe } => 8 + recipe.len(),
            }
    }
}
