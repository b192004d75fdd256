//! The frames of a lane, however the bytes are cut into pieces: each piece of the input has its length before it. Knows what
//! the frames are from reading all of it at once.
#![no_main]

/// Taken in by their files: the crate would bring quinn.
#[path = "../../../host/net/src/frame.rs"]
#[allow(dead_code, reason = "frames are only read here")]
mod frame;
#[path = "../../../host/net/src/limits.rs"]
#[allow(dead_code, reason = "only those of frames are used")]
mod limits;

use bytes::Bytes;
use frame::{Decoder, FrameTooLong};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: u32 = 4096;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Vec::new();
    let mut rest = data;
    while let Some((&length, behind)) = rest.split_first() {
        let (piece, behind) = behind.split_at(usize::from(length).min(behind.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = behind;
    }
    let whole = pieces.concat();
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    let mut refusal = None;
    for piece in pieces {
        decoder.feed(piece);
        while refusal.is_none() {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => refusal = Some(error),
            }
        }
    }
    let (expected, rest, expected_refusal) = at_once(&whole);
    assert!(frames.iter().eq(expected.iter()), "{frames:?} and not {expected:?}");
    assert_eq!(refusal, expected_refusal);
    assert_eq!(decoder.is_at_boundary(), rest.is_empty());
});

/// The frames, the bytes behind the last one, and whether they announce too much.
fn at_once(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8], Option<FrameTooLong>) {
    let mut frames = Vec::new();
    while let Some((header, behind)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*header);
        if length > FRAME_BYTES_MAX {
            let refusal = FrameTooLong { bytes: length, bytes_max: FRAME_BYTES_MAX };
            return (frames, bytes, Some(refusal));
        }
        let Some((frame, behind)) = behind.split_at_checked(length as usize) else { break };
        frames.push(frame);
        bytes = behind;
    }
    (frames, bytes, None)
}
