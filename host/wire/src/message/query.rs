//! Reads: what can be asked without a transaction, and what comes back.

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::deployment::Version;
use quorate_core::error::Refusal;
use quorate_core::ids::{Epoch, SessionId, Term, Zxid};
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::query::quota::QuotaUse;
use quorate_core::query::subtree::Subtree;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::quota::{Metered, Used};
use quorate_core::request::Call;
use quorate_core::znode::Stat;

use super::access::{AccessQuery, AccessResults};
use super::body::{read_call, write_call};
use super::watch::{Watch, Watched};
use super::whoami::Whoami;
use super::{read_refusal, write_refusal};

/// How fresh an answer must be (DESIGN D12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every transaction acknowledged before the read began, anywhere.
    Linearizable,
    /// Sees all that this session has seen or written.
    Session,
    /// Sees whatever this member has applied.
    Stale,
}

impl Consistency {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Linearizable => 0,
            Self::Session => 1,
            Self::Stale => 2,
        }
    }

    pub(crate) fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Linearizable),
            1 => Ok(Self::Session),
            2 => Ok(Self::Stale),
            _ => Err(malformed("consistency")),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Data and stat of a znode.
    Get(String),
    /// Stat of a znode.
    Stat(String),
    /// A page of children.
    Children {
        /// Their parent.
        path: String,
        /// Which.
        page: Page,
        /// Their data and stat too.
        with_data: bool,
    },
    /// All deployed recipes.
    Recipes,
    /// The versions of a recipe, oldest first.
    History(String),
    /// What a recipe's active version exports.
    Interface(String),
    /// The last lines of a recipe's log on this member.
    Logs {
        /// The recipe.
        recipe: String,
        /// At most so many.
        limit: u32,
    },
    /// How this member is.
    Status,
    /// The whole tree of this member, as a snapshot (`crate::snapshot`), on a bulk stream of the member's (`super::bulk`).
    Snapshot {
        /// The number at the head of the bulk stream; chosen by the client.
        bulk: u64,
        /// The stream that broke off, and how many of its bytes are there.
        go_on: Option<SnapshotPlace>,
    },
    /// A recipe call that only reads: run on this member, on its applied tree. It has no write number.
    Call(Call),
    /// Who may do what.
    Access(AccessQuery),
    /// A watch: its events come on the event lane (`super::watch`).
    Watch(Watch),
    /// The end of a watch, by its number. Of one that is not open, too.
    Unwatch(u64),
    /// A page of quotas, in the bytewise order of their paths.
    Quotas {
        /// Those behind this path.
        after: Option<String>,
        /// At most so many; 0: as many as a page has.
        limit: u32,
    },
    /// The znodes of a subtree, all of one state, on a bulk stream of the member's (`super::scan`).
    Scan {
        /// The number at the head of the bulk stream; chosen by the client.
        bulk: u64,
        /// The znode at the top; it comes first.
        path: String,
        /// Only what comes behind this one, which need not be there: the last one of a scan that broke off.
        after: Option<String>,
        /// The data, too.
        with_data: bool,
    },
    /// Reads of the tree, at most [`MANY_MAX`], all of one state. They do not nest.
    Many(Vec<Query>),
    /// The stat of a znode, and how much it and all below it are.
    Subtree(String),
    /// A page of the paths of a session's ephemeral znodes.
    Ephemerals {
        /// Whose.
        session: SessionId,
        /// Only this znode and what is below it.
        prefix: String,
        /// Only what comes behind this path, in the order of bytes.
        after: Option<String>,
        /// At most so many; 0: as many as a page has.
        limit: u32,
    },
    /// Who the client is here, by what it has shown.
    Whoami,
}

/// Reads of one [`Query::Many`].
pub const MANY_MAX: usize = 1024;

/// A place in a stream of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// Which stream: the same bytes at the same offsets.
    pub identity: [u8; 16],
    /// Bytes before it.
    pub offset: u64,
}

impl SnapshotPlace {
    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.identity);
        writer.u64(self.offset);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "place in a snapshot";
        Ok(Self { identity: reader.array(WHAT)?, offset: reader.u64(WHAT)? })
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Results {
    /// Of `Get`.
    Node {
        /// Its data.
        data: Bytes,
        /// Its stat.
        stat: Stat,
    },
    /// Of `Stat`.
    Stat(Stat),
    /// Of `Children` without data.
    Names(Listing<String>),
    /// Of `Children` with data.
    Children(Listing<Child>),
    /// Of `Recipes`.
    Recipes(Vec<RecipeLine>),
    /// Of `History`.
    History {
        /// The active version.
        active: Option<u64>,
        /// All versions, oldest first.
        versions: Vec<Version>,
    },
    /// Of `Interface`: encoded descriptions of interfaces (docs/value-encoding.md).
    Interface {
        /// The active version.
        version: u64,
        /// One for each exported interface.
        interfaces: Vec<Bytes>,
        /// The functions that its manifest lists as read-only, by any of their names.
        read_only: Vec<String>,
    },
    /// Of `Logs`.
    Logs(Vec<LogLine>),
    /// Of `Status`.
    Status(Status),
    /// Of `Snapshot`: what the bulk stream begins with. It is the stream that was asked for if the member still has that,
    /// else another one, from its begin.
    Snapshot(SnapshotPlace),
    /// Of `Call`: the encoded result, the error case of a `result` included.
    Called(Bytes),
    /// Of `Access`.
    Access(AccessResults),
    /// Of `Watch`.
    Watched(Watched),
    /// Of `Unwatch`: no event of it is queued behind this answer.
    Unwatched,
    /// Of `Quotas`.
    Quotas(Listing<QuotaUse>),
    /// Of `Scan`: the bulk stream with this mark brings the znodes, as of the zxid of this answer.
    Scan {
        /// Drawn at random: a stream of an earlier connection has another one.
        mark: u64,
    },
    /// Of `Many`: what came of each, in their order.
    Many(Vec<Result<Results, Refusal>>),
    /// Of `Subtree`.
    Subtree(Subtree),
    /// Of `Whoami`.
    Whoami(Whoami),
}

/// A deployed recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeLine {
    /// Its name.
    pub name: String,
    /// The version that calls run; none after a removal.
    pub active: Option<u64>,
    /// zxid of the last activation or removal.
    pub changed: Zxid,
}

/// A line of a recipe's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Time of the run's transaction, milliseconds since 1970.
    pub time_ms: u64,
    /// The run's transaction, if it was kept.
    pub zxid: Zxid,
    /// 0 debug, 1 info, 2 warn, 3 error.
    pub level: u8,
    /// The text.
    pub message: String,
}

/// How a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The member.
    pub member: u64,
    /// Its version.
    pub version: String,
    /// `leader`, `follower`, `learner`, or `candidate`.
    pub role: String,
    /// Raft's term.
    pub term: Term,
    /// The sequencer's epoch.
    pub epoch: Epoch,
    /// The last applied transaction.
    pub zxid: Zxid,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The last index of its log, durable or not.
    pub last_index: u64,
    /// The last index that it knows to be committed.
    pub committed_index: u64,
    /// The last applied index of the log.
    pub applied_index: u64,
    /// The state digest at that transaction.
    pub digest: u128,
    /// Sessions that live.
    pub sessions: u64,
    /// CPU time that the process has used, in microseconds.
    pub cpu_us: u64,
    /// Resident memory of the process, in bytes.
    pub memory_bytes: u64,
    /// Milliseconds since it was started.
    pub uptime_ms: u64,
    /// Bytes free where its data directory is.
    pub disk_free_bytes: u64,
    /// The highest feature level that it knows.
    pub level: Level,
    /// The feature level of the cluster, as far as it has applied it.
    pub cluster_level: Level,
}

/// Recipes, versions or lines in one reply.
const ROWS_MAX: usize = 10_000;

impl Query {
    #[allow(clippy::too_many_lines, reason = "one arm for each kind")]
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Get(path) => {
                writer.u8(0);
                writer.text(path);
            }
            Self::Stat(path) => {
                writer.u8(1);
                writer.text(path);
            }
            Self::Children { path, page, with_data } => {
                writer.u8(2);
                writer.text(path);
                page.write(writer);
                writer.bool(*with_data);
            }
            Self::Recipes => writer.u8(3),
            Self::History(recipe) => {
                writer.u8(4);
                writer.text(recipe);
            }
            Self::Interface(recipe) => {
                writer.u8(5);
                writer.text(recipe);
            }
            Self::Logs { recipe, limit } => {
                writer.u8(6);
                writer.text(recipe);
                writer.u64(u64::from(*limit));
            }
            Self::Status => writer.u8(7),
            Self::Snapshot { bulk, go_on } => {
                writer.u8(8);
                writer.u64(*bulk);
                writer.option(go_on.as_ref(), |writer, place| place.write(writer));
            }
            Self::Call(call) => {
                writer.u8(9);
                write_call(writer, call);
            }
            Self::Access(query) => {
                writer.u8(20);
                query.write(writer);
            }
            Self::Watch(watch) => {
                writer.u8(10);
                watch.write(writer);
            }
            Self::Unwatch(watch) => {
                writer.u8(11);
                writer.u64(*watch);
            }
            Self::Quotas { after, limit } => {
                writer.u8(40);
                writer.option(after.as_ref(), |writer, after| writer.text(after));
                writer.u64(u64::from(*limit));
            }
            Self::Scan { bulk, path, after, with_data } => {
                writer.u8(16);
                writer.u64(*bulk);
                writer.text(path);
                writer.option(after.as_ref(), |writer, after| writer.text(after));
                writer.bool(*with_data);
            }
            Self::Many(queries) => {
                writer.u8(17);
                write_rows(writer, queries, |writer, query| query.write(writer));
            }
            Self::Subtree(path) => {
                writer.u8(18);
                writer.text(path);
            }
            Self::Ephemerals { session, prefix, after, limit } => {
                writer.u8(19);
                writer.u64(session.0);
                writer.text(prefix);
                writer.option(after.as_ref(), |writer, after| writer.text(after));
                writer.u64(u64::from(*limit));
            }
            Self::Whoami => writer.u8(0x20),
        }
    }

    /// One of those that read a znode: what a watch may begin with. Watches do not nest.
    pub(super) fn read_of_znode(reader: &mut Reader) -> Result<Self, Malformed> {
        let tag = reader.u8("query")?;
        Self::of_znode(tag, reader)?.ok_or(malformed("first read of a watch"))
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let tag = reader.u8("query")?;
        if tag != 17 {
            return Self::read_one(tag, reader);
        }
        let count = reader.count("reads of one message", MANY_MAX)?;
        let mut queries = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let tag = reader.u8("query")?;
            queries.push(Self::read_one(tag, reader)?);
        }
        Ok(Self::Many(queries))
    }

    fn of_znode(tag: u8, reader: &mut Reader) -> Result<Option<Self>, Malformed> {
        Ok(Some(match tag {
            0 => Self::Get(reader.text("path")?),
            1 => Self::Stat(reader.text("path")?),
            2 => Self::Children {
                path: reader.text("path")?,
                page: Page::read(reader)?,
                with_data: reader.bool("with data")?,
            },
            _ => return Ok(None),
        }))
    }

    /// Of any kind but many: decoding does not recurse.
    fn read_one(tag: u8, reader: &mut Reader) -> Result<Self, Malformed> {
        if let Some(query) = Self::of_znode(tag, reader)? {
            return Ok(query);
        }
        Ok(match tag {
            3 => Self::Recipes,
            4 => Self::History(reader.text("recipe name")?),
            5 => Self::Interface(reader.text("recipe name")?),
            6 => Self::Logs { recipe: reader.text("recipe name")?, limit: reader.u32("limit")? },
            7 => Self::Status,
            8 => Self::Snapshot {
                bulk: reader.u64("number of a bulk stream")?,
                go_on: reader.option("place in a snapshot", SnapshotPlace::read)?,
            },
            9 => Self::Call(read_call(reader)?),
            20 => Self::Access(AccessQuery::read(reader)?),
            10 => Self::Watch(Watch::read(reader)?),
            11 => Self::Unwatch(reader.u64("number of a watch")?),
            40 => Self::Quotas {
                after: reader.option("after", |reader| reader.text("after"))?,
                limit: reader.u32("limit")?,
            },
            16 => Self::Scan {
                bulk: reader.u64("number of a bulk stream")?,
                path: reader.text("path")?,
                after: reader.option("after", |reader| reader.text("after"))?,
                with_data: reader.bool("with data")?,
            },
            18 => Self::Subtree(reader.text("path")?),
            19 => Self::Ephemerals {
                session: SessionId(reader.u64("session")?),
                prefix: reader.text("path")?,
                after: reader.option("after", |reader| reader.text("after"))?,
                limit: reader.u32("limit")?,
            },
            0x20 => Self::Whoami,
            _ => return Err(malformed("kind of a query")),
        })
    }
}

impl Results {
    #[allow(clippy::too_many_lines, reason = "one arm for each kind")]
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Node { data, stat } => {
                writer.u8(0);
                writer.bytes(data);
                stat.write(writer);
            }
            Self::Stat(stat) => {
                writer.u8(1);
                stat.write(writer);
            }
            Self::Names(listing) => {
                writer.u8(2);
                listing.write(writer, |writer, name| writer.text(name));
            }
            Self::Children(listing) => {
                writer.u8(3);
                listing.write(writer, |writer, child| child.write(writer));
            }
            Self::Recipes(lines) => {
                writer.u8(4);
                write_rows(writer, lines, |writer, line| line.write(writer));
            }
            Self::History { active, versions } => {
                writer.u8(5);
                writer.option(*active, Writer::u64);
                write_rows(writer, versions, |writer, version| version.write(writer));
            }
            Self::Interface { version, interfaces, read_only } => {
                writer.u8(6);
                writer.u64(*version);
                write_rows(writer, interfaces, |writer, interface| writer.bytes(interface));
                write_rows(writer, read_only, |writer, function| writer.text(function));
            }
            Self::Logs(lines) => {
                writer.u8(7);
                write_rows(writer, lines, |writer, line| line.write(writer));
            }
            Self::Status(status) => {
                writer.u8(8);
                status.write(writer);
            }
            Self::Snapshot(place) => {
                writer.u8(9);
                place.write(writer);
            }
            Self::Called(value) => {
                writer.u8(10);
                writer.bytes(value);
            }
            Self::Access(results) => {
                writer.u8(20);
                results.write(writer);
            }
            Self::Watched(watched) => {
                writer.u8(11);
                watched.write(writer);
            }
            Self::Unwatched => writer.u8(12),
            Self::Quotas(listing) => {
                writer.u8(40);
                write_rows(writer, &listing.children, write_quota);
                writer.bool(listing.has_more);
            }
            Self::Scan { mark } => {
                writer.u8(16);
                writer.u64(*mark);
            }
            Self::Many(all) => {
                writer.u8(17);
                write_rows(writer, all, write_one_of_many);
            }
            Self::Subtree(subtree) => {
                writer.u8(18);
                subtree.write(writer);
            }
            Self::Whoami(whoami) => {
                writer.u8(0x20);
                whoami.write(writer);
            }
        }
    }

    /// Never less than the bytes that the results of a read of the tree take; of others, nothing.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        const HEAD: usize = 16;
        HEAD + match self {
            Self::Node { data, .. } => data.len() + limits::STAT_BYTES_MAX,
            Self::Stat(_) | Self::Subtree(_) => HEAD + limits::STAT_BYTES_MAX,
            Self::Names(listing) => {
                listing.children.iter().map(|name| HEAD + name.len()).sum::<usize>()
            }
            Self::Children(listing) => {
                let bytes = |child: &Child| {
                    HEAD + child.name.len() + child.data.len() + limits::STAT_BYTES_MAX
                };
                listing.children.iter().map(bytes).sum::<usize>()
            }
            _ => 0,
        }
    }

    /// Those of [`Query::read_of_znode`].
    pub(super) fn read_of_znode(reader: &mut Reader) -> Result<Self, Malformed> {
        let tag = reader.u8("results")?;
        Self::of_znode(tag, reader)?.ok_or(malformed("first results of a watch"))
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let tag = reader.u8("results")?;
        if tag != 17 {
            return Self::read_one(tag, reader);
        }
        Ok(Self::Many(read_rows(reader, |reader| {
            Ok(match reader.u8("results")? {
                0 => {
                    let tag = reader.u8("results")?;
                    Ok(Self::read_one(tag, reader)?)
                }
                1 => Err(read_refusal(reader)?),
                _ => return Err(malformed("results")),
            })
        })?))
    }

    fn of_znode(tag: u8, reader: &mut Reader) -> Result<Option<Self>, Malformed> {
        Ok(Some(match tag {
            0 => Self::Node { data: reader.bytes("data")?, stat: Stat::read(reader)? },
            1 => Self::Stat(Stat::read(reader)?),
            2 => Self::Names(Listing::read(reader, |reader| reader.text("name"))?),
            3 => Self::Children(Listing::read(reader, Child::read)?),
            _ => return Ok(None),
        }))
    }

    /// Of any kind but many: decoding does not recurse.
    fn read_one(tag: u8, reader: &mut Reader) -> Result<Self, Malformed> {
        if let Some(results) = Self::of_znode(tag, reader)? {
            return Ok(results);
        }
        Ok(match tag {
            4 => Self::Recipes(read_rows(reader, |reader| {
                Ok(RecipeLine {
                    name: reader.text("recipe name")?,
                    active: reader.option("version", |reader| reader.u64("version"))?,
                    changed: Zxid(reader.u64("zxid")?),
                })
            })?),
            5 => Self::History {
                active: reader.option("version", |reader| reader.u64("version"))?,
                versions: read_rows(reader, Version::read)?,
            },
            6 => Self::Interface {
                version: reader.u64("version")?,
                interfaces: read_rows(reader, |reader| reader.bytes("interface"))?,
                read_only: read_rows(reader, |reader| reader.text("function name"))?,
            },
            7 => Self::Logs(read_rows(reader, |reader| {
                Ok(LogLine {
                    time_ms: reader.u64("time")?,
                    zxid: Zxid(reader.u64("zxid")?),
                    level: reader.u8("level")?,
                    message: reader.text("message")?,
                })
            })?),
            8 => Self::Status(Status::read(reader)?),
            9 => Self::Snapshot(SnapshotPlace::read(reader)?),
            10 => Self::Called(reader.bytes("result")?),
            20 => Self::Access(AccessResults::read(reader)?),
            11 => Self::Watched(Watched::read(reader)?),
            12 => Self::Unwatched,
            40 => Self::Quotas(Listing::read(reader, read_quota)?),
            16 => Self::Scan { mark: reader.u64("mark of a scan")? },
            18 => Self::Subtree(Subtree::read(reader)?),
            0x20 => Self::Whoami(Whoami::read(reader)?),
            _ => return Err(malformed("kind of results")),
        })
    }
}

fn write_quota(writer: &mut Writer, found: &QuotaUse) {
    writer.text(&found.path);
    writer.u64(found.used.znodes);
    writer.u64(found.used.bytes);
    found.metered.write(writer);
}

fn read_quota(reader: &mut Reader) -> Result<QuotaUse, Malformed> {
    const WHAT: &str = "use of a quota";
    Ok(QuotaUse {
        path: reader.text("path")?,
        used: Used { znodes: reader.u64(WHAT)?, bytes: reader.u64(WHAT)? },
        metered: Metered::read(reader)?,
    })
}

impl Status {
    /// Writes it.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(self.member);
        writer.text(&self.version);
        writer.text(&self.role);
        writer.u64(self.term.0);
        writer.u64(self.epoch.0);
        writer.u64(self.zxid.0);
        writer.option(self.leader, |writer, leader| writer.u64(leader));
        writer.u64(self.last_index);
        writer.u64(self.committed_index);
        writer.u64(self.applied_index);
        writer.u128(self.digest);
        writer.u64(self.sessions);
        writer.u64(self.cpu_us);
        writer.u64(self.memory_bytes);
        writer.u64(self.uptime_ms);
        writer.u64(self.disk_free_bytes);
        writer.u64(u64::from(self.level.0));
        writer.u64(u64::from(self.cluster_level.0));
    }

    /// Reads it.
    ///
    /// # Errors
    /// For anything else.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            member: reader.u64("member")?,
            version: reader.text("version")?,
            role: reader.text("role")?,
            term: Term(reader.u64("term")?),
            epoch: Epoch(reader.u64("epoch")?),
            zxid: Zxid(reader.u64("zxid")?),
            leader: reader.option("leader", |reader| reader.u64("leader"))?,
            last_index: reader.u64("last index")?,
            committed_index: reader.u64("committed index")?,
            applied_index: reader.u64("applied index")?,
            digest: reader.u128("digest")?,
            sessions: reader.u64("sessions")?,
            cpu_us: reader.u64("cpu time")?,
            memory_bytes: reader.u64("memory")?,
            uptime_ms: reader.u64("uptime")?,
            disk_free_bytes: reader.u64("free disk")?,
            level: Level(reader.u32("feature level")?),
            cluster_level: Level(reader.u32("feature level")?),
        })
    }
}

impl RecipeLine {
    fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.option(self.active, Writer::u64);
        writer.u64(self.changed.0);
    }
}

impl LogLine {
    fn write(&self, writer: &mut Writer) {
        writer.u64(self.time_ms);
        writer.u64(self.zxid.0);
        writer.u8(self.level);
        writer.text(&self.message);
    }
}

fn write_one_of_many(writer: &mut Writer, one: &Result<Results, Refusal>) {
    match one {
        Ok(results) => {
            writer.u8(0);
            results.write(writer);
        }
        Err(refusal) => {
            writer.u8(1);
            write_refusal(writer, refusal);
        }
    }
}

fn write_rows<T>(writer: &mut Writer, rows: &[T], write: impl Fn(&mut Writer, &T)) {
    writer.u64(rows.len() as u64);
    for row in rows {
        write(writer, row);
    }
}

fn read_rows<T>(
    reader: &mut Reader,
    read: impl Fn(&mut Reader) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.count("rows", ROWS_MAX)?;
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(read(reader)?);
    }
    Ok(rows)
}
