//! The one-time ticket that lets a device join a workspace.
//!
//! Text form: `syncd1` followed by lower-case unpadded base32 (RFC 4648) of the ticket's CBOR and the first four
//! bytes of its SHA-256, which catch a mistyped character before anybody dials.

use crate::cbor;
use crate::domain;
use crate::governance::Role;
use crate::ids::{DeviceId, WorkspaceId};
use crate::limits;
use crate::units::UnixMicros;
use data_encoding::{Encoding, Specification};
use minicbor::{Decode, Encode};
use std::fmt;
use std::net::SocketAddr;
use zeroize::Zeroizing;

const PREFIX: &str = "syncd1";

/// Whoever holds a ticket may join once, until it expires. Its secret is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Ticket {
    /// The workspace.
    #[n(0)]
    pub workspace: WorkspaceId,
    /// The inviting device: the joiner connects to this key and no other.
    #[n(1)]
    pub inviter: DeviceId,
    /// Where it listens, `IP:PORT`.
    #[n(2)]
    pub addresses: Vec<String>,
    /// 128 random bits, known to the inviter and the holder.
    #[n(3)]
    #[cbor(with = "cbor::secret")]
    pub secret: Zeroizing<[u8; 16]>,
    /// What the joiner will be.
    #[n(4)]
    pub role: Role,
    /// When it stops working.
    #[n(5)]
    pub expires: UnixMicros,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket(workspace {}, inviter {})", self.workspace.short(), self.inviter.short())
    }
}

/// Why a text is not a ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// Longer than any ticket.
    #[error("a ticket has at most {} characters", limits::TICKET_CHARS)]
    TooLong,
    /// Another text.
    #[error("a ticket starts with \"{PREFIX}\"; copy it whole from the output of `invite`")]
    Prefix,
    /// Not base32, or a checksum that does not fit.
    #[error("the ticket is damaged; copy it again from the output of `invite`")]
    Damaged,
    /// Decodes to something else.
    #[error("the ticket cannot be read by this version")]
    Malformed(#[from] cbor::CborError),
}

fn base32() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().ok()
}

impl Ticket {
    /// The ticket's public name: what the inviter stores, and never the secret itself.
    #[must_use]
    pub fn name(&self) -> crate::ids::Digest {
        domain::hash("ticket", &[self.workspace.as_bytes(), self.secret.as_slice()])
    }

    /// The addresses that can be dialled.
    #[must_use]
    pub fn socket_addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Says whether it is another text, damaged, or of another version.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > limits::TICKET_CHARS {
            return Err(TicketError::TooLong);
        }
        let body = text.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let body = Zeroizing::new(body.to_ascii_lowercase());
        let bytes = base32()
            .and_then(|encoding| encoding.decode(body.as_bytes()).ok())
            .map(Zeroizing::new)
            .ok_or(TicketError::Damaged)?;
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if domain::sha256(content).0.first_chunk::<4>() != Some(checksum) {
            return Err(TicketError::Damaged);
        }
        let ticket: Self = cbor::decode("ticket", content, limits::TICKET_CHARS)?;
        if ticket.addresses.len() > limits::TICKET_ADDRESSES {
            let rule = "at most 8 addresses";
            return Err(cbor::CborError::Invalid { what: "ticket", rule }.into());
        }
        Ok(ticket)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Zeroizing::new(cbor::encode(self));
        let checksum = domain::sha256(&bytes);
        bytes.extend(checksum.0.iter().take(4));
        let encoding = base32().ok_or(fmt::Error)?;
        write!(f, "{PREFIX}{}", encoding.encode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            workspace: WorkspaceId([1; 16]),
            inviter: DeviceId([2; 32]),
            addresses: vec!["127.0.0.1:4433".into()],
            secret: Zeroizing::new([3; 16]),
            role: Role::Member,
            expires: UnixMicros(9),
        }
    }

    #[test]
    fn the_text_form_comes_back() {
        let text = ticket().to_string();
        assert_eq!(Ticket::parse(&text).expect("parses"), ticket());
        assert_eq!(
            Ticket::parse(&text.to_uppercase().replacen("SYNCD1", "syncd1", 1)).expect("parses"),
            ticket()
        );
    }

    #[test]
    fn any_mistyped_character_is_noticed() {
        let text = ticket().to_string();
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'a' { b'b' } else { b'a' };
            let other = String::from_utf8(bytes).expect("ascii");
            assert!(Ticket::parse(&other).is_err(), "character {index}");
        }
    }

    #[test]
    fn the_secret_is_not_printed_for_debugging() {
        assert!(!format!("{:?}", ticket()).contains('3'.to_string().repeat(4).as_str()));
    }
}
