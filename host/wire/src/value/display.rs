//! Owns how types and functions are shown to people: in WIT syntax, with the types that WIT would
//! name written out in place. It does not wrap lines, and nothing parses what it prints.

use std::fmt::{self, Display, Formatter};

use super::types::{Function, Interface, Type};

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(element) => write!(f, "list<{element}>"),
            Self::FixedList(element, length) => write!(f, "list<{element}, {length}>"),
            Self::Option(some) => write!(f, "option<{some}>"),
            Self::Tuple(elements) => {
                f.write_str("tuple<")?;
                separated(f, elements, |f, element| element.fmt(f))?;
                f.write_str(">")
            }
            Self::Record(fields) => braced(f, "record", fields, named),
            Self::Variant(cases) => braced(f, "variant", cases, |f, (name, payload)| {
                f.write_str(name)?;
                payload.as_ref().map_or(Ok(()), |payload| write!(f, "({payload})"))
            }),
            Self::Enum(names) => braced(f, "enum", names, |f, name| f.write_str(name)),
            Self::Flags(names) => braced(f, "flags", names, |f, name| f.write_str(name)),
            Self::Result { ok: None, err: None } => f.write_str("result"),
            Self::Result { ok: Some(ok), err: None } => write!(f, "result<{ok}>"),
            Self::Result { ok: None, err: Some(err) } => write!(f, "result<_, {err}>"),
            Self::Result { ok: Some(ok), err: Some(err) } => write!(f, "result<{ok}, {err}>"),
            scalar => f.write_str(scalar.kind()),
        }
    }
}

/// `acquire: func(path: string) -> result<u64>`
impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: func(", self.name)?;
        separated(f, &self.parameters, named)?;
        f.write_str(")")?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

/// A line for the name and one for each function.
impl Display for Interface {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "interface {} {{", self.name)?;
        self.functions.iter().try_for_each(|function| writeln!(f, "  {function};"))?;
        f.write_str("}")
    }
}

fn named(f: &mut Formatter<'_>, (name, kind): &(String, Type)) -> fmt::Result {
    write!(f, "{name}: {kind}")
}

fn braced<T>(
    f: &mut Formatter<'_>,
    keyword: &str,
    items: &[T],
    show: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{keyword} {{ ")?;
    separated(f, items, show)?;
    f.write_str(" }")
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    show: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        show(f, item)?;
    }
    Ok(())
}
