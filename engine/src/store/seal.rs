//! Authenticated encryption of values at rest and of segments on their way.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with random 192-bit nonces: a counter would repeat on a copied
//! store. The associated data binds a value to its table and key, so that values cannot be swapped.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use syncd_schema::{Entropy, ports};
use zeroize::Zeroizing;

/// Bytes a seal adds: nonce and tag.
pub const OVERHEAD: usize = 24 + 16;

/// A 256-bit key ready for sealing. Zeroised when dropped; printing shows nothing of it.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

/// The bytes were not sealed with this key for this place, or were altered since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open: wrong key, wrong place, or altered")]
pub struct OpenError;

impl SealKey {
    /// Draws a new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self(Zeroizing::new(ports::random(entropy)))
    }

    /// A key kept elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The key itself, for wrapping and for the key file.
    #[must_use]
    pub const fn expose(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// Seals `plain`: nonce, then ciphertext and tag.
    pub fn seal(&self, plain: &[u8], associated: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let nonce: [u8; 24] = ports::random(entropy);
        let cipher = XChaCha20Poly1305::new(&Key::from(*self.0));
        let payload = Payload { msg: plain, aad: associated };
        // The cipher fails only beyond 256 GiB, which no value reaches; an empty ciphertext would not open.
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`SealKey::seal`] made with the same associated data.
    ///
    /// # Errors
    /// When key, place or bytes differ.
    pub fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<24>().ok_or(OpenError)?;
        let cipher = XChaCha20Poly1305::new(&Key::from(*self.0));
        let payload = Payload { msg: ciphertext, aad: associated };
        cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| OpenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);
    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    #[test]
    fn a_value_opens_only_in_its_place_and_unaltered() {
        let mut entropy = Counting(0);
        let key = SealKey::generate(&mut entropy);
        let sealed = key.seal(b"value", b"table/key", &mut entropy);
        assert_eq!(key.open(&sealed, b"table/key").expect("opens"), b"value");
        assert_eq!(key.open(&sealed, b"table/other"), Err(OpenError));
        assert_eq!(SealKey::generate(&mut entropy).open(&sealed, b"table/key"), Err(OpenError));
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(key.open(&altered, b"table/key"), Err(OpenError));
        }
        assert_ne!(key.seal(b"value", b"table/key", &mut entropy), sealed, "nonces do not repeat");
    }
}
