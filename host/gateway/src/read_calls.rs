//! The threads on which recipe calls that only read are run, beside the sequencer and off every path of a write. They know
//! no client: how fresh a call must be, and who waits for its answer, is `quic`'s.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::Zxid;
use quorate_core::read::SharedRead;
use quorate_core::recipe::Recipes;
use quorate_core::request::Call;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits;
use crate::principals::{Counted, Kind, Principal};
use crate::reads::Client;

/// The encoded result of a call, or why there is none, and the transaction that it reflects.
pub type Answered = (Zxid, Result<Bytes, Refusal>);

/// Gives the applied tree as it is at one moment.
pub type Snapshots = Arc<dyn Fn() -> SharedRead + Send + Sync>;

/// A call that waits for a thread.
struct Job {
    client: Client,
    call: Call,
    queued: Instant,
    answer: oneshot::Sender<Result<Answered, Refusal>>,
}

/// The threads, and the way to them.
pub struct ReadCalls {
    jobs: Mutex<Option<mpsc::SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    room: Arc<Semaphore>,
}

/// What one lane has of the room, and of the threads.
pub struct LaneShare {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    principal: Option<Arc<Principal>>,
}

/// A call that was taken in; it has its room until this is dropped.
pub struct Taken {
    _rooms: [OwnedSemaphorePermit; 2],
    _counted: Option<Counted>,
    turns: Arc<Semaphore>,
}

/// Threads for this machine: as many as it has cores, within bounds.
#[must_use]
pub fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(limits::READ_CALL_THREADS_MIN, quorate_engine::READERS_MAX)
}

impl LaneShare {
    /// Of a lane whose session has this principal.
    #[must_use]
    pub fn of(principal: Option<Arc<Principal>>) -> Self {
        Self {
            principal,
            room: Arc::new(Semaphore::new(limits::READ_CALL_BLOCKS_PER_LANE_MAX)),
            turns: Arc::new(Semaphore::new(limits::READ_CALLS_PER_LANE_TURN)),
        }
    }
}

impl ReadCalls {
    /// Starts a thread for each of these.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(
        readers: Vec<Box<dyn Recipes + Send>>,
        snapshots: Snapshots,
    ) -> std::io::Result<Self> {
        Self::start_with(readers, snapshots, limits::READ_CALLS_QUEUE_MAX)
    }

    fn start_with(
        readers: Vec<Box<dyn Recipes + Send>>,
        snapshots: Snapshots,
        queue_max: usize,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(queue_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(readers.len());
        for (number, mut recipes) in readers.into_iter().enumerate() {
            let (receiver, snapshots) = (Arc::clone(&receiver), Arc::clone(&snapshots));
            let thread = std::thread::Builder::new()
                .name(format!("reader-{number}"))
                .stack_size(limits::READ_CALL_STACK_BYTES)
                .spawn(move || serve(&mut *recipes, &receiver, &*snapshots))?;
            threads.push(thread);
        }
        let room = Arc::new(Semaphore::new(limits::READ_CALL_BLOCKS_MAX));
        Ok(Self { jobs: Mutex::new(Some(sender)), threads: Mutex::new(threads), room })
    }

    /// Takes a call of this lane in, if there is room for it.
    ///
    /// # Errors
    /// `overloaded`, naming whose room is used up.
    pub fn take(&self, lane: &LaneShare, call: &Call) -> Result<Taken, Refusal> {
        let bytes = call.recipe.len() + call.function.len() + call.arguments.len();
        let blocks = bytes.div_ceil(limits::READ_CALL_BLOCK_BYTES).max(1);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let room = |of: &Arc<Semaphore>, whose: &str, max: usize| {
            Arc::clone(of).try_acquire_many_owned(blocks).map_err(|_| {
                let bytes = limits::READ_CALL_BLOCK_BYTES;
                overloaded(format!(
                    "{whose} has calls that only read and are not answered up to the limit of {max}, counting {bytes} bytes as one"
                ))
            })
        };
        let of_principal = |one: &Arc<Principal>| one.take(Kind::ReadCallBlocks, blocks as usize);
        let counted = lane.principal.as_ref().map(of_principal).transpose()?;
        let rooms = [
            room(&lane.room, "this session", limits::READ_CALL_BLOCKS_PER_LANE_MAX)?,
            room(&self.room, "this member", limits::READ_CALL_BLOCKS_MAX)?,
        ];
        Ok(Taken { _rooms: rooms, _counted: counted, turns: Arc::clone(&lane.turns) })
    }

    /// Runs a call of this client on the tree as it is when a thread comes to it. A call that is dropped before is not run.
    /// The lane's turn comes with the answer, to be kept until that is delivered: results of a client that does not read are
    /// bounded by it.
    ///
    /// # Errors
    /// `overloaded` if too many wait for a thread; `shutting-down`; `internal`. What the run itself refuses stands in the answer.
    pub async fn run(
        &self,
        taken: &Taken,
        client: Client,
        call: Call,
    ) -> Result<(Answered, OwnedSemaphorePermit), Refusal> {
        let ended = || Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down");
        let turn = Arc::clone(&taken.turns).acquire_owned().await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let job = Job { client, call, queued: Instant::now(), answer };
        let queued = lock(&self.jobs).as_ref().ok_or_else(ended)?.try_send(job);
        queued.map_err(|error| match error {
            mpsc::TrySendError::Full(_) => {
                let max = limits::READ_CALLS_QUEUE_MAX;
                overloaded(format!("{max} calls that only read wait on this member already"))
            }
            mpsc::TrySendError::Disconnected(_) => ended(),
        })?;
        let answered = answered.await.unwrap_or_else(|_| {
            let message =
                "a call that only reads ended without an answer; the server's log says more";
            Err(Refusal::new(ErrorCode::Internal, message))
        })?;
        Ok((answered, turn))
    }

    /// Ends the threads: each after the call that it is at, and those that wait. Blocks for as long as that takes.
    pub fn stop(&self) {
        drop(lock(&self.jobs).take());
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread for calls that only read has panicked");
            }
        }
    }
}

impl Drop for ReadCalls {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is behind the locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn overloaded(message: String) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, message)
}

/// A thread's work, until nobody can send more.
fn serve(
    recipes: &mut dyn Recipes,
    jobs: &Mutex<mpsc::Receiver<Job>>,
    snapshots: &(dyn Fn() -> SharedRead + Send + Sync),
) {
    loop {
        // Whoever waits has the lock, the others wait for that.
        let job = lock(jobs).recv();
        let Ok(Job { client, call, queued, answer }) = job else { return };
        if answer.is_closed() {
            continue;
        }
        let waited = queued.elapsed();
        // A defect that one call finds must not cost the thread.
        let run = AssertUnwindSafe(|| run(recipes, snapshots, client, &call, waited));
        match std::panic::catch_unwind(run) {
            // The lane may be over by now.
            Ok(answered) => drop(answer.send(answered)),
            Err(_) => {
                tracing::error!(recipe = call.recipe, "a call that only reads has panicked");
                recipes.reset();
            }
        }
    }
}

fn run(
    recipes: &mut dyn Recipes,
    snapshots: &(dyn Fn() -> SharedRead + Send + Sync),
    client: Client,
    call: &Call,
    waited: Duration,
) -> Result<Answered, Refusal> {
    if waited > limits::READ_CALL_PATIENCE {
        let max = limits::READ_CALL_PATIENCE.as_millis();
        let message = format!("no thread was free for a call that only reads within {max} ms");
        return Err(overloaded(message));
    }
    let tree = snapshots();
    let asker = client.asker(&*tree);
    Ok(execute::read_call(tree, &asker, call, recipes))
}

#[cfg(test)]
mod tests;
