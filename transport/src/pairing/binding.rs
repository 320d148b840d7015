//! The arithmetic of pairing: proofs, commitment and code, all over one transcript of who talks to whom on which
//! TLS session. Pure; used alike by both sides, so that they cannot differ.

use super::message::Nonce;
use crate::close::LinkError;
use crate::link::{Link, Purpose};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use syncd_schema::{DeviceId, Digest, WorkspaceId, domain};
use zeroize::Zeroizing;

/// The label under which the TLS session is asked for its bytes.
const EXPORTER_LABEL: &[u8] = b"sourceos-syncd/1/pair";
/// Crockford's base 32: without I, L, O and U, which are read as something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code: 40 bits, and one guess.
const CODE_CHARS: usize = 8;

/// The TLS session a pairing runs over, as one side sees it. Printing it shows nothing that only its ends know.
#[derive(Clone)]
pub struct Channel {
    /// Bytes that only the two ends of the session can derive.
    pub exporter: [u8; 32],
    /// The device that dialled.
    pub joiner: DeviceId,
    /// The device that accepted.
    pub inviter: DeviceId,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel(joiner {}, inviter {})", self.joiner.short(), self.inviter.short())
    }
}

impl Channel {
    /// The channel of a link, with this device at its own end.
    ///
    /// # Errors
    /// When the link is not for pairing, or is over.
    pub fn of(link: &Link, this: DeviceId) -> Result<Self, LinkError> {
        if link.purpose() != Purpose::Pair {
            return Err(LinkError::Purpose);
        }
        let exporter = link.exporter(EXPORTER_LABEL).ok_or(LinkError::ClosedHere)?;
        let (joiner, inviter) = if link.is_dialled() { (this, link.peer()) } else { (link.peer(), this) };
        Ok(Self { exporter, joiner, inviter })
    }

    /// What the joiner is bound to before it sees the inviter's nonce.
    pub(super) fn commitment(
        &self,
        nonce: &Nonce,
        name: &str,
        key_agreement: &Digest,
        key_signature: &[u8],
    ) -> Digest {
        domain::hash(
            "pair-commitment",
            &[
                &self.exporter,
                self.joiner.as_bytes(),
                self.inviter.as_bytes(),
                nonce,
                name.as_bytes(),
                key_agreement.as_bytes(),
                key_signature,
            ],
        )
    }

    /// The joiner's proof of the secret.
    pub(super) fn joiner_proof(&self, secret: &Secret, commitment: &Digest) -> Digest {
        self.proof(secret, b"joiner", &[commitment.as_bytes()])
    }

    /// The inviter's proof of the secret: about the same commitment, and about its own nonce.
    pub(super) fn inviter_proof(&self, secret: &Secret, commitment: &Digest, nonce: &Nonce) -> Digest {
        self.proof(secret, b"inviter", &[commitment.as_bytes(), nonce])
    }

    fn proof(&self, secret: &Secret, role: &[u8], rest: &[&[u8]]) -> Digest {
        let label = domain::label("pair-proof", &secret.workspace);
        let fixed: [&[u8]; 5] =
            [label.as_bytes(), &self.exporter, role, self.joiner.as_bytes(), self.inviter.as_bytes()];
        // HMAC takes keys of every length: the error is of other MACs in the same trait.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.bytes.as_slice()) else {
            debug_assert!(false, "HMAC takes keys of every length");
            return Digest([0; 32]);
        };
        for part in fixed.into_iter().chain(rest.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Digest(mac.finalize().into_bytes().into())
    }

    /// The code both sides show: equal only if both ends are of one session, with these devices and nonces.
    pub(super) fn code(&self, joiner_nonce: &Nonce, inviter_nonce: &Nonce) -> Code {
        let hash = domain::hash(
            "pair-code",
            &[joiner_nonce, inviter_nonce, &self.exporter, self.joiner.as_bytes(), self.inviter.as_bytes()],
        );
        Code::from_hash(&hash)
    }
}

/// A ticket's secret, with the workspace it opens.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) workspace: WorkspaceId,
    pub(super) bytes: Zeroizing<[u8; 16]>,
}

/// Whether two proofs are equal, in a time that does not tell how far they are.
pub(super) fn equal(a: &Digest, b: &Digest) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// What both sides show: eight characters that people compare, or carry from one device to the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code([u8; CODE_CHARS]);

/// Why a text is not a code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has 8 letters and digits, as the joining device shows them")]
pub struct ParseCodeError;

impl Code {
    fn from_hash(hash: &Digest) -> Self {
        let [a, b, c, d, e, ..] = hash.0;
        let bits = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        let mut chars = [0; CODE_CHARS];
        for (place, char) in chars.iter_mut().rev().enumerate() {
            let value = (bits >> (5 * place)) & 31;
            *char = ALPHABET.get(value as usize).copied().unwrap_or_default();
        }
        Self(chars)
    }

    /// Whether a text that somebody typed is this code; spaces, hyphens, case, and the letters that Crockford's
    /// alphabet reads as digits do not matter.
    #[must_use]
    pub fn matches(&self, typed: &str) -> bool {
        typed.parse().is_ok_and(|typed: Self| self.0.ct_eq(&typed.0).into())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

impl FromStr for Code {
    type Err = ParseCodeError;
    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let mut chars = Vec::with_capacity(CODE_CHARS);
        for char in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let byte = match char.to_ascii_uppercase() {
                'O' => b'0',
                'I' | 'L' => b'1',
                other => u8::try_from(other).map_err(|_| ParseCodeError)?,
            };
            if !ALPHABET.contains(&byte) || chars.len() == CODE_CHARS {
                return Err(ParseCodeError);
            }
            chars.push(byte);
        }
        chars.try_into().map(Self).map_err(|_| ParseCodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel { exporter: [1; 32], joiner: DeviceId([2; 32]), inviter: DeviceId([3; 32]) }
    }

    fn secret(byte: u8) -> Secret {
        Secret { workspace: WorkspaceId([4; 16]), bytes: Zeroizing::new([byte; 16]) }
    }

    #[test]
    fn a_proof_depends_on_everything_it_binds() {
        let commitment = Digest([6; 32]);
        let proof = channel().joiner_proof(&secret(5), &commitment);
        let others = [
            channel().joiner_proof(&secret(9), &commitment),
            channel().joiner_proof(&Secret { workspace: WorkspaceId([9; 16]), ..secret(5) }, &commitment),
            channel().joiner_proof(&secret(5), &Digest([9; 32])),
            Channel { exporter: [9; 32], ..channel() }.joiner_proof(&secret(5), &commitment),
            Channel { joiner: DeviceId([9; 32]), ..channel() }.joiner_proof(&secret(5), &commitment),
            Channel { inviter: DeviceId([9; 32]), ..channel() }.joiner_proof(&secret(5), &commitment),
            channel().inviter_proof(&secret(5), &commitment, &[0; 32]),
        ];
        for (index, other) in others.iter().enumerate() {
            assert!(!equal(&proof, other), "variation {index}");
        }
        assert!(equal(&proof, &channel().joiner_proof(&secret(5), &commitment)));
    }

    #[test]
    fn codes_are_eight_clear_characters_and_read_kindly() {
        let code = Code::from_hash(&Digest([0b0000_1000; 32]));
        // The bits of 08 08 08 08 08 in fives: 1 0 4 0 16 2 0 8.
        assert_eq!(code.to_string(), "1040G208");
        for typed in ["1040G208", "1040-g208", "1040 G208", "i040G208", "LO4oG208", " 1040G208\n"] {
            assert!(code.matches(typed), "{typed}");
        }
        for typed in ["", "1040G20", "1040G2080", "1040G209", "1040G20U", "1040G20€"] {
            assert!(!code.matches(typed), "{typed}");
        }
        let all = Code::from_hash(&Digest([0xff; 32]));
        assert_eq!(all.to_string(), "ZZZZZZZZ");
        assert!(all.matches("zzzzzzzz"));
    }
}
