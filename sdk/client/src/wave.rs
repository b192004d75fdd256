//! Values as text and back, in WAVE: `add("/hits", 1)`. It knows types and values, not who calls what.
//!
//! A blob is written as a string where its bytes are one, else as a list of bytes; both are read. Trailing parameters and
//! record fields of an option type may be left out.

mod parse;
mod show;

use quorate_wire::value::{Function, Type, Value};
use wasm_wave::parser::ParserError;
use wasm_wave::untyped::UntypedFuncCall;

pub use show::show;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct WaveError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What.
    pub message: String,
}

impl WaveError {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.char_indices().take_while(|(at, _)| *at < offset).count();
        Self { column: before + 1, message: message.into() }
    }

    fn parser(text: &str, error: &ParserError) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self::at(text, error.span().start, message)
    }
}

/// A call as text, taken apart; its arguments are read when the function's type is known.
pub struct CallText {
    text: String,
    function: String,
    call: UntypedFuncCall<'static>,
    /// Bytes of the text before the part that the parser saw.
    offset: usize,
}

impl CallText {
    /// Takes `function(arguments)` apart; `interface.function(arguments)`, too.
    ///
    /// # Errors
    /// Where the text is not a call.
    pub fn parse(text: &str) -> Result<Self, WaveError> {
        let open = text.find('(').unwrap_or(text.len());
        let name = text[..open].trim();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:/@+".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            let at = text.len() - text.trim_start().len();
            return Err(WaveError::at(text, at, "expected the name of a function"));
        }
        if open == text.len() {
            return Err(WaveError::at(text, text.len(), "expected `(` and the arguments"));
        }
        // The parser knows plain names only; where they stand does not matter to it.
        let offset = open - 1;
        let shown = format!("f{}", &text[open..]);
        let call = UntypedFuncCall::parse(&shown)
            .map_err(|error| WaveError::parser(&shown, &error).moved(text, offset))?
            .into_owned();
        Ok(Self { text: text.to_owned(), function: name.to_owned(), call, offset })
    }

    /// The function's name, as given.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The arguments, as values of the function's parameters.
    ///
    /// # Errors
    /// Where an argument is not of its parameter's type.
    pub fn arguments(&self, function: &Function) -> Result<Vec<Value>, WaveError> {
        parse::arguments(&self.call, function).map_err(|error| error.moved(&self.text, self.offset))
    }
}

impl WaveError {
    /// From a column of `f(...)` to one of the whole text, where `(` stands behind `offset + 1` bytes.
    fn moved(self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).map_or(0, |before| before.chars().count());
        Self { column: self.column + before, ..self }
    }
}

/// Reads a value of a type.
///
/// # Errors
/// Where the text is not one.
pub fn parse(text: &str, kind: &Type) -> Result<Value, WaveError> {
    let mut parser = wasm_wave::parser::Parser::new(text);
    let node = parser.parse_raw_value().map_err(|error| WaveError::parser(text, &error))?;
    parser.finish().map_err(|error| WaveError::parser(text, &error))?;
    parse::value(node.node(), kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn function(parameters: &[(&str, Type)]) -> Function {
        Function {
            name: "f".to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, kind)| ((*name).to_owned(), kind.clone()))
                .collect(),
            result: None,
        }
    }

    fn there_and_back(text: &str, kind: &Type) {
        let value = parse(text, kind).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(show(&value, kind), text);
    }

    #[test]
    fn values_come_back_as_they_were_written() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        there_and_back("true", &Type::Bool);
        there_and_back("-128", &Type::S8);
        there_and_back("18446744073709551615", &Type::U64);
        there_and_back("1.5", &Type::F32);
        there_and_back("nan", &Type::F64);
        there_and_back("'ü'", &Type::Char);
        there_and_back("\"a\\\"b\"", &Type::String);
        there_and_back("[1, 2]", &Type::list(Type::U32));
        there_and_back("[1, 2]", &Type::FixedList(Box::new(Type::U32), 2));
        there_and_back("[0, 255]", &Type::list(Type::U8));
        there_and_back("(1, \"x\")", &Type::Tuple(vec![Type::U8, Type::String]));
        there_and_back("some(none)", &Type::option(Type::option(Type::Bool)));
        there_and_back("ok(7)", &Type::result(Some(Type::U8), None));
        there_and_back("err", &Type::result(Some(Type::U8), None));
        there_and_back("green", &Type::Enum(names(&["red", "green"])));
        there_and_back("{red, green}", &Type::Flags(names(&["red", "blue", "green"])));
        let record = Type::Record(vec![
            ("a".to_owned(), Type::U8),
            ("b".to_owned(), Type::option(Type::String)),
        ]);
        there_and_back("{a: 1}", &record);
        there_and_back("{a: 1, b: some(\"x\")}", &record);
        let variant =
            Type::Variant(vec![("held".to_owned(), Some(Type::U64)), ("free".to_owned(), None)]);
        there_and_back("held(9)", &variant);
        there_and_back("free", &variant);
    }

    #[test]
    fn a_blob_is_a_string_where_it_can_be_one_and_both_are_read() {
        there_and_back("\"text\"", &Type::Blob);
        there_and_back("[255, 0]", &Type::Blob);
        let read = parse("[116, 101]", &Type::Blob);
        assert_eq!(read, Ok(Value::Bytes(Bytes::from_static(b"te"))));
    }

    #[test]
    fn a_payload_may_stand_alone_where_only_one_level_can_be_meant() {
        let option = Type::option(Type::U8);
        assert_eq!(parse("5", &option), parse("some(5)", &option));
        let result = Type::result(Some(Type::U8), None);
        assert_eq!(parse("5", &result), parse("ok(5)", &result));
        assert!(parse("5", &Type::option(option)).is_err());
    }

    #[test]
    fn the_lines_of_the_locks_readme_are_calls() {
        let options = Type::Record(vec![
            ("note".to_owned(), Type::option(Type::String)),
            ("timeout-ms".to_owned(), Type::option(Type::U64)),
        ]);
        let acquire = function(&[("path", Type::String), ("options", options.clone())]);
        let readme = include_str!("../../../recipes/lock/README.md");
        let line = readme.lines().find_map(|line| {
            line.strip_prefix("quorate call lock '")?
                .strip_suffix('\'')
                .filter(|text| text.starts_with("acquire"))
        });
        let arguments = |text: &str| CallText::parse(text).expect("a call").arguments(&acquire);
        let some = |value| Value::Option(Some(Box::new(value)));
        let given = Value::Record(vec![some("ci-7".into()), some(Value::U64(60_000))]);
        assert_eq!(arguments(line.expect("it shows one")), Ok(vec!["/deploys/web".into(), given]));
        let late = Value::Record(vec![Value::Option(None), some(Value::U64(5))]);
        assert_eq!(arguments("acquire(\"/a\", {timeout-ms: 5})"), Ok(vec!["/a".into(), late]));
        let none = Value::Record(vec![Value::Option(None), Value::Option(None)]);
        assert_eq!(arguments("acquire(\"/a\", {:})"), Ok(vec!["/a".into(), none]));
        assert!(
            parse("{timeout-ms: 5, timeout-ms: 6}", &options).is_err(),
            "one of them would be lost"
        );
    }

    #[test]
    fn a_call_is_read_by_the_type_of_its_function() {
        let add = function(&[("path", Type::String), ("delta", Type::S64)]);
        let call = CallText::parse("add(\"/hits\", -1)").expect("a call");
        assert_eq!(call.function(), "add");
        assert_eq!(call.arguments(&add), Ok(vec![Value::from("/hits"), Value::S64(-1)]));
        let call = CallText::parse("quorate:lock/lock@0.1.0.add(\"/hits\", 1)").expect("a call");
        assert_eq!(call.function(), "quorate:lock/lock@0.1.0.add");
        assert!(call.arguments(&add).is_ok());
        let optional = function(&[("a", Type::U8), ("b", Type::option(Type::U8))]);
        let call = CallText::parse("f(1)").expect("a call");
        assert_eq!(call.arguments(&optional), Ok(vec![Value::U8(1), Value::Option(None)]));
        let call = CallText::parse("f()").expect("a call");
        assert_eq!(call.arguments(&function(&[])), Ok(vec![]));
    }

    #[test]
    fn errors_point_at_their_column() {
        let add = function(&[("path", Type::String), ("delta", Type::S8)]);
        let column = |text: &str| match CallText::parse(text) {
            Err(error) => error.column,
            Ok(call) => call.arguments(&add).expect_err("a wrong call").column,
        };
        assert_eq!(column("add(\"ü\", 300)"), 10);
        assert_eq!(column("add(\"ü\", \"x\")"), 10);
        assert_eq!(column("add(1, 2)"), 5);
        assert_eq!(column("add(\"x\", ,)"), 10);
        assert_eq!(column("add(\"x\", 1, 2)"), 13);
        assert_eq!(column("add(\"x\")"), 4);
        assert_eq!(column("  (1)"), 3);
        assert_eq!(column("add"), 4);
    }
}
