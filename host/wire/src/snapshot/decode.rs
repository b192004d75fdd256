//! Reads a stream as it arrives, in pieces of any size. It does not know where they come from.

use bytes::{Buf, Bytes, BytesMut};
use quorate_core::codec::{Malformed, Reader, malformed};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::level::Level;

use super::audit::Audit;
use super::encode::frame_hash;
use super::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, END, FORMAT, HEAD, Head, MAGIC, RECORDS, Records, Summary,
    Unsound,
};

/// Bytes that a first block has at least up to its magic's end: enough to tell that something is no snapshot.
const MAGIC_END: usize = BLOCK_HEAD_BYTES + 1 + MAGIC.len();
/// Bytes of a first block: a membership of the largest size, many times.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// A block of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The first.
    Head(Head),
    /// Records. What the whole is worth is known at the end.
    Records(Records),
    /// The last: all of it has been found sound.
    End(Box<Summary>),
}

/// Takes in a stream and judges it.
pub struct Decoder {
    known: Level,
    buffer: BytesMut,
    head: Option<Head>,
    is_ended: bool,
    last_key: Bytes,
    records: u64,
    bytes: u64,
    audit: Audit,
}

impl Decoder {
    /// At the begin of a stream, whose tree may have this feature level at most.
    #[must_use]
    pub fn new(known: Level) -> Self {
        Self {
            known,
            buffer: BytesMut::new(),
            head: None,
            is_ended: false,
            last_key: Bytes::new(),
            records: 0,
            bytes: 0,
            audit: Audit::default(),
        }
    }

    /// Takes the next bytes of the stream. Call [`Decoder::poll`] until it gives nothing before the next ones: then it holds
    /// no more than a block and these.
    pub fn handle(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next block, when all of it is there.
    ///
    /// # Errors
    /// [`Unsound`]: nothing of the stream is to be believed then, not what was given before either.
    pub fn poll(&mut self) -> Result<Option<Item>, Unsound> {
        if self.is_ended && !self.buffer.is_empty() {
            return Err(Unsound::Trailing { at: self.bytes });
        }
        let at = self.bytes;
        let Some(payload) = self.poll_block(at)? else { return Ok(None) };
        let mut reader = Reader::new(payload);
        if self.head.is_none() {
            let head = read_head(reader)?;
            self.head = Some(head.clone());
            return Ok(Some(Item::Head(head)));
        }
        match reader.u8("kind of a block").map_err(|error| Unsound::record(at, error))? {
            RECORDS => self.read_records(reader, at).map(|records| Some(Item::Records(records))),
            END => self.end(reader, at).map(|summary| Some(Item::End(Box::new(summary)))),
            _ => Err(Unsound::Block { at, what: "its kind" }),
        }
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// [`Unsound`], if the end was not there, or not all is polled.
    pub fn finish(&self) -> Result<(), Unsound> {
        match (self.is_ended, self.buffer.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Unsound::Trailing { at: self.bytes }),
            // Less than a snapshot begins with.
            (false, _) if self.head.is_none() && !could_begin(&self.buffer) => {
                Err(Unsound::NotASnapshot)
            }
            (false, _) => Err(Unsound::Truncated { at: self.bytes + self.buffer.len() as u64 }),
        }
    }

    fn poll_block(&mut self, at: u64) -> Result<Option<Bytes>, Unsound> {
        if self.head.is_none() {
            if !could_begin(&self.buffer) {
                return Err(Unsound::NotASnapshot);
            }
            // A length is judged behind the magic, so that the reason does not depend on how the bytes were cut.
            if self.buffer.len() < MAGIC_END {
                return Ok(None);
            }
        }
        let Some(words) = self.buffer.first_chunk::<BLOCK_HEAD_BYTES>() else { return Ok(None) };
        let word = |from: usize| [words[from], words[from + 1], words[from + 2], words[from + 3]];
        let length = u32::from_le_bytes(word(0)) as usize;
        let checksum = u32::from_le_bytes(word(4));
        let most = if self.head.is_none() { HEAD_BYTES_MAX } else { BLOCK_BYTES_MAX };
        if length > most {
            return Err(Unsound::Block { at, what: "its length" });
        }
        if self.buffer.len() - BLOCK_HEAD_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(BLOCK_HEAD_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        if crc32c::crc32c(&payload) != checksum {
            return Err(Unsound::Block { at, what: "its checksum" });
        }
        self.bytes += (BLOCK_HEAD_BYTES + length) as u64;
        Ok(Some(payload))
    }

    fn read_records(&mut self, mut reader: Reader, at: u64) -> Result<Records, Unsound> {
        const WHAT: &str = "record";
        let damaged = |error: Malformed| Unsound::record(at, error);
        let mut records = Records::new();
        while reader.remaining() > 0 {
            let key = reader.bytes(WHAT).map_err(damaged)?;
            let value = reader.bytes(WHAT).map_err(damaged)?;
            if key <= self.last_key {
                return Err(Unsound::Record { at, what: "the keys do not ascend" });
            }
            self.audit.take(&key, &value).map_err(damaged)?;
            // At once: what follows may have forms that are not known here.
            let found = self.audit.level();
            if found > self.known {
                return Err(Unsound::Level { found, known: self.known });
            }
            self.last_key = key.clone();
            records.push((key, value));
        }
        // Not a slice of a block that is long gone.
        self.last_key = Bytes::copy_from_slice(&self.last_key);
        self.records += records.len() as u64;
        Ok(records)
    }

    fn end(&mut self, mut reader: Reader, at: u64) -> Result<Summary, Unsound> {
        const WHAT: &str = "end";
        let damaged = |error: Malformed| Unsound::record(at, error);
        let stated = reader.u64(WHAT).map_err(damaged)?;
        let digest = reader.u128(WHAT).map_err(damaged)?;
        let frame = reader.u128(WHAT).map_err(damaged)?;
        reader.finish(WHAT).map_err(damaged)?;
        if stated != self.records {
            return Err(Unsound::Count { found: self.records, stated });
        }
        let meta = self.audit.judge(digest)?;
        let Some(head) = self.head.clone() else { return Err(Unsound::NotASnapshot) };
        if frame_hash(&head, meta) != frame {
            return Err(Unsound::Frame);
        }
        self.is_ended = true;
        let counts = self.audit.counts();
        Ok(Summary {
            head,
            meta,
            level: self.audit.level(),
            records: self.records,
            znodes: counts.znodes,
            sessions: counts.sessions,
            recipes: counts.recipes,
            bytes: self.bytes,
        })
    }
}

/// Whether a stream may begin so.
fn could_begin(bytes: &[u8]) -> bool {
    let mut kind_and_magic = [HEAD; 1 + MAGIC.len()];
    kind_and_magic[1..].copy_from_slice(MAGIC);
    let there = bytes.get(BLOCK_HEAD_BYTES..bytes.len().min(MAGIC_END)).unwrap_or_default();
    kind_and_magic.starts_with(there)
}

fn read_head(mut reader: Reader) -> Result<Head, Unsound> {
    const WHAT: &str = "head";
    let damaged = |error: Malformed| Unsound::record(0, error);
    let kind = reader.u8(WHAT).map_err(damaged)?;
    let magic: [u8; MAGIC.len()] = reader.array(WHAT).map_err(damaged)?;
    if kind != HEAD || magic != MAGIC {
        return Err(Unsound::NotASnapshot);
    }
    let found = reader.u8(WHAT).map_err(damaged)?;
    if found != FORMAT {
        return Err(Unsound::Format { found });
    }
    let rest = |reader: &mut Reader| -> Result<Head, Malformed> {
        let namespace = NamespaceId(reader.u32(WHAT)?);
        let place =
            reader.option(WHAT, |reader| Ok((Term(reader.u64(WHAT)?), reader.u64(WHAT)?)))?;
        let membership = reader.bytes(WHAT)?;
        if reader.remaining() > 0 {
            return Err(malformed(WHAT));
        }
        Ok(Head { namespace, place, membership: Bytes::copy_from_slice(&membership) })
    };
    rest(&mut reader).map_err(damaged)
}
