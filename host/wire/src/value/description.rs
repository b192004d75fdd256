//! Owns the canonical bytes of descriptions, and the hash by which caller and recipe agree on a
//! function's type. It does not know values.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{DecodeCause, DecodeError, TypeError};
use super::limits::{INTERFACE_NAME_BYTES_MAX, Limits, NAME_BYTES_MAX};
use super::reader::Reader;
use super::types::{Function, Interface, Type, check_length};
use super::writer::Writer;

/// First byte of a described type. Never reused: signature hashes are made of them.
mod kind {
    pub(super) const BOOL: u8 = 0;
    pub(super) const S8: u8 = 1;
    pub(super) const U8: u8 = 2;
    pub(super) const S16: u8 = 3;
    pub(super) const U16: u8 = 4;
    pub(super) const S32: u8 = 5;
    pub(super) const U32: u8 = 6;
    pub(super) const S64: u8 = 7;
    pub(super) const U64: u8 = 8;
    pub(super) const F32: u8 = 9;
    pub(super) const F64: u8 = 10;
    pub(super) const CHAR: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const LIST: u8 = 13;
    pub(super) const FIXED_LIST: u8 = 14;
    pub(super) const RECORD: u8 = 15;
    pub(super) const TUPLE: u8 = 16;
    pub(super) const VARIANT: u8 = 17;
    pub(super) const ENUM: u8 = 18;
    pub(super) const OPTION: u8 = 19;
    pub(super) const RESULT: u8 = 20;
    pub(super) const FLAGS: u8 = 21;
    pub(super) const BLOB: u8 = 22;
}

impl Type {
    /// Its canonical bytes.
    ///
    /// # Errors
    /// As [`Type::check`].
    pub fn encode(&self) -> Result<Bytes, TypeError> {
        self.check()?;
        let mut writer = Writer::new(Limits::DESCRIPTION);
        write_type(&mut writer, self);
        Ok(writer.finish())
    }

    /// Back from its canonical bytes, well-formed.
    ///
    /// # Errors
    /// Bytes that [`Type::encode`] does not give.
    pub fn decode(input: Bytes) -> Result<Self, DecodeError> {
        decode_whole(input, read_type, Self::check)
    }
}

impl Function {
    /// Its canonical bytes.
    ///
    /// # Errors
    /// As [`Function::check`].
    pub fn encode(&self) -> Result<Bytes, TypeError> {
        self.check()?;
        Ok(self.canonical())
    }

    /// Back from its canonical bytes, well-formed.
    ///
    /// # Errors
    /// Bytes that [`Function::encode`] does not give.
    pub fn decode(input: Bytes) -> Result<Self, DecodeError> {
        decode_whole(input, read_function, Self::check)
    }

    /// XXH3 (64 bits, seed 0) of the canonical bytes; goes with the arguments of each call. It
    /// detects a stale client, not a hostile one: arguments are decoded by the server's type
    /// whatever the hash says.
    ///
    /// Names are part of it, since they are part of the meaning: that of the function, of fields
    /// and cases, and of the parameters. `move(from: string, to: string)` turned into `move(to:
    /// string, from: string)` has the same types, and a stale client must hear "signature changed"
    /// and not move backwards. The price is that a mere renaming of a parameter is a breaking
    /// change.
    pub fn signature_hash(&self) -> u64 {
        xxh3_64(&self.canonical())
    }

    fn canonical(&self) -> Bytes {
        let mut writer = Writer::new(Limits::DESCRIPTION);
        write_function(&mut writer, self);
        writer.finish()
    }
}

impl Interface {
    /// Its canonical bytes, functions sorted by name.
    ///
    /// # Errors
    /// As [`Interface::check`].
    pub fn encode(&self) -> Result<Bytes, TypeError> {
        self.check()?;
        let mut functions: Vec<&Function> = self.functions.iter().collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        let mut writer = Writer::new(Limits::DESCRIPTION);
        writer.put_string(&self.name);
        writer.put_unsigned(functions.len() as u64);
        functions.iter().for_each(|function| write_function(&mut writer, function));
        Ok(writer.finish())
    }

    /// Back from its canonical bytes, well-formed, functions sorted by name.
    ///
    /// # Errors
    /// Bytes that [`Interface::encode`] does not give.
    pub fn decode(input: Bytes) -> Result<Self, DecodeError> {
        decode_whole(input, read_interface, Self::check)
    }
}

fn write_type(writer: &mut Writer, described: &Type) {
    match described {
        Type::List(element) => {
            writer.put_u8(kind::LIST);
            write_type(writer, element);
        }
        Type::FixedList(element, length) => {
            writer.put_u8(kind::FIXED_LIST);
            writer.put_unsigned(u64::from(*length));
            write_type(writer, element);
        }
        Type::Record(fields) => {
            writer.put_u8(kind::RECORD);
            write_named(writer, fields);
        }
        Type::Tuple(elements) => {
            writer.put_u8(kind::TUPLE);
            writer.put_unsigned(elements.len() as u64);
            elements.iter().for_each(|element| write_type(writer, element));
        }
        Type::Variant(cases) => {
            writer.put_u8(kind::VARIANT);
            writer.put_unsigned(cases.len() as u64);
            for (name, payload) in cases {
                writer.put_string(name);
                write_optional(writer, payload.as_ref());
            }
        }
        Type::Enum(names) => write_names(writer, kind::ENUM, names),
        Type::Flags(names) => write_names(writer, kind::FLAGS, names),
        Type::Option(some) => {
            writer.put_u8(kind::OPTION);
            write_type(writer, some);
        }
        Type::Result { ok, err } => {
            writer.put_u8(kind::RESULT);
            write_optional(writer, ok.as_deref());
            write_optional(writer, err.as_deref());
        }
        Type::Bool => writer.put_u8(kind::BOOL),
        Type::S8 => writer.put_u8(kind::S8),
        Type::U8 => writer.put_u8(kind::U8),
        Type::S16 => writer.put_u8(kind::S16),
        Type::U16 => writer.put_u8(kind::U16),
        Type::S32 => writer.put_u8(kind::S32),
        Type::U32 => writer.put_u8(kind::U32),
        Type::S64 => writer.put_u8(kind::S64),
        Type::U64 => writer.put_u8(kind::U64),
        Type::F32 => writer.put_u8(kind::F32),
        Type::F64 => writer.put_u8(kind::F64),
        Type::Char => writer.put_u8(kind::CHAR),
        Type::String => writer.put_u8(kind::STRING),
        Type::Blob => writer.put_u8(kind::BLOB),
    }
}

fn write_function(writer: &mut Writer, function: &Function) {
    writer.put_string(&function.name);
    write_named(writer, &function.parameters);
    write_optional(writer, function.result.as_ref());
}

fn write_named(writer: &mut Writer, members: &[(String, Type)]) {
    writer.put_unsigned(members.len() as u64);
    for (name, member) in members {
        writer.put_string(name);
        write_type(writer, member);
    }
}

fn write_names(writer: &mut Writer, kind: u8, names: &[String]) {
    writer.put_u8(kind);
    writer.put_unsigned(names.len() as u64);
    names.iter().for_each(|name| writer.put_string(name));
}

fn write_optional(writer: &mut Writer, described: Option<&Type>) {
    writer.put_bool(described.is_some());
    if let Some(described) = described {
        write_type(writer, described);
    }
}

type Read<T> = Result<T, DecodeError>;

/// The position of a malformed name or an empty type is the end of the description: it is checked
/// as a whole.
fn decode_whole<T>(
    input: Bytes,
    read: impl FnOnce(&mut Reader) -> Read<T>,
    check: impl FnOnce(&T) -> Result<(), TypeError>,
) -> Read<T> {
    let mut reader = Reader::new(input, Limits::DESCRIPTION);
    let described = read(&mut reader)?;
    check(&described).map_err(|error| reader.malformed(error))?;
    reader.finish()?;
    Ok(described)
}

fn read_type(reader: &mut Reader) -> Read<Type> {
    reader.charge(1)?;
    reader.enter()?;
    let start = reader.position();
    let described = match reader.take_u8()? {
        kind::BOOL => Type::Bool,
        kind::S8 => Type::S8,
        kind::U8 => Type::U8,
        kind::S16 => Type::S16,
        kind::U16 => Type::U16,
        kind::S32 => Type::S32,
        kind::U32 => Type::U32,
        kind::S64 => Type::S64,
        kind::U64 => Type::U64,
        kind::F32 => Type::F32,
        kind::F64 => Type::F64,
        kind::CHAR => Type::Char,
        kind::STRING => Type::String,
        kind::BLOB => Type::Blob,
        kind::LIST => Type::list(read_type(reader)?),
        kind::OPTION => Type::option(read_type(reader)?),
        kind::FIXED_LIST => {
            let length = reader.take_integer(32)?;
            Type::FixedList(Box::new(read_type(reader)?), length)
        }
        kind::RECORD => Type::Record(read_list(reader, read_member)?),
        kind::TUPLE => Type::Tuple(read_list(reader, read_type)?),
        kind::VARIANT => Type::Variant(read_list(reader, |reader| {
            Ok((read_name(reader, NAME_BYTES_MAX)?, read_optional(reader)?))
        })?),
        kind::ENUM => Type::Enum(read_list(reader, |reader| read_name(reader, NAME_BYTES_MAX))?),
        kind::FLAGS => Type::Flags(read_list(reader, |reader| read_name(reader, NAME_BYTES_MAX))?),
        kind::RESULT => Type::result(read_optional(reader)?, read_optional(reader)?),
        found => return Err(DecodeError::at(start, DecodeCause::NoSuchKind { found })),
    };
    reader.leave();
    Ok(described)
}

fn read_function(reader: &mut Reader) -> Read<Function> {
    let name = read_name(reader, NAME_BYTES_MAX)?;
    let parameters = read_list(reader, read_member)?;
    let result = read_optional(reader)?;
    Ok(Function { name, parameters, result })
}

fn read_interface(reader: &mut Reader) -> Read<Interface> {
    let name = read_name(reader, INTERFACE_NAME_BYTES_MAX)?;
    let start = reader.position();
    let functions = read_list(reader, read_function)?;
    if !functions.is_sorted_by(|a, b| a.name < b.name) {
        return Err(DecodeError::at(start, DecodeCause::NotSorted));
    }
    Ok(Interface { name, functions })
}

fn read_member(reader: &mut Reader) -> Read<(String, Type)> {
    Ok((read_name(reader, NAME_BYTES_MAX)?, read_type(reader)?))
}

fn read_optional(reader: &mut Reader) -> Read<Option<Type>> {
    Ok(if reader.take_bool()? { Some(read_type(reader)?) } else { None })
}

/// Each item takes a byte at least, and is charged before the list is allocated.
fn read_list<T>(reader: &mut Reader, read: impl Fn(&mut Reader) -> Read<T>) -> Read<Vec<T>> {
    let count = reader.take_length()?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn read_name(reader: &mut Reader, limit: u32) -> Read<String> {
    let start = reader.position();
    let name = reader.take_string()?;
    check_length(&name, limit).map_err(|error| DecodeError::at(start, error))?;
    Ok(name)
}
