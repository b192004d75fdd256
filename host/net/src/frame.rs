//! The bytes of a lane: frames into chunks, received pieces into frames. Pure; it does not know
//! where bytes come from.
//!
//! A lane is a sequence of frames, each
//!
//! ```text
//! 0..4    payload length in bytes, u32 little-endian, 0 to the lane's maximum
//! 4..     payload
//! ```
//!
//! with nothing before, between or after them. A frame may be empty. The end of the stream is only
//! legal between frames.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{
    ASSEMBLY_BYTES_FIRST, COALESCE_BELOW_BYTES, COALESCED_CHUNK_BYTES, FRAME_HEADER_BYTES,
};

/// A peer announced a frame that is longer than the lane allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes was announced, at most {bytes_max} are allowed")]
pub struct FrameTooLong {
    /// Bytes that the header announced.
    pub bytes: u32,
    /// Bytes that the lane allows.
    pub bytes_max: u32,
}

/// Turns frames into few chunks: small ones are copied together, large ones keep their own buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    // What the last batch filled, as a guess for the next: one allocation for a busy lane, none
    // kept by an idle one.
    bytes_last: usize,
}

impl Encoder {
    /// Appends a frame. `payload` has passed the lane's maximum, so its length fits 32 bits.
    pub(crate) fn push(&mut self, bytes: u32, payload: Bytes) {
        if self.tail.capacity() == 0 {
            self.tail.reserve(self.bytes_last.max(FRAME_HEADER_BYTES + payload.len().min(1024)));
        }
        self.tail.put_u32_le(bytes);
        if payload.len() < COALESCE_BELOW_BYTES {
            self.tail.extend_from_slice(&payload);
            if self.tail.len() >= COALESCED_CHUNK_BYTES {
                self.close_tail();
            }
        } else {
            self.close_tail();
            self.chunks.push(payload);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Moves all that was pushed to the end of `chunks`.
    pub(crate) fn take(&mut self, chunks: &mut Vec<Bytes>) {
        self.bytes_last = self.tail.len().min(COALESCED_CHUNK_BYTES);
        self.close_tail();
        if chunks.is_empty() {
            std::mem::swap(chunks, &mut self.chunks);
        } else {
            chunks.append(&mut self.chunks);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push(std::mem::take(&mut self.tail).freeze());
        }
    }
}

/// Turns received pieces into frames. A frame that lies whole in one piece is a slice of it; only
/// frames that span pieces are copied. What it holds is bounded by what was fed to it, never by
/// what a header announced.
#[derive(Debug)]
pub(crate) struct Decoder {
    pieces: VecDeque<Bytes>,
    bytes_max: u32,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    // The announced length, once the header is complete, and the payload so far.
    body: Option<u32>,
    assembly: BytesMut,
}

impl Decoder {
    pub(crate) fn new(bytes_max: u32) -> Self {
        Self {
            pieces: VecDeque::new(),
            bytes_max,
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            body: None,
            assembly: BytesMut::new(),
        }
    }

    pub(crate) fn feed(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// The next whole frame in what was fed, or `None` if there is none yet.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLong> {
        loop {
            let Some(bytes) = self.body else {
                let Some(bytes) = self.next_header() else {
                    return Ok(None);
                };
                if bytes > self.bytes_max {
                    return Err(FrameTooLong { bytes, bytes_max: self.bytes_max });
                }
                self.header_bytes = 0;
                self.body = Some(bytes);
                continue;
            };
            let frame = self.next_body(bytes as usize);
            if frame.is_some() {
                self.body = None;
            }
            return Ok(frame);
        }
    }

    /// True between frames, where the stream may end.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.header_bytes == 0 && self.body.is_none() && self.pieces.is_empty()
    }

    /// The announced length. Stays the answer until `next_frame` has accepted it.
    fn next_header(&mut self) -> Option<u32> {
        while self.header_bytes < FRAME_HEADER_BYTES {
            let front = self.pieces.front_mut()?;
            let count = front.len().min(FRAME_HEADER_BYTES - self.header_bytes);
            front.copy_to_slice(&mut self.header[self.header_bytes..self.header_bytes + count]);
            self.header_bytes += count;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
        Some(u32::from_le_bytes(self.header))
    }

    fn next_body(&mut self, bytes: usize) -> Option<Bytes> {
        loop {
            let wanted = bytes - self.assembly.len();
            if wanted == 0 {
                return Some(std::mem::take(&mut self.assembly).freeze());
            }
            let piece = self.take_up_to(wanted)?;
            if piece.len() == bytes {
                return Some(piece);
            }
            if self.assembly.capacity() - self.assembly.len() < piece.len() {
                let doubled = self.assembly.len().max(ASSEMBLY_BYTES_FIRST).max(piece.len());
                self.assembly.reserve(doubled.min(wanted));
            }
            self.assembly.extend_from_slice(&piece);
        }
    }

    fn take_up_to(&mut self, bytes_max: usize) -> Option<Bytes> {
        let front = self.pieces.front_mut()?;
        if front.len() > bytes_max {
            Some(front.split_to(bytes_max))
        } else {
            self.pieces.pop_front()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(payloads: &[&[u8]]) -> Vec<Bytes> {
        let mut encoder = Encoder::default();
        for payload in payloads {
            encoder.push(u32::try_from(payload.len()).unwrap(), Bytes::copy_from_slice(payload));
        }
        let mut chunks = Vec::new();
        encoder.take(&mut chunks);
        assert!(encoder.is_empty());
        chunks
    }

    fn decode_all(decoder: &mut Decoder) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
        frames
    }

    #[test]
    fn frames_have_these_bytes() {
        let golden = [
            5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o', // a frame of five bytes
            0, 0, 0, 0, // an empty one
            1, 0, 0, 0, 0xff, // a byte that is no text
        ];
        assert_eq!(encode(&[b"hello", b"", b"\xff"]).concat(), golden);
        let mut decoder = Decoder::new(5);
        decoder.feed(Bytes::copy_from_slice(&golden));
        assert_eq!(decode_all(&mut decoder), [&b"hello"[..], b"", b"\xff"]);
        assert!(decoder.is_at_boundary());
    }

    #[test]
    fn the_length_is_little_endian_over_four_bytes() {
        let payload = vec![7; 0x0001_0203];
        let chunks = encode(&[&payload]);
        assert_eq!(chunks[0][..], [0x03, 0x02, 0x01, 0x00]);
        assert_eq!(chunks[1], payload);
    }

    #[test]
    fn small_frames_share_a_chunk_and_large_ones_are_not_copied() {
        let small = [1_u8; 100];
        assert_eq!(encode(&[&small[..]; 64]).len(), 1);
        let large = Bytes::from(vec![2; COALESCE_BELOW_BYTES]);
        let mut encoder = Encoder::default();
        encoder.push(u32::try_from(large.len()).unwrap(), large.clone());
        let mut chunks = Vec::new();
        encoder.take(&mut chunks);
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_frames() {
        let payloads: Vec<Vec<u8>> =
            [0, 1, 3, 4, 5, 100, 1447, 1448, 5000, 20_000, 0].map(|bytes| vec![9; bytes]).into();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let bytes = Bytes::from(encode(&slices).concat());
        for cut in [1, 2, 3, 5, 7, 64, 1000, 1448, 4096, bytes.len()] {
            let mut decoder = Decoder::new(20_000);
            let mut frames = Vec::new();
            for start in (0..bytes.len()).step_by(cut) {
                decoder.feed(bytes.slice(start..bytes.len().min(start + cut)));
                frames.append(&mut decode_all(&mut decoder));
            }
            assert_eq!(frames, payloads, "cut into pieces of {cut} bytes");
            assert!(decoder.is_at_boundary());
        }
    }

    #[test]
    fn a_frame_in_one_piece_is_a_slice_of_it() {
        let piece = Bytes::from(encode(&[&[3; 100], &[4; 100]]).concat());
        let mut decoder = Decoder::new(100);
        decoder.feed(piece.clone());
        let frames = decode_all(&mut decoder);
        assert_eq!(frames[0].as_ptr(), piece[4..].as_ptr());
        assert_eq!(frames[1].as_ptr(), piece[108..].as_ptr());
    }

    #[test]
    fn an_announcement_over_the_limit_is_refused_and_allocates_nothing() {
        let mut decoder = Decoder::new(1000);
        decoder.feed(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]));
        let refused = FrameTooLong { bytes: u32::MAX, bytes_max: 1000 };
        assert_eq!(decoder.next_frame(), Err(refused));
        assert_eq!(decoder.assembly.capacity(), 0);
        // And again: the decoder does not go on behind it.
        assert_eq!(decoder.next_frame(), Err(refused));
    }

    #[test]
    fn memory_grows_with_what_came_and_not_with_what_was_announced() {
        let bytes_max = 64 * 1024 * 1024;
        let mut decoder = Decoder::new(bytes_max);
        decoder.feed(Bytes::copy_from_slice(&bytes_max.to_le_bytes()));
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.assembly.capacity(), 0);
        for pieces in 1..=100 {
            decoder.feed(Bytes::from(vec![0; 1000]));
            assert_eq!(decoder.next_frame(), Ok(None));
            let capacity = decoder.assembly.capacity();
            assert!(capacity <= ASSEMBLY_BYTES_FIRST.max(pieces * 1000 * 2 + 1000), "{capacity}");
        }
        assert!(!decoder.is_at_boundary());
    }
}
