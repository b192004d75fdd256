//! What a member knows of itself and of others beside the log, in a small file: which data directory this is, how often it was
//! started, which cluster it belongs to, whether it has taken part in one, and how often other members' directories had been
//! started when they were last met.
//! It does not know connections.
//!
//! ```text
//! note   format: u8 = 2, incarnation: 16 bytes, starts, cluster: option of 16 bytes, has taken part: bool,
//!        met: list of (member, incarnation: 16 bytes, starts, life)
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_raft::Incarnation;
use quorate_store::{DataDirectory, OpenError};
use quorate_wire::member::ClusterId;

/// Name of the file in the data directory.
const NAME: &str = "MEMBER";
const FORMAT: u8 = 2;
/// Directories of other members that are remembered; those that were met long ago go first.
const MET_MAX: usize = 64;

/// Why a note can not be had.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// The file is whole, but is no note.
    #[error("the file {NAME} in the data directory can not be read: {0}")]
    Malformed(#[from] Malformed),
    /// The operating system's random bytes.
    #[error("no random bytes for a new data directory: {0}")]
    Random(String),
    /// It has promised something in a cluster, and does not know in which.
    #[error(
        "the data directory has taken part in a cluster, and does not say in which: move it away, and add the member anew with a \
         number that was never used"
    )]
    TakenPart,
}

/// Another member is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data directory of member {member} is an older copy: it was started {starts} times, and {met} times when it was \
     met before; remove the member from the cluster and add it anew, with an empty directory and a new number"
)]
pub struct OlderCopy {
    member: u64,
    starts: u64,
    met: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    incarnation: Incarnation,
    starts: u64,
    cluster: Option<ClusterId>,
    /// Whether it may have promised something to others: a vote, or an entry.
    has_taken_part: bool,
    met: Vec<Met>,
    /// Greetings of this start in which another member may have heard of its cluster. Not written down.
    told: u64,
}

/// A directory that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Met {
    member: u64,
    incarnation: Incarnation,
    starts: u64,
    life: u64,
}

/// The note of a running member.
pub struct Note {
    directory: Arc<DataDirectory>,
    contents: Mutex<Contents>,
    /// A random number of this start.
    life: u64,
}

impl Note {
    /// Reads the note, or makes one for a new directory, and counts this start.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(directory: Arc<DataDirectory>) -> Result<Self, NoteError> {
        let mut contents = match directory.note(NAME)? {
            Some(bytes) => Contents::read(bytes.into())?,
            None => {
                let incarnation = Incarnation(random()?);
                Contents {
                    incarnation,
                    starts: 0,
                    cluster: None,
                    has_taken_part: false,
                    met: Vec::new(),
                    told: 0,
                }
            }
        };
        contents.starts += 1;
        directory.keep_note(NAME, &contents.bytes())?;
        let life = u64::from_le_bytes(random()?);
        Ok(Self { directory, contents: Mutex::new(contents), life })
    }

    /// This data directory.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.lock().incarnation
    }

    /// How often it was started, this time included.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.lock().starts
    }

    /// A random number of this start.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// The cluster that this member belongs to.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.lock().cluster
    }

    /// Belongs to this cluster from now on, unless it belongs to one already. Gives the one that holds.
    ///
    /// # Errors
    /// The disk, or [`NoteError::TakenPart`]: it belongs to none then.
    pub fn join(&self, cluster: ClusterId) -> Result<ClusterId, NoteError> {
        self.lock().join(cluster, &self.directory)
    }

    /// The same, for another member that counts on it from now on if it is told its own cluster.
    ///
    /// # Errors
    /// As [`Note::join`].
    pub fn join_for(&self, cluster: ClusterId) -> Result<ClusterId, NoteError> {
        let mut contents = self.lock();
        let joined = contents.join(cluster, &self.directory)?;
        contents.told += u64::from(joined == cluster);
        Ok(joined)
    }

    /// Another member is about to hear of the cluster that this one belongs to, and may count on it from then on, whether its
    /// answer comes or not. To be called before what it will hear is read from here.
    pub fn about_to_tell(&self) {
        self.lock().told += 1;
    }

    /// The member that was about to hear of it has refused this one, and counts on nothing.
    pub fn was_refused(&self) {
        let mut contents = self.lock();
        contents.told = contents.told.saturating_sub(1);
    }

    /// Belongs to this cluster no more: it was never made. Stays in it if another member may have heard that it belongs to it:
    /// that one may have begun, and counts on this one.
    ///
    /// # Errors
    /// The disk: it still belongs to it then.
    pub fn leave(&self, cluster: ClusterId) -> Result<(), NoteError> {
        let mut contents = self.lock();
        if contents.cluster != Some(cluster) || contents.has_taken_part || contents.told > 0 {
            return Ok(());
        }
        let left = Contents { cluster: None, ..contents.clone() };
        self.directory.keep_note(NAME, &left.bytes())?;
        *contents = left;
        Ok(())
    }

    /// Whether this member may have promised something to others.
    #[must_use]
    pub fn has_taken_part(&self) -> bool {
        self.lock().has_taken_part
    }

    /// Notes that this member is about to promise something to others: an empty log and tree are not those of a new member
    /// from now on. Durable when this returns.
    ///
    /// # Errors
    /// The disk.
    pub fn take_part(&self) -> std::io::Result<()> {
        let mut contents = self.lock();
        if contents.has_taken_part {
            return Ok(());
        }
        let taking = Contents { has_taken_part: true, ..contents.clone() };
        self.directory.keep_note(NAME, &taking.bytes()).map_err(std::io::Error::other)?;
        *contents = taking;
        Ok(())
    }

    /// Whether this directory of a member was met.
    #[must_use]
    pub fn has_met(&self, member: u64, incarnation: Incarnation) -> bool {
        let contents = self.lock();
        contents.met.iter().any(|met| met.member == member && met.incarnation == incarnation)
    }

    /// Checks that the directory of a member is at least as new as when it was met before, and no other copy of it, and
    /// remembers it.
    ///
    /// # Errors
    /// [`OlderCopy`].
    pub fn meet(
        &self,
        member: u64,
        incarnation: Incarnation,
        starts: u64,
        life: u64,
    ) -> Result<(), OlderCopy> {
        let mut contents = self.lock();
        let found = contents
            .met
            .iter()
            .position(|known| known.member == member && known.incarnation == incarnation);
        if let Some(at) = found {
            let known = contents.met[at];
            if known.starts > starts || (known.starts == starts && known.life != life) {
                return Err(OlderCopy { member, starts, met: known.starts });
            }
            if known.starts == starts {
                return Ok(());
            }
            contents.met.remove(at);
        }
        contents.met.push(Met { member, incarnation, starts, life });
        if contents.met.len() > MET_MAX {
            contents.met.remove(0);
        }
        // Not fatal: what could not be kept is asked again at the next meeting.
        if let Err(error) = self.directory.keep_note(NAME, &contents.bytes()) {
            tracing::warn!(%error, member, "who was met can not be written down");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random bytes of the operating system.
fn random<const N: usize>() -> Result<[u8; N], NoteError> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| NoteError::Random(error.to_string()))?;
    Ok(random)
}

impl Contents {
    fn join(
        &mut self,
        cluster: ClusterId,
        directory: &DataDirectory,
    ) -> Result<ClusterId, NoteError> {
        if let Some(known) = self.cluster {
            return Ok(known);
        }
        if self.has_taken_part {
            return Err(NoteError::TakenPart);
        }
        let joined = Self { cluster: Some(cluster), ..self.clone() };
        directory.keep_note(NAME, &joined.bytes())?;
        *self = joined;
        Ok(cluster)
    }

    fn bytes(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(FORMAT);
        writer.raw(&self.incarnation.0);
        writer.u64(self.starts);
        writer.option(self.cluster.as_ref(), |writer, cluster| writer.raw(&cluster.0));
        writer.bool(self.has_taken_part);
        writer.u64(self.met.len() as u64);
        for met in &self.met {
            writer.u64(met.member);
            writer.raw(&met.incarnation.0);
            writer.u64(met.starts);
            writer.u64(met.life);
        }
        writer.finish()
    }

    fn read(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "note of a member";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed("format of a note of a member"));
        }
        let mut contents = Self {
            incarnation: Incarnation(reader.array(WHAT)?),
            starts: reader.u64(WHAT)?,
            cluster: reader.option(WHAT, |reader| reader.array(WHAT).map(ClusterId))?,
            has_taken_part: reader.bool(WHAT)?,
            met: Vec::new(),
            told: 0,
        };
        for _ in 0..reader.count(WHAT, MET_MAX)? {
            contents.met.push(Met {
                member: reader.u64(WHAT)?,
                incarnation: Incarnation(reader.array(WHAT)?),
                starts: reader.u64(WHAT)?,
                life: reader.u64(WHAT)?,
            });
        }
        reader.finish(WHAT)?;
        Ok(contents)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> Note {
        let directory = DataDirectory::open(path, || b"member 2".to_vec()).unwrap();
        Note::open(Arc::new(directory)).unwrap()
    }

    #[test]
    fn a_directory_keeps_its_incarnation_and_counts_its_starts() {
        let temporary = tempfile::tempdir().unwrap();
        let first = open(temporary.path());
        let incarnation = first.incarnation();
        assert_eq!((first.starts(), first.cluster()), (1, None));
        drop(first);
        let second = open(temporary.path());
        assert_eq!((second.starts(), second.incarnation()), (2, incarnation));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(open(other.path()).incarnation(), incarnation);
    }

    #[test]
    fn a_member_joins_one_cluster_and_stays_there() {
        let temporary = tempfile::tempdir().unwrap();
        let note = open(temporary.path());
        assert_eq!(note.join(ClusterId([1; 16])).unwrap(), ClusterId([1; 16]));
        assert_eq!(note.join(ClusterId([2; 16])).unwrap(), ClusterId([1; 16]));
        note.leave(ClusterId([2; 16])).unwrap();
        assert_eq!(note.cluster(), Some(ClusterId([1; 16])), "it is another");
        note.leave(ClusterId([1; 16])).unwrap();
        assert_eq!(note.cluster(), None);
        note.join(ClusterId([1; 16])).unwrap();
        assert!(!note.has_taken_part());
        note.take_part().unwrap();
        note.leave(ClusterId([1; 16])).unwrap();
        drop(note);
        let note = open(temporary.path());
        assert_eq!((note.cluster(), note.has_taken_part()), (Some(ClusterId([1; 16])), true));
    }

    #[test]
    fn a_member_on_which_others_may_count_stays_in_its_cluster() {
        const CLUSTER: ClusterId = ClusterId([1; 16]);
        let temporary = tempfile::tempdir().unwrap();
        let note = open(temporary.path());
        note.join(CLUSTER).unwrap();
        assert_eq!(note.join_for(ClusterId([2; 16])).unwrap(), CLUSTER);
        note.about_to_tell();
        note.was_refused();
        note.leave(CLUSTER).unwrap();
        assert_eq!(note.cluster(), None, "who heard of it was refused, or has refused");
        note.join(CLUSTER).unwrap();
        note.about_to_tell();
        note.leave(CLUSTER).unwrap();
        assert_eq!(note.cluster(), Some(CLUSTER), "who has heard of it may have begun");
    }

    #[test]
    fn a_member_that_has_taken_part_joins_no_other_cluster() {
        let temporary = tempfile::tempdir().unwrap();
        let note = open(temporary.path());
        note.take_part().unwrap();
        assert!(matches!(note.join(ClusterId([1; 16])), Err(NoteError::TakenPart)));
        assert_eq!(note.cluster(), None);
    }

    #[test]
    fn an_older_copy_of_a_directory_is_known_as_such_after_a_restart_too() {
        let temporary = tempfile::tempdir().unwrap();
        let note = open(temporary.path());
        let [one, two] = [Incarnation([1; 16]), Incarnation([2; 16])];
        assert_eq!(note.meet(3, one, 5, 7), Ok(()));
        assert_eq!(note.meet(3, one, 5, 7), Ok(()));
        assert_eq!(note.meet(3, two, 1, 7), Ok(()), "another directory");
        drop(note);
        let note = open(temporary.path());
        assert!(note.meet(3, one, 4, 7).is_err());
        assert_eq!(note.meet(3, one, 6, 7), Ok(()));
        assert!(note.meet(3, one, 5, 7).is_err());
        assert!(note.meet(3, one, 6, 8).is_err(), "another copy, started as often");
    }
}
