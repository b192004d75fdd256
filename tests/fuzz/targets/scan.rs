//! The stream of a scan, from members, as a client reads it. The first byte says how it is cut. Knows that an item has one byte
//! form, and that the outcome does not depend on how the bytes were cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quorate_wire::message::scan::{Decoder, Item};

/// The items up to the end, or to what is refused, and whether they are a whole scan.
fn read(stream: &[u8], piece_bytes: usize) -> (Vec<Item>, bool) {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        decoder.handle(piece);
        loop {
            match decoder.poll() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => return (items, false),
            }
        }
    }
    (items, decoder.is_complete())
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, stream)) = data.split_first() else { return };
    let (items, is_whole) = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(*kind) + 1), (items.clone(), is_whole));
    let mut again = BytesMut::new();
    items.iter().for_each(|item| item.write(&mut again));
    assert_eq!(again[..], stream[..again.len()]);
    if is_whole {
        assert_eq!(again.len(), stream.len());
        assert_eq!(items.last(), Some(&Item::End { count: items.len() as u64 - 1 }));
    }
});
