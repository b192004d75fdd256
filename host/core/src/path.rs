//! Paths of znodes: parsed once, valid ever after. The rules are ZooKeeper's (reference: its PathUtils), plus our limits.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{ErrorCode, Refusal};
use crate::limits;

/// An absolute, normal path. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// `/`, the only path without a parent.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from("/"))
    }

    /// Parses an absolute path.
    ///
    /// # Errors
    /// `bad-path` if it does not start with `/`, ends with `/`, has an empty, `.` or `..` element or a forbidden
    /// character; `limit` if it is too long or too deep.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > limits::PATH_BYTES_MAX {
            return Err(Refusal::limit(
                "bytes of a path",
                text.len() as u64,
                limits::PATH_BYTES_MAX as u64,
            ));
        }
        if text == "/" {
            return Ok(Self::root());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(bad(text, "it does not start with /"));
        };
        let mut depth = 0;
        for element in rest.split('/') {
            match element {
                "" => return Err(bad(text, "it has an empty element")),
                "." | ".." => return Err(bad(text, "an element is . or ..")),
                _ => depth += 1,
            }
        }
        if let Some(forbidden) = rest.chars().find(|&c| is_forbidden(c)) {
            return Err(bad(
                text,
                &format!("it has the forbidden character U+{:04X}", u32::from(forbidden)),
            ));
        }
        if depth > limits::PATH_DEPTH_MAX {
            return Err(Refusal::limit(
                "elements of a path",
                depth as u64,
                limits::PATH_DEPTH_MAX as u64,
            ));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Number of elements; 0 for the root.
    #[must_use]
    pub fn depth(&self) -> u16 {
        if self.is_root() {
            return 0;
        }
        let slashes = self.0.bytes().filter(|&byte| byte == b'/').count();
        u16::try_from(slashes).expect("a parsed path has at most PATH_DEPTH_MAX elements")
    }

    /// The path one element up; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.rfind('/') {
            Some(0) | None => Some(Self::root()),
            Some(at) => Some(Self(Arc::from(&self.0[..at]))),
        }
    }

    /// The last element; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rfind('/').map_or("", |at| &self.0[at + 1..])
    }

    /// The path of a child.
    ///
    /// # Errors
    /// As [`Path::parse`], for a name that makes no valid path.
    pub fn child(&self, name: &str) -> Result<Self, Refusal> {
        if name.contains('/') {
            return Err(bad(name, "a name has no /"));
        }
        if self.is_root() {
            Self::parse(&format!("/{name}"))
        } else {
            Self::parse(&format!("{self}/{name}"))
        }
    }

    /// Whether `self` is `other` or an ancestor of it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.is_root()
            || other
                .0
                .strip_prefix(&*self.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This path as seen under `root`: `/a` below `/recipes/lock` is `/recipes/lock/a`.
    ///
    /// # Errors
    /// `limit`, if the whole is too long or too deep.
    pub fn below(&self, root: &Self) -> Result<Self, Refusal> {
        match (root.is_root(), self.is_root()) {
            (true, _) => Ok(self.clone()),
            (_, true) => Ok(root.clone()),
            _ => Self::parse(&format!("{root}{self}")),
        }
    }

    /// The inverse of [`Path::below`]: none if this path is not under `root`.
    #[must_use]
    pub fn relative_to(&self, root: &Self) -> Option<Self> {
        if root.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&*root.0)?;
        match rest {
            "" => Some(Self::root()),
            _ if rest.starts_with('/') => Some(Self(Arc::from(rest))),
            _ => None,
        }
    }
}

/// ZooKeeper's forbidden ranges (its `PathUtils.validatePath`). It looks at UTF-16 and forbids surrogates: so no character
/// above U+FFFF is left.
fn is_forbidden(c: char) -> bool {
    matches!(u32::from(c), 0x00..=0x1f | 0x7f..=0x9f | 0xe000..=0xf8ff | 0xfff0..)
}

fn bad(text: &str, why: &str) -> Refusal {
    let shown: String = text.chars().take(128).flat_map(char::escape_default).collect();
    Refusal::new(ErrorCode::BadPath, format!("\"{shown}\": {why}"))
}

/// Maps with paths as keys are asked by text: they order and hash alike.
impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths_parse_and_know_their_parts() {
        let path = Path::parse("/a/b c/ü").expect("valid");
        assert_eq!(path.name(), "ü");
        assert_eq!(path.depth(), 3);
        assert_eq!(path.parent().map(|p| p.to_string()), Some("/a/b c".to_owned()));
        assert_eq!(Path::root().parent(), None);
        assert_eq!(Path::root().depth(), 0);
        assert_eq!(Path::parse("/a").expect("valid").parent(), Some(Path::root()));
    }

    #[test]
    fn bad_paths_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "does not start"),
            ("a", "does not start"),
            ("/a/", "empty element"),
            ("//a", "empty element"),
            ("/a/./b", ". or .."),
            ("/..", ". or .."),
            ("/a\u{0}", "U+0000"),
            ("/a\u{7f}", "U+007F"),
            ("/a\u{e000}", "U+E000"),
            ("/a\u{ffff}", "U+FFFF"),
            ("/a\u{10000}", "U+10000"),
        ] {
            let refusal = Path::parse(text).expect_err(text);
            assert_eq!(refusal.code, ErrorCode::BadPath, "{text:?}");
            assert!(refusal.message.contains(why), "{text:?}: {refusal}");
        }
        let long = format!("/{}", "x".repeat(limits::PATH_BYTES_MAX));
        assert_eq!(Path::parse(&long).expect_err("too long").code, ErrorCode::LimitPassed);
        let deep = "/x".repeat(limits::PATH_DEPTH_MAX + 1);
        assert_eq!(Path::parse(&deep).expect_err("too deep").code, ErrorCode::LimitPassed);
    }

    #[test]
    fn covering_is_by_element_and_not_by_letter() {
        let a = Path::parse("/a").expect("valid");
        assert!(a.covers(&Path::parse("/a/b").expect("valid")));
        assert!(a.covers(&a));
        assert!(!a.covers(&Path::parse("/ab").expect("valid")));
        assert!(Path::root().covers(&a));
    }

    #[test]
    fn below_and_relative_are_inverse() {
        let root = Path::parse("/recipes/lock").expect("valid");
        let inner = Path::parse("/a/b").expect("valid");
        let whole = inner.below(&root).expect("valid");
        assert_eq!(whole.as_str(), "/recipes/lock/a/b");
        assert_eq!(whole.relative_to(&root), Some(inner));
        assert_eq!(root.relative_to(&root), Some(Path::root()));
        assert_eq!(Path::parse("/recipes/locks").expect("valid").relative_to(&root), None);
    }
}
