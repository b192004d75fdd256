//! Who may do what: identities and the patterns that name them, permissions, the access list of a znode, rules on subtrees,
//! recipes and the cluster, and the one function that puts them together. How somebody comes to an identity is not known here.

mod acl;
pub mod ask;
pub mod check;
mod identity;
mod permissions;
mod rules;

pub use self::acl::{Acl, AclEntry};
pub use self::check::{Asker, may_see};
pub use self::identity::{Held, Identity, Scheme};
pub use self::permissions::Permissions;
pub use self::rules::{AccessChange, Object, Rule, Rules, Stance, Summary};
