//! `blobs`: payloads as handles.

use wasmtime::component::Resource;

use crate::bindings::quorate::recipe::blobs::{Host, HostBlob};
use crate::blobs::Blob;
use crate::state::RunState;

impl Host for RunState {}

impl HostBlob for RunState {
    fn new(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Resource<Blob>> {
        self.enter()?;
        Ok(self.blobs.insert(bytes.into())?)
    }

    fn size(&mut self, blob: Resource<Blob>) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok(self.blobs.payload(&blob)?.len() as u64)
    }

    fn read(&mut self, blob: Resource<Blob>, offset: u64, limit: u32) -> wasmtime::Result<Vec<u8>> {
        self.enter()?;
        let payload = self.blobs.payload(&blob)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(payload.len());
        let end = start.saturating_add(limit as usize).min(payload.len());
        Ok(payload[start..end].to_vec())
    }

    fn drop(&mut self, blob: Resource<Blob>) -> wasmtime::Result<()> {
        self.blobs.remove(&blob)?;
        Ok(())
    }
}
