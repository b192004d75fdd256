//! One record of a segment, byte by byte. It does not know where records are kept or what follows
//! from them.
//!
//! A record begins at a multiple of 8 bytes; all numbers are little-endian:
//!
//! ```text
//! 0   4  crc32c of bytes 4..32, seeded (see [`Seed`]) with the life of the segment and the position
//!        of this record in it: a record of the file's former life, or one that a disk has put at
//!        another place, never passes
//! 4   4  crc32c of the payload
//! 8   4  bytes of the payload
//! 12  1  kind
//! 13  1  flags: 1 = last record of its batch, 2 = with truncate: nothing is kept
//! 14  2  0
//! 16  4  namespace
//! 20  4  batch: number of the write that this record was part of, counted in its segment from 0
//! 24  8  index
//! 32  n  payload, then zeros to the next multiple of 8
//! ```
//!
//! | kind | index | payload |
//! |---|---|---|
//! | 1 entry | of the entry | the entry |
//! | 2 vote | 0 | the vote |
//! | 3 committed | 0 | the committed log id |
//! | 4 truncate | last index that is kept | none |
//! | 5 purge | last index that is dropped | the log id of it |
//! | 6 start | index of the next entry, when the segment began | none |
//! | 7 seal | 0; the segment ends here, its successor goes on | none |

/// Bytes before the payload.
pub(super) const HEADER_BYTES: u32 = 32;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u32 = 8;
/// Most bytes of one payload. Raft entries are batches of at most a few MiB; this bounds a segment
/// file and what a reader allocates. 2^25 + headers stays far from the 32 bits of positions.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

const LAST_OF_BATCH: u8 = 1;
const ALL: u8 = 2;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A raft entry.
    Entry,
    /// The newest vote.
    Vote,
    /// The newest committed log id.
    Committed,
    /// All entries behind the index are void.
    Truncate,
    /// No entry behind any index is kept.
    TruncateAll,
    /// The entries up to the index are void.
    Purge,
    /// In a segment's head: where its entries begin.
    Start,
    /// The segment ends.
    Seal,
}

impl Kind {
    fn code(self) -> (u8, u8) {
        match self {
            Self::Entry => (1, 0),
            Self::Vote => (2, 0),
            Self::Committed => (3, 0),
            Self::Truncate => (4, 0),
            Self::TruncateAll => (4, ALL),
            Self::Purge => (5, 0),
            Self::Start => (6, 0),
            Self::Seal => (7, 0),
        }
    }

    fn of(kind: u8, flags: u8) -> Option<Self> {
        Some(match (kind, flags & !LAST_OF_BATCH) {
            (1, 0) => Self::Entry,
            (2, 0) => Self::Vote,
            (3, 0) => Self::Committed,
            (4, 0) => Self::Truncate,
            (4, ALL) => Self::TruncateAll,
            (5, 0) => Self::Purge,
            (6, 0) => Self::Start,
            (7, 0) => Self::Seal,
            _ => return None,
        })
    }
}

/// The life of a segment file: a file that is recycled gets another segment's id and a generation
/// one higher, so no two lives of one file, and no two files, share a seed's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(segment: u64, generation: u64) -> Self {
        Self(crc32c::crc32c_append(
            crc32c::crc32c(&segment.to_le_bytes()),
            &generation.to_le_bytes(),
        ))
    }

    fn checksum(self, offset: u64, header: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &offset.to_le_bytes()), header)
    }
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) is_last_of_batch: bool,
    pub(super) namespace: u32,
    pub(super) batch: u32,
    pub(super) index: u64,
    pub(super) payload_bytes: u32,
    payload_checksum: u32,
}

impl Header {
    /// Decodes the header at the beginning of `bytes`, which lie at `offset` of the segment. `None` if
    /// it is not a record of this life at this place.
    pub(super) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Self> {
        let header: &[u8; HEADER_BYTES as usize] = bytes.first_chunk()?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        // Cheap checks first: a whole segment is searched with this after a crash.
        let kind = Kind::of(header[12], header[13])?;
        let payload_bytes = word(8);
        if header[14..16] != [0, 0] || payload_bytes > PAYLOAD_BYTES_MAX {
            return None;
        }
        if word(0) != seed.checksum(offset, &header[4..]) {
            return None;
        }
        Some(Self {
            kind,
            is_last_of_batch: header[13] & LAST_OF_BATCH != 0,
            namespace: word(16),
            batch: word(20),
            index: u64::from(word(24)) | (u64::from(word(28)) << 32),
            payload_bytes,
            payload_checksum: word(4),
        })
    }

    /// Whether `payload` is what was written.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize
            && crc32c::crc32c(payload) == self.payload_checksum
    }
}

/// Bytes that a record with such a payload takes.
pub(super) fn record_bytes(payload_bytes: u32) -> u32 {
    HEADER_BYTES + payload_bytes.next_multiple_of(ALIGNMENT)
}

/// Records on their way to one write: all of one batch.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
    seed: Seed,
    /// Where the first record will lie in its segment.
    offset: u64,
    batch: u32,
    /// Begin of the newest record in `bytes`.
    last: usize,
}

impl<'a> Encoder<'a> {
    /// Clears `bytes` and encodes into it.
    pub(super) fn new(bytes: &'a mut Vec<u8>, seed: Seed, offset: u64, batch: u32) -> Self {
        bytes.clear();
        Self { bytes, seed, offset, batch, last: 0 }
    }

    /// Adds a record and returns its position in the segment. The payload has at most
    /// [`PAYLOAD_BYTES_MAX`] bytes: the log refuses more at its door.
    pub(super) fn push(&mut self, kind: Kind, namespace: u32, index: u64, payload: &[u8]) -> u64 {
        let payload_bytes = u32::try_from(payload.len()).expect("payloads are bounded at the door");
        let (code, flags) = kind.code();
        let mut header = [0; HEADER_BYTES as usize];
        header[4..8].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        header[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
        header[12] = code;
        header[13] = flags;
        header[16..20].copy_from_slice(&namespace.to_le_bytes());
        header[20..24].copy_from_slice(&self.batch.to_le_bytes());
        header[24..32].copy_from_slice(&index.to_le_bytes());
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        self.seal_header();
        self.offset + self.last as u64
    }

    /// Marks the newest record as the last one of the batch. At least one was pushed.
    pub(super) fn finish(mut self) {
        self.bytes[self.last + 13] |= LAST_OF_BATCH;
        self.seal_header();
    }

    fn seal_header(&mut self) {
        let position = self.offset + self.last as u64;
        let header = &mut self.bytes[self.last..self.last + HEADER_BYTES as usize];
        let checksum = self.seed.checksum(position, &header[4..]);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(seed: Seed, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, seed, offset, 3);
        encoder.push(Kind::Entry, 7, 1 << 40, b"payload");
        encoder.finish();
        bytes
    }

    #[test]
    fn a_record_passes_only_in_its_life_and_at_its_place() {
        let seed = Seed::new(5, 2);
        let bytes = encoded(seed, 4096);
        assert_eq!(bytes.len(), record_bytes(7) as usize);
        let header = Header::decode(&bytes, seed, 4096).expect("it was just written");
        assert_eq!((header.kind, header.namespace, header.batch), (Kind::Entry, 7, 3));
        assert_eq!((header.index, header.is_last_of_batch), (1 << 40, true));
        assert!(header.matches(b"payload") && !header.matches(b"pAyload"));
        for other in [Seed::new(5, 3), Seed::new(6, 2)] {
            assert_eq!(Header::decode(&bytes, other, 4096), None);
        }
        assert_eq!(Header::decode(&bytes, seed, 4104), None);
    }

    #[test]
    fn no_header_passes_with_a_flipped_bit() {
        let seed = Seed::new(1, 0);
        let bytes = encoded(seed, 64);
        for bit in 0..HEADER_BYTES as usize * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged, seed, 64), None, "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_of_a_record_do_not_change() {
        // Golden: old logs must stay readable.
        let expected = [
            253, 28, 139, 238, 112, 105, 227, 244, 7, 0, 0, 0, 1, 1, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0,
            0, 0, 0, 0, 0, 1, 0, 0, b'p', b'a', b'y', b'l', b'o', b'a', b'd', 0,
        ];
        assert_eq!(encoded(Seed::new(5, 2), 4096), expected);
    }
}
