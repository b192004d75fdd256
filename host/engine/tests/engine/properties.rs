//! Random types, values and components: every value comes back as it went in, and no bytes do worse than be refused.

use std::fmt::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use quorate_core::error::ErrorCode;
use quorate_core::recipe::RunEnd;
use quorate_engine::Engine;
use quorate_wire::value::{Type, Value};

use crate::guests;
use crate::support::{Again, Bench, PRELUDE, component, digest, engine};

#[path = "../../../wire/tests/value/strategies.rs"]
#[expect(dead_code, reason = "the value codec's own tests use more of it")]
mod strategies;

fn shared_engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(engine)
}

/// The type as a component can have it: no lists of a fixed length, at most 32 flags, and names that are nobody's keyword.
fn admissible(kind: Type) -> Type {
    let boxed = |kind: Box<Type>| Box::new(admissible(*kind));
    let name = |index: usize| format!("n{index}");
    match kind {
        Type::FixedList(element, length) => {
            Type::Tuple((0..length).map(|_| admissible((*element).clone())).collect())
        }
        Type::List(element) => Type::List(boxed(element)),
        Type::Option(some) => Type::Option(boxed(some)),
        Type::Result { ok, err } => Type::Result { ok: ok.map(boxed), err: err.map(boxed) },
        Type::Tuple(kinds) => Type::Tuple(kinds.into_iter().map(admissible).collect()),
        Type::Record(fields) => {
            let kinds = fields.into_iter().map(|(_, kind)| admissible(kind));
            Type::Record(kinds.enumerate().map(|(index, kind)| (name(index), kind)).collect())
        }
        Type::Variant(cases) => {
            let kinds = cases.into_iter().map(|(_, kind)| kind.map(admissible));
            Type::Variant(kinds.enumerate().map(|(index, kind)| (name(index), kind)).collect())
        }
        Type::Enum(names) => Type::Enum((0..names.len()).map(name).collect()),
        Type::Flags(names) => Type::Flags((0..names.len().min(32)).map(name).collect()),
        scalar => scalar,
    }
}

/// Declarations of the types that WIT has by name only.
#[derive(Default)]
struct Declarations {
    text: String,
    count: usize,
}

impl Declarations {
    /// How the type is written; what must be declared for that is declared.
    fn written(&mut self, kind: &Type) -> String {
        match kind {
            Type::List(element) => format!("list<{}>", self.written(element)),
            Type::Option(some) => format!("option<{}>", self.written(some)),
            Type::Tuple(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(|kind| self.written(kind)).collect();
                format!("tuple<{}>", kinds.join(", "))
            }
            Type::Result { ok, err } => {
                let mut side = |kind: &Option<Box<Type>>| {
                    kind.as_ref().map_or("_".to_owned(), |kind| self.written(kind))
                };
                match (side(ok), side(err)) {
                    (ok, err) if ok == "_" && err == "_" => "result".to_owned(),
                    (ok, err) if err == "_" => format!("result<{ok}>"),
                    (ok, err) => format!("result<{ok}, {err}>"),
                }
            }
            Type::Record(fields) => {
                let fields = fields.iter().map(|(name, kind)| {
                    let kind = self.written(kind);
                    format!("{name}: {kind}")
                });
                let fields = fields.collect();
                self.declare("record", fields)
            }
            Type::Variant(cases) => {
                let cases = cases.iter().map(|(name, kind)| match kind {
                    Some(kind) => format!("{name}({})", self.written(kind)),
                    None => name.clone(),
                });
                let cases = cases.collect();
                self.declare("variant", cases)
            }
            Type::Enum(names) => self.declare("enum", names.clone()),
            Type::Flags(names) => self.declare("flags", names.clone()),
            scalar => scalar.to_string(),
        }
    }

    fn declare(&mut self, keyword: &str, members: Vec<String>) -> String {
        let name = format!("t{}", self.count);
        self.count += 1;
        writeln!(self.text, "{keyword} {name} {{ {} }}", members.join(", ")).expect("a string");
        name
    }
}

/// Returns its argument. So much stands behind it that it is passed by address, which the guest gives back.
fn echo_of(kind: &Type) -> Bytes {
    let mut declarations = Declarations::default();
    let kind = declarations.written(kind);
    let padding = vec!["u64"; 17].join(", ");
    let wit = format!(
        "package test:guest@0.1.0;
         interface api {{
            use quorate:recipe/blobs@0.1.0.{{blob}};
            {}
            record whole {{ it: {kind}, padding: tuple<{padding}> }}
            echo: func(whole: whole) -> whole;
         }}
         world guest {{ include quorate:recipe/imports@0.1.0; export api; }}",
        declarations.text
    );
    let fields = format!(
        r#"{PRELUDE}
        (func (export "test:guest/api@0.1.0#echo") (param i32) (result i32) (local.get 0))"#
    );
    component(&wit, &fields)
}

fn typed_values() -> impl Strategy<Value = (Type, Vec<Value>)> {
    strategies::any_type().prop_map(admissible).prop_flat_map(|kind| {
        let values = vec(strategies::value_of(&kind), 1..6);
        (Just(kind), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_value_of_any_type_goes_in_and_comes_out_unchanged((kind, values) in typed_values()) {
        let guest = echo_of(&kind);
        let component = digest(&guest);
        shared_engine().prepare(component, guest).expect("admitted");
        let mut bench = Bench::on(shared_engine().clone(), component);
        bench.version.manifest.limits.time_ms = 10_000;
        let padding = Value::Tuple((0..17).map(Value::U64).collect());
        for value in values {
            let whole = Value::Record(vec![value, padding.clone()]);
            let echoed = bench.value("echo", std::slice::from_ref(&whole));
            prop_assert_eq!(echoed, Some(whole), "{}", kind);
        }
        shared_engine().forget(&component);
    }

    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), has_header in any::<bool>()) {
        let header: &[u8] = if has_header { b"\0asm\x0d\0\x01\0" } else { b"" };
        let bytes = Bytes::from([header, &bytes].concat());
        let refusal = shared_engine().prepare(digest(&bytes), bytes.clone()).expect_err("refused");
        prop_assert_eq!(refusal.code, ErrorCode::NotAdmitted);
    }

    #[test]
    fn a_damaged_component_is_refused_or_runs_within_its_limits(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        is_cut in any::<bool>(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = guests::various().to_vec();
        for (index, byte) in damage {
            *index.get_mut(&mut bytes) = byte;
        }
        if is_cut {
            bytes.truncate(at.index(bytes.len()));
        }
        let component = digest(&bytes);
        match shared_engine().prepare(component, bytes.into()) {
            Err(refusal) => prop_assert_eq!(refusal.code, ErrorCode::NotAdmitted),
            Ok(()) => {
                let mut bench = Bench::on(shared_engine().clone(), component);
                bench.version.manifest.limits.time_ms = 10;
                let interfaces = shared_engine().interfaces(&component).expect("prepared");
                for interface in interfaces {
                    for function in interface.functions {
                        let name = format!("{}.{}", interface.name, function.name);
                        let signature = u128::from(function.signature_hash());
                        let end = bench.run_bytes(&name, signature, Bytes::new(), Again::first());
                        let is_internal = matches!(&end, RunEnd::Failed(refusal) if refusal.code == ErrorCode::Internal);
                        prop_assert!(!is_internal, "{}: {:?}", name, end);
                    }
                }
            }
        }
        shared_engine().forget(&component);
    }
}
