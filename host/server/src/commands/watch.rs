//! `quorate watch`: what happens to a znode or a subtree, line by line as it happens, and where to go on from. How watches get
//! through failures of members is the client's; what is done when their session is lost is said here.

use std::io::{self, Write};
use std::process::ExitCode;

use quorate_client::{
    Change, Client, Event, EventKind, Notice, Options, Previous, WatchError, WatchStream,
};
use quorate_core::ids::Zxid;
use quorate_core::znode::Lifetime;
use serde_json::{Value, json};

use crate::connect::{Global, goodbye};
use crate::failure::hinted;
use crate::json;
use crate::output::{FAINT, NAME, Output};
use crate::signals::Signals;

/// `quorate watch`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line for each event: the zxid of its transaction, what happened, the path. With --output json, an object on a \
line for each; all objects with one zxid are one transaction.
It goes on when members fail. Every event comes once, in order, and none is left out without an error.
At its end it says on standard error where to go on from: with --from, another `quorate watch` misses nothing.

Examples:
  quorate watch /deploys/web
  quorate watch /deploys --recursive --data
  quorate watch /members --children --output json | jq -r 'select(.event == \"deleted\").path'
  quorate watch /jobs/done --once                # wait for one change, and end
  quorate watch /config --recursive --from 4711  # all that happened since"
)]
pub struct Watch {
    /// The znode
    path: String,
    /// The znode and everything below it
    #[arg(long, short = 'R', conflicts_with = "children")]
    recursive: bool,
    /// Its direct children, created and deleted
    #[arg(long)]
    children: bool,
    /// Begin behind this transaction, with what was retained of the past [default: behind now]
    #[arg(long, value_name = "ZXID")]
    from: Option<u64>,
    /// End with the first transaction that changes something
    #[arg(long)]
    once: bool,
    /// Show the data that a znode has from then on
    #[arg(long)]
    data: bool,
    /// Show the data that a znode had before
    #[arg(long)]
    previous: bool,
    /// Say every few seconds up to which transaction nothing has happened
    #[arg(long)]
    progress: bool,
}

/// Why it ended.
enum Ended {
    /// Its one change has come, or nobody reads the lines any more.
    Done,
    Asked(ExitCode),
    Broke(WatchError),
}

impl Watch {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses; a position that it does not have any more.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::take()?;
        let output = global.output();
        let options = global.options()?;
        let mut position = self.from.map(Zxid);
        loop {
            let watched = self.watch_once(options.clone(), position, &mut signals, output).await;
            let (ended, reached) = match watched {
                Ok(watched) => watched,
                Err(error) => {
                    say_where(output, position);
                    return Err(error);
                }
            };
            position = reached.or(position);
            match ended {
                // With another session, or as fast as the lines are taken.
                Ended::Broke(
                    error @ (WatchError::SessionLost { .. } | WatchError::Slow { .. }),
                ) if position.is_some() => {
                    output.note(format_args!("{error}"));
                }
                Ended::Broke(error) => {
                    say_where(output, position);
                    return Err(explained(error));
                }
                Ended::Done => return Ok(ExitCode::SUCCESS),
                Ended::Asked(code) => {
                    say_where(output, position);
                    return Ok(code);
                }
            }
        }
    }

    /// With one session, as long as it lives and the lines are taken. Up to where all was written.
    async fn watch_once(
        &self,
        options: Options,
        from: Option<Zxid>,
        signals: &mut Signals,
        output: Output,
    ) -> anyhow::Result<(Ended, Option<Zxid>)> {
        let client = tokio::select! {
            client = Client::connect(options) => client?,
            ask = signals.next() => return Ok((Ended::Asked(ask.exit_code()), None)),
        };
        let result = tokio::select! {
            stream = self.open(&client, from) => match stream {
                Ok(mut stream) => {
                    output.note(format_args!("watching {} from zxid {}", self.path, stream.position()));
                    let ended = self.follow(&mut stream, signals, output).await;
                    ended.map(|ended| (ended, Some(stream.position())))
                }
                Err(error) => Ok((Ended::Broke(error), None)),
            },
            ask = signals.next() => Ok((Ended::Asked(ask.exit_code()), None)),
        };
        goodbye(client).await;
        result
    }

    async fn open(&self, client: &Client, from: Option<Zxid>) -> Result<WatchStream, WatchError> {
        let mut watch = client.watch(&self.path);
        if self.recursive {
            watch = watch.subtree();
        }
        if self.children {
            watch = watch.children();
        }
        if let Some(from) = from {
            watch = watch.from(from);
        }
        if self.once {
            watch = watch.once();
        }
        if self.data {
            watch = watch.with_data();
        }
        if self.previous {
            watch = watch.with_previous();
        }
        if self.progress {
            watch = watch.with_progress();
        }
        watch.open().await
    }

    async fn follow(
        &self,
        stream: &mut WatchStream,
        signals: &mut Signals,
        output: Output,
    ) -> anyhow::Result<Ended> {
        loop {
            let notice = tokio::select! {
                notice = stream.next() => notice,
                ask = signals.next() => return Ok(Ended::Asked(ask.exit_code())),
            };
            let is_read = match notice {
                Some(Ok(Notice::Change(change))) => {
                    let lines: Vec<&Event> = change.events.iter().collect();
                    output.lines(
                        &lines,
                        |event| as_json(&change, event),
                        |event, out| show(&change, event, out),
                    )?
                }
                Some(Ok(Notice::Progress(zxid))) => output.lines(
                    &[zxid],
                    |zxid| json!({ "zxid": zxid.0, "event": "progress" }),
                    |zxid, out| writeln!(out, "{FAINT}{zxid} progress{FAINT:#}"),
                )?,
                Some(Err(error)) => return Ok(Ended::Broke(error)),
                None => return Ok(Ended::Done),
            };
            if !is_read {
                return Ok(Ended::Done);
            }
        }
    }
}

/// Where another one goes on, if that is known.
fn say_where(output: Output, position: Option<Zxid>) {
    match position {
        Some(Zxid(zxid)) if output.is_json() => output.say(json!({ "go_on_from": zxid })),
        Some(Zxid(zxid)) => output.say(format_args!("{FAINT}go on with --from {zxid}{FAINT:#}")),
        None => {}
    }
}

fn explained(error: WatchError) -> anyhow::Error {
    let hint = match &error {
        WatchError::Compacted { oldest, .. } => Some(format!(
            "Read the state as it is now, and watch from there; --from {oldest} shows what is retained."
        )),
        _ => None,
    };
    let error = quorate_client::Error::from(error);
    match hint {
        Some(hint) => hinted(error, hint),
        None => error.into(),
    }
}

fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created(_) => "created",
        EventKind::Set => "set",
        EventKind::Deleted => "deleted",
    }
}

fn as_json(change: &Change, event: &Event) -> Value {
    let mut line = json!({
        "zxid": change.zxid.0,
        "time_ms": change.time.0,
        "event": word(event.kind),
        "path": event.path,
        "version": event.version,
    });
    if let EventKind::Created(lifetime) = event.kind {
        line["lifetime"] = json!(json::lifetime(lifetime));
        line["owner_session"] = json!(lifetime.session().map(|session| session.0));
    }
    if let Some(data) = &event.data {
        line["data"] = json::data(data);
    }
    match &event.previous {
        Previous::None => {}
        Previous::Gone => line["previous_gone"] = json!(true),
        Previous::Data(data) => line["previous"] = json::data(data),
    }
    line
}

fn show(change: &Change, event: &Event, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{} {:<7} {NAME}{}{NAME:#}", change.zxid, word(event.kind), event.path)?;
    match event.kind {
        EventKind::Created(Lifetime::Persistent) => {}
        EventKind::Created(lifetime) => {
            write!(out, "  {FAINT}{}{FAINT:#}", json::lifetime(lifetime))?;
        }
        EventKind::Set | EventKind::Deleted => {
            write!(out, "  {FAINT}version {}{FAINT:#}", event.version)?;
        }
    }
    if let Some(data) = &event.data {
        write!(out, "  {}", shown(data))?;
    }
    match &event.previous {
        Previous::None => {}
        Previous::Gone => write!(out, "  {FAINT}before: not retained any more{FAINT:#}")?,
        Previous::Data(data) => write!(out, "  {FAINT}before:{FAINT:#} {}", shown(data))?,
    }
    writeln!(out)
}

/// Data on one line: text as a JSON string, so that nothing in it moves a terminal's cursor.
fn shown(data: &[u8]) -> String {
    match json::data(data) {
        Value::Object(form) => match (form.get("text"), form.get("hex")) {
            (Some(text), _) => text.to_string(),
            (_, Some(Value::String(hex))) => format!("0x{hex}"),
            _ => String::new(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::ids::{Millis, SessionId};

    use super::*;

    fn change() -> Change {
        let event = |path: &str, kind, data: Option<&'static [u8]>, previous| Event {
            path: path.to_owned(),
            kind,
            version: 3,
            data: data.map(Bytes::from_static),
            previous,
        };
        let ephemeral = EventKind::Created(Lifetime::Ephemeral(SessionId(7)));
        let events = vec![
            event("/a/b", ephemeral, Some(b"one\n"), Previous::None),
            event("/a", EventKind::Set, Some(b"\xff"), Previous::Data("x".into())),
            event("/c", EventKind::Deleted, None, Previous::Gone),
        ];
        Change { zxid: Zxid(42), time: Millis(1_000), events }
    }

    #[test]
    fn an_event_is_a_line() {
        let change = change();
        let mut out = Vec::new();
        for event in &change.events {
            show(&change, event, &mut out).expect("written");
        }
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        let expected = "42 created /a/b  ephemeral  \"one\\n\"\n\
            42 set     /a  version 3  0xff  before: \"x\"\n\
            42 deleted /c  version 3  before: not retained any more\n";
        assert_eq!(String::from_utf8(text).expect("text"), expected);
    }

    #[test]
    fn an_event_is_an_object() {
        let change = change();
        let all: Vec<Value> = change.events.iter().map(|event| as_json(&change, event)).collect();
        assert_eq!(
            all,
            [
                json!({ "zxid": 42, "time_ms": 1000, "event": "created", "path": "/a/b", "version": 3,
                    "lifetime": "ephemeral", "owner_session": 7, "data": { "text": "one\n" } }),
                json!({ "zxid": 42, "time_ms": 1000, "event": "set", "path": "/a", "version": 3,
                    "data": { "hex": "ff" }, "previous": { "text": "x" } }),
                json!({ "zxid": 42, "time_ms": 1000, "event": "deleted", "path": "/c", "version": 3,
                    "previous_gone": true }),
            ]
        );
    }
}
