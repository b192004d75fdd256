//! What is told, when it is written, and what happens when it can not be. The disk is the test's, but where files are the
//! point.

use std::io;
use std::sync::{Condvar, MutexGuard};
use std::time::Duration;

use quorate_core::condition::Condition;
use quorate_core::ids::{Epoch, Millis, Term, WriteNumber};
use quorate_core::path::Path;
use quorate_core::request::{Answer as Done, Failure, LifetimeKind, Operation, Reply, Sequence};
use quorate_core::session::{Acks, End};
use quorate_core::transaction::{Outcome, Transaction};
use serde_json::{Value, json};

use super::*;
use crate::authentication::Caller;

/// No test waits longer for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk that can refuse.
#[derive(Default)]
struct Disk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DiskState {
    text: String,
    refuses: bool,
    refused: u32,
    synced: u32,
}

struct DiskSink(Arc<Disk>);

impl Sink for DiskSink {
    fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let appended = if state.refuses {
            state.refused += 1;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            state.text.push_str(std::str::from_utf8(lines).unwrap());
            Ok(lines.len())
        };
        self.0.changed.notify_all();
        appended
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.lock().synced += 1;
        self.0.changed.notify_all();
        Ok(())
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn(&DiskState) -> bool) -> MutexGuard<'_, DiskState> {
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, |state| !is_so(state));
        let (state, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{what}: {}", state.text);
        state
    }

    /// The lines, once there is one with this text.
    fn lines_with(&self, text: &str) -> Vec<Value> {
        lines(&self.until(text, |state| state.text.contains(text)).text)
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn audit(options: &Options) -> (Audit, Arc<Disk>) {
    let disk: Arc<Disk> = Arc::default();
    let audit = Audit::with_sink(options, 7, Box::new(DiskSink(disk.clone())), false).unwrap();
    (audit, disk)
}

fn all() -> Options {
    let categories = vec![Category::Sessions, Category::Writes, Category::Reads];
    Options { categories, ..Options::default() }
}

fn alice() -> Arc<Who> {
    Arc::new(Who {
        session: Some(SessionId(5)),
        principal: "alice".to_owned(),
        identities: vec!["x509:CN=alice".to_owned()],
        remote: Some("192.0.2.1:5000".parse().unwrap()),
    })
}

fn request(body: Body) -> Arc<Request> {
    let (session, write) = (SessionId(5), WriteNumber(3));
    Arc::new(Request { session, write, hash: 1, acks: Acks::default(), body, address: None })
}

fn create(path: &str) -> Operation {
    Operation::Create {
        path: path.to_owned(),
        data: "secret data".into(),
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::Native,
        parents: false,
        acl: None,
    }
}

fn call() -> Operation {
    Operation::Call(Call {
        recipe: "lock".to_owned(),
        function: "acquire".to_owned(),
        signature: 0,
        arguments: "secret data".into(),
    })
}

fn replied(reply: &Reply) -> ServerMessage {
    ServerMessage::Reply { request: 1, zxid: Zxid(9), events: 0, reply: reply.encode() }
}

fn refused(code: ErrorCode) -> Reply {
    Reply::Refused(Failure::from(Refusal::new(code, "secret data in a sentence")))
}

fn set() -> Arc<Request> {
    request(Body::Single(Operation::Set {
        path: "/a".to_owned(),
        data: "secret data".into(),
        condition: Condition::ANY,
    }))
}

#[test]
fn a_line_says_who_did_what_from_where_with_which_result_and_no_data() {
    let (audit, disk) = audit(&all());
    let auditor = Auditor::new(&audit, alice());
    let multi = request(Body::Multi(vec![create("/jobs/job-"), call()]));
    let tree = quorate_core::read::MemoryTree::new();
    let stat = quorate_core::query::stat(&tree, &Path::parse("/").unwrap()).unwrap();
    let done = Reply::Done(Done::Multi(vec![
        Done::Created { path: "/jobs/job-0000000000000000001".to_owned(), stat },
        Done::Called("secret data".into()),
    ]));
    auditor.answered(&multi, 100, &replied(&done));
    auditor.answered(&set(), 100, &replied(&refused(ErrorCode::NoNode)));
    auditor.unanswered(&request(Body::Single(call())), 100);
    audit.stop();
    let text = disk.lock().text.clone();
    assert!(!text.contains("secret"), "{text}");
    let mut lines = lines(&text);
    let times: Vec<Value> = lines.iter_mut().map(|line| line["time"].take()).collect();
    assert!(times.iter().all(|time| time.as_str().is_some_and(|time| time.ends_with('Z'))));
    assert_eq!(
        lines[0],
        json!({ "time": null, "member": 7, "event": "audit", "operation": "begin" })
    );
    assert_eq!(
        lines[1],
        json!({
            "time": null, "member": 7, "event": "write", "operation": "multi", "session": 5,
            "principal": "alice", "identities": ["x509:CN=alice"], "remote": "192.0.2.1:5000", "write": 3,
            "operations": [
                { "operation": "create", "path": "/jobs/job-", "created": "/jobs/job-0000000000000000001", "bytes": 11 },
                { "operation": "call", "recipe": "lock", "function": "acquire", "bytes": 11 },
            ],
            "zxid": 9, "result": "ok",
        })
    );
    let told = |line: &Value| {
        (
            line["operation"].clone(),
            line["path"].clone(),
            line["result"].clone(),
            line["code"].clone(),
        )
    };
    assert_eq!(told(&lines[2]), (json!("set"), json!("/a"), json!("no-node"), json!("Q2001")));
    assert_eq!(told(&lines[3]), (json!("call"), Value::Null, json!("unanswered"), Value::Null));
    assert_eq!(lines[4]["operation"], "end");
}

#[test]
fn what_was_not_chosen_is_told_only_if_it_is_administration_or_refused_for_rights() {
    let none = Options { categories: Vec::new(), ..Options::default() };
    let (audit, disk) = audit(&none);
    let auditor = Auditor::new(&audit, alice());
    auditor.answered(&set(), 10, &replied(&refused(ErrorCode::NoNode)));
    auditor.answered(&set(), 10, &replied(&refused(ErrorCode::NoAccess)));
    auditor.unanswered(&set(), 10);
    let get = Query::Get("/a".to_owned());
    let failed = |code| Err(Refusal::new(code, ""));
    auditor.read(&get, Zxid(1), &failed(ErrorCode::NoNode));
    auditor.read(&get, Zxid(1), &failed(ErrorCode::NoAccess));
    let rollback = Body::Rollback { recipe: "lock".to_owned(), version: 2 };
    auditor.answered(&request(rollback), 10, &replied(&refused(ErrorCode::NoRecipe)));
    audit.attached(&alice(), true, Ok(()));
    audit.attached(&alice(), false, Err(ErrorCode::BadSecret));
    let remote = "192.0.2.1:5000".parse().unwrap();
    let by = Caller { remote: Some(remote), ..Caller::default() };
    audit.commanded(&by, &Command::Status, &Ok(()));
    audit.commanded(&by, &Command::Remove { member: 3 }, &Ok(()));
    audit.stop();
    let told: Vec<String> = lines(&disk.lock().text)
        .iter()
        .map(|line| format!("{} {}", line["operation"], line["result"]).replace('"', ""))
        .collect();
    let wanted = [
        "begin null",
        "set no-access",
        "get no-access",
        "roll-back no-recipe",
        "resume bad-secret",
        "cluster-remove ok",
        "end null",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn the_leader_tells_which_ephemeral_znodes_went_with_a_session() {
    let (audit, disk) = audit(&all());
    let path = |text: &str| Path::parse(text).unwrap();
    let transaction = |zxid, changes| Transaction {
        zxid: Zxid(zxid),
        time: Millis(1),
        origin: Origin::Host,
        changes,
        outcome: Outcome::None,
    };
    let ended = Change::SessionEnded { session: SessionId(5), end: End::Expired };
    let deleted =
        |text| Change::NodeDeleted { path: path(text), version: 0, previous: Zxid(1), acl: None };
    let transactions = vec![
        transaction(8, vec![deleted("/a"), deleted("/b"), ended]),
        transaction(9, vec![deleted("/old")]),
    ];
    let body = EntryBody::Batch { base: Zxid(7), transactions };
    audit.executed(&Entry { term: Term(1), epoch: Epoch(1), body }, |_| "alice".to_owned());
    audit.stop();
    let lines = lines(&disk.lock().text);
    let told = |at: usize, key: &str| lines[at][key].clone();
    assert_eq!((told(1, "event"), told(1, "operation")), (json!("session"), json!("expired")));
    assert_eq!((told(1, "session"), told(1, "principal")), (json!(5), json!("alice")));
    assert_eq!((told(1, "paths"), told(1, "zxid")), (json!(["/a", "/b"]), json!(8)));
    assert_eq!((told(2, "operation"), told(2, "paths")), (json!("reap"), json!(["/old"])));
}

#[test]
fn who_a_session_is_known_as_is_told_from_then_on() {
    let (audit, disk) = audit(&all());
    let auditor = Auditor::new(&audit, alice());
    auditor.unanswered(&set(), 10);
    auditor.identify("token:ann".to_owned());
    auditor.identify("token:ann".to_owned());
    auditor.unanswered(&set(), 10);
    audit.stop();
    let lines = lines(&disk.lock().text);
    assert_eq!(lines[1]["identities"], json!(["x509:CN=alice"]));
    assert_eq!(lines[2]["identities"], json!(["x509:CN=alice", "token:ann"]));
}

#[test]
fn lines_come_by_themselves_and_are_synced() {
    let (audit, disk) = audit(&all());
    drop(disk.until("the first line is synced", |state| state.synced == 1));
    Auditor::new(&audit, alice()).answered(&set(), 10, &replied(&Reply::Done(Done::Done)));
    assert_eq!(disk.lines_with("\"set\"").len(), 2);
    drop(disk.until("synced", |state| state.synced == 2));
    audit.stop();
}

#[test]
fn a_disk_that_refuses_loses_nothing_until_the_queue_is_full_and_then_says_how_much() {
    let (audit, disk) = audit(&all());
    disk.lines_with("begin");
    disk.lock().refuses = true;
    let auditor = Auditor::new(&audit, alice());
    auditor.unanswered(&set(), 10);
    drop(disk.until("refused", |state| state.refused > 0));
    let half = limits::QUEUE_BYTES_MAX / 2;
    // Two halves do not fit beside what waits.
    for _ in 0..4 {
        auditor.unanswered(&set(), half);
    }
    assert_eq!(audit.admit(&set().body), Ok(()), "a warning is all");
    disk.lock().refuses = false;
    let lines = disk.lines_with("lost");
    let count = lines.iter().filter(|line| line["operation"] == "set").count();
    let lost = lines.last().unwrap()["lost"].as_u64().unwrap();
    assert_eq!((count as u64 + lost, lost), (5, 3), "{lines:?}");
    audit.stop();
}

#[test]
fn what_can_not_be_told_is_refused_if_the_operator_wants_that() {
    let options = Options { on_failure: OnFailure::Refuse, ..all() };
    let (audit, disk) = audit(&options);
    disk.lines_with("begin");
    let get = Query::Get("/a".to_owned());
    assert_eq!(audit.admit(&set().body), Ok(()));
    assert_eq!(audit.admit_read(&get), Ok(()));
    disk.lock().refuses = true;
    Auditor::new(&audit, alice()).unanswered(&set(), 10);
    drop(disk.until("refused", |state| state.refused > 0));
    let began = std::time::Instant::now();
    while audit.admit(&set().body).is_ok() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let code = |admitted: Result<(), Refusal>| admitted.unwrap_err().code;
    assert_eq!(code(audit.admit(&set().body)), ErrorCode::NotAudited);
    assert_eq!(code(audit.admit_read(&get)), ErrorCode::NotAudited);
    assert_eq!(code(audit.admit_session()), ErrorCode::NotAudited);
    assert_eq!(code(audit.admit_command(&Command::Remove { member: 1 })), ErrorCode::NotAudited);
    assert_eq!(audit.admit_command(&Command::Status), Ok(()));
    assert_eq!(audit.admit(&Body::CloseSession), Ok(()), "what ends something goes on");
    disk.lock().refuses = false;
    disk.lines_with("\"set\"");
    while audit.admit(&set().body).is_err() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    audit.stop();
}

#[test]
fn nothing_is_refused_for_what_is_not_told() {
    let none = Options { categories: Vec::new(), on_failure: OnFailure::Refuse, ..all() };
    let (audit, disk) = audit(&none);
    disk.lines_with("begin");
    disk.lock().refuses = true;
    audit.commanded(&Caller::default(), &Command::Remove { member: 3 }, &Ok(()));
    drop(disk.until("refused twice", |state| state.refused > 1));
    assert_eq!(audit.admit(&set().body), Ok(()));
    assert!(audit.admit_command(&Command::Remove { member: 1 }).is_err());
    audit.stop();
}

#[test]
fn a_member_ends_although_the_disk_refuses() {
    let (audit, disk) = audit(&all());
    disk.lines_with("begin");
    disk.lock().refuses = true;
    audit.stop();
    assert!(disk.lock().refused > 0);
}

#[test]
fn a_file_is_gone_on_with_and_a_torn_line_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    let options = Options { file: Some(file.clone()), ..all() };
    let audit = Audit::start(&options, 1).unwrap();
    Auditor::new(&audit, alice()).unanswered(&set(), 10);
    audit.stop();
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &before[..before.len() - 5]).unwrap();
    drop(audit);
    let audit = Audit::start(&options, 1).unwrap();
    audit.stop();
    let text = std::fs::read_to_string(&file).unwrap();
    let whole: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<&Value> = whole.iter().map(|line| &line["operation"]).collect();
    assert_eq!(told, ["begin", "set", "begin", "end"], "{text}");
    assert_eq!(whole[2]["is_torn"], true);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = Some(directory.path().join("audit.log"));
    for (options, key) in [
        (Options { file: file.clone(), bytes_max: 10, ..all() }, "max_bytes"),
        (Options { file: file.clone(), files: 1, ..all() }, "files"),
        (Options { file: Some("/no/such/directory/audit.log".into()), ..all() }, "/no/such"),
    ] {
        let error = Audit::start(&options, 1).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(951_782_400_007), "2000-02-29T00:00:00.007Z");
    assert_eq!(rfc3339(1_795_375_500_123), "2026-11-22T19:25:00.123Z");
}
