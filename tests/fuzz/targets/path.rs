//! Paths, from clients and guests: two texts with a 0 byte between them. Knows that a path is its text, and how paths relate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::deployment::check_name;
use quorate_core::key;
use quorate_core::path::Path;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, other) = text.split_once('\0').unwrap_or((text, "/"));
    let _either = check_name(one).is_ok();
    let Ok(path) = Path::parse(one) else { return };
    assert_eq!(path.as_str(), one);
    assert_eq!(usize::from(path.depth()), one.split('/').filter(|name| !name.is_empty()).count());
    if let Some(parent) = path.parent() {
        assert!(parent.covers(&path) && !path.covers(&parent));
        assert_eq!(parent.child(path.name()).as_ref(), Ok(&path));
        let (from, to) = key::children(&parent);
        let key = key::node(&path);
        assert!(from <= key && key < to);
        assert_eq!(key::child_name(&key), Some(path.name()));
    }
    let _any_name = key::child_slot(&path, other);
    let Ok(root) = Path::parse(other) else { return };
    if let Ok(below) = path.below(&root) {
        assert!(root.covers(&below));
        assert_eq!(below.relative_to(&root), Some(path.clone()));
    }
    assert_eq!(path.relative_to(&root).is_some(), root.covers(&path));
});
