//! Who a command is for the service: by certificate, token and password, from flags, files and the environment; and that no log
//! has a word of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Done, Home, until};

const PASSWORD: &str = "correct horse battery staple";
const DIGEST: &str = "digest:ann:x+L4EihwQJnnn+F1+VlPm5MJ/vE=";

/// A member that serves by this configuration and writes its log, all of it, to `log`; ended with the test.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(home: &Home, auth: &str) -> Self {
        // A cluster's authority, of which the member has no key.
        home.ok(&["cert", "authority", "--out", "authority"]);
        home.ok(&["cert", "member", "1", "--authority", "authority", "--out", "certificates"]);
        let config = format!(
            "data = \"data\"\ncertificates = \"certificates\"\nlisten = \"127.0.0.1:0\"\nlog_level = \"trace\"\n\
             log_format = \"json\"\nbuiltin_recipes = true\n{auth}\n"
        );
        fs::write(home.path().join("quorate.toml"), config).expect("written");
        let log = File::create(home.path().join("log")).expect("a file");
        let mut command = home.command(&["serve", "--config", "quorate.toml"]);
        let child = command.stderr(Stdio::from(log)).spawn().expect("it starts");
        let mut address = None;
        until("the member serves", || {
            address = address_in(home);
            address.is_some()
        });
        Self { child, address: address.expect("there is one") }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn address_in(home: &Home) -> Option<String> {
    let log = BufReader::new(File::open(home.path().join("log")).ok()?);
    log.lines().map_while(Result::ok).find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        (line["message"] == "serving clients")
            .then(|| line["address"].as_str().map(str::to_owned))?
    })
}

fn run(home: &Home, server: &Served, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    let connect = ["--connect", &server.address, "--ca", "authority/ca.pem", "--output", "json"];
    let mut command = home.command(&[arguments, &connect[..]].concat());
    command.envs(environment.iter().copied());
    Done::of(command.output().expect("it runs"))
}

fn whoami(home: &Home, server: &Served, flags: &[&str], environment: &[(&str, &str)]) -> Value {
    let done = run(home, server, &[&["auth", "whoami"], flags].concat(), environment);
    assert_eq!(done.code, 0, "{flags:?}: {}{}", done.stdout, done.stderr);
    serde_json::from_str(&done.stdout).expect("JSON")
}

fn identities(whoami: &Value) -> Vec<&str> {
    let all = whoami["identities"].as_array().expect("a list");
    all.iter().map(|one| one["identity"].as_str().expect("a text")).collect()
}

/// A token that this command line makes.
fn token(home: &Home, arguments: &[&str]) -> String {
    home.ok(&[&["auth", "token"], arguments].concat()).trim().to_owned()
}

#[test]
fn a_command_is_whom_it_shows_and_no_log_has_what_it_showed() {
    let home = Home::new();
    let server = Served::start(&home, "");
    home.ok(&["cert", "client", "ann", "--authority", "authority", "--out", "ann"]);
    let ci = token(&home, &["ci", "--valid", "8h", "--authority", "authority"]);
    fs::write(home.path().join("ci.token"), format!("{ci}\n")).expect("written");
    fs::write(home.path().join("password"), format!("{PASSWORD}\n")).expect("written");

    let nobody = whoami(&home, &server, &[], &[]);
    assert_eq!(nobody, json!({ "principal": "", "identities": [], "address": "127.0.0.1" }));
    let certificate = ["--cert", "ann/client.pem", "--key", "ann/client-key.pem"];
    let all = [&certificate[..], &["--token-file", "ci.token", "--user", "ann:password"]].concat();
    let all = whoami(&home, &server, &all, &[]);
    assert_eq!(identities(&all), [DIGEST, "x509:CN=ann", "token:ci"]);
    assert_eq!(all["principal"], "x509:CN=ann");
    assert!(all["identities"][2]["expires_ms"].is_u64(), "{all}");
    let of_environment = [
        ("QUORATE_CERT", "ann/client.pem"),
        ("QUORATE_KEY", "ann/client-key.pem"),
        ("QUORATE_TOKEN", ci.as_str()),
        ("QUORATE_USER", "ann"),
        ("QUORATE_PASSWORD", PASSWORD),
    ];
    let of_environment = whoami(&home, &server, &[], &of_environment);
    assert_eq!(identities(&of_environment), identities(&all));
    assert_eq!(identities(&whoami(&home, &server, &["--token", &ci], &[])), ["token:ci"]);

    let refused = run(&home, &server, &["ls", "/", "--token", &ci[..ci.len() - 4]], &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("authentication-failed"), "{refused:?}");
    let refused = run(&home, &server, &["ls", "/", "--user", "ann"], &[]);
    assert_eq!(refused.code, 2, "nobody can be asked: {refused:?}");
    assert!(refused.stderr.contains("QUORATE_PASSWORD"), "{refused:?}");
    let refused = run(&home, &server, &["ls", "/", "--cert", "ann/client.pem"], &[]);
    assert_eq!(refused.code, 2, "{refused:?}");

    let log = fs::read_to_string(home.path().join("log")).expect("a log");
    assert!(log.contains("\"level\":\"DEBUG\"") && log.contains("not attached"), "it says much");
    let (unsigned, signature) = ci.rsplit_once('.').expect("a token");
    for secret in [PASSWORD, unsigned, signature] {
        assert!(!log.contains(secret), "the log has a secret");
    }
}

#[test]
fn where_clients_must_show_who_they_are_the_refusal_says_how() {
    let home = Home::new();
    let server = Served::start(&home, "auth.required = true");
    let refused = run(&home, &server, &["ls", "/"], &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("authentication-required"), "{refused:?}");
    assert!(refused.stderr.contains("--token-file"), "{refused:?}");
    let refused = run(&home, &server, &["cluster", "status"], &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let ci = token(&home, &["ci", "--valid", "30m", "--authority", "authority"]);
    for command in [&["ls", "/", "--token", &ci][..], &["cluster", "status", "--token", &ci]] {
        let done = run(&home, &server, command, &[]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    // The recipes that the member deploys itself are there all the same.
    until("the built-in recipes are deployed", || {
        let listed = run(&home, &server, &["recipe", "list", "--token", &ci], &[]);
        listed.stdout.contains("\"lock\"")
    });
}

#[test]
fn tokens_that_make_no_sense_are_not_made() {
    let home = Home::new();
    home.ok(&["cert", "authority", "--out", "authority"]);
    let refused = |arguments: &[&str]| {
        let done = home.run(&[&["auth", "token"], arguments].concat());
        assert!(done.stdout.is_empty(), "{done:?}");
        (done.code, done.stderr)
    };
    let made = ["--authority", "authority"];
    let (code, why) = refused(&[&["ci", "--valid", "401d"], &made[..]].concat());
    assert!(code == 2 && why.contains("400 days"), "{code}: {why}");
    let (code, why) = refused(&[&["", "--valid", "1h"], &made[..]].concat());
    assert!(code == 2 && why.contains("subject"), "{code}: {why}");
    let (code, why) = refused(&["ci", "--valid", "1h"]);
    assert!(code == 2 && why.contains("--authority"), "{code}: {why}");
    let (code, why) = refused(&["ci", "--valid", "1h", "--authority", "elsewhere"]);
    assert!(code == 1 && why.contains("quorate cert authority"), "{code}: {why}");
    let shown = home.json(&["auth", "token", "ci", "--valid", "1h", "--authority", "authority"]);
    assert_eq!(shown["identity"], "token:ci");
    assert_eq!(shown["token"].as_str().map(|token| token.split('.').count()), Some(3));
}

#[test]
fn a_clients_certificate_is_shown_as_one() {
    let home = Home::new();
    home.ok(&["cert", "authority", "--out", "authority"]);
    let client = ["cert", "client", "ann", "--authority", "authority", "--out", "ann"];
    let made = home.json(&[&client[..], &["--valid", "30d"]].concat());
    assert_eq!(made["identity"], "x509:CN=ann");
    let shown = home.json(&["cert", "show", "ann/client.pem"]);
    let certificate = &shown["files"][0]["certificates"][0];
    assert_eq!(certificate["what"], "client");
    assert_eq!(certificate["subject"], "ann");
    assert_eq!(certificate["days_left"], 29);
    let again = home.run(&client);
    assert_eq!(again.code, 1, "{again:?}");
    let text = home.ok(&["cert", "show", "ann/client.pem"]);
    assert!(text.contains("client.pem  client") && text.contains("  ann\n"), "{text}");
}
