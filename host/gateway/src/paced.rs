//! Bulk streams to clients that have to keep up: what comes from the disk is sent piece by piece, and a client that takes it
//! too slowly is cut off, since whatever it is sent keeps something on the disk. It does not know what the pieces are.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_net::{BulkError, CloseCode, Connection};
use tokio::time::timeout;

use crate::limits;

/// Where the bytes come from.
pub(crate) trait Pieces: Send + 'static {
    /// The next ones; none at the end. May take as long as a disk does.
    fn next(&mut self) -> io::Result<Bytes>;
}

/// What a client has to do to stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Bytes that it takes in a second, on average.
    pub(crate) bytes_per_second_min: u64,
    /// How far it may fall behind that.
    pub(crate) behind_max: Duration,
    /// How long all of it may take.
    pub(crate) whole_max: Option<Duration>,
}

/// Sends a stream to its end. A client that does not read holds up nobody else; one that leaves ends it.
///
/// # Errors
/// Why it was not sent to its end, in words for the log.
pub(crate) async fn send(
    connection: &Connection,
    (kind, head): (u8, Bytes),
    mut pieces: impl Pieces,
    terms: Terms,
) -> Result<(), String> {
    let words = |error: BulkError| error.to_string();
    let opened = connection.open_bulk(kind).await;
    let mut sender = opened.map_err(|error| error.to_string())?;
    sender.send(head).await.map_err(words)?;
    let mut pace = Pace::new(terms, Instant::now());
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let piece = pieces.next();
            (pieces, piece)
        });
        let (again, piece) = read.await.map_err(|error| error.to_string())?;
        pieces = again;
        match piece {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                let bytes = piece.len() as u64;
                match timeout(pace.left(Instant::now()), sender.send(piece)).await {
                    Ok(sent) => sent.map_err(words)?,
                    Err(_) => {
                        sender.cut(CloseCode::Abandoned);
                        return Err("it is taken too slowly".to_owned());
                    }
                }
                pace.taken(bytes, Instant::now());
            }
            Err(error) => {
                tracing::error!(%error, "what a client is sent can not be read");
                sender.cut(CloseCode::Abandoned);
                return Err(error.to_string());
            }
        }
    }
    sender.finish(limits::BULK_FAREWELL).await.map_err(words)
}

/// Whether a client takes what it is sent fast enough.
struct Pace {
    terms: Terms,
    /// When it is too slow, if it takes nothing more.
    until: Instant,
    /// When it is too slow, whatever it takes.
    end: Option<Instant>,
}

impl Pace {
    fn new(terms: Terms, now: Instant) -> Self {
        let end = terms.whole_max.map(|most| now + most);
        Self { terms, until: now + terms.behind_max, end }
    }

    /// How long it is waited for.
    fn left(&self, now: Instant) -> Duration {
        let until = self.end.map_or(self.until, |end| end.min(self.until));
        until.saturating_duration_since(now)
    }

    /// It has taken so much. To have been fast before helps no further than to the begin.
    fn taken(&mut self, bytes: u64, now: Instant) {
        let earned_ms = bytes.saturating_mul(1000) / self.terms.bytes_per_second_min.max(1);
        let earned = self.until + Duration::from_millis(earned_ms);
        self.until = earned.min(now + self.terms.behind_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: Terms = Terms {
        bytes_per_second_min: 128 * 1024,
        behind_max: Duration::from_secs(30),
        whole_max: None,
    };

    /// How many seconds a client stays that takes so many bytes in each.
    fn lasts(terms: Terms, bytes_per_second: u64) -> u32 {
        let mut now = Instant::now();
        let mut pace = Pace::new(terms, now);
        for second in 0..10_000 {
            if pace.left(now).is_zero() {
                return second;
            }
            now += SECOND;
            pace.taken(bytes_per_second, now);
        }
        10_000
    }

    #[test]
    fn a_client_that_does_not_read_or_only_a_little_is_cut_off() {
        assert_eq!(lasts(TERMS, 0), 30);
        assert!(lasts(TERMS, TERMS.bytes_per_second_min / 2) <= 61);
        assert_eq!(lasts(TERMS, TERMS.bytes_per_second_min), 10_000);
    }

    #[test]
    fn to_have_been_fast_is_no_reason_to_stand_still() {
        let now = Instant::now();
        let mut pace = Pace::new(TERMS, now);
        pace.taken(100 << 30, now + SECOND);
        assert_eq!(pace.left(now + SECOND), TERMS.behind_max);
    }

    #[test]
    fn a_stream_that_may_take_so_long_is_cut_off_then_however_fast_it_goes() {
        let terms = Terms { whole_max: Some(100 * SECOND), ..TERMS };
        assert_eq!(lasts(terms, TERMS.bytes_per_second_min * 10), 100);
    }
}
