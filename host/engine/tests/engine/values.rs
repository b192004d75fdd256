//! Arguments and results: every kind of type there and back, and what is refused.

use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::recipe::RunEnd;
use quorate_wire::value::{Flags, Limits, Value, encode_arguments};

use crate::guests;
use crate::support::{Again, Bench};

fn some(value: Value) -> Value {
    Value::Option(Some(Box::new(value)))
}

fn flags(set: &[usize]) -> Value {
    let mut flags = Flags::none(10);
    for &index in set {
        assert!(flags.insert(index));
    }
    Value::Flags(flags)
}

fn case(case: u32, payload: Option<Value>) -> Value {
    Value::Variant { case, payload: payload.map(Box::new) }
}

fn inner(a: Value, b: Value, c: Value) -> Value {
    Value::Record(vec![a, b, c, Value::Result(Err(None))])
}

fn path() -> Value {
    let points = [(i32::MIN, i32::MAX), (0, -1)];
    let points = points.map(|(x, y)| Value::Tuple(vec![Value::S32(x), Value::S32(y)]));
    case(2, Some(Value::List(points.to_vec())))
}

/// Values at the ends of their ranges.
fn extreme() -> Value {
    let failed = Value::Result(Err(Some(Box::new("gone".into()))));
    let right = Value::Result(Ok(Some(Box::new(Value::U64(u64::MAX)))));
    let full = inner(some(some(Value::U8(255))), failed, right);
    let deep = Value::Tuple(vec![Value::Char('\u{10ffff}'), Value::F32(f32::NEG_INFINITY.into())]);
    Value::Record(vec![
        Value::Bool(true),
        Value::S8(i8::MIN),
        Value::U8(u8::MAX),
        Value::S16(i16::MIN),
        Value::U16(u16::MAX),
        Value::S32(i32::MIN),
        Value::U32(u32::MAX),
        Value::S64(i64::MIN),
        Value::U64(u64::MAX),
        Value::F32(f32::NAN.into()),
        Value::F64((-0.0).into()),
        Value::Char('\u{10ffff}'),
        "tex\u{0}t, ü and 🦀".into(),
        Value::Bytes(Bytes::from_static(&[0, 255, 1])),
        Value::List(vec!["".into(), "two".into()]),
        Value::List(vec![Value::F64(f64::NAN.into()), Value::F64(f64::MIN_POSITIVE.into())]),
        Value::Tuple(vec![Value::U8(7), "seven".into()]),
        Value::Enum(2),
        flags(&[0, 8, 9]),
        case(3, Some(some("shape".into()))),
        Value::List(vec![case(0, None), case(1, Some(Value::F64(0.5.into()))), path()]),
        full.clone(),
        Value::List(vec![full]),
        Value::List(vec![Value::List(vec![]), Value::List(vec![some(deep), Value::Option(None)])]),
    ])
}

/// Empty and zero wherever that is possible.
fn empty() -> Value {
    let none = inner(some(Value::Option(None)), Value::Result(Ok(None)), Value::Result(Err(None)));
    Value::Record(vec![
        Value::Bool(false),
        Value::S8(0),
        Value::U8(0),
        Value::S16(-1),
        Value::U16(0),
        Value::S32(-1),
        Value::U32(0),
        Value::S64(-1),
        Value::U64(0),
        Value::F32(0.0.into()),
        Value::F64(f64::INFINITY.into()),
        Value::Char('\u{0}'),
        "".into(),
        Value::Bytes(Bytes::new()),
        Value::List(vec![]),
        Value::List(vec![]),
        Value::Tuple(vec![Value::U8(0), "".into()]),
        Value::Enum(0),
        flags(&[]),
        case(0, None),
        Value::List(vec![]),
        none,
        Value::List(vec![]),
        Value::List(vec![]),
    ])
}

#[test]
fn every_kind_of_value_goes_in_and_comes_out_unchanged() {
    let mut bench = Bench::new(guests::echo());
    for value in [extreme(), empty()] {
        assert_eq!(bench.value("echo", std::slice::from_ref(&value)), Some(value));
    }
    assert_eq!(bench.value("nothing", &[]), None);
}

#[test]
fn bytes_that_are_no_arguments_are_a_bad_value() {
    let mut bench = Bench::new(guests::echo());
    let function = bench.function("echo");
    let good = encode_arguments(&function, &[extreme()], Limits::VALUE).expect("well-typed");
    let signature = u128::from(function.signature_hash());
    let mut longer = good.to_vec();
    longer.push(0);
    for bad in [Bytes::new(), good.slice(..good.len() - 1), longer.into()] {
        let end = bench.run_bytes("echo", signature, bad, Again::first());
        let RunEnd::Failed(refusal) = end else { panic!("{end:?}") };
        assert_eq!(refusal.code, ErrorCode::BadValue);
    }
    let end = bench.run_bytes("echo", signature + 1, good, Again::first());
    let RunEnd::Failed(refusal) = end else { panic!("{end:?}") };
    assert_eq!(refusal.code, ErrorCode::SignatureChanged);
}

#[test]
fn a_function_is_found_by_the_names_that_are_unambiguous() {
    let mut bench = Bench::new(guests::various());
    let one = Some(Value::U64(1));
    for name in ["api.count", "other.count", "test:guest/api@0.1.0.count"] {
        assert_eq!(bench.value(name, &[]), one, "{name}");
    }
    assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)));
    assert_eq!(bench.value("world.plain", &[]), Some(Value::U32(42)));
    let refusal = bench.failure("count", &[]);
    assert_eq!(refusal.code, ErrorCode::NoFunction);
    assert!(refusal.message.contains("api.count, other.count"), "{refusal}");
    for name in ["", "api", "init", "world.init", "cabi_realloc", "third.count"] {
        let end = bench.run_bytes(name, 0, Bytes::new(), Again::first());
        let RunEnd::Failed(refusal) = end else { panic!("{end:?}") };
        assert_eq!(refusal.code, ErrorCode::NoFunction, "{name}");
    }
}

#[test]
fn a_caller_is_checked_against_every_name_of_the_function() {
    let mut bench = Bench::new(guests::various());
    let callers = &mut bench.version.manifest.callers;
    callers.insert("*".to_owned(), vec!["*".to_owned()]);
    callers.insert("api.count".to_owned(), vec!["bob".to_owned()]);
    for name in ["api.count", "test:guest/api@0.1.0.count"] {
        assert_eq!(bench.failure(name, &[]).code, ErrorCode::NoAccess, "{name}");
    }
    assert_eq!(bench.value("other.count", &[]), Some(Value::U64(1)));
}

#[test]
fn a_list_of_bytes_is_capped_and_names_the_blob() {
    let mut bench = Bench::new(guests::various());
    let list = |bytes: usize| Value::Bytes(Bytes::from(vec![1; bytes]));
    assert_eq!(bench.value("sum", &[list(64 * 1024)]), Some(Value::U32(64 * 1024)));
    let refusal = bench.failure("sum", &[list(64 * 1024 + 1)]);
    assert_eq!(refusal.code, ErrorCode::LimitPassed);
    assert!(refusal.message.contains("blob") && refusal.message.contains("65537"), "{refusal}");
}

#[test]
fn results_that_are_too_long_or_not_of_their_type_are_refused() {
    let mut bench = Bench::new(guests::various());
    for (name, code, part) in [
        ("long-list", ErrorCode::RecipeOverLimit, "4194304 bytes"),
        ("long-text", ErrorCode::RecipeOverLimit, "bytes of a result: 2000000"),
        ("bad-char", ErrorCode::RecipeTrapped, "char"),
    ] {
        let refusal = bench.failure(name, &[]);
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert!(refusal.message.contains(part), "{name}: {refusal}");
    }
}
