//! The commands: words to requests, reads, and what the host does. What comes of a request is `world`'s knowledge.

use bytes::Bytes;
use quorate_core::access::{Asker, Held, Identity};
use quorate_core::change::Change;
use quorate_core::condition::Condition;
use quorate_core::deployment::{Manifest, check_name};
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::query::{self, Page};
use quorate_core::quota::{Bounds, Quota};
use quorate_core::read::{Direction, MemoryTree, Read};
use quorate_core::recipe::Reason;
use quorate_core::request::{Body, Call, Chunk, Deploy, Fence, LifetimeKind, Operation, Sequence};
use quorate_core::room::Room;
use quorate_core::session::{Acks, Opening};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use sha2::{Digest as _, Sha256};

use super::access;
use super::show;
use super::words::Words;
use super::world::World;
use crate::support::pair::apply_entry;

type Said = Result<Vec<String>, String>;

/// Carries out one command and gives its output.
pub fn command(world: &mut World, line: &str, block: &[&str]) -> Said {
    if let Some(rest) = line.strip_prefix("repeat ") {
        let (count, inner) = rest.split_once(' ').ok_or("repeat N COMMAND")?;
        let count = count.parse::<u64>().map_err(|error| error.to_string())?;
        let mut last = Vec::new();
        for index in 1..=count {
            world.pair.is_comparing = index == count;
            last = command(world, &inner.replace("{i}", &format!("{index:04}")), block)?;
        }
        return Ok(last);
    }
    let mut words = Words::of(line);
    let first = words.next("a command")?;
    let said = if first.chars().all(|c| c.is_ascii_digit()) {
        let id = world.session(&first)?;
        write(world, id, &mut words, block)?
    } else {
        host(world, &first, &mut words)?
    };
    words.finish()?;
    Ok(said)
}

fn write(world: &mut World, id: SessionId, words: &mut Words, block: &[&str]) -> Said {
    let acks = acks(words.option("acks"))?;
    world.address = words.option("from").and_then(|text| text.parse().ok());
    let number = words.number("write")?.map_or_else(|| world.next_write(id), WriteNumber);
    let body = match words.next("a verb")?.as_str() {
        "multi" => {
            words.flag("{");
            let operations = block.iter().map(|line| {
                let mut inner = Words::of(line);
                let verb = inner.next("an operation")?;
                let count = inner.number("times")?.unwrap_or(1);
                let operation = operation(&verb, &mut inner)?;
                inner.finish()?;
                Ok(std::iter::repeat_n(operation, usize::try_from(count).unwrap_or(1)))
            });
            Body::Multi(
                operations.collect::<Result<Vec<_>, String>>()?.into_iter().flatten().collect(),
            )
        }
        "cancel" => Body::Cancel(WriteNumber(parse(&words.next("a write")?)?)),
        "close" => Body::CloseSession,
        "resend" => {
            let number = WriteNumber(parse(&words.next("a write")?)?);
            let request = world.requests.get(&(id, number)).ok_or("nothing was sent")?.clone();
            return Ok(world.send(id, number, request.acks, request.body));
        }
        "chunk" => Body::StoreChunk(chunk(world, words)?),
        "deploy" => Body::Deploy(deploy(words)?),
        "rollback" => {
            let recipe = words.next("a recipe")?;
            Body::Rollback { recipe, version: parse(&words.next("a version")?)? }
        }
        "quota" => {
            let mut bounds = |what: &str| -> Result<Bounds, String> {
                let soft = words.number(&format!("{what}.soft"))?;
                Ok(Bounds { soft, hard: words.number(what)? })
            };
            let (znodes, bytes) = (bounds("znodes")?, bounds("bytes")?);
            let quota = Quota { znodes, bytes, writes_per_s: bounds("writes")? };
            Body::SetQuota { path: words.path()?, quota: Some(quota) }
        }
        "remove" => Body::RemoveRecipe(words.next("a recipe")?),
        "identify" => Body::Identify(shown(words)?),
        verb => Body::Single(operation(verb, words)?),
    };
    Ok(world.send(id, number, acks, body))
}

/// What a member has made of a credential.
fn shown(words: &mut Words) -> Result<Result<Held, Refusal>, String> {
    let expires = words.number("until")?.map(Millis);
    if words.flag("badly") {
        let refusal = Refusal::new(ErrorCode::AuthenticationFailed, "no token");
        return Ok(Err(refusal));
    }
    let identity = Identity::parse(&words.next("an identity")?);
    let identity = identity.map_err(|refusal| refusal.to_string())?;
    Ok(Ok(Held { identity, expires }))
}

fn operation(verb: &str, words: &mut Words) -> Result<Operation, String> {
    if let Some(operation) = access::operation(verb, words)? {
        return Ok(operation);
    }
    let mut condition = Condition::ANY;
    for name in Condition::FIELDS {
        *condition.field(name).ok_or("a field of this name")? = words.number(name)?;
    }
    Ok(match verb {
        "create" => {
            let lifetime = lifetime(words)?;
            let sequence = match (words.flag("sequence"), words.flag("sequence10")) {
                (true, _) => Sequence::Native,
                (_, true) => Sequence::ZooKeeper,
                _ => Sequence::None,
            };
            let parents = words.flag("parents");
            let acl = access::acl(words.option("acl"))?;
            Operation::Create {
                path: words.path()?,
                data: words.data()?,
                lifetime,
                sequence,
                parents,
                acl,
            }
        }
        "set" => Operation::Set { path: words.path()?, data: words.data()?, condition },
        "delete" => Operation::Delete { path: words.path()?, condition },
        "check" => Operation::Check { path: words.path()?, condition },
        "check-absent" => Operation::CheckAbsent { path: words.path()? },
        "create-or-get" => {
            let (lifetime, parents) = (lifetime(words)?, words.flag("parents"));
            let acl = access::acl(words.option("acl"))?;
            let (path, data) = (words.path()?, words.data()?);
            Operation::CreateOrGet { path, data, lifetime, parents, acl }
        }
        "set-or-create" => {
            let (lifetime, parents) = (lifetime(words)?, words.flag("parents"));
            let acl = access::acl(words.option("acl"))?;
            let (path, data) = (words.path()?, words.data()?);
            Operation::SetOrCreate { path, data, lifetime, parents, acl }
        }
        "delete-tree" => Operation::DeleteTree { path: words.path()?, condition },
        "fence" => Operation::Fence(Fence {
            recipe: words.path()?,
            node: words.path()?,
            token: parse(&words.next("a token")?)?,
        }),
        "get" => Operation::Get { path: words.path()? },
        "stat" => Operation::Stat { path: words.path()? },
        "exists" => Operation::Exists { path: words.path()? },
        "ls" => {
            let (page, with_data) = (page(words)?, words.flag("data"));
            Operation::Children { path: words.path()?, page, with_data }
        }
        "call" => Operation::Call(Call {
            recipe: words.path()?,
            function: words.next("a function")?,
            signature: 0,
            arguments: Bytes::from(words.rest()),
        }),
        other => return Err(format!("no operation is called {other}")),
    })
}

fn lifetime(words: &mut Words) -> Result<LifetimeKind, String> {
    Ok(if words.flag("ephemeral") {
        LifetimeKind::Ephemeral
    } else if words.flag("owned") {
        LifetimeKind::CallOwned
    } else if words.flag("container") {
        LifetimeKind::Container
    } else {
        words.number("ttl")?.map_or(LifetimeKind::Persistent, LifetimeKind::Ttl)
    })
}

/// A call of a session as a read of the applied tree.
fn read_call(world: &mut World, words: &mut Words) -> Said {
    let session = world.session(&words.next("a session")?)?;
    let Operation::Call(call) = operation("call", words)? else {
        return Err("no call".to_owned());
    };
    let tree = world.pair.leader.clone();
    let before = tree.records();
    let asker = Asker::of_session(session, None, world.pair.now);
    let (zxid, result) = execute::read_call(tree.clone(), &asker, &call, &mut world.toys);
    assert!(before == tree.records(), "a read has changed the tree");
    let mut lines = std::mem::take(&mut world.toys.runs);
    lines.push(match result {
        Ok(value) => format!("read at zxid {zxid}: {}", show::short(&value)),
        Err(refusal) => format!("read at zxid {zxid}: refused: {refusal}"),
    });
    Ok(lines)
}

/// `5`, or `5,7-9,12-12`: a low mark and ranges.
fn acks(text: Option<String>) -> Result<Acks, String> {
    let Some(text) = text else { return Ok(Acks::default()) };
    let mut parts = text.split(',');
    let low = WriteNumber(parse(parts.next().unwrap_or_default())?);
    let ranges = parts.map(|part| {
        let (from, to) = part.split_once('-').ok_or("a range is FROM-TO")?;
        Ok((WriteNumber(parse(from)?), WriteNumber(parse(to)?)))
    });
    Ok(Acks { low, ranges: ranges.collect::<Result<_, String>>()? })
}

fn parse(text: &str) -> Result<u64, String> {
    text.parse::<u64>().map_err(|error| format!("{text}: {error}"))
}

/// A component's bytes: its name, again and again.
fn component(name: &str, bytes: u64) -> Vec<u8> {
    name.bytes().cycle().take(usize::try_from(bytes).unwrap_or(0)).collect()
}

fn chunk(world: &mut World, words: &mut Words) -> Result<Chunk, String> {
    let total_bytes = words.number("size")?.unwrap_or(100);
    let index = u32::try_from(words.number("index")?.unwrap_or(0)).map_err(|e| e.to_string())?;
    let is_wrong = words.flag("wrong");
    let claimed = words.number("claimed")?.unwrap_or(total_bytes);
    let name = words.next("a component")?;
    let whole = component(&name, total_bytes);
    let digest: [u8; 32] = Sha256::digest(&whole).into();
    world.toys.components.insert(digest, name);
    let mut chunks = whole.chunks(limits::CHUNK_BYTES_MAX);
    let mut bytes = chunks.nth(index as usize).unwrap_or_default().to_vec();
    if is_wrong {
        bytes.fill(b'?');
    }
    Ok(Chunk { component: digest, index, total_bytes: claimed, bytes: bytes.into() })
}

fn deploy(words: &mut Words) -> Result<Deploy, String> {
    let size = words.number("size")?.unwrap_or(100);
    let name = words.option("component").ok_or("component=NAME is missing")?;
    let root = words.option("root").unwrap_or_else(|| "/".to_owned());
    let mut manifest =
        Manifest::for_root(Path::parse(&root).map_err(|refusal| refusal.to_string())?);
    if let Some(changes) = words.number("changes")? {
        manifest.limits.changes = changes;
    }
    if let Some(bytes) = words.number("changes-bytes")? {
        manifest.limits.changes_bytes = bytes;
    }
    for index in 0..words.number("config")?.unwrap_or(0) {
        manifest.config.insert(format!("{index}"), String::new());
    }
    if let Some(functions) = words.option("read-only") {
        manifest.read_only.extend(functions.split(',').map(str::to_owned));
    }
    if let Some(callers) = words.option("callers") {
        let (function, principal) = callers.split_once(':').ok_or("callers=FUNCTION:PRINCIPAL")?;
        manifest.callers.insert(function.to_owned(), vec![principal.to_owned()]);
    }
    let breaking_allowed = words.flag("breaking");
    let recipe = words.next("a recipe")?;
    let component = Sha256::digest(component(&name, size)).into();
    Ok(Deploy { recipe, component, manifest, breaking_allowed })
}

fn host(world: &mut World, command: &str, words: &mut Words) -> Said {
    match command {
        "open" => open(world, words),
        "expire" => {
            let id = world.session(&words.next("a session")?)?;
            Ok(world.host(|view, slot| execute::expire_session(view, slot, id)))
        }
        "forget" => {
            let id = world.session(&words.next("a session")?)?;
            Ok(world.host(|view, slot| execute::forget_session(view, slot, id)))
        }
        "due" => {
            let (from, to) = key::reap_until(world.pair.now.0);
            let due = world.pair.view.range(&from, &to, Direction::Forward);
            let paths =
                due.filter_map(|(key, _)| key::reap_path(&key)).map(|path| path.to_string());
            Ok(vec![format!("[{}]", paths.collect::<Vec<_>>().join(" "))])
        }
        "reap" => {
            let path = Path::parse(&words.path()?).map_err(|refusal| refusal.to_string())?;
            Ok(world.host(|view, slot| execute::reap(view, slot, &path)))
        }
        "room" => {
            let room = match words.next("short or enough")?.as_str() {
                "short" => {
                    let members = [1, 0, 0];
                    Room::Short { free_bytes: 3 << 20, needed_bytes: 5 << 20, members }
                }
                _ => Room::Enough,
            };
            world.pair.view.set_room(room);
            Ok(Vec::new())
        }
        "level" => {
            let level =
                u32::try_from(parse(&words.next("a level")?)?).map_err(|e| e.to_string())?;
            Ok(world.host(|view, slot| execute::raise_level(view, slot, Level(level))))
        }
        "time" => {
            world.pair.now = world.pair.now.plus(parse(&words.next("milliseconds")?)?);
            Ok(vec![format!("{}", world.pair.now)])
        }
        "clock" => {
            world.pair.now = Millis(parse(&words.next("milliseconds")?)?);
            Ok(Vec::new())
        }
        "rerun" => {
            let (id, write) = call_id(world, &words.next("SESSION:WRITE")?)?;
            let reason = match words.next("a reason")?.as_str() {
                "changed" => Reason::Changed,
                "timed-out" => Reason::TimedOut,
                "cancelled" => Reason::Cancelled,
                "upgraded" => Reason::Upgraded,
                other => return Err(format!("no reason is called {other}")),
            };
            Ok(world.rerun(id, write, reason))
        }
        "end" => {
            let (id, write) = call_id(world, &words.next("SESSION:WRITE")?)?;
            let name = words.next("an error")?;
            let code = ErrorCode::ALL.iter().find(|code| code.name() == name);
            Ok(world.end_parked(id, write, *code.ok_or("no such error")?))
        }
        "entry" | "barrier" => entry(world, command, words),
        "read-call" => read_call(world, words),
        "identity" => access::add_identity(world, words),
        _ => match access::read(world, command, words) {
            Some(said) => said,
            None => read(world, command, words),
        },
    }
}

fn call_id(world: &World, word: &str) -> Result<(SessionId, WriteNumber), String> {
    let (session, write) = word.split_once(':').ok_or("SESSION:WRITE")?;
    Ok((world.session(session)?, WriteNumber(parse(write)?)))
}

fn open(world: &mut World, words: &mut Words) -> Said {
    let timeout_ms = words.number("timeout")?.unwrap_or(limits::SESSION_TIMEOUT_MS_DEFAULT);
    let held = access::identities(words.option("as"))?;
    let identities = held.into_iter().map(Held::for_good).collect();
    let principal = words.rest();
    let opening = Opening { timeout_ms, secret_hash: [7; 32], principal, identities };
    let mut refusal = None;
    let said = world.host(|view, slot| {
        let (view, opened) = execute::open_session(view, slot, opening);
        match opened {
            Ok(transaction) => (view, Some(transaction)),
            Err(refused) => {
                refusal = Some(refused);
                (view, None)
            }
        }
    });
    if let Some(refusal) = refusal {
        return Ok(vec![format!("not executed: {refusal}")]);
    }
    world.sessions.push(SessionId(world.pair.view.meta().zxid.0));
    Ok(said)
}

/// An entry made by hand, offered to the leader's and the follower's tree alike.
fn entry(world: &mut World, kind: &str, words: &mut Words) -> Said {
    let meta = world.pair.leader.meta();
    let term = Term(words.number("term")?.unwrap_or(meta.term.0));
    let epoch = Epoch(words.number("epoch")?.unwrap_or(meta.epoch.0));
    let committed_in = Term(words.number("committed-in")?.unwrap_or(term.0));
    let base = Zxid(words.number("base")?.unwrap_or(meta.zxid.0));
    let body = if kind == "barrier" {
        EntryBody::Barrier
    } else {
        // A transaction that would be seen: a session.
        let opened = Change::SessionOpened {
            timeout_ms: 1,
            secret_hash: [0; 32],
            principal: String::new(),
            identities: Vec::new(),
        };
        let transaction = Transaction {
            zxid: base.next(),
            time: meta.time,
            origin: Origin::Host,
            changes: vec![opened],
            outcome: Outcome::None,
        };
        EntryBody::Batch { base, transactions: vec![transaction] }
    };
    let entry = Entry { term, epoch, body };
    let scratch = std::sync::Arc::new(MemoryTree::new());
    scratch.commit(world.pair.leader.records().into_iter().map(|(k, v)| (k, Some(v))).collect());
    let before = scratch.records();
    let applied = apply_entry(&scratch, &entry, committed_in);
    let after = scratch.meta();
    let changed = if before == scratch.records() { "nothing changed" } else { "taken over" };
    Ok(vec![format!(
        "{applied:?}: {changed}; zxid {} term {} epoch {}",
        after.zxid, after.term, after.epoch
    )])
}

fn read(world: &mut World, command: &str, words: &mut Words) -> Said {
    let tree = world.pair.leader.clone();
    let name = |id| world.name(id);
    let path = |words: &mut Words| -> Result<Path, String> {
        Path::parse(&words.path()?).map_err(|refusal| refusal.to_string())
    };
    let said = match command {
        "stat" => query::stat(&tree, &path(words)?).map(|stat| vec![show::stat(&stat, &name)]),
        "get" => query::get(&tree, &path(words)?).map(|(data, stat)| {
            vec![format!("{}, {}", show::short(&data), show::stat(&stat, &name))]
        }),
        "quotas" => {
            let all = query::quota::quotas(&tree, None, 0, |_| true).children;
            Ok(all.iter().map(show::quota).collect())
        }
        "ls" => return list(&tree, words),
        "subtree" => query::subtree::subtree(&tree, &path(words)?)
            .map(|found| vec![format!("{} znodes, {} bytes", found.znodes, found.bytes)]),
        "ephemerals" => return owned(world, &tree, words),
        "first" => query::first_child(&tree, &path(words)?).map(|child| vec![format!("{child:?}")]),
        "before" => {
            query::child_before(&tree, &path(words)?).map(|child| vec![format!("{child:?}")])
        }
        "bound" => {
            let node = query::node(&tree, &path(words)?).ok_or("no node")?;
            Ok(vec![format!("{:?}", node.first_child_bound)])
        }
        "digest" => Ok(vec![format!("{:032x}", tree.meta().digest)]),
        "meta" => {
            let meta = tree.meta();
            Ok(vec![format!(
                "zxid {} at {}, term {} epoch {}, {} sessions",
                meta.zxid, meta.time, meta.term, meta.epoch, meta.sessions_count
            )])
        }
        "session" => Ok(session(world, world.session(&words.next("a session")?)?)),
        "principals" => Ok(principals(&tree)),
        "components" => Ok(components(&tree)),
        "recipe" => Ok(recipe(&tree, &words.next("a name")?)),
        "name" => check_name(&words.path()?).map(|()| vec!["well formed".to_owned()]),
        other => return Err(format!("no command is called {other}")),
    };
    Ok(said.unwrap_or_else(|refusal| vec![refusal.to_string()]))
}

/// What the sessions of each principal hold together.
fn principals(tree: &MemoryTree) -> Vec<String> {
    let (from, to) = key::principals();
    let all = tree.range(&from, &to, Direction::Forward).filter_map(|(key, _)| {
        let name = key::principal_name(&key)?;
        let Holdings { sessions_count, parked_count, owned_count } = tree.holdings(name);
        Some(format!(
            "{name}: sessions {sessions_count}, parked {parked_count}, owns {owned_count}"
        ))
    });
    all.collect()
}

/// How many components are whole, and how many chunks are stored.
fn components(tree: &MemoryTree) -> Vec<String> {
    let count = |table: key::Table| {
        tree.records().keys().filter(|key| key.first() == Some(&(table as u8))).count()
    };
    let (whole, chunks) = (count(key::Table::Component), count(key::Table::Chunk));
    vec![format!("{whole} components, {chunks} chunks")]
}

fn owned(world: &World, tree: &MemoryTree, words: &mut Words) -> Said {
    let page = page(words)?;
    let session = world.session(&words.next("a session")?)?;
    let prefix = Path::parse(&words.path()?).map_err(|refusal| refusal.to_string())?;
    let after = page.after.as_deref();
    let found = query::ephemerals::ephemerals(tree, session, &prefix, after, page.limit, |_| true);
    let more = if found.has_more { " and more" } else { "" };
    Ok(vec![format!("[{}]{more}", found.children.join(" "))])
}

fn page(words: &mut Words) -> Result<Page, String> {
    let direction = if words.flag("reverse") { Direction::Backward } else { Direction::Forward };
    let limit = u32::try_from(words.number("limit")?.unwrap_or(0)).map_err(|e| e.to_string())?;
    Ok(Page { after: words.option("after"), limit, direction })
}

fn list(tree: &MemoryTree, words: &mut Words) -> Said {
    let (page, with_data) = (page(words)?, words.flag("data"));
    let parent = Path::parse(&words.path()?).map_err(|refusal| refusal.to_string())?;
    let listing = if with_data {
        query::children_with_data(tree, &parent, &page).map(|listing| {
            let shown = listing.children.iter().map(|child| {
                format!("{}={} v{}", child.name, show::short(&child.data), child.stat.version)
            });
            (shown.collect::<Vec<_>>(), listing.has_more)
        })
    } else {
        query::children(tree, &parent, &page).map(|listing| (listing.children, listing.has_more))
    };
    Ok(vec![match listing {
        Ok((names, has_more)) => {
            let more = if has_more { " and more" } else { "" };
            if names.len() > 12 {
                let last = names.last().cloned().unwrap_or_default();
                format!("{} of them, the last {}{more}", names.len(), show::long(&last))
            } else {
                format!("[{}]{more}", names.join(" "))
            }
        }
        Err(refusal) => refusal.to_string(),
    }])
}

fn session(world: &World, id: SessionId) -> Vec<String> {
    let tree = &world.pair.leader;
    let Some(session) = tree.session(id) else { return vec!["not known".to_owned()] };
    let ended = session
        .ended
        .map_or_else(|| "lives".to_owned(), |(at, end)| format!("{} at {at}", end.word()));
    let mut lines = vec![format!(
        "{ended}; last write {}, acknowledged {}; kept {} ({} bytes), parked {}, owns {}",
        session.last_write,
        session.acked,
        session.kept_count,
        session.kept_bytes,
        session.parked_count,
        session.owned_count
    )];
    let kept = tree.kept_replies(id, WriteNumber(0), WriteNumber(u64::MAX));
    if kept.len() <= 12 {
        let writes: Vec<String> = kept.iter().map(|(write, _)| write.to_string()).collect();
        lines.push(format!("  replies kept: [{}]", writes.join(" ")));
    }
    for (write, parked) in tree.parked_of(id).iter().take(12) {
        lines.push(format!("  {write} parked{}", show::kept_state(parked)));
    }
    lines
}

fn recipe(tree: &MemoryTree, name: &str) -> Vec<String> {
    let Some(recipe) = tree.recipe(name) else { return vec!["not known".to_owned()] };
    let (from, to) = key::versions(name);
    let versions: Vec<String> = tree
        .range(&from, &to, Direction::Forward)
        .filter_map(|(_, value)| quorate_core::deployment::Version::decode(value).ok())
        .map(|version| version.number.to_string())
        .collect();
    let shown = if versions.len() > 12 {
        let (first, last) = (versions.first(), versions.last());
        format!("{} from {first:?} to {last:?}", versions.len())
    } else {
        format!("[{}]", versions.join(" "))
    };
    vec![format!("active {:?} of {shown}, changed by zxid {}", recipe.active, recipe.changed)]
}
