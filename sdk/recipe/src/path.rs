//! Paths that a recipe makes out of its callers' paths and names.
//! Knows how they are put together; whether the result is a good path is for the host to say.
//!
//! A caller's path names a thing: a lock, a queue. Things nest: `/a` and `/a/b` may both be locks. What a recipe keeps for a
//! thing therefore stands under a child whose name starts with `_`, and no caller may use such a name.

use crate::{Error, ErrorCode};

/// The znode under a caller's `path` where the recipe keeps what is its own, named `name`, by custom `_something`.
///
/// ```
/// use quorate_recipe::path;
/// assert_eq!(path::own("/deploys/web", "_lock").as_deref(), Ok("/deploys/web/_lock"));
/// assert_eq!(path::own("/", "_lock").as_deref(), Ok("/_lock"));
/// assert!(path::own("/deploys/_lock", "_lock").is_err());
/// ```
///
/// # Errors
/// `bad-path`: the caller's path is not absolute, or an element of it starts with `_`.
pub fn own(path: &str, name: &str) -> Result<String, Error> {
    thing(path)?;
    Ok(if path == "/" { format!("/{name}") } else { format!("{path}/{name}") })
}

/// The caller's path, if it may name a thing of a recipe.
///
/// ```
/// use quorate_recipe::path;
/// assert_eq!(path::thing("/hits"), Ok("/hits"));
/// assert!(path::thing("hits").is_err());
/// ```
///
/// # Errors
/// `bad-path`: it is not absolute, or an element of it starts with `_`.
pub fn thing(path: &str) -> Result<&str, Error> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Error::new(ErrorCode::BadPath, format!("`{path}` does not start with /")));
    };
    match rest.split('/').find(|element| element.starts_with('_')) {
        None => Ok(path),
        Some(element) => {
            let message =
                format!("`{path}`: names with a leading _ (`{element}`) are the recipe's");
            Err(Error::new(ErrorCode::BadPath, message))
        }
    }
}

/// The child of `parent` with a name that a caller gave.
///
/// ```
/// use quorate_recipe::path;
/// assert_eq!(path::child("/servers/_members", "web-1").as_deref(), Ok("/servers/_members/web-1"));
/// assert_eq!(path::child("/", "web-1").as_deref(), Ok("/web-1"));
/// assert!(path::child("/servers", "a/b").is_err());
/// ```
///
/// # Errors
/// `bad-path`: the name is empty or has a `/` in it.
pub fn child(parent: &str, name: &str) -> Result<String, Error> {
    if name.is_empty() || name.contains('/') {
        let message = format!("`{name}` is no name of a single znode");
        return Err(Error::new(ErrorCode::BadPath, message));
    }
    let parent = parent.strip_suffix('/').unwrap_or(parent);
    Ok(format!("{parent}/{name}"))
}

/// The last element of a path: the name of the znode under its parent.
///
/// ```
/// assert_eq!(quorate_recipe::path::name("/a/_lock/w0000000000000000007"), "w0000000000000000007");
/// ```
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
