//! Bulk streams beside the lane. From a client, bodies too large for the lane: the stream's kind, a number that the
//! `BulkWrite` on the lane names, then the body to the end of the stream. From a member, a snapshot: kind, the number that
//! the query named, the place in the snapshot (identity: 16 bytes, offset: 8 bytes, little endian), then its bytes from there
//! to its end; or a scan: kind, the number that the query named, a mark (8 bytes, little endian), then items to its end.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_core::codec::{Malformed, Reader};

use super::query::SnapshotPlace;

/// The kind byte of a stream that carries the body of a write.
pub const WRITE_BODY: u8 = 1;

/// The kind byte of a stream that carries a snapshot.
pub const SNAPSHOT: u8 = 2;
/// Bytes of a snapshot's head on a stream.
pub const SNAPSHOT_HEAD_BYTES: usize = 32;

/// What stands at the head of a snapshot's stream, behind its kind.
#[must_use]
pub fn snapshot_head(number: u64, place: &SnapshotPlace) -> Bytes {
    let mut head = BytesMut::with_capacity(SNAPSHOT_HEAD_BYTES);
    head.put_u64_le(number);
    head.put_slice(&place.identity);
    head.put_u64_le(place.offset);
    head.freeze()
}

/// The number and the place of a snapshot's stream.
#[must_use]
pub fn read_snapshot_head(head: &[u8; SNAPSHOT_HEAD_BYTES]) -> (u64, SnapshotPlace) {
    let (mut number, mut identity, mut offset) = ([0; 8], [0; 16], [0; 8]);
    number.copy_from_slice(&head[..8]);
    identity.copy_from_slice(&head[8..24]);
    offset.copy_from_slice(&head[24..]);
    let place = SnapshotPlace { identity, offset: u64::from_le_bytes(offset) };
    (u64::from_le_bytes(number), place)
}

/// The kind byte of a stream that carries a scan: a [`scan_head`], then items ([`super::scan`]).
pub const SCAN: u8 = 4;
/// Bytes of a scan's head on a stream.
pub const SCAN_HEAD_BYTES: usize = 16;

/// What stands at the head of a scan's stream, behind its kind: the number that the query named, and the mark that the
/// answer names.
#[must_use]
pub fn scan_head(number: u64, mark: u64) -> Bytes {
    let mut head = BytesMut::with_capacity(SCAN_HEAD_BYTES);
    head.put_u64_le(number);
    head.put_u64_le(mark);
    head.freeze()
}

/// The number and the mark of a scan's stream.
#[must_use]
pub fn read_scan_head(head: &[u8; SCAN_HEAD_BYTES]) -> (u64, u64) {
    let (mut number, mut mark) = ([0; 8], [0; 8]);
    number.copy_from_slice(&head[..8]);
    mark.copy_from_slice(&head[8..]);
    (u64::from_le_bytes(number), u64::from_le_bytes(mark))
}

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
