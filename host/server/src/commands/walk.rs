//! A subtree page by page: each znode before what is below it, down to a depth, with memory for one page of each level. Each page
//! is of one moment, the whole is not. It does not know what is made of it.

use bytes::Bytes;
use quorate_client::{Client, Error};
use quorate_core::error::ErrorCode;
use quorate_core::query::{Child, Page};
use quorate_core::read::Direction;
use quorate_core::znode::Stat;

/// A znode that was found.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub path: String,
    /// Its name; of the top, its path.
    pub name: String,
    /// Levels below the top.
    pub depth: usize,
    /// Its stat.
    pub stat: Stat,
    /// Its data.
    pub data: Bytes,
    /// Whether no sibling comes behind it.
    pub is_last: bool,
}

/// On its way through a subtree.
pub struct Walk {
    client: Client,
    top: Option<String>,
    depth_max: usize,
    levels: Vec<Level>,
}

/// Siblings.
struct Level {
    parent: String,
    page: std::vec::IntoIter<Child>,
    /// The last name that was listed.
    after: Option<String>,
    has_more: bool,
}

impl Walk {
    /// From this znode, so many levels down.
    pub fn new(client: &Client, top: &str, depth_max: usize) -> Self {
        Self { client: client.clone(), top: Some(top.to_owned()), depth_max, levels: Vec::new() }
    }

    /// The next znode. One that is deleted meanwhile is left out, with what was below it.
    ///
    /// # Errors
    /// `no-node` if the top is not there; what else the service refuses.
    pub async fn next(&mut self) -> Result<Option<Found>, Error> {
        if let Some(top) = self.top.take() {
            let found = self.client.get(&top).await?;
            let (stat, data) = (found.stat, found.data);
            self.descend(&top, &stat);
            let name = top.clone();
            return Ok(Some(Found { path: top, name, depth: 0, stat, data, is_last: true }));
        }
        loop {
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            if let Some(Child { name, stat, data }) = level.page.next() {
                let path = child(&level.parent, &name);
                let is_last = level.page.as_slice().is_empty() && !level.has_more;
                self.descend(&path, &stat);
                return Ok(Some(Found { path, name, depth, stat, data, is_last }));
            }
            if level.has_more {
                level.list(&self.client).await?;
            } else {
                self.levels.pop();
            }
        }
    }

    fn descend(&mut self, path: &str, stat: &Stat) {
        if stat.children_count > 0 && self.levels.len() < self.depth_max {
            let page = Vec::new().into_iter();
            let parent = path.to_owned();
            self.levels.push(Level { parent, page, after: None, has_more: true });
        }
    }
}

impl Level {
    async fn list(&mut self, client: &Client) -> Result<(), Error> {
        let page = Page { after: self.after.take(), limit: 0, direction: Direction::Forward };
        match client.children_page_with_data(&self.parent, page).await {
            Ok(listing) => {
                self.has_more = listing.has_more;
                self.after = listing.children.last().map(|last| last.name.clone());
                self.page = listing.children.into_iter();
            }
            Err(error) if error.code() == ErrorCode::NoNode => self.has_more = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}
