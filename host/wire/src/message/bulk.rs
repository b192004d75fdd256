//! Bulk streams from a client: bodies too large for the lane. The stream's kind, a number that the `BulkWrite` on the lane
//! names, then the body to the end of the stream.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_core::codec::{Malformed, Reader};

/// The kind byte of a stream that carries the body of a write.
pub const WRITE_BODY: u8 = 1;

/// Bodies of more than this go on a stream of their own, so that they do not hold up the lane. Bytes.
pub const BODY_BYTES_MIN: usize = 64 * 1024;

/// What stands at the head of the stream, behind its kind: the number, 8 bytes, little endian.
#[must_use]
pub fn head(number: u64) -> Bytes {
    let mut head = BytesMut::with_capacity(8);
    head.put_u64_le(number);
    head.freeze()
}

/// The number and the body of a whole stream.
///
/// # Errors
/// If it is shorter than its head.
pub fn split(whole: Bytes) -> Result<(u64, Bytes), Malformed> {
    let mut reader = Reader::new(whole);
    let head: [u8; 8] = reader.array("head of a bulk stream")?;
    Ok((u64::from_le_bytes(head), reader.rest()))
}
