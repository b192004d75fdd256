//! Sequential objects that clients of the service see: a znode, a counter, a lock, a queue, an election, a barrier.

mod barrier;
mod counter;
mod election;
mod lock;
mod queue;
mod znode;

pub use barrier::{Barrier, BarrierAnswer, BarrierCall};
pub use counter::{Counter, CounterCall};
pub use election::{Election, ElectionAnswer, ElectionCall};
pub use lock::{Lock, LockAnswer, LockCall};
pub use queue::{Queue, QueueAnswer, QueueCall};
pub use znode::{Znode, ZnodeAnswer, ZnodeCall};
