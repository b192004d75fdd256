//! Descriptions: what is refused in them, what their hash covers, how they are shown.

use bytes::Bytes;
use expect_test::expect;
use quorate_wire::value::{
    DecodeCause, Function, INTERFACE_NAME_BYTES_MAX, Interface, LimitError, Limits, NAME_BYTES_MAX,
    Type, TypeError,
};

use super::samples::{functions, name, names};

fn interface() -> Interface {
    Interface { name: name("quorate:lock/lock@0.1.0"), functions: functions() }
}

fn function(parameters: &[(&str, Type)]) -> Function {
    let parameters = parameters.iter().map(|(name, kind)| (name.to_string(), kind.clone()));
    Function { name: name("move"), parameters: parameters.collect(), result: None }
}

#[test]
fn an_interface_is_shown_in_wit() {
    expect![[r#"
        interface quorate:lock/lock@0.1.0 {
          get: func();
          acquire: func(path: string, timeout: option<u64>) -> result<u64, enum { busy, gone }>;
        }"#]]
    .assert_eq(&interface().to_string());
}

#[test]
fn functions_are_sorted_by_name_in_the_bytes() {
    let mut reversed = interface();
    reversed.functions.reverse();
    let bytes = interface().encode().unwrap();
    assert_eq!(bytes, reversed.encode().unwrap());
    let decoded = Interface::decode(bytes).unwrap();
    assert_eq!(decoded.functions[0].name, "acquire");
    assert_eq!(decoded.function("get"), Some(&functions()[0]));
    assert_eq!(decoded.function("none"), None);

    let unsorted = Bytes::from_static(b"\x01i\x02\x01b\x00\x00\x01a\x00\x00");
    let error = Interface::decode(unsorted).unwrap_err();
    assert_eq!(error.cause, DecodeCause::NotSorted);
    let twice = Bytes::from_static(b"\x01i\x02\x01a\x00\x00\x01a\x00\x00");
    assert_eq!(Interface::decode(twice).unwrap_err().cause, DecodeCause::NotSorted);
}

#[test]
fn the_hash_covers_all_names_and_types() {
    let text = || Type::String;
    let base = function(&[("from", text()), ("to", text())]);
    let swapped = function(&[("to", text()), ("from", text())]);
    let retyped = function(&[("from", text()), ("to", Type::list(Type::Char))]);
    let renamed = Function { name: name("shift"), ..base.clone() };
    let returning = Function { result: Some(Type::Bool), ..base.clone() };
    for other in [swapped, retyped, renamed, returning] {
        assert_ne!(base.signature_hash(), other.signature_hash(), "{other}");
    }
    let field = |field: &str| function(&[("a", Type::Record(vec![(name(field), Type::Bool)]))]);
    assert_ne!(field("x").signature_hash(), field("y").signature_hash());
    let case = |cases: &str| function(&[("a", Type::Enum(names(cases)))]);
    assert_ne!(case("x y").signature_hash(), case("y x").signature_hash());
    let flag = function(&[("a", Type::Flags(names("x y")))]);
    assert_ne!(case("x y").signature_hash(), flag.signature_hash());
}

#[test]
fn bad_names_are_refused_on_both_sides() {
    for bad in ["", "-a", "a-", "a--b", "1a", "a_b", "a b", "ä", "a\u{1b}[31m"] {
        let refused = TypeError::BadName { name: name(bad) };
        let record = Type::Record(vec![(name(bad), Type::Bool)]);
        assert_eq!(record.encode(), Err(refused.clone()));
        let mut bytes = vec![0x0f, 1, u8::try_from(bad.len()).unwrap()];
        bytes.extend(bad.as_bytes());
        bytes.push(0);
        let error = Type::decode(bytes.into()).unwrap_err();
        assert_eq!(error.cause, DecodeCause::Type(refused.clone()));
        let whole = Function { name: name(bad), parameters: vec![], result: None };
        assert_eq!(whole.encode(), Err(refused.clone()));
        let case = Type::Variant(vec![(name(bad), None)]);
        assert_eq!(case.encode(), Err(refused.clone()));
        assert_eq!(Type::Enum(vec![name(bad)]).encode(), Err(refused.clone()));
        assert_eq!(Type::Flags(vec![name(bad)]).encode(), Err(refused));
    }
    for good in ["a", "a-b", "HTTP-get", "a1-2b"] {
        assert_eq!(Type::Enum(vec![name(good)]).check(), Ok(()));
    }
    for bad in ["", "a b", "a\n", "é"] {
        let whole = Interface { name: name(bad), functions: vec![] };
        assert_eq!(whole.encode(), Err(TypeError::BadName { name: name(bad) }));
    }
}

#[test]
fn long_names_are_refused_on_both_sides() {
    let limit = NAME_BYTES_MAX;
    let of_length = |bytes: u32| Type::Enum(vec!["a".repeat(bytes as usize)]);
    let longest = of_length(limit).encode().unwrap();
    assert_eq!(Type::decode(longest).unwrap(), of_length(limit));
    let refused = TypeError::NameTooLong { bytes: u64::from(limit) + 1, limit };
    assert_eq!(of_length(limit + 1).encode(), Err(refused.clone()));
    let mut bytes = vec![0x12, 1, 0x81, 1];
    bytes.extend([b'a'; 129]);
    let error = Type::decode(bytes.into()).unwrap_err();
    assert_eq!((error.position, error.cause), (2, DecodeCause::Type(refused)));
    let limit = INTERFACE_NAME_BYTES_MAX;
    let long = Interface { name: "a".repeat(limit as usize + 1), functions: vec![] };
    let refused = TypeError::NameTooLong { bytes: u64::from(limit) + 1, limit };
    assert_eq!(long.encode(), Err(refused));
}

#[test]
fn names_that_are_there_twice_are_refused() {
    let twice = |second: &str| TypeError::Duplicate { name: name(second) };
    assert_eq!(Type::Enum(names("a b a")).check(), Err(twice("a")));
    assert_eq!(Type::Flags(names("ab AB")).check(), Err(twice("AB")));
    let record = Type::Record(vec![(name("a"), Type::Bool), (name("a"), Type::U8)]);
    assert_eq!(record.check(), Err(twice("a")));
    let variant = Type::Variant(vec![(name("a"), None), (name("a"), Some(Type::U8))]);
    assert_eq!(variant.check(), Err(twice("a")));
    let parameters = function(&[("a", Type::Bool), ("a", Type::Bool)]);
    assert_eq!(parameters.check(), Err(twice("a")));
    let mut whole = interface();
    whole.functions.push(functions()[0].clone());
    assert_eq!(whole.encode(), Err(twice("get")));
    let bytes = Bytes::from_static(b"\x12\x02\x01a\x01a");
    assert_eq!(Type::decode(bytes).unwrap_err().cause, DecodeCause::Type(twice("a")));
}

#[test]
fn malformed_descriptions_are_refused() {
    let cause = |bytes: &'static [u8]| Type::decode(Bytes::from_static(bytes)).unwrap_err().cause;
    assert_eq!(cause(&[23]), DecodeCause::NoSuchKind { found: 23 });
    assert_eq!(cause(&[0, 0]), DecodeCause::TrailingBytes { count: 1 });
    assert_eq!(cause(&[]), DecodeCause::Truncated { needed: 1, left: 0 });
    assert_eq!(cause(&[0x0d]), DecodeCause::Truncated { needed: 1, left: 0 });
    assert_eq!(cause(&[0x14, 2]), DecodeCause::BadBool { found: 2 });
    assert_eq!(cause(&[0x12, 0x80, 0]), DecodeCause::NotMinimal);
    let empty = |kind| DecodeCause::Type(TypeError::Empty { kind });
    assert_eq!(cause(&[0x0e, 0, 2]), empty("list"));
    assert_eq!(cause(&[0x0f, 0]), empty("record"));
    assert_eq!(cause(&[0x10, 0]), empty("tuple"));
    assert_eq!(cause(&[0x11, 0]), empty("variant"));
    assert_eq!(cause(&[0x12, 0]), empty("enum"));
    assert_eq!(cause(&[0x15, 0]), empty("flags"));
}

#[test]
fn the_deepest_type_passes_and_one_level_more_is_refused() {
    let depth = Limits::DESCRIPTION.depth;
    let nested = |levels: u32| (1..levels).fold(Type::Bool, |inner, _| Type::option(inner));
    let bytes = nested(depth).encode().unwrap();
    assert_eq!(Type::decode(bytes), Ok(nested(depth)));
    let limit = LimitError::Depth { limit: depth };
    assert_eq!(nested(depth + 1).encode(), Err(TypeError::Limit(limit)));
    let error = Type::decode(Bytes::from(vec![0x13; 1_000_000])).unwrap_err();
    assert_eq!(error.cause, DecodeCause::Limit(limit));
}

/// Both sides count alike: the largest that is written can be read.
#[test]
fn the_largest_type_passes_and_one_node_more_is_refused() {
    let limit = LimitError::Nodes { limit: Limits::DESCRIPTION.nodes };
    let nodes = Limits::DESCRIPTION.nodes as usize;
    // A tuple of n: itself, n elements, n types.
    let tuple = |count: usize| Type::Tuple(vec![Type::Bool; count]);
    let bytes = tuple((nodes - 1) / 2).encode().unwrap();
    assert_eq!(Type::decode(bytes), Ok(tuple((nodes - 1) / 2)));
    assert_eq!(tuple(nodes / 2).encode(), Err(TypeError::Limit(limit)));
    let mut bytes = vec![0x10, 0x80, 0x80, 0x01];
    bytes.extend(vec![0; 16_384]);
    let error = Type::decode(bytes.into()).unwrap_err();
    assert_eq!(error.cause, DecodeCause::Limit(limit));

    let flags = |count: usize| Type::Flags((0..count).map(|index| format!("f{index}")).collect());
    let bytes = flags(nodes - 1).encode().unwrap();
    assert_eq!(Type::decode(bytes), Ok(flags(nodes - 1)));
    assert_eq!(flags(nodes).encode(), Err(TypeError::Limit(limit)));

    // An interface of n functions with one parameter each: n functions, n parameters, n types.
    let whole = |count: usize| {
        let functions = (0..count).map(|index| Function {
            name: format!("f{index:05}"),
            parameters: vec![(name("a"), Type::Bool)],
            result: None,
        });
        Interface { name: name("i"), functions: functions.collect() }
    };
    let bytes = whole(nodes / 3).encode().unwrap();
    assert_eq!(Interface::decode(bytes), Ok(whole(nodes / 3)));
    assert_eq!(whole(nodes / 3 + 1).encode(), Err(TypeError::Limit(limit)));
}
