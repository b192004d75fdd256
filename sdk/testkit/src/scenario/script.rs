//! A scenario's text, taken apart by the grammar of recipes/SCENARIOS.md. It knows words and lines; what a pattern or an
//! argument means depends on the function's type, and is read when it is run.

use crate::kit::failed_code;
use crate::wave::{Cut, cut};

/// A step, with what it is to cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// From 1.
    pub(super) line: usize,
    pub(super) action: Action,
    pub(super) consequences: Vec<Consequence>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Call { session: u64, function: String, arguments: Vec<String>, outcome: String, how: How },
    Expire(u64),
    Close(u64),
    Cancel(u64),
    Advance(u64),
    Reset,
    Upgrade,
    Tree { path: String, names: Names },
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// `call`
    Write,
    /// `read`
    Read,
}

/// The children that a znode is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// There is to be no znode.
    NoNode,
    /// One for each; none: any name.
    These(Vec<Option<String>>),
}

/// A parked call that a step is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consequence {
    pub(super) line: usize,
    pub(super) session: u64,
    pub(super) function: String,
    pub(super) outcome: String,
}

/// Reads a scenario.
///
/// # Errors
/// The first line that is none, by its number, and why.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, (usize, String)> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let fail = |message: String| (line, message);
        let content = text.trim_matches(' ');
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let is_indented = text.starts_with(' ');
        let is_consequence = content.starts_with("=>");
        if is_indented != is_consequence {
            let message = if is_indented {
                "a step is not indented; a consequence begins with =>"
            } else {
                "a consequence is indented by spaces"
            };
            return Err(fail(message.to_owned()));
        }
        let cut = cut(content).map_err(fail)?;
        if is_consequence {
            let consequence = consequence(line, &cut).map_err(fail)?;
            let Some(step) = steps.last_mut() else {
                return Err(fail("a consequence needs a step above it".to_owned()));
            };
            step.consequences.push(consequence);
        } else {
            let action = action(&cut).map_err(fail)?;
            steps.push(Step { line, action, consequences: Vec::new() });
        }
    }
    Ok(steps)
}

fn action(cut: &Cut<'_>) -> Result<Action, String> {
    Ok(match (&cut.words[..], cut.behind_arrow) {
        (["session", session, "call", function, arguments @ ..], Some(outcome)) => {
            call(How::Write, session, function, arguments, outcome)?
        }
        (["session", session, "read", function, arguments @ ..], Some(outcome)) => {
            if outcome == "parked" {
                return Err("a read can not wait: it is never `parked`".to_owned());
            }
            call(How::Read, session, function, arguments, outcome)?
        }
        (["expire", session], None) => Action::Expire(session_number(session)?),
        (["close", session], None) => Action::Close(session_number(session)?),
        (["cancel", session], None) => Action::Cancel(session_number(session)?),
        (["advance", milliseconds], None) => Action::Advance(number(milliseconds)?),
        (["reset"], None) => Action::Reset,
        (["upgrade"], None) => Action::Upgrade,
        (["tree", path], Some(behind)) => {
            Action::Tree { path: (*path).to_owned(), names: names(behind)? }
        }
        (["session", ..], None) => return Err("a call needs `->` and its outcome".to_owned()),
        (["tree", ..], None) => {
            return Err("`tree` needs `->` and the names of children".to_owned());
        }
        _ => {
            let known = "session N call FUNCTION ARG* -> OUTCOME, session N read FUNCTION ARG* -> OUTCOME, expire N, close N, cancel N, advance MS, reset, upgrade, tree PATH -> NAMES";
            return Err(format!("this is no step; there are: {known}"));
        }
    })
}

fn call(
    how: How,
    session: &str,
    function: &str,
    arguments: &[&str],
    outcome: &str,
) -> Result<Action, String> {
    Ok(Action::Call {
        session: session_number(session)?,
        function: function.to_owned(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        outcome: checked_outcome(outcome)?,
        how,
    })
}

fn consequence(line: usize, cut: &Cut<'_>) -> Result<Consequence, String> {
    let (["=>", session, function], Some(outcome)) = (&cut.words[..], cut.behind_arrow) else {
        return Err("this is no consequence: => N FUNCTION -> OUTCOME".to_owned());
    };
    let outcome = checked_outcome(outcome)?;
    if outcome == "parked" {
        return Err("a consequence is a call that ends: it can not be `parked`".to_owned());
    }
    let function = (*function).to_owned();
    Ok(Consequence { line, session: session_number(session)?, function, outcome })
}

fn checked_outcome(text: &str) -> Result<String, String> {
    let is_failed = text == "failed" || text.starts_with("failed ");
    if text.is_empty() {
        return Err("the outcome is missing: parked, failed CODE, or a pattern".to_owned());
    }
    if is_failed && failed_code(text).is_none_or(str::is_empty) {
        return Err("`failed` needs one code, in letters and `-`".to_owned());
    }
    Ok(text.to_owned())
}

fn names(text: &str) -> Result<Names, String> {
    match text {
        "" => return Ok(Names::These(Vec::new())),
        "no-node" => return Ok(Names::NoNode),
        _ => {}
    }
    let name = |name: &str| match name.trim_matches(' ') {
        "_" => Ok(None),
        "no-node" => Err("`no-node` stands alone".to_owned()),
        "" => Err("a name is missing before or behind a comma".to_owned()),
        name if name.contains(' ') => {
            Err(format!("`{name}` is no name: names have commas between"))
        }
        name => Ok(Some(name.to_owned())),
    };
    text.split(',').map(name).collect::<Result<_, _>>().map(Names::These)
}

fn session_number(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("sessions are numbered from 1".to_owned()),
        number => Ok(number),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_whole);
    number.ok_or_else(|| format!("`{text}` is no whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_their_consequences_with_comments_between() {
        let text = "# A lock.\nsession 1 call acquire \"/a b\" {:} -> ok({token: $first})\n\nexpire 1\n # then\n    => 2  lock.acquire -> ok(_)\ntree / -> a, _\n";
        let steps = parse(text).expect("well-formed");
        assert_eq!(steps.len(), 3);
        let Action::Call { session: 1, function, arguments, outcome, how: How::Write } =
            &steps[0].action
        else {
            panic!("{:?}", steps[0]);
        };
        assert_eq!((function.as_str(), outcome.as_str()), ("acquire", "ok({token: $first})"));
        assert_eq!(arguments, &["\"/a b\"", "{:}"]);
        assert_eq!(steps[1].action, Action::Expire(1));
        let consequence = Consequence {
            line: 6,
            session: 2,
            function: "lock.acquire".to_owned(),
            outcome: "ok(_)".to_owned(),
        };
        assert_eq!(steps[1].consequences, [consequence]);
        let names = Names::These(vec![Some("a".to_owned()), None]);
        assert_eq!(steps[2].action, Action::Tree { path: "/".to_owned(), names });
    }

    #[test]
    fn what_is_no_line_of_the_grammar_is_an_error_of_that_line() {
        let wrong = [
            "    => 1 f -> ok",
            "expire 1\n=> 1 f -> ok",
            "expire 1\n    => 1 f -> parked",
            "expire 1\n    => 1 f",
            "expire 1\n    => 1 f x -> ok",
            " expire 1",
            "expire 0",
            "expire",
            "expire +1",
            "expire 1 2",
            "expire 1 -> ok",
            "advance 1s",
            "reset 1",
            "sesion 1 call f -> ok",
            "session 1 call f",
            "session 1 call f ->",
            "session 1 read f",
            "session 1 read f -> parked",
            "session 1 reads f -> ok",
            "session 1 call -> ok",
            "session 1 call f -> failed",
            "session 1 call f -> failed no such",
            "session 1 call f (1 -> ok",
            "tree /",
            "tree / -> a b",
            "tree / -> a,",
            "tree / -> a, no-node",
            "\treset",
        ];
        for text in wrong {
            let (line, message) = parse(text).expect_err(text);
            assert_eq!(line, text.lines().count(), "{text}: {message}");
        }
    }
}
