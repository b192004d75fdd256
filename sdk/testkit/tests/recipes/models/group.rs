//! The group: its members are those who joined and live, and its version grows with each of its changes.

use std::collections::BTreeMap;

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::{children, option, same, timeout};
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/g", "/g/h"];
const NAMES: &[&str] = &["a", "b", "c", "d"];

#[test]
fn group() {
    history::run::<Groups>();
}

struct Groups {
    groups: BTreeMap<&'static str, Group>,
}

#[derive(Default)]
struct Group {
    members: BTreeMap<&'static str, (SessionId, u64)>,
    version: u64,
    /// Of all versions that there ever were.
    version_max: u64,
    /// Those who wait for another version.
    observers: BTreeMap<CallHandle, u64>,
}

enum Op {
    Join(&'static str, &'static str, u64),
    Leave(&'static str, &'static str),
    Update(&'static str, &'static str, u64),
    Members(&'static str),
    Observe(&'static str, Option<u64>, Option<u64>),
    Remove(&'static str),
}

impl Model for Groups {
    const RECIPE: &'static str = "group";
    type Op = Op;

    fn new() -> Self {
        Self { groups: PATHS.iter().map(|path| (*path, Group::default())).collect() }
    }

    fn choose(&self, random: &mut Random, _session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        let name = random.pick(NAMES).expect("there are some");
        let version = self.groups[path].version;
        match random.below(12) {
            0 => Op::Members(path),
            1 => Op::Remove(path),
            2 | 3 => Op::Leave(path, name),
            4 | 5 => Op::Update(path, name, random.below(1_000)),
            6 => Op::Observe(path, None, timeout(random)),
            7 | 8 => Op::Observe(path, Some(version), timeout(random)),
            _ => Op::Join(path, name, random.below(1_000)),
        }
    }

    fn text(op: &Op) -> (&'static str, String) {
        match op {
            Op::Join(path, name, data) => ("join", format!("\"{path}\" \"{name}\" \"{data}\"")),
            Op::Leave(path, name) => ("leave", format!("\"{path}\" \"{name}\"")),
            Op::Update(path, name, data) => ("update", format!("\"{path}\" \"{name}\" \"{data}\"")),
            Op::Members(path) => ("members", format!("\"{path}\" none 100")),
            Op::Observe(path, known, timeout) => {
                ("observe", format!("\"{path}\" {} {}", option(*known), option(*timeout)))
            }
            Op::Remove(path) => ("remove", format!("\"{path}\"")),
        }
    }

    fn called(&mut self, op: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let (Op::Join(path, ..)
        | Op::Leave(path, _)
        | Op::Update(path, ..)
        | Op::Members(path)
        | Op::Observe(path, ..)
        | Op::Remove(path)) = op;
        let group = self.groups.get_mut(path).expect("a known path");
        let zxid = facts.zxid(by);
        let session = by.session();
        let is_own = |group: &Group, name| {
            group.members.get(name).is_some_and(|(owner, _)| *owner == session)
        };
        let outcome = match op {
            Op::Join(_, name, data) => match group.members.get(name) {
                Some((owner, _)) => format!("err(name-taken({owner}))"),
                None => {
                    group.members.insert(name, (session, data));
                    group.touch(zxid);
                    format!("ok({zxid})")
                }
            },
            Op::Leave(_, name) if is_own(group, name) => {
                group.members.remove(name);
                group.touch(zxid);
                "ok".to_owned()
            }
            Op::Update(_, name, data) if is_own(group, name) => {
                group.members.insert(name, (session, data));
                group.touch(zxid);
                format!("ok({zxid})")
            }
            Op::Leave(..) | Op::Update(..) => "err(not-a-member)".to_owned(),
            Op::Members(_) => {
                let shown = group.members.iter().map(|(name, (session, data))| {
                    format!("{{name: \"{name}\", data: \"{data}\", session: {session}, since: _}}")
                });
                format!("ok([{}])", shown.collect::<Vec<_>>().join(", "))
            }
            Op::Observe(_, known, _) if known != Some(group.version) => group.change(),
            Op::Observe(_, _, Some(0)) => "err(timed-out)".to_owned(),
            Op::Observe(_, _, timeout_ms) => {
                group.observers.insert(by, group.version);
                facts.waits(by, timeout_ms);
                return;
            }
            Op::Remove(_) if !group.members.is_empty() => "err(in-use)".to_owned(),
            Op::Remove(_) => {
                group.version = 0;
                "ok".to_owned()
            }
        };
        facts.ends(by, outcome);
        group.tell(facts);
    }

    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>) {
        let waits = self.groups.values_mut().filter_map(|group| group.observers.remove(&call));
        assert_eq!(waits.count(), 1, "{call} observes one group");
        facts.ends(call, format!("err({why})"));
    }

    fn session_ended(&mut self, session: SessionId, zxid: u64, facts: &mut Facts<'_>) {
        for group in self.groups.values_mut() {
            group.observers.retain(|call, _| call.session() != session);
            let before = group.members.len();
            group.members.retain(|_, (owner, _)| *owner != session);
            if group.members.len() < before {
                group.touch(zxid);
                group.tell(facts);
            }
        }
    }

    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.groups.iter().try_for_each(|(path, group)| {
            let path = format!("{path}/_members");
            let names = group.members.keys().map(|name| (*name).to_owned()).collect();
            same(&path, &children(kit, &path), &names)
        })
    }
}

impl Group {
    fn touch(&mut self, zxid: u64) {
        let max = self.version_max;
        assert!(zxid > max || zxid == 0, "the version {zxid} is not larger than {max}");
        self.version = zxid;
        self.version_max = zxid;
    }

    fn change(&self) -> String {
        format!("ok({{version: {}, count: {}}})", self.version, self.members.len())
    }

    fn tell(&mut self, facts: &mut Facts<'_>) {
        let (version, change) = (self.version, self.change());
        self.observers.retain(|call, known| {
            if *known != version {
                facts.ends(*call, change.clone());
            }
            *known == version
        });
    }
}
