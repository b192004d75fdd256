//! Shows values in WAVE, as far as the document needs it, so that its column of values is checked
//! too.

use quorate_wire::value::{Type, Value};

pub fn show(value: &Value, kind: &Type) -> String {
    match (value, kind) {
        (Value::Bool(value), _) => value.to_string(),
        (Value::S8(value), _) => value.to_string(),
        (Value::U8(value), _) => value.to_string(),
        (Value::S16(value), _) => value.to_string(),
        (Value::U16(value), _) => value.to_string(),
        (Value::S32(value), _) => value.to_string(),
        (Value::U32(value), _) => value.to_string(),
        (Value::S64(value), _) => value.to_string(),
        (Value::U64(value), _) => value.to_string(),
        (Value::F32(value), _) => value.to_f32().to_string().replace("NaN", "nan"),
        (Value::F64(value), _) => value.to_f64().to_string().replace("NaN", "nan"),
        (Value::Char(value), _) => format!("{value:?}"),
        (Value::String(value), _) => format!("{value:?}"),
        (Value::Bytes(value), _) => format!("{:?}", value.to_vec()),
        (Value::List(values), Type::List(element) | Type::FixedList(element, _)) => {
            format!("[{}]", joined(values.iter().map(|value| show(value, element))))
        }
        (Value::Record(values), Type::Record(fields)) => {
            let members = fields.iter().zip(values);
            let members =
                members.map(|((name, kind), value)| format!("{name}: {}", show(value, kind)));
            format!("{{{}}}", joined(members))
        }
        (Value::Tuple(values), Type::Tuple(elements)) => {
            let members = elements.iter().zip(values).map(|(kind, value)| show(value, kind));
            format!("({})", joined(members))
        }
        (Value::Variant { case, payload }, Type::Variant(cases)) => {
            let (name, kind) = &cases[*case as usize];
            show_case(name, payload.as_deref(), kind.as_ref())
        }
        (Value::Enum(case), Type::Enum(names)) => names[*case as usize].clone(),
        (Value::Option(None), Type::Option(_)) => "none".to_owned(),
        (Value::Option(value), Type::Option(some)) => {
            show_case("some", value.as_deref(), Some(some))
        }
        (Value::Result(Ok(value)), Type::Result { ok, .. }) => {
            show_case("ok", value.as_deref(), ok.as_deref())
        }
        (Value::Result(Err(value)), Type::Result { err, .. }) => {
            show_case("err", value.as_deref(), err.as_deref())
        }
        (Value::Flags(flags), Type::Flags(names)) => {
            format!("{{{}}}", joined(flags.iter().map(|index| names[index].clone())))
        }
        _ => panic!("{value:?} is not a {kind}"),
    }
}

fn show_case(name: &str, payload: Option<&Value>, kind: Option<&Type>) -> String {
    match (payload, kind) {
        (Some(value), Some(kind)) => format!("{name}({})", show(value, kind)),
        _ => name.to_owned(),
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
