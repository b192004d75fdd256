//! How full the disks are, and whether growing writes are taken: refused below one threshold, taken again above a higher
//! one, so that a disk that is just full does not make the answer flicker. What counts as growth is the core's.
//!
//! With one member its own disk decides. In a cluster each member's report comes to the leader, which keeps one [`Disk`]
//! for each voter and is short of room while those that have some make no quorum that survives a failure: a follower can not
//! refuse an entry, it can only stop.

use quorate_core::room::Room;

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

/// One member's disk, as it was reported last.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    room: Room,
}

impl Disk {
    /// Takes a report. Gives the room, if whether there is any has changed, or how much is free while there is none.
    pub(crate) fn report(&mut self, free_bytes: u64, reserve: Reserve) -> Option<Room> {
        let Reserve { refused_below_bytes, taken_from_bytes } = reserve;
        let needed_bytes = taken_from_bytes.max(refused_below_bytes);
        let was_short = self.room != Room::Enough;
        let wanted_bytes = if was_short { needed_bytes } else { refused_below_bytes };
        let is_short = free_bytes < wanted_bytes;
        let room = if is_short { Room::Short { free_bytes, needed_bytes } } else { Room::Enough };
        match (was_short, is_short) {
            (false, true) => tracing::warn!(
                free_bytes,
                needed_bytes,
                "the disk is short of room: growing writes are refused; make room or delete znodes"
            ),
            (true, false) => tracing::info!(free_bytes, "growing writes are taken again"),
            _ => {}
        }
        (std::mem::replace(&mut self.room, room) != room).then_some(room)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn between_the_thresholds_it_stays_as_it_was() {
        let reserve = Reserve::of(400);
        let mut disk = Disk::default();
        assert_eq!(disk.report(450, reserve), None);
        assert_eq!(disk.report(400, reserve), None);
        let short = |free_bytes| Some(Room::Short { free_bytes, needed_bytes: 500 });
        assert_eq!(disk.report(399, reserve), short(399));
        assert_eq!(disk.report(450, reserve), short(450));
        assert_eq!(disk.report(450, reserve), None);
        assert_eq!(disk.report(500, reserve), Some(Room::Enough));
        assert_eq!(disk.report(450, reserve), None);
    }

    #[test]
    fn no_reserve_is_never_short() {
        assert_eq!(Disk::default().report(0, Reserve::of(0)), None);
    }
}
