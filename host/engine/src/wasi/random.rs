//! `wasi:random`: bytes that nobody outside can guess, and that are the same again for the same key and run. No reply
//! depends on them being the same: only the leader runs recipes, and what it made is what is replicated.

use quorate_core::ids::{CallId, Millis, Zxid};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Linker;

use super::{function, interface};
use crate::limits::RANDOM_BYTES_MAX;
use crate::state::{Facts, RunState};
use crate::stop::Stop;

/// What the random bytes of all runs are derived from. A server takes a secret one; the default is the same everywhere, for
/// tests that must repeat.
#[derive(Clone, Copy, Default)]
pub struct RandomKey([u8; 32]);

impl From<[u8; 32]> for RandomKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Keeps the key out of logs.
impl std::fmt::Debug for RandomKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("RandomKey(..)")
    }
}

/// The bytes of one run: SHA-256 in counter mode.
pub(crate) struct RandomStream {
    seed: [u8; 32],
    block: [u8; 32],
    /// Bytes of the block that are left, at its end.
    left: usize,
    blocks: u64,
}

impl RandomStream {
    /// The stream of a run: no two runs of one leadership have the same number and time, and no two that only read the same
    /// nonce.
    pub(crate) fn new(key: RandomKey, call: CallId, zxid: Zxid, time: Millis, nonce: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(key.0);
        for number in [call.session.0, call.write.0, zxid.0, time.0, nonce] {
            hasher.update(number.to_le_bytes());
        }
        Self { seed: hasher.finalize().into(), block: [0; 32], left: 0, blocks: 0 }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.left == 0 {
                let block = Sha256::new().chain_update(self.seed);
                self.block = block.chain_update(self.blocks.to_le_bytes()).finalize().into();
                self.blocks += 1;
                self.left = self.block.len();
            }
            *byte = self.block[self.block.len() - self.left];
            self.left -= 1;
        }
    }
}

impl RunState {
    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        if self.random_stream.is_none() {
            let (zxid, time) = {
                let (txn, _) = self.txn()?;
                (txn.zxid(), txn.time())
            };
            let Facts { random_key, id, nonce, .. } = self.facts;
            self.random_stream = Some(RandomStream::new(random_key, id, zxid, time, nonce));
        }
        if let Some(stream) = &mut self.random_stream {
            stream.fill(bytes);
        }
        Ok(())
    }

    fn random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        self.random(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        let max = RANDOM_BYTES_MAX;
        let within = usize::try_from(count).ok().filter(|count| *count <= max);
        let over = || Stop::over_limit("random bytes of one call", count, max as u64);
        let mut bytes = vec![0; within.ok_or_else(over)?];
        self.random(&mut bytes)?;
        Ok(bytes)
    }
}

pub(super) fn define(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    for (name, prefix) in [("random", ""), ("insecure", "insecure-")] {
        let mut random = interface(linker, &format!("random/{name}"))?;
        let bytes = format!("get-{prefix}random-bytes");
        function(&mut random, &bytes, |state, (count,): (u64,)| Ok((state.random_bytes(count)?,)))?;
        let number = format!("get-{prefix}random-u64");
        function(&mut random, &number, |state, (): ()| Ok((state.random_u64()?,)))?;
    }
    let mut seed = interface(linker, "random/insecure-seed")?;
    function(&mut seed, "insecure-seed", |state, (): ()| {
        Ok(((state.random_u64()?, state.random_u64()?),))
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::{SessionId, WriteNumber};

    use super::*;

    fn bytes(key: u8, session: u64, write: u64, zxid: u64, nonce: u64) -> [u8; 100] {
        let call = CallId { session: SessionId(session), write: WriteNumber(write) };
        let key = RandomKey::from([key; 32]);
        let mut stream = RandomStream::new(key, call, Zxid(zxid), Millis(7), nonce);
        let mut bytes = [0; 100];
        let (one, other) = bytes.split_at_mut(33);
        stream.fill(one);
        stream.fill(other);
        bytes
    }

    #[test]
    fn equal_seeds_give_equal_bytes_and_no_others_do() {
        let first = bytes(1, 2, 3, 4, 5);
        assert_eq!(first, bytes(1, 2, 3, 4, 5));
        for [key, session, write, zxid, nonce] in
            [[0, 2, 3, 4, 5], [1, 0, 3, 4, 5], [1, 2, 0, 4, 5], [1, 2, 3, 0, 5], [1, 2, 3, 4, 0]]
        {
            let key = u8::try_from(key).expect("small");
            assert_ne!(first, bytes(key, session, write, zxid, nonce));
        }
        assert_ne!(first[..32], first[32..64], "blocks differ");
    }
}
