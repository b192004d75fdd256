//! Values with holes: `_` for any, `$name` for one that is to be the same wherever the name stands. A pattern without `_`
//! whose names are bound is a value. WAVE itself is read by its own parser, which sees a label where a hole is.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::Bytes;
use quorate_wire::value::{Flags, Type, Value};
use wasm_wave::ast::{Node, NodeType};
use wasm_wave::parser::{Parser, ParserError};

use super::WaveError;
use super::words::skip_quoted;

/// What names stand for.
pub(crate) type Bindings = BTreeMap<String, Value>;

/// A value with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `_`
    Any,
    /// `$name`
    Name(String),
    /// No hole in it.
    Value(Value),
    List(Vec<Pattern>),
    Record(Vec<Pattern>),
    Tuple(Vec<Pattern>),
    Variant(u32, Option<Box<Pattern>>),
    /// `some`; `none` has no hole.
    Some(Box<Pattern>),
    Result(Result<Option<Box<Pattern>>, Option<Box<Pattern>>>),
}

/// A value is not one of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It differs.
    Differs,
    /// It differs from what this name stands for.
    Name(String, Value),
}

type Parsed = Result<Pattern, WaveError>;

impl Pattern {
    /// Reads a pattern for values of a type.
    ///
    /// # Errors
    /// Where the text is not one.
    pub(crate) fn parse(text: &str, kind: &Type) -> Parsed {
        let (readable, holes) = holes(text)?;
        let mut parser = Parser::new(&readable);
        let syntax = |error: ParserError| WaveError::parser(text, &error);
        let root = parser.parse_raw_value().map_err(syntax)?;
        parser.finish().map_err(syntax)?;
        At { node: root.node(), text, readable: &readable, holes: &holes }.pattern(kind)
    }

    /// Whether a value is one of the pattern. Names that are not bound are bound by it, also where it is none in the end.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self, value: &Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
        let all = |patterns: &[Self], values: &[Value], bindings: &mut Bindings| {
            if patterns.len() != values.len() {
                return Err(Mismatch::Differs);
            }
            patterns.iter().zip(values).try_for_each(|(one, value)| one.check(value, bindings))
        };
        match (self, value) {
            (Self::Any, _) => Ok(()),
            (Self::Name(name), value) => match bindings.get(name) {
                None => {
                    bindings.insert(name.clone(), value.clone());
                    Ok(())
                }
                Some(bound) if plain(bound) == plain(value) => Ok(()),
                Some(bound) => Err(Mismatch::Name(name.clone(), bound.clone())),
            },
            (Self::Value(expected), value) if expected == value => Ok(()),
            (Self::List(patterns), Value::List(values))
            | (Self::Record(patterns), Value::Record(values))
            | (Self::Tuple(patterns), Value::Tuple(values)) => all(patterns, values, bindings),
            (Self::Variant(expected, pattern), Value::Variant { case, payload })
                if expected == case =>
            {
                check_payload(pattern.as_deref(), payload.as_deref(), bindings)
            }
            (Self::Some(pattern), Value::Option(Some(value))) => pattern.check(value, bindings),
            (Self::Result(Ok(pattern)), Value::Result(Ok(value)))
            | (Self::Result(Err(pattern)), Value::Result(Err(value))) => {
                check_payload(pattern.as_deref(), value.as_deref(), bindings)
            }
            _ => Err(Mismatch::Differs),
        }
    }

    /// The value that the pattern is, of a type.
    ///
    /// # Errors
    /// A hole that nothing is known for: `_`, or a name that stands for nothing yet.
    pub(crate) fn value(&self, kind: &Type, bindings: &Bindings) -> Result<Value, String> {
        let all = |patterns: &[Self], kinds: &mut dyn Iterator<Item = &Type>| {
            patterns
                .iter()
                .zip(kinds)
                .map(|(one, kind)| one.value(kind, bindings))
                .collect::<Result<Vec<_>, _>>()
        };
        let payload = |pattern: &Option<Box<Self>>, kind: Option<&Type>| match (pattern, kind) {
            (Some(pattern), Some(kind)) => {
                pattern.value(kind, bindings).map(|value| Some(Box::new(value)))
            }
            _ => Ok(None),
        };
        Ok(match (self, kind) {
            (Self::Value(value), _) => value.clone(),
            (Self::Name(name), kind) => match (bindings.get(name), kind) {
                (None, _) => return Err(format!("${name} stands for nothing yet")),
                (Some(Value::Option(value)), Type::Option(_)) => Value::Option(value.clone()),
                (Some(value), Type::Option(_)) => Value::Option(Some(Box::new(value.clone()))),
                (Some(value), _) => plain(value).clone(),
            },
            (Self::List(patterns), Type::List(kind) | Type::FixedList(kind, _)) => {
                Value::List(all(patterns, &mut std::iter::repeat(kind.as_ref()))?)
            }
            (Self::Record(patterns), Type::Record(fields)) => {
                Value::Record(all(patterns, &mut fields.iter().map(|(_, kind)| kind))?)
            }
            (Self::Tuple(patterns), Type::Tuple(kinds)) => {
                Value::Tuple(all(patterns, &mut kinds.iter())?)
            }
            (Self::Variant(case, pattern), Type::Variant(cases)) => {
                let found = usize::try_from(*case).ok().and_then(|at| cases.get(at));
                let kind = found.and_then(|(_, kind)| kind.as_ref());
                Value::Variant { case: *case, payload: payload(pattern, kind)? }
            }
            (Self::Some(pattern), Type::Option(kind)) => {
                Value::Option(Some(Box::new(pattern.value(kind, bindings)?)))
            }
            (Self::Result(result), Type::Result { ok, err }) => Value::Result(match result {
                Ok(pattern) => Ok(payload(pattern, ok.as_deref())?),
                Err(pattern) => Err(payload(pattern, err.as_deref())?),
            }),
            _ => return Err("`_` is for results, an argument needs a value".to_owned()),
        })
    }
}

fn check_payload(
    pattern: Option<&Pattern>,
    value: Option<&Value>,
    bindings: &mut Bindings,
) -> Result<(), Mismatch> {
    match (pattern, value) {
        (Some(pattern), Some(value)) => pattern.check(value, bindings),
        (None, None) => Ok(()),
        _ => Err(Mismatch::Differs),
    }
}

/// `some(5)` and `5` are one value where they are compared.
fn plain(value: &Value) -> &Value {
    match value {
        Value::Option(Some(inner)) if !matches!(**inner, Value::Option(_) | Value::Result(_)) => {
            inner
        }
        value => value,
    }
}

/// Holes by the byte at which they stand.
type Holes = BTreeMap<usize, Pattern>;

/// Finds the holes of a text, and gives the text with a label of the same length in the place of each.
fn holes(text: &str) -> Result<(String, Holes), WaveError> {
    let mut readable = String::with_capacity(text.len());
    let mut holes = Holes::new();
    let mut chars = text.char_indices().peekable();
    let is_word = |char: char| char.is_alphanumeric() || char == '-' || char == '_' || char == '$';
    let mut before = ' ';
    while let Some((at, char)) = chars.next() {
        let end = match char {
            '"' | '\'' => {
                skip_quoted(&mut chars, char)
                    .map_err(|message| WaveError::at(text, at, message))?;
                chars.peek().map_or(text.len(), |(at, _)| *at)
            }
            '_' | '$' if !is_word(before) => {
                let rest = &text[at + 1..];
                let word = rest.find(|char| !is_word(char)).map_or(rest, |end| &rest[..end]);
                let hole = match (char, word) {
                    ('_', "") => Pattern::Any,
                    ('$', name) if is_name(name) => Pattern::Name(name.to_owned()),
                    _ => {
                        let message = "expected `_`, or `$` and a name: letters, digits and -, a letter first";
                        return Err(WaveError::at(text, at, message));
                    }
                };
                holes.insert(at, hole);
                for _ in word.chars() {
                    chars.next();
                }
                readable.extend(std::iter::repeat_n('x', 1 + word.len()));
                before = 'x';
                continue;
            }
            char => at + char.len_utf8(),
        };
        readable.push_str(&text[at..end]);
        before = char;
    }
    Ok((readable, holes))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A node of the parser's tree, with what belongs to the whole text.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    /// As it was given, for messages.
    text: &'a str,
    /// As the parser saw it: positions are the same.
    readable: &'a str,
    holes: &'a Holes,
}

impl<'a> At<'a> {
    fn of(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn error(self, message: impl Into<String>) -> WaveError {
        WaveError::at(self.text, self.node.span().start, message)
    }

    fn checked<T>(self, result: Result<T, ParserError>) -> Result<T, WaveError> {
        result.map_err(|error| WaveError::parser(self.text, &error))
    }

    /// A pattern of a type. Recursion is bounded by the depth of the parser and of the type.
    fn pattern(self, kind: &Type) -> Parsed {
        if self.node.ty() == NodeType::Label
            && let Some(hole) = self.holes.get(&self.node.span().start)
        {
            return Ok(hole.clone());
        }
        match kind {
            Type::List(element) | Type::FixedList(element, _) if **element != Type::U8 => {
                let nodes = self.checked(self.node.as_list())?;
                let all = nodes.map(|node| self.of(node).pattern(element));
                all.collect::<Result<_, _>>().map(Pattern::List)
            }
            Type::Record(fields) => self.record(fields),
            Type::Tuple(kinds) => self.tuple(kinds),
            Type::Variant(cases) => {
                let (name, payload) = self.checked(self.node.as_variant(self.readable))?;
                let at = self.case(cases.iter().position(|(known, _)| known == name), name)?;
                let kind = cases.iter().find(|(known, _)| known == name);
                let kind = kind.and_then(|(_, kind)| kind.as_ref());
                Ok(Pattern::Variant(at, self.payload(payload, kind)?))
            }
            Type::Option(kind) => self.option(kind),
            Type::Result { ok, err } => self.result(ok.as_deref(), err.as_deref()),
            kind => self.value(kind).map(Pattern::Value),
        }
    }

    /// A value that can not have a hole.
    fn value(self, kind: &Type) -> Result<Value, WaveError> {
        let Self { node, readable, .. } = self;
        Ok(match kind {
            Type::Bool => Value::Bool(self.checked(node.as_bool())?),
            Type::S8 => Value::S8(self.number("an s8")?),
            Type::U8 => Value::U8(self.number("a u8")?),
            Type::S16 => Value::S16(self.number("an s16")?),
            Type::U16 => Value::U16(self.number("a u16")?),
            Type::S32 => Value::S32(self.number("an s32")?),
            Type::U32 => Value::U32(self.number("a u32")?),
            Type::S64 => Value::S64(self.number("an s64")?),
            Type::U64 => Value::U64(self.number("a u64")?),
            Type::F32 => Value::F32(self.number::<f32>("an f32")?.into()),
            Type::F64 => Value::F64(self.number::<f64>("an f64")?.into()),
            Type::Char => Value::Char(self.checked(node.as_char(readable))?),
            Type::String => Value::String(self.checked(node.as_str(readable))?.into_owned()),
            Type::Blob if matches!(node.ty(), NodeType::String | NodeType::MultilineString) => {
                Value::Bytes(Bytes::from(self.checked(node.as_str(readable))?.into_owned()))
            }
            Type::Enum(names) => {
                let name = self.checked(node.as_enum(readable))?;
                Value::Enum(self.case(names.iter().position(|known| known == name), name)?)
            }
            Type::Flags(names) => self.flags(names)?,
            Type::Blob | Type::List(_) | Type::FixedList(..) => {
                let nodes = self.checked(node.as_list())?;
                let bytes = nodes.map(|node| self.of(node).number::<u8>("a byte"));
                Value::Bytes(bytes.collect::<Result<Vec<u8>, _>>()?.into())
            }
            other => return Err(self.error(format!("expected {}", other.kind()))),
        })
    }

    fn number<T: FromStr>(self, what: &str) -> Result<T, WaveError> {
        self.node.as_number(self.readable).map_err(|_| self.error(format!("expected {what}")))
    }

    fn option(self, kind: &Type) -> Parsed {
        match self.node.ty() {
            NodeType::OptionSome | NodeType::OptionNone => {
                Ok(match self.checked(self.node.as_option())? {
                    Some(node) => Pattern::Some(Box::new(self.of(node).pattern(kind)?)),
                    None => Pattern::Value(Value::Option(None)),
                })
            }
            _ if can_stand_alone(kind) => Ok(Pattern::Some(Box::new(self.pattern(kind)?))),
            _ => Err(self.error("expected `some` or `none`")),
        }
    }

    fn result(self, ok: Option<&Type>, err: Option<&Type>) -> Parsed {
        match (self.node.ty(), ok) {
            (NodeType::ResultOk | NodeType::ResultErr, _) => {
                let result = match self.checked(self.node.as_result())? {
                    Ok(node) => Ok(self.payload(node, ok)?),
                    Err(node) => Err(self.payload(node, err)?),
                };
                Ok(Pattern::Result(result))
            }
            (_, Some(kind)) if can_stand_alone(kind) => {
                Ok(Pattern::Result(Ok(Some(Box::new(self.pattern(kind)?)))))
            }
            _ => Err(self.error("expected `ok` or `err`")),
        }
    }

    fn payload(
        self,
        node: Option<&'a Node>,
        kind: Option<&Type>,
    ) -> Result<Option<Box<Pattern>>, WaveError> {
        match (node, kind) {
            (Some(node), Some(kind)) => Ok(Some(Box::new(self.of(node).pattern(kind)?))),
            (None, None) => Ok(None),
            (Some(node), None) => Err(self.of(node).error("nothing belongs in these brackets")),
            (None, Some(kind)) => {
                let message = format!("{} in brackets is missing", kind.kind());
                Err(self.error(message))
            }
        }
    }

    fn record(self, fields: &[(String, Type)]) -> Parsed {
        let given: Vec<(&str, &Node)> = self.checked(self.node.as_record(self.readable))?.collect();
        let is_known = |name: &str| fields.iter().any(|(known, _)| known == name);
        if let Some((name, node)) = given.iter().find(|(name, _)| !is_known(name)) {
            return Err(self.of(node).error(format!("there is no field {name}")));
        }
        let field = |(name, kind): &(String, Type)| match (
            given.iter().find(|(given, _)| given == name),
            kind,
        ) {
            (Some((_, node)), kind) => self.of(node).pattern(kind),
            (None, Type::Option(_)) => Ok(Pattern::Value(Value::Option(None))),
            (None, _) => Err(self.error(format!("the field {name} is missing"))),
        };
        fields.iter().map(field).collect::<Result<_, _>>().map(Pattern::Record)
    }

    fn tuple(self, kinds: &[Type]) -> Parsed {
        let nodes = self.checked(self.node.as_tuple())?;
        if nodes.len() != kinds.len() {
            let message = format!("expected {} elements, found {}", kinds.len(), nodes.len());
            return Err(self.error(message));
        }
        let all = nodes.zip(kinds).map(|(node, kind)| self.of(node).pattern(kind));
        all.collect::<Result<_, _>>().map(Pattern::Tuple)
    }

    fn flags(self, names: &[String]) -> Result<Value, WaveError> {
        let mut flags = Flags::none(names.len());
        for name in self.checked(self.node.as_flags(self.readable))? {
            let position = names.iter().position(|known| known == name);
            if !position.is_some_and(|at| flags.insert(at)) {
                return Err(self.error(format!("there is no flag {name}")));
            }
        }
        Ok(Value::Flags(flags))
    }

    fn case(self, at: Option<usize>, name: &str) -> Result<u32, WaveError> {
        let at = at.and_then(|at| u32::try_from(at).ok());
        at.ok_or_else(|| self.error(format!("there is no case {name}")))
    }
}

/// Whether WAVE lets `5` stand for `some(5)` or `ok(5)` of this type.
fn can_stand_alone(kind: &Type) -> bool {
    !matches!(kind, Type::Option(_) | Type::Result { .. })
}
