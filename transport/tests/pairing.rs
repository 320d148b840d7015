//! Pairing over real links: what both people see, what each refusal says, and what somebody in between can do.

// The helpers of tests may fail like tests; clippy knows the tests by themselves only.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::{Seeded, addr, device, endpoint, linked, seed};
use ed25519_dalek::{Signer, SigningKey};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use syncd_schema::ticket::Ticket;
use syncd_schema::{DeviceId, Digest, Member, Role, UnixMicros, WorkspaceId};
use syncd_transport::pairing::{
    Candidate, Code, InviteError, InviterHost, JoinError, JoinRequest, Joined, JoinerHost, OpenTicket,
    Refusal, TicketUse, WELCOME_BYTES, invite, join,
};
use syncd_transport::{ConnectError, Endpoint, Purpose};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

const INVITER: u8 = 1;
const JOINER: u8 = 2;
const ATTACKER: u8 = 3;
const NOW: UnixMicros = UnixMicros(1_000);

fn ticket(inviter: DeviceId, at: &Endpoint) -> Ticket {
    Ticket {
        workspace: WorkspaceId([7; 16]),
        inviter,
        addresses: vec![addr(at).to_string()],
        secret: [8; 16].into(),
        role: Role::Member,
        expires: UnixMicros(2_000),
    }
}

fn open_ticket(ticket: &Ticket) -> OpenTicket {
    OpenTicket {
        workspace: ticket.workspace,
        secret: ticket.secret.clone(),
        role: ticket.role,
        expires: ticket.expires,
        used: false,
        confirm: false,
    }
}

fn candidate(number: u8) -> Candidate {
    let key_agreement = Digest([number; 32]);
    let statement = Member::key_statement(&WorkspaceId([7; 16]), &key_agreement);
    let key_signature = SigningKey::from_bytes(&seed(number)).sign(&statement).to_bytes().to_vec();
    Candidate { name: format!("device {number}"), key_agreement, key_signature }
}

/// The inviting daemon's part, in memory, and everything it was asked to do.
#[derive(Default)]
struct Desk {
    tickets: HashMap<Digest, OpenTicket>,
    log: Vec<String>,
    shown: Option<Code>,
    typed: Option<oneshot::Receiver<String>>,
    enrolled: Vec<JoinRequest>,
    decline: Option<Refusal>,
    welcome: Vec<u8>,
}

impl Desk {
    fn with(ticket: &Ticket) -> Self {
        let tickets = HashMap::from([(ticket.name(), open_ticket(ticket))]);
        Self { tickets, welcome: b"welcome".to_vec(), ..Self::default() }
    }
}

impl InviterHost for Desk {
    fn now(&self) -> UnixMicros {
        NOW
    }
    async fn find_ticket(&mut self, name: Digest) -> Option<OpenTicket> {
        self.log.push("find".into());
        self.tickets.get(&name).cloned()
    }
    async fn use_ticket(&mut self, name: Digest) -> TicketUse {
        self.log.push("use".into());
        let Some(ticket) = self.tickets.get_mut(&name) else { return TicketUse::Failed };
        let used = std::mem::replace(&mut ticket.used, true);
        if used { TicketUse::UsedBefore } else { TicketUse::Recorded }
    }
    fn show_code(&mut self, code: Code) {
        self.shown = Some(code);
    }
    async fn ask_code(&mut self, _: DeviceId, _: String) -> Option<String> {
        self.log.push("ask".into());
        self.typed.take()?.await.ok()
    }
    async fn enrol(&mut self, request: JoinRequest) -> Result<Vec<u8>, Refusal> {
        self.log.push("enrol".into());
        self.enrolled.push(request);
        self.decline.map_or_else(|| Ok(self.welcome.clone()), Err)
    }
}

/// The joining daemon's part.
#[derive(Default)]
struct Phone {
    shown: Arc<Mutex<Option<Code>>>,
    tell: Option<oneshot::Sender<String>>,
    answer: Option<String>,
    installed: Option<Vec<u8>>,
    decline: Option<Refusal>,
}

impl JoinerHost for Phone {
    fn show_code(&mut self, code: Code) {
        *self.shown.lock().expect("a lock") = Some(code);
        if let Some(tell) = self.tell.take() {
            tell.send(self.answer.take().unwrap_or_else(|| code.to_string())).expect("somebody types");
        }
    }
    async fn install(&mut self, welcome: Vec<u8>) -> Result<(), Refusal> {
        if let Some(why) = self.decline {
            return Err(why);
        }
        self.installed = Some(welcome);
        Ok(())
    }
}

type Both = (Result<Joined, InviteError>, Result<Code, JoinError>);

/// One attempt over a fresh link.
async fn attempt(a: &Endpoint, b: &Endpoint, ticket: &Ticket, desk: &mut Desk, phone: &mut Phone) -> Both {
    let (dialled, accepted) = linked(b, a, Purpose::Pair).await;
    let (mut one, mut two) = (Seeded(1), Seeded(2));
    tokio::join!(
        invite(&accepted, a.device(), desk, &mut one),
        join(&dialled, b.device(), ticket, candidate(JOINER), phone, &mut two)
    )
}

fn refused(both: &Both) -> (Refusal, Refusal) {
    match both {
        (Err(InviteError::Refused { reason, .. }), Err(JoinError::RefusedByPeer(told))) => (*reason, *told),
        other => panic!("refused by the inviter, not {other:?}"),
    }
}

#[tokio::test]
async fn a_ticket_makes_a_member_and_both_show_one_code() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let (mut desk, mut phone) = (Desk::with(&ticket), Phone::default());
    desk.welcome = vec![9; WELCOME_BYTES];
    let (joined, code) = attempt(&a, &b, &ticket, &mut desk, &mut phone).await;
    let (joined, code) = (joined.expect("joined"), code.expect("joined"));
    assert_eq!((joined.device, joined.name.as_str(), joined.acknowledged), (b.device(), "device 2", true));
    assert_eq!((joined.code, desk.shown), (code, Some(code)));
    assert_eq!(*phone.shown.lock().expect("a lock"), Some(code));
    assert_eq!(phone.installed.expect("installed").len(), WELCOME_BYTES);
    assert_eq!(desk.log, ["find", "use", "enrol"], "used up before enrolment");
    let expected = JoinRequest {
        workspace: ticket.workspace,
        device: b.device(),
        name: "device 2".into(),
        key_agreement: candidate(JOINER).key_agreement,
        key_signature: candidate(JOINER).key_signature,
        role: Role::Member,
    };
    assert_eq!(desk.enrolled, [expected]);
}

#[tokio::test]
async fn a_ticket_works_once_and_in_time_and_with_its_secret() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let mut desk = Desk::with(&ticket);
    attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await.0.expect("joined");
    let again = attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await;
    assert_eq!(refused(&again), (Refusal::Used, Refusal::Used));

    let mut desk = Desk::with(&ticket);
    desk.tickets.get_mut(&ticket.name()).expect("there").expires = NOW;
    let late = attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await;
    assert_eq!(refused(&late), (Refusal::Expired, Refusal::Expired));

    // Whoever knows a ticket's name but not its secret hears what one hears of no ticket at all.
    let mut desk = Desk::with(&ticket);
    desk.tickets.get_mut(&ticket.name()).expect("there").secret = Zeroizing::new([9; 16]);
    let wrong = attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await;
    assert_eq!(refused(&wrong), (Refusal::BadProof, Refusal::UnknownTicket));
    let unknown = attempt(&a, &b, &ticket, &mut Desk::default(), &mut Phone::default()).await;
    assert_eq!(refused(&unknown), (Refusal::UnknownTicket, Refusal::UnknownTicket));
    assert_eq!(desk.log, ["find"], "a wrong proof uses nothing up");
    assert!(desk.enrolled.is_empty());
    let text = wrong.1.expect_err("refused").to_string();
    assert!(text.contains("sourceos-syncd invite"), "it says what to do next: {text}");
}

#[tokio::test]
async fn of_two_joiners_with_one_ticket_one_is_used_up_by_the_other() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let mut desk = Desk::with(&ticket);
    // The ticket was unused when it was found, and used when it was to be used.
    struct Racing<'a>(&'a mut Desk);
    impl InviterHost for Racing<'_> {
        fn now(&self) -> UnixMicros {
            NOW
        }
        async fn find_ticket(&mut self, name: Digest) -> Option<OpenTicket> {
            self.0.find_ticket(name).await
        }
        async fn use_ticket(&mut self, name: Digest) -> TicketUse {
            self.0.use_ticket(name).await;
            self.0.use_ticket(name).await
        }
        fn show_code(&mut self, code: Code) {
            self.0.show_code(code);
        }
        fn ask_code(&mut self, d: DeviceId, n: String) -> impl Future<Output = Option<String>> + Send {
            self.0.ask_code(d, n)
        }
        fn enrol(&mut self, r: JoinRequest) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send {
            self.0.enrol(r)
        }
    }
    let mut racing = Racing(&mut desk);
    let (dialled, accepted) = linked(&b, &a, Purpose::Pair).await;
    let (mut one, mut two, mut phone) = (Seeded(1), Seeded(2), Phone::default());
    let both = tokio::join!(
        invite(&accepted, a.device(), &mut racing, &mut one),
        join(&dialled, b.device(), &ticket, candidate(JOINER), &mut phone, &mut two)
    );
    assert_eq!(refused(&both), (Refusal::Used, Refusal::Used));
    assert!(desk.enrolled.is_empty());
}

/// With `--confirm`: what the joiner shows is typed in at the inviter, perhaps wrongly.
async fn confirmed(answer: Option<&str>) -> (Both, Desk) {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let mut desk = Desk::with(&ticket);
    desk.tickets.get_mut(&ticket.name()).expect("there").confirm = true;
    let (tell, typed) = oneshot::channel();
    desk.typed = Some(typed);
    let mut phone = Phone { tell: Some(tell), answer: answer.map(str::to_owned), ..Phone::default() };
    (attempt(&a, &b, &ticket, &mut desk, &mut phone).await, desk)
}

#[tokio::test]
async fn confirming_takes_the_joiners_code() {
    let ((joined, code), desk) = confirmed(None).await;
    assert_eq!(joined.expect("joined").code, code.expect("joined"));
    assert_eq!(desk.log, ["find", "use", "ask", "enrol"]);
    assert_eq!(desk.shown, None, "the inviter does not show what is to be typed");

    let (both, desk) = confirmed(Some("0000-0000")).await;
    assert_eq!(refused(&both), (Refusal::BadCode, Refusal::BadCode));
    assert_eq!(desk.log, ["find", "use", "ask"], "the one guess used the ticket up");
    assert!(desk.tickets.values().all(|ticket| ticket.used));
}

#[tokio::test]
async fn both_hosts_may_decline_and_say_why() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let mut desk = Desk { decline: Some(Refusal::NotPermitted), ..Desk::with(&ticket) };
    let both = attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await;
    assert_eq!(refused(&both), (Refusal::NotPermitted, Refusal::NotPermitted));

    // The joiner cannot store its welcome: it is a member all the same, and the inviter knows that it is unsure.
    let mut desk = Desk::with(&ticket);
    let mut phone = Phone { decline: Some(Refusal::Internal), ..Phone::default() };
    let (joined, code) = attempt(&a, &b, &ticket, &mut desk, &mut phone).await;
    assert!(!joined.expect("enrolled").acknowledged);
    assert!(matches!(code, Err(JoinError::Refused(Refusal::Internal))), "{code:?}");

    // An owner cannot be invited, whatever the store says.
    let mut desk = Desk::with(&ticket);
    desk.tickets.get_mut(&ticket.name()).expect("there").role = Role::Owner;
    let both = attempt(&a, &b, &ticket, &mut desk, &mut Phone::default()).await;
    assert_eq!(refused(&both), (Refusal::NotPermitted, Refusal::NotPermitted));
}

#[tokio::test]
async fn a_link_that_ends_while_the_code_is_asked_for_ends_the_asking() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let mut desk = Desk::with(&ticket);
    desk.tickets.get_mut(&ticket.name()).expect("there").confirm = true;
    let (_never, typed) = oneshot::channel();
    desk.typed = Some(typed);
    let (dialled, accepted) = linked(&b, &a, Purpose::Pair).await;
    let (tell, shown) = oneshot::channel();
    let mut phone = Phone { tell: Some(tell), ..Phone::default() };
    let (mut one, mut two) = (Seeded(1), Seeded(2));
    let hang_up = async {
        shown.await.expect("shown");
        dialled.close(syncd_schema::message::CloseCode::Done, "never mind");
    };
    let (joined, code, ()) = tokio::join!(
        invite(&accepted, a.device(), &mut desk, &mut one),
        join(&dialled, b.device(), &ticket, candidate(JOINER), &mut phone, &mut two),
        hang_up,
    );
    assert!(matches!(joined, Err(InviteError::Link(_))), "{joined:?}");
    assert!(matches!(code, Err(JoinError::Link(_))), "{code:?}");
    assert!(desk.enrolled.is_empty());
}

#[tokio::test]
async fn a_name_that_cannot_be_shown_is_not_sent() {
    let (a, b) = (endpoint(INVITER), endpoint(JOINER));
    let ticket = ticket(a.device(), &a);
    let (dialled, _accepted) = linked(&b, &a, Purpose::Pair).await;
    let bad = Candidate { name: "a\nb".into(), ..candidate(JOINER) };
    let result = join(&dialled, b.device(), &ticket, bad, &mut Phone::default(), &mut Seeded(2)).await;
    assert!(matches!(result, Err(JoinError::Name(_))), "{result:?}");
    let (sync, _other) = linked(&b, &a, Purpose::Sync).await;
    let result =
        join(&sync, b.device(), &ticket, candidate(JOINER), &mut Phone::default(), &mut Seeded(2)).await;
    assert!(matches!(result, Err(JoinError::Link(syncd_transport::LinkError::Purpose))), "{result:?}");
}

#[tokio::test]
async fn whoever_stands_at_the_inviters_address_is_not_joined() {
    let (attacker, b) = (endpoint(ATTACKER), endpoint(JOINER));
    // The ticket is genuine, but its address leads to the attacker: the joiner pins the inviter's key.
    let ticket = ticket(device(INVITER), &attacker);
    let accept = tokio::spawn(async move { attacker.accept().await.expect("open").link().await.is_err() });
    let addrs = ticket.socket_addresses();
    let error = b.connect_any(&addrs, ticket.inviter, Purpose::Pair).await.expect_err("pinned");
    assert!(matches!(error.attempts.as_slice(), [ConnectError::OtherDevice { .. }]), "{error:?}");
    assert!(accept.await.expect("ran"));
}

/// Two TLS legs with the attacker's key in the middle. For the joiner to dial the attacker at all, the ticket's
/// inviter must have been exchanged on its way; the secret is the genuine one.
struct Between {
    inviter: Endpoint,
    attacker: Endpoint,
    joiner: Endpoint,
    genuine: Ticket,
    altered: Ticket,
}

impl Between {
    fn new() -> Self {
        let (inviter, attacker, joiner) = (endpoint(INVITER), endpoint(ATTACKER), endpoint(JOINER));
        let genuine = ticket(inviter.device(), &inviter);
        let altered = Ticket { inviter: attacker.device(), ..ticket(inviter.device(), &attacker) };
        assert_eq!(genuine.name(), altered.name());
        Self { inviter, attacker, joiner, genuine, altered }
    }
}

#[tokio::test]
async fn an_attacker_with_the_ticket_in_between_is_seen_by_the_codes() {
    let scene = Between::new();
    let mut desk = Desk::with(&scene.genuine);
    desk.tickets.get_mut(&scene.genuine.name()).expect("there").confirm = true;
    let (tell, typed) = oneshot::channel();
    desk.typed = Some(typed);
    let mut phone = Phone { tell: Some(tell), ..Phone::default() };
    // The attacker plays the inviter to the joiner and the joiner to the inviter, with the genuine secret.
    let mut fake_desk = Desk::with(&scene.altered);
    let mut fake_phone = Phone::default();
    let (joiner_leg, attacker_in) = linked(&scene.joiner, &scene.attacker, Purpose::Pair).await;
    let (attacker_out, inviter_leg) = linked(&scene.attacker, &scene.inviter, Purpose::Pair).await;
    let mut seeds = [Seeded(1), Seeded(2), Seeded(3), Seeded(4)];
    let [one, two, three, four] = &mut seeds;
    let attacker = scene.attacker.device();
    let (real, _fooled, _fake, thief) = tokio::join!(
        invite(&inviter_leg, scene.inviter.device(), &mut desk, one),
        join(&joiner_leg, scene.joiner.device(), &scene.altered, candidate(JOINER), &mut phone, two),
        invite(&attacker_in, attacker, &mut fake_desk, three),
        join(&attacker_out, attacker, &scene.genuine, candidate(ATTACKER), &mut fake_phone, four),
    );
    // The user typed at the inviter what the joiner's screen shows: not the code of the attacker's session.
    assert!(matches!(real, Err(InviteError::Refused { reason: Refusal::BadCode, .. })), "{real:?}");
    assert!(matches!(thief, Err(JoinError::RefusedByPeer(Refusal::BadCode))), "{thief:?}");
    assert!(desk.enrolled.is_empty());
    let (shown, stolen) = (phone.shown.lock().expect("a lock"), fake_phone.shown.lock().expect("a lock"));
    assert_ne!(shown.expect("shown"), stolen.expect("computed"));
}
