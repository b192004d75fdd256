//! Processes in the simulation: tasks that live, pause and die together, with a clock of their own. It knows nothing of
//! what they do.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft_rt_sim::{SimInstant, SimJoinHandle, SimRuntime};
use send_wrapper::SendWrapper;

/// Nanoseconds at which every world begins: a day, so that subtracting a timeout does not go below zero.
const BEGINNING_NS: u64 = 86_400 * 1_000_000_000;

/// Nanoseconds of the world's own time, which no process sees.
#[must_use]
pub fn world_ns() -> u64 {
    let now = SimInstant::try_now().map_or(Duration::ZERO, SimInstant::elapsed_since_start);
    BEGINNING_NS + u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - BEGINNING_NS)
}

/// Lets the world's time pass.
pub fn world_sleep(duration: Duration) -> <SimRuntime as AsyncRuntime>::Sleep {
    SimRuntime::sleep(duration)
}

/// Runs a task that belongs to no process.
pub fn spawn_in_world(future: impl Future<Output = ()> + 'static) {
    drop(SimRuntime::spawn(SendWrapper::new(future)));
}

/// A machine's clock: runs at its own rate, and its wall time may jump. Outlives processes.
#[derive(Debug)]
pub struct Clock {
    /// Parts per million by which it runs fast (or slow, below zero).
    drift_ppm: i64,
    /// Milliseconds by which its wall clock is off.
    wall_offset_ms: Cell<i64>,
}

/// Milliseconds since 1970 at which every world begins.
const WALL_BEGINNING_MS: u64 = 1_800_000_000_000;

impl Clock {
    /// A clock that is right but for its drift.
    #[must_use]
    pub fn new(drift_ppm: i64) -> Self {
        Self { drift_ppm, wall_offset_ms: Cell::new(0) }
    }

    fn rate(&self) -> u128 {
        u128::try_from(1_000_000 + self.drift_ppm).unwrap_or(1_000_000)
    }

    /// Its monotonic time, in nanoseconds.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        scale(world_ns(), self.rate(), 1_000_000)
    }

    /// Its monotonic time, in milliseconds.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }

    /// Its wall time, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        let passed = (self.monotonic_ns() / 1_000_000).saturating_sub(BEGINNING_NS / 1_000_000);
        (WALL_BEGINNING_MS + passed).saturating_add_signed(self.wall_offset_ms.get())
    }

    /// Its wall clock jumps.
    pub fn jump(&self, by_ms: i64) {
        self.wall_offset_ms.set(self.wall_offset_ms.get() + by_ms);
    }

    /// How long it takes in the world until this clock has gone on by so much, and not a nanosecond less: who sleeps until
    /// a time must not wake before it.
    #[must_use]
    pub fn to_world(&self, local: Duration) -> Duration {
        let ns = u64::try_from(local.as_nanos()).unwrap_or(u64::MAX / 4);
        let due = self.world_at(self.monotonic_ns().saturating_add(ns));
        Duration::from_nanos(due.saturating_sub(world_ns()))
    }

    /// When this clock shows a monotonic time, in nanoseconds of the world.
    #[must_use]
    pub fn world_at(&self, monotonic_ns: u64) -> u64 {
        let numerator = u128::from(monotonic_ns) * 1_000_000;
        u64::try_from(numerator.div_ceil(self.rate())).unwrap_or(u64::MAX)
    }
}

fn scale(value: u64, numerator: u128, denominator: u128) -> u64 {
    u64::try_from(u128::from(value) * numerator / denominator).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Dead,
}

/// A process. Its tasks are polled while it runs, wait while it is paused, and are dropped when it dies.
pub struct Process {
    /// Whose it is, for traces.
    pub name: String,
    /// Its machine's clock.
    pub clock: Rc<Clock>,
    state: Cell<State>,
    /// Who waits for the end of a pause.
    paused: RefCell<Vec<Waker>>,
    tasks: RefCell<Vec<Weak<dyn Drops>>>,
    /// Drop the dead of `tasks` above this many.
    tidy_above: Cell<usize>,
    panics: Rc<RefCell<Vec<String>>>,
}

thread_local! {
    /// The process whose task is polled at this moment.
    static CURRENT: RefCell<Option<Rc<Process>>> = const { RefCell::new(None) };
}

/// The process whose task is polled at this moment; none for what belongs to the world.
#[must_use]
pub fn current() -> Option<Rc<Process>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Does something as this process.
fn within<T>(process: &Rc<Process>, act: impl FnOnce() -> T) -> T {
    let before = CURRENT.with(|current| current.replace(Some(process.clone())));
    let done = act();
    CURRENT.with(|current| current.replace(before));
    done
}

impl Process {
    /// One that runs. Panics of its tasks are noted in `panics`: they are findings.
    #[must_use]
    pub fn new(name: String, clock: Rc<Clock>, panics: Rc<RefCell<Vec<String>>>) -> Rc<Self> {
        Rc::new(Self {
            name,
            clock,
            state: Cell::new(State::Running),
            paused: RefCell::default(),
            tasks: RefCell::default(),
            tidy_above: Cell::new(64),
            panics,
        })
    }

    /// Whether it has not died.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state.get() != State::Dead
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state.get() == State::Paused
    }

    /// Stops it in its tracks; its clock goes on.
    pub fn pause(&self) {
        if self.is_alive() {
            self.state.set(State::Paused);
        }
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        if self.is_paused() {
            self.state.set(State::Running);
            for waker in self.paused.take() {
                waker.wake();
            }
        }
    }

    /// Ends it. Nothing of it runs any more.
    pub fn kill(self: &Rc<Self>) {
        if !self.is_alive() {
            return;
        }
        self.state.set(State::Dead);
        self.paused.borrow_mut().clear();
        let tasks = self.tasks.take();
        within(self, || {
            for task in tasks.iter().filter_map(Weak::upgrade) {
                task.drop_future();
            }
        });
    }

    /// Runs a task as part of this process.
    pub fn spawn<F>(self: &Rc<Self>, future: F) -> SimJoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let slot = Rc::new(Slot(RefCell::new(Some(Box::pin(future)))));
        let erased: Rc<dyn Drops> = slot.clone();
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(Rc::downgrade(&erased));
        if tasks.len() > self.tidy_above.get() {
            tasks.retain(|task| task.strong_count() > 0);
            self.tidy_above.set(64 + 2 * tasks.len());
        }
        drop(tasks);
        SimRuntime::spawn(SendWrapper::new(Task { process: self.clone(), slot }))
    }
}

trait Drops {
    fn drop_future(&self);
}

struct Slot<F>(RefCell<Option<Pin<Box<F>>>>);

impl<F> Drops for Slot<F> {
    fn drop_future(&self) {
        let future = self.0.take();
        drop(future);
    }
}

/// A future that belongs to a process.
struct Task<F: Future> {
    process: Rc<Process>,
    slot: Rc<Slot<F>>,
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.process.state.get() {
            State::Running => {}
            State::Paused => {
                self.process.paused.borrow_mut().push(context.waker().clone());
                return Poll::Pending;
            }
            State::Dead => return Poll::Pending,
        }
        let Some(mut future) = self.slot.0.take() else { return Poll::Pending };
        let polled = within(&self.process, || {
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
            // What is over, or belongs to the dead, is dropped as part of its process.
            match polled {
                Ok(Poll::Pending) if self.process.is_alive() => Ok(Some(future)),
                Ok(Poll::Pending) => Ok(None),
                Ok(Poll::Ready(output)) => Err(Ok(output)),
                Err(panic) => Err(Err(panic)),
            }
        });
        match polled {
            Ok(pending) => {
                self.slot.0.replace(pending);
                Poll::Pending
            }
            Err(Ok(output)) => Poll::Ready(output),
            Err(Err(panic)) => {
                let place = PLACE.with(RefCell::take);
                let message = message(&*panic);
                let message = format!("{} panics at {place}: {message}", self.process.name);
                self.process.panics.borrow_mut().push(message);
                Poll::Pending
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// Keeps panics of tasks from printing: they are noted, with their place, and reported with the seed.
pub fn keep_panics_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if current().is_none() {
                before(panic);
                return;
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            PLACE.with(|last| *last.borrow_mut() = place);
        }));
    });
}

thread_local! {
    /// Where the last panic of a task was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}
