//! Events as lines of JSON. Names of fields here are promises (docs/operations.md). It never writes data, arguments, secrets,
//! or the sentence of a refusal, which may quote them.

use quorate_core::access::{AccessChange, Object};
use quorate_core::error::ErrorCode;
use quorate_core::request::{Answer as Done, Body, Call, Operation, Reply};
use quorate_core::session::End;
use quorate_wire::message::AccessQuery;
use quorate_wire::message::Query;
use quorate_wire::message::admin::Command;
use serde::Serialize;

use super::event::{Answer, Event, What};
use super::{Category, limits};

/// A line. What does not apply is left out.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    time: String,
    member: u64,
    event: &'static str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    principal: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    identities: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<u64>,
    #[serde(flatten)]
    subject: Subject<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operations: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    paths: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    zxid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// What an operation is about.
#[derive(Debug, Default, Serialize)]
struct Subject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// The final path of a sequential znode.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Of data, or of arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The number of another member.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_member: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_torn: Option<bool>,
}

/// One operation of a multi.
#[derive(Debug, Serialize)]
struct Part<'a> {
    operation: &'static str,
    #[serde(flatten)]
    subject: Subject<'a>,
}

/// Appends an event's line.
pub(super) fn write(member: u64, event: &Event, lines: &mut Vec<u8>) {
    let mut line = Line {
        time: rfc3339(event.time_ms),
        member,
        session: event.who.session.map(|session| session.0),
        principal: &event.who.principal,
        identities: &event.who.identities,
        remote: event.who.remote.map(|remote| remote.to_string()),
        ..Line::default()
    };
    line.tell(&event.what);
    serde_json::to_writer(&mut *lines, &line)
        .expect("numbers and text become JSON, and a vector takes them");
    lines.push(b'\n');
}

impl<'a> Line<'a> {
    fn tell(&mut self, what: &'a What) {
        match what {
            What::Write { request, answer, .. } => {
                self.write = Some(request.write.0);
                self.tell_body(&request.body);
                self.tell_answer(answer);
            }
            What::Read { query, zxid, bytes, result } => {
                self.event = event_of(super::of_query(query));
                (self.operation, self.subject) = asked(query);
                if let Query::Many(queries) = query {
                    self.operations = queries.iter().map(Part::of_query).collect();
                }
                self.subject.bytes = *bytes;
                self.zxid = Some(zxid.0);
                self.end_with(*result);
            }
            What::Attach { is_new, result } => {
                self.event = "session";
                self.operation = if *is_new { "open" } else { "resume" };
                self.end_with(*result);
            }
            What::Command { command, result } => {
                self.event = "administration";
                (self.operation, self.subject) = commanded(command);
                self.end_with(*result);
            }
            What::SessionEnded { zxid, end, paths } => {
                self.event = "session";
                self.operation = match end {
                    End::Expired => "expired",
                    End::Closed => "closed",
                };
                (self.paths, self.zxid) = (paths, Some(zxid.0));
            }
            What::Reaped { zxid, paths } => {
                (self.event, self.operation) = ("write", "reap");
                (self.paths, self.zxid) = (paths, Some(zxid.0));
            }
            What::Began { is_torn } => {
                (self.event, self.operation) = ("audit", "begin");
                self.subject.is_torn = is_torn.then_some(true);
            }
            What::Ended => (self.event, self.operation) = ("audit", "end"),
            What::Lost(lost) => {
                (self.event, self.operation) = ("audit", "lost");
                self.subject.lost = Some(*lost);
            }
        }
    }

    fn tell_body(&mut self, body: &'a Body) {
        self.event = event_of(super::of_body(body));
        (self.operation, self.subject) = match body {
            Body::Single(operation) => operated(operation),
            Body::Multi(operations) => {
                self.operations = operations.iter().map(Part::of).collect();
                ("multi", Subject::default())
            }
            Body::Cancel(_) => ("cancel", Subject::default()),
            Body::CloseSession => ("close", Subject::default()),
            Body::StoreChunk(chunk) => {
                let bytes = Some(chunk.bytes.len() as u64);
                let component = Some(hex(&chunk.component));
                ("upload", Subject { component, bytes, ..Subject::default() })
            }
            Body::Deploy(deploy) => {
                let recipe = Some(cut(&deploy.recipe));
                let component = Some(hex(&deploy.component));
                ("deploy", Subject { recipe, component, ..Subject::default() })
            }
            Body::Rollback { recipe, version } => {
                let (recipe, version) = (Some(cut(recipe)), Some(*version));
                ("roll-back", Subject { recipe, version, ..Subject::default() })
            }
            Body::RemoveRecipe(recipe) => {
                ("remove-recipe", Subject { recipe: Some(cut(recipe)), ..Subject::default() })
            }
            Body::SetQuota { path, quota } => {
                self.event = "administration";
                let operation = if quota.is_some() { "set-quota" } else { "remove-quota" };
                (operation, Subject { path: Some(cut(path)), ..Subject::default() })
            }
            Body::Identify(_) => {
                self.event = "session";
                ("authenticate", Subject::default())
            }
        };
    }

    fn tell_answer(&mut self, answer: &Answer) {
        match answer {
            Answer::NotExecuted(code) => self.end_with(Err(*code)),
            Answer::Unanswered => self.result = Some("unanswered"),
            Answer::Replied { zxid, reply } => {
                self.zxid = Some(zxid.0);
                match Reply::decode(reply.clone()) {
                    Ok(Reply::Done(done)) => {
                        self.end_with(Ok(()));
                        self.tell_done(done);
                    }
                    Ok(Reply::Refused(failure)) => self.end_with(Err(failure.refusal.code)),
                    // Of a later version, kept by a leader that knows it: it is told that there was one.
                    Err(_) => self.result = Some("unknown"),
                }
            }
        }
    }

    fn tell_done(&mut self, done: Done) {
        match done {
            Done::Activated { version } => self.subject.version = Some(version),
            Done::Multi(parts) => {
                for (part, done) in self.operations.iter_mut().zip(parts) {
                    part.subject.note_created(done);
                }
            }
            done => self.subject.note_created(done),
        }
    }

    fn end_with(&mut self, result: Result<(), ErrorCode>) {
        match result {
            Ok(()) => self.result = Some("ok"),
            Err(code) => {
                self.result = Some(code.name());
                self.code = Some(format!("Q{}", code.number()));
            }
        }
    }
}

impl<'a> Part<'a> {
    fn of(operation: &'a Operation) -> Self {
        let (operation, subject) = operated(operation);
        Self { operation, subject }
    }

    fn of_query(query: &'a Query) -> Self {
        let (operation, subject) = asked(query);
        Self { operation, subject }
    }
}

impl Subject<'_> {
    fn note_created(&mut self, done: Done) {
        if let Done::Created { path, .. } = done
            && self.path != Some(&path)
        {
            self.created = Some(path);
        }
    }
}

/// What events of a category are called.
fn event_of(category: Option<Category>) -> &'static str {
    match category {
        None => "administration",
        Some(Category::Sessions) => "session",
        Some(Category::Writes) => "write",
        Some(Category::Reads) => "read",
    }
}

/// What an operation does, and to what.
fn operated(operation: &Operation) -> (&'static str, Subject<'_>) {
    let at = |path| Subject { path: Some(cut(path)), ..Subject::default() };
    match operation {
        Operation::Create { path, data, .. } => {
            ("create", Subject { bytes: Some(data.len() as u64), ..at(path) })
        }
        Operation::Set { path, data, .. } => {
            ("set", Subject { bytes: Some(data.len() as u64), ..at(path) })
        }
        Operation::Delete { path, .. } => ("delete", at(path)),
        Operation::CreateOrGet { path, data, .. } => {
            ("create-or-get", Subject { bytes: Some(data.len() as u64), ..at(path) })
        }
        Operation::SetOrCreate { path, data, .. } => {
            ("set-or-create", Subject { bytes: Some(data.len() as u64), ..at(path) })
        }
        Operation::DeleteTree { path, .. } => ("delete-tree", at(path)),
        Operation::Check { path, .. } => ("check", at(path)),
        Operation::CheckAbsent { path } => ("check-absent", at(path)),
        Operation::Fence(fence) => {
            ("fence", Subject { recipe: Some(cut(&fence.recipe)), ..at(&fence.node) })
        }
        Operation::Get { path } => ("get", at(path)),
        Operation::Stat { path } => ("stat", at(path)),
        Operation::Exists { path } => ("exists", at(path)),
        Operation::Children { path, with_data: false, .. } => ("children", at(path)),
        Operation::Children { path, with_data: true, .. } => ("children-with-data", at(path)),
        Operation::Call(call) => {
            ("call", Subject { bytes: Some(call.arguments.len() as u64), ..called(call) })
        }
        Operation::SetAcl { path, .. } => ("set-acl", at(path)),
        Operation::Access { change, .. } => match change {
            AccessChange::Grant(object, _) => ("grant", ruled(object)),
            AccessChange::Revoke(object, _) => ("revoke", ruled(object)),
            AccessChange::SetStance(_) => ("set-stance", Subject::default()),
        },
    }
}

/// What rules are on; nothing is named for those on the cluster.
fn ruled(object: &Object) -> Subject<'_> {
    match object {
        Object::Subtree(path) => Subject { path: Some(cut(path.as_str())), ..Subject::default() },
        Object::Recipe(name) => Subject { recipe: Some(cut(name)), ..Subject::default() },
        Object::EveryRecipe => Subject { recipe: Some("*"), ..Subject::default() },
        Object::Cluster => Subject::default(),
    }
}

fn called(call: &Call) -> Subject<'_> {
    let (recipe, function) = (Some(cut(&call.recipe)), Some(cut(&call.function)));
    Subject { recipe, function, ..Subject::default() }
}

/// What a read asks for, and of what.
fn asked(query: &Query) -> (&'static str, Subject<'_>) {
    let at = |path| Subject { path: Some(cut(path)), ..Subject::default() };
    let of = |recipe| Subject { recipe: Some(cut(recipe)), ..Subject::default() };
    match query {
        Query::Get(path) => ("get", at(path)),
        Query::Stat(path) => ("stat", at(path)),
        Query::Children { path, with_data: false, .. } => ("children", at(path)),
        Query::Children { path, with_data: true, .. } => ("children-with-data", at(path)),
        Query::Recipes => ("recipes", Subject::default()),
        Query::History(recipe) => ("history", of(recipe)),
        Query::Interface(recipe) => ("interface", of(recipe)),
        Query::Logs { recipe, .. } => ("logs", of(recipe)),
        Query::Status => ("status", Subject::default()),
        Query::Snapshot { .. } => ("snapshot", Subject::default()),
        Query::Call(call) => ("call", called(call)),
        Query::Watch(watch) => ("watch", at(&watch.path)),
        Query::Unwatch(_) => ("unwatch", Subject::default()),
        Query::Quotas { .. } => ("quotas", Subject::default()),
        Query::Scan { path, .. } => ("scan", at(path)),
        Query::Many(_) => ("many", Subject::default()),
        Query::Subtree(path) => ("subtree", at(path)),
        Query::Ephemerals { prefix, .. } => ("ephemerals", at(prefix)),
        Query::Whoami => ("whoami", Subject::default()),
        Query::Access(AccessQuery::Acl(path)) => ("acl", at(path)),
        Query::Access(AccessQuery::RulesOn(object)) => ("rules", ruled(object)),
        Query::Access(AccessQuery::Rules { .. }) => ("rules", Subject::default()),
        Query::Access(AccessQuery::May { object, .. }) => ("may", ruled(object)),
    }
}

/// What a command does to the cluster, and to which member.
fn commanded(command: &Command) -> (&'static str, Subject<'_>) {
    let member = |number: &u64| Subject { of_member: Some(*number), ..Subject::default() };
    match command {
        Command::Status => ("cluster-status", Subject::default()),
        Command::Initialize { .. } => ("cluster-init", Subject::default()),
        Command::Add { member: number, address } => {
            ("cluster-add", Subject { address: Some(cut(address)), ..member(number) })
        }
        Command::Promote { member: number } => ("cluster-promote", member(number)),
        Command::Remove { member: number } => ("cluster-remove", member(number)),
        Command::TransferLeader { to } => ("cluster-transfer-leader", member(to)),
        Command::Update { member: number, address, .. } => {
            ("cluster-update", Subject { address: Some(cut(address)), ..member(number) })
        }
    }
}

/// A digest as lower-case digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The front of a text that is longer than what can be executed.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::TEXT_BYTES_MAX)]
}

/// Milliseconds since 1970 as `2026-11-22T19:25:00.123Z`.
#[must_use]
pub fn rfc3339(since_1970_ms: u64) -> String {
    let seconds = since_1970_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let ms = since_1970_ms % 1000;
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}
