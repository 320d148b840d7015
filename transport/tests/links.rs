//! Two endpoints over loopback: who is seen at the other end, what the streams carry, and how links end.

// The helpers of tests may fail like tests; clippy knows the tests by themselves only.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::{addr, device, endpoint, hello, linked, log, segment};
use std::net::{SocketAddr, UdpSocket};
use syncd_schema::message::{CloseCode, Control};
use syncd_schema::{LogSeq, limits};
use syncd_transport::endpoint::{LOG_STREAMS, STREAM_WINDOW};
use syncd_transport::{ConnectError, ControlReceiver, ControlSender, Link, LinkError, LogReceiver, Purpose};

type Ends = (ControlSender, ControlReceiver);

/// Opens the session on both sides: control streams, and Hello both ways.
async fn session(dialled: &Link, accepted: &Link) -> (Ends, Ends) {
    let dial = async {
        let (mut tx, mut rx) = dialled.control().await.expect("control");
        tx.send(&hello()).await.expect("sent");
        rx.hello().await.expect("accepted");
        (tx, rx)
    };
    let accept = async {
        let (mut tx, mut rx) = accepted.control().await.expect("control");
        rx.hello().await.expect("hello");
        tx.send(&hello()).await.expect("sent");
        (tx, rx)
    };
    tokio::join!(dial, accept)
}

fn ack(number: u64) -> Control {
    Control::Ack { log: log(0), size: LogSeq(number), outcomes: Vec::new() }
}

fn closed(error: &LinkError) -> (Option<CloseCode>, &str) {
    let closed = error.closed().unwrap_or_else(|| panic!("closed by the peer, not {error:?}"));
    (closed.code, closed.text.as_str())
}

#[tokio::test]
async fn both_sides_see_whom_they_talk_to_and_why() {
    let (a, b) = (endpoint(1), endpoint(2));
    for purpose in [Purpose::Sync, Purpose::Pair] {
        let (dialled, accepted) = linked(&a, &b, purpose).await;
        assert_eq!((dialled.peer(), accepted.peer()), (device(2), device(1)));
        assert_eq!((dialled.purpose(), accepted.purpose()), (purpose, purpose));
        assert!(dialled.is_dialled() && !accepted.is_dialled());
        assert_eq!(accepted.remote_addr(), addr(&a), "one socket dials and accepts");
    }
    let (back, _) = linked(&b, &a, Purpose::Sync).await;
    assert_eq!(back.peer(), device(1));
}

#[tokio::test]
async fn a_link_costs_less_than_five_kilobytes() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let (_one, _two) = session(&dialled, &accepted).await;
    let stats = dialled.stats();
    let total = stats.sent_bytes + stats.received_bytes;
    println!("connect and Hello both ways: {total} bytes of UDP payload ({stats:?})");
    assert!(total <= 5_000, "{total} bytes");
}

#[tokio::test]
async fn another_key_than_the_expected_one_is_no_link() {
    let (a, b) = (endpoint(1), endpoint(2));
    let dial = a.connect(addr(&b), device(3), Purpose::Sync);
    let accept = async { b.accept().await.expect("open").link().await };
    let (dialled, accepted) = tokio::join!(dial, accept);
    match dialled.expect_err("pinned") {
        ConnectError::OtherDevice { expected, found, .. } => {
            assert_eq!((expected, found), (device(3), device(2)));
        }
        other => panic!("{other:?}"),
    }
    assert!(accepted.is_err(), "the acceptor learns that it was not wanted");
    let myself = a.connect(addr(&a), device(1), Purpose::Sync).await.expect_err("itself");
    assert!(matches!(myself, ConnectError::Myself(_)));
}

#[tokio::test]
async fn the_first_address_that_proves_itself_wins() {
    let (a, b, stranger) = (endpoint(1), endpoint(2), endpoint(3));
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addrs = [silent.local_addr().expect("an address"), addr(&stranger), addr(&b)];
    let stranger_accepts =
        tokio::spawn(async move { stranger.accept().await.expect("open").link().await.is_err() });
    let accept = async { b.accept().await.expect("open").link().await };
    let (dialled, accepted) = tokio::join!(a.connect_any(&addrs, device(2), Purpose::Sync), accept);
    assert_eq!(dialled.expect("dialled").remote_addr(), addr(&b));
    assert_eq!(accepted.expect("accepted").peer(), device(1));
    assert!(stranger_accepts.await.expect("ran"), "the stranger got no link");

    let nobody = a.connect_any(&[], device(2), Purpose::Sync).await.expect_err("no address");
    assert!(nobody.to_string().contains("no address"));
}

#[tokio::test]
async fn messages_arrive_in_order_on_every_link() {
    let (a, b, c) = (endpoint(1), endpoint(2), endpoint(3));
    let (ab, ba) = linked(&a, &b, Purpose::Sync).await;
    let (cb, bc) = linked(&c, &b, Purpose::Sync).await;
    for (dialled, accepted) in [(ab, ba), (cb, bc)] {
        let ((mut tx, mut rx), (mut back, mut there)) = session(&dialled, &accepted).await;
        let send = async {
            for number in 0..2_000 {
                tx.send(&ack(number)).await.expect("sent");
            }
            tx.finish().await.expect("delivered");
        };
        let receive = async {
            for number in 0..2_000 {
                assert_eq!(there.recv().await.expect("received"), Some(ack(number)));
            }
            assert_eq!(there.recv().await.expect("finished"), None);
            back.send(&ack(7)).await.expect("sent");
        };
        tokio::join!(send, receive);
        assert_eq!(rx.recv().await.expect("received"), Some(ack(7)));
    }
}

#[tokio::test]
async fn large_segments_travel_whole_in_both_directions() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let _ends = session(&dialled, &accepted).await;
    let size = limits::SEGMENT_SEALED_BYTES;
    let one_way = async |from: &Link, to: &Link, number: u32| {
        let send = async {
            let mut sender = from.log(log(number));
            for first in 0..8 {
                sender.send(&segment(log(number), first, size)).await.expect("sent");
            }
            sender.finish().await.expect("delivered");
        };
        let receive = async {
            let (id, mut receiver) = to.logs().accept_log().await.expect("open").expect("a log");
            assert_eq!((id, receiver.log()), (log(number), log(number)));
            for first in 0..8 {
                let found = receiver.recv().await.expect("received");
                assert_eq!(found, Some(segment(log(number), first, size)));
            }
            assert_eq!(receiver.recv().await.expect("finished"), None);
        };
        tokio::join!(send, receive);
    };
    tokio::join!(one_way(&dialled, &accepted, 1), one_way(&accepted, &dialled, 2));
}

#[tokio::test]
async fn a_log_that_nobody_reads_blocks_no_other_and_not_the_conversation() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let ((mut tx, _rx), (_back, mut there)) = session(&dialled, &accepted).await;
    let mut logs = accepted.logs();

    // Every log stream but one is filled until QUIC takes no more, and none of them is read.
    let mut stalled: Vec<LogReceiver> = Vec::new();
    let mut writers = Vec::new();
    for number in 1..LOG_STREAMS {
        let mut sender = dialled.log(log(number));
        let big = segment(log(number), 0, 2 * STREAM_WINDOW as usize);
        writers.push(tokio::spawn(async move { sender.send(&big).await }));
        let (_, receiver) = logs.accept_log().await.expect("open").expect("a log");
        stalled.push(receiver);
    }

    let mut live = dialled.log(log(0));
    let send = async {
        for first in 0..20 {
            live.send(&segment(log(0), first, 100_000)).await.expect("sent");
            tx.send(&ack(first)).await.expect("sent");
        }
    };
    let receive = async {
        let (id, mut receiver) = logs.accept_log().await.expect("open").expect("a log");
        assert_eq!(id, log(0));
        for first in 0..20 {
            assert_eq!(receiver.recv().await.expect("received"), Some(segment(log(0), first, 100_000)));
            assert_eq!(there.recv().await.expect("received"), Some(ack(first)));
        }
    };
    tokio::join!(send, receive);
    assert!(writers.iter().all(|writer| !writer.is_finished()), "the others are still waiting to be read");

    // Read at last, a stalled log arrives whole; and dropping a receiver tells its sender.
    let mut last = stalled.pop().expect("a receiver");
    let expected = segment(last.log(), 0, 2 * STREAM_WINDOW as usize);
    assert_eq!(last.recv().await.expect("received"), Some(expected));
    writers.pop().expect("a writer").await.expect("ran").expect("sent");
    drop(stalled.pop());
    let given_up = writers.pop().expect("a writer").await.expect("ran");
    assert!(matches!(given_up, Err(LinkError::StreamEnded { .. })), "{given_up:?}");
}

#[tokio::test]
async fn a_cancelled_send_leaves_whole_frames() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let _ends = session(&dialled, &accepted).await;
    let mut logs = accepted.logs();
    let mut sender = dialled.log(log(1));
    let size = 3 * STREAM_WINDOW as usize;

    // The first segment fills the window, so that its send is cut somewhere inside.
    let first = segment(log(1), 1, size);
    let mut receiver = tokio::select! {
        biased;
        result = sender.send(&first) => panic!("fits no window: {result:?}"),
        accepted = logs.accept_log() => accepted.expect("open").expect("a log").1,
    };
    let second = segment(log(1), 2, size);
    let (sent, received) = tokio::join!(sender.send(&second), async {
        // Reads that are cancelled again and again lose nothing.
        let mut found = Vec::new();
        while found.len() < 2 {
            tokio::select! {
                biased;
                segment = receiver.recv() => found.push(segment.expect("received").expect("a segment")),
                () = tokio::task::yield_now() => {}
            }
        }
        found
    });
    sent.expect("sent");
    assert_eq!(received, vec![first, second]);
}

#[tokio::test]
async fn a_log_may_come_again_and_more_logs_than_streams_take_turns() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let _ends = session(&dialled, &accepted).await;
    let count = LOG_STREAMS + 50;
    let send = async {
        for number in 0..count {
            let mut sender = dialled.log(log(number % 100));
            sender.send(&segment(log(number % 100), u64::from(number), 10)).await.expect("sent");
            sender.finish().await.expect("delivered");
        }
        dialled.close(CloseCode::Done, "");
    };
    let receive = async {
        let mut logs = accepted.logs();
        for number in 0..count {
            let (id, mut receiver) = logs.accept_log().await.expect("open").expect("a log");
            assert_eq!(id, log(number % 100));
            let found = receiver.recv().await.expect("received").expect("a segment");
            assert_eq!(found.first, LogSeq(u64::from(number)));
            assert_eq!(receiver.recv().await.expect("finished"), None);
        }
        assert!(logs.accept_log().await.expect("closed well").is_none());
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_refused_key_is_heard_of_in_place_of_hello() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let (mut tx, mut rx) = dialled.control().await.expect("control");
    // The dialler's Hello may still go out: TLS does not tell it that it will be refused.
    let _ = tx.send(&hello()).await;
    accepted.close(CloseCode::UnknownKey, "ask ada\x1b[2J");
    let error = rx.hello().await.expect_err("refused");
    assert_eq!(closed(&error), (Some(CloseCode::UnknownKey), "ask ada [2J"));
    assert_eq!(closed(&tx.send(&ack(1)).await.expect_err("over")).0, Some(CloseCode::UnknownKey));
    assert_eq!(closed(&dialled.closed().await).0, Some(CloseCode::UnknownKey));
    assert!(matches!(accepted.closed().await, LinkError::ClosedHere));

    // The same said as a message.
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let (mut tx, mut rx) = dialled.control().await.expect("control");
    tx.send(&hello()).await.expect("sent");
    let (mut back, mut there) = accepted.control().await.expect("control");
    there.hello().await.expect("hello");
    back.send(&Control::Close { code: CloseCode::Workspace, text: "other".into() }).await.expect("sent");
    back.finish().await.expect("delivered");
    accepted.close(CloseCode::Workspace, "other");
    assert_eq!(closed(&rx.hello().await.expect_err("refused")), (Some(CloseCode::Workspace), "other"));
}

#[tokio::test]
async fn ends_are_told_apart() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    drop(dialled);
    assert_eq!(closed(&accepted.closed().await), (None, ""), "dropped without a word");

    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    tokio::join!(b.close(CloseCode::Done, "going home"), async {
        assert_eq!(closed(&dialled.closed().await), (Some(CloseCode::Done), "going home"));
    });
    assert!(accepted.close_reason().is_some());
    assert!(b.accept().await.is_none(), "a closed endpoint accepts nothing");

    let (c, d) = (endpoint(3), endpoint(4));
    let (pair, _other) = linked(&c, &d, Purpose::Pair).await;
    assert!(matches!(pair.control().await, Err(LinkError::Purpose)));
}

#[tokio::test]
async fn messages_beyond_their_limit_are_refused_by_the_sender_too() {
    let (a, b) = (endpoint(1), endpoint(2));
    let (dialled, accepted) = linked(&a, &b, Purpose::Sync).await;
    let ((mut tx, _rx), (_back, mut there)) = session(&dialled, &accepted).await;
    let text = "x".repeat(limits::CONTROL_BYTES);
    let error = tx.send(&Control::Close { code: CloseCode::Done, text }).await.expect_err("too large");
    assert!(matches!(error, LinkError::Frame(_)));
    tx.send(&ack(1)).await.expect("the stream goes on");
    assert_eq!(there.recv().await.expect("received"), Some(ack(1)));

    let mut sender = dialled.log(log(1));
    let other = sender.send(&segment(log(2), 0, 1)).await.expect_err("another log");
    assert!(matches!(other, LinkError::OtherLog { .. }));
}

#[tokio::test]
async fn nobody_at_an_address_is_an_error_with_advice() {
    let a = endpoint(1);
    let free: SocketAddr = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("an address");
    let error = a.connect(free, device(2), Purpose::Sync).await.expect_err("nobody");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
    let taken = addr(&a);
    let identity = syncd_transport::Identity::from_seed(&common::seed(1)).expect("an identity");
    let error = syncd_transport::Endpoint::bind(taken, identity).expect_err("taken");
    assert!(error.to_string().contains("choose another"), "{error}");
}
