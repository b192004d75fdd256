//! Random well-formed types, and random values of a given type.

use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use quorate_wire::value::{Flags, Function, Interface, Type, Value};

fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    let name = "[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?";
    btree_set(name, count).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

fn with_names<T: std::fmt::Debug + Clone + 'static>(
    member: impl Strategy<Value = T> + Clone + 'static,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(String, T)>> {
    names(count).prop_flat_map(move |names| {
        let members = vec(member.clone(), names.len());
        (Just(names), members).prop_map(|(names, members)| names.into_iter().zip(members).collect())
    })
}

fn scalar() -> impl Strategy<Value = Type> {
    use Type::*;
    prop::sample::select(vec![
        Bool, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, Char, String, Blob,
    ])
}

pub fn any_type() -> impl Strategy<Value = Type> + Clone {
    let leaf = prop_oneof![
        6 => scalar(),
        1 => names(1..12).prop_map(Type::Enum),
        1 => names(1..40).prop_map(Type::Flags),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let inner = inner.boxed();
        let optional = prop::option::of(inner.clone());
        prop_oneof![
            inner.clone().prop_map(Type::list),
            (inner.clone(), 1u32..5).prop_map(|(kind, n)| Type::FixedList(Box::new(kind), n)),
            with_names(inner.clone(), 1..5).prop_map(Type::Record),
            vec(inner.clone(), 1..5).prop_map(Type::Tuple),
            with_names(optional.clone().boxed(), 1..5).prop_map(Type::Variant),
            inner.clone().prop_map(Type::option),
            (optional.clone(), optional).prop_map(|(ok, err)| Type::result(ok, err)),
        ]
    })
    .boxed()
}

pub fn any_function() -> impl Strategy<Value = Function> {
    let name = "[a-z][a-z0-9]{0,9}";
    let result = prop::option::of(any_type());
    (name, with_names(any_type(), 0..4), result).prop_map(|(name, parameters, result)| Function {
        name,
        parameters,
        result,
    })
}

pub fn any_interface() -> impl Strategy<Value = Interface> {
    let name = "[a-z]{1,8}:[a-z]{1,8}/[a-z]{1,8}(@[0-9]\\.[0-9]\\.[0-9])?";
    let functions = vec(any_function(), 0..4).prop_map(|mut functions| {
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions.dedup_by(|a, b| a.name == b.name);
        functions
    });
    (name, functions).prop_map(|(name, functions)| Interface { name, functions })
}

pub fn value_of(kind: &Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::S8 => any::<i8>().prop_map(Value::S8).boxed(),
        Type::U8 => any::<u8>().prop_map(Value::U8).boxed(),
        Type::S16 => any::<i16>().prop_map(Value::S16).boxed(),
        Type::U16 => any::<u16>().prop_map(Value::U16).boxed(),
        Type::S32 => any::<i32>().prop_map(Value::S32).boxed(),
        Type::U32 => any::<u32>().prop_map(Value::U32).boxed(),
        Type::S64 => wide().prop_map(|bits| Value::S64(bits.cast_signed())).boxed(),
        Type::U64 => wide().prop_map(Value::U64).boxed(),
        Type::F32 => any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits).into())).boxed(),
        Type::F64 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits).into())).boxed(),
        Type::Char => any::<char>().prop_map(Value::Char).boxed(),
        Type::String => any::<String>().prop_map(Value::String).boxed(),
        Type::Blob => bytes(0..40).boxed(),
        Type::List(element) if **element == Type::U8 => bytes(0..40).boxed(),
        Type::List(element) => vec(value_of(element), 0..6).prop_map(Value::List).boxed(),
        Type::FixedList(element, length) => {
            let length = *length as usize;
            if **element == Type::U8 {
                return bytes(length..length + 1).boxed();
            }
            vec(value_of(element), length).prop_map(Value::List).boxed()
        }
        Type::Record(fields) => {
            let members: Vec<_> = fields.iter().map(|(_, kind)| value_of(kind)).collect();
            members.prop_map(Value::Record).boxed()
        }
        Type::Tuple(kinds) => {
            let members: Vec<_> = kinds.iter().map(value_of).collect();
            members.prop_map(Value::Tuple).boxed()
        }
        _ => choice_of(kind),
    }
}

fn choice_of(kind: &Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Enum(names) => (0..index(names.len())).prop_map(Value::Enum).boxed(),
        Type::Variant(cases) => {
            let cases = cases.clone();
            let case = 0..cases.len();
            case.prop_flat_map(move |case| {
                let payload = payload_of(cases[case].1.as_ref());
                payload.prop_map(move |payload| Value::Variant { case: index(case), payload })
            })
            .boxed()
        }
        Type::Option(some) => {
            prop::option::of(value_of(some).prop_map(Box::new)).prop_map(Value::Option).boxed()
        }
        Type::Result { ok, err } => prop_oneof![
            payload_of(ok.as_deref()).prop_map(|payload| Value::Result(Ok(payload))),
            payload_of(err.as_deref()).prop_map(|payload| Value::Result(Err(payload))),
        ]
        .boxed(),
        Type::Flags(names) => vec(any::<bool>(), names.len())
            .prop_map(|set| {
                let mut flags = Flags::none(set.len());
                let chosen = set.iter().enumerate().filter(|(_, is_set)| **is_set);
                chosen.for_each(|(index, _)| assert!(flags.insert(index)));
                Value::Flags(flags)
            })
            .boxed(),
        _ => unreachable!("{kind} is not a choice"),
    }
}

fn payload_of(kind: Option<&Type>) -> BoxedStrategy<Option<Box<Value>>> {
    match kind {
        Some(kind) => value_of(kind).prop_map(|value| Some(Box::new(value))).boxed(),
        None => Just(None).boxed(),
    }
}

/// Numbers of all lengths: uniform ones have nine or ten bytes nearly always.
fn wide() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| bits >> shift)
}

fn bytes(count: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    vec(any::<u8>(), count).prop_map(|bytes| Value::Bytes(Bytes::from(bytes)))
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("small")
}
