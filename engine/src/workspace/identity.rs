//! A device's two keys: Ed25519 to sign and to authenticate links, X25519 to receive workspace keys.
//!
//! They are never derived from one another; the signing key vouches for the other one. Where they are kept is the
//! daemon's business.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use syncd_evidence::DeviceKey;
use syncd_schema::governance::WrappedKey;
use syncd_schema::{DeviceId, Digest, Entropy, WorkspaceId, domain, ports};
use zeroize::Zeroizing;

type Suite = X25519HkdfSha256;

/// The keys of a device.
pub struct Identity {
    key: DeviceKey,
    agreement: <Suite as Kem>::PrivateKey,
    agreement_public: Digest,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.device().short())
    }
}

/// A workspace key could not be wrapped or unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workspace key was not wrapped for this device")]
pub struct WrapError;

impl Identity {
    /// The identity whose keys follow from these 64 secret bytes: 32 for signing, 32 for key agreement.
    #[must_use]
    pub fn from_secret(secret: &Zeroizing<[u8; 64]>) -> Self {
        let (signing, agreement) = secret.split_at(32);
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(signing.try_into().unwrap_or_default());
        // RFC 9180 section 4.1 derives the pair from keying material, so any 32 bytes will do.
        let (agreement, public) = Suite::derive_keypair(agreement);
        let agreement_public = Digest(public.to_bytes().into());
        Self { key: DeviceKey::from_seed(&seed), agreement, agreement_public }
    }

    /// Draws the secret of a new identity.
    pub fn generate(entropy: &mut dyn Entropy) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(ports::random(entropy))
    }

    /// The device's id: its public signing key.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.key.device()
    }

    /// The signing key.
    #[must_use]
    pub const fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// The public key-agreement key.
    #[must_use]
    pub const fn key_agreement(&self) -> Digest {
        self.agreement_public
    }

    /// The signature that vouches for the key-agreement key in a workspace.
    #[must_use]
    pub fn key_signature(&self, workspace: &WorkspaceId) -> [u8; 64] {
        self.key.sign(&syncd_schema::Member::key_statement(workspace, &self.agreement_public))
    }

    /// Unwraps a workspace key that was wrapped for this device.
    ///
    /// # Errors
    /// When it was not, or was altered.
    pub fn unwrap_key(
        &self,
        workspace: &WorkspaceId,
        wrapped: &WrappedKey,
    ) -> Result<Zeroizing<[u8; 32]>, WrapError> {
        let (encapped, sealed) = wrapped.sealed.split_at_checked(32).ok_or(WrapError)?;
        let encapped = <Suite as Kem>::EncappedKey::from_bytes(encapped).map_err(|_| WrapError)?;
        let info = domain::label("key", workspace);
        let aad = wrapped.key_epoch.to_be_bytes();
        let key = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Suite>(
            &OpModeR::Base,
            &self.agreement,
            &encapped,
            info.as_bytes(),
            sealed,
            &aad,
        )
        .map_err(|_| WrapError)?;
        key.try_into().map(Zeroizing::new).map_err(|_| WrapError)
    }
}

/// Wraps a workspace key for a device's key-agreement key.
///
/// # Errors
/// When that key is not a point of the curve.
pub(crate) fn wrap_key(
    workspace: &WorkspaceId,
    recipient: &Digest,
    key_epoch: u32,
    key: &Zeroizing<[u8; 32]>,
    entropy: &mut dyn Entropy,
) -> Result<WrappedKey, WrapError> {
    let recipient = <Suite as Kem>::PublicKey::from_bytes(recipient.as_bytes()).map_err(|_| WrapError)?;
    let info = domain::label("key", workspace);
    let (encapped, sealed) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Suite>(
        &OpModeS::Base,
        &recipient,
        info.as_bytes(),
        key.as_slice(),
        &key_epoch.to_be_bytes(),
        &mut Randomness(entropy),
    )
    .map_err(|_| WrapError)?;
    Ok(WrappedKey { key_epoch, sealed: [encapped.to_bytes().as_slice(), &sealed].concat() })
}

/// Our source of randomness in the clothes HPKE wants.
struct Randomness<'a>(&'a mut dyn Entropy);

impl hpke::rand_core::TryRng for Randomness<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(ports::random(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(ports::random(self.0)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for Randomness<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u64);
    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (self.0 >> 56) as u8;
            }
        }
    }

    #[test]
    fn a_wrapped_key_opens_for_its_device_workspace_and_epoch_only() {
        let mut entropy = Counting(7);
        let ada = Identity::from_secret(&Identity::generate(&mut entropy));
        let bob = Identity::from_secret(&Identity::generate(&mut entropy));
        let (here, there) = (WorkspaceId([1; 16]), WorkspaceId([2; 16]));
        let key = Zeroizing::new([9; 32]);
        let wrapped = wrap_key(&here, &ada.key_agreement(), 3, &key, &mut entropy).expect("wraps");
        assert_eq!(wrapped.sealed.len(), 80);
        assert_eq!(*ada.unwrap_key(&here, &wrapped).expect("unwraps"), [9; 32]);
        assert!(bob.unwrap_key(&here, &wrapped).is_err());
        assert!(ada.unwrap_key(&there, &wrapped).is_err());
        assert!(ada.unwrap_key(&here, &WrappedKey { key_epoch: 4, ..wrapped }).is_err());
    }
}
