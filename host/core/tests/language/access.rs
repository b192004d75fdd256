//! Commands about access: lists, rules, identities, and who may do what.

use quorate_core::access::{
    AccessChange, Acl, AclEntry, Asker, Held, Identity, Object, Permissions, Rule, Stance, ask,
};
use quorate_core::execute;
use quorate_core::ids::{Millis, SessionId};
use quorate_core::path::Path;
use quorate_core::request::Operation;

use super::show;
use super::words::Words;
use super::world::World;

type Said = Result<Vec<String>, String>;

fn refused<T>(result: Result<T, quorate_core::error::Refusal>) -> Result<T, String> {
    result.map_err(|refusal| refusal.to_string())
}

/// `as=token:a+x509:CN=b`: identities.
pub fn identities(text: Option<String>) -> Result<Vec<Identity>, String> {
    let text = text.unwrap_or_default();
    let parts = text.split('+').filter(|part| !part.is_empty());
    parts.map(|part| refused(Identity::parse(part))).collect()
}

/// `acl=world:anyone:r+token:a:cdrwa`, or `acl=` for an empty one.
pub fn acl(text: Option<String>) -> Result<Option<Acl>, String> {
    let Some(text) = text else { return Ok(None) };
    let parts = text.split('+').filter(|part| !part.is_empty());
    let entries = parts.map(|part| refused(AclEntry::parse(part)));
    Ok(Some(Acl { entries: entries.collect::<Result<_, _>>()? }))
}

/// The operations that change who may do what; none if this is another verb.
pub fn operation(verb: &str, words: &mut Words) -> Result<Option<Operation>, String> {
    if !["set-acl", "stance", "grant", "revoke"].contains(&verb) {
        return Ok(None);
    }
    let (version, is_forced) = (words.number("version")?, words.flag("force"));
    let change = match verb {
        "set-acl" => {
            let acl = acl(words.option("acl"))?;
            return Ok(Some(Operation::SetAcl { path: words.path()?, acl, version, is_forced }));
        }
        "stance" => AccessChange::SetStance(match words.next("open or deny")?.as_str() {
            "deny" => Stance::Deny,
            _ => Stance::Open,
        }),
        _ => {
            let function = words.option("function");
            let object = refused(Object::parse(&words.next("an object")?))?;
            let who = refused(Identity::parse(&words.next("an identity")?))?;
            let permissions = refused(Permissions::parse(&words.next("permissions")?))?;
            let rule = Rule { who, function, permissions };
            if verb == "grant" {
                AccessChange::Grant(object, rule)
            } else {
                AccessChange::Revoke(object, rule)
            }
        }
    };
    Ok(Some(Operation::Access { change, is_forced }))
}

/// `identity SESSION IDENTITY until=MS`
pub fn add_identity(world: &mut World, words: &mut Words) -> Said {
    let id = world.session(&words.next("a session")?)?;
    let expires = words.number("until")?.map(Millis);
    let identity = refused(Identity::parse(&words.next("an identity")?))?;
    let mut refusal = None;
    let said = world.host(|view, slot| {
        match execute::add_identity(view, slot, id, Held { identity, expires }) {
            (view, Ok(transaction)) => (view, Some(transaction)),
            (view, Err(refused)) => {
                refusal = Some(refused);
                (view, None)
            }
        }
    });
    Ok(refusal.map_or(said, |refusal| vec![format!("not executed: {refusal}")]))
}

/// Reads with a right: `may-read SESSION PATH`, `acl SESSION PATH`, `rules SESSION [OBJECT]`, `may SESSION PERMISSION OBJECT`.
pub fn read(world: &World, command: &str, words: &mut Words) -> Option<Said> {
    Some(match command {
        "may-read" => may_read(world, words),
        "acl" => list(world, words),
        "rules" => rules(world, words),
        "may" => may(world, words),
        _ => return None,
    })
}

fn asker(world: &World, words: &mut Words) -> Result<Asker, String> {
    let address = words.option("from").and_then(|text| text.parse().ok());
    let session: SessionId = world.session(&words.next("a session")?)?;
    Ok(Asker::of_session(session, address, world.pair.now))
}

fn may_read(world: &World, words: &mut Words) -> Said {
    let asker = asker(world, words)?;
    let path = refused(Path::parse(&words.path()?))?;
    let result = ask::require_read(&world.pair.leader, &asker, &path);
    Ok(vec![result.map_or_else(|refusal| refusal.to_string(), |()| "yes".to_owned())])
}

fn list(world: &World, words: &mut Words) -> Said {
    let asker = asker(world, words)?;
    let path = refused(Path::parse(&words.path()?))?;
    Ok(vec![match ask::acl(&world.pair.leader, &asker, &path) {
        Ok((acl, stat)) => {
            let acl = acl.map_or_else(|| "none".to_owned(), |acl| acl.to_string());
            format!("{acl}, aversion {}", stat.aversion)
        }
        Err(refusal) => refusal.to_string(),
    }])
}

fn rules(world: &World, words: &mut Words) -> Said {
    let asker = asker(world, words)?;
    let tree = &world.pair.leader;
    let found = match words.next("an object") {
        Ok(object) => {
            let object = refused(Object::parse(&object))?;
            let rules = ask::rules_on(tree, &asker, &object);
            rules.map(|rules| rules.map(|rules| (object, rules)).into_iter().collect())
        }
        Err(_) => ask::rules_all(tree, &asker, None).map(|page| page.rules),
    };
    Ok(match found {
        Ok(rules) => {
            let lines = rules.iter().map(|(object, rules)| show::rules(object, rules));
            lines.collect()
        }
        Err(refusal) => vec![refusal.to_string()],
    })
}

fn may(world: &World, words: &mut Words) -> Said {
    let function = words.option("function");
    let others = words.option("as").map(|text| identities(Some(text))).transpose()?;
    let asker = asker(world, words)?;
    let permission = refused(Permissions::parse(&words.next("a permission")?))?;
    let object = refused(Object::parse(&words.next("an object")?))?;
    let (tree, function) = (&world.pair.leader, function.as_deref());
    let verdict = ask::verdict(tree, &asker, others.as_deref(), permission, &object, function);
    Ok(vec![match verdict {
        Ok(verdict) => {
            let word = if verdict.is_allowed { "yes" } else { "no" };
            format!("{word}: {}", verdict.decider)
        }
        Err(refusal) => refusal.to_string(),
    }])
}
