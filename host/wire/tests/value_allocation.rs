//! Measures that hostile bytes do not make the decoder allocate. One test in a binary of its own,
//! since it measures its process. Linux only: it reads the peak of the address space from /proc.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(target_os = "linux")]

use std::process::Command;

use bytes::Bytes;
use quorate_wire::value::{Interface, Limits, Type, decode};

const CHILD: &str = "QUORATE_TEST_ALLOCATION_CHILD";
const INPUT_BYTES: usize = 1 << 20;
/// What decoding may take: all nodes, a copy of the input, and as much again for the allocator.
const ALLOWED_BYTES: u64 = 2 * (65_536 * 40 + (1 << 20));

/// `VmSize`: bytes of address space now. `VmPeak`: the most there ever were.
fn address_space_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with(key)).expect("the key");
    let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

fn unsigned(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn lists(levels: usize) -> Type {
    (0..levels).fold(Type::Bool, |inner, _| Type::list(inner))
}

/// Type and bytes: each claims more than it has, or as much as it can.
fn hostile() -> Vec<(Type, Bytes)> {
    let claim = |count: usize| {
        let mut bytes = unsigned(count);
        bytes.resize(INPUT_BYTES, 1);
        Bytes::from(bytes)
    };
    let mut all = Vec::new();
    for count in [1 << 16, 1 << 20, (1 << 20) - 3, 1 << 30, u32::MAX as usize, 1 << 40] {
        for element in [Type::Bool, Type::U64, lists(1), Type::Tuple(vec![]), Type::String] {
            all.push((Type::list(element), claim(count)));
        }
        all.push((Type::String, claim(count)));
        all.push((Type::Blob, claim(count)));
    }
    // Each level claims all that is left behind it, or all nodes.
    for each in [INPUT_BYTES - 200, 65_535, 60_000, 2_000] {
        let mut bytes: Vec<u8> = (0..30).flat_map(|_| unsigned(each)).collect();
        bytes.resize(INPUT_BYTES, 1);
        all.push((lists(30), bytes.into()));
    }
    for length in [65_535, 1 << 20, u32::MAX] {
        all.push((Type::FixedList(Box::new(lists(3)), length), claim(3)));
        let inner = Type::FixedList(Box::new(Type::Bool), length);
        all.push((Type::FixedList(Box::new(inner), length), claim(3)));
        let empty = Type::FixedList(Box::new(Type::Tuple(vec![])), length);
        all.push((Type::list(empty), claim(1 << 16)));
    }
    all
}

/// Descriptions that claim many members at each level.
fn hostile_descriptions() -> Vec<Bytes> {
    let kinds: [&[u8]; 4] = [b"\x0f", b"\x10", b"\x11", b"\x12"];
    let mut all = Vec::new();
    for kind in kinds {
        for count in [16_000, 1 << 19, u32::MAX as usize] {
            let mut bytes = b"\x01i\x01\x01f\x01\x01a".to_vec();
            for _ in 0..30 {
                bytes.extend(kind);
                bytes.extend(unsigned(count));
                if kind == b"\x0f" || kind == b"\x11" {
                    bytes.extend(b"\x01a");
                }
            }
            bytes.resize(INPUT_BYTES, 1);
            all.push(bytes.into());
        }
    }
    all
}

fn measure() {
    // All inputs live to the end, so that nothing shrinks and the peak is the sum.
    let values = hostile();
    let descriptions = hostile_descriptions();
    let before = address_space_bytes("VmSize");
    let grown = || address_space_bytes("VmPeak") - before;
    let mut decoded_count = 0;
    for (kind, bytes) in &values {
        decoded_count += u32::from(decode(bytes.clone(), kind, Limits::VALUE).is_ok());
        assert!(grown() <= ALLOWED_BYTES, "{} bytes for {kind}", grown());
    }
    // The string and the blob that have just as many bytes as they claim.
    assert_eq!(decoded_count, 2);
    for bytes in &descriptions {
        assert!(Interface::decode(bytes.clone()).is_err());
        assert!(grown() <= ALLOWED_BYTES, "{} bytes for a description", grown());
    }
    // The measure sees what it is there to see.
    let size = usize::try_from(ALLOWED_BYTES).unwrap();
    let seen = std::hint::black_box(Vec::<u8>::with_capacity(size));
    assert!(grown() >= ALLOWED_BYTES, "{} bytes", grown());
    drop(seen);
}

#[test]
fn hostile_bytes_do_not_make_the_decoder_allocate() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    // A second arena of the allocator would reserve more than we look for.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile_bytes_do_not_make_the_decoder_allocate", "--nocapture"])
        .env(CHILD, "1")
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    assert!(output.contains("1 passed"), "{output}");
}
