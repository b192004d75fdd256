//! Permissions of what is made on the disk. It does not know what that is.

/// Of files: what the tree holds is nobody else's to read.
pub(crate) const FILE_MODE: u32 = 0o600;
/// Of directories. Of those that are there already, they are their owner's to set.
pub(crate) const DIRECTORY_MODE: u32 = 0o700;
