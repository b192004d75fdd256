//! Lanes: frames, their bytes, their order, their limits and their ends.

use std::time::Duration;

use bytes::Bytes;
use quorate_net::lane::LaneLimits;
use quorate_net::limits::{FRAME_BYTES_MAX, FRAME_QUEUE_COST_BYTES, STREAM_WINDOW_BYTES};
use quorate_net::{CloseCode, CloseReason, FrameTooLong, LaneError, TrySendError};

use crate::rig::{DEADLINE, Rig, within};

const ABANDONED: u64 = CloseCode::Abandoned as u64;

/// Bytes that differ from place to place and from frame to frame.
fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|at| u8::try_from((at * 31 + bytes) % 251).unwrap()).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_both_ways() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    let largest = FRAME_BYTES_MAX as usize;
    let mut sizes: Vec<usize> = (0..=300).collect();
    sizes.extend(1180..1220);
    sizes.extend(1430..1480);
    sizes.extend([8191, 8192, 8193, 32_767, 32_768, 65_536, 1 << 20, largest - 1, largest]);
    let expected = sizes.clone();
    let echo = tokio::spawn(async move {
        while let Some(frame) = lane.from_client.recv().await.unwrap() {
            lane.to_client.send(frame).await.unwrap();
        }
        lane.to_client.finish(DEADLINE).await.unwrap();
    });
    let sending = async {
        for bytes in sizes {
            lane.to_server.send(pattern(bytes)).await.unwrap();
        }
        lane.to_server.finish(DEADLINE).await.unwrap();
    };
    let receiving = async {
        for bytes in expected {
            let frame = lane.from_server.recv().await.unwrap().unwrap();
            assert!(frame == pattern(bytes), "a frame of {bytes} bytes came back changed");
        }
        assert_eq!(lane.from_server.recv().await, Ok(None));
    };
    within(async { tokio::join!(sending, receiving) }).await;
    within(echo).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_sender_keep_their_order() {
    let mut rig = Rig::new();
    // A queue of a few frames, so that sending waits for room again and again.
    let limits = LaneLimits { queue_bytes_max: 1000, ..LaneLimits::default() };
    let mut lane = rig.lane(limits).await;
    let sending = tokio::spawn(async move {
        for number in 0..1000_u32 {
            lane.to_server.send(Bytes::copy_from_slice(&number.to_le_bytes())).await.unwrap();
        }
        lane.to_server.finish(DEADLINE).await.unwrap();
    });
    for number in 0..1000_u32 {
        let frame = within(lane.from_client.recv()).await.unwrap().unwrap();
        assert_eq!(frame[..], number.to_le_bytes());
    }
    assert_eq!(within(lane.from_client.recv()).await, Ok(None));
    within(sending).await.unwrap();
}

#[tokio::test]
async fn a_lane_is_these_bytes() {
    let mut rig = Rig::new();
    let raw = rig.raw(b"quorate/1").await.unwrap();
    let accepted = within(rig.server.accept()).await.unwrap();
    let (mut send, mut receive) = raw.open_bi().await.unwrap();
    send.write_all(&[3, 0, 0, 0, b'a', b'b', b'c', 0, 0, 0, 0, 1, 0, 0, 0, 0xff]).await.unwrap();
    send.finish().unwrap();
    let (to_raw, mut from_raw) = within(accepted.accept_lane(LaneLimits::default())).await.unwrap();
    assert_eq!(within(from_raw.recv()).await.unwrap().unwrap()[..], b"abc"[..]);
    assert_eq!(within(from_raw.recv()).await.unwrap().unwrap()[..], b""[..]);
    assert_eq!(within(from_raw.recv()).await.unwrap().unwrap()[..], [0xff]);
    assert_eq!(within(from_raw.recv()).await, Ok(None));
    assert_eq!(within(from_raw.recv()).await, Ok(None), "the end stays the answer");

    to_raw.send(Bytes::from_static(b"hello")).await.unwrap();
    to_raw.send(Bytes::new()).await.unwrap();
    let finishing = tokio::spawn(to_raw.finish(DEADLINE));
    let bytes = within(receive.read_to_end(100)).await.unwrap();
    assert_eq!(bytes, [5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o', 0, 0, 0, 0]);
    within(finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_announcement_over_the_limit_is_a_typed_error_and_the_server_goes_on() {
    let mut rig = Rig::new();
    let raw = rig.raw(b"quorate/1").await.unwrap();
    let accepted = within(rig.server.accept()).await.unwrap();
    let (mut send, _receive) = raw.open_bi().await.unwrap();
    let announced = FRAME_BYTES_MAX + 1;
    send.write_all(&[2, 0, 0, 0, b'o', b'k']).await.unwrap();
    send.write_all(&announced.to_le_bytes()).await.unwrap();
    let (_sender, mut receiver) =
        within(accepted.accept_lane(LaneLimits::default())).await.unwrap();
    assert_eq!(within(receiver.recv()).await.unwrap().unwrap()[..], b"ok"[..]);
    let refused =
        LaneError::FrameTooLong(FrameTooLong { bytes: announced, bytes_max: FRAME_BYTES_MAX });
    assert_eq!(within(receiver.recv()).await, Err(refused.clone()));
    assert_eq!(within(receiver.recv()).await, Err(refused), "the error stays the answer");
    // The peer is told to stop, even before its connection is closed.
    let stopped = within(send.stopped()).await.unwrap().unwrap();
    assert_eq!(stopped.into_inner(), u64::from(CloseCode::ProtocolError.number()));
    accepted.close(CloseCode::ProtocolError, "frame too long");
    match within(raw.closed()).await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code.into_inner(), 2);
            assert_eq!(close.reason[..], b"frame too long"[..]);
        }
        other => panic!("not closed with a code: {other}"),
    }
    rig.lane(LaneLimits::default()).await;
}

#[tokio::test]
async fn a_payload_over_the_limit_is_not_taken_and_the_lane_goes_on() {
    let mut rig = Rig::new();
    let limits = LaneLimits { frame_bytes_max: 100, ..LaneLimits::default() };
    let mut lane = rig.lane(limits).await;
    let refused = LaneError::PayloadTooLong { bytes: 101, bytes_max: 100 };
    assert_eq!(lane.to_server.send(pattern(101)).await, Err(refused.clone()));
    assert_eq!(
        lane.to_server.try_send(pattern(101)),
        Err(TrySendError::Refused(pattern(101), refused))
    );
    lane.to_server.send(pattern(100)).await.unwrap();
    assert_eq!(within(lane.from_client.recv()).await.unwrap().unwrap(), pattern(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_stops_the_sender_within_bounded_memory() {
    let mut rig = Rig::new();
    let limits = LaneLimits { queue_bytes_max: 64 * 1024, ..LaneLimits::default() };
    let mut lane = rig.lane(limits).await;
    let mut taken = 0_u32;
    loop {
        let mut frame = vec![0; 1000];
        frame[..4].copy_from_slice(&taken.to_le_bytes());
        let sending = lane.to_server.send(frame.into());
        // What waits this long on loopback waits for the reader.
        match tokio::time::timeout(Duration::from_millis(500), sending).await {
            Ok(sent) => sent.unwrap(),
            Err(_still_waiting) => break,
        }
        taken += 1;
    }
    assert_eq!(
        lane.to_server.try_send(pattern(1000)),
        Err(TrySendError::Full(pattern(1000))),
        "a full queue says so"
    );
    let queued_max = limits.queue_bytes_max / (1000 + FRAME_QUEUE_COST_BYTES);
    let bound = STREAM_WINDOW_BYTES / 1004 + queued_max + 1;
    assert!(taken <= bound, "{taken} frames taken, {bound} fit");
    assert!(taken >= STREAM_WINDOW_BYTES / 1004, "{taken} frames fill a window");

    // Nothing that was taken is lost, and the frame whose sending was given up has not been sent.
    let finishing = tokio::spawn(lane.to_server.finish(DEADLINE));
    for number in 0..taken {
        let frame = within(lane.from_client.recv()).await.unwrap().unwrap();
        assert_eq!(frame[..4], number.to_le_bytes());
    }
    assert_eq!(within(lane.from_client.recv()).await, Ok(None));
    within(finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_frame_larger_than_the_queue_waits_for_an_empty_one_and_passes() {
    let mut rig = Rig::new();
    let limits = LaneLimits { queue_bytes_max: 100, ..LaneLimits::default() };
    let mut lane = rig.lane(limits).await;
    for bytes in [10, 50_000, 10, 100_000] {
        within(lane.to_server.send(pattern(bytes))).await.unwrap();
    }
    for bytes in [10, 50_000, 10, 100_000] {
        assert_eq!(within(lane.from_client.recv()).await.unwrap().unwrap(), pattern(bytes));
    }
}

#[tokio::test]
async fn finishing_gives_up_at_its_deadline_and_frees_waiting_senders() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    let handle = lane.to_server.handle();
    // More than the window: its rest can not be delivered while nobody reads.
    lane.to_server.send(pattern(FRAME_BYTES_MAX as usize)).await.unwrap();
    let waiting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.send(pattern(FRAME_BYTES_MAX as usize)).await })
    };
    let finished = lane.to_server.finish(Duration::from_millis(100)).await;
    assert_eq!(finished, Err(LaneError::FinishTimedOut));
    let waited = within(waiting).await.unwrap();
    assert_eq!(waited, Err(LaneError::Finished));
    assert_eq!(handle.send(pattern(1)).await, Err(LaneError::Finished));
    // The peer sees a lane that was cut, never a frame that is not whole.
    loop {
        match within(lane.from_client.recv()).await {
            Ok(Some(frame)) => assert_eq!(frame.len(), FRAME_BYTES_MAX as usize),
            Ok(None) => panic!("a lane that was cut looks finished"),
            Err(error) => break assert_eq!(error, LaneError::CutByPeer { code: ABANDONED }),
        }
    }
}

#[tokio::test]
async fn a_dropped_sender_cuts_the_lane_and_a_dropped_receiver_stops_it() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    let handle = lane.to_server.handle();
    drop(lane.to_server);
    assert_eq!(handle.send(pattern(1)).await, Err(LaneError::Finished));
    let cut = within(lane.from_client.recv()).await;
    assert_eq!(cut, Err(LaneError::CutByPeer { code: ABANDONED }));

    // The other direction still works, until its reader goes.
    lane.to_client.send(pattern(7)).await.unwrap();
    assert_eq!(within(lane.from_server.recv()).await.unwrap().unwrap(), pattern(7));
    drop(lane.from_server);
    let stopped = within(async {
        loop {
            if let Err(error) = lane.to_client.send(pattern(1000)).await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(stopped.await, LaneError::StoppedByPeer { code: ABANDONED });
}

#[tokio::test]
async fn a_lane_that_ends_inside_a_frame_is_a_protocol_error() {
    for torn in [&[5, 0][..], &[5, 0, 0, 0], &[5, 0, 0, 0, b'h', b'e']] {
        let mut rig = Rig::new();
        let raw = rig.raw(b"quorate/1").await.unwrap();
        let accepted = within(rig.server.accept()).await.unwrap();
        let (mut send, _receive) = raw.open_bi().await.unwrap();
        send.write_all(torn).await.unwrap();
        send.finish().unwrap();
        let (_sender, mut receiver) =
            within(accepted.accept_lane(LaneLimits::default())).await.unwrap();
        assert_eq!(within(receiver.recv()).await, Err(LaneError::Truncated), "{torn:?}");
    }
}

#[tokio::test]
async fn giving_up_a_recv_loses_no_byte() {
    let mut rig = Rig::new();
    let raw = rig.raw(b"quorate/1").await.unwrap();
    let accepted = within(rig.server.accept()).await.unwrap();
    let (mut send, _receive) = raw.open_bi().await.unwrap();
    let mut bytes = vec![];
    for number in 0..20_u8 {
        bytes.extend_from_slice(&[3, 0, 0, 0, number, number, number]);
    }
    // One byte to a packet, and a recv that is given up after each.
    let writing = tokio::spawn(async move {
        for byte in bytes {
            send.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        send.finish().unwrap();
        send.stopped().await
    });
    let (_sender, mut receiver) =
        within(accepted.accept_lane(LaneLimits::default())).await.unwrap();
    let mut received = vec![];
    within(async {
        loop {
            tokio::select! {
                biased;
                frame = receiver.recv() => match frame.unwrap() {
                    Some(frame) => received.push(frame[0]),
                    None => break,
                },
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    assert_eq!(received, (0..20).collect::<Vec<u8>>());
    within(writing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_burst_is_handled_at_once() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    for _ in 0..100 {
        lane.to_server.try_send(pattern(100)).unwrap();
    }
    let mut frames = vec![];
    let mut wakes = 0;
    while frames.len() < 100 {
        within(lane.from_client.recv_many(&mut frames, 60)).await.unwrap();
        wakes += 1;
    }
    assert_eq!(frames.len(), 100);
    assert!(wakes <= 20, "100 frames of 100 bytes took {wakes} wake-ups");
    assert!(frames.iter().all(|frame| *frame == pattern(100)));
}

#[tokio::test]
async fn the_end_of_the_connection_ends_its_lanes_with_its_reason() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    lane.to_client.send(pattern(9)).await.unwrap();
    assert_eq!(within(lane.from_server.recv()).await.unwrap().unwrap(), pattern(9));
    lane.server.close(300_u32, "for a reason of its user");
    let reason = CloseReason::Peer { code: 300, reason: "for a reason of its user".to_owned() };
    let lost = LaneError::ConnectionLost(reason.clone());
    assert_eq!(within(lane.from_server.recv()).await, Err(lost.clone()));
    assert_eq!(within(lane.client.closed()).await, reason);
    assert_eq!(lane.client.close_reason(), Some(reason));
    assert_eq!(within(lane.server.closed()).await, CloseReason::Local);
    let unsent = within(async {
        loop {
            if let Err(error) = lane.to_server.send(pattern(1)).await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(unsent.await, lost);
    assert_eq!(lane.to_server.finish(DEADLINE).await, Err(lost));
}
