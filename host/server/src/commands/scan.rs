//! `ls --recursive`: a subtree, line by line as it arrives. What a line shows of a znode is `tree`'s.

use quorate_client::{Client, Scanned};
use serde_json::json;

use super::tree;
use crate::json;
use crate::output::{NAME, Output};

/// Lines that are written in one go.
const LINES_PER_WRITE: usize = 256;

/// Which znodes, and how much of each.
pub struct Wanted<'a> {
    /// The top.
    pub path: &'a str,
    /// Only behind this one.
    pub after: Option<&'a str>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Versions, sizes and times.
    pub is_long: bool,
}

/// Writes a line for each znode; with JSON, an object for each.
///
/// # Errors
/// What the service refuses; a stream that broke off.
pub async fn list(client: &Client, wanted: &Wanted<'_>, output: Output) -> anyhow::Result<()> {
    let mut left = wanted.limit.unwrap_or(u32::MAX);
    let mut request = client.scan(wanted.path).without_data();
    if let Some(after) = wanted.after {
        request = request.after(after);
    }
    let mut scan = request.await?;
    let mut rows = Vec::with_capacity(LINES_PER_WRITE);
    let write = |rows: &mut Vec<Scanned>| -> anyhow::Result<bool> {
        let json = |row: &Scanned| {
            if wanted.is_long {
                json!({ "path": row.path.as_str(), "stat": json::stat(&row.stat) })
            } else {
                json!({ "path": row.path.as_str() })
            }
        };
        let is_read = output.lines(rows, json, |row, out| {
            if wanted.is_long {
                tree::show_columns(&row.stat, out)?;
            }
            writeln!(out, "{NAME}{}{NAME:#}", row.path)
        })?;
        rows.clear();
        Ok(is_read)
    };
    while left > 0
        && let Some(row) = scan.next().await?
    {
        rows.push(row);
        left -= 1;
        if rows.len() == LINES_PER_WRITE && !write(&mut rows)? {
            return Ok(());
        }
    }
    write(&mut rows)?;
    Ok(())
}
