//! Tests: what a peer that does not follow the protocol can do to a link. It writes raw bytes where this crate
//! would write frames; the victim must answer with an error, and nothing else of the link may suffer.

use crate::frame::FrameError;
use crate::{Endpoint, Identity, Link, LinkError, Purpose};
use std::net::SocketAddr;
use syncd_schema::message::{Control, Hello};
use syncd_schema::{DeviceId, Digest, Epoch, LogId, WorkspaceId, cbor, limits};
use zeroize::Zeroizing;

fn endpoint(number: u8) -> Endpoint {
    let identity = Identity::from_seed(&Zeroizing::new([number; 32])).expect("an identity");
    Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), identity).expect("a socket")
}

struct Scene {
    hostile: Link,
    victim: Link,
    _endpoints: (Endpoint, Endpoint),
}

async fn scene() -> Scene {
    let (a, b) = (endpoint(1), endpoint(2));
    let dial = a.connect(b.local_addr().expect("an address"), b.device(), Purpose::Sync);
    let accept = async { b.accept().await.expect("open").link().await };
    let (hostile, victim) = tokio::join!(dial, accept);
    Scene { hostile: hostile.expect("dialled"), victim: victim.expect("accepted"), _endpoints: (a, b) }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::frame::encode(body, usize::MAX, &mut out).expect("encodes");
    out
}

fn hello() -> Control {
    Control::Hello(Hello {
        min_version: 1,
        max_version: 1,
        features: 0,
        workspace: WorkspaceId([1; 16]),
        frontier: Digest([2; 32]),
        entries: 0,
        own: None,
    })
}

fn log_name(number: u8) -> Vec<u8> {
    frame(&cbor::encode(&log(number)))
}

fn log(number: u8) -> LogId {
    LogId { workspace: WorkspaceId([1; 16]), device: DeviceId([number; 32]), epoch: Epoch(0) }
}

/// What the victim's first read of the control stream gives for these bytes.
async fn control(bytes: &[u8], finish: bool) -> Result<Option<Control>, LinkError> {
    let scene = scene().await;
    let (mut send, _receive) = scene.hostile.quic().open_bi().await.expect("opened");
    send.write_all(bytes).await.expect("written");
    if finish {
        send.finish().expect("finished");
    }
    let (_tx, mut rx) = scene.victim.control().await.expect("control");
    let first = rx.recv().await;
    if first.is_err() {
        assert!(rx.recv().await.is_err(), "nothing is read after an error");
        let stopped = send.stopped().await;
        assert!(finish || matches!(stopped, Ok(Some(_))), "the peer is told to stop: {stopped:?}");
    }
    first
}

#[tokio::test]
async fn an_oversized_control_frame_is_refused_at_its_header() {
    let too_much = (limits::CONTROL_BYTES + 1) as u32;
    let found = limits::CONTROL_BYTES + 1;
    match control(&too_much.to_be_bytes(), false).await {
        Err(LinkError::Frame(FrameError::TooLarge { found: f, limit })) => {
            assert_eq!((f, limit), (found, limits::CONTROL_BYTES));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_and_cut_frames_are_errors() {
    let empty = control(&[0; 4], false).await;
    assert!(matches!(empty, Err(LinkError::Frame(FrameError::Empty))), "{empty:?}");
    let garbage = control(&frame(&[0xff; 40]), false).await;
    assert!(matches!(garbage, Err(LinkError::Message(_))), "{garbage:?}");
    let mut longer = hello().to_bytes();
    longer.push(0);
    let trailing = control(&frame(&longer), false).await;
    assert!(matches!(trailing, Err(LinkError::Message(_))), "{trailing:?}");

    let whole = frame(&hello().to_bytes());
    for end in [1, 3, 4, 5, whole.len() - 1] {
        let cut = control(&whole[..end], true).await;
        assert!(matches!(cut, Err(LinkError::Frame(FrameError::Truncated { .. }))), "{end}: {cut:?}");
    }
    assert_eq!(control(&whole, true).await.expect("whole"), Some(hello()));
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_opens_nothing() {
    let scene = scene().await;
    let (mut send, _receive) = scene.hostile.quic().open_bi().await.expect("opened");
    send.write_all(&frame(&Control::Frontier(Vec::new()).to_bytes())).await.expect("written");
    let (_tx, mut rx) = scene.victim.control().await.expect("control");
    assert!(matches!(rx.hello().await, Err(LinkError::NoHello)));
}

/// Takes the five seconds of the timeout it is about: QUIC's own timers forbid a paused clock.
#[tokio::test]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let mute = async {
        let scene = scene().await;
        assert!(matches!(scene.victim.control().await, Err(LinkError::NoHello)));
    };
    let stammering = async {
        let scene = scene().await;
        let (mut send, _receive) = scene.hostile.quic().open_bi().await.expect("opened");
        send.write_all(&[0]).await.expect("written");
        let (_tx, mut rx) = scene.victim.control().await.expect("control");
        assert!(matches!(rx.hello().await, Err(LinkError::NoHello)));
    };
    tokio::join!(mute, stammering);
}

#[tokio::test]
async fn a_stranger_gets_one_stream_until_hello_is_answered() {
    let scene = scene().await;
    let quic = scene.hostile.quic();
    let (mut send, mut receive) = quic.open_bi().await.expect("opened");
    send.write_all(&frame(&hello().to_bytes())).await.expect("written");
    let (mut tx, mut rx) = scene.victim.control().await.expect("control");
    rx.hello().await.expect("hello");
    tokio::select! {
        biased;
        stream = quic.open_uni() => panic!("a log stream before any consent: {stream:?}"),
        stream = quic.open_bi() => panic!("a second conversation: {stream:?}"),
        () = tokio::task::yield_now() => {}
    }
    tx.send(&hello()).await.expect("sent");
    let mut header = [0; 4];
    receive.read_exact(&mut header).await.expect("answered");
    quic.open_uni().await.expect("a log stream, with the answer");
}

#[tokio::test]
async fn log_streams_that_lie_or_stall_at_their_name_hold_up_no_other() {
    let scene = scene().await;
    let quic = scene.hostile.quic();
    let (mut send, _receive) = quic.open_bi().await.expect("opened");
    send.write_all(&frame(&hello().to_bytes())).await.expect("written");
    let (mut tx, mut rx) = scene.victim.control().await.expect("control");
    rx.hello().await.expect("hello");
    tx.send(&hello()).await.expect("sent");
    let mut logs = scene.victim.logs();

    // A name that never ends, in front of everything else.
    let mut endless = quic.open_uni().await.expect("opened");
    endless.write_all(&log_name(1)[..20]).await.expect("written");
    // A name as long as a segment.
    let mut long = quic.open_uni().await.expect("opened");
    long.write_all(&frame(&[0; 1_000])[..8]).await.expect("written");
    let error = logs.accept_log().await.expect_err("no name");
    assert!(matches!(error, LinkError::Frame(FrameError::TooLarge { .. })), "{error:?}");
    // No name at all.
    let mut nameless = quic.open_uni().await.expect("opened");
    nameless.write_all(&frame(b"log")).await.expect("written");
    assert!(matches!(logs.accept_log().await, Err(LinkError::Message(_))));

    // Garbage, another log's segment, an oversized one.
    let other = segment(log(9));
    let cases: [(u8, Vec<u8>); 3] = [
        (2, frame(&[0xff; 9])),
        (3, other),
        (4, ((limits::LOG_FRAME_BYTES + 1) as u32).to_be_bytes().to_vec()),
    ];
    for (number, bytes) in cases {
        let mut stream = quic.open_uni().await.expect("opened");
        stream.write_all(&[log_name(number), bytes].concat()).await.expect("written");
        let (id, mut receiver) = logs.accept_log().await.expect("open").expect("a log");
        assert_eq!(id, log(number));
        let error = receiver.recv().await.expect_err("no segment of this log");
        match number {
            2 => assert!(matches!(error, LinkError::Message(_)), "{error:?}"),
            3 => assert!(matches!(error, LinkError::OtherLog { .. }), "{error:?}"),
            _ => assert!(matches!(error, LinkError::Frame(FrameError::TooLarge { .. })), "{error:?}"),
        }
        assert!(matches!(stream.stopped().await, Ok(Some(_))));
    }

    // The endless one completes its name after all, and is served.
    endless.write_all(&log_name(1)[20..]).await.expect("written");
    let (id, _receiver) = logs.accept_log().await.expect("open").expect("a log");
    assert_eq!(id, log(1));
}

fn segment(log: LogId) -> Vec<u8> {
    let segment = syncd_schema::message::Segment {
        log,
        first: syncd_schema::LogSeq(0),
        count: 1,
        checkpoint: Vec::new(),
        key_epoch: 0,
        open_len: 1,
        branch: None,
        sealed: vec![1],
    };
    frame(&segment.to_bytes())
}

#[tokio::test]
async fn the_same_exporter_on_both_ends_and_another_on_the_next_link() {
    let (one, two) = (scene().await, scene().await);
    assert_eq!(one.hostile.exporter(b"x"), one.victim.exporter(b"x"));
    assert_ne!(one.hostile.exporter(b"x"), one.hostile.exporter(b"y"));
    assert_ne!(one.hostile.exporter(b"x"), two.hostile.exporter(b"x"));
}

mod relayed {
    //! Pairing through somebody who relays every byte between two TLS sessions of its own. For the joiner to dial
    //! it at all, the inviter named in the ticket must have been exchanged on its way; the secret is genuine.

    use super::{Link, Purpose, endpoint};
    use crate::pairing::{
        Candidate, Code, InviteError, InviterHost, JoinError, JoinRequest, JoinerHost, OpenTicket, Refusal,
        TicketUse, invite, join,
    };
    use syncd_schema::ticket::Ticket;
    use syncd_schema::{DeviceId, Digest, Entropy, Role, UnixMicros, WorkspaceId};

    struct Host(Ticket);

    impl InviterHost for Host {
        fn now(&self) -> UnixMicros {
            UnixMicros(0)
        }
        async fn find_ticket(&mut self, name: Digest) -> Option<OpenTicket> {
            (name == self.0.name()).then(|| OpenTicket {
                workspace: self.0.workspace,
                secret: self.0.secret.clone(),
                role: self.0.role,
                expires: self.0.expires,
                used: false,
                confirm: false,
            })
        }
        async fn use_ticket(&mut self, _: Digest) -> TicketUse {
            panic!("a relayed proof used the ticket up")
        }
        fn show_code(&mut self, _: Code) {
            panic!("a relayed proof led to a code")
        }
        async fn ask_code(&mut self, _: DeviceId, _: String) -> Option<String> {
            panic!("a relayed proof led to a question")
        }
        async fn enrol(&mut self, _: JoinRequest) -> Result<Vec<u8>, Refusal> {
            panic!("a relayed proof enrolled a device")
        }
    }

    impl JoinerHost for Host {
        fn show_code(&mut self, _: Code) {
            panic!("a relayed answer led to a code")
        }
        async fn install(&mut self, _: Vec<u8>) -> Result<(), Refusal> {
            panic!("a relayed answer led to a welcome")
        }
    }

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    async fn linked(dialler: &crate::Endpoint, acceptor: &crate::Endpoint) -> (Link, Link) {
        let addr = acceptor.local_addr().expect("an address");
        let accept = async { acceptor.accept().await.expect("open").link().await };
        let dial = dialler.connect(addr, acceptor.device(), Purpose::Pair);
        let (dialled, accepted) = tokio::join!(dial, accept);
        (dialled.expect("dialled"), accepted.expect("accepted"))
    }

    async fn copy(mut from: quinn::RecvStream, mut to: quinn::SendStream) {
        let mut buffer = [0; 1_024];
        while let Ok(Some(n)) = from.read(&mut buffer).await {
            to.write_all(&buffer[..n]).await.expect("relayed");
        }
        let _ = to.finish();
    }

    async fn relay(from_joiner: &Link, to_inviter: &Link) {
        let (send_in, receive_in) = from_joiner.quic().accept_bi().await.expect("accepted");
        let (send_out, receive_out) = to_inviter.quic().open_bi().await.expect("opened");
        tokio::join!(copy(receive_in, send_out), copy(receive_out, send_in));
    }

    #[tokio::test]
    async fn a_relayed_commitment_proves_nothing_on_another_session() {
        let (inviter, attacker, joiner) = (endpoint(1), endpoint(3), endpoint(2));
        let genuine = Ticket {
            workspace: WorkspaceId([7; 16]),
            inviter: inviter.device(),
            addresses: Vec::new(),
            secret: [8; 16].into(),
            role: Role::Member,
            expires: UnixMicros(1),
        };
        let altered = Ticket { inviter: attacker.device(), ..genuine.clone() };
        let candidate =
            Candidate { name: "phone".into(), key_agreement: Digest([1; 32]), key_signature: vec![1; 64] };
        let (joiner_leg, attacker_in) = linked(&joiner, &attacker).await;
        let (attacker_out, inviter_leg) = linked(&attacker, &inviter).await;
        let (mut desk, mut phone) = (Host(genuine), Host(altered.clone()));
        let (mut one, mut two) = (Fixed(1), Fixed(2));
        let (invited, joined, ()) = tokio::join!(
            invite(&inviter_leg, inviter.device(), &mut desk, &mut one),
            join(&joiner_leg, joiner.device(), &altered, candidate, &mut phone, &mut two),
            relay(&attacker_in, &attacker_out),
        );
        assert!(
            matches!(invited, Err(InviteError::Refused { reason: Refusal::BadProof, .. })),
            "{invited:?}"
        );
        assert!(matches!(joined, Err(JoinError::RefusedByPeer(Refusal::UnknownTicket))), "{joined:?}");
    }
}
