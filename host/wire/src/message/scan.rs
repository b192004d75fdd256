//! The stream of a scan: znodes one behind the other, each with its length before it, and a count at the end. It knows neither
//! the tree nor the stream that carries it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::query::scan::Scanned;
use quorate_core::znode::Stat;

/// Bytes of one item: a znode at every one of its limits, and the marks around it.
pub const ITEM_BYTES_MAX: usize =
    limits::DATA_BYTES_MAX + limits::PATH_BYTES_MAX + limits::STAT_BYTES_MAX + 32;
/// Bytes of the length before an item, little endian.
const LENGTH_BYTES: usize = 4;

const WHAT: &str = "item of a scan";

/// What a scan's stream consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The next znode.
    Znode(Scanned),
    /// All znodes have come.
    End {
        /// How many they were.
        count: u64,
    },
}

impl Item {
    /// Adds its bytes, the length before them.
    ///
    /// # Panics
    /// Never: an item at all of its limits is far below 4 GiB.
    pub fn write(&self, to: &mut BytesMut) {
        let mut writer = Writer::new();
        match self {
            Self::Znode(Scanned { path, stat, data }) => {
                writer.u8(0);
                writer.text(path.as_str());
                stat.write(&mut writer);
                writer.option(data.as_ref(), |writer, data| writer.bytes(data));
            }
            Self::End { count } => {
                writer.u8(1);
                writer.u64(*count);
            }
        }
        let bytes = writer.finish();
        to.put_u32_le(u32::try_from(bytes.len()).expect("an item is bounded by its limits"));
        to.put_slice(&bytes);
    }

    fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let item = match reader.u8(WHAT)? {
            0 => {
                let path = Path::parse(&reader.text("path")?).map_err(|_| malformed("path"))?;
                let stat = Stat::read(&mut reader)?;
                let data = reader.option("data", |reader| reader.bytes("data"))?;
                Self::Znode(Scanned { path, stat, data })
            }
            1 => Self::End { count: reader.u64("count")? },
            _ => return Err(malformed(WHAT)),
        };
        reader.finish(WHAT)?;
        Ok(item)
    }
}

/// Takes a stream apart. What it holds is bounded by [`ITEM_BYTES_MAX`] and the largest piece that is handed to it.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: BytesMut,
    count: u64,
    is_ended: bool,
}

impl Decoder {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes of the stream.
    pub fn handle(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next item; none until more bytes have come.
    ///
    /// # Errors
    /// For what no member sends: also a count that is not that of the znodes that came, and anything behind the end.
    pub fn poll(&mut self) -> Result<Option<Item>, Malformed> {
        if self.is_ended && !self.bytes.is_empty() {
            return Err(malformed("bytes behind the end of a scan"));
        }
        let Some(head) = self.bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > ITEM_BYTES_MAX {
            return Err(malformed("length of an item of a scan"));
        }
        if self.bytes.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        let item = Item::read(self.bytes.split_to(length).freeze())?;
        match &item {
            Item::Znode(_) => self.count += 1,
            Item::End { count } if *count == self.count => self.is_ended = true,
            Item::End { .. } => return Err(malformed("count of a scan")),
        }
        Ok(Some(item))
    }

    /// Whether the end has come, and nothing behind it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_ended && self.bytes.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use quorate_core::ids::{Millis, Zxid};
    use quorate_core::znode::{Lifetime, Node};

    use super::*;

    fn items() -> Vec<Item> {
        let stat = Node::new(Zxid(300), Millis(1), Lifetime::Persistent, b"data").stat();
        let znode = |path: &str, data| {
            Item::Znode(Scanned { path: Path::parse(path).unwrap(), stat, data })
        };
        vec![
            znode("/", Some(Bytes::new())),
            znode("/a", Some(Bytes::from_static(b"data"))),
            znode("/a/b", None),
            Item::End { count: 3 },
        ]
    }

    fn bytes(items: &[Item]) -> BytesMut {
        let mut bytes = BytesMut::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        bytes
    }

    fn all(decoder: &mut Decoder) -> Result<Vec<Item>, Malformed> {
        std::iter::from_fn(|| decoder.poll().transpose()).collect()
    }

    #[test]
    fn a_stream_in_pieces_of_any_size_comes_back() {
        let whole = bytes(&items());
        for size in 1..=whole.len() {
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for piece in whole.chunks(size) {
                assert!(!decoder.is_complete());
                decoder.handle(piece);
                found.extend(all(&mut decoder).unwrap());
            }
            assert_eq!(found, items());
            assert!(decoder.is_complete());
        }
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_not_complete() {
        let whole = bytes(&items());
        for length in 0..whole.len() {
            let mut decoder = Decoder::new();
            decoder.handle(&whole[..length]);
            all(&mut decoder).unwrap();
            assert!(!decoder.is_complete(), "{length}");
        }
    }

    #[test]
    fn what_no_member_sends_is_refused_and_nothing_large_is_waited_for() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::new();
            decoder.handle(bytes);
            all(&mut decoder).is_err()
        };
        assert!(refused(&[0xff, 0xff, 0xff, 0xff]));
        assert!(refused(&[2, 0, 0, 0, 1, 1]), "a count of what did not come");
        assert!(refused(&[1, 0, 0, 0, 2]), "an unknown kind");
        assert!(refused(&[0, 0, 0, 0]), "nothing");
        let mut behind = bytes(&items());
        behind.put_u8(0);
        assert!(refused(&behind), "bytes behind the end");
        let whole = bytes(&items());
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                // Read or refused, and no panic.
                refused(&changed);
            }
        }
    }
}
