//! Typed calls against the member in this process: every type of WIT there and back, and what is refused.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::request::Operation;

use super::{connect, soon, until};
use crate::loopback::member::Member;
use crate::typed::{CallError, Wit};
use crate::value::{Function, Type};
use crate::{Client, Error};

mod wit {
    //! An echo of everything, in names that Rust does not take as they are.

    crate::recipe!(inline: r#"
        package test:echo@0.1.0;

        interface shapes {
            flags rights { read, write, %use }
            enum colour { red, dark-green }
        }

        interface echo {
            use quorate:recipe/types@0.1.0.{error, zxid};
            use quorate:recipe/blobs@0.1.0.{blob};
            use shapes.{rights, colour};

            /// What may go wrong.
            variant failure { timed-out, held(zxid), tree(error), %self(string) }

            type bytes = list<u8>;
            type maybe = option<option<u8>>;
            type point = tuple<s8, s16>;

            record numbers {
                a: s8, b: u8, c: s16, d: u16, e: s32, f: u32, g: s64, h: u64, i: f32, j: f64,
            }

            record everything {
                %type: bool,
                numbers: numbers,
                letter: char,
                text: string,
                raw: bytes,
                large: blob,
                %list: list<list<string>>,
                four: list<u8, 4>,
                two: list<point, 2>,
                maybe: maybe,
                rights: rights,
                colour: colour,
                failures: list<failure>,
                good: result<u8>,
                bad: result<_, colour>,
                neither: result,
                both: result<string, failure>,
                nested: tuple<u8, tuple<string>>,
            }

            record settings { note: option<string>, retries: u32, rights: rights }

            whole: func(all: everything) -> everything;
            fallible: func(outcome: result<u8, failure>) -> result<u8, failure>;
            text: func(text: string) -> string;
            large: func(payload: blob) -> blob;
            raw: func(payload: bytes) -> bytes;
            nothing: func();
            new: func(settings: settings) -> settings;
        }

        world recipe {
            include quorate:recipe/imports@0.1.0;
            export echo;
        }
    "#);
}

use wit::echo::{Echo, Error as TreeError, Everything, Failure, Numbers, Settings};
use wit::shapes::{Colour, Rights};

/// Deployed under the name of the one recipe that the member has.
fn echo(client: &Client) -> Echo {
    Echo::new(client, "lock")
}

fn everything() -> Everything {
    let code = crate::types::ErrorCode::NoNode;
    let tree = Failure::Tree(TreeError { code, message: "no \"/a\"".to_owned() });
    Everything {
        r#type: true,
        numbers: Numbers {
            a: i8::MIN,
            b: u8::MAX,
            c: i16::MIN,
            d: u16::MAX,
            e: i32::MIN,
            f: u32::MAX,
            g: i64::MIN,
            h: u64::MAX,
            i: -0.5,
            j: f64::INFINITY,
        },
        letter: 'ü',
        text: "a\n\"".to_owned(),
        raw: vec![0, 255],
        large: Bytes::from(vec![7; 100_000]),
        list: vec![vec![], vec!["x".to_owned(), String::new()]],
        four: [1, 2, 3, 4],
        two: [(1, -1), (-128, 32_767)],
        maybe: Some(None),
        rights: Rights { read: true, write: false, r#use: true },
        colour: Colour::DarkGreen,
        failures: vec![
            Failure::TimedOut,
            Failure::Held(9),
            tree.clone(),
            Failure::Self_("?".to_owned()),
        ],
        good: Ok(1),
        bad: Err(Colour::Red),
        neither: Err(()),
        both: Err(tree),
        nested: (7, ("seven".to_owned(),)),
    }
}

#[tokio::test]
async fn every_type_of_wit_goes_there_and_comes_back() {
    let member = Member::start();
    let client = connect(&member).await;
    let echo = echo(&client);
    assert_eq!(soon(echo.whole(everything()).into_future()).await, Ok(everything()));
    assert_eq!(echo.text("plain").await, Ok("plain".to_owned()));
    assert_eq!(echo.large("payload").await, Ok(Bytes::from("payload")));
    assert_eq!(echo.raw(*b"raw").await, Ok(b"raw".to_vec()));
    assert_eq!(echo.nothing().await, Ok(()));
    let settings = Settings { retries: 3, ..Settings::default() };
    assert_eq!(echo.new_(settings.clone()).await, Ok(settings));
}

#[tokio::test]
async fn a_result_of_a_function_is_one_of_rust() {
    let member = Member::start();
    let client = connect(&member).await;
    let echo = echo(&client);
    assert_eq!(echo.fallible(Ok(7)).await, Ok(7));
    let refused = echo.fallible(Err(Failure::Held(9))).await;
    assert_eq!(refused, Err(CallError::Recipe(Failure::Held(9))));
    let Err(error) = echo.fallible(everything().both.map(|_| 0)).await else { panic!("refused") };
    let shown = r#"the recipe refused: tree({code: no-node, message: "no \"/a\""})"#;
    assert_eq!(error.to_string(), shown);
    let source: Box<dyn std::error::Error> = Box::new(Failure::TimedOut);
    assert_eq!(source.to_string(), "timed-out");
}

#[tokio::test]
async fn a_typed_call_is_an_operation_of_a_multi() {
    let member = Member::start();
    let client = connect(&member).await;
    let echo = echo(&client);
    let (text, fails) = (echo.text("in one"), echo.fallible(Ok(2)));
    let multi = client.multi().operation(text.operation().expect("encoded"));
    let (_, answers) = multi.operation(fails.operation().expect("encoded")).await.expect("done");
    assert_eq!(text.read(&answers[0]), Ok("in one".to_owned()));
    assert_eq!(fails.read(&answers[1]), Ok(2));
    let wrong = text.read(&quorate_core::request::Answer::Done);
    assert!(matches!(wrong, Err(CallError::Call(Error::BadAnswer(_)))), "{wrong:?}");
}

mod stale {
    //! The counter as an older client knew it.

    crate::recipe!(inline: "package a:b; interface all { add: func(path: string, by: s32) -> s64; }");
}

mod current {
    crate::recipe!(inline: "package a:b; interface all { add: func(path: string, by: s64) -> s64; }");
}

#[tokio::test]
async fn a_stale_client_is_told_that_the_signature_has_changed() {
    let member = Member::start();
    let client = connect(&member).await;
    let add = current::all::All::new(&client, "lock");
    assert_eq!(add.add("/hits", 41).await, Ok(41));
    let refused = stale::all::All::new(&client, "lock").add("/hits", 1).await;
    let refused = refused.map_err(Error::from).expect_err("another type");
    assert_eq!(refused.code(), ErrorCode::SignatureChanged);
    assert_eq!(add.add("/hits", 1).await, Ok(42), "nothing was changed by the stale one");
}

#[test]
fn a_value_of_another_type_is_a_mismatch_and_no_panic() {
    let value = everything().into_value();
    assert!(Numbers::from_value(value.clone()).is_err());
    assert!(Failure::from_value(value.clone()).is_err());
    assert!(<(u8, u8)>::from_value(value.clone()).is_err());
    assert!(Rights::from_value(value.clone()).is_err());
    assert!(Colour::from_value(crate::value::Value::Enum(2)).is_err());
    let unknown = crate::value::Value::Variant { case: 1, payload: None };
    assert!(Failure::from_value(unknown).is_err(), "the payload is missing");
    assert!(<[u8; 3]>::from_value(vec![1u8, 2].into_value()).is_err());
}

#[tokio::test]
async fn the_hash_that_is_sent_is_that_of_the_functions_type() {
    let member = Member::start();
    let client = connect(&member).await;
    let text = echo(&client).text("").operation().expect("encoded");
    let Operation::Call(call) = text else { panic!("no call: {text:?}") };
    let described = Function {
        name: "text".to_owned(),
        parameters: vec![("text".to_owned(), Type::String)],
        result: Some(Type::String),
    };
    assert_eq!(call.signature, u128::from(described.signature_hash()));
    assert_eq!(call.function, "echo.text");
}

#[tokio::test]
async fn a_typed_call_that_waits_is_cancelled_by_its_handle_and_by_a_drop() {
    let member = Member::start();
    let client = connect(&member).await;
    let lock = crate::lock::wit::Lock::new(&client, "lock");
    let held = lock.acquire("/l", Default::default()).await.expect("granted");
    let started = lock.acquire("/l", Default::default()).start().await.expect("sent");
    let cancelled = soon(started.within(Duration::from_millis(50))).await;
    assert_eq!(cancelled, Err(CallError::Recipe(crate::lock::wit::LockError::Cancelled)));
    let waiting = lock.acquire("/l", Default::default()).start().await.expect("sent");
    until(|| member.parked_count() == 1).await;
    drop(waiting);
    until(|| member.parked_count() == 0).await;
    soon(lock.release("/l", held.token).into_future()).await.expect("given back");
}
