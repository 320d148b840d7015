//! Authenticated encryption of values at rest and of segments on their way.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with random 192-bit nonces: a counter would repeat on a copied
//! store. The associated data binds a value to its table and key, so that values cannot be swapped.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use syncd_schema::{Entropy, ports};
use zeroize::Zeroizing;

const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes a seal adds.
pub const OVERHEAD: usize = NONCE + TAG;

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
        let nonce: [u8; NONCE] = ports::random(entropy);
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(NONCE);
        // The cipher fails only beyond 256 GiB, which no value reaches; what is empty does not open.
        let tag = self.cipher(&nonce).and_then(|(cipher, nonce)| {
            cipher.seal_in_place_separate_tag(nonce, Aad::from(associated), text).ok()
        });
        match tag {
            Some(tag) => sealed.extend_from_slice(tag.as_ref()),
            None => sealed.clear(),
        }
        sealed
    }

    /// Opens what [`SealKey::seal`] made with the same associated data.
    ///
    /// # Errors
    /// When key, place or bytes differ.
    pub fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(OpenError)?;
        let (cipher, nonce) = self.cipher(nonce).ok_or(OpenError)?;
        let mut text = text.to_vec();
        let plain = cipher.open_in_place(nonce, Aad::from(associated), &mut text).map_err(|_| OpenError)?;
        let length = plain.len();
        text.truncate(length);
        Ok(text)
    }

    /// The cipher of one long nonce: its first part makes a key, its last is the nonce under that.
    fn cipher(&self, nonce: &[u8; NONCE]) -> Option<(LessSafeKey, Nonce)> {
        let (first, last) = nonce.split_first_chunk::<16>()?;
        let key = Zeroizing::new(<[u8; 32]>::from(hchacha::<R20>(&(*self.0).into(), &(*first).into())));
        let mut short = [0; 12];
        short.iter_mut().skip(4).zip(last).for_each(|(to, from)| *to = *from);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).ok()?;
        Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(short)))
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
