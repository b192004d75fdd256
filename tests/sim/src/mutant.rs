//! Ways to be wrong on purpose: what the simulator must notice. They are in its own glue, never in the product's code.
//! A run may have several: of two guards that stand behind each other, one alone is not missed.

/// A defect that a run can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Log records count before they are on the disk.
    SkipSync,
    /// Votes count before they are on the disk.
    SkipVoteSync,
    /// Replies leave when an entry is proposed.
    AnswerBeforeCommit,
    /// The leader confirms heartbeats without asking a quorum.
    HeartbeatAlone,
    /// A quorum of a later term confirms what was heard in an earlier one.
    LaterQuorum,
    /// A leader that starts again goes on in its old term.
    LeaderRestore,
    /// Answers of the leader pass on before the member has applied what they reflect.
    ReplyOvertakes,
    /// Peers that can not be reached grant votes.
    GrantForThem,
    /// Peers that can not be reached grant pre-votes.
    PreGrantForThem,
    /// The tree takes every batch, whatever it was executed on.
    AnyBase,
    /// A member goes on with what another stream has left of a tree.
    AnyStream,
    /// Pieces of a tree are taken from a lane that is over.
    LatePieces,
    /// A tree that has arrived is installed without a look at its checksum.
    Unchecked,
    /// Submissions are taken whatever epoch they were meant for.
    AnyTag,
    /// Linearizable reads are answered from the member's own tree at once.
    StaleReads,
    /// Proposals are not conditional on the leadership.
    Unconditional,
    /// A client believes in its session for longer than it may.
    LateBelief,
    /// Replies are queued before the events of their entry.
    EventsBehindReplies,
}

/// All of them, by the name of the command line.
pub const ALL: &[(&str, Mutant)] = &[
    ("skip-sync", Mutant::SkipSync),
    ("skip-vote-sync", Mutant::SkipVoteSync),
    ("answer-before-commit", Mutant::AnswerBeforeCommit),
    ("heartbeat-alone", Mutant::HeartbeatAlone),
    ("later-quorum", Mutant::LaterQuorum),
    ("leader-restore", Mutant::LeaderRestore),
    ("reply-overtakes", Mutant::ReplyOvertakes),
    ("grant-for-them", Mutant::GrantForThem),
    ("pre-grant-for-them", Mutant::PreGrantForThem),
    ("any-base", Mutant::AnyBase),
    ("any-stream", Mutant::AnyStream),
    ("late-pieces", Mutant::LatePieces),
    ("unchecked", Mutant::Unchecked),
    ("any-tag", Mutant::AnyTag),
    ("stale-reads", Mutant::StaleReads),
    ("unconditional", Mutant::Unconditional),
    ("late-belief", Mutant::LateBelief),
    ("events-behind-replies", Mutant::EventsBehindReplies),
];

/// What is wrong with a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mutants(u64);

impl Mutants {
    /// These.
    #[must_use]
    pub fn of(mutants: &[Mutant]) -> Self {
        Self(mutants.iter().fold(0, |all, mutant| all | 1 << *mutant as u64))
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(self, mutant: Mutant) -> bool {
        self.0 & 1 << mutant as u64 != 0
    }
}

/// Those of these names, which commas separate.
///
/// # Errors
/// The name that is none.
pub fn named(names: &str) -> Result<Mutants, String> {
    let one = |name: &str| {
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant);
        found.ok_or_else(|| name.to_owned())
    };
    let found: Result<Vec<_>, _> = names.split(',').map(one).collect();
    Ok(Mutants::of(&found?))
}
