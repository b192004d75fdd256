//! Sequential objects that clients of the service see: a znode, a counter, a lock, a queue.

mod counter;
mod lock;
mod queue;
mod znode;

pub use counter::{Counter, CounterCall};
pub use lock::{Lock, LockAnswer, LockCall};
pub use queue::{Queue, QueueAnswer, QueueCall};
pub use znode::{Znode, ZnodeAnswer, ZnodeCall};
