//! `quorate multi`: several operations, all or none, from arguments or standard input. It knows their text form.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use quorate_client::wave::{self, CallText};
use quorate_client::{Client, CreateOperation, Error};
use quorate_core::limits::{MULTI_OPERATIONS_MAX, TRANSACTION_BYTES_MAX};
use quorate_core::request::{Answer, Operation};
use serde_json::{Value as Json, json};

use crate::connect::Global;
use crate::failure::Usage;
use crate::output::{FAINT, NAME};
use crate::{duration, json};

/// `quorate multi`
#[derive(Debug, clap::Args)]
#[command(after_help = "An operation is one argument, or one line of standard input:
  create PATH [DATA] [sequential] [parents] [container] [ttl=TIME]
  set PATH DATA [version=N]
  check PATH [version=N]
  rm PATH [version=N]
  call RECIPE FUNCTION(ARGUMENTS)
Words with spaces stand in double quotes, in which \\\" and \\\\ and \\n are known. Empty lines and lines that begin with # are skipped.
A call that would have to wait makes the whole fail.

Examples:
  quorate multi 'check /config version=3' 'set /config new' 'call counter add(\"/changes\", 1)'
  quorate multi < operations.txt")]
pub struct Multi {
    /// Operations; none or `-`: from standard input
    #[arg(value_name = "OPERATION")]
    operations: Vec<String>,
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
        let texts = match &*self.operations {
            [] => lines()?,
            [only] if only == "-" => lines()?,
            given => given.to_vec(),
        };
        let lines = parse_all(&texts)?;
        let (zxid, results) =
            global.with_client(async |client| execute(&client, &lines, &texts).await).await?;
        let json = || json!({ "zxid": zxid, "results": results.iter().map(|result| &result.json).collect::<Vec<_>>() });
        global.output().show(json, |out| {
            for (text, result) in texts.iter().zip(&results) {
                writeln!(out, "{NAME}{text}{NAME:#}{}", result.text)?;
            }
            writeln!(out, "{FAINT}all done in transaction {zxid}{FAINT:#}")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Standard input; not more of it than one transaction may have.
fn lines() -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(TRANSACTION_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .context("standard input can not be read")?;
    let wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text.lines().map(str::trim).filter(wanted).map(str::to_owned).collect())
}

fn parse_all(texts: &[String]) -> anyhow::Result<Vec<Line>> {
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
    let parse = |(at, text): (usize, &String)| {
        Line::parse(text)
            .map_err(|error| anyhow::Error::from(Usage(format!("operation {}: {error}", at + 1))))
    };
    texts.iter().enumerate().map(parse).collect()
}

/// What an operation came to.
struct Shown {
    text: String,
    json: Json,
}

async fn execute(
    client: &Client,
    lines: &[Line],
    texts: &[String],
) -> anyhow::Result<(u64, Vec<Shown>)> {
    let mut multi = client.multi();
    for line in lines {
        multi = multi.operation(line.operation(client).await?);
    }
    let (zxid, answers) = match multi.await {
        Err(Error::Refused(failure)) => {
            let at = failure.operation.and_then(|at| texts.get(at as usize));
            let told = at.map_or_else(|| "all".to_owned(), |text| format!("\"{text}\""));
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
                let mut create = CreateOperation::new(&path).data(data);
                for word in words {
                    create = match &*word.text {
                        "sequential" => create.sequential(),
                        "parents" => create.parents(),
                        "container" => create.container(),
                        other => match other.strip_prefix("ttl=") {
                            Some(ttl) => create.ttl(duration::parse(ttl)?),
                            None => {
                                return Err(format!(
                                    "\"{other}\" is none of `sequential`, `parents`, `container`, `ttl=TIME`"
                                ));
                            }
                        },
                    };
                }
                create.into()
            }
            "set" => {
                let data = words.next().ok_or("expected data behind the path")?.text.into();
                Operation::Set { path, data, version: version(words)? }
            }
            "check" => Operation::Check { path, version: version(words)? },
            "rm" => Operation::Delete { path, version: version(words)? },
            other => {
                return Err(format!("\"{other}\" is no operation: create, set, check, rm, call"));
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
            (_, Answer::Stat(stat)) => format!(" -> version {}", stat.version),
            _ => String::new(),
        };
        Ok(Shown { text, json: json::answer(answer) })
    }
}

/// `version=N`, and nothing behind it.
fn version(mut words: impl Iterator<Item = Word>) -> Result<Option<u64>, String> {
    let Some(word) = words.next() else { return Ok(None) };
    let number = word.text.strip_prefix("version=").filter(|_| !word.is_quoted);
    let number = number.ok_or_else(|| format!("expected version=N, not \"{}\"", word.text))?;
    if let Some(more) = words.next() {
        return Err(format!(
            "\"{}\" is one word too many; data with spaces stands in double quotes",
            more.text
        ));
    }
    number.parse().map(Some).map_err(|_| format!("\"{number}\" is no version"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    is_quoted: bool,
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
        let set =
            Operation::Set { path: "/a".into(), data: "two words\n".into(), version: Some(3) };
        assert_eq!(tree(r#"set /a "two words\n" version=3"#), set);
        assert_eq!(
            tree("check /a version=2"),
            Operation::Check { path: "/a".into(), version: Some(2) }
        );
        assert_eq!(tree("  rm   /b "), Operation::Delete { path: "/b".into(), version: None });
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
    fn data_in_quotes_is_never_an_option() {
        let set = Operation::Set { path: "/a".into(), data: "version=3".into(), version: None };
        assert_eq!(tree("set /a version=3"), set);
        assert!(Line::parse(r#"set /a x "version=3""#).is_err());
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
            "set /a \"x",
            "set /a \"\\x\"",
            "call counter",
            "call counter add(",
        ] {
            assert!(Line::parse(bad).is_err(), "{bad}");
        }
        assert!(parse_all(&[]).is_err());
        assert!(parse_all(&vec!["rm /a".to_owned(); MULTI_OPERATIONS_MAX + 1]).is_err());
    }
}
