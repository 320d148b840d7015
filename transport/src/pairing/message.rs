//! What is said during pairing, and the words in which it is refused.

use minicbor::{Decode, Encode};
use syncd_schema::Digest;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::limits;

/// What a new member is given: its governance chain and keys. As large as any record.
pub const WELCOME_BYTES: usize = limits::RECORD_BYTES;
/// Any message of pairing: a welcome and its frame.
pub const PAIR_MESSAGE_BYTES: usize = 300 << 10;
/// What an inviter reads: it comes from a stranger, and none of its messages is long.
pub const JOINER_MESSAGE_BYTES: usize = 1 << 10;
/// An Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// 32 random bytes, used once.
pub type Nonce = [u8; 32];

/// Everything said on a pairing link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PairMessage {
    /// The joiner holds the ticket, and has chosen its nonce and keys.
    #[n(0)]
    Commit {
        /// The ticket's public name.
        #[n(0)]
        ticket: Digest,
        /// Binds the joiner to what it will open.
        #[n(1)]
        commitment: Digest,
        /// That it knows the ticket's secret.
        #[n(2)]
        proof: Digest,
    },
    /// The inviter's nonce; the ticket is used up.
    #[n(1)]
    Reveal {
        /// The nonce.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: Nonce,
        /// That the inviter knows the ticket's secret.
        #[n(1)]
        proof: Digest,
    },
    /// What the joiner committed to.
    #[n(2)]
    Open {
        /// Its nonce.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: Nonce,
        /// Its name for people.
        #[n(1)]
        name: String,
        /// Its X25519 public key.
        #[n(2)]
        key_agreement: Digest,
        /// Its device key's signature over that.
        #[cbor(n(3), with = "minicbor::bytes")]
        key_signature: Vec<u8>,
    },
    /// The joiner is a member, and this is what it needs.
    #[n(3)]
    Welcome {
        /// For the daemon; opaque here.
        #[cbor(n(0), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// The joiner has stored the welcome.
    #[n(4)]
    Done,
    /// No, and why.
    #[n(5)]
    Refuse(#[n(0)] Refusal),
}

/// Why a pairing is refused. The text says what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Refusal {
    /// The inviter knows no such ticket. Also its answer to a wrong proof: a stranger must not learn which tickets
    /// exist.
    #[n(0)]
    #[error(
        "the inviting device does not know this ticket; run `sourceos-syncd invite` there and use the new one"
    )]
    UnknownTicket,
    /// The ticket's time is over.
    #[n(1)]
    #[error("the ticket has expired; run `sourceos-syncd invite` again, with a longer --ttl if need be")]
    Expired,
    /// The ticket was used before, perhaps by an attempt that failed.
    #[n(2)]
    #[error(
        "the ticket was used before; if that was not you, look at `sourceos-syncd devices` on the inviting device; \
         then run `sourceos-syncd invite` there for a new one"
    )]
    Used,
    /// A proof, commitment or signature does not hold.
    #[n(3)]
    #[error(
        "the other device could not prove that it holds the ticket; somebody may be in between: make a new ticket and pass it on another way"
    )]
    BadProof,
    /// The code typed at the inviter is not the joiner's.
    #[n(4)]
    #[error(
        "the code typed at the inviting device is not the joining device's; if it was no slip, somebody is in between; run `sourceos-syncd invite` again"
    )]
    BadCode,
    /// The inviter may not or will not enrol this device.
    #[n(5)]
    #[error(
        "the inviting device may not enrol this one, or its user declined; ask an owner or admin to invite"
    )]
    NotPermitted,
    /// A message out of turn, or unreadable.
    #[n(6)]
    #[error("the devices do not understand each other; update both to the same version and try a new ticket")]
    Protocol,
    /// The refusing device failed at its own part.
    #[n(7)]
    #[error(
        "the device that ended the pairing had a fault of its own, which its log names; then try a new ticket"
    )]
    Internal,
}

impl PairMessage {
    /// The frame's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a frame's content of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is too large, malformed, not canonical, or a part is beyond its bound.
    pub fn from_bytes(bytes: &[u8], limit: usize) -> Result<Self, CborError> {
        let message: Self = cbor::decode("pairing message", bytes, limit)?;
        let rule = match &message {
            Self::Open { name, .. } if !name_ok(name) => "a device name has at most 64 printable bytes",
            Self::Open { key_signature, .. } if key_signature.len() != SIGNATURE_BYTES => {
                "a signature has 64 bytes"
            }
            Self::Welcome { bytes } if bytes.len() > WELCOME_BYTES => "a welcome has at most 256 KiB",
            Self::Commit { .. }
            | Self::Reveal { .. }
            | Self::Open { .. }
            | Self::Welcome { .. }
            | Self::Done
            | Self::Refuse(_) => return Ok(message),
        };
        Err(CborError::Invalid { what: "pairing message", rule })
    }
}

pub(super) fn name_ok(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str, signature: usize) -> PairMessage {
        PairMessage::Open {
            nonce: [1; 32],
            name: name.into(),
            key_agreement: Digest([2; 32]),
            key_signature: vec![3; signature],
        }
    }

    #[test]
    fn messages_come_back() {
        let digest = Digest([4; 32]);
        let messages = [
            PairMessage::Commit { ticket: digest, commitment: digest, proof: digest },
            PairMessage::Reveal { nonce: [5; 32], proof: digest },
            open(&"n".repeat(64), 64),
            PairMessage::Done,
            PairMessage::Refuse(Refusal::Used),
        ];
        for message in messages {
            let bytes = message.to_bytes();
            assert_eq!(PairMessage::from_bytes(&bytes, JOINER_MESSAGE_BYTES).expect("decodes"), message);
        }
        let welcome = PairMessage::Welcome { bytes: vec![6; WELCOME_BYTES] };
        assert_eq!(
            PairMessage::from_bytes(&welcome.to_bytes(), PAIR_MESSAGE_BYTES).expect("decodes"),
            welcome
        );
    }

    #[test]
    fn parts_are_bounded() {
        let too_much = [
            open(&"n".repeat(65), 64),
            open("a\nb", 64),
            open("a", 63),
            PairMessage::Welcome { bytes: vec![6; WELCOME_BYTES + 1] },
        ];
        for message in too_much {
            assert!(PairMessage::from_bytes(&message.to_bytes(), PAIR_MESSAGE_BYTES).is_err());
        }
        assert!(PairMessage::from_bytes(&[0xff; 9], PAIR_MESSAGE_BYTES).is_err());
    }
}
