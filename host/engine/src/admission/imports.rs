//! Which imports a component may have. A name that is not on a list here is refused, whatever it is.

/// How an import is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportClass {
    /// By the service itself: `quorate:recipe/...`.
    Native,
    /// By an inert stand-in for an interface of WASI 0.2: `wasi:...`. It reaches nothing outside the run.
    Virtualised,
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

/// What toolchains' own libraries import. Defined in `wasi`.
const VIRTUALISED: [&str; 20] = [
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "io/error",
    "io/poll",
    "io/streams",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
    "filesystem/types",
    "filesystem/preopens",
];

/// Packages of WASI that would reach another machine.
const NETWORK: [&str; 3] = ["sockets/", "http/", "tls/"];

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
    if let Some(interface) = path.strip_prefix("wasi:") {
        return classify_wasi(name, interface, version);
    }
    Err(format!("it imports {name}, which is not offered"))
}

fn classify_wasi(name: &str, interface: &str, version: &str) -> Result<ImportClass, String> {
    let why = if NETWORK.iter().any(|package| interface.starts_with(package)) {
        "a recipe has no network, since its run is a transaction that may be abandoned; build it without"
    } else if !VIRTUALISED.contains(&interface) {
        "it is not in the inert subset of WASI that is offered; a recipe reaches nothing but its tree"
    } else if !version.strip_prefix("0.2.").is_some_and(is_number) {
        "this member offers WASI 0.2 only"
    } else {
        return Ok(ImportClass::Virtualised);
    };
    Err(format!("it imports {name}: {why}"))
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
            "env",
        ] {
            assert!(classify(refused).expect_err(refused).contains(refused));
        }
    }

    #[test]
    fn wasi_is_offered_in_one_version_and_without_a_network() {
        for path in VIRTUALISED {
            for version in ["0.2.0", "0.2.6", "0.2.12", "0.2.40"] {
                let name = format!("wasi:{path}@{version}");
                assert_eq!(classify(&name), Ok(ImportClass::Virtualised), "{name}");
            }
        }
        for (name, why) in [
            ("wasi:sockets/tcp@0.2.0", "no network"),
            ("wasi:sockets/instance-network@0.2.6", "no network"),
            ("wasi:http/types@0.2.0", "no network"),
            ("wasi:http/outgoing-handler@0.2.8", "no network"),
            ("wasi:tls/types@0.2.0-draft", "no network"),
            ("wasi:keyvalue/store@0.2.0-draft", "inert subset"),
            ("wasi:clocks/timezone@0.2.0", "inert subset"),
            ("wasi:cli/stdout@0.3.0", "WASI 0.2 only"),
            ("wasi:cli/stdout@0.2.0-rc-2023-11-10", "WASI 0.2 only"),
            ("wasi:cli/stdout", "WASI 0.2 only"),
        ] {
            let told = classify(name).expect_err(name);
            assert!(told.contains(name) && told.contains(why), "{told}");
        }
    }
}
