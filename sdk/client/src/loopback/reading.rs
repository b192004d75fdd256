//! Calls that only read: when a call is sent as one, and what becomes of it.

use std::time::Duration;

use quorate_core::error::ErrorCode;

use super::member::{Faults, Member};
use super::{connect, soon};
use crate::value::Value;
use crate::{Called, Error};

fn number(called: Result<Called, Error>) -> i64 {
    match called.expect("called").value {
        Some(Value::S64(number)) => number,
        other => panic!("{other:?}"),
    }
}

fn one() -> Vec<Value> {
    vec!["/n".into(), Value::S64(1)]
}

#[tokio::test]
async fn a_listed_function_is_sent_as_a_read_and_any_other_when_it_is_asked_for() {
    let member = Member::start();
    let client = connect(&member).await;
    let recipe = client.recipe("lock");
    assert_eq!(number(soon(recipe.call("add", one())).await), 1);
    let writes = member.writes_count();
    assert_eq!(number(soon(recipe.call("get", vec!["/n".into()])).await), 1);
    assert_eq!(soon(recipe.call_wave("all.get(\"/n\")")).await.expect("called"), "1");
    let error = soon(recipe.call_read_only("add", one())).await.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::ReadOnly, "{error}");
    assert_eq!(member.writes_count(), writes, "none of it was a write");
    assert_eq!(number(soon(recipe.call("add", one())).await), 2);
    assert_eq!(member.writes_count(), writes + 1);
}

#[tokio::test]
async fn a_function_that_was_listed_and_is_no_more_is_sent_again_as_a_write() {
    let member = Member::start();
    let client = connect(&member).await;
    let recipe = client.recipe("lock");
    member.set_faults(Faults { lists_add: true, ..Faults::default() });
    assert!(soon(recipe.interface()).await.expect("told").is_read_only("all.add"));
    // Still listed: the refusal stands.
    let error = soon(recipe.call("add", one())).await.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::ReadOnly, "{error}");
    member.set_faults(Faults::default());
    assert_eq!(number(soon(recipe.call("add", one())).await), 1);
    assert!(!soon(recipe.interface()).await.expect("told").is_read_only("add"));
}

#[tokio::test]
async fn a_read_that_is_given_up_ends_at_once() {
    let member = Member::start();
    let client = connect(&member).await;
    let recipe = client.recipe("lock");
    soon(recipe.interface()).await.expect("told");
    member.set_faults(Faults { is_leaderless: true, ..Faults::default() });
    let call = recipe.start_read_only("get", vec!["/n".into()]).await.expect("sent");
    let error = soon(call.within(Duration::from_millis(20))).await.expect_err("given up");
    assert_eq!(error.code(), ErrorCode::Cancelled, "{error}");
}
