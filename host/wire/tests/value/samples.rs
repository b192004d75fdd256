//! The types and values that docs/value-encoding.md shows, in its order. The bytes are in the
//! document only.

use bytes::Bytes;
use quorate_wire::value::{Flags, Function, Type, Value};

pub fn name(text: &str) -> String {
    text.to_owned()
}

pub fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

pub fn some(value: Value) -> Value {
    Value::Option(Some(Box::new(value)))
}

pub fn flags(count: usize, indexes: &[usize]) -> Value {
    let mut flags = Flags::none(count);
    for index in indexes {
        assert!(flags.insert(*index));
    }
    Value::Flags(flags)
}

pub fn fields() -> Type {
    Type::Record(vec![(name("path"), Type::String), (name("ttl"), Type::option(Type::U32))])
}

pub fn choice() -> Type {
    Type::Variant(vec![(name("now"), None), (name("node"), Some(Type::String))])
}

pub fn colour() -> Type {
    Type::Enum(names("red green blue"))
}

pub fn values() -> Vec<(Type, Value)> {
    let mut all = numbers();
    all.extend(compounds());
    all
}

fn numbers() -> Vec<(Type, Value)> {
    vec![
        (Type::Bool, Value::Bool(false)),
        (Type::Bool, Value::Bool(true)),
        (Type::U8, Value::U8(200)),
        (Type::S8, Value::S8(-1)),
        (Type::U16, Value::U16(127)),
        (Type::U16, Value::U16(128)),
        (Type::U16, Value::U16(u16::MAX)),
        (Type::U32, Value::U32(300)),
        (Type::U64, Value::U64(u64::MAX)),
        (Type::S16, Value::S16(-1)),
        (Type::S16, Value::S16(i16::MIN)),
        (Type::S32, Value::S32(1)),
        (Type::S32, Value::S32(-64)),
        (Type::S32, Value::S32(64)),
        (Type::S64, Value::S64(i64::MIN)),
        (Type::F32, Value::F32(1.5.into())),
        (Type::F32, Value::F32(f32::from_bits(0xffc1_2345).into())),
        (Type::F64, Value::F64(1.0.into())),
        (Type::F64, Value::F64((-0.0).into())),
        (Type::F64, Value::F64(f64::from_bits(0x7ff0_0000_0000_0001).into())),
        (Type::F64, Value::F64(f64::NEG_INFINITY.into())),
        (Type::Char, Value::Char('a')),
        (Type::Char, Value::Char('é')),
        (Type::Char, Value::Char('😀')),
    ]
}

fn compounds() -> Vec<(Type, Value)> {
    let bytes = |bytes: &[u8]| Value::Bytes(Bytes::copy_from_slice(bytes));
    let numbers = || vec![Value::U32(1), Value::U32(300)];
    let text = |text: &str| Some(Box::new(Value::from(text)));
    let bool_option = || Type::option(Type::Bool);
    let ok_or_text = |ok| Type::result(ok, Some(Type::String));
    vec![
        (Type::String, "".into()),
        (Type::String, "né".into()),
        (Type::list(Type::Bool), Value::List(vec![])),
        (Type::list(Type::U16), Value::List(vec![Value::U16(1), Value::U16(300)])),
        (Type::list(Type::U8), bytes(&[1, 2, 255])),
        (Type::Blob, bytes(&[0xde, 0xad])),
        (Type::FixedList(Box::new(Type::U8), 2), bytes(&[1, 2])),
        (Type::FixedList(Box::new(Type::U32), 2), Value::List(numbers())),
        (fields(), Value::Record(vec!["/a".into(), some(Value::U32(5))])),
        (Type::Tuple(vec![Type::U32, Type::String]), Value::Tuple(vec![Value::U32(7), "x".into()])),
        (choice(), Value::Variant { case: 0, payload: None }),
        (choice(), Value::Variant { case: 1, payload: text("/a") }),
        (colour(), Value::Enum(2)),
        (bool_option(), Value::Option(None)),
        (bool_option(), some(Value::Bool(false))),
        (Type::option(bool_option()), some(Value::Option(None))),
        (Type::result(None, None), Value::Result(Ok(None))),
        (Type::result(None, None), Value::Result(Err(None))),
        (Type::result(Some(Type::U64), None), Value::Result(Ok(Some(Box::new(Value::U64(9)))))),
        (ok_or_text(None), Value::Result(Ok(None))),
        (ok_or_text(Some(Type::U64)), Value::Result(Err(text("x")))),
        (Type::Flags(names("r w x")), flags(3, &[0, 2])),
        (Type::Flags(names("a b c d e f g h i")), flags(9, &[0, 8])),
    ]
}

pub fn functions() -> Vec<Function> {
    let outcome = Type::result(Some(Type::U64), Some(Type::Enum(names("busy gone"))));
    vec![
        Function { name: name("get"), parameters: vec![], result: None },
        Function {
            name: name("acquire"),
            parameters: vec![
                (name("path"), Type::String),
                (name("timeout"), Type::option(Type::U64)),
            ],
            result: Some(outcome),
        },
    ]
}
