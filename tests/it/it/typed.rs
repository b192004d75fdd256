//! Typed calls of the built-in recipes, as the service has them: the hashes agree, and a stale caller is refused.

use anyhow::{Context, Result, bail};
use quorate_client::core::error::ErrorCode;
use quorate_client::core::request::Operation;
use quorate_client::typed::{Call, CallError, Payload};
use quorate_client::{Client, Error};

use crate::client::{connect, soon};
use crate::raw::Rig;
use crate::recipes::deploy;

quorate_client::recipe!("../../recipes/barrier/wit");
quorate_client::recipe!("../../recipes/counter/wit");
quorate_client::recipe!("../../recipes/election/wit");
quorate_client::recipe!("../../recipes/group/wit");
quorate_client::recipe!("../../recipes/lock/wit");
quorate_client::recipe!("../../recipes/queue/wit/queue.wit", world: "recipe");

mod stale {
    //! The counter with another name for a parameter.

    quorate_client::recipe!(inline: r#"
        package quorate:counter@0.1.0;
        interface counter {
            use quorate:recipe/types@0.1.0.{error};
            variant counter-error {
                overflow(s64), out-of-bounds(s64), mismatch(s64), not-a-number(string), tree(error),
            }
            add: func(path: string, delta: s64) -> result<s64, counter-error>;
        }
    "#);
}

/// The call's hash is that of the function that the service has.
async fn agrees<T: Payload, E: Payload>(client: &Client, call: Call<T, E>) -> Result<()> {
    let Operation::Call(call) = call.operation()? else { bail!("no call") };
    let types = client.recipe(&call.recipe).interface().await?;
    let function = types.function(&call.function).map_err(Error::from)?;
    assert_eq!(call.signature, u128::from(function.signature_hash()), "{}", call.function);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_of_every_function_is_the_services() -> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    for name in ["barrier", "counter", "election", "group", "lock", "queue"] {
        deploy(&mut raw, name).await?;
    }
    let client = &connect(&rig).await?;

    let barrier = barrier::Barrier::new(client, "barrier");
    agrees(client, barrier.set("")).await?;
    agrees(client, barrier.lift("")).await?;
    agrees(client, barrier.is_set("")).await?;
    agrees(client, barrier.wait("", None)).await?;
    agrees(client, barrier.enter("", 1, None)).await?;
    agrees(client, barrier.leave("", None)).await?;
    agrees(client, barrier.attendance("")).await?;

    let counter = counter::Counter::new(client, "counter");
    agrees(client, counter.get("")).await?;
    agrees(client, counter.add("", 1)).await?;
    agrees(client, counter.add_within("", 1, counter::Bounds::default())).await?;
    agrees(client, counter.compare_and_set("", 1, 2)).await?;

    let election = election::Election::new(client, "election");
    agrees(client, election.campaign("", "", None)).await?;
    agrees(client, election.resign("", 1)).await?;
    agrees(client, election.leader("")).await?;
    agrees(client, election.observe("", None, None)).await?;
    agrees(client, election.candidates("", None, 1)).await?;
    agrees(client, election.remove("")).await?;

    let group = group::Group::new(client, "group");
    agrees(client, group.join("", "", "")).await?;
    agrees(client, group.leave("", "")).await?;
    agrees(client, group.update("", "", "")).await?;
    agrees(client, group.members("", None, 1)).await?;
    agrees(client, group.observe("", None, None)).await?;
    agrees(client, group.remove("")).await?;

    let lock = lock::Lock::new(client, "lock");
    agrees(client, lock.acquire("", lock::Options::default())).await?;
    agrees(client, lock.release("", 1)).await?;
    agrees(client, lock.await_loss("", 1)).await?;
    agrees(client, lock.holder("")).await?;
    agrees(client, lock.waiters("", None, 1)).await?;
    agrees(client, lock.remove("")).await?;

    let queue = queue::Queue::new(client, "queue");
    agrees(client, queue.offer("", "")).await?;
    agrees(client, queue.take("", None)).await?;
    agrees(client, queue.try_take("")).await?;
    agrees(client, queue.peek("")).await?;
    agrees(client, queue.length("")).await?;
    agrees(client, queue.remove("")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recipes_are_called_in_the_words_of_their_wit() -> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.client().await?;
    for name in ["counter", "lock", "queue"] {
        deploy(&mut raw, name).await?;
    }
    let client = connect(&rig).await?;
    let counter = counter::Counter::new(&client, "counter");
    assert_eq!(counter.add("/hits", 2).await?, 2);
    let bounds = counter::Bounds { max: Some(3), ..counter::Bounds::default() };
    let refused = counter.add_within("/hits", 2, bounds).await;
    assert_eq!(refused, Err(CallError::Recipe(counter::CounterError::OutOfBounds(2))));
    let refused = counter.get("no-slash").await.err().context("a bad path")?;
    assert!(refused.to_string().contains("tree({code: bad-path, message: "), "{refused}");

    let queue = queue::Queue::new(&client, "queue");
    let payload = vec![0, 255, 7];
    let id = queue.offer("/jobs", payload.clone()).await?;
    assert_eq!(queue.take("/jobs", Some(0)).await?, queue::Item { id, payload: payload.into() });

    // One transaction over two recipes: read as each of them says.
    let (add, offer) = (counter.add("/hits", 1), queue.offer("/jobs", "three"));
    let multi = client.multi().operation(add.operation()?).operation(offer.operation()?);
    let (_, answers) = soon(multi.into_future()).await??;
    assert_eq!(add.read(&answers[0])?, 3);
    assert!(offer.read(&answers[1])? > id);

    let lock = lock::Lock::new(&client, "lock");
    let options = lock::Options { note: Some("ci-7".into()), timeout_ms: Some(60_000) };
    let grant = soon(lock.acquire("/deploys/web", options).into_future()).await??;
    let holder = lock.holder("/deploys/web").await?.context("it is held")?;
    assert_eq!((holder.token, holder.note.as_deref()), (grant.token, Some("ci-7")));
    lock.release("/deploys/web", grant.token).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_an_old_type_hears_that_it_has_changed_and_changes_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    deploy(&mut rig.client().await?, "counter").await?;
    let client = connect(&rig).await?;
    let refused = stale::counter::Counter::new(&client, "counter").add("/hits", 1).await;
    let Err(CallError::Call(error)) = refused else { bail!("{refused:?}") };
    assert_eq!(error.code(), ErrorCode::SignatureChanged);
    let counter = counter::Counter::new(&client, "counter");
    assert_eq!(counter.get("/hits").await?, 0);
    let missing = counter::Counter::new(&client, "none").get("/hits").await;
    let Err(CallError::Call(error)) = missing else { bail!("{missing:?}") };
    assert_eq!(error.code(), ErrorCode::NoRecipe);
    rig.stop().await;
    Ok(())
}
