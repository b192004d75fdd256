//! Interfaces as WIT for people: types that a function would write out in place are declared once, under names that are made
//! from where they stand. It knows types, and no values; nothing parses what it prints.

use quorate_wire::value::{Function, Interface, Type};

/// A type that has a name here.
struct Declaration<'a> {
    kind: &'a Type,
    name: String,
    /// In WIT, on one or more lines.
    text: String,
}

/// An interface's declarations so far.
#[derive(Default)]
struct Declarations<'a> {
    known: Vec<Declaration<'a>>,
}

/// The interface, in WIT syntax.
pub fn show(interface: &Interface) -> String {
    let mut declarations = Declarations::default();
    let functions: Vec<String> =
        interface.functions.iter().map(|function| declarations.function(function)).collect();
    let mut text = format!("interface {} {{\n", interface.name);
    for declaration in &declarations.known {
        text += &format!("  {}\n\n", declaration.text);
    }
    for function in functions {
        text += &format!("  {function};\n");
    }
    text + "}"
}

impl<'a> Declarations<'a> {
    fn function(&mut self, function: &'a Function) -> String {
        let parameters: Vec<String> = function
            .parameters
            .iter()
            .map(|(name, kind)| format!("{name}: {}", self.kind(kind, name)))
            .collect();
        let result = function.result.as_ref();
        let result = result.map(|kind| format!(" -> {}", self.kind(kind, &function.name)));
        format!("{}: func({}){}", function.name, parameters.join(", "), result.unwrap_or_default())
    }

    /// How a type is written where it is used; `place` is what a name is made of, if it needs one.
    fn kind(&mut self, kind: &'a Type, place: &str) -> String {
        match kind {
            Type::Record(fields) => {
                let fields = fields.iter().map(|(name, kind)| (&**name, Some(kind)));
                self.declare(kind, "record", place, fields.collect(), ": ", "")
            }
            Type::Variant(cases) => {
                let cases = cases.iter().map(|(name, kind)| (&**name, kind.as_ref()));
                self.declare(kind, "variant", place, cases.collect(), "(", ")")
            }
            Type::Enum(names) => {
                let names = names.iter().map(|name| (&**name, None));
                self.declare(kind, "enum", place, names.collect(), "", "")
            }
            Type::Flags(names) => {
                let names = names.iter().map(|name| (&**name, None));
                self.declare(kind, "flags", place, names.collect(), "", "")
            }
            Type::List(element) => format!("list<{}>", self.kind(element, place)),
            Type::FixedList(element, length) => {
                format!("list<{}, {length}>", self.kind(element, place))
            }
            Type::Option(some) => format!("option<{}>", self.kind(some, place)),
            Type::Tuple(elements) => {
                let elements: Vec<String> =
                    elements.iter().map(|element| self.kind(element, place)).collect();
                format!("tuple<{}>", elements.join(", "))
            }
            Type::Result { ok, err } => {
                let ok = ok.as_ref().map(|ok| self.kind(ok, &format!("{place}-result")));
                let err = err.as_ref().map(|err| self.kind(err, "error"));
                match (ok, err) {
                    (None, None) => "result".to_owned(),
                    (Some(ok), None) => format!("result<{ok}>"),
                    (ok, Some(err)) => format!("result<{}, {err}>", ok.unwrap_or("_".to_owned())),
                }
            }
            scalar => scalar.to_string(),
        }
    }

    /// Declares a type after those that it is made of, unless it is declared already. Its name.
    fn declare(
        &mut self,
        kind: &'a Type,
        keyword: &str,
        place: &str,
        parts: Vec<(&'a str, Option<&'a Type>)>,
        before: &str,
        behind: &str,
    ) -> String {
        if let Some(known) = self.known.iter().find(|known| known.kind == kind) {
            return known.name.clone();
        }
        let mut text = String::new();
        for (name, part) in parts {
            let part = part.map(|part| format!("{before}{}{behind}", self.kind(part, name)));
            text += &format!("    {name}{},\n", part.unwrap_or_default());
        }
        let name = self.free(place);
        self.known.push(Declaration {
            kind,
            text: format!("{keyword} {name} {{\n{text}  }}"),
            name: name.clone(),
        });
        name
    }

    fn free(&self, place: &str) -> String {
        let is_free = |name: &String| self.known.iter().all(|known| known.name != *name);
        let numbered = (2..).map(|number: u64| format!("{place}-{number}"));
        std::iter::once(place.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_declared_once_and_before_its_use() {
        let code = Type::Enum(vec!["no-node".to_owned(), "limit".to_owned()]);
        let tree =
            Type::Record(vec![("code".to_owned(), code), ("message".to_owned(), Type::String)]);
        let error =
            Type::Variant(vec![("timed-out".to_owned(), None), ("tree".to_owned(), Some(tree))]);
        let function = |name: &str, ok: Type| Function {
            name: name.to_owned(),
            parameters: vec![("path".to_owned(), Type::String)],
            result: Some(Type::result(Some(ok), Some(error.clone()))),
        };
        let entry = Type::Record(vec![("text".to_owned(), Type::String)]);
        let interface = Interface {
            name: "a:b/c@0.1.0".to_owned(),
            functions: vec![function("get", Type::option(entry)), function("set", Type::U64)],
        };
        let expected = "\
interface a:b/c@0.1.0 {
  record get-result {
    text: string,
  }

  enum code {
    no-node,
    limit,
  }

  record tree {
    code: code,
    message: string,
  }

  variant error {
    timed-out,
    tree(tree),
  }

  get: func(path: string) -> result<option<get-result>, error>;
  set: func(path: string) -> result<u64, error>;
}";
        assert_eq!(show(&interface), expected);
    }

    #[test]
    fn different_types_in_like_places_get_different_names() {
        let kind = |field: &str| Type::Record(vec![(field.to_owned(), Type::U8)]);
        let function = |name: &str, field: &str| Function {
            name: name.to_owned(),
            parameters: vec![("options".to_owned(), kind(field))],
            result: None,
        };
        let interface = Interface {
            name: "x".to_owned(),
            functions: vec![function("f", "a"), function("g", "b")],
        };
        let shown = show(&interface);
        assert!(shown.contains("f: func(options: options);"), "{shown}");
        assert!(shown.contains("g: func(options: options-2);"), "{shown}");
    }
}
