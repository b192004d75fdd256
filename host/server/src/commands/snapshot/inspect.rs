//! `quorate snapshot inspect`. It does not know how a file came about.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use quorate_core::level::Level;
use quorate_wire::snapshot::{Decoder, Head, Item, Summary, Unsound};
use serde_json::json;

use super::{described, digest, namespace_name};
use crate::connect::Global;
use crate::failure::{REFUSED, hinted};
use crate::output::{FAINT, NAME};

/// Bytes of a file that are read in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// `quorate snapshot inspect`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate snapshot inspect monday.snapshot
  quorate snapshot inspect monday.snapshot --output json | jq .digest")]
pub struct Inspect {
    /// The file
    file: PathBuf,
}

impl Inspect {
    /// Runs it. An unsound file is described as far as it goes; the exit code says so.
    ///
    /// # Errors
    /// If the file can not be read, or does not even begin as a snapshot.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let (head, found) = read(&self.file, global.level)?;
        match (found, head) {
            (Ok(summary), _) => {
                show(global, &summary)?;
                Ok(ExitCode::SUCCESS)
            }
            (Err(unsound), None) => Err(refused(&self.file, &unsound)),
            (Err(unsound), Some(head)) => {
                let why = unsound.to_string();
                let json = || {
                    json!({
                        "is_verified": false,
                        "why": why,
                        "namespace": head.namespace.0,
                        "term": head.place.map(|(term, _)| term.0),
                        "index": head.place.map(|(_, index)| index),
                    })
                };
                global.output().show(json, |out| {
                    write_place(out, &head)?;
                    writeln!(out, "verified   {NAME}no{NAME:#}: {why}")
                })?;
                Ok(ExitCode::from(REFUSED))
            }
        }
    }
}

/// The error of a file that is no sound snapshot.
pub(super) fn refused(file: &Path, unsound: &Unsound) -> anyhow::Error {
    let hint = match unsound {
        Unsound::NotASnapshot => "Name a file that `quorate snapshot save` has written.",
        Unsound::Format { .. } => "Use the version of quorate that wrote it.",
        Unsound::Level { .. } => "Use a version of quorate that knows this level.",
        _ => "Take another snapshot: nothing of this one can be trusted.",
    };
    hinted(anyhow::anyhow!("{}: {unsound}", file.display()), hint)
}

fn read(file: &Path, known: Level) -> anyhow::Result<(Option<Head>, Result<Summary, Unsound>)> {
    let name = file.display();
    let mut opened = File::open(file).with_context(|| format!("{name} can not be read"))?;
    let mut decoder = Decoder::new(known);
    let (mut head, mut summary) = (None, None);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = opened.read(&mut piece).with_context(|| format!("{name} can not be read"))?;
        if count == 0 {
            break;
        }
        decoder.handle(&piece[..count]);
        loop {
            match decoder.poll() {
                Ok(None) => break,
                Ok(Some(Item::Head(read))) => head = Some(read),
                Ok(Some(Item::Records(_))) => {}
                Ok(Some(Item::End(end))) => summary = Some(*end),
                Err(unsound) => return Ok((head, Err(unsound))),
            }
        }
    }
    let whole = decoder.finish();
    let found = whole.and_then(|()| summary.ok_or(Unsound::Truncated { at: 0 }));
    Ok((head, found))
}

fn write_place(out: &mut dyn std::io::Write, head: &Head) -> std::io::Result<()> {
    writeln!(out, "namespace  {}", namespace_name(head.namespace))?;
    match head.place {
        Some((term, index)) => writeln!(out, "log        applied to {index}, of term {}", term.0),
        None => writeln!(out, "log        nothing is applied"),
    }
}

fn show(global: &Global, summary: &Summary) -> anyhow::Result<()> {
    let json = || {
        let mut told = described(summary);
        told["is_verified"] = true.into();
        told
    };
    global.output().show(json, |out| {
        write_place(out, &summary.head)?;
        let meta = &summary.meta;
        let digest = digest(meta.digest);
        writeln!(out, "zxid       {}  {FAINT}digest {digest}{FAINT:#}", meta.zxid.0)?;
        writeln!(out, "level      {}", summary.level)?;
        writeln!(out, "time       {} ms since 1970", meta.time.0)?;
        writeln!(out, "znodes     {}", summary.znodes)?;
        writeln!(out, "sessions   {}", summary.sessions)?;
        writeln!(out, "recipes    {}", summary.recipes)?;
        writeln!(out, "bytes      {} in {} records", summary.bytes, summary.records)?;
        writeln!(out, "verified   {NAME}yes{NAME:#}: every checksum, every record, and the digest")
    })?;
    Ok(())
}
