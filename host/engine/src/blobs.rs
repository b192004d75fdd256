//! The payloads behind a guest's blob handles. It does not know who holds a handle: wasmtime does.

use std::collections::BTreeMap;

use bytes::Bytes;
use wasmtime::component::Resource;

use crate::limits;
use crate::stop::Stop;

/// Names the resource type of blobs to wasmtime; no value of it exists.
pub enum Blob {}

/// Payloads by number. Numbers are never used twice in one instance, so that a handle which a guest kept from an earlier
/// call does not mean a later call's payload.
#[derive(Default)]
pub(crate) struct Blobs {
    next: u32,
    bytes: u64,
    held: BTreeMap<u32, Bytes>,
}

impl Blobs {
    /// Takes a payload in.
    ///
    /// # Errors
    /// Over the limit of handles or bytes.
    pub(crate) fn insert(&mut self, payload: Bytes) -> Result<Resource<Blob>, Stop> {
        let count = self.held.len() + 1;
        if count > limits::HANDLES_MAX {
            let max = limits::HANDLES_MAX as u64;
            return Err(Stop::over_limit("blobs held at a time", count as u64, max));
        }
        let bytes = self.bytes + payload.len() as u64;
        if bytes > limits::BLOB_BYTES_MAX {
            return Err(Stop::over_limit("bytes of blobs", bytes, limits::BLOB_BYTES_MAX));
        }
        let number = self.next;
        self.next = number.checked_add(1).ok_or_else(|| Stop::trapped("out of blob numbers"))?;
        self.bytes = bytes;
        self.held.insert(number, payload);
        Ok(Resource::new_own(number))
    }

    /// The payload behind a handle.
    ///
    /// # Errors
    /// For a handle of an earlier call.
    pub(crate) fn payload(&self, blob: &Resource<Blob>) -> Result<&Bytes, Stop> {
        self.held.get(&blob.rep()).ok_or_else(|| Stop::trapped("this blob is gone"))
    }

    /// Takes a payload out.
    ///
    /// # Errors
    /// For a handle of an earlier call.
    pub(crate) fn remove(&mut self, blob: &Resource<Blob>) -> Result<Bytes, Stop> {
        let payload = self.held.remove(&blob.rep());
        let payload = payload.ok_or_else(|| Stop::trapped("this blob is gone"))?;
        self.bytes -= payload.len() as u64;
        Ok(payload)
    }

    /// Whether no payload is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
