//! The double barrier: rounds that begin when enough have come, and end when all have left.
//! Knows rounds and who is inside; does not know how those who wait are found.
//!
//! Who is inside a double barrier at `/a` has an ephemeral znode under `/a/_inside`, named by its session. A round is the zxid at
//! which `/a/_inside` was last set: by the one whose coming was enough. Everybody who was waiting then belongs to the
//! round and enters when run again, which need not be in the same entry; until then they count as inside.

use crate::lobby::Lobby;
use crate::{BarrierError, Presence, before_waiting};
use quorate_recipe::call::{self, Reason};
use quorate_recipe::{Error, Interest, Stat, park, path, tree};

/// A double barrier, as the calling session finds it.
pub struct Double {
    /// The znode above those who are inside.
    hall: String,
    lobby: Lobby,
    /// Where the calling session is when it is inside.
    inside: String,
    /// Where the calling session is when it waits to enter.
    waiting: String,
}

impl Double {
    pub fn at(path: &str) -> Result<Self, BarrierError> {
        let hall = path::own(path, "_inside")?;
        let lobby = Lobby::of(path);
        let session = call::session();
        let inside = path::child(&hall, &format!("{session:016x}"))?;
        let waiting = lobby.place(session);
        Ok(Self { hall, lobby, inside, waiting })
    }

    /// The round that the caller is in, once it is.
    pub fn enter(&self, count: u64, timeout_ms: Option<u64>) -> Result<u64, BarrierError> {
        let hall = tree::stat(&self.hall)?;
        let own = tree::stat(&self.waiting)?;
        if call::reason() == Reason::First {
            if own.is_some() || tree::exists(&self.inside)? {
                return Err(BarrierError::AlreadyEntered);
            }
            return self.arrive(hall, count, timeout_ms);
        }
        let own = own.ok_or(BarrierError::Removed)?;
        match hall {
            // Also in the last run: the others of the round count on this one.
            Some(hall) if own.czxid < hall.mzxid => self.go_in(hall.mzxid),
            _ => self.stay(timeout_ms),
        }
    }

    /// The first run of an enter.
    fn arrive(
        &self,
        hall: Option<Stat>,
        count: u64,
        timeout_ms: Option<u64>,
    ) -> Result<u64, BarrierError> {
        if count == 0 {
            return Err(BarrierError::NoMembers);
        }
        if let Some(hall) = &hall
            && (hall.children_count > 0 || self.lobby.admitted(hall.mzxid)?.is_some())
        {
            return self.go_in(hall.mzxid);
        }
        let others = self.lobby.places()?;
        if let Some(other) = others.first() {
            let expected = expected_count(other)?;
            if expected != Some(count) {
                return Err(BarrierError::CountDiffers(expected.unwrap_or_default()));
            }
        }
        if others.len() as u64 + 1 < count {
            before_waiting(timeout_ms)?;
            tree::create(&self.waiting).call_owned().data(count.to_string().as_bytes())?;
            return self.stay(timeout_ms);
        }
        match hall {
            Some(_) => drop(tree::set(&self.hall, b"")?),
            None => drop(tree::create(&self.hall).parents().empty()?),
        }
        self.go_in(call::zxid())
    }

    fn go_in(&self, round: u64) -> Result<u64, BarrierError> {
        tree::create(&self.inside).ephemeral().empty()?;
        Ok(round)
    }

    /// Waits for the round to begin.
    fn stay<T>(&self, timeout_ms: Option<u64>) -> Result<T, BarrierError> {
        before_waiting(timeout_ms)?;
        park(&[
            Interest::node_changed(self.hall.as_str()),
            Interest::node_changed(self.waiting.as_str()),
        ])
    }

    /// Takes the caller out, and returns once nobody of the round is inside.
    ///
    /// Who waits does so for one member at a time, the one next before it by name, so that not everybody who waits is run again at
    /// each departure.
    pub fn leave(&self, timeout_ms: Option<u64>) -> Result<(), BarrierError> {
        let Some(hall) = tree::stat(&self.hall)? else {
            return Ok(());
        };
        let round = hall.mzxid.to_le_bytes();
        let seen = call::state();
        if !seen.is_empty() && seen != round {
            return Ok(());
        }
        // Only in the first run: who has entered again since then is inside for another reason, and stays.
        if seen.is_empty() && tree::exists(&self.inside)? {
            tree::delete(&self.inside)?;
        }
        let interests = if let Some(member) = self.somebody()? {
            vec![Interest::node_changed(member)]
        } else if let Some(place) = self.lobby.admitted(hall.mzxid)? {
            vec![Interest::children_changed(self.hall.as_str()), Interest::node_changed(place)]
        } else {
            return Ok(());
        };
        before_waiting(timeout_ms)?;
        call::set_state(&round);
        park(&interests)
    }

    /// The member next before the caller by name, in a circle; none when nobody is inside.
    fn somebody(&self) -> Result<Option<String>, Error> {
        let name = match tree::child_before(&self.inside)? {
            Some(name) => Some(name),
            None => tree::children(&self.hall).reverse().next().transpose()?,
        };
        name.map(|name| path::child(&self.hall, &name)).transpose()
    }

    pub fn attendance(&self) -> Result<Presence, BarrierError> {
        let inside = tree::if_there(tree::children_count(&self.hall))?.unwrap_or(0);
        Ok(Presence { inside, waiting: self.lobby.places()?.len() as u64 })
    }
}

/// How many members the one who waits at `place` expects.
fn expected_count(place: &str) -> Result<Option<u64>, Error> {
    let data = tree::get(place)?.data;
    Ok(std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok()))
}
