//! Operations on znodes. It knows paths and stats, and nothing of sessions or recipes.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::access::Acl;
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Zxid;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::read::Direction;
use quorate_core::request::{Answer, Body, LifetimeKind, Operation, Sequence};
use quorate_core::znode::Stat;
use quorate_wire::message::{Query, Results};

use crate::client::Client;
use crate::error::Error;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A znode, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Znode {
    /// Its data.
    pub data: Bytes,
    /// Its stat.
    pub stat: Stat,
    /// The last transaction that the read reflects.
    pub zxid: Zxid,
}

/// A znode, as created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its path, with its sequence number.
    pub path: String,
    /// Its stat.
    pub stat: Stat,
    /// The transaction.
    pub zxid: Zxid,
}

impl Client {
    /// Data and stat of a znode.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `bad-path`, `no-access`; `SessionLost`.
    pub async fn get(&self, path: &str) -> Result<Znode, Error> {
        match self.read(Query::Get(path.to_owned())).await? {
            (zxid, Results::Node { data, stat }) => Ok(Znode { data, stat, zxid }),
            _ => Err(unexpected("get")),
        }
    }

    /// The stat of a znode.
    ///
    /// # Errors
    /// As `get`.
    pub async fn stat(&self, path: &str) -> Result<Stat, Error> {
        match self.read(Query::Stat(path.to_owned())).await? {
            (_, Results::Stat(stat)) => Ok(stat),
            _ => Err(unexpected("stat")),
        }
    }

    /// The stat of a znode, if it is there.
    ///
    /// # Errors
    /// As `get`, but `no-node`.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, Error> {
        match self.stat(path).await {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.code() == ErrorCode::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a znode when awaited: `client.create("/a").data("x").ephemeral().await`.
    pub fn create(&self, path: &str) -> Create {
        Create { client: self.clone(), operation: CreateOperation::new(path) }
    }

    /// Sets a znode's data; only if its stat is as the condition says, which may be just a version. The new stat.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `bad-version`, `limit`; `SessionLost`.
    pub async fn set(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        condition: impl Into<Condition>,
    ) -> Result<Stat, Error> {
        let (path, condition) = (path.to_owned(), condition.into());
        let operation = Operation::Set { path, data: data.into(), condition };
        match self.done(Body::Single(operation)).await? {
            (_, Answer::Stat(stat)) => Ok(stat),
            _ => Err(unexpected("set")),
        }
    }

    /// Deletes a znode without children; only if its stat is as the condition says. The transaction.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `bad-version`, `not-empty`; `SessionLost`.
    pub async fn delete(&self, path: &str, condition: impl Into<Condition>) -> Result<Zxid, Error> {
        let operation = Operation::Delete { path: path.to_owned(), condition: condition.into() };
        Ok(self.done(Body::Single(operation)).await?.0)
    }

    /// Refuses unless the znode is there and its stat is as the condition says. A write: it takes its place in the order.
    ///
    /// # Errors
    /// `Refused` with `no-node`, `bad-version`; `SessionLost`.
    pub async fn check(&self, path: &str, condition: impl Into<Condition>) -> Result<Stat, Error> {
        let operation = Operation::Check { path: path.to_owned(), condition: condition.into() };
        match self.done(Body::Single(operation)).await? {
            (_, Answer::Stat(stat)) => Ok(stat),
            _ => Err(unexpected("check")),
        }
    }

    /// A page of names of children, in bytewise order.
    ///
    /// # Errors
    /// As `get`.
    pub async fn children_page(&self, path: &str, page: Page) -> Result<Listing<String>, Error> {
        let query = Query::Children { path: path.to_owned(), page, with_data: false };
        match self.read(query).await? {
            (_, Results::Names(listing)) => Ok(listing),
            _ => Err(unexpected("children")),
        }
    }

    /// A page of children with their data and stats.
    ///
    /// # Errors
    /// As `get`.
    pub async fn children_page_with_data(
        &self,
        path: &str,
        page: Page,
    ) -> Result<Listing<Child>, Error> {
        let query = Query::Children { path: path.to_owned(), page, with_data: true };
        match self.read(query).await? {
            (_, Results::Children(listing)) => Ok(listing),
            _ => Err(unexpected("children")),
        }
    }

    /// All names of children, page by page: call [`Children::next`] until it gives none.
    pub fn children(&self, path: &str) -> Children {
        Children {
            client: self.clone(),
            path: path.to_owned(),
            page: Some(Page { after: None, limit: 0, direction: Direction::Forward }),
            names: Vec::new().into_iter(),
        }
    }

    /// Operations that are executed all or none, in one transaction, when awaited.
    pub fn multi(&self) -> Multi {
        Multi { client: self.clone(), operations: Vec::new() }
    }
}

/// Goes through all children, a page at a time. Children that come and go meanwhile may be missed; no name comes twice.
#[derive(Debug)]
pub struct Children {
    client: Client,
    path: String,
    page: Option<Page>,
    names: std::vec::IntoIter<String>,
}

impl Children {
    /// The next name, in bytewise order. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(name) = self.names.next() {
                return Ok(Some(name));
            }
            let Some(page) = self.page.clone() else { return Ok(None) };
            let listing = self.client.children_page(&self.path, page.clone()).await?;
            let last = listing.children.last().filter(|_| listing.has_more).cloned();
            self.page = last.map(|last| Page { after: Some(last), ..page });
            self.names = listing.children.into_iter();
        }
    }

    /// All that are left.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn all(mut self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        while let Some(name) = self.next().await? {
            names.push(name);
        }
        Ok(names)
    }
}

/// How a znode is created.
#[derive(Debug, Clone)]
pub struct CreateOperation {
    pub(crate) path: String,
    pub(crate) data: Bytes,
    pub(crate) lifetime: LifetimeKind,
    pub(crate) sequence: Sequence,
    pub(crate) parents: bool,
    pub(crate) acl: Option<Acl>,
}

impl CreateOperation {
    /// A persistent and empty znode.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            data: Bytes::new(),
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::None,
            parents: false,
            acl: None,
        }
    }

    /// With this data.
    #[must_use]
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..self }
    }

    /// It goes with the session.
    #[must_use]
    pub fn ephemeral(self) -> Self {
        Self { lifetime: LifetimeKind::Ephemeral, ..self }
    }

    /// It goes when it has had children and then none for a minute.
    #[must_use]
    pub fn container(self) -> Self {
        Self { lifetime: LifetimeKind::Container, ..self }
    }

    /// It goes when it has no children and its data was not set for so long; some time later than that. In whole
    /// milliseconds, 1 at least, and about 34 years at most.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { lifetime: LifetimeKind::Ttl(ms), ..self }
    }

    /// 19 digits are appended to its name, larger than those of all before it under this parent.
    #[must_use]
    pub fn sequential(self) -> Self {
        Self { sequence: Sequence::Native, ..self }
    }

    /// Missing parents are created too, persistent and empty.
    #[must_use]
    pub fn parents(self) -> Self {
        Self { parents: true, ..self }
    }

    /// With an access list of its own, which decides alone; rules decide without one.
    #[must_use]
    pub fn acl(self, acl: Acl) -> Self {
        Self { acl: Some(acl), ..self }
    }
}

impl From<CreateOperation> for Operation {
    fn from(create: CreateOperation) -> Self {
        let CreateOperation { path, data, lifetime, sequence, parents, acl } = create;
        Self::Create { path, data, lifetime, sequence, parents, acl }
    }
}

/// Creates a znode when awaited. See [`Client::create`].
#[must_use]
pub struct Create {
    pub(crate) client: Client,
    pub(crate) operation: CreateOperation,
}

impl Create {
    /// See [`CreateOperation::data`].
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        Self { operation: self.operation.data(data), ..self }
    }

    /// See [`CreateOperation::ephemeral`].
    pub fn ephemeral(self) -> Self {
        Self { operation: self.operation.ephemeral(), ..self }
    }

    /// See [`CreateOperation::container`].
    pub fn container(self) -> Self {
        Self { operation: self.operation.container(), ..self }
    }

    /// See [`CreateOperation::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { operation: self.operation.ttl(ttl), ..self }
    }

    /// See [`CreateOperation::sequential`].
    pub fn sequential(self) -> Self {
        Self { operation: self.operation.sequential(), ..self }
    }

    /// See [`CreateOperation::parents`].
    pub fn parents(self) -> Self {
        Self { operation: self.operation.parents(), ..self }
    }

    /// See [`CreateOperation::acl`].
    pub fn acl(self, acl: Acl) -> Self {
        Self { operation: self.operation.acl(acl), ..self }
    }
}

impl IntoFuture for Create {
    type Output = Result<Created, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.client.done(Body::Single(self.operation.into())).await? {
                (zxid, Answer::Created { path, stat }) => Ok(Created { path, stat, zxid }),
                _ => Err(unexpected("create")),
            }
        })
    }
}

/// Operations for one transaction. See [`Client::multi`].
#[must_use]
pub struct Multi {
    client: Client,
    operations: Vec<Operation>,
}

impl Multi {
    /// Adds any operation; a recipe call comes from [`crate::Recipe::operation`].
    pub fn operation(mut self, operation: impl Into<Operation>) -> Self {
        self.operations.push(operation.into());
        self
    }

    /// Adds a creation.
    pub fn create(self, create: CreateOperation) -> Self {
        self.operation(create)
    }

    /// Adds a set.
    pub fn set(self, path: &str, data: impl Into<Bytes>, condition: impl Into<Condition>) -> Self {
        let (path, condition) = (path.to_owned(), condition.into());
        self.operation(Operation::Set { path, data: data.into(), condition })
    }

    /// Adds a deletion.
    pub fn delete(self, path: &str, condition: impl Into<Condition>) -> Self {
        let condition = condition.into();
        self.operation(Operation::Delete { path: path.to_owned(), condition })
    }

    /// Adds a check.
    pub fn check(self, path: &str, condition: impl Into<Condition>) -> Self {
        let condition = condition.into();
        self.operation(Operation::Check { path: path.to_owned(), condition })
    }
}

impl IntoFuture for Multi {
    /// The transaction, and an answer for each operation. A refusal names the operation by its index.
    type Output = Result<(Zxid, Vec<Answer>), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.client.done(Body::Multi(self.operations)).await? {
                (zxid, Answer::Multi(answers)) => Ok((zxid, answers)),
                _ => Err(unexpected("multi")),
            }
        })
    }
}

pub(crate) fn unexpected(what: &str) -> Error {
    Error::BadAnswer(format!("not an answer to {what}"))
}
