//! Every bound of the engine that no manifest sets, with unit and reason. Bounds of one run are the manifest's.

use quorate_core::limits::DATA_BYTES_MAX;

/// Milliseconds between two looks at the time limit of a run. A run may pass its limit by this much.
pub(crate) const TICK_MS: u64 = 5;
/// Milliseconds without a run after which the ticking stops.
pub(crate) const TICK_IDLE_MS: u64 = 1_000;

/// Bytes of stack for a guest. The thread that runs recipes must have twice this: host functions run on it too.
pub(crate) const STACK_BYTES_MAX: usize = 512 * 1024;
/// Bytes of linear memory that any manifest can grant.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of linear memory that are cleared in place between two instances instead of being given back.
pub(crate) const MEMORY_KEEP_RESIDENT_BYTES: usize = 256 * 1024;
/// Bytes of tables that are cleared in place.
pub(crate) const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Instances at a time, over all threads that run recipes, kept ones included.
pub(crate) const INSTANCES_MAX: u32 = 128;
/// Linear memories of one component's instances together. Each place has room for as many.
pub(crate) const MEMORIES_MAX: u32 = 2;
/// Tables of one component's instances together. Each place has room for as many.
pub(crate) const TABLES_MAX: u32 = 4;
/// Kept instances of one runner: the rest of its share stays for fresh ones.
pub(crate) const INSTANCES_KEPT_MAX: usize = 32;
/// Runners of calls that only read, at a time: more than a machine's cores would not make them faster.
pub const READERS_MAX: usize = 8;
/// Kept instances of one of those: each reader may come to keep one of every recipe.
pub(crate) const READER_INSTANCES_KEPT_MAX: usize = 4;
/// Instances that one runner has beside those that it keeps: the one that runs, and one that is about to be dropped.
const INSTANCES_RUNNING_MAX: usize = 2;
/// Instances that are nobody's but the sequencer's runner's, however many readers there are: all that it can ever have.
const INSTANCES_OF_SEQUENCER: usize =
    INSTANCES_MAX as usize - READERS_MAX * (READER_INSTANCES_KEPT_MAX + INSTANCES_RUNNING_MAX);
const _: () = assert!(INSTANCES_OF_SEQUENCER >= INSTANCES_KEPT_MAX + INSTANCES_RUNNING_MAX);
/// Deployments of which a runner keeps what it has worked out; more of them only cost time.
pub(crate) const DEPLOYMENTS_KEPT_MAX: usize = 1024;
/// Core instances of one component: Python's have some thirty.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;
/// Elements of one table: interpreters have some ten thousand functions.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Bytes that one call of a host function, or one result, may carry out of the guest.
pub(crate) const CROSSING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Handles that a guest holds at a time.
pub(crate) const HANDLES_MAX: usize = 1024;
/// Handles that wasmtime lets a guest hold or lend. Blobs meet `HANDLES_MAX` first, which has a better name.
pub(crate) const HANDLES_ALL_MAX: usize = 2 * HANDLES_MAX;
/// Bytes of the blobs that a guest holds at a time: payloads of a few operations at their largest.
pub(crate) const BLOB_BYTES_MAX: u64 = 16 * DATA_BYTES_MAX as u64;
/// Bytes of `list<u8>` in the arguments of one call: each byte takes 40 in memory and 8 ns, half a
/// millisecond in all (docs/benchmarks.md). Payloads travel as blobs.
pub(crate) const LIST_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of one write to a WASI stream, and of a line that its guest does not end: what WASI lets a blocking write have.
pub(crate) const OUTPUT_BYTES_MAX: usize = 4096;
/// Random bytes of one call: a host function that takes longer would not be stopped at the time limit.
pub(crate) const RANDOM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one encoded result.
pub(crate) const RESULT_BYTES_MAX: usize = DATA_BYTES_MAX + 16 * 1024;
/// Cases of one variant, names of one enum or set of flags: they are looked up by name.
pub(crate) const CASES_MAX: usize = 256;

/// Core modules of one component.
pub(crate) const MODULES_MAX: u64 = 64;
/// Functions of one component.
pub(crate) const FUNCTIONS_MAX: u64 = 100_000;
/// Bytes of one function: register allocation is worse than linear in it. The main loop of an interpreter has some 100 KiB.
pub(crate) const FUNCTION_BYTES_MAX: u64 = 512 * 1024;
/// Locals of one function.
pub(crate) const LOCALS_MAX: u64 = 10_000;
/// Milliseconds after which a compilation counts as failed, unless the engine's options say otherwise: the 18 MB of a
/// Python take some ten seconds on one core.
pub(crate) const COMPILE_MS_MAX: u64 = 60_000;
/// Compilations that wait for the one under way.
pub(crate) const COMPILE_QUEUE_MAX: usize = 64;
/// Components whose refusal is remembered.
pub(crate) const REFUSED_KEPT_MAX: usize = 1024;

/// Runs over a limit within `TRIP_WINDOW_MS` that trip a recipe.
pub(crate) const TRIP_RUNS: usize = 10;
/// Milliseconds of transaction time.
pub(crate) const TRIP_WINDOW_MS: u64 = 10_000;
/// Milliseconds of transaction time for which a tripped recipe is not run.
pub(crate) const TRIP_MS: u64 = 30_000;

/// Lines of one recipe's log.
pub(crate) const LOG_LINES_MAX: usize = 1024;
/// Bytes of one recipe's log.
pub(crate) const LOG_BYTES_MAX: usize = 256 * 1024;
/// Lines of one recipe's log in a second of transaction time.
pub(crate) const LOG_LINES_PER_SECOND_MAX: u32 = 256;
/// Recipes that have a log; the one written least recently goes.
pub(crate) const LOGS_MAX: usize = 1024;
/// Bytes that a line counts for beside its text.
pub(crate) const LOG_LINE_BYTES: u64 = 32;

const _: () = assert!(INSTANCES_KEPT_MAX * 2 < INSTANCES_MAX as usize);
const _: () = assert!(RESULT_BYTES_MAX < quorate_core::limits::REPLY_BYTES_MAX);
