//! Operations that need not know whether a znode is there, whole subtrees, fences, and many reads at once. It knows paths and
//! stats, and nothing of sessions.

use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::query::subtree::Subtree;
use quorate_core::query::{Listing, Page};
use quorate_core::request::{Answer, Body, Fence, Operation, Sequence};
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;
use crate::tree::{Create, CreateOperation, Created, Multi, Znode, unexpected};

/// What an operation met that needs no znode to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met<T> {
    /// There was none: this is the one that was created.
    Created(Created),
    /// It was there.
    There(T),
}

impl Client {
    /// Refuses if a znode is there. A write: it takes its place in the order.
    ///
    /// # Errors
    /// `Refused` with `node-exists`; `SessionLost`.
    pub async fn check_absent(&self, path: &str) -> Result<Zxid, Error> {
        let operation = Operation::CheckAbsent { path: path.to_owned() };
        Ok(self.done(Body::Single(operation)).await?.0)
    }

    /// Deletes a znode and all below it, in one transaction; only if its own stat is as the condition says. The transaction, and
    /// how many znodes were deleted.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `bad-version`, and `limit` if there are more than one transaction may change; `SessionLost`.
    pub async fn delete_tree(
        &self,
        path: &str,
        condition: impl Into<Condition>,
    ) -> Result<(Zxid, u64), Error> {
        let operation =
            Operation::DeleteTree { path: path.to_owned(), condition: condition.into() };
        match self.done(Body::Single(operation)).await? {
            (zxid, Answer::Deleted { count }) => Ok((zxid, count)),
            _ => Err(unexpected("delete-tree")),
        }
    }

    /// Operations that are refused with `fenced` once a lock or a leadership has ended: `client.fenced(guard.fence()).set(...)`.
    /// The fence's own answer is the first one.
    pub fn fenced(&self, fence: Fence) -> Multi {
        self.multi().fence(fence)
    }

    /// Many reads of one state of the tree: its last transaction, and what came of each. Of the tree only: `Get`, `Stat`,
    /// `Children`, `Subtree`, `Ephemerals`.
    ///
    /// # Errors
    /// `Refused` with `limit` for more than 1,024 reads, or when the results are too large together; `SessionLost`.
    pub async fn read_many(
        &self,
        queries: Vec<Query>,
    ) -> Result<(Zxid, Vec<Result<Results, Refusal>>), Error> {
        let count = queries.len();
        if count > quorate_wire::message::query::MANY_MAX {
            let max = quorate_wire::message::query::MANY_MAX as u64;
            return Err(Refusal::limit("reads of one message", count as u64, max).into());
        }
        match self.read(Query::Many(queries)).await? {
            (zxid, Results::Many(found)) if found.len() == count => Ok((zxid, found)),
            _ => Err(unexpected("many reads")),
        }
    }

    /// The stat of a znode, and how much it and all below it are: at the cost of one znode's stat, however much is there.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn subtree(&self, path: &str) -> Result<Subtree, Error> {
        match self.read(Query::Subtree(path.to_owned())).await? {
            (_, Results::Subtree(subtree)) => Ok(subtree),
            _ => Err(unexpected("subtree")),
        }
    }

    /// A page of the paths of a session's ephemeral znodes at and below `prefix`, in the order of their bytes, behind the one
    /// at `after`. None: of this client's own session. A session that is not known has none.
    ///
    /// # Errors
    /// `Refused` with `bad-path`; `SessionLost`.
    pub async fn ephemerals_page(
        &self,
        session: Option<SessionId>,
        prefix: &str,
        after: Option<String>,
    ) -> Result<Listing<String>, Error> {
        let session = session.unwrap_or_else(|| self.session().id);
        let query = Query::Ephemerals { session, prefix: prefix.to_owned(), after, limit: 0 };
        match self.read(query).await? {
            (_, Results::Names(listing)) => Ok(listing),
            _ => Err(unexpected("ephemerals")),
        }
    }
}

impl CreateOperation {
    /// The operation that answers the znode if it is there, and creates it if not.
    ///
    /// # Errors
    /// `bad-arguments` for a sequential one, which is always new.
    pub fn or_get(self) -> Result<Operation, Refusal> {
        let Self { path, data, lifetime, parents, acl, .. } = self.not_sequential()?;
        Ok(Operation::CreateOrGet { path, data, lifetime, parents, acl })
    }

    /// The operation that sets the znode's data if it is there, and creates it if not.
    ///
    /// # Errors
    /// `bad-arguments` for a sequential one, which is always new.
    pub fn or_set(self) -> Result<Operation, Refusal> {
        let Self { path, data, lifetime, parents, acl, .. } = self.not_sequential()?;
        Ok(Operation::SetOrCreate { path, data, lifetime, parents, acl })
    }

    fn not_sequential(self) -> Result<Self, Refusal> {
        if self.sequence == Sequence::None {
            return Ok(self);
        }
        let message = "a sequential znode is always new: there is none to get or set";
        Err(Refusal::new(ErrorCode::BadArguments, message))
    }
}

impl Create {
    /// Creates the znode, or gives the one that is there, whatever it was created as.
    ///
    /// # Errors
    /// As of a creation, but for `node-exists`; `bad-arguments` for a sequential one.
    pub async fn or_get(self) -> Result<Met<Znode>, Error> {
        match self.client.done(Body::Single(self.operation.or_get()?)).await? {
            (zxid, Answer::Created { path, stat }) => {
                Ok(Met::Created(Created { path, stat, zxid }))
            }
            (zxid, Answer::Node { data, stat }) => Ok(Met::There(Znode { data, stat, zxid })),
            _ => Err(unexpected("create-or-get")),
        }
    }

    /// Creates the znode, or sets the data of the one that is there: its stat then.
    ///
    /// # Errors
    /// As of a creation, but for `node-exists`; `bad-arguments` for a sequential one.
    pub async fn or_set(self) -> Result<Met<quorate_core::znode::Stat>, Error> {
        match self.client.done(Body::Single(self.operation.or_set()?)).await? {
            (zxid, Answer::Created { path, stat }) => {
                Ok(Met::Created(Created { path, stat, zxid }))
            }
            (_, Answer::Stat(stat)) => Ok(Met::There(stat)),
            _ => Err(unexpected("set-or-create")),
        }
    }
}

impl Multi {
    /// Adds a fence: nothing is done once the grant has ended.
    pub fn fence(self, fence: Fence) -> Self {
        self.operation(Operation::Fence(fence))
    }

    /// Adds a check that a znode is not there.
    pub fn check_absent(self, path: &str) -> Self {
        self.operation(Operation::CheckAbsent { path: path.to_owned() })
    }

    /// Adds the deletion of a znode and all below it.
    pub fn delete_tree(self, path: &str, condition: impl Into<Condition>) -> Self {
        let condition = condition.into();
        self.operation(Operation::DeleteTree { path: path.to_owned(), condition })
    }

    /// Adds a read of data and stat, as of the operations before it.
    pub fn get(self, path: &str) -> Self {
        self.operation(Operation::Get { path: path.to_owned() })
    }

    /// Adds a read of a stat, as of the operations before it.
    pub fn stat(self, path: &str) -> Self {
        self.operation(Operation::Stat { path: path.to_owned() })
    }

    /// Adds a read of a stat, or that there is none, as of the operations before it.
    pub fn exists(self, path: &str) -> Self {
        self.operation(Operation::Exists { path: path.to_owned() })
    }

    /// Adds a page of names of children, as of the operations before it.
    pub fn children(self, path: &str, page: Page) -> Self {
        self.operation(Operation::Children { path: path.to_owned(), page, with_data: false })
    }
}
