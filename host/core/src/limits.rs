//! Every bound of the service, with unit and reason. Relations that safety needs are asserted at compile time.

/// Bytes of a path. A key is a path and a few bytes, and RocksDB keeps keys uncompressed in its index blocks.
pub const PATH_BYTES_MAX: usize = 1024;
/// Elements of a path: bounds the walk over ancestors that creation of parents makes.
pub const PATH_DEPTH_MAX: usize = 64;
/// Bytes of one znode's data: what one frame, one change and one reply must be able to carry.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Children of one listing, so that a reply is bounded whatever a parent holds.
pub const PAGE_CHILDREN_MAX: u32 = 1000;
/// Bytes of names (and data, where asked for) after which a page ends early.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;
/// Siblings that a scan of a subtree reads at a time, on each level that it is in.
pub const SCAN_SIBLINGS_MAX: usize = 128;
/// Operations of one multi.
pub const MULTI_OPERATIONS_MAX: usize = 1024;
/// Recipe calls among them: each may take the whole time that its manifest gives it, and the sequencer with it.
pub const MULTI_CALLS_MAX: usize = 64;
/// Changes of one transaction.
pub const TRANSACTION_CHANGES_MAX: usize = 16 * 1024;
/// Bytes of changes of one client transaction: an entry must fit the log's record and a member frame.
pub const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a change beside its path, data or name: kind, lengths, owner or version and transaction.
pub const CHANGE_HEAD_BYTES_MAX: usize = 32;
/// Bytes of one reply, kept replies included: a result with its refusal, or the paths and stats of a whole multi.
pub const REPLY_BYTES_MAX: usize = DATA_BYTES_MAX + 256 * 1024;
/// Bytes of the arguments of a recipe call.
pub const ARGUMENTS_BYTES_MAX: usize = DATA_BYTES_MAX + 16 * 1024;
/// Bytes of the result of a recipe call: as its arguments, so that what was taken can be given back.
pub const RESULT_BYTES_MAX: usize = ARGUMENTS_BYTES_MAX;
/// Bytes of an encoded stat: twelve numbers of ten bytes, and a mark.
pub const STAT_BYTES_MAX: usize = 128;
/// Bytes of an encoded quota: six numbers of ten bytes, each with a mark.
pub const QUOTA_BYTES_MAX: usize = 66;
/// Quotas of a namespace: a person has to keep an eye on them.
pub const QUOTAS_MAX: u64 = 10_000;
/// Bytes of a refusal's sentence: it may quote what a client sent, and is kept with the reply.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one frame on a lane: the largest request or reply and its head.
pub const FRAME_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Transactions of one entry: bounds what a follower applies between two looks at its clock.
pub const BATCH_TRANSACTIONS_MAX: usize = 1024;
/// Bytes of transactions (`Transaction::weight`, replies included) after which a batch is closed.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one encoded entry: a batch that was just short of its end, and one more transaction at every one of its
/// limits. Log records and frames between members carry entries; a client's frames do not.
pub const ENTRY_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Entries proposed and not yet applied: the pipeline's depth.
pub const BATCHES_IN_FLIGHT_MAX: usize = 16;
/// Requests that wait for the sequencer before new ones are refused with `overloaded`.
pub const SEQUENCER_QUEUE_MAX: usize = 64 * 1024;
/// One place more of so many, wherever requests queue, is for those that only free something: under overload they help.
pub const RELIEF_PLACES_PART: usize = 8;

/// Replies kept for one session until it acknowledges them.
pub const KEPT_REPLIES_MAX: u64 = 4096;
/// Bytes of replies kept for one session.
pub const KEPT_REPLIES_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Ranges above the low mark that one acknowledgement names.
pub const ACK_RANGES_MAX: usize = 256;
/// Calls of one session that may be parked at a time.
pub const PARKED_CALLS_PER_SESSION_MAX: u64 = 4096;
/// Ephemeral and call-owned znodes of one session: its expiry is one transaction that deletes them all.
pub const EPHEMERALS_PER_SESSION_MAX: u64 = 4096;
/// Parked calls of all sessions of one principal: sixteen sessions' worth. The leader keeps each in memory, with its request.
pub const PARKED_CALLS_PER_PRINCIPAL_MAX: u64 = 16 * PARKED_CALLS_PER_SESSION_MAX;
/// Ephemeral and call-owned znodes of all sessions of one principal: one for each session that it may have, and as many again
/// for those that have more.
pub const EPHEMERALS_PER_PRINCIPAL_MAX: u64 = 2 * SESSIONS_PER_PRINCIPAL_MAX;
/// Bytes of state that a parked call keeps from run to run.
pub const CALL_STATE_BYTES_MAX: usize = 1024;
/// Interests of one park.
pub const INTERESTS_MAX: usize = 64;
/// Runs of one parked call in a second, after which it ends with `woken-too-often`.
pub const WAKES_PER_SECOND_MAX: u32 = 1000;
/// Runs of one parked call that change nothing but its own state, in sequence.
pub const WAKES_WITHOUT_PROGRESS_MAX: u32 = 100_000;

/// Bytes by which a call that has waited may make the tree grow when it ends, while there is no room for growing writes.
pub const GROWTH_AFTER_WAIT_BYTES_MAX: i64 = 4 * 1024;

/// Milliseconds for which a container may be without children before it is deleted: whoever deleted the last one and
/// creates the next finds it there.
pub const CONTAINER_EMPTY_MS: u64 = 60_000;
/// Milliseconds of a TTL znode, as ZooKeeper's: 2^40 - 1, about 34 years.
pub const TTL_MS_MAX: u64 = (1 << 40) - 1;

/// Milliseconds: below this a session would not survive a normal scheduling stall.
pub const SESSION_TIMEOUT_MS_MIN: u64 = 1_000;
/// Milliseconds: above this a dead client's locks would be held for longer than operators wait.
pub const SESSION_TIMEOUT_MS_MAX: u64 = 600_000;
/// Milliseconds: a client that does not say.
pub const SESSION_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Sessions of one namespace.
pub const SESSIONS_MAX: u64 = 1_000_000;
/// Sessions of one principal that live: what is lost in a loop must leave room for everybody else.
pub const SESSIONS_PER_PRINCIPAL_MAX: u64 = SESSIONS_MAX / 4;
/// Milliseconds for which an expired or closed session's replies can still be asked for.
pub const TOMBSTONE_MS: u64 = 600_000;
/// Bytes of a principal's name.
pub const PRINCIPAL_BYTES_MAX: usize = 256;
/// Bytes of the id of an identity: subjects of certificates and password hashes, and each write of a session that has one
/// rewrites the record that it stands in.
pub const IDENTITY_BYTES_MAX: usize = 512;
/// Identities of one session, those that have expired not counted.
pub const IDENTITIES_PER_SESSION_MAX: usize = 16;
/// Entries of one access list.
pub const ACL_ENTRIES_MAX: usize = 64;
/// Bytes of one access list: each child that is created rewrites the record that its parent's stands in, and changes carry it.
pub const ACL_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the access lists of one session's ephemeral and call-owned znodes: their deletions carry them, in one transaction.
pub const EPHEMERAL_ACL_BYTES_PER_SESSION_MAX: u64 = 1024 * 1024;
/// Rules on one subtree or recipe, or on the cluster.
pub const RULES_PER_OBJECT_MAX: usize = 64;
/// Subtrees and recipes that have rules: what an operator can oversee, and one listing can page through.
pub const RULED_OBJECTS_MAX: u64 = 1024;
/// Bytes of a session's secret.
pub const SECRET_BYTES: usize = 32;

/// Bytes of one uploaded component, unless the operator allows more.
pub const COMPONENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of one chunk of an upload: chunks are log entries and share the pipeline with everybody's writes.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Components that one session may have uploaded without deploying them: they stay until it ends.
pub const UPLOADS_PER_SESSION_MAX: u64 = 16;
/// Bytes of a recipe's or function's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Milliseconds of one run, at most what a manifest may ask for: nobody else's write is executed meanwhile.
pub const RUN_TIME_MS_MAX: u64 = 5_000;
/// Bytes of memory of one run, at most what a manifest may ask for.
pub const RUN_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Host calls of one run, at most what a manifest may ask for.
pub const RUN_HOST_CALLS_MAX: u64 = 1_000_000;
/// Bytes that one run writes to its log, at most what a manifest may ask for.
pub const RUN_LOG_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Versions of one recipe that are remembered; the oldest inactive one goes when another comes.
pub const RECIPE_VERSIONS_MAX: u64 = 64;

/// ZooKeeper's sequential names have ten digits: above this they would stop sorting (DESIGN D14).
pub const SEQUENCE_ZOOKEEPER_MAX: u64 = 9_999_999_999;

const _: () = assert!(DATA_BYTES_MAX + PATH_BYTES_MAX < TRANSACTION_BYTES_MAX);
const _: () = assert!(REPLY_BYTES_MAX < FRAME_BYTES_MAX && ARGUMENTS_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX < TRANSACTION_BYTES_MAX);
const _: () = assert!(EPHEMERALS_PER_SESSION_MAX <= TRANSACTION_CHANGES_MAX as u64 / 2);
const _: () = assert!(
    EPHEMERALS_PER_SESSION_MAX * ((PATH_BYTES_MAX + CHANGE_HEAD_BYTES_MAX) as u64)
        + EPHEMERAL_ACL_BYTES_PER_SESSION_MAX
        < 2 * TRANSACTION_BYTES_MAX as u64,
    "an expiry may pass the limit of a client's transaction, but stays below two of them"
);
const _: () = assert!(EPHEMERALS_PER_PRINCIPAL_MAX > 16 * EPHEMERALS_PER_SESSION_MAX);
const _: () = assert!(KEPT_REPLIES_BYTES_MAX > 2 * REPLY_BYTES_MAX as u64);
const _: () = assert!(RESULT_BYTES_MAX + MESSAGE_BYTES_MAX + 64 <= REPLY_BYTES_MAX);
const _: () = assert!(
    MULTI_OPERATIONS_MAX * (PATH_BYTES_MAX + STAT_BYTES_MAX + 8) + 16 <= REPLY_BYTES_MAX,
    "a multi of creations alone is never refused for the size of its reply"
);
const _: () = assert!(
    EPHEMERALS_PER_SESSION_MAX * ((PATH_BYTES_MAX + CHANGE_HEAD_BYTES_MAX) as u64)
        + EPHEMERAL_ACL_BYTES_PER_SESSION_MAX
        + (BATCH_BYTES_MAX + TRANSACTION_BYTES_MAX + REPLY_BYTES_MAX) as u64
        + (((ACK_RANGES_MAX + 8) * 20) as u64)
        < ENTRY_BYTES_MAX as u64,
    "a transaction may end a call or a session that owns as many znodes as it can, on top of its own changes"
);
const _: () = assert!(MULTI_OPERATIONS_MAX <= TRANSACTION_CHANGES_MAX);
const _: () = assert!(MULTI_CALLS_MAX <= MULTI_OPERATIONS_MAX);
