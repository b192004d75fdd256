//! Znodes of a file in transactions of some hundred, many of them under way. It does not know the file.
//!
//! A session's writes are executed in the order in which they were sent, so a parent in one batch is there before its children
//! in the next. A batch that is refused, because of a znode that is there already, changes nothing, and those behind it may be
//! refused in turn; so when all that was under way is answered, each of the refused ones is looked at, in order: what is there
//! is read, and the rest is sent again.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use quorate_client::{Client, CreateOperation, Error, WriteHandle};
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::path::Path;
use quorate_core::request::{Body, Operation, Reply};
use tokio::task::JoinSet;

use super::OnConflict;
use crate::commands::archive::{Lifetime, Reader, Znode};

/// Znodes of one transaction: others get their turn in between.
const ZNODES_PER_BATCH: usize = 256;
/// Bytes of data after which a transaction is closed: with one znode more it is within the limit of a transaction.
const BYTES_PER_BATCH: usize = 512 * 1024;
/// Transactions under way: at most 24 MiB are kept for being sent again.
const BATCHES_UNDER_WAY: usize = 16;
/// Times that a batch is looked at again because somebody else creates and deletes what is in it.
const LOOKS_MAX: u32 = 20;

/// What has become of znodes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Were not there.
    pub created: u64,
    /// Were there, and have got the data of the file.
    pub overwritten: u64,
    /// Were there with the same data.
    pub unchanged: u64,
    /// Were there, and stay as they are.
    pub skipped: u64,
}

impl Counts {
    /// All of them.
    pub fn seen(self) -> u64 {
        self.created + self.overwritten + self.unchanged + self.skipped
    }
}

/// An import.
pub struct Import {
    client: Client,
    on_conflict: OnConflict,
    is_dry: bool,
    created: AtomicU64,
    overwritten: AtomicU64,
    unchanged: AtomicU64,
    skipped: AtomicU64,
    is_stopped: AtomicBool,
}

/// A znode to be written, and the line that it stands in.
#[derive(Debug, Clone)]
struct Wanted {
    line: u64,
    path: Path,
    data: Bytes,
    lifetime: Option<Lifetime>,
    /// Missing parents are created, too.
    is_top: bool,
}

/// What is to be done for a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Overwrite,
    Unchanged,
    Skip,
}

type Batch = Vec<Wanted>;

impl Import {
    /// Nothing has been written yet.
    pub fn new(client: &Client, on_conflict: OnConflict, is_dry: bool) -> Self {
        Self {
            client: client.clone(),
            on_conflict,
            is_dry,
            created: AtomicU64::new(0),
            overwritten: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// What has become of znodes so far.
    pub fn counts(&self) -> Counts {
        Counts {
            created: self.created.load(Ordering::Relaxed),
            overwritten: self.overwritten.load(Ordering::Relaxed),
            unchanged: self.unchanged.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }

    /// Sends nothing any more; what is under way is waited for.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Writes all of a file, or as much as it is let.
    ///
    /// # Errors
    /// For a line that makes no sense, or that the service refuses.
    pub async fn run(
        &self,
        mut reader: Reader<impl BufRead>,
        top: &Path,
        to: &Path,
    ) -> anyhow::Result<()> {
        let mut under_way: VecDeque<(Batch, WriteHandle)> = VecDeque::new();
        let mut batch = Batch::new();
        let mut bytes = 0;
        loop {
            let read = reader.next()?;
            let is_end = read.is_none();
            if let Some(znode) = read {
                let wanted = moved(znode, reader.number(), top, to)?;
                bytes += wanted.data.len();
                batch.push(wanted);
            }
            if !is_end && batch.len() < ZNODES_PER_BATCH && bytes < BYTES_PER_BATCH {
                continue;
            }
            if self.is_stopped.load(Ordering::Relaxed) {
                break;
            }
            let full = std::mem::take(&mut batch);
            bytes = 0;
            if self.is_dry || full.iter().any(|wanted| wanted.path.is_root()) {
                // The root is always there: whether it conflicts is looked at, not tried.
                self.settle(full).await?;
            } else if !full.is_empty() {
                let handle = self.send(&full, &vec![Step::Create; full.len()]).await?;
                under_way.push_back((full, handle));
            }
            if under_way.len() >= BATCHES_UNDER_WAY || is_end {
                self.answered(&mut under_way, is_end).await?;
            }
            if is_end {
                break;
            }
        }
        self.answered(&mut under_way, true).await
    }

    /// Waits for the oldest batch; for all, if that was refused or all are wanted.
    async fn answered(
        &self,
        under_way: &mut VecDeque<(Batch, WriteHandle)>,
        mut all: bool,
    ) -> anyhow::Result<()> {
        let mut refused = Vec::new();
        while let Some((batch, handle)) = under_way.pop_front() {
            match handle.await? {
                (_, Reply::Done(_)) => {
                    self.created.fetch_add(batch.len() as u64, Ordering::Relaxed);
                }
                (_, Reply::Refused(_)) => {
                    all = true;
                    refused.push(batch);
                }
            }
            if !all {
                return Ok(());
            }
        }
        for batch in refused {
            self.settle(batch).await?;
        }
        Ok(())
    }

    async fn send(&self, batch: &[Wanted], steps: &[Step]) -> Result<WriteHandle, Error> {
        let operations =
            batch.iter().zip(steps).filter_map(|(wanted, step)| wanted.operation(*step));
        self.client.send(Body::Multi(operations.collect())).await
    }

    /// Looks which of these are there, and does what is left to do.
    async fn settle(&self, batch: Batch) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            let steps = self.look(&batch).await?;
            let is_sent = steps.iter().any(|step| matches!(step, Step::Create | Step::Overwrite));
            if is_sent && !self.is_dry {
                let (_, reply) = self.send(&batch, &steps).await?.await?;
                if let Reply::Refused(failure) = reply {
                    let sent = batch
                        .iter()
                        .zip(&steps)
                        .filter(|(wanted, step)| wanted.operation(**step).is_some());
                    let at = failure
                        .operation
                        .and_then(|at| sent.map(|(wanted, _)| wanted).nth(at as usize));
                    match (failure.refusal.code, at) {
                        // Somebody else was faster.
                        (ErrorCode::NodeExists, _) => continue,
                        (ErrorCode::NoNode, Some(wanted)) if steps.contains(&Step::Overwrite) => {
                            tracing::debug!(path = %wanted.path, "changes meanwhile");
                            continue;
                        }
                        (_, Some(wanted)) => {
                            let told = wanted.place();
                            return Err(anyhow::Error::from(Error::Refused(failure)).context(told));
                        }
                        (_, None) => return Err(Error::Refused(failure).into()),
                    }
                }
            }
            let count = |step: Step| steps.iter().filter(|other| **other == step).count() as u64;
            self.created.fetch_add(count(Step::Create), Ordering::Relaxed);
            self.overwritten.fetch_add(count(Step::Overwrite), Ordering::Relaxed);
            self.unchanged.fetch_add(count(Step::Unchanged), Ordering::Relaxed);
            self.skipped.fetch_add(count(Step::Skip), Ordering::Relaxed);
            return Ok(());
        }
        let place = batch.first().map(Wanted::place).unwrap_or_default();
        anyhow::bail!("{place}: somebody else creates and deletes znodes here all the time")
    }

    /// What is to be done for each.
    async fn look(&self, batch: &[Wanted]) -> anyhow::Result<Vec<Step>> {
        let mut looks = JoinSet::new();
        for (at, wanted) in batch.iter().enumerate() {
            let (client, wanted, on_conflict) =
                (self.client.clone(), wanted.clone(), self.on_conflict);
            looks.spawn(async move { (at, step(&client, &wanted, on_conflict).await) });
        }
        let mut steps = vec![Step::Skip; batch.len()];
        let mut first = None;
        for (at, step) in looks.join_all().await {
            match step {
                Ok(step) => steps[at] = step,
                Err(error) if first.as_ref().is_none_or(|(before, _)| at < *before) => {
                    first = Some((at, error));
                }
                Err(_) => {}
            }
        }
        match first {
            Some((at, error)) => Err(error.context(batch[at].place())),
            None => Ok(steps),
        }
    }
}

async fn step(client: &Client, wanted: &Wanted, on_conflict: OnConflict) -> anyhow::Result<Step> {
    let path = wanted.path.as_str();
    match on_conflict {
        OnConflict::Overwrite => match client.get(path).await {
            Ok(found) if found.data == wanted.data => Ok(Step::Unchanged),
            Ok(_) => Ok(Step::Overwrite),
            Err(error) if error.code() == ErrorCode::NoNode => Ok(Step::Create),
            Err(error) => Err(error.into()),
        },
        OnConflict::Skip => {
            Ok(if client.exists(path).await?.is_some() { Step::Skip } else { Step::Create })
        }
        OnConflict::Fail => match client.exists(path).await? {
            None => Ok(Step::Create),
            // It can not but be there.
            Some(_) if wanted.path.is_root() => Ok(Step::Skip),
            Some(_) => {
                let message = format!("there is a znode {path} already");
                Err(Error::from(quorate_core::error::Refusal::new(ErrorCode::NodeExists, message))
                    .into())
            }
        },
    }
}

impl Wanted {
    fn operation(&self, step: Step) -> Option<Operation> {
        match step {
            Step::Skip | Step::Unchanged => None,
            Step::Overwrite => Some(Operation::Set {
                path: self.path.as_str().to_owned(),
                data: self.data.clone(),
                condition: Condition::ANY,
            }),
            Step::Create => {
                let create = CreateOperation::new(self.path.as_str()).data(self.data.clone());
                let create = if self.is_top { create.parents() } else { create };
                let create = match self.lifetime {
                    None => create,
                    Some(Lifetime::Container) => create.container(),
                    Some(Lifetime::TtlMs(ms)) => create.ttl(std::time::Duration::from_millis(ms)),
                };
                Some(create.into())
            }
        }
    }

    /// For people.
    fn place(&self) -> String {
        format!("line {}, {}", self.line, self.path)
    }
}

/// A znode of the file at its new place.
fn moved(znode: Znode, line: u64, top: &Path, to: &Path) -> anyhow::Result<Wanted> {
    let Znode { path, data, lifetime } = znode;
    let is_top = path == *top;
    let path = path
        .relative_to(top)
        .with_context(|| format!("line {line}: {path} is not below {top}"))?
        .below(to)
        .with_context(|| format!("line {line}"))?;
    Ok(Wanted { line, path, data, lifetime, is_top })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved_to(path: &str, top: &str, to: &str) -> anyhow::Result<(String, bool)> {
        let parse = |text: &str| Path::parse(text).unwrap();
        let znode = Znode { path: parse(path), data: Bytes::new(), lifetime: None };
        moved(znode, 7, &parse(top), &parse(to))
            .map(|wanted| (wanted.path.to_string(), wanted.is_top))
    }

    #[test]
    fn paths_are_moved_from_top_to_top() {
        for (path, top, to, wanted, is_top) in [
            ("/a", "/a", "/x/y", "/x/y", true),
            ("/a/b/c", "/a", "/x/y", "/x/y/b/c", false),
            ("/a/b", "/a", "/", "/b", false),
            ("/", "/", "/x", "/x", true),
            ("/b", "/", "/x", "/x/b", false),
            ("/b", "/", "/", "/b", false),
        ] {
            let found = moved_to(path, top, to).unwrap();
            assert_eq!(found, (wanted.to_owned(), is_top), "{path} {top} {to}");
        }
        assert!(moved_to("/ab", "/a", "/x").is_err());
        let long = format!("/{}", "x".repeat(1020));
        assert!(moved_to("/a/bcdef", "/a", &long).is_err(), "too long");
    }
}
