//! Owns the limits on values and on descriptions, and the budget that a reader or writer counts
//! down. It does not know what the nodes are that it counts.

use thiserror::Error;

/// Levels of a value or a type: a scalar has 1, `list<bool>` has 2. Reading recurses, so this
/// bounds the stack; interfaces seen in practice stay under 10.
pub const DEPTH_MAX: u32 = 32;

/// Nodes of one encoded value or of one list of arguments: each element, field and payload is one;
/// a string, a `list<u8>` and a `blob` are one each, however long. A node takes 40 bytes of memory
/// when decoded, so this is 2.5 MiB.
pub const VALUE_NODES_MAX: u32 = 65_536;

/// Nodes of one description: each type is one, and each function, parameter, field, element, case
/// and flag is one more. Bounds the work on a type whose parts are shared in the component and
/// written out here; interfaces seen in practice stay under 1,000.
pub const DESCRIPTION_NODES_MAX: u32 = 16_384;

/// Bytes of the name of a function, parameter, field, case or flag. They are printed in messages.
pub const NAME_BYTES_MAX: u32 = 128;

/// Bytes of the name of an interface, with package and version.
pub const INTERFACE_NAME_BYTES_MAX: u32 = 256;

const _: () = assert!(INTERFACE_NAME_BYTES_MAX >= NAME_BYTES_MAX);
const _: () = assert!(std::mem::size_of::<super::Value>() <= 40);

/// How deep and how large one value may be. Bytes are not limited here: whoever reads a frame has
/// limited them already.
///
/// Decoding allocates at most `nodes` times the size of a [`Value`](super::Value), plus the bytes
/// of its input once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels; see [`DEPTH_MAX`].
    pub depth: u32,
    /// Nodes; see [`VALUE_NODES_MAX`].
    pub nodes: u32,
}

impl Limits {
    /// For values. Both sides must use the same, so that nothing can be written that can not be
    /// read.
    pub const VALUE: Self = Self { depth: DEPTH_MAX, nodes: VALUE_NODES_MAX };

    /// For descriptions of types, functions and interfaces.
    pub const DESCRIPTION: Self = Self { depth: DEPTH_MAX, nodes: DESCRIPTION_NODES_MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self::VALUE
    }
}

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LimitError {
    /// More levels than allowed.
    #[error("nested deeper than the limit of {limit} levels")]
    Depth {
        /// [`Limits::depth`].
        limit: u32,
    },
    /// More nodes than allowed.
    #[error("more than the limit of {limit} nodes")]
    Nodes {
        /// [`Limits::nodes`].
        limit: u32,
    },
}

/// What is left of a [`Limits`].
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    depth_left: u32,
    nodes_left: u32,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, depth_left: limits.depth, nodes_left: limits.nodes }
    }

    pub(super) fn enter(&mut self) -> Result<(), LimitError> {
        let left = self.depth_left.checked_sub(1);
        self.depth_left = left.ok_or(LimitError::Depth { limit: self.limits.depth })?;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth_left = self.limits.depth.min(self.depth_left.saturating_add(1));
    }

    /// Charged before the nodes are allocated, so that the sum of all allocations stays under the
    /// limit.
    pub(super) fn charge(&mut self, nodes: u64) -> Result<(), LimitError> {
        let left = u64::from(self.nodes_left).checked_sub(nodes);
        let left = left.and_then(|left| u32::try_from(left).ok());
        self.nodes_left = left.ok_or(LimitError::Nodes { limit: self.limits.nodes })?;
        Ok(())
    }
}
