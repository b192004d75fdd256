//! The one list of error codes, and the refusal that carries one. Text for people is made here, so that it is the same
//! on the wire, on the command line and in the log.

use std::fmt;

use crate::limits;

/// Whether a refused request may have changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changed nothing, and never will.
    NotApplied,
    /// It may have happened; the session that sent it can still find out by resending.
    Unknown,
}

/// What a client can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The same request will be refused again.
    Never,
    /// Resend on the same session.
    SameSession,
    /// Open a new session first.
    NewSession,
    /// Wait a little, then resend.
    Backoff,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kebab:literal, $outcome:ident, $advice:ident;)*) => {
        /// Every error that leaves the service. A number is never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number that stands on the wire.
            #[must_use]
            pub fn number(self) -> u16 {
                self as u16
            }

            /// The code of a number; none for one that this version does not know.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name that people, WIT and scripts see.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $kebab,)*
                }
            }

            /// Whether the refused request may have changed anything.
            #[must_use]
            pub fn outcome(self) -> Outcome {
                match self {
                    $(Self::$name => Outcome::$outcome,)*
                }
            }

            /// What a client can do about it.
            #[must_use]
            pub fn advice(self) -> Advice {
                match self {
                    $(Self::$name => Advice::$advice,)*
                }
            }
        }
    };
}

error_codes! {
    // Q1: malformed, or over a limit.
    /// A frame or message that does not follow the protocol.
    BadMessage = 1001, "bad-message", NotApplied, Never;
    /// A path that no znode can have.
    BadPath = 1002, "bad-path", NotApplied, Never;
    /// An operation that makes no sense with these arguments.
    BadArguments = 1003, "bad-arguments", NotApplied, Never;
    /// A limit would be passed; the message names it and the value.
    LimitPassed = 1004, "limit", NotApplied, Never;
    /// The protocol or format version is not spoken here.
    BadProtocolVersion = 1005, "bad-protocol-version", NotApplied, Never;

    // Q2: the tree.
    /// No znode at this path, or none at the parent of one to create.
    NoNode = 2001, "no-node", NotApplied, Never;
    /// A znode is there already.
    NodeExists = 2002, "node-exists", NotApplied, Never;
    /// The znode has children.
    NotEmpty = 2003, "not-empty", NotApplied, Never;
    /// The znode's version, or another field of its stat, is not the expected one.
    BadVersion = 2004, "bad-version", NotApplied, Never;
    /// An ephemeral or call-owned znode can have no children.
    NoChildrenForEphemerals = 2005, "no-children-for-ephemerals", NotApplied, Never;
    /// An operation of a multi that was not tried, because an earlier one was refused.
    RolledBack = 2006, "rolled-back", NotApplied, Never;
    /// No member has the events behind the position of a watch any more; the message names the oldest position that one has.
    WatchCompacted = 2025, "watch-compacted", NotApplied, Never;
    /// A subtree would have more than its quota; the message names both.
    QuotaPassed = 2045, "quota-passed", NotApplied, Never;
    /// A subtree is written faster than its quota.
    TooManyWrites = 2046, "too-many-writes", NotApplied, Backoff;

    // Q3: the session.
    /// No such session, or one that ended too long ago to know more.
    NoSession = 3001, "no-session", Unknown, NewSession;
    /// The session expired or was closed; this request was not executed.
    SessionEnded = 3002, "session-ended", NotApplied, NewSession;
    /// The secret is not the session's.
    BadSecret = 3003, "bad-secret", NotApplied, Never;
    /// A write number beyond the next one: resend from the one that the message names.
    ResendFrom = 3004, "resend-from", NotApplied, SameSession;
    /// The reply to this write was acknowledged by the session before, and is gone.
    AlreadyAcknowledged = 3005, "already-acknowledged", Unknown, Never;
    /// A write number was used again for another request.
    ResendDiffers = 3006, "resend-differs", NotApplied, Never;
    /// Too many replies wait for the session's acknowledgement.
    TooManyUnacknowledged = 3007, "too-many-unacknowledged", NotApplied, SameSession;
    /// A newer connection has attached to the session.
    SessionMoved = 3008, "session-moved", Unknown, SameSession;
    /// A watch was ended, because its events were not taken as fast as they came: it can be opened again from its position.
    SlowConsumer = 3025, "slow-consumer", NotApplied, SameSession;
    /// The session has as many watches as it may.
    TooManyWatches = 3026, "too-many-watches", NotApplied, Never;

    // Q4: recipes.
    /// No recipe is deployed under this name.
    NoRecipe = 4001, "no-recipe", NotApplied, Never;
    /// The recipe has no such function.
    NoFunction = 4002, "no-function", NotApplied, Never;
    /// The function's type is not the one that the caller knows.
    SignatureChanged = 4003, "signature-changed", NotApplied, Never;
    /// The arguments do not have the function's types.
    BadValue = 4004, "bad-value", NotApplied, Never;
    /// The recipe trapped.
    RecipeTrapped = 4005, "recipe-trapped", NotApplied, Never;
    /// The recipe passed a limit of its manifest.
    RecipeOverLimit = 4006, "recipe-over-limit", NotApplied, Never;
    /// The function returned the error case of its result; nothing was changed. The value stands in the reply.
    RecipeRefused = 4007, "recipe-refused", NotApplied, Never;
    /// The call would have to wait, and may not here.
    WouldBlock = 4008, "would-block", NotApplied, Never;
    /// The component can not be admitted; the message says why.
    NotAdmitted = 4009, "not-admitted", NotApplied, Never;
    /// The recipe ran over its budget too often and is tripped: calls fail until an operator resets it.
    RecipeTripped = 4010, "recipe-tripped", NotApplied, Backoff;
    /// This member still compiles the recipe.
    Compiling = 4011, "compiling", NotApplied, Backoff;
    /// A waiting call was woken too often.
    WokenTooOften = 4012, "woken-too-often", NotApplied, Backoff;
    /// A waiting call failed when it was run again; its znodes are gone.
    FailedAfterPark = 4013, "failed-after-park", NotApplied, Never;
    /// The new version breaks callers of the old one.
    BreakingChange = 4014, "breaking-change", NotApplied, Never;
    /// The call was cancelled.
    Cancelled = 4015, "cancelled", NotApplied, Never;
    /// A run that may only read tried to change something, or to wait.
    ReadOnly = 4016, "read-only", NotApplied, Never;
    /// What a fence names is not granted any more: the lock or the leadership has ended, or is another's.
    Fenced = 4020, "fenced", NotApplied, Never;

    // Q5: the cluster.
    /// No leader is known: nothing can be decided now.
    NoLeader = 5001, "no-leader", NotApplied, Backoff;
    /// The leader changed before this was decided; it was not executed.
    NotExecuted = 5002, "not-executed", NotApplied, SameSession;
    /// Too much waits already.
    Overloaded = 5003, "overloaded", NotApplied, Backoff;
    /// The member is shutting down.
    ShuttingDown = 5004, "shutting-down", NotApplied, SameSession;
    /// The disk has too little room for writes that make the tree larger; deletions go on.
    DiskFull = 5005, "disk-full", NotApplied, Backoff;
    /// This member waits: it belongs to no cluster yet.
    NoCluster = 5006, "no-cluster", NotApplied, Backoff;
    /// A member is not the one that the cluster knows by its number; the message says why.
    MemberRefused = 5007, "member-refused", NotApplied, Never;
    /// The members were not changed: it would lose the quorum, or makes no sense now.
    ChangeRefused = 5008, "change-refused", NotApplied, Never;
    /// A change of the members had begun when the leadership ended: it may still happen.
    ChangeUnfinished = 5009, "change-unfinished", Unknown, Backoff;
    /// A member that is to vote, or to lead, has not caught up with the log yet.
    NotCaughtUp = 5010, "not-caught-up", NotApplied, Backoff;
    /// The cluster's feature level is below the one that this needs: some members are of an older version.
    LevelTooLow = 5011, "level-too-low", NotApplied, Never;
    /// This member was removed from the cluster.
    MemberRemoved = 5012, "member-removed", NotApplied, Never;
    /// The audit log of this member can not be written, and is configured to have refused what it can not tell.
    NotAudited = 5040, "not-audited", NotApplied, Backoff;

    // Q6: not allowed.
    /// The manifest or the caller's rights do not cover this.
    NoAccess = 6001, "no-access", NotApplied, Never;
    /// An access list, or an entry of one, that means nothing.
    InvalidAcl = 6030, "invalid-acl", NotApplied, Never;
    /// An access list or rule after which nobody could change it, or the caller could not; super may force it.
    WouldLockOut = 6031, "would-lock-out", NotApplied, Never;
    /// A certificate, token or password is not accepted; the message says why.
    AuthenticationFailed = 6035, "authentication-failed", NotApplied, Never;
    /// Nobody anonymous is served here: show a certificate, a token or a password.
    AuthenticationRequired = 6036, "authentication-required", NotApplied, Never;

    // Q9: a defect of ours.
    /// A bug; the server's log says more.
    Internal = 9001, "internal", Unknown, SameSession;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q{} {}", self.number(), self.name())
    }
}

/// Why a request or an operation was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code to branch on.
    pub code: ErrorCode,
    /// A sentence that names the path, the limit or the version.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence, cut to `MESSAGE_BYTES_MAX`: it may quote a client.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > limits::MESSAGE_BYTES_MAX {
            const MARK: &str = " ...";
            message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES_MAX - MARK.len()));
            message.push_str(MARK);
        }
        Self { code, message }
    }

    /// Over a limit: the sentence names what, how much, and the bound.
    #[must_use]
    pub fn limit(what: &str, value: u64, max: u64) -> Self {
        Self::new(ErrorCode::LimitPassed, format!("{what}: {value} is over the limit of {max}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_sorted() {
        let numbers: Vec<u16> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let mut names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
    }

    #[test]
    fn a_code_prints_its_number_and_its_name() {
        assert_eq!(ErrorCode::NoNode.to_string(), "Q2001 no-node");
    }
}
