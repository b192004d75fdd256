//! A namespace's part of the tree as a stream of bytes, independent of the engine that stores it, and back. It knows
//! neither when snapshots are taken nor how they travel.
//!
//! ```text
//! stream    block of head, blocks of records, block of end
//! block     payload length: u32 le, crc32c of the payload: u32 le, payload
//! head      0, "quorate-snapshot", format: u8 = 1, place: option of bytes, membership: bytes (as in the log's codec)
//! records   1, then key: bytes, value: bytes, to the block's end; keys ascend over the whole stream
//! end       2, records in the stream: count
//! ```
//!
//! Keys are those of the core, without the namespace. Nobody needs memory for more than a block.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::ids::NamespaceId;
use quorate_core::read::{Direction, Read};
use quorate_store::Tree;

use crate::codec::{self, rotten};
use crate::namespace::{END, Scoped};
use crate::standing::Standing;
use crate::types::{log_id, position};

const MAGIC: &[u8] = b"quorate-snapshot";
const FORMAT: u8 = 1;

const HEAD: u8 = 0;
const RECORDS: u8 = 1;
const LAST: u8 = 2;

/// Bytes of records after which a block is closed.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes of a block that is read: a block that was about to be closed and the largest record.
const BLOCK_BYTES_MAX: u32 = 8 << 20;

/// Records of a chunk, in the order of their keys.
pub(crate) type Chunk = Vec<(Bytes, Bytes)>;

/// What openraft hands around as a snapshot. Making one costs nothing: the tree of this member is one, read when somebody
/// asks for its bytes, and by then it may be newer than openraft was told. Whoever receives the bytes takes the place
/// from their head, not from openraft.
pub enum SnapshotData {
    /// The tree of this member.
    Live {
        /// The whole tree.
        tree: Arc<Tree>,
        /// The part of it.
        namespace: NamespaceId,
    },
    /// A file that holds a stream.
    File(PathBuf),
}

impl SnapshotData {
    /// Writes the stream of this snapshot.
    ///
    /// # Errors
    /// The writer's; `InvalidData` where the source is not sound.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let mut file = BufReader::new(File::open(path)?);
                io::copy(&mut file, out).map(|_bytes| ())
            }
            Self::Live { tree, namespace } => write_live(tree, *namespace, out),
        }
    }

    /// Reads it to its end, and says where it stands. Nothing of an unsound stream is believed.
    ///
    /// # Errors
    /// The source's; `InvalidData` where it is not sound.
    pub(crate) fn verify(&self) -> io::Result<Standing> {
        match self {
            Self::Live { tree, namespace } => Standing::read(&tree.snapshot(), *namespace),
            Self::File(_) => self.for_each_chunk(&mut |_chunk| ()),
        }
    }

    /// Hands out all records, in order, chunk by chunk.
    ///
    /// # Errors
    /// As [`SnapshotData::verify`]; some chunks may have been handed out.
    pub(crate) fn for_each_chunk(&self, take: &mut dyn FnMut(Chunk)) -> io::Result<Standing> {
        match self {
            Self::File(path) => read_stream(&mut BufReader::new(File::open(path)?), take),
            Self::Live { tree, namespace } => {
                let snapshot = tree.snapshot();
                let standing = Standing::read(&snapshot, *namespace)?;
                let scoped = Scoped { namespace: *namespace, reader: snapshot };
                let mut chunk = Chunk::new();
                let mut bytes = 0;
                for (key, value) in scoped.range(&[], END, Direction::Forward) {
                    bytes += key.len() + value.len();
                    chunk.push((key, value));
                    if bytes >= BLOCK_BYTES {
                        take(std::mem::take(&mut chunk));
                        bytes = 0;
                    }
                }
                take(chunk);
                Ok(standing)
            }
        }
    }
}

fn write_live(tree: &Tree, namespace: NamespaceId, out: &mut dyn Write) -> io::Result<()> {
    let snapshot = tree.snapshot();
    let standing = Standing::read(&snapshot, namespace)?;
    write_block(out, &head(&standing))?;
    let scoped = Scoped { namespace, reader: snapshot };
    let mut count = 0;
    let mut writer = Writer::with_capacity(BLOCK_BYTES);
    for (key, value) in scoped.range(&[], END, Direction::Forward) {
        if writer.is_empty() {
            writer.u8(RECORDS);
        }
        writer.bytes(&key);
        writer.bytes(&value);
        count += 1;
        if writer.len() >= BLOCK_BYTES {
            let full = std::mem::replace(&mut writer, Writer::with_capacity(BLOCK_BYTES));
            write_block(out, &full.finish())?;
        }
    }
    if !writer.is_empty() {
        write_block(out, &writer.finish())?;
    }
    let mut end = Writer::new();
    end.u8(LAST);
    end.u64(count);
    write_block(out, &end.finish())?;
    out.flush()
}

fn write_block(out: &mut dyn Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= BLOCK_BYTES_MAX);
    let length = length.ok_or_else(|| {
        let cause = format!("a record of {} bytes, limit {BLOCK_BYTES_MAX}", payload.len());
        io::Error::new(io::ErrorKind::InvalidData, cause)
    })?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32c::crc32c(payload).to_le_bytes())?;
    out.write_all(payload)
}

fn read_block(input: &mut dyn io::Read) -> io::Result<Reader> {
    let mut word = [0; 4];
    input.read_exact(&mut word)?;
    let length = u32::from_le_bytes(word);
    input.read_exact(&mut word)?;
    if length > BLOCK_BYTES_MAX {
        return Err(rotten(malformed("length of a block of a snapshot")));
    }
    let mut payload = Vec::new();
    io::Read::take(input, u64::from(length)).read_to_end(&mut payload)?;
    if payload.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32c::crc32c(&payload) != u32::from_le_bytes(word) {
        return Err(rotten(malformed("checksum of a block of a snapshot")));
    }
    Ok(Reader::new(Bytes::from(payload)))
}

fn head(standing: &Standing) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(HEAD);
    writer.raw(MAGIC);
    writer.u8(FORMAT);
    writer.option(standing.applied.as_ref(), |writer, applied| {
        writer.bytes(&codec::place(position(applied)));
    });
    writer.bytes(&codec::stored_membership(&standing.membership));
    writer.finish()
}

fn read_head(mut reader: Reader) -> Result<Standing, Malformed> {
    const WHAT: &str = "head of a snapshot";
    let kind = reader.u8(WHAT)?;
    let magic: [u8; MAGIC.len()] = reader.array(WHAT)?;
    if kind != HEAD || magic != MAGIC {
        return Err(malformed(WHAT));
    }
    if reader.u8(WHAT)? != FORMAT {
        return Err(malformed("format of a snapshot"));
    }
    let applied =
        reader.option(WHAT, |reader| codec::read_place(reader.bytes(WHAT)?).map(log_id))?;
    let membership = codec::read_stored_membership(reader.bytes(WHAT)?)?;
    reader.finish(WHAT)?;
    Ok(Standing { applied, membership })
}

fn read_stream(input: &mut dyn io::Read, take: &mut dyn FnMut(Chunk)) -> io::Result<Standing> {
    const WHAT: &str = "records of a snapshot";
    let standing = read_head(read_block(input)?).map_err(rotten)?;
    let mut count = 0;
    let mut last = Bytes::new();
    loop {
        let mut reader = read_block(input)?;
        match reader.u8(WHAT).map_err(rotten)? {
            RECORDS => {
                let chunk = read_records(reader, &mut last).map_err(rotten)?;
                count += chunk.len() as u64;
                take(chunk);
            }
            LAST => {
                let counted = reader.u64(WHAT).map_err(rotten)?;
                reader.finish(WHAT).map_err(rotten)?;
                if counted != count || input.read(&mut [0])? != 0 {
                    return Err(rotten(malformed("end of a snapshot")));
                }
                return Ok(standing);
            }
            _ => return Err(rotten(malformed(WHAT))),
        }
    }
}

fn read_records(mut reader: Reader, last: &mut Bytes) -> Result<Chunk, Malformed> {
    const WHAT: &str = "records of a snapshot";
    let mut chunk = Chunk::new();
    while reader.remaining() > 0 {
        let (key, value) = (reader.bytes(WHAT)?, reader.bytes(WHAT)?);
        if key <= *last || &key[..] >= END {
            return Err(malformed("order of the keys of a snapshot"));
        }
        last.clone_from(&key);
        chunk.push((key, value));
    }
    Ok(chunk)
}
