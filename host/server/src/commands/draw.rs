//! `quorate tree`: draws a subtree. How it is read is `walk`'s.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use quorate_client::Client;
use quorate_core::znode::{Lifetime, Stat};
use serde_json::json;

use super::walk::{Found, Walk};
use crate::connect::Global;
use crate::output::{FAINT, NAME};
use crate::{duration, json};

/// Characters of a znode's data that are shown.
const DATA_CHARS: usize = 60;
/// Bytes of data that is no text that are shown.
const DATA_BYTES: usize = 16;

/// `quorate tree`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Behind a name stand what its data takes, whom it goes with or when, and how many children are not shown.
What is drawn is read page by page: each page is of one moment, the whole is not.

Examples:
  quorate tree
  quorate tree /deploys --depth 2 --data
  quorate tree / --stat --limit 10000
  quorate tree / --output json | jq -r '.znodes[].path'"
)]
pub struct Draw {
    /// The top
    #[arg(default_value = "/")]
    path: String,
    /// So many levels below it
    #[arg(long, short, value_name = "N", default_value_t = 16)]
    depth: usize,
    /// The beginning of each znode's data, too
    #[arg(long)]
    data: bool,
    /// Versions and times, too
    #[arg(long)]
    stat: bool,
    /// At most so many znodes
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

/// What was found.
#[derive(Default)]
struct Drawing {
    rows: Vec<Found>,
    bytes: u64,
    ephemerals: usize,
    /// Whether there are more than were asked for.
    is_cut: bool,
}

impl Draw {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let drawing = global.with_client(async |client| self.look(&client).await).await?;
        global.output().show(
            || self.as_json(&drawing),
            |out| {
                drawing.rows.iter().zip(lines(&drawing.rows)).try_for_each(|(row, line)| {
                    write!(out, "{FAINT}{line}{FAINT:#}{NAME}{}{NAME:#}", row.name)?;
                    self.show_rest(row, out)
                })?;
                drawing.show_counts(self.limit, out)
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }

    async fn look(&self, client: &Client) -> anyhow::Result<Drawing> {
        let mut walk = Walk::new(client, &self.path, self.depth);
        let mut drawing = Drawing::default();
        while let Some(mut found) = walk.next().await? {
            if drawing.rows.len() >= self.limit {
                drawing.is_cut = true;
                break;
            }
            drawing.bytes += found.stat.data_bytes;
            drawing.ephemerals += usize::from(found.stat.owner().is_some());
            if !self.data {
                found.data.clear();
            }
            drawing.rows.push(found);
        }
        Ok(drawing)
    }

    fn as_json(&self, drawing: &Drawing) -> serde_json::Value {
        let row = |row: &Found| {
            let mut shown = json!({ "path": row.path, "stat": json::stat(&row.stat) });
            if self.data {
                shown["data"] = json::data(&row.data);
            }
            shown
        };
        json!({
            "path": self.path,
            "znodes": drawing.rows.iter().map(row).collect::<Vec<_>>(),
            "count": drawing.rows.len(),
            "bytes": drawing.bytes,
            "ephemerals": drawing.ephemerals,
            "complete": !drawing.is_cut,
        })
    }

    fn show_rest(&self, row: &Found, out: &mut dyn Write) -> io::Result<()> {
        let Stat { version, mzxid, mtime, data_bytes, children_count, .. } = row.stat;
        write!(out, "{FAINT}")?;
        if data_bytes > 0 {
            write!(out, "  {}", size(data_bytes))?;
        }
        match row.stat.lifetime {
            Lifetime::Persistent => {}
            Lifetime::Ephemeral(session) => write!(out, "  ephemeral, of session {session}")?,
            Lifetime::CallOwned(call) => write!(out, "  of call {call}")?,
            Lifetime::Container => write!(out, "  container")?,
            Lifetime::Ttl(ms) => {
                write!(out, "  ttl {}", duration::show(Duration::from_millis(ms)))?;
            }
        }
        if row.depth == self.depth && children_count > 0 {
            write!(out, "  {children_count} below")?;
        }
        if self.stat {
            write!(out, "  v{version} zxid {mzxid} {}", duration::moment(mtime.0))?;
        }
        write!(out, "{FAINT:#}")?;
        if self.data && data_bytes > 0 {
            write!(out, "  {}", beginning(&row.data))?;
        }
        writeln!(out)
    }
}

impl Drawing {
    fn show_counts(&self, limit: usize, out: &mut dyn Write) -> io::Result<()> {
        let (count, bytes) = (self.rows.len(), size(self.bytes));
        write!(out, "{FAINT}{count} znodes, {bytes} of data")?;
        if self.ephemerals > 0 {
            write!(out, ", {} ephemeral", self.ephemerals)?;
        }
        if self.is_cut {
            write!(out, "; there are more than --limit {limit}")?;
        }
        writeln!(out, "{FAINT:#}")
    }
}

/// What stands before each name.
fn lines(rows: &[Found]) -> Vec<String> {
    // Of each level, whether siblings come further down.
    let mut open: Vec<bool> = Vec::new();
    let mut before = |row: &Found| {
        let Some(above) = row.depth.checked_sub(1) else { return String::new() };
        open.truncate(above);
        let mut line: String =
            open.iter().map(|is_open| if *is_open { "│   " } else { "    " }).collect();
        line.push_str(if row.is_last { "└── " } else { "├── " });
        open.push(!row.is_last);
        line
    };
    rows.iter().map(&mut before).collect()
}

fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        ..KIB => format!("{bytes} B"),
        bytes if bytes < KIB * KIB => format!("{} KiB", bytes / KIB),
        bytes => format!("{} MiB", bytes / KIB / KIB),
    }
}

/// The front of data, on one line.
fn beginning(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => {
            let front: String = text.chars().take(DATA_CHARS).collect();
            let more = if front.len() < text.len() { " ..." } else { "" };
            format!("{front:?}{more}")
        }
        Err(_) => {
            let more = if data.len() > DATA_BYTES { "..." } else { "" };
            format!("0x{}{more}", json::hex(&data[..data.len().min(DATA_BYTES)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_core::ids::{Millis, Zxid};

    fn row(depth: usize, name: &str, is_last: bool) -> Found {
        let zxid = Zxid(1);
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: Millis(0),
            mtime: Millis(0),
            version: 0,
            cversion: 0,
            aversion: 0,
            lifetime: Lifetime::Persistent,
            data_bytes: 0,
            children_count: 0,
        };
        let (path, name) = (String::new(), name.to_owned());
        Found { path, name, depth, stat, data: Bytes::new(), is_last }
    }

    #[test]
    fn lines_lead_to_each_name() {
        let rows = [
            row(0, "/", true),
            row(1, "a", false),
            row(2, "b", false),
            row(3, "c", true),
            row(2, "d", true),
            row(3, "e", true),
            row(1, "f", true),
        ];
        let drawn: Vec<String> = rows
            .iter()
            .zip(lines(&rows))
            .map(|(row, line)| format!("{line}{}", row.name))
            .collect();
        let wanted =
            ["/", "├── a", "│   ├── b", "│   │   └── c", "│   └── d", "│       └── e", "└── f"];
        assert_eq!(drawn, wanted);
    }

    #[test]
    fn data_is_shown_on_one_line() {
        assert_eq!(beginning(b"two\nlines"), r#""two\nlines""#);
        assert_eq!(beginning(&[255, 0]), "0xff00");
        assert!(beginning("x".repeat(100).as_bytes()).ends_with("\" ..."));
        assert_eq!(
            (size(17), size(2048), size(3 << 20)),
            ("17 B".into(), "2 KiB".into(), "3 MiB".into())
        );
    }
}
