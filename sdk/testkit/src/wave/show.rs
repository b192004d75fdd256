//! Values as WAVE text. It does not know how text is read.

use std::fmt::Write as _;

use quorate_wire::value::{Type, Value};
use wasm_wave::value::Value as Wave;
use wasm_wave::wasm::WasmValue as _;

/// A value of this type as text. Bytes of a blob are a string where they are text. What is not of its type is shown as the
/// kind of value that it is, in angle brackets.
pub(crate) fn show(value: &Value, kind: &Type) -> String {
    let mut text = String::new();
    put(&mut text, value, kind);
    text
}

fn put(out: &mut String, value: &Value, kind: &Type) {
    match (value, kind) {
        (Value::List(values), Type::List(kind) | Type::FixedList(kind, _)) => {
            group(out, "[]", values, |out, value| put(out, value, kind));
        }
        (Value::Bytes(bytes), Type::Blob) => match std::str::from_utf8(bytes) {
            Ok(text) => leaf(out, Wave::make_string(text.into())),
            Err(_) => group(out, "[]", bytes.as_ref(), write_plain),
        },
        (Value::Bytes(bytes), _) => group(out, "[]", bytes.as_ref(), write_plain),
        (Value::Record(values), Type::Record(fields)) => record(out, values, fields),
        (Value::Tuple(values), Type::Tuple(kinds)) => {
            group(out, "()", values.iter().zip(kinds), |out, (value, kind)| put(out, value, kind));
        }
        (Value::Variant { case, payload }, Type::Variant(cases)) => {
            let found = cases.get(index(*case));
            out.push_str(found.map_or("<no such case>", |(name, _)| name));
            enclosed(out, payload.as_deref(), found.and_then(|(_, kind)| kind.as_ref()));
        }
        (Value::Enum(case), Type::Enum(names)) => {
            out.push_str(names.get(index(*case)).map_or("<no such case>", String::as_str));
        }
        (Value::Option(None), _) => out.push_str("none"),
        (Value::Option(Some(value)), Type::Option(kind)) => {
            out.push_str("some");
            enclosed(out, Some(value.as_ref()), Some(kind.as_ref()));
        }
        (Value::Result(Ok(value)), Type::Result { ok, .. }) => {
            out.push_str("ok");
            enclosed(out, value.as_deref(), ok.as_deref());
        }
        (Value::Result(Err(value)), Type::Result { err, .. }) => {
            out.push_str("err");
            enclosed(out, value.as_deref(), err.as_deref());
        }
        (Value::Flags(flags), Type::Flags(names)) => {
            let set = flags.iter().filter_map(|at| names.get(at));
            group(out, "{}", set, |out, name| out.push_str(name));
        }
        (value, _) => scalar(out, value),
    }
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => write_plain(out, value),
        Value::S8(value) => write_plain(out, value),
        Value::U8(value) => write_plain(out, value),
        Value::S16(value) => write_plain(out, value),
        Value::U16(value) => write_plain(out, value),
        Value::S32(value) => write_plain(out, value),
        Value::U32(value) => write_plain(out, value),
        Value::S64(value) => write_plain(out, value),
        Value::U64(value) => write_plain(out, value),
        Value::F32(value) => leaf(out, Wave::make_f32(value.to_f32())),
        Value::F64(value) => leaf(out, Wave::make_f64(value.to_f64())),
        Value::Char(value) => leaf(out, Wave::make_char(*value)),
        Value::String(value) => leaf(out, Wave::make_string(value.as_str().into())),
        other => write_plain(out, format_args!("<{}>", other.kind())),
    }
}

fn record(out: &mut String, values: &[Value], fields: &[(String, Type)]) {
    let is_shown = |value: &Value| *value != Value::Option(None);
    let shown: Vec<_> = values.iter().zip(fields).filter(|(value, _)| is_shown(value)).collect();
    if shown.is_empty() {
        out.push_str("{:}");
        return;
    }
    group(out, "{}", shown, |out, (value, (name, kind))| {
        write_plain(out, format_args!("{name}: "));
        put(out, value, kind);
    });
}

fn enclosed(out: &mut String, value: Option<&Value>, kind: Option<&Type>) {
    if let (Some(value), Some(kind)) = (value, kind) {
        out.push('(');
        put(out, value, kind);
        out.push(')');
    }
}

fn group<T>(
    out: &mut String,
    brackets: &str,
    items: impl IntoIterator<Item = T>,
    mut put: impl FnMut(&mut String, T),
) {
    let (open, close) = brackets.split_at(1);
    out.push_str(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        put(out, item);
    }
    out.push_str(close);
}

fn leaf(out: &mut String, value: Wave) {
    match wasm_wave::to_string(&value) {
        Ok(text) => out.push_str(&text),
        Err(error) => write_plain(out, format_args!("<{error}>")),
    }
}

fn write_plain(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string does not fail");
}

fn index(case: u32) -> usize {
    usize::try_from(case).unwrap_or(usize::MAX)
}
