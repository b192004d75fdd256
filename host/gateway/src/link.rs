//! A link: one ordered lane of frames between a member and its leader. What either end needs of it, and what waits to be
//! sent on it. It does not know what the frames mean, nor over what they travel.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::request::Class;
use quorate_net::{LaneReceiver, LaneSender};
use quorate_wire::link::ToLeader;
use tokio::sync::{Notify, oneshot};

use crate::limits;

/// A future that is asked for through a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a link is not there, or not any more. For the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkBroken(pub String);

/// Sends frames of up to `quorate_wire::link::LINK_FRAME_BYTES_MAX` bytes.
pub trait FrameSender: Send {
    /// Returns when the frame is on its way, after all that were sent before. Dropped before that, the link is not used
    /// any more.
    ///
    /// # Errors
    /// When the link has ended.
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), LinkBroken>>;
}

/// Receives frames, in the order in which they were sent, without a gap.
pub trait FrameReceiver: Send {
    /// The next frame; none when the other end has finished. Dropped before that, the link is not used any more.
    ///
    /// # Errors
    /// When the link has ended.
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, LinkBroken>>;
}

/// One end of a link. The link ends when it is dropped.
pub struct LinkEnds {
    /// To the other end.
    pub sender: Box<dyn FrameSender>,
    /// From the other end.
    pub receiver: Box<dyn FrameReceiver>,
}

/// Opens links to other members.
pub trait Dial: Send + Sync {
    /// A new link to this member, which need not lead. Dropped before it is ready, no link stays.
    ///
    /// # Errors
    /// When the member can not be reached, or refuses.
    fn link(&self, leader: u64) -> BoxFuture<'_, Result<LinkEnds, LinkBroken>>;

    /// Returns after this pause between two attempts.
    fn pause(&self, pause: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(pause))
    }
}

impl FrameSender for LaneSender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), LinkBroken>> {
        Box::pin(async move {
            LaneSender::send(self, frame).await.map_err(|error| LinkBroken(error.to_string()))
        })
    }
}

impl FrameReceiver for LaneReceiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, LinkBroken>> {
        Box::pin(async move { self.recv().await.map_err(|error| LinkBroken(error.to_string())) })
    }
}

/// Messages that wait to be sent on a link. Whoever fills it never waits: it is filled under locks, and by the thread that
/// sequences. What bounds it is said where it is filled.
pub(crate) struct Outbox<M> {
    queue: Mutex<Queue<M>>,
    is_filled: Notify,
    is_eased: Notify,
}

struct Queue<M> {
    messages: VecDeque<(usize, M)>,
    bytes: usize,
    is_closed: bool,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        let queue = Queue { messages: VecDeque::new(), bytes: 0, is_closed: false };
        Self { queue: Mutex::new(queue), is_filled: Notify::new(), is_eased: Notify::new() }
    }
}

impl<M> Outbox<M> {
    /// Puts a message of about so many bytes behind the others; forgets it if the link has ended.
    pub(crate) fn push(&self, bytes: usize, message: M) {
        let mut queue = self.lock();
        if queue.is_closed {
            return;
        }
        queue.bytes += bytes;
        queue.messages.push_back((bytes, message));
        drop(queue);
        self.is_filled.notify_one();
    }

    /// Forgets the messages that are not to be kept.
    pub(crate) fn retain(&self, is_kept: impl Fn(&M) -> bool) {
        let mut queue = self.lock();
        queue.messages.retain(|(_, message)| is_kept(message));
        queue.bytes = queue.messages.iter().map(|(bytes, _)| bytes).sum();
    }

    /// Ends the link: nothing is sent on it any more.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.is_closed = true;
        queue.messages.clear();
        queue.bytes = 0;
        drop(queue);
        self.is_filled.notify_one();
        self.is_eased.notify_one();
    }

    /// How many messages wait, and about how many bytes.
    pub(crate) fn load(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.messages.len(), queue.bytes)
    }

    /// The next message to send; none when the link has been ended. For one task at a time. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<M> {
        loop {
            {
                let mut queue = self.lock();
                if queue.is_closed {
                    return None;
                }
                if let Some((bytes, message)) = queue.messages.pop_front() {
                    queue.bytes -= bytes;
                    drop(queue);
                    self.is_eased.notify_one();
                    return Some(message);
                }
            }
            self.is_filled.notified().await;
        }
    }

    /// Waits until at most this many bytes wait, or the link has ended. For one task at a time. Cancel-safe.
    pub(crate) async fn eased_to(&self, bytes_max: usize) {
        while self.load().1 > bytes_max {
            self.is_eased.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member's end of the link to its leader, for those who send on it.
///
/// Of requests, only those that the registry lets wait are sent, each once for an epoch that opens: the bounds of what
/// waits bound what waits here.
#[derive(Default)]
pub struct Link {
    outbox: Outbox<ToLeader>,
    questions: Mutex<Questions>,
}

#[derive(Default)]
struct Questions {
    next: u64,
    asked: BTreeMap<u64, oneshot::Sender<Result<u64, Refusal>>>,
    is_closed: bool,
}

impl Link {
    /// Sends a message to the leader.
    pub(crate) fn send(&self, message: ToLeader, bytes: usize) {
        self.outbox.push(bytes + limits::LINK_MESSAGE_BYTES, message);
    }

    /// What was to be sent under an earlier epoch need not be any more.
    pub(crate) fn forget_requests(&self) {
        self.outbox.retain(|message| matches!(message, ToLeader::ReadIndex { .. }));
    }

    /// Whether so much waits that requests of this class should be refused.
    pub(crate) fn is_overloaded(&self, class: Class) -> bool {
        let (count, bytes) = self.outbox.load();
        count >= class.places(limits::SEQUENCER_INBOX_MAX)
            || bytes >= class.places(limits::LINK_WAITING_BYTES_MAX)
    }

    /// Asks the leader for a read index. Cancel-safe: dropped, the answer is forgotten.
    ///
    /// # Errors
    /// As the leader says; `no-leader` when the link ends.
    pub(crate) async fn read_index(&self) -> Result<u64, Refusal> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut questions = self.questions();
            if !questions.is_closed {
                questions.asked.retain(|_, asked| !asked.is_closed());
                questions.next += 1;
                let question = questions.next;
                questions.asked.insert(question, sender);
                self.send(ToLeader::ReadIndex { question }, 0);
            }
        }
        let ended = || Refusal::new(ErrorCode::NoLeader, "the link to the leader has ended");
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The leader has answered a question.
    pub(crate) fn handle_index(&self, question: u64, index: Result<u64, Refusal>) {
        if let Some(asked) = self.questions().asked.remove(&question) {
            // Whoever asked may have lost patience.
            let _heard = asked.send(index);
        }
    }

    /// The next message to send; none when the link has been ended.
    pub(crate) async fn next(&self) -> Option<ToLeader> {
        self.outbox.next().await
    }

    /// Nothing is sent or answered any more.
    pub(crate) fn close(&self) {
        self.outbox.close();
        let mut questions = self.questions();
        questions.is_closed = true;
        questions.asked.clear();
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
