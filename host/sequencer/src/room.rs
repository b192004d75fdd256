//! How full the disks are, and whether growing writes are taken: refused below one threshold, taken again above a higher
//! one, so that a disk that is just full does not make the answer flicker. What counts as growth is the core's.
//!
//! With one member its own disk decides. In a cluster each member's report comes to the leader, which is short of room while the
//! voters that have some are no majority: a follower can not refuse an entry, it can only stop.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::room::{MEMBERS_NAMED_MAX, Room};

/// What a member keeps free for reads, deletions, the ends of sessions and its own tidying up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// Growing writes are refused while less is free.
    pub refused_below_bytes: u64,
    /// They are taken again when as much is free. At least the other one.
    pub taken_from_bytes: u64,
}

impl Reserve {
    /// A reserve of so many bytes; growing writes are taken again when a quarter more is free. None for 0: the disk is
    /// then used to its end, and the member stops there.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { refused_below_bytes: bytes, taken_from_bytes: bytes.saturating_add(bytes / 4) }
    }
}

/// Milliseconds for which a member's word counts; and for which a new leader takes those for well that have not been heard:
/// members say how they are once a second.
pub const REPORT_MS_MAX: u64 = 10_000;

/// One member's disk, as it was reported last.
#[derive(Debug, Default)]
struct Disk {
    is_short: bool,
    free_bytes: u64,
    needed_bytes: u64,
    reported_ms: u64,
}

impl Disk {
    fn report(&mut self, free_bytes: u64, reserve: Reserve, now_ms: u64) {
        let Reserve { refused_below_bytes, taken_from_bytes } = reserve;
        let needed_bytes = taken_from_bytes.max(refused_below_bytes);
        let wanted_bytes = if self.is_short { needed_bytes } else { refused_below_bytes };
        let is_short = free_bytes < wanted_bytes;
        *self = Self { is_short, free_bytes, needed_bytes, reported_ms: now_ms };
    }
}

/// What the leader knows of the disks.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    disks: BTreeMap<u64, Disk>,
    voters: BTreeSet<u64>,
    /// Since when this member leads. Others report to the leader alone: who does not lead knows of its own disk only, and has
    /// nothing to refuse.
    led_ms: Option<u64>,
    room: Room,
}

impl Disks {
    /// This member leads from now on: what it has not heard of the others it will hear soon. Gives the room, if it has
    /// changed.
    pub(crate) fn lead(&mut self, now_ms: u64) -> Option<Room> {
        self.led_ms = Some(now_ms);
        self.settle(now_ms)
    }

    /// This member leads no more.
    pub(crate) fn follow(&mut self) {
        self.led_ms = None;
    }

    /// These members vote. While nobody is known to, all that have reported count.
    pub(crate) fn set_voters(&mut self, voters: BTreeSet<u64>) {
        self.disks.retain(|member, _| voters.is_empty() || voters.contains(member));
        self.voters = voters;
    }

    /// Takes a member's report. Gives the room, if it has changed.
    pub(crate) fn report(
        &mut self,
        member: u64,
        free_bytes: u64,
        reserve: Reserve,
        now_ms: u64,
    ) -> Option<Room> {
        if self.voters.is_empty() || self.voters.contains(&member) {
            self.disks.entry(member).or_default().report(free_bytes, reserve, now_ms);
        }
        self.settle(now_ms)
    }

    fn settle(&mut self, now_ms: u64) -> Option<Room> {
        let led_ms = self.led_ms?;
        let room = self.room_at(led_ms, now_ms);
        let before = std::mem::replace(&mut self.room, room);
        match (before, room) {
            (Room::Enough, Room::Short { free_bytes, needed_bytes, members }) => tracing::warn!(
                ?members,
                free_bytes,
                needed_bytes,
                "too few disks have room: growing writes are refused; make room there, or delete znodes"
            ),
            (Room::Short { .. }, Room::Enough) => tracing::info!("growing writes are taken again"),
            _ => {}
        }
        (before != room).then_some(room)
    }

    /// Too little, while those that have room are no majority of the voters: what they alone keep would not survive.
    fn room_at(&self, led_ms: u64, now_ms: u64) -> Room {
        let reported: BTreeSet<u64> = self.disks.keys().copied().collect();
        let voters = if self.voters.is_empty() { &reported } else { &self.voters };
        let without: Vec<u64> = voters
            .iter()
            .copied()
            .filter(|member| !self.has_room(*member, led_ms, now_ms))
            .collect();
        if voters.len() - without.len() > voters.len() / 2 || without.is_empty() {
            return Room::Enough;
        }
        let known = without.iter().filter_map(|member| self.disks.get(member));
        let least = known.min_by_key(|disk| disk.free_bytes);
        let mut members = [0; MEMBERS_NAMED_MAX];
        members.iter_mut().zip(&without).for_each(|(named, member)| *named = *member);
        Room::Short {
            free_bytes: least.map_or(0, |disk| disk.free_bytes),
            needed_bytes: least.map_or(0, |disk| disk.needed_bytes),
            members,
        }
    }

    fn has_room(&self, member: u64, led_ms: u64, now_ms: u64) -> bool {
        let recent = |at_ms: u64| now_ms < at_ms.saturating_add(REPORT_MS_MAX);
        match self.disks.get(&member) {
            Some(disk) if recent(disk.reported_ms) => !disk.is_short,
            _ => recent(led_ms),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const RESERVE: u64 = 400;

    fn report(disks: &mut Disks, member: u64, free_bytes: u64, now_ms: u64) -> Option<Room> {
        disks.report(member, free_bytes, Reserve::of(RESERVE), now_ms)
    }

    fn short(free_bytes: u64, without: &[u64]) -> Option<Room> {
        let mut members = [0; MEMBERS_NAMED_MAX];
        members[..without.len()].copy_from_slice(without);
        Some(Room::Short { free_bytes, needed_bytes: 500, members })
    }

    #[test]
    fn between_the_thresholds_it_stays_as_it_was() {
        let mut disks = Disks::default();
        assert_eq!(disks.lead(0), None);
        assert_eq!(report(&mut disks, 1, 450, 0), None);
        assert_eq!(report(&mut disks, 1, 400, 1), None);
        // One byte below, and where it is free again, by how much.
        assert_eq!(report(&mut disks, 1, 399, 2), short(399, &[1]));
        assert_eq!(report(&mut disks, 1, 450, 3), short(450, &[1]));
        assert_eq!(report(&mut disks, 1, 450, 4), None);
        assert_eq!(report(&mut disks, 1, 500, 5), Some(Room::Enough));
        assert_eq!(report(&mut disks, 1, 450, 6), None);
    }

    #[test]
    fn a_reserve_of_nothing_is_never_short() {
        let mut disks = Disks::default();
        assert_eq!(disks.lead(0), None);
        assert_eq!(disks.report(1, 0, Reserve::of(0), 0), None);
    }

    #[test]
    fn a_cluster_is_short_of_room_while_those_that_have_some_are_no_majority() {
        let mut disks = Disks::default();
        assert_eq!(disks.lead(0), None);
        disks.set_voters([1, 2, 3].into());
        for member in 1..=3 {
            assert_eq!(report(&mut disks, member, 1_000, 0), None);
        }
        assert_eq!(report(&mut disks, 2, 100, 1), None, "two have room");
        // Of one that does not vote, nothing is counted.
        assert_eq!(report(&mut disks, 4, 0, 1), None);
        assert_eq!(report(&mut disks, 3, 200, 2), short(100, &[2, 3]));
        assert_eq!(report(&mut disks, 1, 1_000, 3), None);
        assert_eq!(report(&mut disks, 3, 500, 4), Some(Room::Enough));
        // The leader's own disk counts as one, and no more.
        assert_eq!(report(&mut disks, 1, 300, 5), short(100, &[1, 2]));
    }

    #[test]
    fn a_member_that_is_silent_has_no_room_and_a_new_leader_waits_for_its_word() {
        let mut disks = Disks::default();
        disks.set_voters([1, 2, 3].into());
        for second in 0..20 {
            let told = report(&mut disks, 1, 1_000, second * 1_000);
            assert_eq!(told, None, "it follows, and hears of no other");
        }
        assert_eq!(disks.lead(20_000), None, "it has just begun to lead");
        assert_eq!(report(&mut disks, 1, 1_000, 20_000), None);
        let silent_ms = 20_000 + REPORT_MS_MAX;
        let mut members = [0; MEMBERS_NAMED_MAX];
        members[..2].copy_from_slice(&[2, 3]);
        let nobody_known = Some(Room::Short { free_bytes: 0, needed_bytes: 0, members });
        assert_eq!(report(&mut disks, 1, 1_000, silent_ms), nobody_known);
        assert_eq!(report(&mut disks, 3, 1_000, silent_ms + 1), Some(Room::Enough));
        assert!(report(&mut disks, 1, 1_000, silent_ms + 1 + REPORT_MS_MAX).is_some());
        // What it found then is nothing to begin with when it leads again.
        disks.follow();
        let again_ms = silent_ms + 3 * REPORT_MS_MAX;
        assert_eq!(disks.lead(again_ms), Some(Room::Enough));
    }
}
