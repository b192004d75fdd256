//! What commands write with `--output json`: field names here are promises. It does not know where it is written.

use std::fmt::Write;

use quorate_core::query::Child;
use quorate_core::request::Answer;
use quorate_core::znode::{Lifetime, Stat};
use quorate_wire::value::{Type, Value};
use serde_json::{Map, Value as Json, json};

/// A znode's stat. Times are milliseconds since 1970.
#[must_use]
pub fn stat(stat: &Stat) -> Json {
    json!({
        "version": stat.version,
        "bytes": stat.data_bytes,
        "children": stat.children_count,
        "czxid": stat.czxid.0,
        "mzxid": stat.mzxid.0,
        "pzxid": stat.pzxid.0,
        "created_ms": stat.ctime.0,
        "modified_ms": stat.mtime.0,
        "children_version": stat.cversion,
        "owner_session": stat.owner().map(|session| session.0),
        "lifetime": lifetime(stat.lifetime),
        "ttl_ms": match stat.lifetime {
            Lifetime::Ttl(ms) => Some(ms),
            _ => None,
        },
    })
}

/// How long a znode lives, in a word.
#[must_use]
pub fn lifetime(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Persistent => "persistent",
        Lifetime::Ephemeral(_) => "ephemeral",
        Lifetime::CallOwned(_) => "call-owned",
        Lifetime::Container => "container",
        Lifetime::Ttl(_) => "ttl",
    }
}

/// Data: `{"text": ...}` if it is UTF-8, else `{"hex": ...}`.
#[must_use]
pub fn data(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

/// Bytes as lower-case digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

/// An answer of a multi but that of a call, whose type is not known here.
#[must_use]
pub fn answer(answer: &Answer) -> Json {
    match answer {
        Answer::Created { path, stat: found } => json!({ "path": path, "stat": stat(found) }),
        Answer::Stat(found) => json!({ "stat": stat(found) }),
        Answer::Activated { version } => json!({ "version": version }),
        Answer::Multi(answers) => answers.iter().map(self::answer).collect(),
        Answer::Called(bytes) => json!({ "encoded": hex(bytes) }),
        Answer::Done => json!({}),
        Answer::Node { data: found, stat: of } => json!({ "data": data(found), "stat": stat(of) }),
        Answer::Names(listing) => {
            json!({ "children": listing.children, "has_more": listing.has_more })
        }
        Answer::Children(listing) => {
            let child = |child: &Child| json!({ "name": child.name, "data": data(&child.data), "stat": stat(&child.stat) });
            let children: Vec<Json> = listing.children.iter().map(child).collect();
            json!({ "children": children, "has_more": listing.has_more })
        }
        Answer::Exists(found) => json!({ "stat": found.as_ref().map(stat) }),
        Answer::Deleted { count } => json!({ "deleted": count }),
    }
}

/// A value by its type: records are objects, tuples and flags arrays, `none` is null, `some(x)` is x (an option in an option
/// is `{"some": x}`), results are `{"ok": x}` and `{"err": x}`, cases without a payload are strings and others `{"case": x}`.
/// Blobs are strings where they can be, else arrays of numbers.
#[must_use]
pub fn value(value: &Value, kind: &Type) -> Json {
    let pair =
        |(name, value): (&str, Json)| Json::Object(Map::from_iter([(name.to_owned(), value)]));
    let inner = |value: &Option<Box<Value>>, kind: Option<&Type>| match (value, kind) {
        (Some(value), Some(kind)) => self::value(value, kind),
        _ => Json::Null,
    };
    match (value, kind) {
        (Value::Record(values), Type::Record(fields)) => {
            let fields = values.iter().zip(fields);
            Json::Object(
                fields
                    .map(|(value, (name, kind))| (name.clone(), self::value(value, kind)))
                    .collect(),
            )
        }
        (Value::Tuple(values), Type::Tuple(kinds)) => {
            values.iter().zip(kinds).map(|(value, kind)| self::value(value, kind)).collect()
        }
        (Value::List(values), Type::List(kind) | Type::FixedList(kind, _)) => {
            values.iter().map(|value| self::value(value, kind)).collect()
        }
        (Value::Option(None), _) => Json::Null,
        (Value::Option(Some(value)), Type::Option(kind)) => {
            let shown = self::value(value, kind);
            if matches!(**kind, Type::Option(_)) { pair(("some", shown)) } else { shown }
        }
        (Value::Result(Ok(value)), Type::Result { ok, .. }) => {
            pair(("ok", inner(value, ok.as_deref())))
        }
        (Value::Result(Err(value)), Type::Result { err, .. }) => {
            pair(("err", inner(value, err.as_deref())))
        }
        (Value::Variant { case, payload }, Type::Variant(cases)) => {
            match usize::try_from(*case).ok().and_then(|case| cases.get(case)) {
                Some((name, None)) => Json::from(name.clone()),
                Some((name, kind)) => pair((name, inner(payload, kind.as_ref()))),
                None => Json::Null,
            }
        }
        (Value::Enum(case), Type::Enum(names)) => {
            usize::try_from(*case).ok().and_then(|case| names.get(case)).cloned().into()
        }
        (Value::Flags(flags), Type::Flags(names)) => {
            flags.iter().filter_map(|at| names.get(at).cloned()).collect()
        }
        (Value::Bytes(bytes), Type::Blob) if std::str::from_utf8(bytes).is_ok() => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
        (value, _) => plain(value),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::S8(value) => (*value).into(),
        Value::U8(value) => (*value).into(),
        Value::S16(value) => (*value).into(),
        Value::U16(value) => (*value).into(),
        Value::S32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::S64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F32(value) => value.to_f32().into(),
        Value::F64(value) => value.to_f64().into(),
        Value::Char(value) => value.to_string().into(),
        Value::String(value) => value.clone().into(),
        Value::Bytes(bytes) => bytes.iter().copied().collect(),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, kind: &Type) -> String {
        value(&quorate_client::wave::parse(text, kind).expect("a value"), kind).to_string()
    }

    #[test]
    fn values_become_json_by_their_types() {
        let failure = Type::Variant(vec![
            ("timed-out".to_owned(), None),
            ("held".to_owned(), Some(Type::U64)),
        ]);
        let grant = Type::Record(vec![
            ("token".to_owned(), Type::U64),
            ("note".to_owned(), Type::option(Type::String)),
        ]);
        let result = Type::result(Some(grant), Some(failure));
        assert_eq!(shown("ok({token: 7})", &result), r#"{"ok":{"note":null,"token":7}}"#);
        assert_eq!(shown("err(timed-out)", &result), r#"{"err":"timed-out"}"#);
        assert_eq!(shown("err(held(9))", &result), r#"{"err":{"held":9}}"#);
        assert_eq!(
            shown("some(none)", &Type::option(Type::option(Type::Bool))),
            r#"{"some":null}"#
        );
        assert_eq!(shown("[255, 0]", &Type::Blob), "[255,0]");
        assert_eq!(shown("\"x\"", &Type::Blob), "\"x\"");
    }

    #[test]
    fn data_that_is_no_text_is_hex() {
        assert_eq!(data(b"x").to_string(), r#"{"text":"x"}"#);
        assert_eq!(data(&[255, 1]).to_string(), r#"{"hex":"ff01"}"#);
    }
}
