//! WAVE texts, of the client library and of scenarios: the first byte is the length of a type's description, which follows,
//! then comes the text. Knows that a value that is shown reads as the same value.
#![no_main]

/// Taken in by their files: the crates would bring quinn and wasmtime.
#[path = "../../../sdk/client/src"]
#[allow(dead_code, reason = "only the parser is called")]
mod client {
    pub(crate) mod wave;
}
#[path = "../../../sdk/testkit/src"]
#[allow(dead_code, unused_imports, reason = "only the parser is called")]
mod testkit {
    pub(crate) mod wave;
}

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::value::Type;

fuzz_target!(|data: &[u8]| {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((description, text)) = rest.split_at_checked(usize::from(length)) else { return };
    let Ok(kind) = Type::decode(Bytes::copy_from_slice(description)) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let _call = client::wave::CallText::parse(text).is_ok();
    if let Ok(value) = client::wave::parse(text, &kind) {
        let shown = client::wave::show(&value, &kind);
        assert_eq!(client::wave::parse(&shown, &kind), Ok(value), "{shown}");
    }
    let _cut = testkit::wave::cut(text).is_ok();
    if let Ok(pattern) = testkit::wave::Pattern::parse(text, &kind) {
        let _value = pattern.value(&kind, &testkit::wave::Bindings::new()).is_ok();
    }
});
