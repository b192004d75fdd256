//! Which features this version knows. A feature that changes what members write, or say to each other, is used only when all
//! members know it. It does not know what the features are used for.

/// The highest feature level that this version knows.
///
/// 1: the first version.
pub const LEVEL: u32 = 1;
