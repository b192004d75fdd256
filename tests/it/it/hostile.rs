//! Bad input of every kind, each answered with a typed error, and the member goes on.

use anyhow::{Result, bail};
use bytes::Bytes;
use quorate_core::deployment::Manifest;
use quorate_core::error::ErrorCode;
use quorate_core::limits::{DATA_BYTES_MAX, FRAME_BYTES_MAX, PATH_BYTES_MAX};
use quorate_core::path::Path;
use quorate_core::request::{Body, Call, Deploy, Operation, Reply};
use quorate_gateway::member::StartError;
use quorate_store::OpenError;
use quorate_wire::message::{Consistency, Query, Results, ServerMessage};
use quorate_wire::value::Value;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::raw::{Raw, Rig, create, digest, set, start};

const API: &str = "test:guest/api@0.1.0#";

fn component(wit: &str, fields: &str) -> Result<Vec<u8>> {
    let mut module = wat::parse_str(format!("(module {fields})"))?;
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))?;
    let package = resolve.push_str("guest.wit", wit)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

/// Does what its functions are called.
fn misbehaving() -> Result<Vec<u8>> {
    let wit = r"
        package test:guest@0.1.0;
        interface api {
            fine: func(value: u32) -> u32;
            spin: func();
            grow: func();
            trap: func();
            recurse: func(depth: u32) -> u32;
            chatter: func();
            store: func();
            answer: func() -> string;
            take: func(bytes: list<u8>);
        }
        world guest { include quorate:recipe/imports@0.1.0; export api; }
    ";
    let fields = format!(
        r#"
        (import "quorate:recipe/call@0.1.0" "now" (func $now (result i64)))
        (import "quorate:recipe/tree@0.1.0" "set"
          (func $set (param i32 i32 i32 i32 i32 i64 i32)))
        (memory (export "memory") 40)
        (data (i32.const 2048) "/")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
        ;; 64 KiB into the root again and again, until that is refused.
        (func (export "{API}store")
          (loop $more
            (call $set (i32.const 2048) (i32.const 1) (i32.const 65536) (i32.const 65536)
              (i32.const 0) (i64.const 0) (i32.const 1024))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 1024)))))
          unreachable)
        (func (export "{API}chatter") (loop $more (drop (call $now)) (br $more)))
        (func (export "{API}answer") (result i32)
          (i32.store (i32.const 1024) (i32.const 65536))
          (i32.store (i32.const 1028) (i32.const 2000000))
          (i32.const 1024))
        (func (export "{API}take") (param i32 i32))
        (func (export "{API}fine") (param i32) (result i32) (local.get 0))
        (func (export "{API}spin") (loop $more (br $more)))
        (func (export "{API}grow")
          (loop $more
            (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
            (br $more)))
        (func (export "{API}trap") unreachable)
        (func $recurse (export "{API}recurse") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
          (i32.add (i32.const 1) (call $recurse (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    component(wit, &fields)
}

fn deployment(component: &[u8]) -> Result<Deploy> {
    let mut manifest = Manifest::for_root(Path::parse("/recipes/bad")?);
    manifest.limits.time_ms = 20;
    manifest.limits.memory_bytes = 4 * 1024 * 1024;
    manifest.limits.host_calls = 1_000;
    Ok(Deploy {
        recipe: "bad".to_owned(),
        component: digest(component),
        manifest,
        breaking_allowed: false,
    })
}

fn refusal(reply: Reply) -> Result<ErrorCode> {
    match reply {
        Reply::Refused(failure) => Ok(failure.refusal.code),
        done => bail!("done: {done:?}"),
    }
}

async fn goes_on(rig: &Rig) -> Result<()> {
    let mut client = rig.client().await?;
    let path = format!("/on-{}", client.session().0);
    client.done(&create(&path, "")).await?;
    client.read(Consistency::Linearizable, Query::Stat(path)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_of_each_kind_end_their_lane_with_a_reason() -> Result<()> {
    let rig = Rig::start().await?;
    let frames: [&[u8]; 12] = [
        &[],                       // empty
        &[0x00],                   // no such kind
        &[0x81, 1],                // a server's
        &[0x01, b'Q', b'R', b'T'], // a hello cut off
        &[0x02],                   // a write without a number
        &[0x02, 1, 1],             // without acks
        &[0x02, 1, 1, 0, 0, 0xee], // with an unknown body
        &[0x03, 1, 1],             // a bulk write cut off
        &[0x04, 1, 0xff, 0],       // an unknown consistency
        &[0x04, 1, 0, 0xff],       // an unknown query
        &[0x05, 0x80, 0x00],       // a number that is not minimal
        &[0x05, 1, 1],             // bytes behind the last field
    ];
    for frame in frames {
        let mut client = rig.client().await?;
        client.send_frame(Bytes::from_static(frame)).await?;
        let told = client.receive().await?;
        assert!(
            matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::BadMessage),
            "{frame:?}: {told:?}"
        );
    }
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_paths_are_refused_by_writes_and_reads() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    // A missing parent would be told before a bad last element, as ZooKeeper does.
    client.done(&create("/a", "")).await?;
    let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
    for path in ["", "a", "/a/", "//", "/a//b", "/.", "/a/..", "/a\0b", &long] {
        let code = refusal(client.write(&create(path, "")).await?.1)?;
        assert!(matches!(code, ErrorCode::BadPath | ErrorCode::LimitPassed), "{path:?}: {code}");
        let request =
            client.start_read(Consistency::Linearizable, Query::Get(path.to_owned())).await?;
        let answer = client.answer(request).await?;
        let ServerMessage::ReadReply { results: Err(refusal), .. } = answer else {
            bail!("{path:?}: {answer:?}")
        };
        assert!(matches!(refusal.code, ErrorCode::BadPath | ErrorCode::LimitPassed), "{refusal}");
    }
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_over_the_limit_is_refused_and_not_stored() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    client.done(&create("/a", "old")).await?;
    let data = "x".repeat(DATA_BYTES_MAX + 1);
    let request = client.start_bulk_write(&set("/a", &data)).await?;
    let code = refusal(client.reply(request).await?.1)?;
    assert_eq!(code, ErrorCode::LimitPassed);
    let read = client.read(Consistency::Linearizable, Query::Get("/a".to_owned())).await?;
    assert!(matches!(read, Results::Node { ref data, .. } if data == "old"), "{read:?}");
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_every_limit_ends_its_lane_with_a_reason() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let body = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    client.announce(1, body.len() as u64).await?;
    // The member stops reading it half-way.
    client.send_bulk(1, body).await.err();
    let told = client.receive().await?;
    assert!(
        matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::BadMessage),
        "{told:?}"
    );
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_outstanding_writes_are_refused_and_the_others_go_on() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    // More than one frame's window each, in flight until they are synced.
    let body = set("/missing", &"x".repeat(1024 * 1024 - 64));
    let mut requests = Vec::new();
    for _ in 0..64 {
        requests.push(client.start_write(&body).await?);
    }
    for request in requests {
        match client.answer(request).await? {
            ServerMessage::Reply { reply, .. } => {
                assert_eq!(refusal(Reply::decode(reply)?)?, ErrorCode::NoNode);
            }
            ServerMessage::NotExecuted { refusal, .. } => assert!(
                matches!(refusal.code, ErrorCode::Overloaded | ErrorCode::ResendFrom),
                "{refusal}"
            ),
            other => bail!("{other:?}"),
        }
    }
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

async fn call(
    client: &mut Raw,
    function: &str,
    arguments: &[Value],
) -> Result<(ErrorCode, String)> {
    let body = client.call_body("bad", function, arguments).await?;
    match client.write(&body).await?.1 {
        Reply::Refused(failure) => Ok((failure.refusal.code, failure.refusal.message)),
        done => bail!("done: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recipes_that_misbehave_are_stopped_and_named() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let component = misbehaving()?;
    client.deploy(deployment(&component)?, &component).await?;
    let deep = Value::U32(100_000_000);
    let long = Value::Bytes(vec![0; 64 * 1024 + 1].into());
    for (function, argument, expected, part) in [
        ("trap", None, ErrorCode::RecipeTrapped, "unreachable"),
        ("spin", None, ErrorCode::RecipeOverLimit, "limit of 20 ms (time_ms)"),
        (
            "grow",
            None,
            ErrorCode::RecipeOverLimit,
            "(memory_bytes): 4718592 is over the limit of 4194304",
        ),
        ("recurse", Some(deep), ErrorCode::RecipeOverLimit, "stack than the limit of 524288 bytes"),
        (
            "chatter",
            None,
            ErrorCode::RecipeOverLimit,
            "(host_calls): 1001 is over the limit of 1000",
        ),
        (
            "answer",
            None,
            ErrorCode::RecipeOverLimit,
            "bytes of a result: 2000000 is over the limit",
        ),
        ("take", Some(long), ErrorCode::LimitPassed, "65537"),
        // The guest is told which limit its changes would pass, and traps.
        ("store", None, ErrorCode::RecipeTrapped, "unreachable"),
    ] {
        let (code, message) = call(&mut client, function, argument.as_slice()).await?;
        assert_eq!(code, expected, "{function}: {message}");
        assert!(message.contains(part), "{function}: {message}");
    }
    let fine = client.call_body("bad", "fine", &[Value::U32(7)]).await?;
    client.done(&fine).await?;
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_what_is_not_there_or_of_another_type_are_refused() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let component = misbehaving()?;
    client.deploy(deployment(&component)?, &component).await?;
    let Body::Single(Operation::Call(fine)) =
        client.call_body("bad", "fine", &[Value::U32(7)]).await?
    else {
        bail!("no call")
    };
    let wrong = |call: Call| Body::Single(Operation::Call(call));
    let cases = [
        (Call { recipe: "none".to_owned(), ..fine.clone() }, ErrorCode::NoRecipe),
        (Call { function: "none".to_owned(), ..fine.clone() }, ErrorCode::NoFunction),
        (Call { signature: fine.signature ^ 1, ..fine.clone() }, ErrorCode::SignatureChanged),
        (Call { arguments: Bytes::new(), ..fine.clone() }, ErrorCode::BadValue),
        (Call { arguments: Bytes::from_static(&[7, 7]), ..fine.clone() }, ErrorCode::BadValue),
        (Call { arguments: Bytes::from_static(&[0x80, 0]), ..fine }, ErrorCode::BadValue),
    ];
    for (call, expected) in cases {
        let shown = format!("{call:?}");
        assert_eq!(refusal(client.write(&wrong(call)).await?.1)?, expected, "{shown}");
    }
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_may_not_run_here_are_not_admitted() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let wit = r"
        package test:guest@0.1.0;
        interface api { go: func(); }
        world guest {
            import sockets: interface { connect: func(); }
            export api;
        }
    ";
    let fields = format!(
        r#"(import "sockets" "connect" (func $connect))
        (memory (export "memory") 1)
        (func (export "{API}go") (call $connect))"#
    );
    for component in [component(wit, &fields)?, b"no component".to_vec()] {
        let deployed = client.deploy(deployment(&component)?, &component).await;
        let told = deployed.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("NotAdmitted"), "{told}");
    }
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_and_its_member_goes_on() -> Result<()> {
    let rig = Rig::start().await?;
    let error = start(rig.directory.path()).await.err().map(|error| error.downcast());
    assert!(matches!(error, Some(Ok(StartError::Store(OpenError::Locked { .. })))), "{error:?}");
    goes_on(&rig).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_directory_is_refused_and_left_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("letter.txt"), "mine")?;
    let error = start(directory.path()).await.err().map(|error| error.downcast());
    assert!(matches!(error, Some(Ok(StartError::Store(OpenError::Foreign { .. })))), "{error:?}");
    let left: Vec<_> = std::fs::read_dir(&data)?.collect::<Result<_, _>>()?;
    assert_eq!(left.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_directory_is_refused_with_the_place() -> Result<()> {
    let mut rig = Rig::start().await?;
    rig.client().await?.done(&create("/a", "")).await?;
    if let Some(member) = rig.member.take() {
        member.shutdown().await;
    }
    let format = rig.directory.path().join("data").join("FORMAT");
    let mut bytes = std::fs::read(&format)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 0xff;
    }
    std::fs::write(&format, bytes)?;
    let error = start(rig.directory.path()).await.err().map(|error| error.downcast());
    assert!(matches!(error, Some(Ok(StartError::Store(OpenError::Corrupt { .. })))), "{error:?}");
    Ok(())
}
