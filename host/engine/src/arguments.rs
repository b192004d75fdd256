//! From canonical bytes to a component's values, along the function's type: no other form in between. What the bytes mean
//! and when they are refused is `quorate_wire::value`'s knowledge.

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_wire::value::{DecodeError, Function, Limits, Reader, Type};
use wasmtime::Store;
use wasmtime::component::Val;

use crate::limits::LIST_BYTES_MAX;
use crate::state::RunState;
use crate::stop::Stop;

/// The arguments of a call, and handles for the blobs among them.
///
/// # Errors
/// `bad-value`, with the position; `limit` for long lists of bytes and too many blobs.
pub(crate) fn decode(
    store: &mut Store<RunState>,
    function: &Function,
    bytes: Bytes,
) -> Result<Vec<Val>, Refusal> {
    let reader = Reader::new(bytes, Limits::VALUE);
    let mut decoder = Decoder { store, reader, list_bytes_left: LIST_BYTES_MAX };
    let kinds = function.parameters.iter().map(|(_, kind)| kind);
    let values = decoder.members(kinds);
    let values = values.and_then(|values| Ok(decoder.reader.finish().map(|()| values)?));
    values.map_err(|error| match error {
        Bad::Bytes(error) => {
            let message = format!("the arguments of {}: {error}", function.name);
            Refusal::new(ErrorCode::BadValue, message)
        }
        Bad::Refused(refusal) => refusal,
    })
}

enum Bad {
    Bytes(DecodeError),
    Refused(Refusal),
}

impl From<DecodeError> for Bad {
    fn from(error: DecodeError) -> Self {
        Self::Bytes(error)
    }
}

struct Decoder<'a> {
    store: &'a mut Store<RunState>,
    reader: Reader,
    list_bytes_left: u64,
}

impl Decoder<'_> {
    fn members<'k>(
        &mut self,
        kinds: impl ExactSizeIterator<Item = &'k Type>,
    ) -> Result<Vec<Val>, Bad> {
        self.reader.charge(kinds.len() as u64)?;
        let mut values = Vec::with_capacity(kinds.len());
        for kind in kinds {
            values.push(self.value(kind)?);
        }
        Ok(values)
    }

    fn value(&mut self, kind: &Type) -> Result<Val, Bad> {
        self.reader.enter()?;
        let reader = &mut self.reader;
        let value = match kind {
            Type::Bool => Val::Bool(reader.take_bool()?),
            Type::S8 => Val::S8(reader.take_s8()?),
            Type::U8 => Val::U8(reader.take_u8()?),
            Type::S16 => Val::S16(reader.take_signed_integer(16)?),
            Type::U16 => Val::U16(reader.take_integer(16)?),
            Type::S32 => Val::S32(reader.take_signed_integer(32)?),
            Type::U32 => Val::U32(reader.take_integer(32)?),
            Type::S64 => Val::S64(reader.take_signed(64)?),
            Type::U64 => Val::U64(reader.take_unsigned(64)?),
            Type::F32 => Val::Float32(reader.take_f32()?.to_f32()),
            Type::F64 => Val::Float64(reader.take_f64()?.to_f64()),
            Type::Char => Val::Char(reader.take_char()?),
            Type::String => Val::String(reader.take_string()?),
            Type::Blob => self.blob()?,
            Type::List(element) if **element == Type::U8 => {
                let bytes = reader.take_bytes()?;
                Val::List(self.bytes(&bytes)?)
            }
            Type::FixedList(element, length) if **element == Type::U8 => {
                let bytes = reader.take_bytes_fixed(u64::from(*length))?;
                Val::FixedLengthList(self.bytes(&bytes)?)
            }
            Type::List(element) => {
                let count = reader.take_length()?;
                Val::List(self.elements(element, count)?)
            }
            Type::FixedList(element, length) => {
                let count = reader.take_length_fixed(*length)?;
                Val::FixedLengthList(self.elements(element, count)?)
            }
            Type::Record(fields) => {
                let values = self.members(fields.iter().map(|(_, kind)| kind))?;
                let names = fields.iter().map(|(name, _)| name.clone());
                Val::Record(names.zip(values).collect())
            }
            Type::Tuple(kinds) => Val::Tuple(self.members(kinds.iter())?),
            _ => self.choice(kind)?,
        };
        self.reader.leave();
        Ok(value)
    }

    fn choice(&mut self, kind: &Type) -> Result<Val, Bad> {
        Ok(match kind {
            Type::Variant(cases) => {
                let case = self.reader.take_case(cases.len())?;
                let (name, payload) = &cases[case as usize];
                Val::Variant(name.clone(), self.payload(payload.as_ref())?)
            }
            Type::Enum(names) => {
                let case = self.reader.take_case(names.len())?;
                Val::Enum(names[case as usize].clone())
            }
            Type::Flags(names) => {
                let flags = self.reader.take_flags(names.len())?;
                Val::Flags(flags.iter().map(|index| names[index].clone()).collect())
            }
            Type::Option(some) => {
                let some = self.reader.take_bool()?.then_some(&**some);
                Val::Option(self.payload(some)?)
            }
            Type::Result { ok, err } => Val::Result(if self.reader.take_bool()? {
                Err(self.payload(err.as_deref())?)
            } else {
                Ok(self.payload(ok.as_deref())?)
            }),
            _ => unreachable!("`value` has all other kinds"),
        })
    }

    fn payload(&mut self, kind: Option<&Type>) -> Result<Option<Box<Val>>, Bad> {
        let Some(kind) = kind else { return Ok(None) };
        self.reader.charge(1)?;
        Ok(Some(Box::new(self.value(kind)?)))
    }

    /// `count` has been charged and is not larger than the input.
    fn elements(&mut self, element: &Type, count: usize) -> Result<Vec<Val>, Bad> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.value(element)?);
        }
        Ok(values)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Vec<Val>, Bad> {
        let count = bytes.len() as u64;
        let left = self.list_bytes_left.checked_sub(count).ok_or_else(|| {
            let value = LIST_BYTES_MAX - self.list_bytes_left + count;
            let what = "bytes of list<u8> in arguments (larger payloads go as blob)";
            Bad::Refused(Refusal::limit(what, value, LIST_BYTES_MAX))
        })?;
        self.list_bytes_left = left;
        Ok(bytes.iter().map(|byte| Val::U8(*byte)).collect())
    }

    /// The payload stays where it is, in the request's bytes.
    fn blob(&mut self) -> Result<Val, Bad> {
        let payload = self.reader.take_bytes()?;
        let handle = self.store.data_mut().blobs.insert(payload).map_err(|stop| match stop {
            Stop::Refused(refusal) => {
                Bad::Refused(Refusal::new(ErrorCode::LimitPassed, refusal.message))
            }
            Stop::Park => Bad::Refused(internal()),
        })?;
        let handle = handle.try_into_resource_any(&mut *self.store);
        handle.map(Val::Resource).map_err(|error| {
            tracing::error!(%error, "a blob could not become a handle");
            Bad::Refused(internal())
        })
    }
}

fn internal() -> Refusal {
    Refusal::new(ErrorCode::Internal, "a blob could not be passed to the recipe")
}
