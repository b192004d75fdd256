//! `quorate multi`: several operations, all or none, from arguments, files or standard input. It knows their text form.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use quorate_client::wave::{self, CallText};
use quorate_client::{Client, Condition, CreateOperation, Error};
use quorate_core::limits::{MULTI_OPERATIONS_MAX, TRANSACTION_BYTES_MAX};
use quorate_core::query::Page;
use quorate_core::request::{Answer, Operation};
use serde_json::{Value as Json, json};

use super::conditions;
use crate::connect::Global;
use crate::failure::Usage;
use crate::output::{FAINT, NAME};
use crate::{duration, fence, json};

/// `quorate multi`
#[derive(Debug, clap::Args)]
#[command(after_help = "An operation is one argument, or one line of a file or of standard input:
  create PATH [DATA] [sequential] [parents] [container] [ttl=TIME] [acl=ENTRY ...] [or-get|or-set]
  set PATH DATA [FIELD=N ...]
  check PATH [FIELD=N ...]      fields of the stat: version czxid mzxid pzxid cversion aversion
  check PATH absent
  rm PATH [recursive] [FIELD=N ...]
  get PATH, stat PATH, exists PATH, ls PATH [after=NAME] [limit=N]
  fence RECIPE:ZNODE=TOKEN
  call RECIPE FUNCTION(ARGUMENTS)
Words with spaces stand in double quotes, in which \\\" and \\\\ and \\n are known. Empty lines and lines that begin with # are skipped.
Several files are one transaction, in their order. A read sees what the operations before it did. A call that would have to wait makes the whole fail.
--root is for all paths but those in a fence and in a call, which are the recipe's.

Examples:
  quorate multi 'check /config version=3' 'set /config new' 'call counter add(\"/changes\", 1)'
  quorate multi --file operations.txt
  quorate multi < operations.txt")]
pub struct Multi {
    /// Operations; none or `-`: from standard input
    #[arg(value_name = "OPERATION", conflicts_with = "file")]
    operations: Vec<String>,
    /// Operations, one a line; may be given several times
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// An operation as it was given.
struct Given {
    text: String,
    /// Where, for people.
    place: String,
}

/// An operation as text, taken apart.
enum Line {
    Tree(Operation),
    Call { recipe: String, call: CallText },
}

impl Multi {
    /// Runs it.
    ///
    /// # Errors
    /// For a line that makes no sense, and what the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let given = self.given()?;
        let lines = parse_all(&given)?;
        let (zxid, results) =
            global.with_client(async |client| execute(&client, &lines, &given).await).await?;
        let json = || json!({ "zxid": zxid, "results": results.iter().map(|result| &result.json).collect::<Vec<_>>() });
        global.output().show(json, |out| {
            for (Given { text, .. }, result) in given.iter().zip(&results) {
                writeln!(out, "{NAME}{text}{NAME:#}{}", result.text)?;
            }
            writeln!(out, "{FAINT}all done in transaction {zxid}{FAINT:#}")
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn given(&self) -> anyhow::Result<Vec<Given>> {
        if !self.file.is_empty() {
            let mut all = Vec::new();
            for file in &self.file {
                let name = file.display().to_string();
                let opened = File::open(file).with_context(|| format!("{name} can not be read"))?;
                all.extend(lines(opened, &format!("{name}, line"))?);
            }
            return Ok(all);
        }
        match &*self.operations {
            [] => lines(std::io::stdin().lock(), "line"),
            [only] if only == "-" => lines(std::io::stdin().lock(), "line"),
            given => {
                let numbered = given.iter().cloned().zip(1..);
                Ok(numbered
                    .map(|(text, at)| Given { text, place: format!("operation {at}") })
                    .collect())
            }
        }
    }
}

/// What stands in the lines of a text, which may not have more than one transaction may.
fn lines(from: impl Read, place: &str) -> anyhow::Result<Vec<Given>> {
    let mut text = String::new();
    let most = TRANSACTION_BYTES_MAX;
    let read = from.take(most as u64 + 1).read_to_string(&mut text);
    read.with_context(|| format!("{place} 1 and what is behind it can not be read"))?;
    if text.len() > most {
        let told = format!(
            "{place} 1 and what is behind it has more than the {most} bytes of a transaction"
        );
        return Err(Usage(told).into());
    }
    let numbered = text.lines().map(str::trim).zip(1..);
    let wanted =
        numbered.filter(|(line, _): &(&str, u32)| !line.is_empty() && !line.starts_with('#'));
    Ok(wanted
        .map(|(line, at)| Given { text: line.to_owned(), place: format!("{place} {at}") })
        .collect())
}

fn parse_all(texts: &[Given]) -> anyhow::Result<Vec<Line>> {
    if texts.is_empty() {
        return Err(Usage("there is no operation".to_owned()).into());
    }
    if texts.len() > MULTI_OPERATIONS_MAX {
        let told = format!(
            "{} operations, and at most {MULTI_OPERATIONS_MAX} go into one transaction",
            texts.len()
        );
        return Err(Usage(told).into());
    }
    let parse = |Given { text, place }: &Given| {
        Line::parse(text).map_err(|error| anyhow::Error::from(Usage(format!("{place}: {error}"))))
    };
    texts.iter().map(parse).collect()
}

/// What an operation came to.
struct Shown {
    text: String,
    json: Json,
}

async fn execute(
    client: &Client,
    lines: &[Line],
    texts: &[Given],
) -> anyhow::Result<(u64, Vec<Shown>)> {
    let mut multi = client.multi();
    for line in lines {
        multi = multi.operation(line.operation(client).await?);
    }
    let (zxid, answers) = match multi.await {
        Err(Error::Refused(failure)) => {
            let at = failure.operation.and_then(|at| texts.get(at as usize));
            let told =
                at.map_or_else(|| "all".to_owned(), |at| format!("{}, \"{}\"", at.place, at.text));
            return Err(anyhow::Error::from(Error::Refused(failure))
                .context(format!("nothing was done, because of {told}")));
        }
        other => other?,
    };
    let mut results = Vec::new();
    for (line, answer) in lines.iter().zip(&answers) {
        results.push(line.result(client, answer).await?);
    }
    Ok((zxid.0, results))
}

impl Line {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if verb == "call" {
            let (recipe, call) = rest
                .trim_start()
                .split_once(char::is_whitespace)
                .ok_or("expected a recipe and a call")?;
            let call = CallText::parse(call.trim()).map_err(|error| error.to_string())?;
            return Ok(Self::Call { recipe: recipe.to_owned(), call });
        }
        let mut words = words(rest)?.into_iter();
        let path = words.next().ok_or("expected a path")?.text;
        let operation = match verb {
            "create" => {
                let data = words.next().map_or_else(Bytes::new, |word| word.text.into());
                create(CreateOperation::new(&path).data(data), words)?
            }
            "set" => {
                let data = words.next().ok_or("expected data behind the path")?.text.into();
                Operation::Set { path, data, condition: condition(words)? }
            }
            "check" if words.as_slice().iter().any(|word| word.is("absent")) => {
                words.next();
                end(words)?;
                Operation::CheckAbsent { path }
            }
            "check" => Operation::Check { path, condition: condition(words)? },
            "rm" if words.as_slice().first().is_some_and(|word| word.is("recursive")) => {
                words.next();
                Operation::DeleteTree { path, condition: condition(words)? }
            }
            "rm" => Operation::Delete { path, condition: condition(words)? },
            "get" | "stat" | "exists" => {
                end(words)?;
                match verb {
                    "get" => Operation::Get { path },
                    "stat" => Operation::Stat { path },
                    _ => Operation::Exists { path },
                }
            }
            "ls" => Operation::Children { path, page: page(words)?, with_data: false },
            "fence" => {
                end(words)?;
                Operation::Fence(fence::parse(&path)?)
            }
            other => {
                return Err(format!(
                    "\"{other}\" is no operation: create, set, check, rm, get, stat, exists, ls, fence, call"
                ));
            }
        };
        Ok(Self::Tree(operation))
    }

    async fn operation(&self, client: &Client) -> anyhow::Result<Operation> {
        match self {
            Self::Tree(operation) => Ok(operation.clone()),
            Self::Call { recipe, call } => {
                let recipe = client.recipe(recipe);
                let types = recipe.interface().await?;
                let function = types.function(call.function()).map_err(Error::from)?;
                let arguments = call.arguments(function).map_err(Error::from)?;
                Ok(recipe.operation(call.function(), &arguments).await?)
            }
        }
    }

    async fn result(&self, client: &Client, answer: &Answer) -> anyhow::Result<Shown> {
        let text = match (self, answer) {
            (Self::Call { recipe, call }, answer) => {
                let recipe = client.recipe(recipe);
                let types = recipe.interface().await?;
                let function = types.function(call.function()).map_err(Error::from)?;
                let value = recipe.result(call.function(), answer).await?;
                return Ok(match (value, &function.result) {
                    (Some(value), Some(kind)) => Shown {
                        text: format!(" -> {}", wave::show(&value, kind)),
                        json: json!({ "value": json::value(&value, kind) }),
                    },
                    _ => Shown { text: String::new(), json: json!({}) },
                });
            }
            (_, Answer::Created { path, .. }) => format!(" -> {path}"),
            (_, Answer::Stat(stat) | Answer::Exists(Some(stat))) => {
                format!(" -> version {}", stat.version)
            }
            (_, Answer::Exists(None)) => " -> not there".to_owned(),
            (_, Answer::Node { data, stat }) => {
                format!(" -> {} (version {})", data.escape_ascii(), stat.version)
            }
            (_, Answer::Names(listing)) => {
                let more = if listing.has_more { " and more" } else { "" };
                format!(" -> {}{more}", listing.children.join(" "))
            }
            (_, Answer::Deleted { count }) => format!(" -> {count} znodes"),
            _ => String::new(),
        };
        Ok(Shown { text, json: json::answer(answer) })
    }
}

/// A creation and the words behind its data.
fn create(create: CreateOperation, words: impl Iterator<Item = Word>) -> Result<Operation, String> {
    let mut create = create;
    let mut or = None;
    let mut acl = Vec::new();
    for word in words {
        create = match &*word.text {
            "sequential" => create.sequential(),
            "parents" => create.parents(),
            "container" => create.container(),
            "or-get" | "or-set" => {
                or = Some(word.text == "or-get");
                create
            }
            other => match other.split_once('=') {
                Some(("ttl", ttl)) => create.ttl(duration::parse(ttl)?),
                Some(("acl", entry)) => {
                    acl.push(entry.to_owned());
                    create
                }
                _ => {
                    return Err(format!(
                        "\"{other}\" is none of `sequential`, `parents`, `container`, `ttl=TIME`, `acl=ENTRY`, `or-get`, `or-set`"
                    ));
                }
            },
        };
    }
    if !acl.is_empty() {
        create = create.acl(super::acl::parse(&acl).map_err(|error| error.to_string())?);
    }
    match or {
        None => Ok(create.into()),
        Some(true) => create.or_get().map_err(|refusal| refusal.message),
        Some(false) => create.or_set().map_err(|refusal| refusal.message),
    }
}

/// `FIELD=N`s, and nothing behind them.
fn condition(words: impl Iterator<Item = Word>) -> Result<Condition, String> {
    let mut condition = Condition::ANY;
    for word in words {
        if word.is_quoted || !word.text.contains('=') {
            return Err(too_many(&word));
        }
        let (name, value) = conditions::field(&word.text)?;
        if let Some(field) = condition.field(&name)
            && field.replace(value).is_some()
        {
            return Err(format!("{name} is asked for twice"));
        }
    }
    Ok(condition)
}

/// `after=NAME` and `limit=N`.
fn page(words: impl Iterator<Item = Word>) -> Result<Page, String> {
    let mut page = Page::first();
    for word in words {
        match word.text.split_once('=') {
            Some(("after", name)) => page.after = Some(name.to_owned()),
            Some(("limit", limit)) => {
                page.limit = limit.parse().map_err(|_| format!("\"{limit}\" is no limit"))?;
            }
            _ => return Err(too_many(&word)),
        }
    }
    Ok(page)
}

fn end(mut words: impl Iterator<Item = Word>) -> Result<(), String> {
    words.next().map_or(Ok(()), |word| Err(too_many(&word)))
}

fn too_many(word: &Word) -> String {
    format!("\"{}\" is one word too many; data with spaces stands in double quotes", word.text)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    is_quoted: bool,
}

impl Word {
    fn is(&self, text: &str) -> bool {
        !self.is_quoted && self.text == text
    }
}

/// Splits at spaces that do not stand in double quotes.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&first) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = Word { text: String::new(), is_quoted: first == '"' };
        if word.is_quoted {
            chars.next();
            loop {
                match chars.next().ok_or("a double quote is not closed")? {
                    '"' => break,
                    '\\' => word.text.push(match chars.next() {
                        Some('n') => '\n',
                        Some(known @ ('"' | '\\')) => known,
                        _ => return Err("behind \\ stands one of \" \\ n".to_owned()),
                    }),
                    other => word.text.push(other),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|next| !next.is_whitespace()) {
                word.text.push(next);
            }
        }
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::request::{LifetimeKind, Sequence};

    fn tree(text: &str) -> Operation {
        match Line::parse(text) {
            Ok(Line::Tree(operation)) => operation,
            Ok(Line::Call { .. }) => panic!("{text}: a call"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn operations_are_read() {
        let set = Operation::Set {
            path: "/a".into(),
            data: "two words\n".into(),
            condition: Condition::version(3),
        };
        assert_eq!(tree(r#"set /a "two words\n" version=3"#), set);
        assert_eq!(
            tree("check /a version=2"),
            Operation::Check { path: "/a".into(), condition: Condition::version(2) }
        );
        assert_eq!(
            tree("  rm   /b "),
            Operation::Delete { path: "/b".into(), condition: Condition::ANY }
        );
        let create = Operation::Create {
            path: "/a".into(),
            data: "x".into(),
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::Native,
            parents: true,
            acl: None,
        };
        assert_eq!(tree("create /a x sequential parents"), create);
    }

    #[test]
    fn what_an_operation_depends_on_is_read() {
        let path = || "/a".to_owned();
        let condition = Condition { mzxid: Some(7), cversion: Some(0), ..Condition::ANY };
        assert_eq!(
            tree("check /a cversion=0 mzxid=7"),
            Operation::Check { path: path(), condition }
        );
        assert_eq!(tree("check /a absent"), Operation::CheckAbsent { path: path() });
        let tree_of = Operation::DeleteTree { path: path(), condition };
        assert_eq!(tree("rm /a recursive mzxid=7 cversion=0"), tree_of);
        let lifetime = LifetimeKind::Persistent;
        let or_set = |acl| {
            let data = "x".into();
            Operation::SetOrCreate { path: path(), data, lifetime, parents: true, acl }
        };
        assert_eq!(tree("create /a x or-set parents"), or_set(None));
        let entries = ["auth::cdrwa", "world:anyone:r"].map(str::to_owned);
        let acl = super::super::acl::parse(&entries).expect("valid");
        assert_eq!(
            tree("create /a x acl=auth::cdrwa acl=world:anyone:r or-set parents"),
            or_set(Some(acl))
        );
        let page = Page { after: Some("b".to_owned()), limit: 3, ..Page::first() };
        assert_eq!(
            tree("ls /a after=b limit=3"),
            Operation::Children { path: path(), page, with_data: false }
        );
        assert_eq!(tree("exists /a"), Operation::Exists { path: path() });
        let Operation::Fence(fence) = tree("fence election:/e/w0=812") else {
            panic!("not a fence");
        };
        assert_eq!((&*fence.recipe, &*fence.node, fence.token), ("election", "/e/w0", 812));
    }

    #[test]
    fn data_in_quotes_is_never_an_option() {
        let set = Operation::Set {
            path: "/a".into(),
            data: "version=3".into(),
            condition: Condition::ANY,
        };
        assert_eq!(tree("set /a version=3"), set);
        assert!(Line::parse(r#"set /a x "version=3""#).is_err());
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "# first\n\n  rm /a\nmove /b\n";
        let given = lines(text.as_bytes(), "x, line").expect("short");
        let places: Vec<&str> = given.iter().map(|given| &*given.place).collect();
        assert_eq!(places, ["x, line 3", "x, line 4"]);
        let error = parse_all(&given).err().expect("no operation").to_string();
        assert!(error.starts_with("x, line 4: \"move\""), "{error}");
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_and_not_cut() {
        let long = "#".repeat(TRANSACTION_BYTES_MAX) + "\nrm /a";
        assert!(lines(long.as_bytes(), "line").is_err());
    }

    #[test]
    fn a_call_keeps_its_text() {
        let Ok(Line::Call { recipe, call }) = Line::parse(r#"call counter add("/hits now", 1)"#)
        else {
            panic!("not a call");
        };
        assert_eq!((&*recipe, call.function()), ("counter", "add"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "set",
            "set /a",
            "move /a /b",
            "set /a x y",
            "rm /a version=x",
            "rm /a version=1 more",
            "create /a x ephemeral",
            "rm /a version=1 version=2",
            "check /a size=1",
            "check /a absent version=1",
            "create /a x sequential or-get",
            "create /a x acl=anyone",
            "get /a x",
            "ls /a limit=x",
            "fence /a",
            "set /a \"x",
            "set /a \"\\x\"",
            "call counter",
            "call counter add(",
        ] {
            assert!(Line::parse(bad).is_err(), "{bad}");
        }
        assert!(parse_all(&[]).is_err());
        let many = "rm /a\n".repeat(MULTI_OPERATIONS_MAX + 1);
        assert!(parse_all(&lines(many.as_bytes(), "line").expect("short")).is_err());
    }
}
