//! Recipe calls that only read, in raw messages: what they answer, what they refuse, and whom they hold up.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_core::deployment::Manifest;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::request::{Body, Call, Deploy, Operation, Reply};
use quorate_wire::message::{Consistency, Query, Results, ServerMessage};
use quorate_wire::value::Value;

use crate::raw::{Raw, Rig, create, digest};
use crate::recipes::{component, deploy, text};

const LEVELS: [Consistency; 3] =
    [Consistency::Linearizable, Consistency::Session, Consistency::Stale];

async fn call(client: &mut Raw, recipe: &str, function: &str, arguments: &[Value]) -> Result<Call> {
    match client.call_body(recipe, function, arguments).await? {
        Body::Single(Operation::Call(call)) => Ok(call),
        other => bail!("no call: {other:?}"),
    }
}

/// The transaction that the answer reflects, and the answer.
async fn ask(
    client: &mut Raw,
    level: Consistency,
    call: Call,
) -> Result<(Zxid, Result<Bytes, ErrorCode>)> {
    let request = client.start_read(level, Query::Call(call)).await?;
    match client.answer(request).await? {
        ServerMessage::ReadReply { zxid, results: Ok(Results::Called(value)), .. } => {
            Ok((zxid, Ok(value)))
        }
        ServerMessage::ReadReply { zxid, results: Err(refusal), .. } => {
            Ok((zxid, Err(refusal.code)))
        }
        other => bail!("no answer to a call: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_only_reads_answers_from_the_applied_tree_and_takes_no_number() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    deploy(&mut client, "counter").await?;
    let get = call(&mut client, "counter", "get", &[text("/hits")]).await?;
    let add = call(&mut client, "counter", "add", &[text("/hits"), Value::S64(1)]).await?;
    for count in 1..=3_u8 {
        let (written, _) = client.write(&Body::Single(Operation::Call(add.clone()))).await?;
        for level in LEVELS {
            let (zxid, value) = ask(&mut client, level, get.clone()).await?;
            // ok(count), as zigzag.
            assert_eq!(value, Ok(Bytes::copy_from_slice(&[0, 2 * count])), "{level:?}");
            assert_eq!(zxid, written, "{level:?}");
        }
    }
    let (before, _) = client.write(&create("/one", "")).await?;
    for level in LEVELS {
        let refused = ask(&mut client, level, add.clone()).await?;
        assert_eq!(refused, (before, Err(ErrorCode::ReadOnly)), "{level:?}");
    }
    // The error case of a result is a value.
    let bad = call(&mut client, "counter", "get", &[text("no path")]).await?;
    let (_, value) = ask(&mut client, Consistency::Linearizable, bad).await?;
    assert_eq!(value.map(|value| value[0]), Ok(1));
    let other_types = Call { signature: 7, ..get.clone() };
    let garbage = Call { arguments: Bytes::from_static(&[0xff; 9]), ..get.clone() };
    let nobodys = Call { recipe: "nobody".to_owned(), ..get.clone() };
    let nothing = Call { function: "nothing".to_owned(), ..get.clone() };
    for (call, code) in [
        (other_types, ErrorCode::SignatureChanged),
        (garbage, ErrorCode::BadValue),
        (nobodys, ErrorCode::NoRecipe),
        (nothing, ErrorCode::NoFunction),
    ] {
        assert_eq!(ask(&mut client, Consistency::Session, call).await?.1, Err(code));
    }
    // None of it was a transaction.
    let (after, _) = client.write(&create("/two", "")).await?;
    assert_eq!(after, before.next());
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_function_only_reads_however_it_is_called_and_must_be_exported() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let component = component("counter")?;
    let mut manifest = Manifest::for_root(Path::parse("/recipes/counter")?);
    manifest.read_only.insert("ad".to_owned());
    let mut new = Deploy {
        recipe: "counter".to_owned(),
        component: digest(&component),
        manifest,
        breaking_allowed: false,
    };
    let refused = client.deploy(new.clone(), &component).await.expect_err("refused").to_string();
    assert!(refused.contains("no-function") || refused.contains("NoFunction"), "{refused}");
    new.manifest.read_only = ["counter.add".to_owned()].into();
    client.deploy(new, &component).await?;
    let interface = Query::Interface("counter".to_owned());
    let told = client.read(Consistency::Linearizable, interface).await?;
    let Results::Interface { read_only, .. } = told else { bail!("{told:?}") };
    assert_eq!(read_only, ["counter.add"]);
    let add = call(&mut client, "counter", "add", &[text("/hits"), Value::S64(1)]).await?;
    let add = Operation::Call(add);
    for body in [Body::Single(add.clone()), Body::Multi(vec![add])] {
        let (_, reply) = client.write(&body).await?;
        let Reply::Refused(failure) = reply else { bail!("{reply:?}") };
        assert_eq!(failure.refusal.code, ErrorCode::ReadOnly);
        assert!(failure.refusal.message.contains("add of counter"), "{}", failure.refusal);
    }
    rig.stop().await;
    Ok(())
}

/// Exports `spin`, which never returns, and `plain`.
const SPINNING: &str = r#"(component
    (core module $module
        (func (export "spin") (loop $more (br $more)))
        (func (export "plain") (result i32) (i32.const 42)))
    (core instance $instance (instantiate $module))
    (func $spin (canon lift (core func $instance "spin")))
    (func $plain (result u32) (canon lift (core func $instance "plain")))
    (instance $api (export "spin" (func $spin)) (export "plain" (func $plain)))
    (export "test:spinning/api@0.1.0" (instance $api)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_spins_until_its_limit_holds_up_no_write_and_nothing_of_its_lane() -> Result<()>
{
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    let mut other = rig.client().await?;
    let component = wat::parse_str(SPINNING).context("the component's text")?;
    let mut manifest = Manifest::for_root(Path::parse("/recipes/spinning")?);
    manifest.limits.time_ms = quorate_core::limits::RUN_TIME_MS_MAX;
    let new = Deploy {
        recipe: "spinning".to_owned(),
        component: digest(&component),
        manifest,
        breaking_allowed: false,
    };
    client.deploy(new, &component).await?;
    let spin = call(&mut client, "spinning", "spin", &[]).await?;
    let plain = call(&mut client, "spinning", "plain", &[]).await?;
    let spinning = client.start_read(Consistency::Linearizable, Query::Call(spin)).await?;
    for number in 0..5 {
        client.done(&create(&format!("/{number}"), "")).await?;
        other.done(&create(&format!("/other-{number}"), "")).await?;
        client.read(Consistency::Linearizable, Query::Stat("/recipes".to_owned())).await?;
        // Calls run beside it too, as writes and as reads.
        client.write(&Body::Single(Operation::Call(plain.clone()))).await?;
        let (_, value) = ask(&mut client, Consistency::Linearizable, plain.clone()).await?;
        assert_eq!(value, Ok(Bytes::from_static(&[42])));
    }
    assert!(client.aside.is_empty(), "it was answered before: {:?}", client.aside);
    let answer = client.answer(spinning).await?;
    let ServerMessage::ReadReply { results: Err(refusal), .. } = answer else {
        bail!("{answer:?}")
    };
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit, "{refusal}");
    rig.stop().await;
    Ok(())
}
