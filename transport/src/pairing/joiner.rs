//! The joiner's side of pairing as a state machine. It commits first, believes no inviter that cannot prove the
//! ticket's secret, and says it is done only when told that its welcome is stored.

use super::binding::{Channel, Code, Secret, equal};
use super::message::{Nonce, PairMessage, Refusal};
use std::fmt;
use syncd_schema::ports::random;
use syncd_schema::ticket::Ticket;
use syncd_schema::{Digest, Entropy};

/// What the joiner says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name for people, at most 64 printable bytes.
    pub name: String,
    /// Its X25519 public key.
    pub key_agreement: Digest,
    /// Its device key's signature over [`syncd_schema::Member::key_statement`] for the ticket's workspace.
    pub key_signature: Vec<u8>,
}

/// How a pairing ended at the joiner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// This device is a member, and its welcome is stored.
    Joined(Code),
    /// This side refused.
    Refused(Refusal),
    /// The inviter refused.
    RefusedByPeer(Refusal),
    /// The link ended too early. After the code was shown, the inviter may have enrolled this device all the same.
    Lost,
}

/// What happens to the joiner.
#[derive(Clone, Debug)]
pub enum JoinInput {
    /// The inviter said something.
    Message(PairMessage),
    /// The inviter said something that cannot be read.
    Garbled,
    /// The answer to [`JoinEffect::Install`]: the welcome is stored, durably.
    Installed,
    /// The host will not go on.
    Declined(Refusal),
    /// The link is over.
    Closed,
}

/// What the joiner wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinEffect {
    /// Send this.
    Send(PairMessage),
    /// Show the code: to be compared, or typed in at the inviter.
    ShowCode(Code),
    /// Store what the inviter gave, durably.
    Install(Vec<u8>),
    /// It is over.
    Over(JoinOutcome),
}

enum State {
    Reveal { secret: Secret, nonce: Nonce, commitment: Digest, candidate: Candidate },
    Welcome { code: Code },
    Install { code: Code },
    Over,
}

/// The joiner's side of one pairing.
pub struct Joiner {
    channel: Channel,
    state: State,
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joiner(at {}, {})", self.channel.inviter.short(), self.waits_for())
    }
}

type Step = (State, Vec<JoinEffect>);

impl Joiner {
    /// Begins: the first effects send the commitment.
    ///
    /// The channel's inviter is the ticket's, whoever is at the other end: dial with that key pinned.
    #[must_use]
    pub fn start(
        channel: Channel,
        ticket: &Ticket,
        candidate: Candidate,
        entropy: &mut dyn Entropy,
    ) -> (Self, Vec<JoinEffect>) {
        let channel = Channel { inviter: ticket.inviter, ..channel };
        let nonce: Nonce = random(entropy);
        let secret = Secret { workspace: ticket.workspace, bytes: ticket.secret.clone() };
        let commitment =
            channel.commitment(&nonce, &candidate.name, &candidate.key_agreement, &candidate.key_signature);
        let proof = channel.joiner_proof(&secret, &commitment);
        let commit = PairMessage::Commit { ticket: ticket.name(), commitment, proof };
        let state = State::Reveal { secret, nonce, commitment, candidate };
        (Self { channel, state }, vec![JoinEffect::Send(commit)])
    }

    /// Whether nothing more can happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// What must happen next, for traces.
    #[must_use]
    pub fn waits_for(&self) -> &'static str {
        match self.state {
            State::Reveal { .. } => "the inviter's proof",
            State::Welcome { .. } => "the welcome",
            State::Install { .. } => "the welcome to be stored",
            State::Over => "nothing",
        }
    }

    /// Takes one input and says what to do, in order.
    pub fn step(&mut self, input: JoinInput) -> Vec<JoinEffect> {
        use JoinInput as I;
        use PairMessage as M;
        let state = std::mem::replace(&mut self.state, State::Over);
        let (state, effects) = match (state, input) {
            // The road that leads somewhere.
            (
                State::Reveal { secret, nonce, commitment, candidate },
                I::Message(M::Reveal { nonce: theirs, proof }),
            ) => {
                if equal(&proof, &self.channel.inviter_proof(&secret, &commitment, &theirs)) {
                    open(self.channel.code(&nonce, &theirs), nonce, candidate)
                } else {
                    refuse(Refusal::BadProof)
                }
            }
            (State::Welcome { code }, I::Message(M::Welcome { bytes })) => {
                (State::Install { code }, vec![JoinEffect::Install(bytes)])
            }
            (State::Install { code }, I::Installed) => {
                let effects =
                    vec![JoinEffect::Send(PairMessage::Done), JoinEffect::Over(JoinOutcome::Joined(code))];
                (State::Over, effects)
            }

            // The welcome is here, so the link is needed no more: only the host can still fail.
            (State::Install { code }, I::Closed) => (State::Install { code }, Vec::new()),

            // Ends that either side may choose.
            (
                State::Reveal { .. } | State::Welcome { .. } | State::Install { .. },
                I::Message(M::Refuse(why)),
            ) => over(JoinOutcome::RefusedByPeer(why)),
            (State::Reveal { .. } | State::Welcome { .. }, I::Closed) => over(JoinOutcome::Lost),
            (State::Reveal { .. } | State::Welcome { .. } | State::Install { .. }, I::Declined(why)) => {
                refuse(why)
            }

            // Out of turn.
            (
                State::Reveal { .. },
                I::Message(M::Commit { .. } | M::Open { .. } | M::Welcome { .. } | M::Done)
                | I::Garbled
                | I::Installed,
            )
            | (
                State::Welcome { .. },
                I::Message(M::Commit { .. } | M::Reveal { .. } | M::Open { .. } | M::Done)
                | I::Garbled
                | I::Installed,
            )
            | (
                State::Install { .. },
                I::Message(
                    M::Commit { .. } | M::Reveal { .. } | M::Open { .. } | M::Welcome { .. } | M::Done,
                )
                | I::Garbled,
            ) => refuse(Refusal::Protocol),

            (State::Over, I::Message(_) | I::Garbled | I::Installed | I::Declined(_) | I::Closed) => {
                (State::Over, Vec::new())
            }
        };
        self.state = state;
        effects
    }
}

fn open(code: Code, nonce: Nonce, candidate: Candidate) -> Step {
    let Candidate { name, key_agreement, key_signature } = candidate;
    let open = PairMessage::Open { nonce, name, key_agreement, key_signature };
    // The code is shown before the welcome comes: with --confirm the welcome waits for it to be typed.
    (State::Welcome { code }, vec![JoinEffect::Send(open), JoinEffect::ShowCode(code)])
}

fn refuse(why: Refusal) -> Step {
    let effects =
        vec![JoinEffect::Send(PairMessage::Refuse(why)), JoinEffect::Over(JoinOutcome::Refused(why))];
    (State::Over, effects)
}

fn over(outcome: JoinOutcome) -> Step {
    (State::Over, vec![JoinEffect::Over(outcome)])
}
