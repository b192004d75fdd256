//! The audit log: who did what to which path, from where, with which result, as lines of JSON in a file of this member. It
//! does not decide what is allowed, and nothing waits for it.
//!
//! Whoever tells an event hands it to a bounded queue; a thread of its own makes lines of what has queued, writes them and
//! syncs them within a second. What a client is answered does not wait for its line. When lines can not be written, events
//! are kept until the queue is full and then lost and counted, or requests are refused before that ([`OnFailure`]).
//!
//! A write is told once when it is answered on this member, and as `unanswered` if its lane ends before: its client may have
//! got the answer elsewhere, or never. Nothing that a client has asked here is without a line.

mod event;
mod file;
pub mod limits;
mod line;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::request::{Body, Call, Operation, Request};
use quorate_core::transaction::{Entry, EntryBody, Origin};
use quorate_wire::message::admin::Command;
use quorate_wire::message::{Query, Results, ServerMessage};

use crate::authentication::Caller;

pub use self::event::Who;
use self::event::{Answer, Event, What};
use self::file::RotatingFile;
pub use self::line::rfc3339;
use self::writer::{Queue, Sink, Writer};

/// What an operator may choose to see. Administration (deployments, members, snapshots) and whoever is refused for lack of rights
/// are always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Sessions that are opened, resumed, closed and expired, with the ephemeral znodes that go with them.
    Sessions,
    /// Ordinary writes: operations on znodes, recipe calls, and what the service deletes when its time has come.
    Writes,
    /// Ordinary reads, read-only calls among them.
    Reads,
}

/// What happens while events can not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// All goes on; events for which the queue has no room are lost, counted, and their number is told when it can be.
    Warn,
    /// What would be told is refused with `not-audited`. Sessions are resumed and closed all the same.
    Refuse,
}

/// How the audit log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file; none: there is no audit log.
    pub file: Option<PathBuf>,
    /// Bytes of it at which it is renamed and a new one begun.
    pub bytes_max: u64,
    /// Files that are kept, the one that is written among them.
    pub files: u32,
    /// What is told beside what always is.
    pub categories: Vec<Category>,
    /// What happens while it can not be written.
    pub on_failure: OnFailure,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file: None,
            bytes_max: limits::FILE_BYTES_DEFAULT,
            files: limits::FILES_DEFAULT,
            categories: vec![Category::Sessions],
            on_failure: OnFailure::Warn,
        }
    }
}

/// Why there can be no audit log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file.
    #[error("the audit log {} can not be written: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A number of the configuration.
    #[error("audit.{key}: {value} is not between {min} and {max}")]
    Limit {
        /// Its name.
        key: &'static str,
        /// What the configuration says.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The thread.
    #[error("the thread of the audit log can not be started: {0}")]
    Thread(std::io::Error),
}

/// Where events are told. Cheap to clone; without a file it does nothing.
#[derive(Clone, Default)]
pub struct Audit {
    on: Option<Arc<On>>,
}

struct On {
    queue: Arc<Queue>,
    categories: Vec<Category>,
    refuses: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(options: &Options, member: u64) -> Result<Self, StartError> {
        let Some(path) = &options.file else { return Ok(Self::default()) };
        check("max_bytes", options.bytes_max, limits::FILE_BYTES_MIN, u64::MAX)?;
        let (min, max) = (u64::from(limits::FILES_MIN), u64::from(limits::FILES_MAX));
        check("files", u64::from(options.files), min, max)?;
        let opened = RotatingFile::open(path, options.bytes_max, options.files);
        let (file, is_torn) =
            opened.map_err(|error| StartError::File { path: path.clone(), error })?;
        Self::with_sink(options, member, Box::new(file), is_torn)
    }

    fn with_sink(
        options: &Options,
        member: u64,
        sink: Box<dyn Sink>,
        is_torn: bool,
    ) -> Result<Self, StartError> {
        let queue: Arc<Queue> = Arc::default();
        let writer = Writer { queue: queue.clone(), sink, member, unsynced: None };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(StartError::Thread)?;
        let on = On {
            queue,
            categories: options.categories.clone(),
            refuses: options.on_failure == OnFailure::Refuse,
            thread: Mutex::new(Some(thread)),
        };
        let audit = Self { on: Some(Arc::new(on)) };
        audit.tell(Arc::default(), What::Began { is_torn }, true);
        Ok(audit)
    }

    /// Whether there is an audit log.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Writes what is left and ends the thread. Waits for the disk.
    pub fn stop(&self) {
        let Some(on) = &self.on else { return };
        self.tell(Arc::default(), What::Ended, true);
        on.queue.end();
        let thread = on.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit log has panicked");
        }
    }

    /// Whether a write may be taken: not if it would have to be told, and may not be.
    ///
    /// # Errors
    /// `not-audited`.
    pub fn admit(&self, body: &Body) -> Result<(), Refusal> {
        // What ends something goes on.
        if matches!(body, Body::CloseSession | Body::Cancel(_)) {
            return Ok(());
        }
        self.admit_as(of_body(body))
    }

    /// As `admit`, of a read.
    ///
    /// # Errors
    /// `not-audited`.
    pub fn admit_read(&self, query: &Query) -> Result<(), Refusal> {
        self.admit_as(of_query(query))
    }

    /// As `admit`, of a recipe call that only reads.
    ///
    /// # Errors
    /// `not-audited`.
    pub fn admit_call(&self) -> Result<(), Refusal> {
        self.admit_as(Some(Category::Reads))
    }

    /// As `admit`, of a command to the cluster.
    ///
    /// # Errors
    /// `not-audited`.
    pub fn admit_command(&self, command: &Command) -> Result<(), Refusal> {
        if *command == Command::Status { Ok(()) } else { self.admit_as(None) }
    }

    /// As `admit`, of a new session.
    ///
    /// # Errors
    /// `not-audited`.
    pub fn admit_session(&self) -> Result<(), Refusal> {
        self.admit_as(Some(Category::Sessions))
    }

    fn admit_as(&self, category: Option<Category>) -> Result<(), Refusal> {
        match &self.on {
            Some(on) if on.refuses && on.has(category) && !on.queue.is_well() => {
                let message = "the audit log of this member can not be written, and nothing is done here that is not told";
                Err(Refusal::new(ErrorCode::NotAudited, message))
            }
            _ => Ok(()),
        }
    }

    /// A client has come, or was turned away.
    pub fn attached(&self, who: &Arc<Who>, is_new: bool, result: Result<(), ErrorCode>) {
        if self.wants(Some(Category::Sessions), result) {
            self.tell(who.clone(), What::Attach { is_new, result }, false);
        }
    }

    /// A command to the cluster was answered. Looking at it is no news, but for who may not.
    pub fn commanded<T>(&self, by: &Caller, command: &Command, result: &Result<T, Refusal>) {
        let result = event::code(result);
        let is_told = *command != Command::Status || result.is_err_and(event::is_for_rights);
        if self.on.is_some() && is_told {
            let identities = by.identities.iter().map(|one| one.masked().to_string()).collect();
            let who = Who { identities, remote: by.remote, ..Who::default() };
            self.tell(Arc::new(who), What::Command { command: command.clone(), result }, true);
        }
    }

    /// What this member has executed as the leader was applied: what nobody has asked for is told here, and by no other member.
    pub fn executed(&self, entry: &Entry, principal_of: impl Fn(SessionId) -> String) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        if self.on.is_none() {
            return;
        }
        for transaction in transactions {
            let paths = || deleted(&transaction.changes);
            let zxid = transaction.zxid;
            let ended = transaction.changes.iter().find_map(|change| match change {
                Change::SessionEnded { session, end } => Some((*session, *end)),
                _ => None,
            });
            match ended {
                Some((session, end)) if self.wants(Some(Category::Sessions), Ok(())) => {
                    let principal = principal_of(session);
                    let who = Who { session: Some(session), principal, ..Who::default() };
                    let what = What::SessionEnded { zxid, end, paths: paths() };
                    self.tell(Arc::new(who), what, false);
                }
                None if transaction.origin == Origin::Host
                    && self.wants(Some(Category::Writes), Ok(())) =>
                {
                    let paths = paths();
                    if !paths.is_empty() {
                        self.tell(Arc::default(), What::Reaped { zxid, paths }, false);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether an event of this category, or none if it is always told, with this result is told.
    fn wants(&self, category: Option<Category>, result: Result<(), ErrorCode>) -> bool {
        self.on.as_ref().is_some_and(|on| on.has(category))
            || (self.on.is_some() && result.is_err_and(event::is_for_rights))
    }

    fn tell(&self, who: Arc<Who>, what: What, is_urgent: bool) {
        if let Some(on) = &self.on {
            on.queue.push(Event { time_ms: now_ms(), who, what }, is_urgent);
        }
    }
}

impl Drop for On {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl On {
    fn has(&self, category: Option<Category>) -> bool {
        category.is_none_or(|category| self.categories.contains(&category))
    }
}

/// The audit log of one attachment.
pub struct Auditor {
    audit: Audit,
    who: Mutex<Arc<Who>>,
}

impl Auditor {
    /// For what these ask.
    #[must_use]
    pub fn new(audit: &Audit, who: Arc<Who>) -> Self {
        Self { audit: audit.clone(), who: Mutex::new(who) }
    }

    /// The session is known as somebody more from now on.
    pub fn identify(&self, identity: String) {
        if self.audit.on.is_some() {
            let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
            if !who.identities.contains(&identity) {
                Arc::make_mut(&mut who).identities.push(identity);
            }
        }
    }

    fn tell(&self, what: What, is_urgent: bool) {
        let who = self.who.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.audit.tell(who, what, is_urgent);
    }

    /// A write is answered with this.
    pub fn answered(&self, request: &Arc<Request>, bytes: usize, message: &ServerMessage) {
        if self.audit.on.is_none() {
            return;
        }
        let (answer, refused) = match message {
            ServerMessage::Reply { zxid, reply, .. } => {
                let answer = Answer::Replied { zxid: *zxid, reply: reply.clone() };
                (answer, event::refused(reply))
            }
            ServerMessage::NotExecuted { refusal, .. } => {
                (Answer::NotExecuted(refusal.code), Some(refusal.code))
            }
            _ => return,
        };
        self.write(request, bytes, answer, refused.map_or(Ok(()), Err));
    }

    /// A write will not be answered on this lane.
    pub fn unanswered(&self, request: &Arc<Request>, bytes: usize) {
        self.write(request, bytes, Answer::Unanswered, Ok(()));
    }

    /// A write was not taken.
    pub fn not_taken(&self, request: &Arc<Request>, bytes: usize, refusal: &Refusal) {
        let answer = Answer::NotExecuted(refusal.code);
        self.write(request, bytes, answer, Err(refusal.code));
    }

    fn write(
        &self,
        request: &Arc<Request>,
        bytes: usize,
        answer: Answer,
        result: Result<(), ErrorCode>,
    ) {
        let category = of_body(&request.body);
        if self.audit.wants(category, result) {
            let what = What::Write { request: request.clone(), bytes, answer };
            self.tell(what, category.is_none());
        }
    }

    /// A read is answered with this.
    pub fn read(&self, query: &Query, zxid: Zxid, results: &Result<Results, Refusal>) {
        let (category, result) = (of_query(query), event::code(results));
        if self.audit.wants(category, result) {
            let bytes = match results {
                Ok(Results::Node { data, .. }) => Some(data.len() as u64),
                _ => None,
            };
            let what = What::Read { query: query.clone(), zxid, bytes, result };
            self.tell(what, category.is_none());
        }
    }

    /// What is told of a call that only reads, when it is answered: not its arguments. None if there is no audit log.
    #[must_use]
    pub fn will_call(&self, call: &Call) -> Option<Query> {
        self.audit.on.as_ref()?;
        let Call { recipe, function, signature, .. } = call.clone();
        Some(Query::Call(Call { recipe, function, signature, arguments: Bytes::new() }))
    }
}

/// The category of a write; none: it is always told.
fn of_body(body: &Body) -> Option<Category> {
    match body {
        Body::Single(operation) => of_operation(operation),
        Body::Multi(operations) => {
            // Access that is changed in passing is changed all the same.
            let is_told = operations.iter().any(|operation| of_operation(operation).is_none());
            (!is_told).then_some(Category::Writes)
        }
        Body::Cancel(_) | Body::StoreChunk(_) => Some(Category::Writes),
        Body::CloseSession | Body::Identify(_) => Some(Category::Sessions),
        Body::Deploy(_) | Body::Rollback { .. } | Body::RemoveRecipe(_) | Body::SetQuota { .. } => {
            None
        }
    }
}

/// The category of an operation; none: it is always told.
fn of_operation(operation: &Operation) -> Option<Category> {
    match operation {
        Operation::Create { .. }
        | Operation::Set { .. }
        | Operation::Delete { .. }
        | Operation::Check { .. }
        | Operation::CheckAbsent { .. }
        | Operation::CreateOrGet { .. }
        | Operation::SetOrCreate { .. }
        | Operation::DeleteTree { .. }
        | Operation::Fence(_)
        | Operation::Get { .. }
        | Operation::Stat { .. }
        | Operation::Exists { .. }
        | Operation::Children { .. }
        | Operation::Call(_) => Some(Category::Writes),
        Operation::SetAcl { .. } | Operation::Access { .. } => None,
    }
}

/// The category of a read; none: it is always told, since the whole tree leaves the service.
fn of_query(query: &Query) -> Option<Category> {
    (!matches!(query, Query::Snapshot { .. })).then_some(Category::Reads)
}

fn deleted(changes: &[Change]) -> Vec<String> {
    let path = |change: &Change| match change {
        Change::NodeDeleted { path, .. } => Some(path.as_str().to_owned()),
        _ => None,
    };
    changes.iter().filter_map(path).collect()
}

fn check(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), StartError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(StartError::Limit { key, value, min, max })
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
