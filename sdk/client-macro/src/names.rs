//! WIT's kebab names as Rust writes them. It knows no types.

/// Words that can not be a name in Rust, not even with `r#`.
const NEVER: [&str; 4] = ["self", "super", "crate", "Self"];

const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield", "union", "raw", "safe",
];

/// `timeout-ms` -> `timeout_ms`, `type` -> `r#type`.
pub fn snake(kebab: &str) -> String {
    let name = kebab.replace('-', "_").to_ascii_lowercase();
    if NEVER.contains(&name.as_str()) {
        return format!("{name}_");
    }
    if KEYWORDS.contains(&name.as_str()) { format!("r#{name}") } else { name }
}

/// `lock-error` -> `LockError`.
pub fn camel(kebab: &str) -> String {
    let mut name = String::new();
    for word in kebab.split('-') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.extend(letters.map(|letter| letter.to_ascii_lowercase()));
    }
    if NEVER.contains(&name.as_str()) { name + "_" } else { name }
}

#[test]
fn names_are_rusts() {
    assert_eq!(snake("timeout-ms"), "timeout_ms");
    assert_eq!(snake("type"), "r#type");
    assert_eq!(snake("self"), "self_");
    assert_eq!(camel("no-children-for-ephemerals"), "NoChildrenForEphemerals");
    assert_eq!(camel("HTTP-error"), "HttpError");
    assert_eq!(camel("self"), "Self_");
}
