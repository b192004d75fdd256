//! Golden files: values in Rust's words as comments, and their bytes. It does not know what the values are.

use bytes::Bytes;
use expect_test::ExpectFile;

/// Compares the file with the values, and reads its bytes back: `read` must give every value. `UPDATE_EXPECT=1` rewrites the
/// file. Each value stands in a block of its own, with an empty line between them.
pub fn check<T: std::fmt::Debug + PartialEq>(
    file: &ExpectFile,
    title: &str,
    values: &[T],
    write: impl Fn(&T) -> Bytes,
    read: impl Fn(Bytes) -> T,
) {
    let blocks: Vec<String> = values.iter().map(|value| block(value, &write(value))).collect();
    file.assert_eq(&format!("# {title}\n{}\n", blocks.join("\n\n")));
    let old: Vec<T> = file.data().split("\n\n").map(unhex).map(read).collect();
    assert_eq!(old, values);
}

fn block<T: std::fmt::Debug>(value: &T, bytes: &[u8]) -> String {
    let words = format!("{value:#?}");
    let words: Vec<String> = words.lines().map(|line| format!("# {line}")).collect();
    format!("{}\n{}", words.join("\n"), hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        let pairs: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn unhex(text: &str) -> Bytes {
    let pairs = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits")).collect()
}
