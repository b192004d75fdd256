//! What a lock remembers of its last grant, as one line of text in its znode.
//! Knows the line's form; does not know whether the grant still holds.

use std::fmt;

/// `TOKEN SINCE PLACE`, readable with `quorate get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// zxid of the grant.
    pub token: u64,
    /// Milliseconds since 1970.
    pub since: u64,
    /// Name of the place in line that has the lock.
    pub place: String,
}

impl Record {
    /// The record in a znode's data; `None` when there has been no grant, or something else is there.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(data).ok()?.split(' ');
        let (token, since, place) = (words.next()?, words.next()?, words.next()?);
        let is_whole = words.next().is_none() && !place.is_empty();
        let (token, since) = (token.parse().ok()?, since.parse().ok()?);
        is_whole.then(|| Self { token, since, place: place.to_owned() })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.token, self.since, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn what_is_written_is_read() {
        let record =
            Record { token: 42, since: 1_790_000_000_000, place: "w0000000000000000003".to_owned() };
        assert_eq!(Record::parse(record.to_string().as_bytes()), Some(record));
    }

    #[test]
    fn other_data_is_no_grant() {
        for data in [&b""[..], b"42", b"42 1", b"42 1 ", b"x 1 w", b"42 1 w extra", b"\xff 1 w"] {
            assert_eq!(Record::parse(data), None, "{data:?}");
        }
    }
}
