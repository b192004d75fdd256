//! A snapshot's stream, from members, operators and the disk. The first byte says whether the rest is a stream, or payloads
//! of blocks, each behind its length, that get their checksums here. Knows that the outcome does not depend on how the
//! bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::level::Level;
use quorate_wire::snapshot::{Decoder, Item, Unsound};

fn read(stream: &[u8], piece_bytes: usize) -> Result<Vec<Item>, Unsound> {
    let mut decoder = Decoder::new(Level::NEWEST);
    let mut items = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        decoder.handle(piece);
        while let Some(item) = decoder.poll()? {
            items.push(item);
        }
    }
    decoder.finish()?;
    Ok(items)
}

/// Blocks with sound checksums: two bytes of length, then the payload.
fn blocks(mut bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        stream.extend_from_slice(&(length as u32).to_le_bytes());
        stream.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        stream.extend_from_slice(payload);
        bytes = rest;
    }
    stream
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let stream = if kind % 2 == 0 { rest.to_vec() } else { blocks(rest) };
    let whole = read(&stream, stream.len().max(1));
    assert_eq!(whole, read(&stream, usize::from(*kind) + 1));
    if let Ok(items) = whole {
        assert!(matches!(items.first(), Some(Item::Head(_))));
        let Some(Item::End(summary)) = items.last() else { panic!("sound without an end") };
        assert_eq!(summary.bytes, stream.len() as u64);
    }
});
