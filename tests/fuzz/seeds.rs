//! Writes the inputs that fuzzing begins with: the golden files of host/wire, and records and values of each kind. Knows how
//! the targets split their input; run.sh runs it with the folder of the corpora.

use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use quorate_core::access::{Held, Identity};
use quorate_core::deployment::{Component, Instances, Manifest, Mount, Recipe, Version};
use quorate_core::ids::{CallId, Millis, SessionId, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::session::{End, KeptReply, Parked, Session};
use quorate_core::znode::{Lifetime, Node};
use quorate_wire::value::{Function, Interface, Limits, Type, Value, encode, encode_arguments};

/// Golden files and the targets that read such bytes.
const GOLDEN: &[(&str, &str)] = &[
    ("entry-barrier.hex", "entry"),
    ("entry-batch.hex", "entry"),
    ("client-messages.hex", "client_message"),
    ("server-messages.hex", "server_message"),
    ("event-messages.hex", "event_message"),
    ("link-to-leader.hex", "link"),
    ("link-to-member.hex", "link"),
    ("bodies.hex", "body"),
    ("credentials.hex", "body"),
    ("replies.hex", "reply"),
];

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("name the folder of the corpora"));
    };
    let mut corpora = Corpora { folder: folder.into(), count: 0 };
    let golden = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../host/wire/tests/golden");
    for (file, target) in GOLDEN {
        for bytes in blocks(&fs::read_to_string(golden.join(file))?)? {
            corpora.add(target, &bytes)?;
        }
    }
    for stream in blocks(&fs::read_to_string(golden.join("snapshot.hex"))?)? {
        corpora.add_parts("snapshot", &[&[0], &stream])?;
        corpora.add_parts("snapshot", &[&[1], &payloads(&stream)])?;
    }
    tree(&mut corpora)?;
    values(&mut corpora)?;
    corpora.add("lane_frames", &[3, 5, 0, 0, 6, 0, 1, 2, 3, 4, 5, 4, 0, 0, 0, 0])?;
    corpora.add("log_replay", &[0, 0, 1, 0, 0, 0, 4, 0, 1, 1, 0, 0, 0, 3, 0, 1, 1])
}

/// One folder for each target.
struct Corpora {
    folder: PathBuf,
    count: usize,
}

impl Corpora {
    fn add(&mut self, target: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder)?;
        self.count += 1;
        fs::write(folder.join(format!("seed-{:03}", self.count)), bytes)
    }

    fn add_parts(&mut self, target: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.add(target, &parts.concat())
    }
}

/// The bytes of a golden file: blocks with an empty line between them; `#` begins a line of words.
fn blocks(text: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut blocks = Vec::new();
    for block in text.split("\n\n") {
        let digits = block.lines().filter(|line| !line.starts_with('#'));
        let pairs = digits.flat_map(str::split_whitespace);
        let bytes: Result<Vec<u8>, _> = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect();
        blocks.push(bytes.map_err(io::Error::other)?);
    }
    Ok(blocks)
}

/// The payloads of a snapshot's blocks, each behind two bytes of length.
fn payloads(mut stream: &[u8]) -> Vec<u8> {
    let mut payloads = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<8>() {
        let length = u16::from_le_bytes([head[0], head[1]]);
        let (payload, rest) = rest.split_at(usize::from(length));
        payloads.extend_from_slice(&length.to_le_bytes());
        payloads.extend_from_slice(payload);
        stream = rest;
    }
    payloads
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("a valid path")
}

fn tree(corpora: &mut Corpora) -> io::Result<()> {
    let mut manifest = Manifest::for_root(path("/recipes/lock"));
    manifest.mounts.push(Mount { at: path("/c"), path: path("/app"), writable: true });
    manifest.callers.insert("acquire".to_owned(), vec!["alice".to_owned(), "*".to_owned()]);
    manifest.config.insert("grace".to_owned(), "5".to_owned());
    manifest.instances = Instances::Reused;
    corpora.add_parts("manifest", &[&manifest.encode(), b"\xff/c/x"])?;
    manifest.read_only.extend(["holder", "lock.waiting"].map(str::to_owned));
    corpora.add_parts("manifest", &[&manifest.encode(), b"\xff/c/x"])?;
    let (session, write) = (SessionId(300), WriteNumber(7));
    let owned = Lifetime::CallOwned(CallId { session, write });
    let node = Node::new(Zxid(1), Millis(2), owned, b"x");
    let record = Session {
        timeout_ms: 10_000,
        secret_hash: [7; 32],
        principal: "alice".to_owned(),
        identities: vec![Held {
            identity: Identity::parse("token:ci").map_err(io::Error::other)?,
            expires: Some(Millis(9)),
        }],
        opened: Millis(5),
        last_write: WriteNumber(9),
        acked: WriteNumber(3),
        kept_count: 2,
        kept_bytes: 100,
        parked_count: 1,
        owned_count: 1,
        owned_acl_bytes: 9,
        ended: Some((Millis(9), End::Expired)),
    };
    let kept = KeptReply { hash: 5, zxid: Zxid(3), reply: Bytes::from_static(b"reply") };
    let deadline = Some(Millis(9));
    let (recipe, state) = ("lock".to_owned(), Bytes::from_static(b"state"));
    let parked = Parked { hash: 5, deadline, recipe, version: 2, state };
    let pointer = Recipe { active: Some(2), last_version: 3, changed: Zxid(8) };
    let (principal, deployed) = ("operator".to_owned(), Millis(5));
    let version = Version { number: 3, component: [9; 32], manifest, principal, deployed };
    let component = Component { bytes: 300_000, chunks: 2, versions_count: 1 };
    let records = [
        node.encode(),
        record.encode(),
        kept.encode(),
        parked.encode(),
        pointer.encode(),
        version.encode(),
        component.encode(),
        Bytes::from_static(&[3, 1, 5, 6]),
        Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 1, 9, 10, 11]),
        Bytes::from_static(&[2, 7, 8]),
        key::owned(session, write, &path("/a/b")),
    ];
    for (kind, bytes) in records.iter().enumerate() {
        corpora.add_parts("record", &[&[u8::try_from(kind).expect("few kinds")], bytes])?;
    }
    corpora.add("path", b"/a/b\0/recipes/lock")
}

fn values(corpora: &mut Corpora) -> io::Result<()> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let record = Type::Record(vec![
        ("token".to_owned(), Type::U64),
        ("note".to_owned(), Type::option(Type::String)),
    ]);
    let fields = Value::Record(vec![Value::U64(300), Value::Option(None)]);
    let samples = [
        (record.clone(), fields.clone(), "{token: 300}"),
        (Type::list(Type::F64), Value::List(vec![Value::F64(0.5.into())]), "[0.5]"),
        (Type::list(Type::U8), Value::Bytes(Bytes::from_static(b"ab")), "[97, 98]"),
        (Type::Enum(names(&["red", "blue"])), Value::Enum(1), "blue"),
        (
            Type::result(Some(Type::Char), None),
            Value::Result(Ok(Some(Box::new(Value::Char('x'))))),
            "ok('x')",
        ),
        (
            Type::Tuple(vec![Type::S8, Type::Bool]),
            Value::Tuple(vec![Value::S8(-1), Value::Bool(true)]),
            "(-1, true)",
        ),
    ];
    for (kind, value, text) in samples {
        let description = kind.encode().expect("well-formed");
        let length = u8::try_from(description.len()).expect("short");
        let bytes = encode(&value, &kind, Limits::VALUE).expect("of this type");
        corpora.add_parts("value", &[&[length], &description, &bytes])?;
        corpora.add_parts("wave", &[&[length], &description, text.as_bytes()])?;
    }
    let parameters = vec![("path".to_owned(), Type::String), ("grant".to_owned(), record)];
    let result = Some(Type::result(Some(Type::U64), Some(Type::String)));
    let function = Function { name: "acquire".to_owned(), parameters, result };
    let arguments = [Value::String("/a".to_owned()), fields];
    let bytes = encode_arguments(&function, &arguments, Limits::VALUE).expect("of these types");
    let description = function.encode().expect("well-formed");
    let length = u8::try_from(description.len()).expect("short");
    corpora.add_parts("arguments", &[&[length], &description, &bytes])?;
    corpora.add("interface", &description)?;
    let interface = Interface { name: "quorate:lock/lock".to_owned(), functions: vec![function] };
    corpora.add("interface", &interface.encode().expect("well-formed"))
}
