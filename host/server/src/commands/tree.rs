//! Commands on one znode: `ls`, `get`, `set`, `create`, `stat`. They know paths and stats, and no recipes.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use quorate_client::{Client, Consistency, CreateOperation, Error, Fence, Subtree};
use quorate_core::ids::SessionId;
use quorate_core::limits::PAGE_CHILDREN_MAX;
use quorate_core::query::{Child, Page};
use quorate_core::read::Direction;
use quorate_core::request::{Answer, Operation};
use quorate_core::znode::{Lifetime, Stat as Found};
use serde_json::json;

use super::conditions::Conditions;
use super::scan;
use crate::connect::Global;
use crate::output::{FAINT, NAME};
use crate::{data, duration, fence, json};

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Freshness {
    /// Sees all that was acknowledged before, anywhere
    Linearizable,
    /// Sees all that this session has seen
    Session,
    /// Sees what this member has
    Stale,
}

impl Freshness {
    fn of(self, client: &Client) -> Client {
        client.with_consistency(match self {
            Self::Linearizable => Consistency::Linearizable,
            Self::Session => Consistency::Session,
            Self::Stale => Consistency::Stale,
        })
    }
}

/// `quorate ls`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate ls /
  quorate ls /deploys -l
  quorate ls /recipes --after counter --limit 10
  quorate ls /recipes --recursive
  quorate ls /recipes --ephemerals-of 4711
  quorate ls / --output json | jq -r '.children[]'
  quorate ls / --recursive -l --output json | jq -r 'select(.stat.bytes > 1000).path'")]
pub struct Ls {
    /// The parent
    #[arg(default_value = "/")]
    path: String,
    /// Show versions, sizes and times
    #[arg(short)]
    long: bool,
    /// From the last name to the first
    #[arg(long)]
    reverse: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only names behind this one; with --recursive, only what comes behind the znode of this path
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// The znode and all below it, by their paths, as of one moment; with JSON, an object on a line for each
    #[arg(long, short = 'R', conflicts_with = "reverse")]
    recursive: bool,
    /// The ephemeral znodes of this session instead, at and below PATH, by their paths
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["recursive", "reverse", "long"])]
    ephemerals_of: Option<u64>,
    /// How fresh
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Freshness,
}

/// A child, with as much as was asked for.
struct Row {
    name: String,
    stat: Option<Found>,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if self.recursive {
            let (path, after) = (&*self.path, self.after.as_deref());
            let wanted = scan::Wanted { path, after, limit: self.limit, is_long: self.long };
            global
                .with_client(async |client| {
                    let client = self.consistency.of(&client);
                    scan::list(&client, &wanted, global.output()).await
                })
                .await?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = global
            .with_client(async |client| self.rows(&self.consistency.of(&client)).await)
            .await?;
        let json = || {
            let children = rows.iter().map(|row| match &row.stat {
                None => json!(row.name),
                Some(stat) => json!({ "name": row.name, "stat": json::stat(stat) }),
            });
            json!({ "path": self.path, "children": children.collect::<Vec<_>>() })
        };
        global.output().show(json, |out| rows.iter().try_for_each(|row| row.show(out)))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Paths of a session's ephemeral znodes, page by page.
    async fn owned(&self, client: &Client, session: u64) -> anyhow::Result<Vec<Row>> {
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut rows: Vec<Row> = Vec::new();
        let mut after = self.after.clone();
        loop {
            let session = Some(SessionId(session));
            let page = client.ephemerals_page(session, &self.path, after).await?;
            rows.extend(page.children.into_iter().map(|name| Row { name, stat: None }));
            rows.truncate(limit);
            after = rows.last().map(|row| row.name.clone());
            if !page.has_more || rows.len() == limit {
                return Ok(rows);
            }
        }
    }

    /// Page by page.
    async fn rows(&self, client: &Client) -> anyhow::Result<Vec<Row>> {
        if let Some(session) = self.ephemerals_of {
            return self.owned(client, session).await;
        }
        let direction = if self.reverse { Direction::Backward } else { Direction::Forward };
        let mut rows: Vec<Row> = Vec::new();
        let mut after = self.after.clone();
        loop {
            let known = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            let wanted = self.limit.map_or(PAGE_CHILDREN_MAX, |limit| limit.saturating_sub(known));
            if wanted == 0 {
                return Ok(rows);
            }
            let page = Page { after, limit: wanted.min(PAGE_CHILDREN_MAX), direction };
            let has_more = if self.long {
                let listing = client.children_page_with_data(&self.path, page).await?;
                rows.extend(
                    listing
                        .children
                        .into_iter()
                        .map(|Child { name, stat, .. }| Row { name, stat: Some(stat) }),
                );
                listing.has_more
            } else {
                let listing = client.children_page(&self.path, page).await?;
                rows.extend(listing.children.into_iter().map(|name| Row { name, stat: None }));
                listing.has_more
            };
            after = rows.last().map(|row| row.name.clone());
            if !has_more {
                return Ok(rows);
            }
        }
    }
}

impl Row {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(stat) = &self.stat {
            show_columns(stat, out)?;
        }
        writeln!(out, "{NAME}{}{NAME:#}", self.name)
    }
}

/// What a long listing shows of a znode before its name.
pub(super) fn show_columns(stat: &Found, out: &mut dyn Write) -> io::Result<()> {
    let modified = duration::moment(stat.mtime.0);
    let kind = match stat.lifetime {
        Lifetime::Persistent => "-",
        Lifetime::Ephemeral(_) | Lifetime::CallOwned(_) => "e",
        Lifetime::Container => "c",
        Lifetime::Ttl(_) => "t",
    };
    let Found { version, data_bytes, children_count, .. } = stat;
    write!(
        out,
        "{kind} v{version:<5} {data_bytes:>8} {children_count:>7}  {FAINT}{modified}{FAINT:#}  "
    )
}

/// `quorate get`
#[derive(Debug, clap::Args)]
#[command(after_help = "The data is written as it is, without a newline behind it.

Examples:
  quorate get /hello
  quorate get /config/app > app.toml
  quorate get /hello --stat")]
pub struct Get {
    /// Which
    path: String,
    /// Show the stat, too
    #[arg(long)]
    stat: bool,
    /// How fresh
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Freshness,
}

impl Get {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let get = async |client| Ok(self.consistency.of(&client).get(&self.path).await?);
        let node = global.with_client(get).await?;
        let output = global.output();
        let json = || json!({ "path": self.path, "data": json::data(&node.data), "stat": json::stat(&node.stat), "zxid": node.zxid.0 });
        if output.is_json() {
            output.show(json, |_| Ok(()))?;
        } else {
            output.bytes(&node.data)?;
            if self.stat {
                // On the other stream, so that the data stays what it is.
                let mut text = Vec::new();
                show_stat(&node.stat, &mut text)?;
                output.say(format_args!("{}", String::from_utf8_lossy(&text).trim_end()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `quorate set`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate set /hello world
  quorate set /config/app @app.toml
  date | quorate set /hello -
  quorate set /hello again --version 3     # only if nobody else has changed it
  quorate set /hello again --if mzxid=812  # the same, also if it was deleted and created anew
  quorate lock /deploys/web -- sh -c 'quorate set /deployed v7 --fence \"$QUORATE_GRANT\"'")]
pub struct Set {
    /// Which
    path: String,
    /// The new data; `-` reads standard input, `@file` a file (`@@` stands for `@`)
    data: String,
    /// Create it, and its parents, if it is not there
    #[arg(long, conflicts_with_all = ["version", "fields"])]
    create: bool,
    #[command(flatten)]
    conditions: Conditions,
}

impl Set {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let data = data::read(&self.data)?;
        let operation = if self.create {
            CreateOperation::new(&self.path).data(data).parents().or_set().map_err(Error::from)?
        } else {
            let condition = self.conditions.condition();
            Operation::Set { path: self.path.clone(), data, condition }
        };
        let set = async |client| Ok(self.conditions.execute(&client, operation).await?);
        let stat = match global.with_client(set).await? {
            (_, Answer::Created { stat, .. } | Answer::Stat(stat)) => stat,
            (_, other) => return Err(unexpected(&other)),
        };
        let json = || json!({ "path": self.path, "stat": json::stat(&stat) });
        global.output().show(json, |out| {
            writeln!(
                out,
                "{NAME}{}{NAME:#} is at version {} {FAINT}(zxid {}){FAINT:#}",
                self.path, stat.version, stat.mzxid.0
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `quorate create`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ephemeral znodes go with their session, and this command's session ends with it: \
they are for programs, and for `quorate lock`.

Examples:
  quorate create /hello world
  quorate create /config/app @app.toml --parents
  quorate create /jobs/job- --sequential
  quorate create /config/app @default.toml --or-get     # says which of the two it was
  quorate create /seen/order-17 --ttl 24h
  quorate create /queues/mail --container
  quorate create /secret --acl auth::cdrwa --acl x509:CN=reader:r"
)]
pub struct Create {
    /// Which
    path: String,
    /// Its data; `-` reads standard input, `@file` a file (`@@` stands for `@`)
    #[arg(default_value = "")]
    data: String,
    /// Append 19 digits to its name, larger than those of all before it
    #[arg(long)]
    sequential: bool,
    /// Create missing parents, too
    #[arg(long, short)]
    parents: bool,
    /// It goes when it has had children and then none for a minute
    #[arg(long, conflicts_with = "ttl")]
    container: bool,
    /// It goes when it has no children and was not set for so long: 500ms, 30s, 15m, 24h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// If it is there, show it and change nothing
    #[arg(long, conflicts_with = "sequential")]
    or_get: bool,
    /// Only while a lock or a leadership holds: what `quorate lock` gives its command as QUORATE_GRANT
    #[arg(long, value_name = "RECIPE:ZNODE=TOKEN", value_parser = fence::parse)]
    fence: Option<Fence>,
    /// A line of its own access list, SCHEME:ID:PERMISSIONS; may be given several times
    #[arg(long, value_name = "ENTRY")]
    acl: Vec<String>,
}

impl Create {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut create = CreateOperation::new(&self.path).data(data::read(&self.data)?);
        if self.sequential {
            create = create.sequential();
        }
        if self.parents {
            create = create.parents();
        }
        if self.container {
            create = create.container();
        }
        if let Some(ttl) = self.ttl {
            create = create.ttl(ttl);
        }
        if !self.acl.is_empty() {
            create = create.acl(super::acl::parse(&self.acl)?);
        }
        let operation =
            if self.or_get { create.or_get().map_err(Error::from)? } else { create.into() };
        let fenced = Conditions { version: None, fields: Vec::new(), fence: self.fence.clone() };
        let done = async |client| Ok(fenced.execute(&client, operation).await?);
        let (zxid, answer) = global.with_client(done).await?;
        let (path, stat, data) = match answer {
            Answer::Created { path, stat } => (path, stat, None),
            Answer::Node { data, stat } => (self.path, stat, Some(data)),
            other => return Err(unexpected(&other)),
        };
        let json = || {
            let mut told = json!({ "path": path, "stat": json::stat(&stat), "zxid": zxid, "created": data.is_none() });
            if let Some(data) = &data {
                told["data"] = json::data(data);
            }
            told
        };
        global.output().show(json, |out| match &data {
            None => {
                writeln!(out, "{NAME}{path}{NAME:#} is there {FAINT}(zxid {zxid}){FAINT:#}")
            }
            Some(data) => {
                let version = stat.version;
                writeln!(out, "{NAME}{path}{NAME:#} was there, at version {version}:")?;
                out.write_all(data)?;
                if data.ends_with(b"\n") { Ok(()) } else { writeln!(out) }
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn unexpected(answer: &Answer) -> anyhow::Error {
    Error::BadAnswer(format!("not an answer to this command: {answer:?}")).into()
}

/// `quorate stat`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate stat /hello
  quorate stat /recipes --subtree
  quorate stat /hello --output json | jq .stat.version")]
pub struct Stat {
    /// Which
    path: String,
    /// How many znodes and bytes it and all below it are, too; costs no more, however many there are
    #[arg(long)]
    subtree: bool,
    /// How fresh
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Freshness,
}

impl Stat {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let look = async |client| {
            let client = self.consistency.of(&client);
            if self.subtree {
                return Ok((client.subtree(&self.path).await?, true));
            }
            let stat = client.stat(&self.path).await?;
            Ok((Subtree { stat, znodes: 0, bytes: 0 }, false))
        };
        let (Subtree { stat, znodes, bytes }, is_counted) = global.with_client(look).await?;
        let json = || {
            let mut told = json!({ "path": self.path, "stat": json::stat(&stat) });
            if is_counted {
                told["subtree"] = json!({ "znodes": znodes, "bytes": bytes });
            }
            told
        };
        global.output().show(json, |out| {
            show_stat(&stat, out)?;
            if is_counted {
                writeln!(out, "subtree   {znodes} znodes, {bytes} bytes")?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show_stat(stat: &Found, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "version   {}", stat.version)?;
    writeln!(out, "bytes     {}", stat.data_bytes)?;
    writeln!(
        out,
        "children  {} {FAINT}(changed {} times){FAINT:#}",
        stat.children_count, stat.cversion
    )?;
    writeln!(
        out,
        "created   {} {FAINT}zxid {}{FAINT:#}",
        duration::moment(stat.ctime.0),
        stat.czxid.0
    )?;
    writeln!(
        out,
        "modified  {} {FAINT}zxid {}{FAINT:#}",
        duration::moment(stat.mtime.0),
        stat.mzxid.0
    )?;
    match stat.lifetime {
        Lifetime::Persistent => Ok(()),
        Lifetime::Ephemeral(session) => writeln!(out, "owner     session {}", session.0),
        Lifetime::CallOwned(call) => writeln!(out, "owner     call {call}"),
        Lifetime::Container => writeln!(out, "container {FAINT}goes after its last child{FAINT:#}"),
        Lifetime::Ttl(ms) => {
            let ttl = duration::show(Duration::from_millis(ms));
            writeln!(out, "ttl       {ttl} {FAINT}without a set, and without children{FAINT:#}")
        }
    }
}
