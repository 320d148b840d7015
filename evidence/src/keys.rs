//! A device's Ed25519 key: it signs checkpoints and statements, and the same key authenticates TLS.
//!
//! The seed is handed in and never drawn here. What a message means is not known here either: callers put a
//! purpose in front of what they sign (`syncd_schema::domain`), so that no signature is valid for two things.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use syncd_schema::DeviceId;
use zeroize::Zeroizing;

/// A device's private key. Wiped from memory when dropped; shared by reference, never cloned.
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// The key that follows from a 32-byte seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The device this key belongs to: its public half.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// The seed, for storing the key sealed and for TLS. Wiped when dropped.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Signs a message. The same message always gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the public half: keys must not reach logs through a derived Debug of what holds them.
        f.debug_tuple("DeviceKey").field(&self.device()).finish()
    }
}

/// Why a signature was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The device id is not a public key, so nothing can be signed by it.
    #[error("device {device} is not an Ed25519 public key")]
    NotAKey {
        /// The device named.
        device: DeviceId,
        /// What the curve library said.
        #[source]
        source: ed25519_dalek::SignatureError,
    },
    /// The signature is not this device's over this message.
    #[error("not a signature of device {device} over this message")]
    Mismatch {
        /// The device named.
        device: DeviceId,
        /// What the curve library said.
        #[source]
        source: ed25519_dalek::SignatureError,
    },
}

/// Checks that a device signed a message.
///
/// Strict: weak keys and signatures that other verifiers might judge differently are refused, because two
/// devices that disagree about one signature would admit different entries.
///
/// # Errors
/// When the device id is no key, or the signature is not this device's over this message.
pub fn verify(device: &DeviceId, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(device.as_bytes())
        .map_err(|source| SignatureError::NotAKey { device: *device, source })?;
    key.verify_strict(message, &Signature::from_bytes(signature))
        .map_err(|source| SignatureError::Mismatch { device: *device, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn key() -> DeviceKey {
        DeviceKey::from_seed(&hex::decode(SEED).expect("hex").try_into().expect("32 bytes"))
    }

    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        let key = key();
        assert_eq!(key.device().to_string(), PUBLIC);
        assert_eq!(hex::encode(key.sign(&[0x72])), SIGNATURE);
        assert_eq!(hex::encode(*key.seed()), SEED);
    }

    #[test]
    fn a_signature_holds_for_its_device_and_message_only() {
        let (key, other) = (key(), DeviceKey::from_seed(&[9; 32]));
        let signature = key.sign(b"message");
        assert!(verify(&key.device(), b"message", &signature).is_ok());
        assert!(verify(&key.device(), b"massage", &signature).is_err());
        assert!(verify(&other.device(), b"message", &signature).is_err());
        for bit in 0..512 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&key.device(), b"message", &altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn weak_and_impossible_keys_are_refused() {
        // The identity point with R = identity and s = 0: a verifier that is not strict accepts any message.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let answer = verify(&DeviceId(identity), b"anything", &signature);
        assert!(matches!(answer, Err(SignatureError::Mismatch { .. })));
        let no_point = (0..=255).map(|b| DeviceId([b; 32])).find(|d| VerifyingKey::from_bytes(&d.0).is_err());
        let answer = verify(&no_point.expect("half of all strings"), b"anything", &signature);
        assert!(matches!(answer, Err(SignatureError::NotAKey { .. })));
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let shown = format!("{:?}", key());
        assert_eq!(shown, "DeviceKey(DeviceId(3d4017c3))");
        assert!(!shown.contains(&SEED[..8]));
    }
}
