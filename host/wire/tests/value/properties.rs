//! What holds for all values, all types and all bytes.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use quorate_wire::value::{
    Function, Interface, Limits, Type, Value, decode, decode_arguments, encode, encode_arguments,
};

use super::strategies::{any_function, any_interface, any_type, value_of};

fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::with_cases(512)
    }
}

fn typed_value() -> impl Strategy<Value = (Type, Value)> {
    any_type().prop_flat_map(|kind| {
        let value = value_of(&kind);
        (Just(kind), value)
    })
}

fn call() -> impl Strategy<Value = (Function, Vec<Value>)> {
    any_function().prop_flat_map(|function| {
        let kinds = function.parameters.iter();
        let arguments: Vec<_> = kinds.map(|(_, kind)| value_of(kind)).collect();
        (Just(function), arguments)
    })
}

/// Replaces, inserts, removes or cuts at a place.
fn mutated(bytes: &[u8], edits: &[(prop::sample::Index, u8, u8)]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (place, how, byte) in edits {
        let place = place.index(bytes.len() + 1);
        match how % 4 {
            0 => bytes.insert(place, *byte),
            1 => bytes.truncate(place),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            _ if place < bytes.len() => bytes[place] = *byte,
            _ => {}
        }
    }
    bytes.into()
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0x80), Just(0), Just(1), Just(0xff)];
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), byte), 1..4)
}

/// Whatever decodes must be the one form of its value.
fn check_canonical(bytes: &Bytes, kind: &Type) -> Result<(), TestCaseError> {
    if let Ok(value) = decode(bytes.clone(), kind, Limits::VALUE) {
        prop_assert_eq!(bytes, &encode(&value, kind, Limits::VALUE).unwrap());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_value_comes_back_from_its_bytes((kind, value) in typed_value()) {
        let bytes = encode(&value, &kind, Limits::VALUE).unwrap();
        prop_assert_eq!(value, decode(bytes, &kind, Limits::VALUE).unwrap());
    }

    #[test]
    fn arguments_come_back_from_their_bytes((function, arguments) in call()) {
        let bytes = encode_arguments(&function, &arguments, Limits::VALUE).unwrap();
        prop_assert_eq!(arguments, decode_arguments(&function, bytes, Limits::VALUE).unwrap());
    }

    #[test]
    fn random_bytes_are_refused_or_canonical(
        kind in any_type(),
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..24),
    ) {
        check_canonical(&bytes.into(), &kind)?;
    }

    #[test]
    fn mutated_bytes_are_refused_or_canonical((kind, value) in typed_value(), edits in edits()) {
        let bytes = encode(&value, &kind, Limits::VALUE).unwrap();
        check_canonical(&mutated(&bytes, &edits), &kind)?;
    }

    #[test]
    fn every_beginning_of_the_bytes_is_refused((kind, value) in typed_value()) {
        let bytes = encode(&value, &kind, Limits::VALUE).unwrap();
        for end in 0..bytes.len() {
            prop_assert!(decode(bytes.slice(..end), &kind, Limits::VALUE).is_err());
        }
    }

    #[test]
    fn bytes_of_one_type_never_panic_under_another(
        (_, value, bytes) in typed_value().prop_map(|(kind, value)| {
            let bytes = encode(&value, &kind, Limits::VALUE).unwrap();
            (kind, value, bytes)
        }),
        other in any_type(),
    ) {
        check_canonical(&bytes, &other)?;
        if let Ok(bytes) = encode(&value, &other, Limits::VALUE) {
            prop_assert_eq!(value, decode(bytes, &other, Limits::VALUE).unwrap());
        }
    }

    #[test]
    fn descriptions_come_back_from_their_bytes(interface in any_interface()) {
        let bytes = interface.encode().unwrap();
        prop_assert_eq!(&interface, &Interface::decode(bytes).unwrap());
        for function in &interface.functions {
            let bytes = function.encode().unwrap();
            prop_assert_eq!(function, &Function::decode(bytes).unwrap());
        }
    }

    #[test]
    fn mutated_descriptions_are_refused_or_canonical(
        interface in any_interface(),
        edits in edits(),
    ) {
        let bytes = mutated(&interface.encode().unwrap(), &edits);
        if let Ok(interface) = Interface::decode(bytes.clone()) {
            prop_assert_eq!(bytes, interface.encode().unwrap());
        }
    }

    #[test]
    fn different_functions_have_different_hashes(a in any_function(), b in any_function()) {
        prop_assert_eq!(a == b, a.signature_hash() == b.signature_hash());
    }
}
