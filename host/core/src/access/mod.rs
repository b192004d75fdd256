//! Who may do what: identities and the patterns that name them, permissions, and the access list of a znode. How somebody
//! comes to an identity is not known here.

mod acl;
mod identity;
mod permissions;

pub use self::acl::{Acl, AclEntry};
pub use self::identity::{Held, Identity, Scheme};
pub use self::permissions::Permissions;
