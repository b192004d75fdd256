//! How much may be in a subtree. It does not know how that is counted.

use quorate_core::query::Listing;
use quorate_core::query::quota::QuotaUse;
use quorate_core::quota::Quota;
use quorate_core::request::Body;
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::tree::unexpected;

impl Client {
    /// A page of quotas, with what is used of each, in the bytewise order of their paths, behind this one. Those at and below this
    /// client's root: one above it, which bounds it as well, is not among them.
    ///
    /// # Errors
    /// `Refused` with `bad-path`; `SessionLost`.
    pub async fn quotas_page(&self, after: Option<String>) -> Result<Listing<QuotaUse>, Error> {
        let whole = self.of_whole_tree();
        let mut after = after.map(|after| self.absolute(&after));
        loop {
            let (_, Results::Quotas(mut page)) =
                whole.read(Query::Quotas { after, limit: 0 }).await?
            else {
                return Err(unexpected("quotas"));
            };
            let last = page.children.last().map(|last| last.path.clone());
            self.mapping().quotas_below(&mut page.children);
            if !page.children.is_empty() || !page.has_more || last.is_none() {
                return Ok(page);
            }
            after = last;
        }
    }

    /// Bounds what may be in a subtree, its top with all below, in place of the quota that it has. The top need not be there.
    /// `None`, or one that bounds nothing: no quota from now on.
    ///
    /// What is there stays, also above the bounds: only growth is refused, with `quota-passed` and `too-many-writes`.
    ///
    /// # Errors
    /// `Refused` with `bad-path`, `limit`; `SessionLost`.
    pub async fn set_quota(&self, path: &str, quota: Option<Quota>) -> Result<(), Error> {
        self.done(Body::SetQuota { path: path.to_owned(), quota }).await.map(|_| ())
    }
}
