//! From the parser's tree to values, by their types. It does not know how text is shown.

use std::str::FromStr;

use bytes::Bytes;
use quorate_wire::value::{Flags, Function, Type, Value};
use wasm_wave::ast::{Node, NodeType};
use wasm_wave::untyped::UntypedFuncCall;

use super::WaveError;

type Parsed = Result<Value, WaveError>;

/// The arguments of a call.
pub(super) fn arguments(
    call: &UntypedFuncCall<'_>,
    function: &Function,
) -> Result<Vec<Value>, WaveError> {
    let text = call.source();
    let nodes: Vec<&Node> = match call.params_node() {
        Some(node) => node.as_tuple().map_err(|e| WaveError::parser(text, &e))?.collect(),
        None => Vec::new(),
    };
    if let Some(extra) = nodes.get(function.parameters.len()) {
        let message = format!("{} takes {} arguments", function.name, function.parameters.len());
        return Err(WaveError::at(text, extra.span().start, message));
    }
    let mut values = Vec::with_capacity(function.parameters.len());
    for (at, (name, kind)) in function.parameters.iter().enumerate() {
        values.push(match (nodes.get(at), kind) {
            (Some(node), kind) => value(node, kind, text)?,
            (None, Type::Option(_)) => Value::Option(None),
            (None, _) => {
                let open = text.find('(').unwrap_or(0);
                return Err(WaveError::at(text, open, format!("the argument {name:?} is missing")));
            }
        });
    }
    Ok(values)
}

/// A value of a type. Recursion is bounded by the parser's and the type's own depth.
pub(super) fn value(node: &Node, kind: &Type, text: &str) -> Parsed {
    let from = From { node, text };
    Ok(match kind {
        Type::Bool => Value::Bool(from.checked(node.as_bool())?),
        Type::S8 => Value::S8(from.number("an s8")?),
        Type::U8 => Value::U8(from.number("a u8")?),
        Type::S16 => Value::S16(from.number("an s16")?),
        Type::U16 => Value::U16(from.number("a u16")?),
        Type::S32 => Value::S32(from.number("an s32")?),
        Type::U32 => Value::U32(from.number("a u32")?),
        Type::S64 => Value::S64(from.number("an s64")?),
        Type::U64 => Value::U64(from.number("a u64")?),
        Type::F32 => Value::F32(from.number::<f32>("an f32")?.into()),
        Type::F64 => Value::F64(from.number::<f64>("an f64")?.into()),
        Type::Char => Value::Char(from.checked(node.as_char(text))?),
        Type::String => Value::String(from.checked(node.as_str(text))?.into_owned()),
        Type::Blob if is_string(node) => {
            Value::Bytes(Bytes::from(from.checked(node.as_str(text))?.into_owned()))
        }
        Type::Blob => from.bytes()?,
        Type::List(element) | Type::FixedList(element, _) if **element == Type::U8 => {
            from.bytes()?
        }
        Type::List(element) | Type::FixedList(element, _) => {
            let nodes = from.checked(node.as_list())?;
            Value::List(nodes.map(|node| value(node, element, text)).collect::<Result<_, _>>()?)
        }
        Type::Record(fields) => from.record(fields)?,
        Type::Tuple(kinds) => from.tuple(kinds)?,
        Type::Variant(cases) => from.variant(cases)?,
        Type::Enum(names) => {
            let name = from.checked(node.as_enum(text))?;
            Value::Enum(from.case(names.iter().position(|known| known == name), name)?)
        }
        Type::Option(kind) => Value::Option(match node.ty() {
            NodeType::OptionNone => None,
            NodeType::OptionSome => from.payload(from.checked(node.as_option())?, Some(kind))?,
            _ if can_stand_alone(kind) => Some(Box::new(value(node, kind, text)?)),
            _ => return Err(from.error("expected `some(...)` or `none`")),
        }),
        Type::Result { ok, err } => Value::Result(match (node.ty(), ok) {
            (NodeType::ResultOk | NodeType::ResultErr, _) => {
                match from.checked(node.as_result())? {
                    Ok(payload) => Ok(from.payload(payload, ok.as_deref())?),
                    Err(payload) => Err(from.payload(payload, err.as_deref())?),
                }
            }
            (_, Some(kind)) if can_stand_alone(kind) => {
                Ok(Some(Box::new(value(node, kind, text)?)))
            }
            _ => return Err(from.error("expected `ok` or `err`")),
        }),
        Type::Flags(names) => from.flags(names)?,
    })
}

/// Whether `5` may be written for `some(5)` and `ok(5)`: not where it could be meant for two levels.
fn can_stand_alone(kind: &Type) -> bool {
    !matches!(kind, Type::Option(_) | Type::Result { .. })
}

fn is_string(node: &Node) -> bool {
    matches!(node.ty(), NodeType::String | NodeType::MultilineString)
}

/// A node with the text around it, for errors.
#[derive(Clone, Copy)]
struct From<'a> {
    node: &'a Node,
    text: &'a str,
}

impl From<'_> {
    fn error(self, message: impl Into<String>) -> WaveError {
        WaveError::at(self.text, self.node.span().start, message)
    }

    fn checked<T>(self, result: Result<T, wasm_wave::parser::ParserError>) -> Result<T, WaveError> {
        result.map_err(|error| WaveError::parser(self.text, &error))
    }

    fn number<T: FromStr>(self, what: &str) -> Result<T, WaveError> {
        self.checked(self.node.as_number(self.text)).map_err(|error| WaveError {
            message: format!("{}: expected {what}", error.message),
            ..error
        })
    }

    fn bytes(self) -> Parsed {
        let nodes = self.checked(self.node.as_list())?;
        let bytes = nodes.map(|node| From { node, ..self }.number::<u8>("a byte"));
        Ok(Value::Bytes(bytes.collect::<Result<Vec<u8>, _>>()?.into()))
    }

    fn record(self, fields: &[(String, Type)]) -> Parsed {
        let given: Vec<(&str, &Node)> = self.checked(self.node.as_record(self.text))?.collect();
        if let Some((name, node)) =
            given.iter().find(|(name, _)| fields.iter().all(|(known, _)| known != name))
        {
            return Err(From { node, ..self }.error(format!("there is no field {name:?}")));
        }
        let field = |(name, kind): &(String, Type)| match (
            given.iter().find(|(given, _)| given == name),
            kind,
        ) {
            (Some((_, node)), kind) => value(node, kind, self.text),
            (None, Type::Option(_)) => Ok(Value::Option(None)),
            (None, _) => Err(self.error(format!("the field {name:?} is missing"))),
        };
        Ok(Value::Record(fields.iter().map(field).collect::<Result<_, _>>()?))
    }

    fn tuple(self, kinds: &[Type]) -> Parsed {
        let nodes = self.checked(self.node.as_tuple())?;
        if nodes.len() != kinds.len() {
            return Err(self.error(format!(
                "expected {} elements, found {}",
                kinds.len(),
                nodes.len()
            )));
        }
        let values = nodes.zip(kinds).map(|(node, kind)| value(node, kind, self.text));
        Ok(Value::Tuple(values.collect::<Result<_, _>>()?))
    }

    fn variant(self, cases: &[(String, Option<Type>)]) -> Parsed {
        let (name, payload) = self.checked(self.node.as_variant(self.text))?;
        let at = cases.iter().position(|(known, _)| known == name);
        let case = self.case(at, name)?;
        let kind = at.and_then(|at| cases[at].1.as_ref());
        Ok(Value::Variant { case, payload: self.payload(payload, kind)? })
    }

    fn flags(self, names: &[String]) -> Parsed {
        let mut flags = Flags::none(names.len());
        // `{}` is the empty set of flags, and what an empty record would look like.
        for name in self.checked(self.node.as_flags(self.text))? {
            let is_known =
                names.iter().position(|known| known == name).is_some_and(|at| flags.insert(at));
            if !is_known {
                return Err(self.error(format!("there is no flag {name:?}")));
            }
        }
        Ok(Value::Flags(flags))
    }

    fn case(self, at: Option<usize>, name: &str) -> Result<u32, WaveError> {
        at.and_then(|at| u32::try_from(at).ok())
            .ok_or_else(|| self.error(format!("there is no case {name:?}")))
    }

    fn payload(
        self,
        node: Option<&Node>,
        kind: Option<&Type>,
    ) -> Result<Option<Box<Value>>, WaveError> {
        match (node, kind) {
            (Some(node), Some(kind)) => Ok(Some(Box::new(value(node, kind, self.text)?))),
            (None, None) => Ok(None),
            (Some(node), None) => Err(From { node, ..self }.error("this case has no payload")),
            (None, Some(_)) => Err(self.error("the payload is missing")),
        }
    }
}
