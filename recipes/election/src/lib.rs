//! The election: a line of candidates, the first of whom leads for a term.
//! Knows lines and grants; does not know what a leader does, or whether it does it.
//!
//! An election at `/a` keeps one znode, `/a/_election`. Its children are the candidates in line (see
//! [`quorate_recipe::line`]), each with what it says of itself; its data says which of them leads (see
//! [`quorate_recipe::grant`]), so a change of leader changes that one znode, and observers wait for it.

#![forbid(unsafe_code)]

use quorate_recipe::call::{self, Reason};
use quorate_recipe::grant::{self, Grant};
use quorate_recipe::line::{self, Turn};
use quorate_recipe::{Error, Interest, park, path, tree};

quorate_recipe::recipe!(Election);

struct Election;

/// An address, a version and some weights; a page of a hundred of them is still a small reply.
const CANDIDATE_BYTES_MAX: usize = 4096;

/// A page of candidates takes two host calls for each.
const CANDIDATES_MAX: u32 = 100;

impl Guest for Election {
    fn campaign(
        path: String,
        candidate: String,
        timeout_ms: Option<u64>,
    ) -> Result<Victory, ElectionError> {
        let election = path::own(&path, "_election")?;
        if candidate.len() > CANDIDATE_BYTES_MAX {
            return Err(ElectionError::CandidateTooLong(candidate.len() as u64));
        }
        if call::reason() == Reason::First
            && let Some(leader) = grant::current(&election)?
            && leader.session == call::session()
        {
            return Err(ElectionError::AlreadyLeading(leader.token));
        }
        match line::turn(&election, candidate.as_bytes(), timeout_ms)? {
            Turn::Mine(node) => {
                let term = grant::make(&election, node)?;
                Ok(Victory { term: term.token, node: term.node })
            }
            Turn::TimedOut => Err(ElectionError::TimedOut),
            Turn::Cancelled => Err(ElectionError::Cancelled),
            Turn::Removed => Err(ElectionError::Removed),
        }
    }

    fn resign(path: String, term: u64) -> Result<(), ElectionError> {
        match grant::give_back(&path::own(&path, "_election")?, term)? {
            true => Ok(()),
            false => Err(ElectionError::NotLeading),
        }
    }

    fn leader(path: String) -> Result<Option<Leadership>, ElectionError> {
        let leader = grant::current(&path::own(&path, "_election")?)?;
        Ok(leader.map(leadership).transpose()?)
    }

    fn observe(
        path: String,
        known: Option<u64>,
        timeout_ms: Option<u64>,
    ) -> Result<Option<Leadership>, ElectionError> {
        let election = path::own(&path, "_election")?;
        let leader = grant::current(&election)?;
        let first = tree::if_there(tree::first_child(&election))?.flatten();
        let is_between_two = leader.is_none() && first.is_some();
        if leader.as_ref().map(|leader| leader.token) != known && !is_between_two {
            return Ok(leader.map(leadership).transpose()?);
        }
        match (call::reason(), timeout_ms) {
            (Reason::TimedOut, _) | (Reason::First, Some(0)) => {
                return Err(ElectionError::TimedOut);
            }
            (Reason::Cancelled, _) => return Err(ElectionError::Cancelled),
            (Reason::First, Some(milliseconds)) => call::set_timeout(milliseconds),
            _ => {}
        }
        let mut interests = vec![Interest::node_changed(election.as_str())];
        // The leader, or whoever is about to be: if that one goes and nobody follows, nobody leads.
        if let Some(first) = first {
            interests.push(Interest::node_changed(path::child(&election, &first)?));
        }
        park(&interests)
    }

    fn candidates(
        path: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<Candidacy>, ElectionError> {
        let election = path::own(&path, "_election")?;
        let leader = grant::current(&election)?.map(|leader| leader.node);
        let mut places = tree::children(&election);
        if let Some(after) = after {
            places = places.after(after);
        }
        let mut candidates = Vec::new();
        for place in places {
            if candidates.len() as u64 >= u64::from(limit.min(CANDIDATES_MAX)) {
                break;
            }
            // An election that nobody has called for yet has no znode to list.
            let Some(place) = tree::if_there(place)? else {
                break;
            };
            let node = path::child(&election, &place)?;
            if leader.as_ref() != Some(&node) {
                candidates.push(candidacy(place, tree::get(&node)?));
            }
        }
        Ok(candidates)
    }

    fn remove(path: String) -> Result<(), ElectionError> {
        let election = path::own(&path, "_election")?;
        if !line::is_empty(&election)? {
            return Err(ElectionError::InUse);
        }
        Ok(tree::if_there(tree::delete(&election)).map(|_| ())?)
    }
}

fn leadership(leader: Grant) -> Result<Leadership, Error> {
    let candidate = text(tree::get(&leader.node)?.data);
    let Grant { token: term, since, session, .. } = leader;
    Ok(Leadership { term, session, candidate, since })
}

fn candidacy(place: String, node: tree::Node) -> Candidacy {
    let session = node.stat.owner.unwrap_or_default();
    Candidacy { place, session, candidate: text(node.data), since: node.stat.created }
}

/// What a candidate said of itself came in as text.
fn text(data: Vec<u8>) -> String {
    String::from_utf8_lossy(&data).into_owned()
}
