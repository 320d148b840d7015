//! The inviter's side of pairing as a state machine: inputs in, effects out, nothing else touched.
//!
//! It asks for two durable deeds and goes on only when told that they are done: the ticket is used up before the
//! inviter's nonce leaves, and the joiner is enrolled before it is welcomed. Whatever comes out of turn ends the
//! pairing. Start with [`Inviter::step`], which names every pair of state and input.

use super::binding::{Channel, Code, Secret, equal};
use super::message::{Nonce, PairMessage, Refusal, WELCOME_BYTES};
use ed25519_dalek::{Signature, VerifyingKey};
use std::fmt;
use syncd_schema::ports::random;
use syncd_schema::{DeviceId, Digest, Entropy, Member, Role, UnixMicros, WorkspaceId};
use zeroize::Zeroizing;

/// What the inviter's store knows of a ticket.
#[derive(Clone)]
pub struct OpenTicket {
    /// The workspace it opens.
    pub workspace: WorkspaceId,
    /// Its secret.
    pub secret: Zeroizing<[u8; 16]>,
    /// What the joiner will be.
    pub role: Role,
    /// When it stops working.
    pub expires: UnixMicros,
    /// Whether it was used up already.
    pub used: bool,
    /// Whether the joiner's code must be typed in here first.
    pub confirm: bool,
}

impl fmt::Debug for OpenTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenTicket(workspace {}, {})", self.workspace.short(), self.role.word())
    }
}

/// What became of using a ticket up: one compare-and-set in the store, so that of two joiners one loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketUse {
    /// Recorded, and on disk.
    Recorded,
    /// Somebody else used it in the meantime.
    UsedBefore,
    /// The store failed: nothing may be assumed.
    Failed,
}

/// A device that proved the ticket and asks to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The workspace of its ticket.
    pub workspace: WorkspaceId,
    /// The device, proven by TLS.
    pub device: DeviceId,
    /// Its name for people.
    pub name: String,
    /// Its X25519 public key.
    pub key_agreement: Digest,
    /// Its signature over [`Member::key_statement`], verified.
    pub key_signature: Vec<u8>,
    /// The role its ticket gives.
    pub role: Role,
}

/// A finished enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The new member.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// The code, as the joiner showed it.
    pub code: Code,
    /// Whether the joiner said that it stored its welcome. If not, it may have to be removed and invited again.
    pub acknowledged: bool,
}

/// How a pairing ended at the inviter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteOutcome {
    /// The device is a member.
    Joined(Joined),
    /// This side refused; the reason may be more precise than what the joiner was told.
    Refused(Refusal),
    /// The joiner refused.
    RefusedByPeer(Refusal),
    /// The link ended before the device was enrolled.
    Lost,
}

/// What happens to the inviter.
#[derive(Clone, Debug)]
pub enum InviteInput {
    /// The joiner said something.
    Message(PairMessage),
    /// The joiner said something that cannot be read.
    Garbled,
    /// The answer to [`InviteEffect::FindTicket`], and the time.
    Ticket {
        /// The ticket, if there is one of that name.
        found: Option<OpenTicket>,
        /// Now.
        now: UnixMicros,
    },
    /// The answer to [`InviteEffect::UseTicket`].
    Used(TicketUse),
    /// The answer to [`InviteEffect::AskCode`]: what was typed.
    Confirmed(String),
    /// The answer to [`InviteEffect::Enrol`]: the device is a member, durably, and this is its welcome.
    Enrolled(Vec<u8>),
    /// The host will not go on.
    Declined(Refusal),
    /// The link is over.
    Closed,
}

/// What the inviter wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteEffect {
    /// Send this.
    Send(PairMessage),
    /// Look a ticket up by its public name.
    FindTicket(Digest),
    /// Record durably that the ticket is used, unless it is already.
    UseTicket(Digest),
    /// Show the code, to be compared with the joiner's.
    ShowCode(Code),
    /// Ask for the code that the joiner shows, without showing it here: typing it is what proves the comparison.
    AskCode {
        /// The joiner.
        device: DeviceId,
        /// Its name, as it claims.
        name: String,
    },
    /// Make the device a member.
    Enrol(JoinRequest),
    /// It is over.
    Over(InviteOutcome),
}

enum State {
    Commit,
    Ticket { name: Digest, commitment: Digest, proof: Digest },
    Use { ticket: OpenTicket, commitment: Digest },
    Open { ticket: OpenTicket, commitment: Digest },
    Code { request: JoinRequest, code: Code },
    Enrolment { request: JoinRequest, code: Code },
    Done { joined: Joined },
    Over,
}

/// The inviter's side of one pairing.
pub struct Inviter {
    channel: Channel,
    nonce: Nonce,
    state: State,
}

impl fmt::Debug for Inviter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inviter(for {}, {})", self.channel.joiner.short(), self.waits_for())
    }
}

type Step = (State, Vec<InviteEffect>);

impl Inviter {
    /// Waits for a joiner on this channel.
    #[must_use]
    pub fn new(channel: Channel, entropy: &mut dyn Entropy) -> Self {
        Self { channel, nonce: random(entropy), state: State::Commit }
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
            State::Commit => "the joiner's commitment",
            State::Ticket { .. } => "the ticket",
            State::Use { .. } => "the ticket's use to be recorded",
            State::Open { .. } => "the joiner's nonce",
            State::Code { .. } => "the code to be typed",
            State::Enrolment { .. } => "the enrolment",
            State::Done { .. } => "the joiner's last word",
            State::Over => "nothing",
        }
    }

    /// Takes one input and says what to do, in order.
    pub fn step(&mut self, input: InviteInput) -> Vec<InviteEffect> {
        use InviteInput as I;
        use PairMessage as M;
        let state = std::mem::replace(&mut self.state, State::Over);
        let (state, effects) = match (state, input) {
            // The road that leads somewhere.
            (State::Commit, I::Message(M::Commit { ticket, commitment, proof })) => {
                (State::Ticket { name: ticket, commitment, proof }, vec![InviteEffect::FindTicket(ticket)])
            }
            (State::Ticket { name, commitment, proof }, I::Ticket { found, now }) => {
                self.judge(name, commitment, &proof, found, now)
            }
            (State::Use { ticket, commitment }, I::Used(used)) => self.reveal(ticket, commitment, used),
            (
                State::Open { ticket, commitment },
                I::Message(M::Open { nonce, name, key_agreement, key_signature }),
            ) => self.open(&ticket, &commitment, &nonce, name, key_agreement, key_signature),
            (State::Code { request, code }, I::Confirmed(typed)) => {
                if code.matches(&typed) {
                    enrol(request, code)
                } else {
                    refuse(Refusal::BadCode)
                }
            }
            (State::Enrolment { request, code }, I::Enrolled(bytes)) => welcome(request, code, bytes),
            (State::Done { joined }, I::Message(M::Done)) => {
                over(InviteOutcome::Joined(Joined { acknowledged: true, ..joined }))
            }

            // Once enrolled, the device is a member whatever the link does.
            (
                State::Done { joined },
                I::Closed
                | I::Garbled
                | I::Declined(_)
                | I::Ticket { .. }
                | I::Used(_)
                | I::Confirmed(_)
                | I::Enrolled(_)
                | I::Message(
                    M::Commit { .. } | M::Reveal { .. } | M::Open { .. } | M::Welcome { .. } | M::Refuse(_),
                ),
            ) => over(InviteOutcome::Joined(joined)),

            // Ends that either side may choose at any time.
            (before_enrolment!(), I::Message(M::Refuse(why))) => over(InviteOutcome::RefusedByPeer(why)),
            (before_enrolment!(), I::Closed) => over(InviteOutcome::Lost),
            (before_enrolment!(), I::Declined(why)) => refuse(why),

            // Out of turn: everything else, each state with what it does not expect.
            (before_enrolment!(), I::Garbled) => refuse(Refusal::Protocol),
            (
                State::Commit,
                I::Message(M::Reveal { .. } | M::Open { .. } | M::Welcome { .. } | M::Done)
                | I::Ticket { .. }
                | I::Used(_)
                | I::Confirmed(_)
                | I::Enrolled(_),
            )
            | (State::Ticket { .. }, message!() | I::Used(_) | I::Confirmed(_) | I::Enrolled(_))
            | (State::Use { .. }, message!() | I::Ticket { .. } | I::Confirmed(_) | I::Enrolled(_))
            | (
                State::Open { .. },
                I::Message(M::Commit { .. } | M::Reveal { .. } | M::Welcome { .. } | M::Done)
                | I::Ticket { .. }
                | I::Used(_)
                | I::Confirmed(_)
                | I::Enrolled(_),
            )
            | (State::Code { .. }, message!() | I::Ticket { .. } | I::Used(_) | I::Enrolled(_))
            | (State::Enrolment { .. }, message!() | I::Ticket { .. } | I::Used(_) | I::Confirmed(_)) => {
                refuse(Refusal::Protocol)
            }

            (
                State::Over,
                I::Message(_)
                | I::Garbled
                | I::Ticket { .. }
                | I::Used(_)
                | I::Confirmed(_)
                | I::Enrolled(_)
                | I::Declined(_)
                | I::Closed,
            ) => (State::Over, Vec::new()),
        };
        self.state = state;
        effects
    }

    /// Checks in this order: ticket known and proof right (one answer for both), role, expiry, use.
    fn judge(
        &self,
        name: Digest,
        commitment: Digest,
        proof: &Digest,
        found: Option<OpenTicket>,
        now: UnixMicros,
    ) -> Step {
        // An unknown ticket is compared like a known one, against a secret that nobody was given, so that the
        // time taken says nothing either.
        let secret = match &found {
            Some(ticket) => Secret { workspace: ticket.workspace, bytes: ticket.secret.clone() },
            None => Secret { workspace: WorkspaceId([0; 16]), bytes: Zeroizing::new([0; 16]) },
        };
        let proven = equal(proof, &self.channel.joiner_proof(&secret, &commitment));
        match found {
            Some(ticket) if proven => match refusal(&ticket, now) {
                Some(why) => refuse(why),
                None => (State::Use { ticket, commitment }, vec![InviteEffect::UseTicket(name)]),
            },
            Some(_) => refuse_as(Refusal::BadProof, Refusal::UnknownTicket),
            None => refuse(Refusal::UnknownTicket),
        }
    }

    fn reveal(&self, ticket: OpenTicket, commitment: Digest, used: TicketUse) -> Step {
        match used {
            TicketUse::Recorded => {
                let secret = Secret { workspace: ticket.workspace, bytes: ticket.secret.clone() };
                let proof = self.channel.inviter_proof(&secret, &commitment, &self.nonce);
                let reveal = PairMessage::Reveal { nonce: self.nonce, proof };
                (State::Open { ticket, commitment }, vec![InviteEffect::Send(reveal)])
            }
            TicketUse::UsedBefore => refuse(Refusal::Used),
            TicketUse::Failed => refuse(Refusal::Internal),
        }
    }

    fn open(
        &self,
        ticket: &OpenTicket,
        commitment: &Digest,
        nonce: &Nonce,
        name: String,
        key_agreement: Digest,
        key_signature: Vec<u8>,
    ) -> Step {
        let opened = self.channel.commitment(nonce, &name, &key_agreement, &key_signature);
        let device = self.channel.joiner;
        let statement = Member::key_statement(&ticket.workspace, &key_agreement);
        if !equal(&opened, commitment) || !signed_by(&device, &statement, &key_signature) {
            return refuse(Refusal::BadProof);
        }
        let code = self.channel.code(nonce, &self.nonce);
        let (workspace, role) = (ticket.workspace, ticket.role);
        let request = JoinRequest { workspace, device, name, key_agreement, key_signature, role };
        if ticket.confirm {
            let ask = InviteEffect::AskCode { device, name: request.name.clone() };
            return (State::Code { request, code }, vec![ask]);
        }
        let (state, mut effects) = enrol(request, code);
        effects.insert(0, InviteEffect::ShowCode(code));
        (state, effects)
    }
}

/// Every state in which the joiner is not yet a member.
macro_rules! before_enrolment {
    () => {
        State::Commit
            | State::Ticket { .. }
            | State::Use { .. }
            | State::Open { .. }
            | State::Code { .. }
            | State::Enrolment { .. }
    };
}
use before_enrolment;

/// Every message but a refusal, for states in which the joiner has nothing to say.
macro_rules! message {
    () => {
        InviteInput::Message(
            PairMessage::Commit { .. }
                | PairMessage::Reveal { .. }
                | PairMessage::Open { .. }
                | PairMessage::Welcome { .. }
                | PairMessage::Done,
        )
    };
}
use message;

/// Why a proven ticket still opens nothing.
fn refusal(ticket: &OpenTicket, now: UnixMicros) -> Option<Refusal> {
    // A workspace has one owner, whom its genesis names: no ticket makes another.
    if ticket.role == Role::Owner {
        Some(Refusal::NotPermitted)
    } else if now >= ticket.expires {
        Some(Refusal::Expired)
    } else if ticket.used {
        Some(Refusal::Used)
    } else {
        None
    }
}

fn signed_by(device: &DeviceId, statement: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(device.as_bytes()) else { return false };
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(statement, &signature).is_ok())
}

fn enrol(request: JoinRequest, code: Code) -> Step {
    let effect = InviteEffect::Enrol(request.clone());
    (State::Enrolment { request, code }, vec![effect])
}

fn welcome(request: JoinRequest, code: Code, bytes: Vec<u8>) -> Step {
    let joined = Joined { device: request.device, name: request.name, code, acknowledged: false };
    if bytes.len() > WELCOME_BYTES {
        // The device is a member and cannot be told so: the outcome says both.
        let refuse = InviteEffect::Send(PairMessage::Refuse(Refusal::Internal));
        return (State::Over, vec![refuse, InviteEffect::Over(InviteOutcome::Joined(joined))]);
    }
    (State::Done { joined }, vec![InviteEffect::Send(PairMessage::Welcome { bytes })])
}

fn refuse(why: Refusal) -> Step {
    refuse_as(why, why)
}

fn refuse_as(why: Refusal, said: Refusal) -> Step {
    let effects =
        vec![InviteEffect::Send(PairMessage::Refuse(said)), InviteEffect::Over(InviteOutcome::Refused(why))];
    (State::Over, effects)
}

fn over(outcome: InviteOutcome) -> Step {
    (State::Over, vec![InviteEffect::Over(outcome)])
}
