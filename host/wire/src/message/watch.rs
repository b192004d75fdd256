//! Watches: what a client asks for, and the frames of the event lane on which a member sends what happened. It knows their
//! bytes and bounds; which events there are, and when they are sent, is the gateway's.
//!
//! A watch is asked for by a query (`super::query`), and answered in the order of the lane. Its events come on the event lane:
//! one stream for each attachment, which the member opens. The number of a frame is its position behind the head, from 1 on.

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::error::Refusal;
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::limits;
use quorate_core::znode::Lifetime;

use super::query::{Query, Results};
use super::{read_refusal, write_refusal};

/// The kind byte of a stream that carries events; see `super::bulk` for the others.
pub const EVENT_LANE: u8 = 3;
/// Bytes of one frame on an event lane: one event with its data and the data before it, both of the largest size.
pub const EVENT_FRAME_BYTES_MAX: u32 = 2 * 1024 * 1024 + 16 * 1024;
/// Bytes of events after which a frame ends and the transaction goes on in the next one: so that a large transaction does
/// not have to lie in memory as a whole, and only a single event makes a larger frame.
pub const EVENT_FRAME_BYTES: usize = 64 * 1024;
/// Bytes of an event beside its path and data: kind, version, lifetime, marks and lengths.
pub const EVENT_HEAD_BYTES_MAX: usize = 64;

const _: () = assert!(
    EVENT_FRAME_BYTES_MAX as usize
        >= 2 * limits::DATA_BYTES_MAX + limits::PATH_BYTES_MAX + 2 * EVENT_HEAD_BYTES_MAX
);
const _: () = assert!(EVENT_FRAME_BYTES < EVENT_FRAME_BYTES_MAX as usize);

/// Which znodes a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The path itself: created, set, deleted.
    Node,
    /// Its direct children created and deleted, and itself deleted.
    Children,
    /// The path and everything below it.
    Subtree,
}

/// A watch, as a client asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Its number: chosen by the client, and of no other open watch of this attachment.
    pub watch: u64,
    /// Where.
    pub path: String,
    /// What of it.
    pub scope: Scope,
    /// Events of later transactions than this one; the watch begins when the member has applied it. None: of those later
    /// than the zxid of the answer.
    pub from: Option<Zxid>,
    /// It ends with the first transaction that it has events of.
    pub once: bool,
    /// Events carry the data that the znode has from then on.
    pub with_data: bool,
    /// Events carry the data that the znode had before.
    pub with_previous: bool,
    /// A read (`Get`, `Stat` or `Children`) of the state behind which the watch begins. Not with `from`.
    pub first: Option<Box<Query>>,
}

/// What became of a watch that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// It is open. The events up to the zxid of this answer have been queued before it.
    Open {
        /// The read that was asked for; `no-node` is an answer to it that leaves the watch open.
        first: Option<Box<Result<Results, Refusal>>>,
    },
    /// This member does not have the events from that position on any more; others may. The watch is not open.
    NotHere {
        /// The lowest `from` that it does have the events behind.
        oldest: Zxid,
    },
}

/// A frame of an event lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventMessage {
    /// The first frame, which has no number: whose lane this is.
    Head {
        /// The session.
        session: SessionId,
        /// The attachment, as its `Welcome` named it.
        attachment: u64,
    },
    /// What a transaction did, as one watch sees it.
    Events {
        /// The watch.
        watch: u64,
        /// The transaction.
        zxid: Zxid,
        /// Its time, milliseconds since 1970.
        time_ms: u64,
        /// In the order in which they happened; at least one.
        events: Vec<Event>,
        /// The same transaction goes on in the next frame for this watch.
        has_more: bool,
    },
    /// Every open watch of this attachment has been sent all its events up to this transaction.
    Progress {
        /// The transaction.
        zxid: Zxid,
    },
    /// A watch ended: nothing comes for it any more, and its number is free.
    Ended {
        /// The watch.
        watch: u64,
        /// All its events up to this transaction have been sent.
        position: Zxid,
        /// Why.
        end: WatchEnd,
    },
}

/// Why a watch ended without its client having asked for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEnd {
    /// It was for one transaction, and that has come.
    Fired,
    /// This member does not have the events behind the position any more.
    NotHere {
        /// The lowest position that it does have the events behind.
        oldest: Zxid,
    },
    /// `slow-consumer`, `no-access` and the like.
    Refused(Refusal),
}

/// What happened to a znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The znode.
    pub path: String,
    /// What happened.
    pub kind: EventKind,
    /// The znode's data version from then on; of a deleted one, the last.
    pub version: u64,
    /// The data that it has from then on, if that was asked for; none when it was deleted.
    pub data: Option<Bytes>,
    /// The data that it had before.
    pub previous: Previous,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It came into being, with this lifetime.
    Created(Lifetime),
    /// Its data was set.
    Set,
    /// It was deleted.
    Deleted,
}

/// The data that a znode had before an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previous {
    /// It was not asked for, or there was no znode.
    None,
    /// It was asked for, and is not retained any more.
    Gone,
    /// This.
    Data(Bytes),
}

impl Scope {
    fn number(self) -> u8 {
        match self {
            Self::Node => 0,
            Self::Children => 1,
            Self::Subtree => 2,
        }
    }

    fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Node),
            1 => Ok(Self::Children),
            2 => Ok(Self::Subtree),
            _ => Err(malformed("scope of a watch")),
        }
    }
}

impl Watch {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u64(self.watch);
        writer.text(&self.path);
        writer.u8(self.scope.number());
        writer.option(self.from, |writer, from| writer.u64(from.0));
        writer.bool(self.once);
        writer.bool(self.with_data);
        writer.bool(self.with_previous);
        writer.option(self.first.as_ref(), |writer, first| first.write(writer));
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            watch: reader.u64("number of a watch")?,
            path: reader.text("path")?,
            scope: Scope::from_number(reader.u8("scope of a watch")?)?,
            from: reader.option("position", |reader| reader.u64("position").map(Zxid))?,
            once: reader.bool("once")?,
            with_data: reader.bool("with data")?,
            with_previous: reader.bool("with previous data")?,
            first: reader
                .option("first read", |reader| Query::read_of_znode(reader).map(Box::new))?,
        })
    }
}

impl Watched {
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Open { first } => {
                writer.u8(0);
                writer.option(first.as_deref(), |writer, first| match first {
                    Ok(results) => {
                        writer.u8(0);
                        results.write(writer);
                    }
                    Err(refusal) => {
                        writer.u8(1);
                        write_refusal(writer, refusal);
                    }
                });
            }
            Self::NotHere { oldest } => {
                writer.u8(1);
                writer.u64(oldest.0);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(match reader.u8("answer to a watch")? {
            0 => Self::Open {
                first: reader.option("first read", |reader| {
                    Ok(Box::new(match reader.u8("first read")? {
                        0 => Ok(Results::read_of_znode(reader)?),
                        1 => Err(read_refusal(reader)?),
                        _ => return Err(malformed("first read")),
                    }))
                })?,
            },
            1 => Self::NotHere { oldest: Zxid(reader.u64("position")?) },
            _ => return Err(malformed("answer to a watch")),
        })
    }
}

impl EventMessage {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Head { session, attachment } => {
                writer.u8(0xa0);
                writer.u64(session.0);
                writer.u64(*attachment);
            }
            Self::Events { watch, zxid, time_ms, events, has_more } => {
                writer.u8(0xa1);
                writer.u64(*watch);
                writer.u64(zxid.0);
                writer.u64(*time_ms);
                writer.bool(*has_more);
                writer.u64(events.len() as u64);
                for event in events {
                    event.write(&mut writer);
                }
            }
            Self::Progress { zxid } => {
                writer.u8(0xa2);
                writer.u64(zxid.0);
            }
            Self::Ended { watch, position, end } => {
                writer.u8(0xa3);
                writer.u64(*watch);
                writer.u64(position.0);
                end.write(&mut writer);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything that is not one message.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "event message";
        let bytes_max = frame.len();
        let mut reader = Reader::new(frame);
        let message = match reader.u8(WHAT)? {
            0xa0 => Self::Head {
                session: SessionId(reader.u64("session")?),
                attachment: reader.u64("attachment")?,
            },
            0xa1 => Self::Events {
                watch: reader.u64("number of a watch")?,
                zxid: Zxid(reader.u64("zxid")?),
                time_ms: reader.u64("time")?,
                has_more: reader.bool("has more")?,
                events: read_events(&mut reader, bytes_max)?,
            },
            0xa2 => Self::Progress { zxid: Zxid(reader.u64("zxid")?) },
            0xa3 => Self::Ended {
                watch: reader.u64("number of a watch")?,
                position: Zxid(reader.u64("position")?),
                end: WatchEnd::read(&mut reader)?,
            },
            _ => return Err(malformed("message kind")),
        };
        reader.finish(WHAT)?;
        Ok(message)
    }
}

fn read_events(reader: &mut Reader, bytes_max: usize) -> Result<Vec<Event>, Malformed> {
    const WHAT: &str = "events";
    let count = reader.count(WHAT, bytes_max)?;
    if count == 0 {
        return Err(malformed(WHAT));
    }
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(Event::read(reader)?);
    }
    Ok(events)
}

impl WatchEnd {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Fired => writer.u8(0),
            Self::NotHere { oldest } => {
                writer.u8(1);
                writer.u64(oldest.0);
            }
            Self::Refused(refusal) => {
                writer.u8(2);
                write_refusal(writer, refusal);
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(match reader.u8("end of a watch")? {
            0 => Self::Fired,
            1 => Self::NotHere { oldest: Zxid(reader.u64("position")?) },
            2 => Self::Refused(read_refusal(reader)?),
            _ => return Err(malformed("end of a watch")),
        })
    }
}

impl Event {
    /// Bytes that it takes in a frame at most.
    #[must_use]
    pub fn weight(&self) -> usize {
        let previous = match &self.previous {
            Previous::Data(data) => data.len(),
            Previous::None | Previous::Gone => 0,
        };
        EVENT_HEAD_BYTES_MAX + self.path.len() + self.data.as_ref().map_or(0, Bytes::len) + previous
    }

    fn write(&self, writer: &mut Writer) {
        match self.kind {
            EventKind::Created(lifetime) => {
                writer.u8(0);
                lifetime.write(writer);
            }
            EventKind::Set => writer.u8(1),
            EventKind::Deleted => writer.u8(2),
        }
        writer.text(&self.path);
        writer.u64(self.version);
        writer.option(self.data.as_ref(), |writer, data| writer.bytes(data));
        match &self.previous {
            Previous::None => writer.u8(0),
            Previous::Gone => writer.u8(1),
            Previous::Data(data) => {
                writer.u8(2);
                writer.bytes(data);
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let kind = match reader.u8("kind of an event")? {
            0 => EventKind::Created(Lifetime::read(reader)?),
            1 => EventKind::Set,
            2 => EventKind::Deleted,
            _ => return Err(malformed("kind of an event")),
        };
        Ok(Self {
            kind,
            path: reader.text("path")?,
            version: reader.u64("version")?,
            data: reader.option("data", |reader| reader.bytes("data"))?,
            previous: match reader.u8("previous data")? {
                0 => Previous::None,
                1 => Previous::Gone,
                2 => Previous::Data(reader.bytes("previous data")?),
                _ => return Err(malformed("previous data")),
            },
        })
    }
}
