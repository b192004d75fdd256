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
    /// A page of quotas, with what is used of each, in the bytewise order of their paths, behind this one.
    ///
    /// # Errors
    /// `Refused` with `bad-path`; `SessionLost`.
    pub async fn quotas_page(&self, after: Option<String>) -> Result<Listing<QuotaUse>, Error> {
        match self.read(Query::Quotas { after, limit: 0 }).await? {
            (_, Results::Quotas(listing)) => Ok(listing),
            _ => Err(unexpected("quotas")),
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
