//! Values as WAVE text: read as patterns, shown, and told apart on a line. It knows types and values, not who calls what.

mod pattern;
mod show;
mod words;

use wasm_wave::parser::ParserError;

pub(crate) use pattern::{Bindings, Mismatch, Pattern};
pub(crate) use show::show;
pub(crate) use words::{Cut, cut};

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`, column {column}: {message}")]
pub(crate) struct WaveError {
    text: String,
    /// In characters, from 1.
    column: usize,
    message: String,
}

impl WaveError {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.char_indices().take_while(|(at, _)| *at < offset).count();
        Self { text: text.to_owned(), column: before + 1, message: message.into() }
    }

    fn parser(text: &str, error: &ParserError) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self::at(text, error.span().start, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::value::{Type, Value};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn grant() -> Type {
        Type::Record(vec![
            ("token".to_owned(), Type::U64),
            ("note".to_owned(), Type::option(Type::String)),
        ])
    }

    fn value(text: &str, kind: &Type) -> Value {
        let pattern = Pattern::parse(text, kind).unwrap_or_else(|error| panic!("{error}"));
        pattern.value(kind, &Bindings::new()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn values_are_shown_as_they_were_written() {
        let variant =
            Type::Variant(vec![("held".to_owned(), Some(Type::U64)), ("free".to_owned(), None)]);
        let written = [
            ("true", Type::Bool),
            ("-128", Type::S8),
            ("18446744073709551615", Type::U64),
            ("1.5", Type::F32),
            ("nan", Type::F64),
            ("'\\''", Type::Char),
            (r#""a\"_ $b""#, Type::String),
            ("\"text\"", Type::Blob),
            ("[255, 0]", Type::Blob),
            ("[1, 2]", Type::list(Type::U8)),
            ("[1, 2]", Type::FixedList(Box::new(Type::U32), 2)),
            ("(1, \"x\")", Type::Tuple(vec![Type::U8, Type::String])),
            ("some(none)", Type::option(Type::option(Type::Bool))),
            ("ok(7)", Type::result(Some(Type::U8), None)),
            ("err", Type::result(Some(Type::U8), None)),
            ("green", Type::Enum(names(&["red", "green"]))),
            ("{red, green}", Type::Flags(names(&["red", "blue", "green"]))),
            ("{token: 1, note: some(\"x\")}", grant()),
            ("{:}", Type::Record(vec![("a".to_owned(), Type::option(Type::U8))])),
            ("held(9)", variant.clone()),
            ("free", variant),
        ];
        for (text, kind) in written {
            assert_eq!(show(&value(text, &kind), &kind), text);
        }
    }

    #[test]
    fn some_and_ok_may_be_left_out() {
        let optional = Type::option(Type::U8);
        assert_eq!(value("5", &optional), value("some(5)", &optional));
        let result = Type::result(Some(Type::U8), None);
        assert_eq!(value("5", &result), value("ok(5)", &result));
        assert!(Pattern::parse("5", &Type::option(optional)).is_err());
    }

    #[test]
    fn holes_match_any_value_and_names_the_same_one() {
        let kind = Type::list(Type::option(grant()));
        let pattern = Pattern::parse("[{token: $t, note: _}, _, {token: $t}]", &kind);
        let pattern = pattern.expect("a pattern");
        let matches = |text: &str| {
            let mut bindings = Bindings::new();
            pattern.check(&value(text, &kind), &mut bindings).map(|()| bindings)
        };
        let bound = matches("[{token: 7, note: \"x\"}, none, {token: 7}]").expect("it matches");
        assert_eq!(bound, Bindings::from([("t".to_owned(), Value::U64(7))]));
        let differs = Err(Mismatch::Name("t".to_owned(), Value::U64(7)));
        assert_eq!(matches("[{token: 7}, none, {token: 8}]"), differs);
        // A field that is left out is none, and nothing else.
        let noted = matches("[{token: 7}, none, {token: 7, note: \"x\"}]");
        assert_eq!(noted, Err(Mismatch::Differs));
        assert_eq!(matches("[{token: 7}, {token: 7}]"), Err(Mismatch::Differs));
    }

    #[test]
    fn a_bound_name_is_a_value_also_where_an_option_is_wanted() {
        let bindings = Bindings::from([("t".to_owned(), Value::U64(7))]);
        let of = |text: &str, kind: &Type| {
            Pattern::parse(text, kind).expect("a pattern").value(kind, &bindings)
        };
        let some = Value::Option(Some(Box::new(Value::U64(7))));
        assert_eq!(of("$t", &Type::U64), Ok(Value::U64(7)));
        assert_eq!(of("$t", &Type::option(Type::U64)), Ok(some.clone()));
        assert_eq!(of("some($t)", &Type::option(Type::U64)), Ok(some));
        assert!(of("$u", &Type::U64).is_err());
        assert!(of("[_]", &Type::list(Type::U64)).is_err());
    }

    #[test]
    fn what_is_no_pattern_is_an_error_of_its_column() {
        let column = |text: &str, kind: &Type| match Pattern::parse(text, kind) {
            Err(error) => error.column,
            Ok(pattern) => panic!("{text} is {pattern:?}"),
        };
        let grants = Type::list(grant());
        assert_eq!(column("[{token: 1}, {token: -1}]", &grants), 22);
        assert_eq!(column("[{token: 1}, {tokn: 1}]", &grants), 21);
        assert_eq!(column("[{note: \"ü\"}, _]", &grants), 2);
        assert_eq!(column("[_, $1]", &grants), 5);
        assert_eq!(column("[_, __]", &grants), 5);
        assert_eq!(column("[_ _]", &grants), 4);
        assert_eq!(column("[_] _", &grants), 5);
        assert_eq!(column("\"a", &Type::String), 1);
        assert_eq!(column("a_b", &Type::Enum(names(&["a"]))), 2);
        assert_eq!(column("b", &Type::Enum(names(&["a"]))), 1);
        assert_eq!(column("ok(1)", &Type::result(None, None)), 4);
        assert_eq!(column("ok", &Type::result(Some(Type::U8), None)), 1);
    }

    /// What a scenario says is what somebody types at the command line, whose texts the client reads.
    #[test]
    fn a_text_is_read_as_the_client_reads_it() {
        let options = Type::Record(vec![
            ("note".to_owned(), Type::option(Type::String)),
            ("timeout-ms".to_owned(), Type::option(Type::U64)),
        ]);
        let bounds = Type::Record(vec![
            ("low".to_owned(), Type::S64),
            ("options".to_owned(), Type::option(options.clone())),
            ("both".to_owned(), Type::result(Some(Type::U8), Some(Type::Bool))),
        ]);
        let variant = Type::Variant(vec![
            ("held".to_owned(), Some(Type::option(Type::U64))),
            ("free".to_owned(), None),
        ]);
        let colours = Type::Enum(names(&["red", "none"]));
        let texts = [
            ("{note: \"ci-7\", timeout-ms: 60000}", &options),
            ("{note: some(\"ci-7\"), timeout-ms: some(60000)}", &options),
            ("{timeout-ms: 0}", &options),
            ("{note: none}", &options),
            ("{:}", &options),
            ("{}", &options),
            ("{note: 5}", &options),
            ("{timeout-ms: -1}", &options),
            ("{timeout: 5}", &options),
            ("{timeout-ms: 5, timeout-ms: 6}", &options),
            ("{low: -1, options: {note: \"x\"}, both: 7}", &bounds),
            ("{low: -1, both: err(true)}", &bounds),
            ("{low: -1, options: {:}}", &bounds),
            ("{options: none, both: ok(7)}", &bounds),
            ("held(5)", &variant),
            ("held(some(5))", &variant),
            ("held(none)", &variant),
            ("held", &variant),
            ("free(5)", &variant),
            ("[\"a\", some(\"b\"), none]", &Type::list(Type::option(Type::String))),
            ("5", &Type::option(Type::option(Type::U8))),
            ("some(5)", &Type::option(Type::option(Type::U8))),
            ("some(some(5))", &Type::option(Type::option(Type::U8))),
            ("%none", &Type::option(colours.clone())),
            ("none", &Type::option(colours)),
            ("(1, \"x\")", &Type::Tuple(vec![Type::option(Type::U8), Type::String])),
            ("(1, \"x\", 2)", &Type::Tuple(vec![Type::option(Type::U8), Type::String])),
            ("\"text\"", &Type::option(Type::Blob)),
            ("[0, 256]", &Type::list(Type::U8)),
            ("256", &Type::U8),
            ("'ab'", &Type::Char),
            ("{red}", &Type::Flags(names(&["red", "blue"]))),
            ("{green}", &Type::Flags(names(&["red", "blue"]))),
        ];
        for (text, kind) in texts {
            let here = Pattern::parse(text, kind).map(|read| read.value(kind, &Bindings::new()));
            let there = quorate_client::wave::parse(text, kind);
            match (here, there) {
                (Ok(here), Ok(there)) => assert_eq!(here, Ok(there), "{text}"),
                (Err(here), Err(there)) => {
                    assert_eq!(here.column, there.column, "{text}: {here}, {there}")
                }
                (here, there) => panic!("{text}: {here:?} here, {there:?} there"),
            }
        }
    }
}
