//! Messages about access: changes of rules, and what can be asked.

use quorate_core::access::ask::RulesPage;
use quorate_core::access::{AccessChange, Acl, Identity, Object, Permissions, Rule, Rules, Stance};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::limits;
use quorate_core::znode::Stat;

/// What is asked about access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessQuery {
    /// A znode's own access list.
    Acl(String),
    /// The rules on one object.
    RulesOn(Object),
    /// All rules, those behind this object.
    Rules {
        /// The last one of the page before.
        after: Option<Object>,
    },
    /// Whether somebody may do something.
    May {
        /// Who; none for whoever asks.
        who: Option<Vec<Identity>>,
        /// Any one of these.
        permission: Permissions,
        /// To what.
        object: Object,
        /// Which function is called.
        function: Option<String>,
    },
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessResults {
    /// Of `Acl`.
    Acl {
        /// The list; none while rules decide.
        acl: Option<Acl>,
        /// The znode's stat.
        stat: Stat,
    },
    /// Of `RulesOn` and `Rules`.
    Rules {
        /// What holds where nothing is said.
        stance: Stance,
        /// Objects and the rules on them.
        page: RulesPage,
    },
    /// Of `May`.
    May {
        /// Whether they may.
        is_allowed: bool,
        /// What decides, for people.
        decider: String,
    },
}

impl AccessQuery {
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Acl(path) => {
                writer.u8(0);
                writer.text(path);
            }
            Self::RulesOn(object) => {
                writer.u8(1);
                object.write(writer);
            }
            Self::Rules { after } => {
                writer.u8(2);
                writer.option(after.as_ref(), |writer, object| object.write(writer));
            }
            Self::May { who, permission, object, function } => {
                writer.u8(3);
                writer.option(who.as_ref(), |writer, who| {
                    writer.u64(who.len() as u64);
                    who.iter().for_each(|identity| identity.write(writer));
                });
                permission.write(writer);
                object.write(writer);
                writer.option(function.as_ref(), |writer, function| writer.text(function));
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "question about access";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Acl(reader.text("path")?),
            1 => Self::RulesOn(Object::read(reader)?),
            2 => Self::Rules { after: reader.option(WHAT, Object::read)? },
            3 => Self::May {
                who: reader.option(WHAT, read_identities)?,
                permission: Permissions::read(reader)?,
                object: Object::read(reader)?,
                function: reader.option(WHAT, |reader| reader.text("function name"))?,
            },
            _ => return Err(malformed(WHAT)),
        })
    }
}

fn read_identities(reader: &mut Reader) -> Result<Vec<Identity>, Malformed> {
    let count = reader.count("identities", limits::IDENTITIES_PER_SESSION_MAX)?;
    (0..count).map(|_| Identity::read(reader)).collect()
}

impl AccessResults {
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Acl { acl, stat } => {
                writer.u8(0);
                writer.option(acl.as_ref(), |writer, acl| acl.write(writer));
                stat.write(writer);
            }
            Self::Rules { stance, page } => {
                writer.u8(1);
                stance.write(writer);
                writer.u64(page.rules.len() as u64);
                for (object, rules) in &page.rules {
                    object.write(writer);
                    rules.write(writer);
                }
                writer.bool(page.has_more);
            }
            Self::May { is_allowed, decider } => {
                writer.u8(2);
                writer.bool(*is_allowed);
                writer.text(decider);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "answer about access";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Acl { acl: reader.option(WHAT, Acl::read)?, stat: Stat::read(reader)? },
            1 => {
                let stance = Stance::read(reader)?;
                let max = usize::try_from(limits::RULED_OBJECTS_MAX).unwrap_or(usize::MAX);
                let count = reader.count(WHAT, max)?;
                let mut rules = Vec::new();
                for _ in 0..count {
                    rules.push((Object::read(reader)?, Rules::read(reader)?));
                }
                let page = RulesPage { rules, has_more: reader.bool("has more")? };
                Self::Rules { stance, page }
            }
            2 => Self::May { is_allowed: reader.bool(WHAT)?, decider: reader.text(WHAT)? },
            _ => return Err(malformed(WHAT)),
        })
    }
}

pub(super) fn write_change(writer: &mut Writer, change: &AccessChange) {
    match change {
        AccessChange::Grant(object, rule) => {
            writer.u8(0);
            object.write(writer);
            rule.write(writer);
        }
        AccessChange::Revoke(object, rule) => {
            writer.u8(1);
            object.write(writer);
            rule.write(writer);
        }
        AccessChange::SetStance(stance) => {
            writer.u8(2);
            stance.write(writer);
        }
    }
}

pub(super) fn read_change(reader: &mut Reader) -> Result<AccessChange, Malformed> {
    const WHAT: &str = "change of access";
    Ok(match reader.u8(WHAT)? {
        0 => AccessChange::Grant(Object::read(reader)?, Rule::read(reader)?),
        1 => AccessChange::Revoke(Object::read(reader)?, Rule::read(reader)?),
        2 => AccessChange::SetStance(Stance::read(reader)?),
        _ => return Err(malformed(WHAT)),
    })
}
