//! Values as text. It does not know how text is read.

use std::fmt::Write;

use quorate_wire::value::{Type, Value};
use wasm_wave::lex::Keyword;
use wasm_wave::value::Value as Leaf;
use wasm_wave::wasm::WasmValue;

/// A value of this type, as WAVE text. Where the two do not agree, the value's kind is shown in angle brackets.
#[must_use]
pub fn show(value: &Value, kind: &Type) -> String {
    let mut text = String::new();
    write(&mut text, value, kind);
    text
}

fn write(text: &mut String, value: &Value, kind: &Type) {
    match (value, kind) {
        (Value::String(string), _) => leaf(text, &Leaf::make_string(string.as_str().into())),
        (Value::Char(char), _) => leaf(text, &Leaf::make_char(*char)),
        (Value::F32(number), _) => leaf(text, &Leaf::make_f32(number.to_f32())),
        (Value::F64(number), _) => leaf(text, &Leaf::make_f64(number.to_f64())),
        (Value::Bytes(bytes), Type::Blob) => match std::str::from_utf8(bytes) {
            Ok(string) => leaf(text, &Leaf::make_string(string.into())),
            Err(_) => write_bytes(text, bytes),
        },
        (Value::Bytes(bytes), _) => write_bytes(text, bytes),
        (Value::List(values), Type::List(kind) | Type::FixedList(kind, _)) => {
            write_all(text, ['[', ']'], values, |text, value| write(text, value, kind));
        }
        (Value::Tuple(values), Type::Tuple(kinds)) => {
            let pairs = values.iter().zip(kinds);
            write_all(text, ['(', ')'], pairs, |text, (value, kind)| write(text, value, kind));
        }
        (Value::Record(values), Type::Record(fields)) => write_record(text, values, fields),
        (Value::Variant { case, payload }, Type::Variant(cases)) => {
            let case = usize::try_from(*case).ok().and_then(|case| cases.get(case));
            let Some((name, kind)) = case else { return unknown(text, value) };
            label(text, name);
            write_payload(text, payload.as_deref(), kind.as_ref());
        }
        (Value::Enum(case), Type::Enum(names)) => {
            match usize::try_from(*case).ok().and_then(|case| names.get(case)) {
                Some(name) => label(text, name),
                None => unknown(text, value),
            }
        }
        (Value::Option(None), _) => text.push_str("none"),
        (Value::Option(Some(value)), Type::Option(kind)) => {
            text.push_str("some");
            write_payload(text, Some(value), Some(kind));
        }
        (Value::Result(Ok(payload)), Type::Result { ok, .. }) => {
            text.push_str("ok");
            write_payload(text, payload.as_deref(), ok.as_deref());
        }
        (Value::Result(Err(payload)), Type::Result { err, .. }) => {
            text.push_str("err");
            write_payload(text, payload.as_deref(), err.as_deref());
        }
        (Value::Flags(flags), Type::Flags(names)) => {
            let set = flags.iter().filter_map(|at| names.get(at));
            write_all(text, ['{', '}'], set, |text, name| text.push_str(name));
        }
        (value, _) => write_number(text, value),
    }
}

/// What shows itself without its type.
fn write_number(text: &mut String, value: &Value) {
    let number: &dyn std::fmt::Display = match value {
        Value::Bool(value) => value,
        Value::S8(value) => value,
        Value::U8(value) => value,
        Value::S16(value) => value,
        Value::U16(value) => value,
        Value::S32(value) => value,
        Value::U32(value) => value,
        Value::S64(value) => value,
        Value::U64(value) => value,
        _ => return unknown(text, value),
    };
    display(text, format_args!("{number}"));
}

fn write_bytes(text: &mut String, bytes: &[u8]) {
    write_all(text, ['[', ']'], bytes, |text, byte| display(text, format_args!("{byte}")));
}

/// Fields that are `none` are left out, as WAVE does.
fn write_record(text: &mut String, values: &[Value], fields: &[(String, Type)]) {
    let there = values.iter().zip(fields).filter(|(value, _)| **value != Value::Option(None));
    let mut there = there.peekable();
    if there.peek().is_none() {
        return text.push_str("{:}");
    }
    write_all(text, ['{', '}'], there, |text, (value, (name, kind))| {
        text.push_str(name);
        text.push_str(": ");
        write(text, value, kind);
    });
}

fn write_payload(text: &mut String, value: Option<&Value>, kind: Option<&Type>) {
    if let (Some(value), Some(kind)) = (value, kind) {
        text.push('(');
        write(text, value, kind);
        text.push(')');
    }
}

fn write_all<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    text.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        write(text, item);
    }
    text.push(close);
}

/// Names that WAVE takes for something else are marked.
fn label(text: &mut String, name: &str) {
    if Keyword::decode(name).is_some() {
        text.push('%');
    }
    text.push_str(name);
}

fn leaf(text: &mut String, value: &Leaf) {
    match wasm_wave::to_string(value) {
        Ok(shown) => text.push_str(&shown),
        Err(error) => display(text, format_args!("<{error}>")),
    }
}

fn unknown(text: &mut String, value: &Value) {
    display(text, format_args!("<{}>", value.kind()));
}

fn display(text: &mut String, shown: std::fmt::Arguments<'_>) {
    text.write_fmt(shown).expect("writing to a string does not fail");
}
