//! Which imports a component may have. A name that is not on a list here is refused, whatever it is.

/// How an import is served. Inert stand-ins for a subset of WASI will be another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportClass {
    /// By the service itself: `quorate:recipe/...`.
    Native,
}

/// An import of an admitted component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// With package and version: `quorate:recipe/tree@0.1.0`.
    pub name: String,
    /// How it is served.
    pub class: ImportClass,
}

const NATIVE: [&str; 6] = ["types", "tree", "call", "wait", "blobs", "log"];

/// How an import would be served.
///
/// # Errors
/// A sentence that names the import, for all that is not offered.
pub(crate) fn classify(name: &str) -> Result<ImportClass, String> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    if let Some(interface) = path.strip_prefix("quorate:recipe/") {
        let is_spoken = version.strip_prefix("0.1.").is_some_and(is_number);
        if NATIVE.contains(&interface) && is_spoken {
            return Ok(ImportClass::Native);
        }
        return Err(format!("it imports {name}: this member offers quorate:recipe@0.1.0"));
    }
    if path.starts_with("wasi:") {
        return Err(format!(
            "it imports {name}: WASI is not offered; a recipe reaches nothing but its tree"
        ));
    }
    Err(format!("it imports {name}, which is not offered"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_interfaces_of_a_known_version_are_native() {
        assert_eq!(classify("quorate:recipe/tree@0.1.0"), Ok(ImportClass::Native));
        assert_eq!(classify("quorate:recipe/wait@0.1.7"), Ok(ImportClass::Native));
        for refused in [
            "quorate:recipe/tree@0.2.0",
            "quorate:recipe/tree",
            "quorate:recipe/files@0.1.0",
            "quorate:recipe/tree@0.1.x",
            "wasi:filesystem/types@0.2.6",
            "wasi:sockets/tcp@0.2.0",
            "env",
        ] {
            assert!(classify(refused).expect_err(refused).contains(refused));
        }
    }
}
