//! One link of another member, at the leader's end: frames go to the thread that sequences, in their order, and what is
//! to be told goes out. Questions for a read index need no order and go to the quorum. It decides about no request.

use std::sync::Arc;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_wire::link::{ToLeader, ToMember};
use tokio::sync::Semaphore;

use crate::leader::SequencerHandle;
use crate::limits;
use crate::link::{FrameReceiver, FrameSender, LinkBroken, LinkEnds, Outbox};
use crate::links::LinkEvent;
use crate::quorum::Rounds;

/// Serves a link that `member` has opened to this member, until it ends or a newer one of the same member replaces it.
/// Served whether this member leads or not: one that does not has nothing to say. To be ended by dropping it.
///
/// The order in which links of one member come to be served need not be that in which they were opened: a member submits
/// on a link only after it was told there that an epoch is open, so one that is served too late has brought nothing.
pub async fn serve(sequencer: SequencerHandle, rounds: Rounds, member: u64, ends: LinkEnds) {
    let LinkEnds { mut sender, mut receiver } = ends;
    let outbox = Arc::new(Outbox::default());
    let attached = Attached { link: sequencer.next_link(), outbox, sequencer };
    let event = LinkEvent::Attached { member, outbox: attached.outbox.clone() };
    attached.sequencer.tell_link(attached.link, event);
    let ended = tokio::select! {
        ended = tell(&attached, sender.as_mut()) => ended,
        ended = take(&attached, &rounds, receiver.as_mut()) => ended,
    };
    match ended {
        Ok(()) => tracing::debug!(member, link = attached.link, "a link has ended"),
        Err(error) => tracing::info!(member, link = attached.link, %error, "a link has ended"),
    }
}

/// Tells the thread when the link has ended, also when its task is dropped.
struct Attached {
    link: u64,
    outbox: Arc<Outbox<ToMember>>,
    sequencer: SequencerHandle,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.outbox.close();
        self.sequencer.tell_link(self.link, LinkEvent::Detached);
    }
}

async fn tell(attached: &Attached, sender: &mut dyn FrameSender) -> Result<(), LinkBroken> {
    while let Some(message) = attached.outbox.next().await {
        sender.send(message.encode()).await?;
    }
    Ok(())
}

async fn take(
    attached: &Attached,
    rounds: &Rounds,
    receiver: &mut dyn FrameReceiver,
) -> Result<(), LinkBroken> {
    let room = Arc::new(Semaphore::new(limits::LINK_TAKEN_KIB_MAX as usize));
    let questions = Arc::new(Semaphore::new(limits::LINK_QUESTIONS_MAX));
    loop {
        // What is answered is held up by a member that does not read its answers.
        attached.outbox.eased_to(limits::LINK_ANSWERS_BYTES_EASED).await;
        let Some(frame) = receiver.receive().await? else { return Ok(()) };
        let kib = u32::try_from(frame.len() / 1024 + 1).unwrap_or(u32::MAX);
        let room = room.clone().acquire_many_owned(kib.min(limits::LINK_TAKEN_KIB_MAX));
        let message = ToLeader::decode(frame).map_err(|error| LinkBroken(error.to_string()))?;
        match message {
            ToLeader::ReadIndex { question } => {
                let outbox = attached.outbox.clone();
                let answer = move |index| {
                    let message = ToMember::ReadIndex { question, index };
                    outbox.push(limits::LINK_MESSAGE_BYTES, message);
                };
                match questions.clone().try_acquire_owned() {
                    Ok(permit) => rounds.ask_with(move |led| {
                        answer(led.map(|led| led.index));
                        drop(permit);
                    }),
                    Err(_) => answer(Err(Refusal::new(
                        ErrorCode::Overloaded,
                        "too many questions for a read index at a time",
                    ))),
                }
            }
            message => {
                let Ok(room) = room.await else { return Ok(()) };
                attached.sequencer.tell_link(attached.link, LinkEvent::Frame { message, room });
            }
        }
    }
}
