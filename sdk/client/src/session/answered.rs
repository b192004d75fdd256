//! Which writes of the session have been answered, as acknowledgements say it. It does not know the answers.

use std::collections::BTreeMap;

use quorate_core::ids::WriteNumber;
use quorate_core::limits;
use quorate_core::session::Acks;

/// A set of write numbers that grows from below: everything up to a mark, and ranges above it.
#[derive(Debug, Default)]
pub(super) struct Answered {
    low: u64,
    // First and last number of each range; apart from each other and from `low`.
    ranges: BTreeMap<u64, u64>,
}

impl Answered {
    /// Everything up to and including this number.
    pub(super) fn up_to(low: u64) -> Self {
        Self { low, ranges: BTreeMap::new() }
    }

    /// Adds a number.
    pub(super) fn add(&mut self, number: u64) {
        if number <= self.low {
            return;
        }
        let before = self.ranges.range(..=number).next_back().map(|(from, to)| (*from, *to));
        if before.is_some_and(|(_, to)| number <= to) {
            return;
        }
        let from = match before {
            Some((from, to)) if to + 1 == number => from,
            _ => number,
        };
        let to = self.ranges.remove(&(number + 1)).unwrap_or(number);
        if from == self.low + 1 {
            self.low = to;
        } else {
            self.ranges.insert(from, to);
        }
    }

    /// What rides on the next write. Ranges beyond the limit are left for a later one: to acknowledge less is always safe.
    pub(super) fn acks(&self) -> Acks {
        let ranges = self.ranges.iter().take(limits::ACK_RANGES_MAX);
        Acks {
            low: WriteNumber(self.low),
            ranges: ranges.map(|(from, to)| (WriteNumber(*from), WriteNumber(*to))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acknowledgements_name_exactly_what_was_added(
            numbers in prop::collection::vec(1_u64..60, 0..80),
        ) {
            let mut answered = Answered::default();
            let mut model = BTreeSet::new();
            for number in numbers {
                answered.add(number);
                model.insert(number);
                let acks = answered.acks();
                let mut named: BTreeSet<u64> = (1..=acks.low.0).collect();
                let mut end = acks.low.0;
                for (from, to) in acks.ranges {
                    prop_assert!(from.0 > end + 1 && from <= to, "ascending and apart");
                    named.extend(from.0..=to.0);
                    end = to.0;
                }
                prop_assert_eq!(&named, &model);
            }
        }
    }
}
