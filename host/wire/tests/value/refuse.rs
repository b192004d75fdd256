//! Every refusal that the tables of the document do not show: values of another type, and limits.

use bytes::Bytes;
use quorate_wire::value::{
    DecodeCause, EncodeCause, Flags, Function, LimitError, Limits, Type, TypeError, Value, decode,
    decode_arguments, decode_result, encode, encode_arguments, encode_result,
};

use super::samples::{choice, colour, fields, flags, functions, name, names, some};

#[track_caller]
fn check(kind: &Type, value: Value, message: &str) {
    let error = encode(&value, kind, Limits::VALUE).unwrap_err();
    assert_eq!(message, error.to_string());
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_place() {
    check(&Type::Bool, Value::U8(1), "value: expected bool, found u8");
    check(&Type::U32, Value::U16(1), "value: expected u32, found u16");
    let record = |path, ttl| Value::Record(vec![path, ttl]);
    let ttl = some(Value::Bool(true));
    let message = "value.ttl.some: expected u32, found bool";
    check(&fields(), record("/a".into(), ttl), message);
    let nested = Type::list(Type::Tuple(vec![Type::Bool, choice()]));
    let payload = Some(Box::new(Value::Enum(0)));
    let tuple = Value::Tuple(vec![Value::Bool(true), Value::Variant { case: 1, payload }]);
    let message = "value[0].1.node: expected string, found enum";
    check(&nested, Value::List(vec![tuple]), message);
    let outcome = Type::result(Some(Type::U8), Some(Type::U8));
    let wrong = || Some(Box::new(Value::Bool(true)));
    check(&outcome, Value::Result(Ok(wrong())), "value.ok: expected u8, found bool");
    check(&outcome, Value::Result(Err(wrong())), "value.err: expected u8, found bool");
}

#[test]
fn a_list_of_u8_has_one_form_in_memory() {
    let list = || Value::List(vec![Value::U8(1)]);
    let bytes = || Value::Bytes(Bytes::from_static(&[1]));
    let message = "value: expected bytes, found list";
    check(&Type::list(Type::U8), list(), message);
    check(&Type::FixedList(Box::new(Type::U8), 1), list(), message);
    check(&Type::Blob, list(), message);
    let message = "value: expected list, found bytes";
    check(&Type::list(Type::S8), bytes(), message);
    check(&Type::FixedList(Box::new(Type::S8), 1), bytes(), message);
}

#[test]
fn a_wrong_number_of_members_is_refused() {
    let two = Type::Tuple(vec![Type::Bool, Type::Bool]);
    let message = "value: expected 2 members, found 1";
    check(&two, Value::Tuple(vec![Value::Bool(true)]), message);
    check(&fields(), Value::Record(vec!["/".into()]), message);
    let fixed = |kind| Type::FixedList(Box::new(kind), 2);
    check(&fixed(Type::Bool), Value::List(vec![Value::Bool(true)]), message);
    check(&fixed(Type::U8), Value::Bytes(Bytes::from_static(&[1])), message);
    check(&Type::Flags(names("r w")), flags(1, &[]), message);
}

#[test]
fn a_case_that_does_not_exist_is_refused() {
    check(&colour(), Value::Enum(3), "value: case 3 is not one of 3");
    let beyond = Value::Variant { case: 2, payload: None };
    check(&choice(), beyond, "value: case 2 is not one of 2");
    assert!(!Flags::none(3).insert(3));
    assert!(!Flags::none(3).contains(3));
}

#[test]
fn a_payload_must_be_there_exactly_when_its_type_is() {
    let payload = || Some(Box::new(Value::from("x")));
    let missing = "the payload is missing";
    let unexpected = "there is a payload where the type has none";
    let variant = |case, payload| Value::Variant { case, payload };
    check(&choice(), variant(0, payload()), &format!("value.now: {unexpected}"));
    check(&choice(), variant(1, None), &format!("value.node: {missing}"));
    let only_err = Type::result(None, Some(Type::String));
    check(&only_err, Value::Result(Ok(payload())), &format!("value.ok: {unexpected}"));
    check(&only_err, Value::Result(Err(None)), &format!("value.err: {missing}"));
}

#[test]
fn arguments_and_results_must_fit_their_function() {
    let [get, acquire] = functions().try_into().expect("two samples");
    let arguments = |function: &Function, arguments: &[Value]| {
        encode_arguments(function, arguments, Limits::VALUE)
    };
    let error = arguments(&acquire, &["/a".into()]).unwrap_err();
    assert_eq!("arguments: expected 2 members, found 1", error.to_string());
    let error = arguments(&acquire, &["/a".into(), some(Value::Bool(true))]).unwrap_err();
    assert_eq!("argument timeout.some: expected u64, found bool", error.to_string());
    let bytes = arguments(&acquire, &["/a".into(), Value::Option(None)]).unwrap();
    assert_eq!(&bytes[..], b"\x02/a\x00");
    assert_eq!(arguments(&get, &[]).unwrap(), Bytes::new());
    let trailing = decode_arguments(&get, Bytes::from_static(&[0]), Limits::VALUE).unwrap_err();
    assert_eq!(trailing.cause, DecodeCause::TrailingBytes { count: 1 });
    let more = Bytes::from_static(b"\x02/a\x00\x00");
    let trailing = decode_arguments(&acquire, more, Limits::VALUE).unwrap_err();
    assert_eq!(trailing.cause, DecodeCause::TrailingBytes { count: 1 });
    assert_eq!(trailing.position, 4);

    let result =
        |function: &Function, value: Option<&Value>| encode_result(function, value, Limits::VALUE);
    let ok = Value::Result(Ok(Some(Box::new(Value::U64(7)))));
    assert_eq!(result(&get, None).unwrap(), Bytes::new());
    assert_eq!(decode_result(&get, Bytes::new(), Limits::VALUE), Ok(None));
    let bytes = result(&acquire, Some(&ok)).unwrap();
    assert_eq!(decode_result(&acquire, bytes, Limits::VALUE), Ok(Some(ok.clone())));
    assert_eq!(result(&get, Some(&ok)).unwrap_err().cause, EncodeCause::UnexpectedPayload);
    assert_eq!(result(&acquire, None).unwrap_err().cause, EncodeCause::MissingPayload);
    let trailing = decode_result(&get, Bytes::from_static(&[0]), Limits::VALUE).unwrap_err();
    assert_eq!(trailing.cause, DecodeCause::TrailingBytes { count: 1 });
}

fn nested(levels: u32) -> (Type, Value) {
    let start = (Type::Bool, Value::Bool(true));
    (1..levels).fold(start, |(kind, value), _| (Type::list(kind), Value::List(vec![value])))
}

#[test]
fn the_deepest_value_passes_and_one_level_more_is_refused_on_both_sides() {
    let (kind, value) = nested(Limits::VALUE.depth);
    let bytes = encode(&value, &kind, Limits::VALUE).unwrap();
    assert_eq!(decode(bytes, &kind, Limits::VALUE), Ok(value));

    let (kind, value) = nested(Limits::VALUE.depth + 1);
    let limit = LimitError::Depth { limit: Limits::VALUE.depth };
    let error = encode(&value, &kind, Limits::VALUE).unwrap_err();
    assert_eq!(error.cause, EncodeCause::Limit(limit));
    let bytes = Bytes::from(vec![1; Limits::VALUE.depth as usize + 1]);
    let error = decode(bytes, &kind, Limits::VALUE).unwrap_err();
    assert_eq!(error.cause, DecodeCause::Limit(limit));
    assert_eq!(error.position, u64::from(Limits::VALUE.depth));
}

#[test]
fn levels_are_counted_down_a_branch_and_not_along_a_list() {
    let limits = Limits { depth: 2, nodes: 1_000 };
    let kind = Type::list(Type::Bool);
    let value = Value::List(vec![Value::Bool(true); 100]);
    let bytes = encode(&value, &kind, limits).unwrap();
    assert_eq!(decode(bytes, &kind, limits), Ok(value));
}

#[test]
fn the_largest_value_passes_and_one_node_more_is_refused_on_both_sides() {
    let three = || {
        vec![
            Type::list(Type::list(Type::Bool)),
            Type::Tuple(vec![Type::Bool; 3]),
            Type::Record(names("a b c").into_iter().map(|name| (name, Type::Bool)).collect()),
            Type::FixedList(Box::new(Type::Bool), 3),
            Type::option(Type::option(Type::option(Type::Bool))),
            Type::Variant(vec![(name("a"), Some(Type::Tuple(vec![Type::Bool; 2])))]),
            Type::result(Some(Type::Tuple(vec![Type::Bool; 2])), None),
        ]
    };
    // Four nodes each: the value itself and three in it.
    let inputs: [&[u8]; 7] =
        [&[2, 1, 0, 0], &[0; 3], &[0; 3], &[0; 3], &[1, 1, 1, 0], &[0; 3], &[0; 3]];
    for (kind, input) in three().iter().zip(inputs) {
        let input = Bytes::copy_from_slice(input);
        let enough = Limits { depth: 9, nodes: 4 };
        let short = Limits { depth: 9, nodes: 3 };
        let value = decode(input.clone(), kind, enough).unwrap();
        assert_eq!(encode(&value, kind, enough).unwrap(), input, "{kind}");
        let limit = LimitError::Nodes { limit: 3 };
        let error = decode(input, kind, short).unwrap_err();
        assert_eq!(error.cause, DecodeCause::Limit(limit), "{kind}");
        let error = encode(&value, kind, short).unwrap_err();
        assert_eq!(error.cause, EncodeCause::Limit(limit), "{kind}");
    }
}

#[test]
fn types_without_members_are_refused_on_both_sides() {
    let tuple = (Type::Tuple(vec![]), Value::Tuple(vec![]));
    let record = (Type::Record(vec![]), Value::Record(vec![]));
    let flags = (Type::Flags(vec![]), flags(0, &[]));
    let list = (Type::FixedList(Box::new(Type::Bool), 0), Value::List(vec![]));
    let bytes = (Type::FixedList(Box::new(Type::U8), 0), Value::Bytes(Bytes::new()));
    for (kind, value) in [tuple, record, flags, list, bytes] {
        let empty = TypeError::Empty { kind: kind.kind() };
        assert_eq!(kind.check(), Err(empty.clone()));
        let error = encode(&value, &kind, Limits::VALUE).unwrap_err();
        assert_eq!(error.cause, EncodeCause::Type(empty.clone()));
        let error = decode(Bytes::new(), &kind, Limits::VALUE).unwrap_err();
        assert_eq!(error.cause, DecodeCause::Type(empty));
    }
    for kind in [Type::Enum(vec![]), Type::Variant(vec![])] {
        assert_eq!(kind.check(), Err(TypeError::Empty { kind: kind.kind() }));
        let error = decode(Bytes::from_static(&[0]), &kind, Limits::VALUE).unwrap_err();
        assert_eq!(error.cause, DecodeCause::NoSuchCase { case: 0, count: 0 });
    }
}

#[test]
fn a_decoded_blob_is_a_part_of_the_input() {
    let input = Bytes::from(vec![3, 1, 2, 3]);
    let Value::Bytes(blob) = decode(input.clone(), &Type::Blob, Limits::VALUE).unwrap() else {
        panic!("not bytes");
    };
    assert_eq!(blob.as_ptr(), input[1..].as_ptr());
}
