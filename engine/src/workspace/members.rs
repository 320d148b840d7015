//! Letting devices in: invitations, their single use, enrolment and the welcome.
//!
//! The pairing protocol itself is in `syncd-transport`; here is what it must find durable: a ticket is used up
//! before its holder is enrolled, and enrolment is an entry of the governance chain like any other.

use super::identity::{WrapError, wrap_key};
use super::intent::{Intent, WriteError, WriteRequest};
use super::{Engine, Event};
use crate::ledger;
use crate::store::rows::{self, TicketRow};
use crate::store::tables::Table;
use crate::store::{Batch, StoreError};
use minicbor::{Decode, Encode};
use std::fmt;
use syncd_evidence::{Finding, FindingKind, Outcome, RecordKind, Severity};
use syncd_schema::governance::WrappedKey;
use syncd_schema::ticket::Ticket;
use syncd_schema::{
    Actor, DeviceId, Digest, EntryKind, Epoch, Genesis, Member, OperationType, Role, UnixMicros, cbor,
    limits, ports,
};
use zeroize::Zeroizing;

/// What an enrolled device gets to begin with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Welcome {
    /// The genesis, which the workspace's id checks.
    #[n(0)]
    pub genesis: Genesis,
    /// The workspace keys, wrapped for it.
    #[n(1)]
    pub keys: Vec<WrappedKey>,
}

impl Welcome {
    /// The bytes the pairing protocol carries.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads them.
    ///
    /// # Errors
    /// When they are not a welcome.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode("welcome", bytes, limits::RECORD_BYTES)
    }
}

/// An open invitation, as the pairing protocol needs it. Printing it shows no secret.
#[derive(Clone)]
pub struct Invitation {
    /// The ticket's name.
    pub name: Digest,
    /// Its secret.
    pub secret: Zeroizing<[u8; 16]>,
    /// What the joiner will be.
    pub role: Role,
    /// When it stops working.
    pub expires: UnixMicros,
    /// Whether the inviter types the joiner's code first.
    pub confirm: bool,
    /// Whether it was used.
    pub used: bool,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({}, {})", self.name.short(), self.role.word())
    }
}

/// Why a device is not let in.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// This device may not invite.
    #[error("this device may not invite others: only owners and admins may")]
    NotPermitted,
    /// No such ticket.
    #[error("there is no such invitation")]
    UnknownTicket,
    /// It was used.
    #[error("the invitation was used already; make a new one")]
    Used,
    /// It expired.
    #[error("the invitation expired; make a new one")]
    Expired,
    /// The workspace is full.
    #[error("a workspace has at most {} devices", limits::DEVICES)]
    Full,
    /// The device's key-agreement key is unusable.
    #[error("the joining device's key cannot be used")]
    Key(#[from] WrapError),
    /// The genesis has not arrived here yet.
    #[error("this device has not received the workspace's genesis yet; sync first")]
    NoGenesis,
    /// The governance entry was refused.
    #[error(transparent)]
    Write(Box<WriteError>),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a one-time invitation, durable before it is returned.
    ///
    /// # Errors
    /// When this device may not invite, or the disk refuses.
    pub fn invite(
        &mut self,
        role: Role,
        expires: UnixMicros,
        confirm: bool,
        addresses: Vec<String>,
    ) -> Result<Ticket, MemberError> {
        if !self.governance().role(&self.device()).is_some_and(Role::may_govern) {
            return Err(MemberError::NotPermitted);
        }
        let secret = Zeroizing::new(ports::random(self.store.entropy()));
        let ticket = Ticket {
            workspace: self.workspace,
            inviter: self.device(),
            addresses: addresses.into_iter().take(limits::TICKET_ADDRESSES).collect(),
            secret: secret.clone(),
            role,
            expires,
        };
        let row = TicketRow { role, expires, secret, confirm, used: None };
        let mut batch = Batch::default();
        batch.put(Table::Tickets, ticket.name().0.to_vec(), cbor::encode(&row));
        self.store.commit(batch)?;
        Ok(ticket)
    }

    /// The invitation of that name, if this device made it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn invitation(&self, name: &Digest) -> Result<Option<Invitation>, StoreError> {
        let row: Option<TicketRow> = rows::read(&self.store, Table::Tickets, &name.0)?;
        Ok(row.map(|row| Invitation {
            name: *name,
            secret: row.secret,
            role: row.role,
            expires: row.expires,
            confirm: row.confirm,
            used: row.used.is_some(),
        }))
    }

    /// Uses an invitation up, durably, before its holder is enrolled.
    ///
    /// # Errors
    /// When it is unknown, used or expired, or the disk refuses: then it is as it was.
    pub fn use_ticket(&mut self, name: &Digest, by: DeviceId, now: UnixMicros) -> Result<(), MemberError> {
        let row: Option<TicketRow> = rows::read(&self.store, Table::Tickets, &name.0)?;
        let mut row = row.ok_or(MemberError::UnknownTicket)?;
        if row.used.is_some() {
            return Err(MemberError::Used);
        }
        if row.expires <= now {
            return Err(MemberError::Expired);
        }
        row.used = Some(now);
        let mut stage = self.stage(now);
        stage.batch.put(Table::Tickets, name.0.to_vec(), cbor::encode(&row));
        let mut record =
            ledger::record(RecordKind::Pairing, Outcome::Noted, OperationType::Enqueue, &Actor::system(), by);
        record.set_note(&format!("ticket {} used", name.short()));
        self.record(&mut stage, record);
        self.commit(stage)?;
        Ok(())
    }

    /// Makes a device a member and returns its welcome. A known device is let in anew, in a new epoch: that is how
    /// a forked one goes on.
    ///
    /// # Errors
    /// When the workspace is full, policy refuses, or the disk does.
    pub fn enrol(
        &mut self,
        device: DeviceId,
        name: &str,
        role: Role,
        key_agreement: Digest,
        key_signature: &[u8; 64],
        now: UnixMicros,
    ) -> Result<(Welcome, Vec<Event>), MemberError> {
        if self.governance().members.len() >= limits::DEVICES {
            return Err(MemberError::Full);
        }
        let genesis = self.genesis()?.ok_or(MemberError::NoGenesis)?;
        let mut keys = Vec::new();
        // A relay passes on what it cannot read.
        let readable = if role == Role::Relay { Vec::new() } else { self.keys.clone().into_iter().collect() };
        for (key_epoch, key) in readable {
            keys.push(wrap_key(
                &self.workspace,
                &key_agreement,
                key_epoch,
                key.expose(),
                self.store.entropy(),
            )?);
        }
        let used = self.log_numbers.keys().filter(|log| log.device == device).map(|log| log.epoch).max();
        let member = Member {
            device,
            key_agreement,
            key_signature: key_signature.to_vec(),
            name: name.chars().filter(|c| !c.is_control()).take(limits::NAME_BYTES / 4).collect(),
            role: Some(role),
            keys: keys.clone(),
            min_epoch: used.map_or(Epoch(0), Epoch::next),
        };
        let request =
            WriteRequest::new(Actor::system(), Intent::Govern(EntryKind::MEMBER, cbor::encode(&member)));
        let (mut answers, events) = self.write(&[request], now)?;
        match answers.pop() {
            Some(Err(error)) => Err(MemberError::Write(Box::new(error))),
            _ => Ok((Welcome { genesis, keys }, events)),
        }
    }

    /// Puts on record that a device was not let in.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_refused_pairing(
        &mut self,
        device: DeviceId,
        reason: &str,
        now: UnixMicros,
    ) -> Result<Vec<Event>, StoreError> {
        let next =
            "if somebody you know tried to join, give them a new ticket; else nothing needs to be done";
        // Keys cost nothing: strangers are counted, not listed.
        let text = format!("device {}: {reason}", device.short());
        let finding =
            Finding::new(FindingKind::PairingRefused, "pairing", Severity::Notice, &text, next, now);
        let mut stage = self.stage(now);
        self.find(&mut stage, finding)?;
        self.commit(stage)
    }
}
