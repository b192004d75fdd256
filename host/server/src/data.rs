//! Data of znodes, from arguments, files and standard input. It does not know znodes.

use std::io::Read;

use anyhow::Context;
use bytes::Bytes;
use quorate_core::limits::DATA_BYTES_MAX;

/// Reads what an argument names: `-` is standard input, `@file` a file, anything else itself (`@@x` is `@x`).
///
/// # Errors
/// If it can not be read, or is longer than a znode's data may be.
pub fn read(argument: &str) -> anyhow::Result<Bytes> {
    match argument.strip_prefix('@') {
        None if argument == "-" => {
            bounded(std::io::stdin().lock()).context("standard input can not be used")
        }
        None => Ok(Bytes::copy_from_slice(argument.as_bytes())),
        Some(text) if text.starts_with('@') => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(file) => {
            let opened =
                std::fs::File::open(file).with_context(|| format!("{file} can not be read"))?;
            bounded(opened).with_context(|| format!("{file} can not be used"))
        }
    }
}

/// What is longer than any znode may be is not read to its end.
fn bounded(from: impl Read) -> anyhow::Result<Bytes> {
    let mut data = Vec::new();
    from.take(DATA_BYTES_MAX as u64 + 1).read_to_end(&mut data)?;
    anyhow::ensure!(
        data.len() <= DATA_BYTES_MAX,
        "it has more than the {DATA_BYTES_MAX} bytes that a znode may have"
    );
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_names_a_file_and_two_stand_for_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x");
        std::fs::write(&file, "inside").expect("written");
        assert_eq!(read(&format!("@{}", file.display())).expect("read"), "inside");
        assert_eq!(read("@@x").expect("read"), "@x");
        assert_eq!(read("x").expect("read"), "x");
        assert!(read("@/no/such/file").is_err());
    }

    #[test]
    fn endless_input_is_refused() {
        assert!(bounded(std::io::repeat(b'x')).is_err());
    }
}
