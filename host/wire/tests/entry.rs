//! Log entries: every one comes back, old bytes are still read and new bytes unchanged, and nothing that a disk or a
//! peer can hand over panics the decoder.

mod entry_values;
mod golden_file;
mod parts;

use bytes::Bytes;
use entry_values::{batch_of_everything, entries};
use proptest::prelude::*;
use quorate_core::ids::{Epoch, NamespaceId, Term};
use quorate_core::transaction::{Entry, EntryBody};
use quorate_wire::entry::{decode, encode};

fn check_golden(file: &expect_test::ExpectFile, title: &str, namespace: NamespaceId, entry: Entry) {
    golden_file::check(
        file,
        title,
        &[(namespace, entry)],
        |(namespace, entry)| encode(*namespace, entry),
        |bytes| decode(bytes).expect("the golden bytes are an entry"),
    );
}

#[test]
fn the_bytes_of_a_barrier_stay() {
    let entry = Entry { term: Term(7), epoch: Epoch(300), body: EntryBody::Barrier };
    check_golden(
        &expect_test::expect_file!["golden/entry-barrier.hex"],
        "A barrier of term 7, epoch 300, in namespace 1.",
        NamespaceId(1),
        entry,
    );
}

#[test]
fn the_bytes_of_a_batch_stay() {
    check_golden(
        &expect_test::expect_file!["golden/entry-batch.hex"],
        "A batch with each change, origin and outcome, in the default namespace.",
        NamespaceId::DEFAULT,
        batch_of_everything(),
    );
}

#[test]
fn every_mutation_of_a_byte_is_read_or_refused() {
    let bytes = encode(NamespaceId::DEFAULT, &batch_of_everything());
    for at in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut mutated = bytes.to_vec();
            mutated[at] = value;
            let mutated = Bytes::from(mutated);
            if let Ok((namespace, entry)) = decode(mutated.clone()) {
                assert_eq!(encode(namespace, &entry), mutated, "byte {at} set to {value}");
            }
        }
    }
}

#[test]
fn every_front_part_is_refused() {
    let bytes = encode(NamespaceId::DEFAULT, &batch_of_everything());
    for length in 0..bytes.len() {
        assert!(decode(bytes.slice(..length)).is_err(), "the first {length} bytes");
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let mut bytes = encode(NamespaceId::DEFAULT, &batch_of_everything()).to_vec();
    bytes.push(0);
    assert!(decode(Bytes::from(bytes)).is_err());
}

#[test]
fn an_unknown_version_is_named() {
    let error = decode(Bytes::from_static(&[2, 0, 1, 1, 0])).expect_err("version 2");
    assert_eq!(error.what, "entry version");
}

#[test]
fn zxids_with_a_gap_are_refused() {
    let mut entry = batch_of_everything();
    let EntryBody::Batch { base, .. } = &mut entry.body else { panic!("a batch") };
    *base = base.next();
    assert_eq!(
        decode(encode(NamespaceId::DEFAULT, &entry)).expect_err("a gap").what,
        "zxid of a transaction"
    );
}

#[test]
fn a_base_at_the_end_of_numbers_is_refused() {
    // version, namespace, term, epoch, batch, base = 2^64 - 1, one transaction: zxid 0, time 0, host, no changes, none.
    let mut bytes = vec![1, 0, 1, 1, 1];
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
    assert!(decode(Bytes::from(bytes)).is_err());
}

#[test]
fn a_batch_of_nothing_is_refused() {
    assert!(decode(Bytes::from_static(&[1, 0, 1, 1, 1, 5, 0])).is_err());
}

#[test]
fn a_count_beyond_the_bytes_is_refused() {
    assert!(decode(Bytes::from_static(&[1, 0, 1, 1, 1, 5, 0xff, 0x07])).is_err());
}

proptest! {
    #[test]
    fn every_entry_comes_back(namespace: u32, entry in entries()) {
        let bytes = encode(NamespaceId(namespace), &entry);
        prop_assert_eq!(decode(bytes), Ok((NamespaceId(namespace), entry)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(tail: Vec<u8>) {
        let mut bytes = vec![1, 0, 1, 1, 1];
        bytes.extend_from_slice(&tail);
        let _either = decode(Bytes::from(bytes)).is_ok();
    }
}
