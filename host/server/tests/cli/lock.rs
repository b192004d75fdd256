//! `quorate lock`: contention, tokens, signals, and the loss of the lock.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use crate::harness::{Done, Home, ended, send, until};

/// Starts `quorate lock` with a shell script, and reads its standard output.
fn hold(home: &Home, arguments: &[&str], script: &str) -> (Child, BufReader<ChildStdout>) {
    let all = [&["lock", "/deploys/web"], arguments, &["--", "sh", "-c", script]].concat();
    let mut child = home.command(&all).spawn().expect("it runs");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    (child, stdout)
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("UTF-8");
    line.trim().to_owned()
}

#[test]
fn the_second_waits_for_the_first_and_gets_a_larger_token() {
    let home = Home::new();
    let _server = home.dev();
    let hold_until = "echo $QUORATE_FENCE; while [ ! -e go ]; do sleep 0.05; done";
    let (mut first, mut said) = hold(&home, &[], hold_until);
    let token: u64 = line(&mut said).parse().expect("a token");
    let (mut second, mut said) = hold(&home, &["--note", "second"], "echo $QUORATE_FENCE");
    let waiters = ["call", "lock", "waiters(\"/deploys/web\", none, 10)"];
    until("the second waits", || home.ok(&waiters).contains("second"));
    let given_up = home.run(&["lock", "/deploys/web", "--timeout", "0", "--", "true"]);
    assert_eq!(given_up.code, 1);
    assert!(given_up.stderr.contains("timeout"), "{}", given_up.stderr);
    std::fs::write(home.path().join("go"), "").expect("written");
    let next: u64 = line(&mut said).parse().expect("a token");
    assert!(next > token);
    assert_eq!((ended(&mut first), ended(&mut second)), (0, 0));
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let home = Home::new();
    let _server = home.dev();
    assert_eq!(home.run(&["lock", "/x", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(home.run(&["lock", "/x", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    let Done { code, stderr, .. } = home.run(&["lock", "/x", "--", "/no/such/command"]);
    assert!(code == 127 && stderr.contains("/no/such/command"), "{stderr}");
    // It was given back each time.
    home.ok(&["lock", "/x", "--timeout", "0", "--", "true"]);
}

#[test]
fn signals_reach_the_command() {
    let home = Home::new();
    let _server = home.dev();
    for signal in
        [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP]
    {
        let script = "trap 'echo got; exit 9' TERM INT HUP; echo up; while :; do sleep 0.05; done";
        let (mut child, mut said) = hold(&home, &[], script);
        assert_eq!(line(&mut said), "up");
        send(&child, signal);
        assert_eq!(line(&mut said), "got");
        assert_eq!(ended(&mut child), 9);
    }
}

#[test]
fn who_is_killed_loses_the_lock_to_the_next() {
    let home = Home::new();
    let _server = home.dev();
    let (mut first, mut said) =
        hold(&home, &["--session-timeout", "1s"], "echo up; exec sleep 600");
    assert_eq!(line(&mut said), "up");
    let sleeper = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.id()));
    first.kill().expect("it ran");
    first.wait().expect("it has ended");
    home.ok(&["lock", "/deploys/web", "--", "true"]);
    // Nobody is left who would end the command of a process that was killed.
    for pid in sleeper.unwrap_or_default().split_whitespace() {
        let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

#[test]
fn a_lost_lock_ends_the_command() {
    let home = Home::new();
    let server = home.dev();
    let script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let (mut child, mut said) = hold(&home, &["--session-timeout", "1s"], script);
    assert_eq!(line(&mut said), "up");
    server.kill();
    assert_eq!(line(&mut said), "told");
    assert_eq!(ended(&mut child), 75);
}

/// A command that says that it was told to end, and ends.
const POLITE: &str = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn said_by(child: &mut Child) -> String {
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("piped");
    std::io::Read::read_to_string(stderr, &mut said).expect("UTF-8");
    said
}

#[test]
fn what_is_fenced_by_a_lock_is_refused_once_it_is_given_back() {
    let home = Home::new();
    let _server = home.dev();
    let (mut child, mut said) =
        hold(&home, &[], "echo $QUORATE_GRANT; while [ ! -e go ]; do sleep 0.05; done");
    let grant = line(&mut said);
    home.ok(&["set", "/guarded", "held", "--create", "--fence", &grant]);
    home.ok(&["multi", &format!("fence {grant}"), "set /guarded again version=0"]);
    let (place, token) = grant.rsplit_once('=').expect("a token");
    let (_, node) = place.split_once(':').expect("a recipe");
    let node = format!("/recipes/lock{node}");
    let session = home.json(&["stat", &node])["stat"]["owner_session"].to_string();
    let owned = home.ok(&["ls", "/recipes", "--ephemerals-of", &session]);
    assert_eq!(owned.trim_end(), node);
    assert_eq!(home.ok(&["ls", "/guarded", "--ephemerals-of", &session]), "");
    let older = format!("{place}={}", token.parse::<u64>().expect("a number") - 1);
    assert!(home.run(&["rm", "/guarded", "--fence", &older]).stderr.contains("Q4020 fenced"));
    std::fs::write(home.path().join("go"), "").expect("written");
    assert_eq!(ended(&mut child), 0);
    let refused = home.run(&["set", "/guarded", "late", "--fence", &grant]);
    assert!(refused.stderr.contains("Q4020 fenced"), "{}", refused.stderr);
    assert_eq!(home.ok(&["get", "/guarded"]), "again");
}

#[test]
fn a_command_ends_when_an_operator_deletes_the_znode_that_holds_its_lock() {
    let home = Home::new();
    let _server = home.dev();
    let (mut child, mut said) = hold(&home, &[], POLITE);
    assert_eq!(line(&mut said), "up");
    home.ok(&["rm", "--recursive", "/recipes/lock/deploys/web/_lock"]);
    assert_eq!(line(&mut said), "told");
    assert_eq!(ended(&mut child), 75);
    let told = said_by(&mut child);
    assert!(told.contains("/deploys/web is lost") && told.contains("deleted"), "{told}");
    home.ok(&["lock", "/deploys/web", "--timeout", "0", "--", "true"]);
}

#[test]
fn a_command_ends_when_the_recipe_of_its_lock_is_removed() {
    let home = Home::new();
    let _server = home.dev();
    let (mut child, mut said) = hold(&home, &[], POLITE);
    assert_eq!(line(&mut said), "up");
    home.ok(&["recipe", "remove", "lock"]);
    assert_eq!(line(&mut said), "told");
    assert_eq!(ended(&mut child), 75);
    let told = said_by(&mut child);
    assert!(told.contains("no recipe is deployed as"), "{told}");
}

#[test]
fn a_command_that_does_not_end_by_itself_is_killed_when_its_lock_is_lost() {
    let home = Home::new();
    let _server = home.dev();
    let stubborn = "trap 'echo told' TERM; echo up; while :; do sleep 0.05; done";
    let (mut child, mut said) = hold(&home, &[], stubborn);
    assert_eq!(line(&mut said), "up");
    home.ok(&["rm", "--recursive", "/recipes/lock/deploys/web/_lock"]);
    assert_eq!(line(&mut said), "told");
    assert_eq!(ended(&mut child), 75);
}
