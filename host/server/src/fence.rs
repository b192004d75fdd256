//! A fence as text, `RECIPE:ZNODE=TOKEN`: what `quorate lock` tells its command, and flags and lines take. It does not know what
//! a fence is checked against.

use quorate_core::request::Fence;

/// The recipe that is meant where none is named.
const RECIPE: &str = "lock";

/// Reads one; without `RECIPE:` it is of the recipe `lock`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Fence, String> {
    let told = || format!("expected RECIPE:ZNODE=TOKEN, not \"{text}\"");
    let (place, token) = text.rsplit_once('=').ok_or_else(told)?;
    let (recipe, node) = match place.split_once(':') {
        Some((recipe, node)) if !recipe.contains('/') => (recipe, node),
        _ => (RECIPE, place),
    };
    if recipe.is_empty() || !node.starts_with('/') {
        return Err(told());
    }
    let token = token.parse().map_err(|_| format!("\"{token}\" is no token"))?;
    Ok(Fence { recipe: recipe.to_owned(), node: node.to_owned(), token })
}

/// Its text.
#[must_use]
pub fn show(fence: &Fence) -> String {
    format!("{}:{}={}", fence.recipe, fence.node, fence.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_comes_back() {
        let text = "election:/a:b=c/_election/w0=812";
        let fence = parse(text).expect("a fence");
        assert_eq!((&*fence.recipe, &*fence.node), ("election", "/a:b=c/_election/w0"));
        assert_eq!((fence.token, &*show(&fence)), (812, text));
        assert_eq!(parse("/a:b/w0=7").expect("a fence").recipe, RECIPE);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in ["", "lock", "lock:/a", "lock:a=7", ":/a=7", "lock:/a=", "lock:/a=-1", "7"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
