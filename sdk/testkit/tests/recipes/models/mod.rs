//! Sequential models of the recipes, as their READMEs give them, and the invariants that they promise.

mod barrier;
mod counter;
mod election;
mod group;
mod line;
mod lock;
mod queue;

use quorate_testkit::{Kit, Random};

/// None, 0, or some milliseconds.
fn timeout(random: &mut Random) -> Option<u64> {
    match random.below(6) {
        0 => Some(0),
        1 | 2 => Some(1 + random.below(3_000)),
        _ => None,
    }
}

/// An option, as WAVE text.
fn option(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("some({value})"))
}

/// Names of the children of a znode; none where there is no znode.
fn children(kit: &Kit, path: &str) -> Vec<String> {
    kit.children(path).expect("a path").unwrap_or_default()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, tree: &T, model: &T) -> Result<(), String> {
    if tree == model {
        return Ok(());
    }
    Err(format!("{what}: the tree has {tree:?}, the model {model:?}"))
}
