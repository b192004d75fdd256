//! The kit itself, by what a test in Rust sees of it.

use quorate_testkit::{ErrorCode, Kit, KitError, Manifest, Outcome, Value};

use crate::built;

fn lock() -> Kit {
    Kit::new(built::component_bytes("lock"), built::manifest("lock")).expect("deployed")
}

#[test]
fn arguments_are_values_or_text() {
    let mut kit = lock();
    let (one, other) = (kit.session().expect("a session"), kit.session().expect("a session"));
    let options = Value::Record(vec![Value::Option(None), Value::Option(None)]);
    let held = kit.call(one, "acquire", vec![Value::from("/a"), options]).expect("a call");
    let waits = kit.call(other, "lock.acquire", "\"/a\" {note: \"x\"}").expect("a call");
    assert_eq!(kit.check(held, "ok({token: _, node: _})"), Ok(()));
    assert_eq!((kit.outcome(waits), kit.zxid(waits)), (Outcome::Parked, None));
    assert_eq!(kit.parked(), [waits]);
    assert_eq!(kit.take_ended(), [held]);
    let zxid = kit.close(one).expect("closed");
    assert_eq!(kit.take_ended(), [waits]);
    assert!(kit.zxid(waits) > Some(zxid));
    assert_eq!(kit.children("/a").expect("a path"), Some(vec!["_lock".to_owned()]));
    assert_eq!(kit.children("/b").expect("a path"), None);
}

#[test]
fn calls_that_can_not_be_sent_are_errors_and_not_outcomes() {
    let mut kit = lock();
    let session = kit.session().expect("a session");
    for (function, arguments) in [("aquire", ""), ("acquire", "\"/a\""), ("release", "\"/a\" x")] {
        let error = kit.call(session, function, arguments).expect_err("not sent");
        assert!(matches!(error, KitError::Call(_)), "{error}");
    }
    assert!(kit.take_ended().is_empty());
}

#[test]
fn a_call_that_the_service_refuses_has_failed() {
    let mut manifest = built::manifest("lock");
    manifest.callers.insert("acquire".to_owned(), vec!["alice".to_owned()]);
    let mut kit = Kit::new(built::component_bytes("lock"), manifest).expect("deployed");
    let session = kit.session().expect("a session");
    let call = kit.call(session, "acquire", "\"/a\" {:}").expect("a call");
    let Outcome::Failed(refusal) = kit.outcome(call) else { panic!("{}", kit.show(call)) };
    assert_eq!(refusal.code, ErrorCode::NoAccess);
    assert_eq!(kit.check(call, "failed no-access"), Ok(()));
    assert!(kit.check(call, "failed no-node").is_err());
    assert!(kit.check(call, "ok(_)").is_err());
    // In an ended session, too.
    kit.close(session).expect("closed");
    let call = kit.call(session, "holder", "\"/a\"").expect("a call");
    assert_eq!(kit.check(call, "failed session-ended"), Ok(()));
}

#[test]
fn a_silent_session_expires_in_its_time_and_others_do_not() {
    let mut kit = lock();
    let (dies, lives) = (kit.session().expect("a session"), kit.session().expect("a session"));
    let held = kit.call(dies, "acquire", "\"/a\" {:}").expect("a call");
    let waits = kit.call(lives, "acquire", "\"/a\" {:}").expect("a call");
    kit.silence(dies);
    kit.advance(10_000);
    assert_eq!((kit.ended_at(dies), kit.outcome(waits)), (None, Outcome::Parked));
    kit.advance(2_000);
    assert!(kit.ended_at(dies).is_some() && kit.ended_at(lives).is_none());
    assert_eq!(kit.check(waits, "ok(_)"), Ok(()));
    assert_eq!(kit.take_ended(), [held, waits]);
}

#[test]
fn a_call_that_waits_is_dropped_with_its_session() {
    let mut kit = lock();
    let (one, other) = (kit.session().expect("a session"), kit.session().expect("a session"));
    kit.call(one, "acquire", "\"/a\" {:}").expect("a call");
    let waits = kit.call(other, "acquire", "\"/a\" {:}").expect("a call");
    kit.expire(other).expect("expired");
    assert_eq!(kit.outcome(waits), Outcome::Dropped);
    assert!(kit.expire(other).is_err());
}

#[test]
fn what_is_no_component_is_refused() {
    let manifest = Manifest::for_root(quorate_testkit::Path::root());
    let error = Kit::new(&b"plain text"[..], manifest).err().expect("refused");
    assert!(matches!(error, KitError::Load(_)), "{error}");
}
