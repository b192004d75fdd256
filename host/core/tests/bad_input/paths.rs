//! Texts that are no path, and what is told of them.

use quorate_core::error::ErrorCode;
use quorate_core::limits;

use super::kinds::{Kind, Variant, variant_of};
use super::rows::{DONE, rows};

/// Where in the path it is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In what would be the parent's path.
    Parent,
    /// In the last element, or in the whole.
    Name,
    /// It is the root: a path, but not for everything.
    Root,
    /// A `/` at the end: an empty name, to which a number may be appended.
    EmptyName,
}

/// A path that is bad.
pub struct Bad {
    pub what: String,
    pub text: String,
    pub place: Place,
    pub code: ErrorCode,
}

/// All that can be wrong with a path. In these a parent that is a path is there: `/p`.
pub fn all() -> Vec<Bad> {
    let long = format!("/p/{}", "x".repeat(limits::PATH_BYTES_MAX));
    let long_parent = format!("/{}/t", "x".repeat(limits::PATH_BYTES_MAX + 1));
    let deep_parent = "/x".repeat(limits::PATH_DEPTH_MAX + 2);
    let (bad, limit) = (ErrorCode::BadPath, ErrorCode::LimitPassed);
    let mut all: Vec<Bad> = [
        ("empty", "", Place::Parent, bad),
        ("relative", "t", Place::Parent, bad),
        ("relative, with a parent", "p/t", Place::Parent, bad),
        ("two slashes", "//", Place::Parent, bad),
        ("two slashes at the beginning", "//t", Place::Parent, bad),
        ("two slashes inside", "/p//t", Place::Parent, bad),
        ("two slashes at the end", "/p//", Place::Parent, bad),
        ("a slash at the end", "/p/", Place::EmptyName, bad),
        ("a dot", "/.", Place::Name, bad),
        ("a dot at the end", "/p/.", Place::Name, bad),
        ("two dots at the end", "/p/..", Place::Name, bad),
        ("a dot inside", "/p/./t", Place::Parent, bad),
        ("two dots inside", "/p/../t", Place::Parent, bad),
        ("too long", long.as_str(), Place::Name, limit),
        ("a parent too long", long_parent.as_str(), Place::Parent, limit),
        ("a parent too deep", deep_parent.as_str(), Place::Parent, limit),
        ("the root", "/", Place::Root, bad),
    ]
    .map(|(what, text, place, code)| Bad {
        what: what.to_owned(),
        text: text.to_owned(),
        place,
        code,
    })
    .into();
    // Both ends of each range that ZooKeeper forbids. UTF-8 has no surrogates: what ZooKeeper sees as two is above U+FFFF here.
    let forbidden = [
        '\0',
        '\u{1}',
        '\t',
        '\n',
        '\u{1f}',
        '\u{7f}',
        '\u{9f}',
        '\u{e000}',
        '\u{f8ff}',
        '\u{fff0}',
        '\u{ffff}',
        '\u{10000}',
        '\u{1f600}',
        '\u{10ffff}',
    ];
    for one in forbidden {
        // ZooKeeper looks for NUL in the whole path before it looks for the parent.
        let in_name = if one == '\0' { Place::Parent } else { Place::Name };
        for (text, place) in
            [(format!("/p/t{one}"), in_name), (format!("/p{one}/t"), Place::Parent)]
        {
            let what = format!("U+{:04X} in {place:?}", u32::from(one));
            all.push(Bad { what, text, place, code: bad });
        }
    }
    all
}

/// What is told of it.
pub fn expected(kind: Kind, bad: &Bad) -> Option<ErrorCode> {
    match bad.place {
        Place::Root => of_root(kind),
        // With a number it is one: `/p/0000000000`. Dots are names then, too.
        Place::EmptyName if kind.is_sequential() => DONE,
        Place::Name if kind.is_sequential() && bad.text.ends_with('.') => DONE,
        _ => Some(bad.code),
    }
}

fn of_root(kind: Kind) -> Option<ErrorCode> {
    match variant_of(kind) {
        Variant::Create if kind.is_sequential() => DONE,
        Variant::Create => Some(ErrorCode::NodeExists),
        Variant::CheckAbsent => Some(ErrorCode::NodeExists),
        Variant::Delete | Variant::DeleteTree => Some(ErrorCode::BadArguments),
        // Nobody holds the root of a recipe.
        Variant::Fence => Some(ErrorCode::Fenced),
        _ => {
            assert!(!rows(kind).is_empty());
            DONE
        }
    }
}
