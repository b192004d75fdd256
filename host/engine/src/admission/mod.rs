//! Whether a component may run here, as far as its bytes tell: sizes, structure, imports. The rest is told by its type, once
//! it is compiled.

mod imports;
mod walk;

pub use imports::{Import, ImportClass};
use quorate_core::error::{ErrorCode, Refusal};

/// Why a component is not admitted.
pub(crate) fn refused(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::NotAdmitted, format!("the component is not admitted: {why}"))
}

/// What a component imports.
///
/// # Errors
/// `not-admitted`; the message names the import, or the limit and the value.
pub(crate) fn admit(bytes: &[u8], bytes_max: u64) -> Result<Vec<Import>, Refusal> {
    let size = bytes.len() as u64;
    if size > bytes_max {
        let message = format!("bytes of a component: {size} is over the limit of {bytes_max}");
        return Err(refused(message));
    }
    let names = walk::walk(bytes).map_err(refused)?;
    let imports = names.into_iter().map(|name| {
        let class = imports::classify(&name).map_err(refused)?;
        Ok(Import { name, class })
    });
    imports.collect()
}
