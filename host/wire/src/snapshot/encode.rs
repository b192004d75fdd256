//! Writes the blocks of a stream. It does not know where they go.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_core::codec::Writer;
use quorate_core::draft::{Meta, record_hash};

use super::{BLOCK_BYTES, BLOCK_BYTES_MAX, END, FORMAT, HEAD, Head, MAGIC, RECORDS, Unsound};

/// Writes a stream block by block. What it gives, in order, is the stream.
pub struct Encoder {
    writer: Writer,
    count: u64,
}

impl Encoder {
    /// Begins a stream: its first block.
    #[must_use]
    pub fn head(head: &Head) -> Bytes {
        block(&payload(head))
    }

    /// Goes on at the begin of a block, behind so many records; 0: behind the head.
    #[must_use]
    pub fn after(count: u64) -> Self {
        Self { writer: Writer::new(), count }
    }

    /// Records that it has taken, with those before it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the next record; gives a block when one is full.
    ///
    /// # Errors
    /// For a record that is larger than any of ours: `Record`.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Bytes>, Unsound> {
        if key.len() + value.len() > BLOCK_BYTES_MAX - 2 * BLOCK_BYTES {
            return Err(Unsound::Record { at: 0, what: "it is too large" });
        }
        if self.writer.is_empty() {
            self.writer = Writer::with_capacity(BLOCK_BYTES);
            self.writer.u8(RECORDS);
        }
        self.writer.bytes(key);
        self.writer.bytes(value);
        self.count += 1;
        let is_full = self.writer.len() >= BLOCK_BYTES;
        Ok(is_full.then(|| block(&std::mem::take(&mut self.writer).finish())))
    }

    /// What is left, and the end. `meta` is the tree's own record, or that of an empty tree.
    #[must_use]
    pub fn finish(self, head: &Head, meta: Meta) -> Bytes {
        let mut last = BytesMut::new();
        if !self.writer.is_empty() {
            last.put(block(&self.writer.finish()));
        }
        let mut end = Writer::new();
        end.u8(END);
        end.u64(self.count);
        end.u128(meta.digest);
        end.u128(frame_hash(head, meta));
        last.put(block(&end.finish()));
        last.freeze()
    }
}

fn payload(head: &Head) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(HEAD);
    writer.raw(MAGIC);
    writer.u8(FORMAT);
    writer.u64(u64::from(head.namespace.0));
    writer.option(head.place, |writer, (term, index)| {
        writer.u64(term.0);
        writer.u64(index);
    });
    writer.bytes(&head.membership);
    writer.finish()
}

/// What the digest does not cover: the head, and the record that states the digest.
pub(super) fn frame_hash(head: &Head, meta: Meta) -> u128 {
    record_hash(&payload(head), &meta.encode())
}

fn block(payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).expect("records are held below BLOCK_BYTES_MAX");
    let mut block = BytesMut::with_capacity(super::BLOCK_HEAD_BYTES + payload.len());
    block.put_u32_le(length);
    block.put_u32_le(crc32c::crc32c(payload));
    block.put_slice(payload);
    block.freeze()
}
