//! The counter: exact, and within bounds.

use std::collections::BTreeMap;

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::same;
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/n", "/n/m", "/o"];

#[test]
fn counter() {
    history::run::<Counter>();
}

struct Counter {
    /// Those that have been written.
    values: BTreeMap<&'static str, i64>,
}

struct Op {
    path: &'static str,
    what: What,
}

enum What {
    Get,
    Add(i64),
    AddWithin(i64, i64, i64),
    CompareAndSet(i64, i64),
}

impl Model for Counter {
    const RECIPE: &'static str = "counter";
    type Op = Op;

    fn new() -> Self {
        Self { values: BTreeMap::new() }
    }

    fn choose(&self, random: &mut Random, _session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        let value = self.values.get(path).copied().unwrap_or(0);
        let what = match random.below(6) {
            0 => What::Get,
            1 => What::AddWithin(small(random), value.saturating_add(small(random)), i64::MAX),
            2 => What::AddWithin(small(random), i64::MIN, value.saturating_add(small(random))),
            3 => What::CompareAndSet(value.saturating_add(small(random) / 20), large(random)),
            4 => What::Add(large(random)),
            _ => What::Add(small(random)),
        };
        Op { path, what }
    }

    fn text(Op { path, what }: &Op) -> (&'static str, String) {
        match what {
            What::Get => ("get", format!("\"{path}\"")),
            What::Add(by) => ("add", format!("\"{path}\" {by}")),
            What::AddWithin(by, min, max) => {
                ("add-within", format!("\"{path}\" {by} {{min: {min}, max: {max}}}"))
            }
            What::CompareAndSet(expected, new) => {
                ("compare-and-set", format!("\"{path}\" {expected} {new}"))
            }
        }
    }

    fn called(&mut self, Op { path, what }: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let value = self.values.get(path).copied().unwrap_or(0);
        let overflow = || format!("overflow({value})");
        let new = match what {
            What::Get => {
                facts.ends(by, format!("ok({value})"));
                return;
            }
            What::Add(by) => value.checked_add(by).ok_or_else(overflow),
            What::AddWithin(by, min, max) => match value.checked_add(by) {
                None => Err(overflow()),
                Some(sum) if sum < min || sum > max => Err(format!("out-of-bounds({value})")),
                Some(sum) => Ok(sum),
            },
            What::CompareAndSet(expected, new) if expected == value => Ok(new),
            What::CompareAndSet(..) => Err(format!("mismatch({value})")),
        };
        match new {
            Ok(new) => {
                self.values.insert(path, new);
                facts.ends(by, format!("ok({new})"));
            }
            Err(error) => facts.ends(by, format!("err({error})")),
        }
    }

    fn given_up(&mut self, call: CallHandle, _why: &'static str, _facts: &mut Facts<'_>) {
        panic!("{call} waits, and no call of the counter does");
    }

    fn session_ended(&mut self, _session: SessionId, _zxid: u64, _facts: &mut Facts<'_>) {}

    /// The value is the znode's data, in decimal.
    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.values.iter().try_for_each(|(path, value)| {
            let data = kit.data(path).expect("a path").unwrap_or_default();
            same(path, &String::from_utf8_lossy(&data).into_owned(), &value.to_string())
        })
    }
}

/// From -20 to 20.
fn small(random: &mut Random) -> i64 {
    i64::try_from(random.below(41)).expect("below 41") - 20
}

/// Any; close to the ends more often than not.
fn large(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => i64::MAX - small(random).abs(),
        1 => i64::MIN + small(random).abs(),
        _ => random.next_number().cast_signed(),
    }
}
