//! The whole tree of a member as a stream of bytes (`quorate_wire::snapshot`): for backups. It does not look at the bytes.

use bytes::Bytes;
use quorate_wire::message::query::SnapshotPlace;
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::limits::ANSWER_TIMEOUT;
use crate::streams::{Expected, Head, Opened};
use crate::tree::unexpected;

/// A snapshot that arrives. Dropped, the member stops sending it and keeps it for a while.
pub struct SnapshotStream {
    place: SnapshotPlace,
    opened: Opened,
    _expected: Expected,
}

/// The stream broke off. [`Client::snapshot`] goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot broke off: {0}")]
pub struct Broken(String);

impl Client {
    /// Asks the member for its tree, as fresh as this client's reads are. To go on with a stream that broke off, say how much
    /// of it is there: [`SnapshotStream::place`] tells whether the member still had it, or this is another one, from its begin.
    ///
    /// # Errors
    /// `Refused` with `overloaded` while the member sends as many as it may, with `bad-arguments` for a client with a root;
    /// `SessionLost`; `BadAnswer`.
    pub async fn snapshot(&self, go_on: Option<SnapshotPlace>) -> Result<SnapshotStream, Error> {
        let mut expected = self.expect_stream();
        let query = Query::Snapshot { bulk: expected.number(), go_on };
        let place = match self.read(query).await? {
            (_, Results::Snapshot(place)) => place,
            _ => return Err(unexpected("a snapshot")),
        };
        let stream = async {
            loop {
                match expected.next().await {
                    // Another one was opened on a connection that broke before the answer.
                    Some(opened) if opened.head == Head::Snapshot(place) => return Some(opened),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, stream).await {
            Ok(Some(opened)) => Ok(SnapshotStream { place, opened, _expected: expected }),
            Ok(None) | Err(_) => Err(Error::BadAnswer("the snapshot's stream did not come".into())),
        }
    }
}

impl SnapshotStream {
    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> SnapshotPlace {
        self.place
    }

    /// The next bytes; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if !self.opened.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.opened.first)));
        }
        self.opened.stream.recv().await.map_err(|error| Broken(error.to_string()))
    }
}
