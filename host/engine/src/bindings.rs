//! The interfaces of `wit/` as Rust traits and types. What the functions do is in `host`.
#![allow(missing_docs, reason = "generated from wit/, where everything is documented")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "quorate:recipe/imports",
    imports: { default: trappable },
    with: { "quorate:recipe/blobs.blob": crate::blobs::Blob },
});
