//! Owns the way from bytes to a value, along its type.
//! It knows no byte form itself: the reader does.

use bytes::Bytes;

use super::error::{DecodeError, TypeError};
use super::limits::Limits;
use super::reader::Reader;
use super::types::{Function, Type};
use super::values::Value;

/// The value of canonical bytes. Payloads ([`Value::Bytes`]) are parts of the input, not copies of
/// it.
///
/// Allocates at most `limits.nodes` values plus the length of the input, whatever the bytes say.
///
/// # Errors
/// Any other form than the one that [`encode`](super::encode) gives, a limit, bytes behind the end;
/// with the position.
pub fn decode(input: Bytes, kind: &Type, limits: Limits) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(input, limits);
    reader.charge(1)?;
    let value = read(&mut reader, kind)?;
    reader.finish()?;
    Ok(value)
}

/// The arguments of a call, one for each parameter.
///
/// # Errors
/// As [`decode`].
pub fn decode_arguments(
    function: &Function,
    input: Bytes,
    limits: Limits,
) -> Result<Vec<Value>, DecodeError> {
    let mut reader = Reader::new(input, limits);
    let kinds = function.parameters.iter().map(|(_, kind)| kind);
    let arguments = read_members(&mut reader, kinds)?;
    reader.finish()?;
    Ok(arguments)
}

/// The result of a call; `None` for a function that returns nothing.
///
/// # Errors
/// As [`decode`].
pub fn decode_result(
    function: &Function,
    input: Bytes,
    limits: Limits,
) -> Result<Option<Value>, DecodeError> {
    match &function.result {
        Some(kind) => decode(input, kind, limits).map(Some),
        None => Reader::new(input, limits).finish().map(|()| None),
    }
}

/// Takes a value from the front. The caller has charged its node.
///
/// # Errors
/// As [`decode`], but bytes may follow.
pub fn read(reader: &mut Reader, kind: &Type) -> Result<Value, DecodeError> {
    reader.enter()?;
    let value = match kind {
        Type::Bool => Value::Bool(reader.take_bool()?),
        Type::S8 => Value::S8(reader.take_s8()?),
        Type::U8 => Value::U8(reader.take_u8()?),
        Type::S16 => Value::S16(reader.take_signed_integer(16)?),
        Type::U16 => Value::U16(reader.take_integer(16)?),
        Type::S32 => Value::S32(reader.take_signed_integer(32)?),
        Type::U32 => Value::U32(reader.take_integer(32)?),
        Type::S64 => Value::S64(reader.take_signed(64)?),
        Type::U64 => Value::U64(reader.take_unsigned(64)?),
        Type::F32 => Value::F32(reader.take_f32()?),
        Type::F64 => Value::F64(reader.take_f64()?),
        Type::Char => Value::Char(reader.take_char()?),
        Type::String => Value::String(reader.take_string()?),
        Type::Blob => Value::Bytes(reader.take_bytes()?),
        _ => read_compound(reader, kind)?,
    };
    reader.leave();
    Ok(value)
}

fn read_compound(reader: &mut Reader, kind: &Type) -> Result<Value, DecodeError> {
    Ok(match kind {
        Type::List(element) if **element == Type::U8 => Value::Bytes(reader.take_bytes()?),
        Type::List(element) => {
            let count = reader.take_length()?;
            Value::List(read_elements(reader, element, count)?)
        }
        Type::FixedList(element, length) => {
            not_empty(reader, *length as usize, kind)?;
            if **element == Type::U8 {
                return Ok(Value::Bytes(reader.take_bytes_fixed(u64::from(*length))?));
            }
            let count = reader.take_length_fixed(*length)?;
            Value::List(read_elements(reader, element, count)?)
        }
        Type::Record(fields) => {
            not_empty(reader, fields.len(), kind)?;
            Value::Record(read_members(reader, fields.iter().map(|(_, field)| field))?)
        }
        Type::Tuple(elements) => {
            not_empty(reader, elements.len(), kind)?;
            Value::Tuple(read_members(reader, elements.iter())?)
        }
        Type::Flags(names) => {
            not_empty(reader, names.len(), kind)?;
            Value::Flags(reader.take_flags(names.len())?)
        }
        Type::Enum(names) => Value::Enum(reader.take_case(names.len())?),
        Type::Variant(cases) => {
            let case = reader.take_case(cases.len())?;
            let payload = cases.get(case as usize).and_then(|(_, payload)| payload.as_ref());
            Value::Variant { case, payload: read_payload(reader, payload)? }
        }
        Type::Option(some) => {
            let some = reader.take_bool()?.then_some(some.as_ref());
            Value::Option(read_payload(reader, some)?)
        }
        Type::Result { ok, err } => Value::Result(if reader.take_bool()? {
            Err(read_payload(reader, err.as_deref())?)
        } else {
            Ok(read_payload(reader, ok.as_deref())?)
        }),
        // Scalars: `read` has them.
        _ => return Err(reader.malformed(TypeError::Empty { kind: kind.kind() })),
    })
}

/// `count` has been charged and is not larger than the input.
fn read_elements(
    reader: &mut Reader,
    element: &Type,
    count: usize,
) -> Result<Vec<Value>, DecodeError> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read(reader, element)?);
    }
    Ok(values)
}

fn read_members<'a>(
    reader: &mut Reader,
    kinds: impl ExactSizeIterator<Item = &'a Type>,
) -> Result<Vec<Value>, DecodeError> {
    reader.charge(kinds.len() as u64)?;
    let mut values = Vec::with_capacity(kinds.len());
    for kind in kinds {
        values.push(read(reader, kind)?);
    }
    Ok(values)
}

fn read_payload(
    reader: &mut Reader,
    kind: Option<&Type>,
) -> Result<Option<Box<Value>>, DecodeError> {
    let Some(kind) = kind else { return Ok(None) };
    reader.charge(1)?;
    Ok(Some(Box::new(read(reader, kind)?)))
}

fn not_empty(reader: &Reader, members: usize, kind: &Type) -> Result<(), DecodeError> {
    if members == 0 {
        return Err(reader.malformed(TypeError::Empty { kind: kind.kind() }));
    }
    Ok(())
}
