//! Starting, stopping, being killed, and being told nonsense.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::{Home, ended, until};

#[test]
fn commands_find_the_server_of_their_user_and_say_which() {
    let home = Home::new();
    let server = home.dev();
    let status = home.run(&["status", "-v"]);
    assert_eq!(status.code, 0, "{}", status.stderr);
    assert!(status.stderr.contains(server.address()) && status.stderr.contains("dev.json"));
    assert_eq!(home.json(&["status"])["role"], "leader");
    let ca = server.ca();
    let ca = ca.to_str().expect("UTF-8");
    let elsewhere = Home::new();
    assert_eq!(elsewhere.run(&["status"]).code, 2);
    elsewhere.ok(&["status", "--connect", server.address(), "--ca", ca]);
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let (home, other) = (Home::new(), Home::new());
    let server = home.dev();
    let stranger = other.dev();
    let ca = stranger.ca();
    let ca = ca.to_str().expect("UTF-8");
    let refused =
        home.run(&["status", "--connect", server.address(), "--ca", ca, "--connect-timeout", "2s"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("certificate") && refused.stderr.contains("--ca"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_port_in_use_and_a_directory_in_use_say_what_to_do() {
    let home = Home::new();
    let server = home.dev();
    let taken = home.run(&["dev", "--data", "other", "--listen", server.address()]);
    assert_eq!(taken.code, 1);
    assert!(
        taken.stderr.contains("can not listen") && taken.stderr.contains("--listen"),
        "{}",
        taken.stderr
    );
    assert!(!home.path().join("other").exists(), "nothing is made for a server that can not be");
    let locked = home.run(&["dev", "--data", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(locked.code, 1);
    assert!(locked.stderr.contains("in use by"), "{}", locked.stderr);
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let home = Home::new();
    let foreign = home.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("thesis.txt"), "mine").expect("written");
    let refused = home.run(&["dev", "--data", "foreign", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("left alone"), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(&foreign).expect("there").count(), 1);
}

#[test]
fn a_signal_ends_a_server_in_order_and_its_data_is_there_again() {
    let home = Home::new();
    let mut server = home.dev();
    home.ok(&["create", "/kept", "x"]);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(ended(&mut server.child), 0);
    let alone = home.run(&["get", "/kept"]);
    assert_eq!(alone.code, 2, "the file that leads there is withdrawn: {}", alone.stderr);
    let _again = home.dev();
    assert_eq!(home.ok(&["get", "/kept"]), "x");
}

#[test]
fn what_was_acknowledged_survives_a_kill_in_the_middle_of_writing() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["create", "/w"]);
    // Many sessions, each a process, and the server dies under them.
    let script = "i=0; while \"$0\" create /w/$1-$i --connect-timeout 1s >/dev/null 2>&1; do echo $1-$i; i=$((i+1)); done";
    let mut writers = Vec::new();
    for writer in ["a", "b", "c"] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_quorate"), writer]);
        command.env("XDG_DATA_HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        writers.push(command.spawn().expect("a shell"));
    }
    until("some writes are acknowledged", || home.ok(&["ls", "/w"]).lines().count() > 10);
    server.kill();
    let mut acknowledged = Vec::new();
    for mut writer in writers {
        let stdout = BufReader::new(writer.stdout.take().expect("piped"));
        acknowledged.extend(stdout.lines().map(|line| line.expect("UTF-8")));
        ended(&mut writer);
    }
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    let _again = home.dev();
    let there = home.ok(&["ls", "/w"]);
    for name in acknowledged {
        assert!(there.lines().any(|line| line == name), "{name} was acknowledged and is gone");
    }
}

#[test]
fn the_demonstration_tells_its_story() {
    let home = Home::new();
    let mut server = home
        .command(&["dev", "--data", "data", "--listen", "127.0.0.1:0", "--demo"])
        .spawn()
        .expect("it starts");
    let story = BufReader::new(server.stderr.take().expect("piped"));
    let told = story.lines().map(|line| line.expect("UTF-8"));
    let told: Vec<String> = told.take_while(|line| !line.contains("Tokens grow")).collect();
    let told = told.join("\n");
    assert!(told.contains("carol") && told.matches("token").count() >= 3, "{told}");
    server.kill().expect("it ran");
    server.wait().expect("it has ended");
}

#[test]
fn serve_runs_by_its_file_and_checks_it() {
    let home = Home::new();
    let file = home.path().join("quorate.conf");
    std::fs::write(&file, "data = \"served\"\nlisten = \"127.0.0.1:0\"\n").expect("written");
    assert!(home.ok(&["serve", "--config", "quorate.conf", "--check"]).contains("is valid"));
    std::fs::write(&file, "data = \"served\"\nlisten_on = \"127.0.0.1:0\"\n").expect("written");
    let refused = home.run(&["serve", "--config", "quorate.conf", "--check"]);
    assert!(refused.code == 1 && refused.stderr.contains("listen_on"), "{}", refused.stderr);
}
