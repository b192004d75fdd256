//! Whether a component may run here, as far as its bytes tell: sizes, structure, imports. The rest is told by its type, once
//! it is compiled.

mod imports;
mod walk;

pub use imports::{Import, ImportClass};
use quorate_core::error::{ErrorCode, Refusal};

/// Imports that a refusal names beside the first.
const REFUSED_SHOWN_MAX: usize = 16;

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
    let mut imports = Vec::with_capacity(names.len());
    let mut others = Vec::new();
    for name in names {
        match imports::classify(&name) {
            Ok(class) => imports.push(Import { name, class }),
            Err(why) => others.push((name, why)),
        }
    }
    let Some((_, first)) = others.first() else { return Ok(imports) };
    let shown = others.iter().skip(1).take(REFUSED_SHOWN_MAX).map(|(name, _)| name.as_str());
    let shown: Vec<&str> = shown.collect();
    Err(refused(match shown.as_slice() {
        [] => first.clone(),
        shown => format!(
            "{first}; {} others that are not offered: {}",
            others.len() - 1,
            shown.join(", ")
        ),
    }))
}
