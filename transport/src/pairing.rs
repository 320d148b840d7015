//! Pairing: a device that holds a ticket joins a workspace, and two people can see that nobody sits between.
//!
//! ```text
//! joiner                                              inviter
//!   Commit  ticket's name, commitment, proof   ->       finds the ticket, checks the proof, *uses the ticket up*
//!   checks the proof                           <-       Reveal  nonce, proof
//!   Open    nonce, name, key agreement         ->       checks the commitment; both know the code now
//!                                                       (with --confirm: waits for the joiner's code, typed in)
//!   stores what it needs to take part          <-       Welcome  what the daemon gives a new member
//!   Done                                       ->       over
//! ```
//!
//! Both proofs are HMACs of the ticket's secret over the TLS exporter, the roles, both devices and the commitment:
//! they are worth nothing on another connection, to another device, or sent back. The joiner is bound to its nonce
//! and keys before it sees the inviter's nonce, so neither side can search for a code of its liking: whoever sits
//! between has one guess in 2^40, and that ticket is used up by it.
//!
//! [`Inviter`] and [`Joiner`] are state machines without clock, socket or store. [`invite`] and [`join`] run them
//! over a [`crate::Link`] against a host, which is the daemon. None of this knows what a welcome says.

mod binding;
mod driver;
mod inviter;
mod joiner;
mod message;

pub use binding::{Channel, Code, ParseCodeError};
pub use driver::{
    InviteError, InviterHost, JoinError, JoinerHost, PERSON_TIMEOUT, STEP_TIMEOUT, invite, join,
};
pub use inviter::{
    InviteEffect, InviteInput, InviteOutcome, Inviter, JoinRequest, Joined, OpenTicket, TicketUse,
};
pub use joiner::{Candidate, JoinEffect, JoinInput, JoinOutcome, Joiner};
pub use message::{JOINER_MESSAGE_BYTES, Nonce, PAIR_MESSAGE_BYTES, PairMessage, Refusal, WELCOME_BYTES};
