//! Paths between a recipe's own tree and the service's, where `Manifest::resolve` is not enough: new names, paths on their
//! way back, and the paths that messages speak of.

use quorate_core::deployment::Manifest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::path::Path;

/// Where to create what the recipe calls `text`, as text: with a sequence number the name may be empty.
pub(crate) fn new_node(
    manifest: &Manifest,
    text: &str,
    is_sequential: bool,
) -> Result<String, Refusal> {
    match text.strip_suffix('/').filter(|_| is_sequential) {
        Some("") => Ok(with_slash(&manifest.resolve_writable("/")?)),
        Some(parent) => Ok(with_slash(&manifest.resolve_writable(parent)?)),
        // A sequence number appended to the top of a mount would make a znode beside it, which was not granted.
        None if is_sequential && is_root(manifest, text) => Err(Refusal::new(
            ErrorCode::BadArguments,
            format!("\"{text}\" is the top of a mount: its siblings are not granted"),
        )),
        None => Ok(manifest.resolve_writable(text)?.as_str().to_owned()),
    }
}

fn with_slash(parent: &Path) -> String {
    if parent.is_root() { "/".to_owned() } else { format!("{parent}/") }
}

/// What the recipe calls a znode that it created as `text`: the same parent, and the name that the znode has got.
pub(crate) fn seen_as(manifest: &Manifest, text: &str, created: &Path) -> Result<String, Refusal> {
    // A znode that is no child of the recipe's (its root, created anew) keeps its name.
    if manifest.resolve(text).is_ok_and(|(path, _)| path == *created) {
        return Ok(text.to_owned());
    }
    let parent = text.rfind('/').map_or("", |at| &text[..at]);
    Ok(format!("{parent}/{}", created.name()))
}

/// Whether this is the recipe's root, or the top of a mount: both are the deployment's, not the recipe's.
pub(crate) fn is_root(manifest: &Manifest, text: &str) -> bool {
    text == "/" || manifest.mounts.iter().any(|mount| mount.at.as_str() == text)
}

/// Refuses what would take a root away.
pub(crate) fn refuse_root(is_root: bool) -> Result<(), Refusal> {
    if is_root {
        let message = "the root and the tops of mounts can not be deleted";
        return Err(Refusal::new(ErrorCode::BadArguments, message));
    }
    Ok(())
}

/// A message of the core, with paths as the recipe knows them. Only for people: where a name looks like the root's path, it
/// is shortened too.
pub(crate) fn message(manifest: &Manifest, message: String) -> String {
    let mut message = message;
    let mounts = manifest.mounts.iter().map(|mount| (&mount.path, mount.at.as_str()));
    for (path, at) in mounts.chain([(&manifest.root, "")]) {
        if !path.is_root() && message.contains(path.as_str()) {
            message = message.replace(&format!("{path}/"), &format!("{at}/"));
            message = message.replace(path.as_str(), if at.is_empty() { "/" } else { at });
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use quorate_core::deployment::Mount;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("valid")
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::for_root(path("/recipes/lock"));
        let at = path("/config");
        manifest.mounts.push(Mount { at, path: path("/app/config"), writable: true });
        manifest
    }

    #[test]
    fn a_new_name_may_be_empty_before_its_sequence_number() {
        let manifest = manifest();
        assert_eq!(new_node(&manifest, "/q/", true), Ok("/recipes/lock/q/".to_owned()));
        assert_eq!(new_node(&manifest, "/", true), Ok("/recipes/lock/".to_owned()));
        assert_eq!(new_node(&manifest, "/config/", true), Ok("/app/config/".to_owned()));
        let refusal = new_node(&manifest, "/q/", false).expect_err("no sequence number");
        assert_eq!(refusal.code, ErrorCode::BadPath);
        let refusal = new_node(&manifest, "/config", true).expect_err("beside the mount");
        assert_eq!(refusal.code, ErrorCode::BadArguments);
        assert_eq!(new_node(&Manifest::for_root(Path::root()), "/", true), Ok("/".to_owned()));
    }

    #[test]
    fn a_created_path_is_told_as_the_recipe_sees_it() {
        let manifest = manifest();
        for (text, created, seen) in [
            ("/q/n-", "/recipes/lock/q/n-0001", "/q/n-0001"),
            ("/q/", "/recipes/lock/q/0001", "/q/0001"),
            ("/", "/recipes/lock/0001", "/0001"),
            ("/a", "/recipes/lock/a", "/a"),
            ("/config/a", "/app/config/a", "/config/a"),
            ("/config", "/app/config", "/config"),
        ] {
            assert_eq!(seen_as(&manifest, text, &path(created)), Ok(seen.to_owned()));
        }
    }

    #[test]
    fn messages_speak_of_the_recipes_paths() {
        let manifest = manifest();
        let told = |text: &str| message(&manifest, text.to_owned());
        assert_eq!(told("there is no znode /recipes/lock/a"), "there is no znode /a");
        assert_eq!(told("there is no znode /recipes/lock"), "there is no znode /");
        assert_eq!(told("there is no znode /app/config/x"), "there is no znode /config/x");
    }
}
