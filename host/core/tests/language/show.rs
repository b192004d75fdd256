//! How transactions, replies and refusals look in a script. It knows the values and no command.

use quorate_core::access::{Acl, Object, Rules};
use quorate_core::change::Change;
use quorate_core::ids::{CallId, SessionId};
use quorate_core::query::Child;
use quorate_core::query::quota::QuotaUse;
use quorate_core::quota::{Bounds, Quota, Used};
use quorate_core::recipe::Interest;
use quorate_core::request::{Answer, Failure, Reply};
use quorate_core::session::Parked;
use quorate_core::transaction::{Outcome, Transaction};
use quorate_core::znode::{Lifetime, Stat};

/// Names sessions as the script does.
pub type Sessions<'a> = &'a dyn Fn(SessionId) -> String;

/// A transaction: what its caller is told, then its changes.
pub fn transaction(transaction: &Transaction, sessions: Sessions<'_>) -> Vec<String> {
    let outcome = match &transaction.outcome {
        Outcome::None => "done".to_owned(),
        Outcome::Replied(bytes) => {
            reply(&Reply::decode(bytes.clone()).expect("a reply decodes"), sessions)
        }
        Outcome::Parked(parked) => format!("parked{}", kept_state(parked)),
    };
    let mut lines = vec![format!("zxid {}: {outcome}", transaction.zxid)];
    let changes = &transaction.changes;
    if changes.len() > 12 {
        let weight: usize = changes.iter().map(Change::weight).sum();
        lines.push(format!("  {} changes, {weight} bytes", changes.len()));
        let ends = changes.last().map(|last| change(last, sessions));
        lines.push(format!("  ... {}", ends.unwrap_or_default()));
    } else {
        lines.extend(changes.iter().map(|one| format!("  {}", change(one, sessions))));
    }
    lines
}

/// What is replicated of a waiting call.
pub fn kept_state(parked: &Parked) -> String {
    let state = short(&parked.state);
    let deadline = parked.deadline.map_or(String::new(), |at| format!(", deadline {at}"));
    format!(" in {} version {}, state {state}{deadline}", parked.recipe, parked.version)
}

/// A reply.
pub fn reply(reply: &Reply, sessions: Sessions<'_>) -> String {
    match reply {
        Reply::Done(done) => answer(done, sessions),
        Reply::Refused(failure) => refused(failure),
    }
}

fn refused(Failure { refusal, operation, value }: &Failure) -> String {
    let operation = operation.map_or(String::new(), |index| format!(" operation {index}"));
    let value = value.as_ref().map_or(String::new(), |value| format!(" with {}", short(value)));
    format!("refused{operation}: {refusal}{value}")
}

fn answer(answer: &Answer, sessions: Sessions<'_>) -> String {
    match answer {
        Answer::Done => "done".to_owned(),
        Answer::Created { path, stat: made } => {
            format!("created {}, {}", long(path), stat(made, sessions))
        }
        Answer::Stat(made) => stat(made, sessions),
        Answer::Called(value) => format!("returned {}", short(value)),
        Answer::Multi(answers) if answers.len() > 32 => {
            let last = answers.last().map(|last| self::answer(last, sessions));
            format!("{} answers, the last: {}", answers.len(), last.unwrap_or_default())
        }
        Answer::Multi(answers) => {
            let all: Vec<String> = answers.iter().map(|one| self::answer(one, sessions)).collect();
            format!("[{}]", all.join("; "))
        }
        Answer::Activated { version } => format!("activated version {version}"),
        Answer::Node { data, stat: found } => {
            format!("there {}, {}", short(data), stat(found, sessions))
        }
        Answer::Names(listing) => {
            format!("names {:?}, more: {}", listing.children, listing.has_more)
        }
        Answer::Children(listing) => {
            let one = |child: &Child| format!("{}={}", child.name, short(&child.data));
            let all: Vec<String> = listing.children.iter().map(one).collect();
            format!("children [{}], more: {}", all.join(" "), listing.has_more)
        }
        Answer::Exists(found) => {
            let found = found.as_ref().map(|found| stat(found, sessions));
            found.map_or_else(|| "not there".to_owned(), |found| format!("there, {found}"))
        }
        Answer::Deleted { count } => format!("deleted {count}"),
    }
}

/// A stat, without what is zero or follows.
pub fn stat(stat: &Stat, sessions: Sessions<'_>) -> String {
    let mut text =
        format!("version {} zxids {}/{}/{}", stat.version, stat.czxid, stat.mzxid, stat.pzxid);
    text.push_str(&format!(" times {}/{}", stat.ctime.0, stat.mtime.0));
    for (name, value) in [
        ("cversion", stat.cversion),
        ("aversion", stat.aversion),
        ("children", stat.children_count),
        ("bytes", stat.data_bytes),
    ] {
        if value > 0 {
            text.push_str(&format!(" {name} {value}"));
        }
    }
    match stat.lifetime {
        Lifetime::Persistent => {}
        Lifetime::Container => text.push_str(" container"),
        Lifetime::Ttl(ms) => text.push_str(&format!(" ttl {ms}")),
        Lifetime::Ephemeral(owner) | Lifetime::CallOwned(CallId { session: owner, .. }) => {
            text.push_str(&format!(" of session {}", sessions(owner)));
        }
    }
    text
}

fn change(change: &Change, sessions: Sessions<'_>) -> String {
    match change {
        Change::NodeCreated { path, data, lifetime, acl } => {
            let owner = match lifetime {
                Lifetime::Persistent => String::new(),
                Lifetime::Container => " (container)".to_owned(),
                Lifetime::Ttl(ms) => format!(" (ttl {ms})"),
                Lifetime::Ephemeral(session) => format!(" (session {})", sessions(*session)),
                Lifetime::CallOwned(call) => {
                    format!(" (call {}:{})", sessions(call.session), call.write)
                }
            };
            format!("+ {} {}{owner}{}", long(path.as_str()), short(data), own(acl.as_ref()))
        }
        Change::DataSet { path, data, acl, .. } => {
            format!("= {path} {}{}", short(data), own(acl.as_ref()))
        }
        Change::NodeDeleted { path, acl, .. } => {
            format!("- {}{}", long(path.as_str()), own(acl.as_ref()))
        }
        Change::NodeReleased { path } => format!("released {path}"),
        Change::SessionOpened { timeout_ms, principal, .. } => {
            format!("session of {principal:?} opened, timeout {timeout_ms} ms")
        }
        Change::IdentityAdded { session, held } => {
            let until = held.expires.map_or_else(String::new, |at| format!(" until {at}"));
            format!("session {} is {}{until}", sessions(*session), held.identity)
        }
        Change::SessionEnded { session, end } => {
            format!("session {} {}", sessions(*session), end.word())
        }
        Change::SessionForgotten { session } => format!("session {} forgotten", sessions(*session)),
        Change::UploadBegan { session, .. } => format!("upload by {} began", sessions(*session)),
        Change::UploadEnded { session, .. } => format!("upload by {} ended", sessions(*session)),
        Change::ChunkStored { index, bytes, .. } => {
            format!("chunk {index} of {} bytes", bytes.len())
        }
        Change::ComponentStored { bytes, chunks, .. } => {
            format!("component of {bytes} bytes in {chunks} chunks")
        }
        Change::VersionMade { recipe, version } => {
            format!("version {} of {recipe} by {:?}", version.number, version.principal)
        }
        Change::VersionDropped { recipe, version } => {
            format!("version {version} of {recipe} dropped")
        }
        Change::RecipeActivated { recipe, version } => format!("{recipe} runs version {version}"),
        Change::RecipeRemoved { recipe } => format!("{recipe} removed"),
        Change::QuotaSet { path, quota: None } => format!("no quota of {path}"),
        Change::QuotaSet { path, quota: Some(quota) } => {
            format!("quota of {path}:{}", bounds_of(quota))
        }
        Change::LevelRaised { level } => format!("level {level}"),
        Change::AclSet { path, acl } => format!("acl of {path}{}", own(acl.as_ref())),
        Change::RulesSet { object, rules } => self::rules(object, rules),
        Change::StanceSet { stance } => format!("stance {}", stance.name()),
    }
}

/// The bounds of a quota that are there, a soft one before the hard one.
fn bounds_of(quota: &Quota) -> String {
    let named = [("znodes", quota.znodes), ("bytes", quota.bytes), ("writes", quota.writes_per_s)];
    let one = |(name, Bounds { soft, hard }): (&str, Bounds)| {
        let soft = soft.map_or_else(String::new, |soft| format!(" {name}.soft={soft}"));
        soft + &hard.map_or_else(String::new, |hard| format!(" {name}={hard}"))
    };
    named.map(one).concat()
}

/// A quota, and how much of it is used.
pub fn quota(found: &QuotaUse) -> String {
    let (Used { znodes, bytes }, metered) = (found.used, &found.metered);
    let bounds = bounds_of(&metered.quota);
    let warned = metered.warned_count;
    format!("{}: {znodes} znodes, {bytes} bytes, quota{bounds}, warned {warned}", found.path)
}

/// A znode's own access list.
fn own(acl: Option<&Acl>) -> String {
    acl.map_or_else(String::new, |acl| format!(" [{acl}]"))
}

/// The rules on an object.
pub fn rules(object: &Object, rules: &Rules) -> String {
    let all: Vec<String> = rules.all().iter().map(ToString::to_string).collect();
    format!("rules on {object}: [{}]", all.join("; "))
}

/// What a call waits for.
pub fn interests(interests: &[Interest]) -> String {
    let all: Vec<String> = interests
        .iter()
        .map(|interest| match interest {
            Interest::NodeChanged(path) => format!("change of {path}"),
            Interest::ChildrenChanged(path) => format!("children of {path}"),
            Interest::AtTime(at) => format!("time {at}"),
        })
        .collect();
    match all.len() {
        0 => "its end only".to_owned(),
        1..=8 => all.join(", "),
        count => format!("{count} things"),
    }
}

/// Data in quotes; only its size where that is long.
pub fn short(bytes: &[u8]) -> String {
    if bytes.len() > 64 {
        return format!("<{} bytes>", bytes.len());
    }
    format!("{:?}", String::from_utf8_lossy(bytes))
}

/// A path; only its end where it is long.
pub fn long(path: &str) -> String {
    match path.char_indices().rev().nth(60) {
        Some((at, _)) if path.len() > 100 => format!("<{} bytes>..{}", path.len(), &path[at..]),
        _ => path.to_owned(),
    }
}
