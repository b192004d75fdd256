//! Deletes a znode and all below it: from the bottom up, in transactions of some hundred, with memory for one page of names
//! for each level: what is more than one transaction may change. Others see it happen. It does not know who wants it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_client::core::limits::PAGE_CHILDREN_MAX;
use quorate_client::{Client, Error};
use quorate_core::error::ErrorCode;
use quorate_core::query::Page;
use quorate_core::read::Direction;
use tokio::task::JoinSet;

/// Deletions of one transaction: others get their turn in between.
const DELETIONS_PER_MULTI: usize = 256;

/// How far a deletion is, for those who watch it, and their wish that it ends.
#[derive(Debug, Default)]
pub struct Deletion {
    deleted: AtomicU64,
    is_stopped: AtomicBool,
}

impl Deletion {
    /// Znodes that are gone.
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Asks it to end after the transaction that is under way. Whether that was asked before.
    pub fn stop(&self) -> bool {
        self.is_stopped.swap(true, Ordering::Relaxed)
    }

    /// Deletes; what is gone already when its turn comes is no error. Whether all is gone: false if it was stopped. What is
    /// left then, or after an error, is whole down to the parents, so doing it again goes on with it.
    ///
    /// # Errors
    /// `no-node` if there is nothing at the beginning, `not-empty` if somebody creates meanwhile; what else the service refuses.
    pub async fn run(&self, client: &Client, path: &str) -> anyhow::Result<bool> {
        client.stat(path).await?;
        let mut open = vec![Level::new(path.to_owned())];
        let mut ready = Vec::new();
        while let Some(level) = open.last_mut() {
            if self.is_stopped.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if let Some(child) = level.parents.pop() {
                open.push(Level::new(child));
            } else if level.is_listed {
                ready.extend(open.pop().map(|level| level.path));
            } else {
                level.list(client, &mut ready).await?;
            }
            while ready.len() >= DELETIONS_PER_MULTI {
                if self.is_stopped.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let rest = ready.split_off(DELETIONS_PER_MULTI);
                self.delete(client, std::mem::replace(&mut ready, rest)).await?;
            }
        }
        self.delete(client, ready).await?;
        Ok(true)
    }

    async fn delete(&self, client: &Client, mut paths: Vec<String>) -> anyhow::Result<()> {
        while !paths.is_empty() {
            let multi = paths.iter().fold(client.multi(), |multi, path| multi.delete(path, None));
            let Err(error) = multi.await else {
                self.deleted.fetch_add(paths.len() as u64, Ordering::Relaxed);
                return Ok(());
            };
            let at = match &error {
                Error::Refused(failure) => failure.operation.map(|at| at as usize),
                _ => None,
            };
            match at.and_then(|at| paths.get(at)).cloned() {
                // Somebody else was faster.
                Some(path) if error.code() == ErrorCode::NoNode => {
                    paths.retain(|other| *other != path);
                }
                Some(path) => {
                    let told = format!("{path} has changed meanwhile");
                    return Err(anyhow::Error::from(error).context(told));
                }
                None => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A znode on the way from the top to the one that is looked at.
struct Level {
    path: String,
    after: Option<String>,
    is_listed: bool,
    /// Children of the last page that have children themselves.
    parents: Vec<String>,
}

impl Level {
    fn new(path: String) -> Self {
        Self { path, after: None, is_listed: false, parents: Vec::new() }
    }

    /// Takes the next page of children: those without children are ready to go.
    async fn list(&mut self, client: &Client, ready: &mut Vec<String>) -> Result<(), Error> {
        let after = self.after.take();
        let page = Page { after, limit: PAGE_CHILDREN_MAX, direction: Direction::Forward };
        let listing = match client.children_page(&self.path, page).await {
            Err(error) if error.code() == ErrorCode::NoNode => {
                self.is_listed = true;
                return Ok(());
            }
            other => other?,
        };
        self.is_listed = !listing.has_more;
        self.after = listing.children.last().cloned();
        let mut looks = JoinSet::new();
        for name in listing.children {
            let (client, path) = (client.clone(), format!("{}/{name}", self.path));
            looks.spawn(async move { (client.stat(&path).await, path) });
        }
        for (stat, path) in looks.join_all().await {
            match stat {
                Ok(stat) if stat.children_count > 0 => self.parents.push(path),
                Ok(_) => ready.push(path),
                Err(error) if error.code() == ErrorCode::NoNode => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
