//! Subtrees as streams of znodes, each of one state of the tree. It knows no recipes, and keeps nothing of what has come.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::query::scan::Scanned;
use quorate_wire::message::scan::{Decoder, Item};
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::limits::ANSWER_TIMEOUT;
use crate::root::Root;
use crate::streams::{Expected, Head, Opened};
use crate::tree::unexpected;

impl Client {
    /// Begins a scan of a znode and all that is below it when awaited:
    /// `client.scan("/config").without_data().await`.
    pub fn scan(&self, path: &str) -> ScanRequest {
        let (client, path) = (self.clone(), path.to_owned());
        ScanRequest { client, path, after: None, with_data: true }
    }
}

/// A scan that is asked for. See [`Client::scan`].
#[must_use]
#[derive(Debug)]
pub struct ScanRequest {
    client: Client,
    path: String,
    after: Option<String>,
    with_data: bool,
}

impl ScanRequest {
    /// Only what comes behind this znode, which need not be there any more: the last one of a scan that broke off.
    pub fn after(self, path: &str) -> Self {
        Self { after: Some(path.to_owned()), ..self }
    }

    /// Paths and stats only.
    pub fn without_data(self) -> Self {
        Self { with_data: false, ..self }
    }

    async fn open(self) -> Result<Scan, Error> {
        let Self { client, path, after, with_data } = self;
        let mut expected = client.expect_stream();
        let query = Query::Scan { bulk: expected.number(), path, after, with_data };
        let (zxid, mark) = match client.read(query).await? {
            (zxid, Results::Scan { mark }) => (zxid, mark),
            _ => return Err(unexpected("a scan")),
        };
        let stream = async {
            loop {
                match expected.next().await {
                    // Another one was opened on a connection that broke before the answer.
                    Some(opened) if opened.head == Head::Scan { mark } => return Some(opened),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, stream).await {
            Ok(Some(opened)) => {
                let mut decoder = Decoder::new();
                decoder.handle(&opened.first);
                let root = client.mapping().clone();
                Ok(Scan { zxid, opened, decoder, root, last: None, _expected: expected })
            }
            Ok(None) | Err(_) => Err(Error::BadAnswer("the scan's stream did not come".into())),
        }
    }
}

impl IntoFuture for ScanRequest {
    /// The scan, or `Refused` with `no-node`, `bad-path`, `bad-arguments` for a znode to go on behind that is not below the
    /// top, `overloaded` while the member sends as many as it may; `SessionLost`; `BadAnswer`.
    type Output = Result<Scan, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// The znodes of a subtree as they arrive: each before what is below it, siblings in the bytewise order of their names. Dropped,
/// the member stops sending. It is sent only as fast as it is read, and cut off when it is read too slowly.
pub struct Scan {
    zxid: Zxid,
    opened: Opened,
    decoder: Decoder,
    root: Root,
    last: Option<Path>,
    _expected: Expected,
}

/// The scan broke off. [`ScanRequest::after`] goes on behind the last znode that came, on a later state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the scan broke off: {why}")]
pub struct ScanBroken {
    /// What happened.
    pub why: String,
    /// The last znode that came.
    pub last: Option<Path>,
}

impl Scan {
    /// The last transaction that the scan reflects: all of it is of this one state.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The next znode; `None` when all have come. Cancel-safe.
    ///
    /// # Errors
    /// [`ScanBroken`].
    pub async fn next(&mut self) -> Result<Option<Scanned>, ScanBroken> {
        loop {
            match self.decoder.poll() {
                Ok(Some(Item::Znode(mut found))) => {
                    self.root.scanned(&mut found).map_err(|error| self.broken(error))?;
                    self.last = Some(found.path.clone());
                    return Ok(Some(found));
                }
                Ok(Some(Item::End { .. })) => {}
                Ok(None) if self.decoder.is_complete() => return Ok(None),
                Ok(None) => match self.opened.stream.recv().await {
                    Ok(Some(piece)) => self.decoder.handle(&piece),
                    Ok(None) => return Err(self.broken("it ended early")),
                    Err(error) => return Err(self.broken(error)),
                },
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, why: impl ToString) -> ScanBroken {
        ScanBroken { why: why.to_string(), last: self.last.clone() }
    }
}
