//! `quorate cert`: a small authority for people who have none, and what stands in certificates. It asks no server, and does
//! not know how certificates are made.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use quorate_net::describe::{Described, KeyFile, PemFile, pem_file};
use quorate_net::{IdentityError, issue};
use serde_json::{Value, json};

use crate::connect::Global;
use crate::duration;
use crate::failure::{Usage, hinted};
use crate::output::{FAINT, GOOD, NAME, TITLE};

/// `quorate cert`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cert authority --out authority
  quorate cert member 1 --name quorate-1.example --authority authority --out member-1
  quorate cert client ann --authority authority --out ann
  quorate cert show member-1")]
pub struct Cert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an authority: ca.pem, for members and clients, and ca-key.pem, to be kept apart
    Authority(Authority),
    /// Make the certificate of a member: the files that it wants in certificates/ of its data directory
    Member(Member),
    /// Make the certificate of a client: who has it is known as x509:CN=NAME
    Client(Client),
    /// Show what certificates say
    Show(Show),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cert authority --out authority
  quorate cert authority --out authority --name 'Quorate, production'")]
struct Authority {
    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What it is called, for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cert member 1 --name quorate-1.example --authority authority --out member-1
  quorate cert member 2 --name quorate-2.example 10.0.0.2 --authority authority --out member-2")]
struct Member {
    /// The member's number
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// Host names and addresses that clients reach it by, beside localhost
    #[arg(long, value_name = "HOST", num_args = 1..)]
    name: Vec<String>,
    /// Directory of the authority that signs
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cert client ann --authority authority --out ann
  quorate cert client backup --valid 30d --authority authority --out backup
  quorate ls / --ca authority/ca.pem --cert ann/client.pem --key ann/client-key.pem")]
struct Client {
    /// The client's name, 64 characters at most
    name: String,
    /// How long it is valid; 400 days at most
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "365d")]
    valid: Duration,
    /// Directory of the authority that signs
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cert show /var/lib/quorate/certificates
  quorate cert show ca.pem --output json | jq -r '.files[].certificates[].fingerprint'")]
struct Show {
    /// A PEM file, or a directory of them
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
}

/// Files of a directory that are looked at: no directory of certificates has more.
const FILES_MAX: usize = 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

impl Cert {
    /// Runs it.
    ///
    /// # Errors
    /// If files are missing, damaged, or would be overwritten.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let now = SystemTime::now();
        match self.command {
            Command::Authority(authority) => authority.run(global, now),
            Command::Member(member) => member.run(global, now),
            Command::Client(client) => client.run(global, now),
            Command::Show(show) => show.run(global, now),
        }
    }
}

impl Authority {
    fn run(self, global: &Global, now: SystemTime) -> anyhow::Result<ExitCode> {
        issue::authority(&self.out, self.name.as_deref(), now).map_err(advised)?;
        let certificate = self.out.join(issue::AUTHORITY_FILE);
        let key = self.out.join(issue::AUTHORITY_KEY_FILE);
        global.output().show(
            || json!({ "authority": certificate, "key": key }),
            |out| {
                writeln!(out, "{GOOD}made{GOOD:#} {NAME}{}{NAME:#}", certificate.display())?;
                writeln!(out, "     {NAME}{}{NAME:#}", key.display())?;
                let advice = "Who has the key can make members: keep it off the members' machines.";
                writeln!(out, "{FAINT}{advice}{FAINT:#}")
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Member {
    fn run(self, global: &Global, now: SystemTime) -> anyhow::Result<ExitCode> {
        issue::member(&self.out, &self.authority, self.number, &self.name, now).map_err(advised)?;
        let files = [issue::AUTHORITY_FILE, issue::MEMBER_FILE, issue::MEMBER_KEY_FILE]
            .map(|file| self.out.join(file));
        let [authority, certificate, key] = &files;
        global.output().show(
            || {
                json!({
                    "member": self.number,
                    "authority": authority,
                    "certificate": certificate,
                    "key": key,
                })
            },
            |out| {
                for (at, file) in files.iter().enumerate() {
                    let made = if at == 0 { "made" } else { "    " };
                    writeln!(out, "{GOOD}{made}{GOOD:#} {NAME}{}{NAME:#}", file.display())?;
                }
                let advice =
                    "Copy them to certificates/ in the member's data directory, before its start.";
                writeln!(out, "{FAINT}{advice}{FAINT:#}")
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Client {
    fn run(self, global: &Global, now: SystemTime) -> anyhow::Result<ExitCode> {
        let Self { name, valid, authority, out } = self;
        issue::client(&out, &authority, &name, valid, now).map_err(advised)?;
        let (certificate, key) = (out.join(issue::CLIENT_FILE), out.join(issue::CLIENT_KEY_FILE));
        let identity = format!("x509:CN={name}");
        global.output().show(
            || json!({ "identity": identity, "certificate": certificate, "key": key }),
            |out| {
                writeln!(out, "{GOOD}made{GOOD:#} {NAME}{}{NAME:#}", certificate.display())?;
                writeln!(out, "     {NAME}{}{NAME:#}", key.display())?;
                writeln!(
                    out,
                    "{FAINT}Who has the key is {identity}: --cert and --key show it.{FAINT:#}"
                )
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What can be done about it.
fn advised(error: IdentityError) -> anyhow::Error {
    let hint = match &error {
        IdentityError::BadName { .. } | IdentityError::NotMade(_) => {
            return Usage(error.to_string()).into();
        }
        IdentityError::Exists { .. } => {
            "Files are never overwritten: give another --out, or move them away."
        }
        IdentityError::Unreadable { cause, .. } if cause.kind() == ErrorKind::NotFound => {
            "--authority is the directory that `quorate cert authority --out DIR` has made, with its key."
        }
        IdentityError::KeyMismatch { .. } => {
            "ca.pem and ca-key.pem must be of one authority: `quorate cert show DIR` tells them apart."
        }
        _ => return error.into(),
    };
    hinted(error, hint)
}

/// A file that was looked at.
struct Shown {
    file: PathBuf,
    name: String,
    held: PemFile,
}

impl Show {
    fn run(self, global: &Global, now: SystemTime) -> anyhow::Result<ExitCode> {
        let mut shown = Vec::new();
        for file in files(&self.path)? {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
            let held = pem_file(&file)?;
            shown.push(Shown { file, name, held });
        }
        let now_ms = since_1970_ms(now);
        let json = || {
            let files: Vec<Value> = shown.iter().map(|shown| shown.json(now_ms)).collect();
            json!({ "files": files })
        };
        global.output().show(json, |out| table(out, &shown, now_ms))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The file itself, or the PEM files of a directory by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = || format!("{} can not be read", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unreadable)? {
        let file = entry.with_context(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "pem") {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            anyhow::bail!("{} has more than {FILES_MAX} PEM files", path.display());
        }
    }
    if files.is_empty() {
        let none = anyhow::anyhow!("{} has no file that ends in .pem", path.display());
        return Err(hinted(none, "A member's are in certificates/ of its data directory."));
    }
    files.sort();
    Ok(files)
}

impl Shown {
    fn json(&self, now_ms: u64) -> Value {
        let certificates: Vec<Value> = self
            .held
            .certificates
            .iter()
            .map(|described| {
                json!({
                    "what": what(described),
                    "subject": described.subject,
                    "signed_by": described.issuer,
                    "self_signed": described.is_self_signed,
                    "members": described.members,
                    "names": described.names,
                    "valid_from_ms": since_1970_ms(described.valid_from),
                    "valid_until_ms": since_1970_ms(described.valid_until),
                    "days_left": days_left(described, now_ms),
                    "fingerprint": described.fingerprint,
                })
            })
            .collect();
        let key = self.held.key.map(|KeyFile { is_readable_by_others }| {
            json!({ "readable_by_others": is_readable_by_others })
        });
        json!({ "file": self.file, "certificates": certificates, "key": key })
    }

    fn rows(&self, now_ms: u64) -> Vec<[String; COLUMNS]> {
        let mut rows: Vec<_> = self
            .held
            .certificates
            .iter()
            .map(|described| {
                let members: Vec<String> = described.members.iter().map(u64::to_string).collect();
                let signed_by = if described.is_self_signed { "itself" } else { &described.issuer };
                [
                    self.name.clone(),
                    what(described).to_owned(),
                    members.join(","),
                    day(described.valid_from),
                    day(described.valid_until),
                    left(described, now_ms),
                    signed_by.to_owned(),
                    if described.is_authority || described.is_for_clients_only {
                        described.subject.clone()
                    } else {
                        described.names.join(" ")
                    },
                ]
            })
            .collect();
        if let Some(KeyFile { is_readable_by_others }) = self.held.key {
            let what = if is_readable_by_others { "key that others can read" } else { "key" };
            let mut row = [const { String::new() }; COLUMNS];
            row[0].clone_from(&self.name);
            what.clone_into(&mut row[1]);
            rows.push(row);
        }
        rows
    }
}

const COLUMNS: usize = 8;
const HEADS: [&str; COLUMNS] =
    ["FILE", "WHAT", "MEMBER", "VALID FROM", "UNTIL", "DAYS LEFT", "SIGNED BY", "NAMES"];

fn table(out: &mut dyn Write, shown: &[Shown], now_ms: u64) -> io::Result<()> {
    let rows: Vec<[String; COLUMNS]> = shown.iter().flat_map(|shown| shown.rows(now_ms)).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    writeln!(out, "{TITLE}{}{TITLE:#}", line(&HEADS.map(str::to_owned), widths))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row, widths)))
}

fn line(cells: &[String; COLUMNS], widths: [usize; COLUMNS]) -> String {
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

fn what(described: &Described) -> &'static str {
    match (described.is_authority, described.members.is_empty()) {
        (true, _) => "authority",
        (false, false) => "member",
        (false, true) if described.is_for_clients_only => "client",
        (false, true) => "server",
    }
}

fn left(described: &Described, now_ms: u64) -> String {
    match days_left(described, now_ms) {
        days @ 0.. => days.to_string(),
        _ => "expired".to_owned(),
    }
}

/// Whole days; below 0 when it is over.
fn days_left(described: &Described, now_ms: u64) -> i64 {
    let until = i64::try_from(since_1970_ms(described.valid_until)).unwrap_or(i64::MAX);
    until.saturating_sub(i64::try_from(now_ms).unwrap_or(i64::MAX)).div_euclid(DAY_MS)
}

fn day(time: SystemTime) -> String {
    duration::moment(since_1970_ms(time)).chars().take_while(|char| *char != ' ').collect()
}

fn since_1970_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
