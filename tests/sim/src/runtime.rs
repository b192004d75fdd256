//! openraft's runtime: its simulation runtime, with the tasks of each member in that member's process and on that member's
//! clock. It knows nothing of raft.

use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_sim::{SimInstant, SimRuntime};

use crate::process::{self, current};

/// The runtime of every member.
#[derive(Debug)]
pub struct MemberRuntime(SimRuntime);

impl MemberRuntime {
    /// One whose chances come from this seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(SimRuntime::with_seed(seed))
    }
}

/// A moment on the clock of the process that asks, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalInstant(u64);

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

impl openraft::Instant for LocalInstant {
    fn now() -> Self {
        Self(current().map_or_else(process::world_ns, |process| process.clock.monotonic_ns()))
    }
}

impl Add<Duration> for LocalInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl AddAssign<Duration> for LocalInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for LocalInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

impl SubAssign<Duration> for LocalInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for LocalInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// When a duration of the current process is over.
fn world_deadline(local: Duration) -> SimInstant {
    let world = current().map_or(local, |process| process.clock.to_world(local));
    <SimInstant as openraft::Instant>::now() + world.min(Duration::from_secs(365 * 86_400))
}

impl AsyncRuntime for MemberRuntime {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <SimRuntime as AsyncRuntime>::Sleep;
    type Instant = LocalInstant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <SimRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match current() {
            Some(process) => process.spawn(future),
            None => SimRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        SimRuntime::sleep_until(world_deadline(duration))
    }

    fn sleep_until(deadline: LocalInstant) -> Self::Sleep {
        Self::sleep(deadline - <LocalInstant as openraft::Instant>::now())
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        SimRuntime::timeout_at(world_deadline(duration), future)
    }

    fn timeout_at<R, F>(deadline: LocalInstant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        Self::timeout(deadline - <LocalInstant as openraft::Instant>::now(), future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        SimRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        Self(SimRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(_blocking: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // A thread would end at a time that differs between runs.
        std::future::ready(Err(io::Error::other("there are no threads here")))
    }
}
