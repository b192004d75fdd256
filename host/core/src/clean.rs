//! Clean records of the leader's view: what the applied tree is known to hold, absences too, so that a step need not ask
//! the disk's store again. Bounded by bytes; what is used stays.
//!
//! It knows nothing of batches and epochs. Its owner, the view, must [`Clean::learn`] a key anew after it was written,
//! before it is looked for again, and forget everything when somebody else may have written.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Bytes that a record is taken for beside its key and value: handles, and its part of the map's node.
const RECORD_HEAD_BYTES: usize = 128;
/// Bytes of the largest value that is kept. A larger one is rare, and worth a look-up.
const VALUE_BYTES_MAX: usize = 4 * 1024;

type Generation = BTreeMap<Bytes, Option<Bytes>>;

/// Two generations: what is found in the old one moves to the young one; when that has half of the bytes, it becomes the
/// old one, and the former old one goes. So the bound holds without an order of use to be kept up at every look-up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clean {
    bytes_max: usize,
    young: Generation,
    old: Generation,
    young_bytes: usize,
}

impl Clean {
    /// Empty; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Whether the record is known, and what it is.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<Option<Bytes>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// The tree holds this. Key and value are copied: they may be slices of something larger.
    pub(crate) fn learn(&mut self, key: &[u8], value: Option<&Bytes>) {
        if self.bytes_max == 0 || value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            self.forget(key);
            return;
        }
        self.old.remove(key);
        let value = value.map(|value| Bytes::copy_from_slice(value));
        self.insert(Bytes::copy_from_slice(key), value);
    }

    /// Nobody knows what the tree holds.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        if let Some((key, value)) = self.young.remove_entry(key) {
            self.young_bytes -= record_bytes(&key, value.as_ref());
        }
        self.old.remove(key);
    }

    /// Nobody knows anything.
    pub(crate) fn forget_all(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    fn insert(&mut self, key: Bytes, value: Option<Bytes>) {
        let bytes = record_bytes(&key, value.as_ref());
        let key_bytes = key.len();
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key, value) {
            let before = before.as_ref().map_or(0, Bytes::len);
            self.young_bytes -= RECORD_HEAD_BYTES + key_bytes + before;
        }
        if self.young_bytes > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

fn record_bytes(key: &[u8], value: Option<&Bytes>) -> usize {
    RECORD_HEAD_BYTES + key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: usize) -> Bytes {
        Bytes::from(format!("{number:08}"))
    }

    #[test]
    fn it_stays_below_its_bound_and_keeps_what_is_used() {
        let bytes_max = 100 * (RECORD_HEAD_BYTES + 16);
        let mut clean = Clean::new(bytes_max);
        for number in 0..10_000 {
            clean.learn(&bytes(number), Some(&bytes(number)));
            assert_eq!(clean.find(&bytes(0)), Some(Some(bytes(0))), "used all the time");
            let held: usize = [&clean.young, &clean.old]
                .into_iter()
                .flatten()
                .map(|(key, value)| record_bytes(key, value.as_ref()))
                .sum();
            assert!(held <= bytes_max, "{held}");
        }
        assert_eq!(clean.find(&bytes(9_999)), Some(Some(bytes(9_999))));
        assert_eq!(clean.find(&bytes(1)), None);
    }

    #[test]
    fn what_is_forgotten_is_unknown_and_an_absence_is_known() {
        let mut clean = Clean::new(1 << 20);
        clean.learn(b"a", None);
        assert_eq!(clean.find(b"a"), Some(None));
        clean.learn(b"a", Some(&bytes(1)));
        clean.forget(b"a");
        assert_eq!((clean.find(b"a"), clean.young_bytes), (None, 0));
        clean.learn(b"b", Some(&Bytes::from(vec![0; VALUE_BYTES_MAX + 1])));
        assert_eq!(clean.find(b"b"), None);
        let mut nothing = Clean::new(0);
        nothing.learn(b"a", None);
        assert_eq!(nothing.find(b"a"), None);
    }
}
