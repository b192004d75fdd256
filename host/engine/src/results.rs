//! From a component's result to canonical bytes, along the function's type.

use bytes::Bytes;
use quorate_wire::value::{Flags, LimitError, Limits, Type, Writer};
use wasmtime::Store;
use wasmtime::component::{Resource, Val};

use crate::blobs::Blob;
use crate::limits::RESULT_BYTES_MAX;
use crate::state::RunState;
use crate::stop::Stop;

/// The bytes of a result. Blobs in it leave the instance.
///
/// # Errors
/// Over the limit of bytes, nodes or levels.
pub(crate) fn encode(
    store: &mut Store<RunState>,
    kind: &Type,
    value: &Val,
) -> wasmtime::Result<Bytes> {
    let mut encoder =
        Encoder { store, writer: Writer::new(Limits::VALUE), bytes_left: RESULT_BYTES_MAX };
    encoder.charge(1)?;
    encoder.value(kind, value)?;
    let bytes = encoder.writer.finish();
    if bytes.len() > RESULT_BYTES_MAX {
        return Err(too_long(bytes.len()));
    }
    Ok(bytes)
}

fn too_long(bytes: usize) -> wasmtime::Error {
    Stop::over_limit("bytes of a result", bytes as u64, RESULT_BYTES_MAX as u64).into()
}

fn over_limit(error: LimitError) -> Stop {
    Stop::Refused(quorate_core::error::Refusal::new(
        quorate_core::error::ErrorCode::RecipeOverLimit,
        format!("the result: {error}"),
    ))
}

struct Encoder<'a> {
    store: &'a mut Store<RunState>,
    writer: Writer,
    /// Counted for what can be long, before it is copied.
    bytes_left: usize,
}

impl Encoder<'_> {
    fn charge(&mut self, nodes: u64) -> wasmtime::Result<()> {
        Ok(self.writer.charge(nodes).map_err(over_limit)?)
    }

    fn spend(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left =
            left.ok_or_else(|| too_long(RESULT_BYTES_MAX - self.bytes_left + bytes))?;
        Ok(())
    }

    fn value(&mut self, kind: &Type, value: &Val) -> wasmtime::Result<()> {
        self.writer.enter().map_err(over_limit)?;
        let writer = &mut self.writer;
        match (kind, value) {
            (Type::Bool, Val::Bool(value)) => writer.put_bool(*value),
            (Type::S8, Val::S8(value)) => writer.put_s8(*value),
            (Type::U8, Val::U8(value)) => writer.put_u8(*value),
            (Type::S16, Val::S16(value)) => writer.put_signed(i64::from(*value)),
            (Type::U16, Val::U16(value)) => writer.put_unsigned(u64::from(*value)),
            (Type::S32, Val::S32(value)) => writer.put_signed(i64::from(*value)),
            (Type::U32, Val::U32(value)) => writer.put_unsigned(u64::from(*value)),
            (Type::S64, Val::S64(value)) => writer.put_signed(*value),
            (Type::U64, Val::U64(value)) => writer.put_unsigned(*value),
            (Type::F32, Val::Float32(value)) => writer.put_f32((*value).into()),
            (Type::F64, Val::Float64(value)) => writer.put_f64((*value).into()),
            (Type::Char, Val::Char(value)) => writer.put_char(*value),
            (Type::String, Val::String(value)) => {
                self.spend(value.len())?;
                self.writer.put_string(value);
            }
            (Type::Blob, Val::Resource(handle)) => {
                let handle = Resource::<Blob>::try_from_resource_any(*handle, &mut *self.store)?;
                let payload = self.store.data_mut().blobs.remove(&handle)?;
                self.spend(payload.len())?;
                self.writer.put_bytes(&payload);
            }
            _ => self.compound(kind, value)?,
        }
        self.writer.leave();
        Ok(())
    }

    fn compound(&mut self, kind: &Type, value: &Val) -> wasmtime::Result<()> {
        match (kind, value) {
            (Type::List(element), Val::List(values)) if **element == Type::U8 => {
                self.spend(values.len())?;
                self.writer.put_bytes(&bytes(values)?);
            }
            (Type::FixedList(element, _), Val::FixedLengthList(values))
                if **element == Type::U8 =>
            {
                self.spend(values.len())?;
                self.writer.put_bytes_fixed(&bytes(values)?);
            }
            (Type::List(element), Val::List(values)) => {
                self.writer.put_length(values.len()).map_err(over_limit)?;
                values.iter().try_for_each(|value| self.value(element, value))?;
            }
            (Type::FixedList(element, _), Val::FixedLengthList(values)) => {
                self.charge(values.len() as u64)?;
                values.iter().try_for_each(|value| self.value(element, value))?;
            }
            (Type::Record(fields), Val::Record(values)) => {
                self.charge(values.len() as u64)?;
                for ((_, kind), (_, value)) in fields.iter().zip(values) {
                    self.value(kind, value)?;
                }
            }
            (Type::Tuple(kinds), Val::Tuple(values)) => {
                self.charge(values.len() as u64)?;
                for (kind, value) in kinds.iter().zip(values) {
                    self.value(kind, value)?;
                }
            }
            _ => self.choice(kind, value)?,
        }
        Ok(())
    }

    fn choice(&mut self, kind: &Type, value: &Val) -> wasmtime::Result<()> {
        match (kind, value) {
            (Type::Variant(cases), Val::Variant(name, payload)) => {
                let index = position(cases.iter().map(|(name, _)| name), name)?;
                self.writer.put_unsigned(index as u64);
                self.payload(cases[index].1.as_ref(), payload.as_deref())
            }
            (Type::Enum(names), Val::Enum(name)) => {
                self.writer.put_unsigned(position(names.iter(), name)? as u64);
                Ok(())
            }
            (Type::Flags(names), Val::Flags(set)) => {
                let mut flags = Flags::none(names.len());
                for name in set {
                    if !flags.insert(position(names.iter(), name)?) {
                        return Err(other_type(kind));
                    }
                }
                self.writer.put_flags(&flags);
                Ok(())
            }
            (Type::Option(some), Val::Option(payload)) => {
                self.writer.put_bool(payload.is_some());
                self.payload(payload.as_ref().map(|_| &**some), payload.as_deref())
            }
            (Type::Result { ok, err }, Val::Result(result)) => {
                self.writer.put_bool(result.is_err());
                match result {
                    Ok(payload) => self.payload(ok.as_deref(), payload.as_deref()),
                    Err(payload) => self.payload(err.as_deref(), payload.as_deref()),
                }
            }
            _ => Err(other_type(kind)),
        }
    }

    fn payload(&mut self, kind: Option<&Type>, value: Option<&Val>) -> wasmtime::Result<()> {
        match (kind, value) {
            (Some(kind), Some(value)) => {
                self.charge(1)?;
                self.value(kind, value)
            }
            (None, None) => Ok(()),
            (Some(kind), None) => Err(other_type(kind)),
            (None, Some(_)) => Err(Stop::trapped("the result has a payload too many").into()),
        }
    }
}

fn position<'a>(names: impl Iterator<Item = &'a String>, name: &str) -> wasmtime::Result<usize> {
    let mut names = names;
    let found = names.position(|known| known == name);
    Ok(found.ok_or_else(|| Stop::trapped("the result has a case that its type has not"))?)
}

fn bytes(values: &[Val]) -> wasmtime::Result<Vec<u8>> {
    let bytes = values.iter().map(|value| match value {
        Val::U8(byte) => Ok(*byte),
        _ => Err(other_type(&Type::U8)),
    });
    bytes.collect()
}

/// wasmtime lifts results by the component's own type, of which ours was made.
fn other_type(kind: &Type) -> wasmtime::Error {
    Stop::trapped(format!("the result has another type than {}", kind.kind())).into()
}
