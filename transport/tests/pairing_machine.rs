//! The pairing machines by themselves: nonces changed late, messages replayed or out of turn, and random
//! sequences of inputs, none of which may reach an enrolment by another road than the right one.

// The helpers of tests may fail like tests; clippy knows the tests by themselves only.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::{Seeded, device, seed};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use syncd_schema::ticket::Ticket;
use syncd_schema::{Digest, Member, Role, UnixMicros, WorkspaceId};
use syncd_transport::pairing::{
    Candidate, Channel, Code, InviteEffect, InviteInput, InviteOutcome, Inviter, JoinEffect, JoinInput,
    JoinOutcome, Joiner, OpenTicket, PairMessage, Refusal, TicketUse, WELCOME_BYTES,
};
use zeroize::Zeroizing;

const NOW: UnixMicros = UnixMicros(1_000);

fn channel(exporter: u8) -> Channel {
    Channel { exporter: [exporter; 32], joiner: device(2), inviter: device(1) }
}

fn ticket() -> Ticket {
    Ticket {
        workspace: WorkspaceId([7; 16]),
        inviter: device(1),
        addresses: Vec::new(),
        secret: [8; 16].into(),
        role: Role::Member,
        expires: UnixMicros(2_000),
    }
}

fn open_ticket(confirm: bool) -> OpenTicket {
    let ticket = ticket();
    OpenTicket {
        workspace: ticket.workspace,
        secret: ticket.secret.clone(),
        role: ticket.role,
        expires: ticket.expires,
        used: false,
        confirm,
    }
}

fn candidate() -> Candidate {
    let key_agreement = Digest([5; 32]);
    let statement = Member::key_statement(&WorkspaceId([7; 16]), &key_agreement);
    let key_signature = SigningKey::from_bytes(&seed(2)).sign(&statement).to_bytes().to_vec();
    Candidate { name: "phone".into(), key_agreement, key_signature }
}

fn found(ticket: OpenTicket) -> InviteInput {
    InviteInput::Ticket { found: Some(ticket), now: NOW }
}

fn joiner(exporter: u8, candidate: Candidate) -> (Joiner, PairMessage) {
    let (joiner, effects) = Joiner::start(channel(exporter), &ticket(), candidate, &mut Seeded(2));
    match effects.as_slice() {
        [JoinEffect::Send(commit)] => (joiner, commit.clone()),
        other => panic!("{other:?}"),
    }
}

fn refused(effects: &[InviteEffect]) -> (Refusal, Refusal) {
    match effects {
        [InviteEffect::Send(PairMessage::Refuse(told)), InviteEffect::Over(InviteOutcome::Refused(why))] => {
            (*why, *told)
        }
        other => panic!("a refusal, not {other:?}"),
    }
}

/// An inviter and a joiner at the point where the inviter has revealed and the joiner opened.
fn opened(confirm: bool) -> (Inviter, Joiner, PairMessage, Code) {
    let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
    let (mut joiner, commit) = joiner(1, candidate());
    assert_eq!(inviter.step(InviteInput::Message(commit)), [InviteEffect::FindTicket(ticket().name())]);
    assert_eq!(inviter.step(found(open_ticket(confirm))), [InviteEffect::UseTicket(ticket().name())]);
    let reveal = match inviter.step(InviteInput::Used(TicketUse::Recorded)).as_slice() {
        [InviteEffect::Send(reveal)] => reveal.clone(),
        other => panic!("{other:?}"),
    };
    match joiner.step(JoinInput::Message(reveal)).as_slice() {
        [JoinEffect::Send(open), JoinEffect::ShowCode(code)] => (inviter, joiner, open.clone(), *code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_inviters_nonce_leaves_only_after_the_ticket_is_used_up() {
    let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
    let (_, commit) = joiner(1, candidate());
    inviter.step(InviteInput::Message(commit));
    inviter.step(found(open_ticket(false)));
    assert_eq!(
        refused(&inviter.step(InviteInput::Used(TicketUse::Failed))),
        (Refusal::Internal, Refusal::Internal),
        "what may not have been recorded opens nothing"
    );
    assert!(inviter.is_over());
}

#[test]
fn what_was_committed_to_cannot_be_changed_after_the_reveal() {
    let PairMessage::Open { nonce, name, key_agreement, key_signature } = opened(false).2 else {
        panic!("an opening");
    };
    let other_key = Digest([6; 32]);
    let statement = Member::key_statement(&WorkspaceId([7; 16]), &other_key);
    let other_signature = SigningKey::from_bytes(&seed(2)).sign(&statement).to_bytes().to_vec();
    let changes = [
        PairMessage::Open {
            nonce: [9; 32],
            name: name.clone(),
            key_agreement,
            key_signature: key_signature.clone(),
        },
        PairMessage::Open { nonce, name: "other".into(), key_agreement, key_signature },
        PairMessage::Open { nonce, name, key_agreement: other_key, key_signature: other_signature },
    ];
    for change in changes {
        let (mut inviter, ..) = opened(false);
        let effects = inviter.step(InviteInput::Message(change));
        assert_eq!(refused(&effects), (Refusal::BadProof, Refusal::BadProof));
    }
}

#[test]
fn a_key_that_the_device_did_not_sign_is_refused() {
    let (mut inviter, ..) = {
        let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
        let forged = Candidate { key_signature: vec![1; 64], ..candidate() };
        let (mut joiner, commit) = joiner(1, forged);
        inviter.step(InviteInput::Message(commit));
        inviter.step(found(open_ticket(false)));
        let InviteEffect::Send(reveal) = inviter.step(InviteInput::Used(TicketUse::Recorded)).remove(0)
        else {
            panic!("a reveal");
        };
        let JoinEffect::Send(open) = joiner.step(JoinInput::Message(reveal)).remove(0) else {
            panic!("an opening");
        };
        let effects = inviter.step(InviteInput::Message(open));
        assert_eq!(refused(&effects), (Refusal::BadProof, Refusal::BadProof));
        (inviter, ())
    };
    assert!(inviter.step(InviteInput::Closed).is_empty(), "over is over");
}

#[test]
fn a_commitment_is_worth_nothing_on_another_connection_or_reflected() {
    let (_, commit) = joiner(1, candidate());
    let mut other = Inviter::new(channel(2), &mut Seeded(1));
    other.step(InviteInput::Message(commit));
    let effects = other.step(found(open_ticket(false)));
    assert_eq!(refused(&effects), (Refusal::BadProof, Refusal::UnknownTicket));

    // The joiner's own proof, sent back to it as the inviter's.
    let (mut victim, commit) = joiner(1, candidate());
    let PairMessage::Commit { proof, .. } = commit else { panic!("a commitment") };
    let effects = victim.step(JoinInput::Message(PairMessage::Reveal { nonce: [0; 32], proof }));
    let expected = [
        JoinEffect::Send(PairMessage::Refuse(Refusal::BadProof)),
        JoinEffect::Over(JoinOutcome::Refused(Refusal::BadProof)),
    ];
    assert_eq!(effects, expected, "and it opens nothing to an inviter without the secret");
}

#[test]
fn unknown_ticket_and_wrong_proof_look_alike() {
    let answer = |found: Option<OpenTicket>| {
        let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
        inviter.step(InviteInput::Message(joiner(1, candidate()).1));
        inviter.step(InviteInput::Ticket { found, now: NOW })
    };
    let unknown = answer(None);
    // Used and expired as well: of a ticket whose secret is not proven nothing is told.
    let wrong = answer(Some(OpenTicket {
        secret: Zeroizing::new([0; 16]),
        used: true,
        expires: UnixMicros(0),
        ..open_ticket(false)
    }));
    assert_eq!(unknown.first(), wrong.first());
    assert_eq!(refused(&wrong).0, Refusal::BadProof);
    assert_eq!(refused(&unknown).0, Refusal::UnknownTicket);
}

#[test]
fn the_joiner_is_done_when_its_welcome_is_stored() {
    let (mut inviter, mut joiner, open, code) = opened(false);
    let effects = inviter.step(InviteInput::Message(open));
    assert_eq!(effects.first(), Some(&InviteEffect::ShowCode(code)));
    assert!(matches!(effects.get(1), Some(InviteEffect::Enrol(_))), "{effects:?}");
    let effects = inviter.step(InviteInput::Enrolled(b"hi".to_vec()));
    let [InviteEffect::Send(welcome)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(joiner.step(JoinInput::Message(welcome.clone())), [JoinEffect::Install(b"hi".to_vec())]);
    assert!(joiner.step(JoinInput::Closed).is_empty(), "the link is needed no more");
    let expected = [JoinEffect::Send(PairMessage::Done), JoinEffect::Over(JoinOutcome::Joined(code))];
    assert_eq!(joiner.step(JoinInput::Installed), expected);
    let effects = inviter.step(InviteInput::Message(PairMessage::Done));
    let [InviteEffect::Over(InviteOutcome::Joined(joined))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(joined.acknowledged && joined.code == code);
}

#[test]
fn a_welcome_too_large_to_send_is_told_to_both() {
    let (mut inviter, _, open, _) = opened(false);
    inviter.step(InviteInput::Message(open));
    let effects = inviter.step(InviteInput::Enrolled(vec![0; WELCOME_BYTES + 1]));
    assert_eq!(effects.first(), Some(&InviteEffect::Send(PairMessage::Refuse(Refusal::Internal))));
    let last = effects.last();
    assert!(
        matches!(last, Some(InviteEffect::Over(InviteOutcome::Joined(joined))) if !joined.acknowledged),
        "the device is a member: {last:?}"
    );
}

/// An input of a random walk; the right ones are built for the machine at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    RightCommit,
    ReplayedCommit,
    RandomCommit,
    RightTicket,
    ConfirmTicket,
    WrongTicket,
    ExpiredTicket,
    UsedTicket,
    NoTicket,
    Recorded,
    UsedBefore,
    UseFailed,
    RightOpen,
    ChangedOpen,
    RightCode,
    WrongCode,
    Enrolled,
    Declined,
    Reveal,
    Welcome,
    Done,
    Refuse,
    Garbled,
    Closed,
}

const MOVES: [Move; 24] = [
    Move::RightCommit,
    Move::ReplayedCommit,
    Move::RandomCommit,
    Move::RightTicket,
    Move::ConfirmTicket,
    Move::WrongTicket,
    Move::ExpiredTicket,
    Move::UsedTicket,
    Move::NoTicket,
    Move::Recorded,
    Move::UsedBefore,
    Move::UseFailed,
    Move::RightOpen,
    Move::ChangedOpen,
    Move::RightCode,
    Move::WrongCode,
    Move::Enrolled,
    Move::Declined,
    Move::Reveal,
    Move::Welcome,
    Move::Done,
    Move::Refuse,
    Move::Garbled,
    Move::Closed,
];

/// The only roads to an enrolment.
const ROADS: [&[Move]; 2] = [
    &[Move::RightCommit, Move::RightTicket, Move::Recorded, Move::RightOpen],
    &[Move::RightCommit, Move::ConfirmTicket, Move::Recorded, Move::RightOpen, Move::RightCode],
];

fn input(step: Move, open: &PairMessage, code: &Code) -> InviteInput {
    use InviteInput as I;
    let digest = Digest([1; 32]);
    match step {
        Move::RightCommit => I::Message(joiner(1, candidate()).1),
        Move::ReplayedCommit => I::Message(joiner(9, candidate()).1),
        Move::RandomCommit => {
            I::Message(PairMessage::Commit { ticket: digest, commitment: digest, proof: digest })
        }
        Move::RightTicket => found(open_ticket(false)),
        Move::ConfirmTicket => found(open_ticket(true)),
        Move::WrongTicket => found(OpenTicket { secret: Zeroizing::new([1; 16]), ..open_ticket(false) }),
        Move::ExpiredTicket => found(OpenTicket { expires: NOW, ..open_ticket(false) }),
        Move::UsedTicket => found(OpenTicket { used: true, ..open_ticket(false) }),
        Move::NoTicket => I::Ticket { found: None, now: NOW },
        Move::Recorded => I::Used(TicketUse::Recorded),
        Move::UsedBefore => I::Used(TicketUse::UsedBefore),
        Move::UseFailed => I::Used(TicketUse::Failed),
        Move::RightOpen => I::Message(open.clone()),
        Move::ChangedOpen => match open.clone() {
            PairMessage::Open { name, key_agreement, key_signature, .. } => {
                I::Message(PairMessage::Open { nonce: [3; 32], name, key_agreement, key_signature })
            }
            other => panic!("{other:?}"),
        },
        Move::RightCode => I::Confirmed(code.to_string()),
        Move::WrongCode => I::Confirmed("00000000".into()),
        Move::Enrolled => I::Enrolled(vec![1]),
        Move::Declined => I::Declined(Refusal::NotPermitted),
        Move::Reveal => I::Message(PairMessage::Reveal { nonce: [1; 32], proof: digest }),
        Move::Welcome => I::Message(PairMessage::Welcome { bytes: vec![1] }),
        Move::Done => I::Message(PairMessage::Done),
        Move::Refuse => I::Message(PairMessage::Refuse(Refusal::Protocol)),
        Move::Garbled => I::Garbled,
        Move::Closed => I::Closed,
    }
}

/// Mostly the right next move, so that walks get far, and then something else.
fn walk() -> impl Strategy<Value = Vec<Move>> {
    let anywhere = proptest::collection::vec(proptest::sample::select(MOVES.to_vec()), 0..8);
    (0..ROADS.len(), 0..=5_usize, anywhere)
        .prop_map(|(road, length, rest)| ROADS[road].iter().copied().take(length).chain(rest).collect())
}

/// Failures are kept beside this file, to be replayed for ever.
fn config() -> ProptestConfig {
    let keep = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: 3_000, failure_persistence: Some(Box::new(keep)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_other_road_leads_to_an_enrolment(moves in walk()) {
        let (_, _, open, code) = opened(false);
        let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
        let mut ended = 0;
        for (index, step) in moves.iter().enumerate() {
            let was_over = inviter.is_over();
            let effects = inviter.step(input(*step, &open, &code));
            prop_assert!(!was_over || effects.is_empty(), "over is over");
            let enrols = effects.iter().any(|effect| matches!(effect, InviteEffect::Enrol(_)));
            let walked = &moves[..=index];
            prop_assert_eq!(enrols, ROADS.contains(&walked), "after {:?}", walked);
            let reveals =
                effects.iter().any(|effect| matches!(effect, InviteEffect::Send(PairMessage::Reveal { .. })));
            prop_assert_eq!(reveals, ROADS.iter().any(|road| &road[..3] == walked), "after {:?}", walked);
            ended += effects.iter().filter(|effect| matches!(effect, InviteEffect::Over(_))).count();
            prop_assert_eq!(ended == 1, inviter.is_over(), "exactly one outcome, at the end");
        }
    }

    #[test]
    fn the_joiner_believes_only_the_right_inviter(
        moves in proptest::collection::vec(0..10_u8, 1..8),
    ) {
        let (mut inviter, _, _, _) = opened(false);
        let _ = inviter.step(InviteInput::Closed);
        let reveal = {
            let mut inviter = Inviter::new(channel(1), &mut Seeded(1));
            inviter.step(InviteInput::Message(joiner(1, candidate()).1));
            inviter.step(found(open_ticket(false)));
            match inviter.step(InviteInput::Used(TicketUse::Recorded)).remove(0) {
                InviteEffect::Send(reveal) => reveal,
                other => panic!("{other:?}"),
            }
        };
        let (mut machine, commit) = joiner(1, candidate());
        for (index, step) in moves.iter().enumerate() {
            let effects = machine.step(match step {
                0 | 1 => JoinInput::Message(reveal.clone()),
                2 | 3 => JoinInput::Message(PairMessage::Welcome { bytes: vec![1] }),
                4 => JoinInput::Installed,
                5 => JoinInput::Message(PairMessage::Reveal { nonce: [1; 32], proof: Digest([1; 32]) }),
                6 => JoinInput::Message(commit.clone()),
                7 => JoinInput::Garbled,
                8 => JoinInput::Closed,
                _ => JoinInput::Message(PairMessage::Done),
            });
            let opens =
                effects.iter().any(|effect| matches!(effect, JoinEffect::Send(PairMessage::Open { .. })));
            let installs = effects.iter().any(|effect| matches!(effect, JoinEffect::Install(_)));
            prop_assert_eq!(opens, index == 0 && *step <= 1);
            prop_assert_eq!(installs, index == 1 && moves[0] <= 1 && matches!(step, 2 | 3));
        }
    }
}
