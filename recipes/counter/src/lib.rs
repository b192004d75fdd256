//! Counters: a number in a znode, changed by one atomic transaction per call.
//! Knows arithmetic; does not know who counts what.
//!
//! The value is the znode's data, as decimal text, so that it can be read and set by hand. A counter keeps nothing beside
//! it: `/a` and `/a/b` may both be counters.

#![forbid(unsafe_code)]

use quorate_recipe::{path, tree};

quorate_recipe::recipe!(Counter);

struct Counter;

impl Guest for Counter {
    fn get(path: String) -> Result<i64, CounterError> {
        Ok(read(&path)?.unwrap_or(0))
    }

    fn add(path: String, by: i64) -> Result<i64, CounterError> {
        change(&path, |value| add(value, by))
    }

    fn add_within(path: String, by: i64, bounds: Bounds) -> Result<i64, CounterError> {
        change(&path, |value| within(value, add(value, by)?, &bounds))
    }

    fn compare_and_set(path: String, expected: i64, new: i64) -> Result<i64, CounterError> {
        change(&path, |value| match value == expected {
            true => Ok(new),
            false => Err(CounterError::Mismatch(value)),
        })
    }
}

/// The one way to write: the value as it is, what becomes of it, the value as it is then.
fn change(
    path: &str,
    new: impl FnOnce(i64) -> Result<i64, CounterError>,
) -> Result<i64, CounterError> {
    let before = read(path)?;
    let after = new(before.unwrap_or(0))?;
    let text = after.to_string();
    match before {
        Some(_) => drop(tree::set(path, text.as_bytes())?),
        None => drop(tree::create(path).parents().data(text.as_bytes())?),
    }
    Ok(after)
}

/// The value, or `None` when there is no znode.
fn read(path: &str) -> Result<Option<i64>, CounterError> {
    let Some(node) = tree::if_there(tree::get(path::thing(path)?))? else {
        return Ok(None);
    };
    parse(&node.data).map(Some)
}

/// An empty znode counts as 0: it is the parent that another counter below it has needed.
fn parse(data: &[u8]) -> Result<i64, CounterError> {
    if data.is_empty() {
        return Ok(0);
    }
    let text = String::from_utf8_lossy(data);
    text.parse().map_err(|_| CounterError::NotANumber(text.chars().take(64).collect()))
}

fn add(value: i64, by: i64) -> Result<i64, CounterError> {
    value.checked_add(by).ok_or(CounterError::Overflow(value))
}

fn within(value: i64, new: i64, bounds: &Bounds) -> Result<i64, CounterError> {
    let lowest = bounds.min.unwrap_or(i64::MIN);
    let highest = bounds.max.unwrap_or(i64::MAX);
    if (lowest..=highest).contains(&new) { Ok(new) } else { Err(CounterError::OutOfBounds(value)) }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, CounterError, add, parse, within};

    #[test]
    fn addition_stops_at_the_ends_of_64_bits() {
        assert!(matches!(add(i64::MAX, 0), Ok(i64::MAX)));
        assert!(matches!(add(i64::MAX, 1), Err(CounterError::Overflow(i64::MAX))));
        assert!(matches!(add(i64::MIN, -1), Err(CounterError::Overflow(i64::MIN))));
    }

    #[test]
    fn bounds_include_both_ends() {
        let bounds = Bounds { min: Some(0), max: Some(3) };
        assert!(matches!(within(2, 3, &bounds), Ok(3)));
        assert!(matches!(within(3, 4, &bounds), Err(CounterError::OutOfBounds(3))));
        assert!(matches!(within(0, -1, &bounds), Err(CounterError::OutOfBounds(0))));
        assert!(matches!(within(0, i64::MIN, &Bounds { min: None, max: None }), Ok(i64::MIN)));
    }

    #[test]
    fn data_is_a_whole_decimal_number_or_nothing() {
        assert!(matches!(parse(b""), Ok(0)));
        assert!(matches!(parse(b"-12"), Ok(-12)));
        for data in [&b"12 "[..], b"0x1", b"9223372036854775808", b"\xff"] {
            assert!(matches!(parse(data), Err(CounterError::NotANumber(_))));
        }
    }
}
