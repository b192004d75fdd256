//! Subtrees as files of JSON lines: a head, a line for each znode, an end with their number and a checksum of all before it.
//! It does not know where znodes come from, nor where they go.

use std::io::{self, BufRead, Read as _, Write};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use quorate_core::limits::DATA_BYTES_MAX;
use quorate_core::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::json::hex;

/// The version of the format. What another one writes is refused.
pub const FORMAT: u32 = 1;
/// Bytes of a line: a znode's data as text, each byte escaped as six, and its path.
const LINE_BYTES_MAX: u64 = 6 * DATA_BYTES_MAX as u64 + 16 * 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub quorate_export: u32,
    /// The znode at the top.
    pub path: String,
    /// The last transaction that all of it reflects.
    pub zxid: u64,
    /// The cluster that it is from, if it has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// When it was asked for.
    pub time: String,
}

/// How long a znode lives that is not simply persistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Until it has had children and has none any more.
    Container,
    /// Until it has no children and was not set for so many milliseconds.
    #[serde(rename = "ttl_ms")]
    TtlMs(u64),
}

/// A line between head and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ZnodeLine {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime: Option<Lifetime>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    end: Totals,
    sha256: String,
}

/// What is in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Znodes in it.
    pub znodes: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Ephemeral and call-owned znodes that were there and are not in it: they belong to sessions.
    pub ephemerals: u64,
}

/// A znode of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Znode {
    /// Where it stood.
    pub path: Path,
    /// Its data.
    pub data: Bytes,
    /// None: it is persistent.
    pub lifetime: Option<Lifetime>,
}

/// Writes a file.
pub struct Writer<W> {
    out: W,
    checksum: Sha256,
    line: Vec<u8>,
    totals: Totals,
}

impl<W: Write> Writer<W> {
    /// Begins with the head.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn begin(out: W, head: &Head) -> io::Result<Self> {
        let mut writer =
            Self { out, checksum: Sha256::new(), line: Vec::new(), totals: Totals::default() };
        writer.line(head)?;
        Ok(writer)
    }

    /// How much it has written.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Counts a znode that is left out.
    pub fn skip_ephemeral(&mut self) {
        self.totals.ephemerals += 1;
    }

    /// Adds a znode.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn znode(&mut self, znode: &Znode) -> io::Result<()> {
        let text = std::str::from_utf8(&znode.data).ok().filter(|text| !text.is_empty());
        let is_text = text.is_some() || znode.data.is_empty();
        self.line(&ZnodeLine {
            path: znode.path.as_str().to_owned(),
            text: text.map(str::to_owned),
            base64: (!is_text).then(|| BASE64.encode(&znode.data)),
            lifetime: znode.lifetime,
        })?;
        self.totals.znodes += 1;
        self.totals.bytes += znode.data.len() as u64;
        Ok(())
    }

    /// Adds the end; what was written to, and how much.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        let sha256 = hex(&self.checksum.clone().finalize());
        let end = self.totals;
        self.line(&EndLine { end, sha256 })?;
        self.out.flush()?;
        Ok((self.out, end))
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.checksum.update(&self.line);
        self.out.write_all(&self.line)
    }
}

/// Reads a file, a line at a time.
pub struct Reader<R> {
    input: R,
    checksum: Sha256,
    line: Vec<u8>,
    number: u64,
    totals: Totals,
    head: Head,
}

impl<R: BufRead> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// For a file that is none of ours, or of another format.
    pub fn begin(mut input: R) -> anyhow::Result<Self> {
        let mut line = Vec::new();
        ensure!(read_line(&mut input, &mut line)?, "line 1: the file is empty");
        let head: serde_json::Value = serde_json::from_slice(&line)
            .ok()
            .filter(|head: &serde_json::Value| head.get("quorate_export").is_some())
            .context("line 1: this is no file that `quorate export` has written")?;
        let format = &head["quorate_export"];
        ensure!(
            *format == FORMAT,
            "line 1: the format is {format}, and this program reads {FORMAT}"
        );
        let head: Head = serde_json::from_value(head).context("line 1")?;
        Path::parse(&head.path).context("line 1")?;
        let checksum = Sha256::new_with_prefix(&line);
        Ok(Self { input, checksum, line, number: 1, totals: Totals::default(), head })
    }

    /// The first line.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What is in the file, once it has been read to its end.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next znode; none at the end, which has been compared with what was read.
    ///
    /// # Errors
    /// Names the line: if it is damaged, or the file ends before its end.
    pub fn next(&mut self) -> anyhow::Result<Option<Znode>> {
        let number = self.number + 1;
        self.read_next(number).with_context(|| format!("line {number}"))
    }

    fn read_next(&mut self, number: u64) -> anyhow::Result<Option<Znode>> {
        self.line.clear();
        let is_there = read_line(&mut self.input, &mut self.line)?;
        ensure!(is_there && self.line.ends_with(b"\n"), "the file is torn: its end is missing");
        self.number = number;
        if self.line.starts_with(b"{\"end\":") {
            self.check_end()?;
            return Ok(None);
        }
        self.checksum.update(&self.line);
        let line: ZnodeLine = serde_json::from_slice(&self.line).context("this is no znode")?;
        let data = match (line.text, line.base64) {
            (None, None) => Bytes::new(),
            (Some(text), None) => text.into(),
            (None, Some(coded)) => BASE64.decode(coded).context("base64")?.into(),
            (Some(_), Some(_)) => bail!("a znode has either text or base64"),
        };
        ensure!(
            data.len() <= DATA_BYTES_MAX,
            "more data than the {DATA_BYTES_MAX} bytes of a znode"
        );
        let path = Path::parse(&line.path)?;
        self.totals.znodes += 1;
        self.totals.bytes += data.len() as u64;
        Ok(Some(Znode { path, data, lifetime: line.lifetime }))
    }

    fn check_end(&mut self) -> anyhow::Result<()> {
        let EndLine { end, sha256 } =
            serde_json::from_slice(&self.line).context("this is no end")?;
        let found = Totals { ephemerals: end.ephemerals, ..self.totals };
        ensure!(
            found == end,
            "the file has {} znodes with {} bytes, and says that it has {} with {}",
            found.znodes,
            found.bytes,
            end.znodes,
            end.bytes
        );
        ensure!(
            hex(&self.checksum.clone().finalize()) == sha256,
            "the file was changed: its checksum is not that of its lines"
        );
        self.line.clear();
        ensure!(!read_line(&mut self.input, &mut self.line)?, "there is more behind the end");
        self.totals = end;
        Ok(())
    }
}

/// Reads a line with its end; whether there was one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    let read = input.take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    ensure!((read as u64) < LINE_BYTES_MAX, "the line is longer than {LINE_BYTES_MAX} bytes");
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn znode(path: &str, data: &'static [u8], lifetime: Option<Lifetime>) -> Znode {
        Znode { path: Path::parse(path).unwrap(), data: Bytes::from_static(data), lifetime }
    }

    fn znodes() -> Vec<Znode> {
        vec![
            znode("/a", b"", None),
            znode("/a/text", "two\nlines, \"quoted\" \u{0}".as_bytes(), None),
            znode("/a/bytes", &[0, 255, 128], Some(Lifetime::Container)),
            znode("/a/soon gone", b"x", Some(Lifetime::TtlMs(5000))),
        ]
    }

    fn file() -> Vec<u8> {
        let time = "2026-11-23T07:00:00.000Z".to_owned();
        let head = Head { quorate_export: FORMAT, path: "/a".into(), zxid: 7, cluster: None, time };
        let mut writer = Writer::begin(Vec::new(), &head).unwrap();
        for znode in znodes() {
            writer.znode(&znode).unwrap();
        }
        writer.skip_ephemeral();
        let (file, totals) = writer.finish().unwrap();
        assert_eq!((totals.znodes, totals.ephemerals), (4, 1));
        file
    }

    fn read(file: &[u8]) -> anyhow::Result<(Vec<Znode>, Totals)> {
        let mut reader = Reader::begin(file)?;
        let mut found = Vec::new();
        while let Some(znode) = reader.next()? {
            found.push(znode);
        }
        Ok((found, reader.totals()))
    }

    fn refused(file: &[u8]) -> String {
        format!("{:#}", read(file).unwrap_err())
    }

    #[test]
    fn what_is_written_is_read() {
        let (found, totals) = read(&file()).unwrap();
        assert_eq!(found, znodes());
        assert_eq!(totals.ephemerals, 1);
    }

    #[test]
    fn the_form_of_lines_is_fixed() {
        let text = String::from_utf8(file()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"quorate_export":1,"path":"/a","zxid":7,"time":"2026-11-23T07:00:00.000Z"}"#
        );
        assert_eq!(lines[1], r#"{"path":"/a"}"#);
        assert_eq!(lines[2], r#"{"path":"/a/text","text":"two\nlines, \"quoted\" \u0000"}"#);
        assert_eq!(lines[3], r#"{"path":"/a/bytes","base64":"AP+A","lifetime":"container"}"#);
        assert_eq!(lines[4], r#"{"path":"/a/soon gone","text":"x","lifetime":{"ttl_ms":5000}}"#);
        assert!(
            lines[5].starts_with(r#"{"end":{"znodes":4,"bytes":25,"ephemerals":1},"sha256":""#),
            "{}",
            lines[5]
        );
    }

    #[test]
    fn a_file_that_ends_early_anywhere_is_torn() {
        let file = file();
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "{end} of {} bytes", file.len());
        }
        let lines = file.iter().filter(|byte| **byte == b'\n').count();
        assert!(
            refused(&file[..file.len() - 1]).contains(&format!("line {lines}: the file is torn"))
        );
    }

    #[test]
    fn a_file_that_was_changed_is_refused() {
        let text = String::from_utf8(file()).unwrap();
        let changed = |from: &str, to: &str| refused(text.replacen(from, to, 1).as_bytes());
        assert!(changed("lines", "words").contains("line 6: the file was changed"));
        assert!(changed("{\"path\":\"/a\"}\n", "").contains("3 znodes"));
        assert!(changed("/a/text", "a/text").starts_with("line 3"));
        assert!(changed("AP+A", "A").starts_with("line 4: base64"));
        assert!(changed("\"text\":\"x\"", "\"text\":\"x\",\"base64\":\"\"").starts_with("line 5"));
        assert!(changed("\"quorate_export\":1", "\"quorate_export\":2").contains("format is 2"));
        assert!(refused(b"{}\n").contains("no file that `quorate export`"));
        assert!(refused(format!("{text}more\n").as_bytes()).contains("behind the end"));
    }

    #[test]
    fn an_endless_line_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let error = Reader::begin(endless).err().unwrap();
        assert!(error.to_string().contains("longer"), "{error}");
    }
}
