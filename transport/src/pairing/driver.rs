//! Runs the pairing machines over a link: messages to and from frames, effects to and from the host, and the only
//! clock there is. Decides nothing the machines should.

use super::binding::{Channel, Code};
use super::inviter::{
    InviteEffect, InviteInput, InviteOutcome, Inviter, JoinRequest, Joined, OpenTicket, TicketUse,
};
use super::joiner::{Candidate, JoinEffect, JoinInput, JoinOutcome, Joiner};
use super::message::{JOINER_MESSAGE_BYTES, PAIR_MESSAGE_BYTES, PairMessage, Refusal};
use crate::close::LinkError;
use crate::frame::{FrameReader, FrameWriter};
use crate::link::Link;
use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;
use syncd_schema::cbor::CborError;
use syncd_schema::message::CloseCode;
use syncd_schema::ticket::Ticket;
use syncd_schema::{DeviceId, Digest, Entropy, UnixMicros};
use tokio::time::timeout;

/// How long a person may take to walk to the other device and type eight characters.
pub const PERSON_TIMEOUT: Duration = Duration::from_secs(300);
/// A message that no person has to be waited for, heard or delivered. The waits are bounded one by one and not as
/// a whole: what the host is doing is never cut off, so that an enrolment cannot go unreported.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the side that spoke last leaves the link open for the other to read it.
const LINGER: Duration = Duration::from_secs(2);

/// What an inviter needs of the daemon.
pub trait InviterHost: Send {
    /// The time, against which tickets expire.
    fn now(&self) -> UnixMicros;
    /// The ticket of this public name, used or not.
    fn find_ticket(&mut self, name: Digest) -> impl Future<Output = Option<OpenTicket>> + Send;
    /// Records that a ticket is used, in one transaction that is on disk before this returns.
    fn use_ticket(&mut self, name: Digest) -> impl Future<Output = TicketUse> + Send;
    /// Shows the code, to be compared.
    fn show_code(&mut self, code: Code);
    /// Asks for the joiner's code; none when the user declines. Dropped when the link ends, or after
    /// [`PERSON_TIMEOUT`].
    fn ask_code(&mut self, device: DeviceId, name: String) -> impl Future<Output = Option<String>> + Send;
    /// Makes the device a member, durably, and returns its welcome; or says why not.
    fn enrol(&mut self, request: JoinRequest) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
}

/// What a joiner needs of the daemon.
pub trait JoinerHost: Send {
    /// Shows the code.
    fn show_code(&mut self, code: Code);
    /// Stores the welcome, durably, after judging it; or says why not.
    fn install(&mut self, welcome: Vec<u8>) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Why an invitation led to no member.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// This device refused.
    #[error("device {} was not enrolled: {reason}", .device.short())]
    Refused {
        /// The device that asked.
        device: DeviceId,
        /// Why.
        #[source]
        reason: Refusal,
    },
    /// The joiner ended it.
    #[error("device {} did not go on: {reason}", .device.short())]
    RefusedByPeer {
        /// The device that asked.
        device: DeviceId,
        /// Why.
        #[source]
        reason: Refusal,
    },
    /// The joiner took too long.
    #[error("the pairing took too long; run `sourceos-syncd invite` for a new ticket")]
    Timeout,
    /// The link failed.
    #[error("the pairing was cut off; run `sourceos-syncd invite` for a new ticket if this one was used")]
    Link(#[source] LinkError),
}

/// Why this device did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The inviter refused.
    #[error("not joined: {0}")]
    RefusedByPeer(#[source] Refusal),
    /// This device refused.
    #[error("not joined, this device broke off: {0}")]
    Refused(#[source] Refusal),
    /// Nothing came for too long.
    #[error("not joined: the inviting device took too long; ask for a new ticket")]
    Timeout,
    /// The link failed.
    #[error(
        "not joined: the pairing was cut off; look at `sourceos-syncd devices` there, then ask for a new ticket"
    )]
    Link(#[source] LinkError),
    /// The name cannot be sent.
    #[error("not joined: a device name has at most 64 printable bytes; choose another")]
    Name(#[source] CborError),
}

/// The conversation of one pairing.
struct Talk {
    link: Link,
    writer: FrameWriter,
    reader: FrameReader,
    limit: usize,
    spoke_last: bool,
}

enum Heard {
    Message(PairMessage),
    Garbled,
    Closed(LinkError),
    Silence,
}

impl Talk {
    async fn open(link: &Link, send_limit: usize, receive_limit: usize) -> Result<Self, LinkError> {
        let (writer, reader) = link.conversation(send_limit, receive_limit).await?;
        Ok(Self { link: link.clone(), writer, reader, limit: receive_limit, spoke_last: false })
    }

    async fn say(&mut self, message: &PairMessage) -> Result<(), LinkError> {
        self.spoke_last = true;
        let bytes = message.to_bytes();
        timeout(STEP_TIMEOUT, self.writer.send(&bytes)).await.map_err(|_| LinkError::TimedOut)?
    }

    async fn hear(&mut self, patience: Duration) -> Heard {
        self.spoke_last = false;
        match timeout(patience, self.reader.recv()).await {
            Err(_) => Heard::Silence,
            Ok(Ok(Some(frame))) => {
                PairMessage::from_bytes(&frame, self.limit).map_or(Heard::Garbled, Heard::Message)
            }
            Ok(Ok(None)) => Heard::Closed(LinkError::StreamOver),
            Ok(Err(LinkError::Frame(_))) => Heard::Garbled,
            Ok(Err(error)) => Heard::Closed(error),
        }
    }

    /// Ends the link so that the last message is read: by the side that heard it.
    async fn end(self) {
        if self.spoke_last {
            let delivered = async {
                // Whether it was delivered or not, what remains is to close.
                let _ = self.writer.finish().await;
                self.link.closed().await
            };
            let _ = timeout(LINGER, delivered).await;
        }
        self.link.close(CloseCode::Done, "");
    }
}

/// Invites over one accepted pairing link, until it is over one way or the other. The link is closed then.
///
/// # Errors
/// When no member came of it: who refused and why, or what cut it off.
pub async fn invite<H: InviterHost>(
    link: &Link,
    this: DeviceId,
    host: &mut H,
    entropy: &mut dyn Entropy,
) -> Result<Joined, InviteError> {
    let channel = Channel::of(link, this).map_err(InviteError::Link)?;
    let machine = Inviter::new(channel, entropy);
    let mut talk =
        Talk::open(link, PAIR_MESSAGE_BYTES, JOINER_MESSAGE_BYTES).await.map_err(InviteError::Link)?;
    let result = run_inviter(machine, &mut talk, host).await;
    talk.end().await;
    result
}

async fn run_inviter<H: InviterHost>(
    mut machine: Inviter,
    talk: &mut Talk,
    host: &mut H,
) -> Result<Joined, InviteError> {
    let device = talk.link.peer();
    let mut effects = VecDeque::new();
    let mut lost = LinkError::StreamOver;
    loop {
        let input = match effects.pop_front() {
            None => match talk.hear(STEP_TIMEOUT).await {
                Heard::Message(message) => InviteInput::Message(message),
                Heard::Garbled => InviteInput::Garbled,
                Heard::Closed(error) => {
                    lost = error;
                    InviteInput::Closed
                }
                Heard::Silence => {
                    lost = LinkError::TimedOut;
                    InviteInput::Closed
                }
            },
            Some(InviteEffect::Send(message)) => match talk.say(&message).await {
                Ok(()) => continue,
                // A refusal that cannot be delivered is a refusal still: the outcome is next in the list.
                Err(_) if machine.is_over() => continue,
                Err(error) => {
                    lost = error;
                    InviteInput::Closed
                }
            },
            Some(InviteEffect::FindTicket(name)) => {
                InviteInput::Ticket { found: host.find_ticket(name).await, now: host.now() }
            }
            Some(InviteEffect::UseTicket(name)) => InviteInput::Used(host.use_ticket(name).await),
            Some(InviteEffect::ShowCode(code)) => {
                host.show_code(code);
                continue;
            }
            Some(InviteEffect::AskCode { device, name }) => tokio::select! {
                typed = timeout(PERSON_TIMEOUT, host.ask_code(device, name)) => match typed {
                    Ok(Some(typed)) => InviteInput::Confirmed(typed),
                    // Whoever does not answer is taken to decline.
                    Ok(None) | Err(_) => InviteInput::Declined(Refusal::NotPermitted),
                },
                error = talk.link.closed() => {
                    lost = error;
                    InviteInput::Closed
                }
            },
            Some(InviteEffect::Enrol(request)) => match host.enrol(request).await {
                Ok(welcome) => InviteInput::Enrolled(welcome),
                Err(why) => InviteInput::Declined(why),
            },
            Some(InviteEffect::Over(outcome)) => {
                return match outcome {
                    InviteOutcome::Joined(joined) => Ok(joined),
                    InviteOutcome::Refused(reason) => Err(InviteError::Refused { device, reason }),
                    InviteOutcome::RefusedByPeer(reason) => {
                        Err(InviteError::RefusedByPeer { device, reason })
                    }
                    InviteOutcome::Lost => Err(match lost {
                        LinkError::TimedOut => InviteError::Timeout,
                        error => InviteError::Link(error),
                    }),
                };
            }
        };
        tracing::trace!(joiner = %device.short(), waited_for = machine.waits_for(), "pairing step");
        effects.extend(machine.step(input));
    }
}

/// Joins over one link that was dialled with the ticket's inviter expected. The link is closed then.
///
/// # Errors
/// When this device did not join: who refused and why, or what cut it off.
pub async fn join<H: JoinerHost>(
    link: &Link,
    this: DeviceId,
    ticket: &Ticket,
    candidate: Candidate,
    host: &mut H,
    entropy: &mut dyn Entropy,
) -> Result<Code, JoinError> {
    check_name(&candidate)?;
    let channel = Channel::of(link, this).map_err(JoinError::Link)?;
    let (machine, first) = Joiner::start(channel, ticket, candidate, entropy);
    let mut talk =
        Talk::open(link, JOINER_MESSAGE_BYTES, PAIR_MESSAGE_BYTES).await.map_err(JoinError::Link)?;
    let result = run_joiner(machine, first, &mut talk, host).await;
    talk.end().await;
    result
}

fn check_name(candidate: &Candidate) -> Result<(), JoinError> {
    if super::message::name_ok(&candidate.name) {
        return Ok(());
    }
    let rule = "at most 64 printable bytes";
    Err(JoinError::Name(CborError::Invalid { what: "device name", rule }))
}

async fn run_joiner<H: JoinerHost>(
    mut machine: Joiner,
    first: Vec<JoinEffect>,
    talk: &mut Talk,
    host: &mut H,
) -> Result<Code, JoinError> {
    let mut effects = VecDeque::from(first);
    let mut lost = LinkError::StreamOver;
    // The inviter's proof comes at once; its welcome may wait for a person.
    let mut patience = STEP_TIMEOUT;
    loop {
        let input = match effects.pop_front() {
            None => match talk.hear(patience).await {
                Heard::Message(message) => JoinInput::Message(message),
                Heard::Garbled => JoinInput::Garbled,
                Heard::Closed(error) => {
                    lost = error;
                    JoinInput::Closed
                }
                Heard::Silence => {
                    lost = LinkError::TimedOut;
                    JoinInput::Closed
                }
            },
            Some(JoinEffect::Send(message)) => match talk.say(&message).await {
                Ok(()) => continue,
                // The outcome stands whether or not its last message arrives.
                Err(_) if machine.is_over() => continue,
                // The inviter may have refused and gone: its reason is still to be read.
                Err(LinkError::StreamEnded { .. }) => continue,
                Err(error) => {
                    lost = error;
                    JoinInput::Closed
                }
            },
            Some(JoinEffect::ShowCode(code)) => {
                host.show_code(code);
                patience = PERSON_TIMEOUT + STEP_TIMEOUT;
                continue;
            }
            Some(JoinEffect::Install(welcome)) => match host.install(welcome).await {
                Ok(()) => JoinInput::Installed,
                Err(why) => JoinInput::Declined(why),
            },
            Some(JoinEffect::Over(outcome)) => {
                return match outcome {
                    JoinOutcome::Joined(code) => Ok(code),
                    JoinOutcome::Refused(reason) => Err(JoinError::Refused(reason)),
                    JoinOutcome::RefusedByPeer(reason) => Err(JoinError::RefusedByPeer(reason)),
                    JoinOutcome::Lost => Err(match lost {
                        LinkError::TimedOut => JoinError::Timeout,
                        error => JoinError::Link(error),
                    }),
                };
            }
        };
        tracing::trace!(waited_for = machine.waits_for(), "pairing step");
        effects.extend(machine.step(input));
    }
}
