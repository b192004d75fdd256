//! Bulk streams: beside the lane, in both directions, bounded, and never in its way.

use std::time::Duration;

use bytes::Bytes;
use quorate_net::lane::LaneLimits;
use quorate_net::limits::{BULKS_OPEN_MAX, STREAM_WINDOW_BYTES};
use quorate_net::{BulkError, CloseCode, FrameError, FrameReceiver, FrameTooLong};

use crate::rig::{DEADLINE, Rig, within};

#[tokio::test]
async fn bulk_data_arrives_in_both_directions_with_its_kind() {
    let mut rig = Rig::new();
    let (client, server) = rig.connect().await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        for (kind, bytes) in [(0_u8, 0_usize), (7, 1), (255, 3_000_000)] {
            let data: Bytes = vec![kind; bytes].into();
            let mut sender = from.open_bulk(kind).await.unwrap();
            let sent = data.clone();
            let sending = tokio::spawn(async move {
                for start in (0..sent.len()).step_by(400_000) {
                    sender.send(sent.slice(start..sent.len().min(start + 400_000))).await?;
                }
                sender.finish(DEADLINE).await
            });
            let mut receiver = within(to.accept_bulk()).await.unwrap();
            assert_eq!(within(receiver.kind()).await, Ok(kind));
            assert!(within(receiver.recv_to_end(bytes)).await.unwrap() == data);
            within(sending).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_bulk_stream_is_its_kind_and_its_data() {
    let mut rig = Rig::new();
    let raw = rig.raw(b"quorate/1").await.unwrap();
    let accepted = within(rig.server.accept()).await.unwrap();
    let mut sender = accepted.open_bulk(9).await.unwrap();
    sender.send(Bytes::from_static(b"data")).await.unwrap();
    sender.send(Bytes::from_static(b"!")).await.unwrap();
    let finishing = tokio::spawn(sender.finish(DEADLINE));
    let mut receive = within(raw.accept_uni()).await.unwrap();
    assert_eq!(within(receive.read_to_end(100)).await.unwrap(), b"\x09data!");
    within(finishing).await.unwrap().unwrap();

    let mut send = raw.open_uni().await.unwrap();
    send.finish().unwrap();
    let mut empty = within(accepted.accept_bulk()).await.unwrap();
    assert_eq!(within(empty.kind()).await, Err(BulkError::Empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_streams_that_nobody_reads_do_not_hold_up_the_lane() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    let mut stalled = vec![];
    let mut senders = vec![];
    for kind in 0..u8::try_from(BULKS_OPEN_MAX).unwrap() {
        let mut sender = lane.client.open_bulk(kind).await.unwrap();
        let data = Bytes::from(vec![kind; 2 * STREAM_WINDOW_BYTES as usize]);
        senders.push(tokio::spawn(async move {
            sender.send(data).await?;
            sender.finish(DEADLINE).await
        }));
        stalled.push(within(lane.server.accept_bulk()).await.unwrap());
    }
    // One more does not open, and each of those that are open is full.
    let one_more =
        tokio::time::timeout(Duration::from_millis(300), lane.client.open_bulk(99)).await;
    assert!(one_more.is_err(), "more bulk streams than the limit");
    assert!(senders.iter().all(|sender| !sender.is_finished()));

    // More than the lane's own window, both ways, and a frame of its largest size.
    let frame = Bytes::from(vec![5; 1024 * 1024]);
    for _ in 0..10 {
        lane.to_server.send(frame.clone()).await.unwrap();
        assert!(within(lane.from_client.recv()).await.unwrap().unwrap() == frame);
        lane.to_client.send(frame.clone()).await.unwrap();
        assert!(within(lane.from_server.recv()).await.unwrap().unwrap() == frame);
    }

    // A stalled one that is read goes on to its end, and makes room for the next.
    let read = within(stalled.remove(0).recv_to_end(usize::MAX)).await.unwrap();
    assert_eq!(read.len(), 2 * STREAM_WINDOW_BYTES as usize);
    within(senders.remove(0)).await.unwrap().unwrap();
    within(lane.client.open_bulk(99)).await.unwrap();
}

#[tokio::test]
async fn a_stream_longer_than_allowed_is_refused() {
    let mut rig = Rig::new();
    let (client, server) = rig.connect().await;
    let mut sender = client.open_bulk(1).await.unwrap();
    let sending = tokio::spawn(async move {
        loop {
            if let Err(error) = sender.send(Bytes::from_static(&[0; 1000])).await {
                break error;
            }
        }
    });
    let receiver = within(server.accept_bulk()).await.unwrap();
    let refused = within(receiver.recv_to_end(10_000)).await;
    assert_eq!(refused, Err(BulkError::TooLong { bytes_max: 10_000 }));
    let code = u64::from(CloseCode::ProtocolError.number());
    assert_eq!(within(sending).await.unwrap(), BulkError::StoppedByPeer { code });
}

#[tokio::test]
async fn an_abandoned_stream_is_never_taken_for_a_whole_one() {
    let mut rig = Rig::new();
    let (client, server) = rig.connect().await;
    let mut sender = client.open_bulk(1).await.unwrap();
    sender.send(Bytes::from_static(b"half of")).await.unwrap();
    let mut receiver = within(server.accept_bulk()).await.unwrap();
    assert_eq!(within(receiver.kind()).await, Ok(1));
    drop(sender);
    let code = u64::from(CloseCode::Abandoned.number());
    assert_eq!(within(receiver.recv_to_end(100)).await, Err(BulkError::CutByPeer { code }));

    let mut sender = client.open_bulk(2).await.unwrap();
    sender.send(Bytes::from_static(b"half of")).await.unwrap();
    drop(within(server.accept_bulk()).await.unwrap());
    assert_eq!(within(sender.finish(DEADLINE)).await, Err(BulkError::StoppedByPeer { code }));
}

#[tokio::test]
async fn a_lane_of_one_direction_is_its_kind_and_frames() {
    let mut rig = Rig::new();
    let (client, server) = rig.connect().await;
    let sender = server.open_one_way_lane(3, LaneLimits::default(), None).await.unwrap();
    let mut accepted = within(client.accept_bulk()).await.unwrap();
    assert_eq!(within(accepted.kind()).await, Ok(3));
    let mut frames = FrameReceiver::new(accepted, 1_000_000);
    let large = Bytes::from(vec![9; 900_000]);
    for frame in [Bytes::new(), Bytes::from_static(b"one"), large.clone()] {
        sender.send(frame).await.unwrap();
    }
    let finishing = tokio::spawn(sender.finish(DEADLINE));
    assert_eq!(within(frames.recv()).await, Ok(Some(Bytes::new())));
    assert_eq!(within(frames.recv()).await, Ok(Some(Bytes::from_static(b"one"))));
    assert_eq!(within(frames.recv()).await, Ok(Some(large)));
    assert_eq!(within(frames.recv()).await, Ok(None));
    within(finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lane_of_one_direction_that_breaks_its_frames_ends_with_an_error() {
    let mut rig = Rig::new();
    let (client, server) = rig.connect().await;
    for (data, expected) in [
        (&b"\x02\0\0\0abc"[..], FrameError::Truncated),
        (b"\x02\0\0\0ab\x0b\0\0\0", FrameError::TooLong(FrameTooLong { bytes: 11, bytes_max: 10 })),
    ] {
        let mut raw = server.open_bulk(3).await.unwrap();
        raw.send(Bytes::copy_from_slice(data)).await.unwrap();
        let finishing = tokio::spawn(raw.finish(DEADLINE));
        let mut accepted = within(client.accept_bulk()).await.unwrap();
        assert_eq!(within(accepted.kind()).await, Ok(3));
        let mut frames = FrameReceiver::new(accepted, 10);
        assert_eq!(within(frames.recv()).await, Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(within(frames.recv()).await, Err(expected));
        assert!(!matches!(within(frames.recv()).await, Ok(Some(_))));
        finishing.abort();
    }
}
