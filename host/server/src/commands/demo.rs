//! The short story that `quorate dev --demo` tells: three clients and one lock. It is told while it happens, over QUIC, by the
//! client library.

use std::time::Duration;

use anyhow::{Context, bail};
use quorate_client::{Client, LockGuard, LockOptions, Options};
use quorate_wire::value::Value;

use crate::connect::goodbye;
use crate::output::{FAINT, GOOD, NAME, Output, TITLE};

/// The lock of the story.
const PATH: &str = "/demo";
/// How long each holder works: long enough to be seen.
const WORK: Duration = Duration::from_millis(500);
/// How long the story may take before something must be wrong.
const DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at the line.
const LOOK: Duration = Duration::from_millis(10);

/// Tells it.
///
/// # Errors
/// If the service does not play along.
pub async fn run(options: &Options, output: Output) -> anyhow::Result<()> {
    let story = tokio::time::timeout(DEADLINE, tell(options, output)).await;
    story.context("the demonstration took too long")?.context("the demonstration")
}

async fn tell(options: &Options, output: Output) -> anyhow::Result<()> {
    let say = |who: &str, what: String| output.say(format_args!("  {NAME}{who:<6}{NAME:#} {what}"));
    output.say(format_args!("{TITLE}Three clients want the lock {PATH}:{TITLE:#}"));
    let ann = Client::connect(options.clone()).await?;
    let bob = Client::connect(options.clone()).await?;
    let carol = Client::connect(options.clone()).await?;

    let first = ask(&ann, "ann").await?;
    say("ann", format!("asks first and {GOOD}holds it, with token {}{GOOD:#}", first.token()));
    let bobs = tokio::spawn(waiting(bob.clone(), "bob"));
    line(&ann, 1).await?;
    say("bob", "waits: one call, parked in the service".to_owned());
    let carols = tokio::spawn(waiting(carol.clone(), "carol"));
    let in_line = line(&ann, 2).await?;
    say("carol", format!("waits behind him; the line is {}", in_line.join(", ")));

    tokio::time::sleep(WORK).await;
    let ann_token = first.token();
    first.release().await?;
    say("ann", "gives it back".to_owned());
    let second = bobs.await??;
    say("bob", format!("is next: {GOOD}token {}{GOOD:#}", second.token()));
    let bob_token = second.token();

    tokio::time::sleep(WORK).await;
    // The session ends with the lock still held, as that of a process that died.
    goodbye(bob).await;
    say("bob", "ends without giving it back".to_owned());
    let third = carols.await??;
    say("carol", format!("is next: {GOOD}token {}{GOOD:#}", third.token()));
    if !(ann_token < bob_token && bob_token < third.token()) {
        bail!("tokens must grow: {ann_token}, {bob_token}, {}", third.token());
    }
    output.say(format_args!(
        "  {FAINT}Tokens grow from holder to holder: what the lock protects can refuse an old one.{FAINT:#}\n"
    ));
    third.release().await?;
    drop(second);
    goodbye(ann).await;
    goodbye(carol).await;
    Ok(())
}

async fn ask(client: &Client, who: &str) -> anyhow::Result<LockGuard> {
    let options = LockOptions { note: Some(who.to_owned()), ..LockOptions::default() };
    client.lock(PATH, options).await.with_context(|| format!("{who} does not get the lock"))
}

async fn waiting(client: Client, who: &'static str) -> anyhow::Result<LockGuard> {
    ask(&client, who).await
}

/// Looks until so many wait, and gives their notes in order.
async fn line(client: &Client, count: usize) -> anyhow::Result<Vec<String>> {
    let arguments = vec![Value::from(PATH), Value::Option(None), Value::U32(10)];
    loop {
        let called = client.recipe("lock").call("waiters", arguments.clone()).await?;
        let Some(Value::Result(Ok(Some(waiters)))) = called.value else {
            bail!("the line can not be read")
        };
        if let Value::List(waiters) = *waiters
            && waiters.len() >= count
        {
            return Ok(waiters.iter().map(note).collect());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The third field of a waiting client.
fn note(waiting: &Value) -> String {
    if let Value::Record(fields) = waiting
        && let Some(Value::Option(Some(note))) = fields.get(2)
        && let Value::String(note) = &**note
    {
        return note.clone();
    }
    "somebody".to_owned()
}
