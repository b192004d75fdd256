//! Owns the way from a value to its bytes, along its type.
//! It knows no byte form itself: the writer does.

use bytes::Bytes;

use super::error::{EncodeCause, EncodeError, TypeError};
use super::limits::Limits;
use super::types::{Function, Type};
use super::values::Value;
use super::writer::Writer;

/// The canonical bytes of a value.
///
/// # Errors
/// The value is not one of this type, or passes a limit; with the place in it.
pub fn encode(value: &Value, kind: &Type, limits: Limits) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new(limits);
    let written = writer.charge(1).map_err(EncodeError::from);
    let written = written.and_then(|()| write(&mut writer, value, kind));
    written.map_err(|error| error.under("value"))?;
    Ok(writer.finish())
}

/// The canonical bytes of a call's arguments: one after the other, with nothing between them. No
/// argument, no byte.
///
/// # Errors
/// As [`encode`]; another number of arguments than the function has parameters.
pub fn encode_arguments(
    function: &Function,
    arguments: &[Value],
    limits: Limits,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new(limits);
    let start = same_count(function.parameters.len(), arguments.len())
        .and_then(|()| Ok(writer.charge(arguments.len() as u64)?));
    start.map_err(|error| error.under("arguments"))?;
    for ((name, kind), argument) in function.parameters.iter().zip(arguments) {
        let written = write(&mut writer, argument, kind);
        written.map_err(|error| error.under(&format!("argument {name}")))?;
    }
    Ok(writer.finish())
}

/// The canonical bytes of a call's result; empty for a function that returns nothing.
///
/// # Errors
/// As [`encode`]; a result where the function has none, or none where it has one.
pub fn encode_result(
    function: &Function,
    result: Option<&Value>,
    limits: Limits,
) -> Result<Bytes, EncodeError> {
    let refused = |cause| Err(EncodeError::from(cause).under("result"));
    match (&function.result, result) {
        (Some(kind), Some(value)) => encode(value, kind, limits),
        (None, None) => Ok(Bytes::new()),
        (Some(_), None) => refused(EncodeCause::MissingPayload),
        (None, Some(_)) => refused(EncodeCause::UnexpectedPayload),
    }
}

/// Appends a value to others. The caller has charged its node.
///
/// # Errors
/// As [`encode`]; the place starts at this value.
pub fn write(writer: &mut Writer, value: &Value, kind: &Type) -> Result<(), EncodeError> {
    writer.enter()?;
    match (value, kind) {
        (Value::Bool(value), Type::Bool) => writer.put_bool(*value),
        (Value::S8(value), Type::S8) => writer.put_s8(*value),
        (Value::U8(value), Type::U8) => writer.put_u8(*value),
        (Value::S16(value), Type::S16) => writer.put_signed(i64::from(*value)),
        (Value::U16(value), Type::U16) => writer.put_unsigned(u64::from(*value)),
        (Value::S32(value), Type::S32) => writer.put_signed(i64::from(*value)),
        (Value::U32(value), Type::U32) => writer.put_unsigned(u64::from(*value)),
        (Value::S64(value), Type::S64) => writer.put_signed(*value),
        (Value::U64(value), Type::U64) => writer.put_unsigned(*value),
        (Value::F32(value), Type::F32) => writer.put_f32(*value),
        (Value::F64(value), Type::F64) => writer.put_f64(*value),
        (Value::Char(value), Type::Char) => writer.put_char(*value),
        (Value::String(value), Type::String) => writer.put_string(value),
        (Value::Bytes(value), Type::Blob) => writer.put_bytes(value),
        _ => write_compound(writer, value, kind)?,
    }
    writer.leave();
    Ok(())
}

fn write_compound(writer: &mut Writer, value: &Value, kind: &Type) -> Result<(), EncodeError> {
    match (value, kind) {
        (Value::Bytes(value), Type::List(element)) if **element == Type::U8 => {
            writer.put_bytes(value);
        }
        (Value::Bytes(value), Type::FixedList(element, length)) if **element == Type::U8 => {
            not_empty(*length as usize, kind)?;
            same_count(*length as usize, value.len())?;
            writer.put_bytes_fixed(value);
        }
        (Value::List(values), Type::List(element)) if **element != Type::U8 => {
            writer.put_length(values.len())?;
            write_elements(writer, values, element)?;
        }
        (Value::List(values), Type::FixedList(element, length)) if **element != Type::U8 => {
            not_empty(*length as usize, kind)?;
            same_count(*length as usize, values.len())?;
            writer.charge(values.len() as u64)?;
            write_elements(writer, values, element)?;
        }
        (Value::Record(values), Type::Record(fields)) => {
            start_members(writer, kind, fields.len(), values.len())?;
            for ((name, field), value) in fields.iter().zip(values) {
                let written = write(writer, value, field);
                written.map_err(|error| error.under(&format!(".{name}")))?;
            }
        }
        (Value::Tuple(values), Type::Tuple(elements)) => {
            start_members(writer, kind, elements.len(), values.len())?;
            for (index, (element, value)) in elements.iter().zip(values).enumerate() {
                let written = write(writer, value, element);
                written.map_err(|error| error.under(&format!(".{index}")))?;
            }
        }
        (Value::Flags(flags), Type::Flags(names)) => {
            not_empty(names.len(), kind)?;
            same_count(names.len(), flags.count())?;
            writer.put_flags(flags);
        }
        _ => write_choice(writer, value, kind)?,
    }
    Ok(())
}

fn write_choice(writer: &mut Writer, value: &Value, kind: &Type) -> Result<(), EncodeError> {
    match (value, kind) {
        (Value::Enum(case), Type::Enum(names)) => {
            existing(names, *case)?;
            writer.put_unsigned(u64::from(*case));
            Ok(())
        }
        (Value::Variant { case, payload }, Type::Variant(cases)) => {
            let (name, kind) = existing(cases, *case)?;
            writer.put_unsigned(u64::from(*case));
            write_payload(writer, name, payload.as_deref(), kind.as_ref())
        }
        (Value::Option(value), Type::Option(some)) => {
            writer.put_bool(value.is_some());
            let kind = value.as_ref().map(|_| some.as_ref());
            write_payload(writer, "some", value.as_deref(), kind)
        }
        (Value::Result(Ok(value)), Type::Result { ok, .. }) => {
            writer.put_bool(false);
            write_payload(writer, "ok", value.as_deref(), ok.as_deref())
        }
        (Value::Result(Err(value)), Type::Result { err, .. }) => {
            writer.put_bool(true);
            write_payload(writer, "err", value.as_deref(), err.as_deref())
        }
        _ => {
            let cause = EncodeCause::Mismatch { expected: expected(kind), found: value.kind() };
            Err(cause.into())
        }
    }
}

fn write_elements(
    writer: &mut Writer,
    values: &[Value],
    element: &Type,
) -> Result<(), EncodeError> {
    for (index, value) in values.iter().enumerate() {
        let written = write(writer, value, element);
        written.map_err(|error| error.under(&format!("[{index}]")))?;
    }
    Ok(())
}

fn write_payload(
    writer: &mut Writer,
    case: &str,
    value: Option<&Value>,
    kind: Option<&Type>,
) -> Result<(), EncodeError> {
    let written = match (value, kind) {
        (Some(value), Some(kind)) => {
            writer.charge(1)?;
            write(writer, value, kind)
        }
        (None, None) => Ok(()),
        (Some(_), None) => Err(EncodeCause::UnexpectedPayload.into()),
        (None, Some(_)) => Err(EncodeCause::MissingPayload.into()),
    };
    written.map_err(|error| error.under(&format!(".{case}")))
}

fn start_members(
    writer: &mut Writer,
    kind: &Type,
    expected: usize,
    found: usize,
) -> Result<(), EncodeError> {
    not_empty(expected, kind)?;
    same_count(expected, found)?;
    Ok(writer.charge(found as u64)?)
}

/// What a value of this type is called in memory: lists of `u8` are bytes.
fn expected(kind: &Type) -> &'static str {
    match kind {
        Type::List(element) | Type::FixedList(element, _) if **element == Type::U8 => "bytes",
        Type::Blob => "bytes",
        other => other.kind(),
    }
}

fn existing<T>(cases: &[T], case: u32) -> Result<&T, EncodeError> {
    let count = cases.len() as u64;
    cases.get(case as usize).ok_or_else(|| EncodeCause::NoSuchCase { case, count }.into())
}

fn same_count(expected: usize, found: usize) -> Result<(), EncodeError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected as u64, found as u64);
    Err(EncodeCause::WrongCount { expected, found }.into())
}

fn not_empty(members: usize, kind: &Type) -> Result<(), EncodeError> {
    if members == 0 {
        return Err(EncodeCause::Type(TypeError::Empty { kind: kind.kind() }).into());
    }
    Ok(())
}
