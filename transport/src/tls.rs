//! Who is at the other end: TLS 1.3 with raw Ed25519 public keys (RFC 7250), on both sides, checked on both.
//!
//! A device id *is* its public key, so there is no certificate, no name and no date to verify: the key in the
//! handshake is the identity. The dialler knows whom it wants and fails on any other key. The acceptor takes any
//! well-formed key, since membership is judged above. Nothing here knows workspaces.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
};
use std::fmt;
use std::sync::{Arc, OnceLock};
use syncd_schema::DeviceId;
use zeroize::Zeroizing;

/// What precedes the 32 key bytes in the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What precedes the 32 seed bytes in the PKCS #8 form of an Ed25519 key (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// This device's key, and so its name.
#[derive(Clone)]
pub struct Identity {
    device: DeviceId,
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.device.short())
    }
}

/// Why a seed is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the device key cannot be used for TLS; restore the device's key file from its backup")]
pub struct IdentityError(#[from] Error);

impl Identity {
    /// The identity of the Ed25519 key with this seed.
    ///
    /// # Errors
    /// When the TLS library refuses the key.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Result<Self, IdentityError> {
        let device = DeviceId(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes());
        let mut pkcs8 = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + seed.len()));
        pkcs8.extend_from_slice(&PKCS8_PREFIX);
        pkcs8.extend_from_slice(seed.as_slice());
        let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        let certified = Arc::new(CertifiedKey::new(vec![spki(&device)], key));
        Ok(Self { device, certified, provider: Arc::new(provider()) })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    pub(crate) fn server_config(&self, protocols: &[&[u8]]) -> Result<rustls::ServerConfig, Error> {
        let verifier = Arc::new(AnyDevice { algorithms: self.provider.signature_verification_algorithms });
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // No resumption: a full handshake costs half a millisecond, and each one proves the key anew.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    pub(crate) fn client_config(
        &self,
        pin: Arc<Pin>,
        protocol: &[u8],
    ) -> Result<rustls::ClientConfig, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pin)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![protocol.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    pub(crate) fn pin(&self, expected: DeviceId) -> Arc<Pin> {
        let algorithms = self.provider.signature_verification_algorithms;
        Arc::new(Pin { expected, seen: OnceLock::new(), algorithms })
    }
}

/// One key exchange and the three TLS 1.3 suites: nothing to negotiate down to.
fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![ring::kx_group::X25519], ..ring::default_provider() }
}

fn spki(device: &DeviceId) -> CertificateDer<'static> {
    CertificateDer::from([SPKI_PREFIX.as_slice(), device.as_bytes().as_slice()].concat())
}

/// The device of a SubjectPublicKeyInfo, if it is one of ours: Ed25519, on the curve, and not of small order,
/// for which signatures verify that nobody made.
fn device_of(spki: &[u8]) -> Option<DeviceId> {
    let key: [u8; 32] = spki.strip_prefix(SPKI_PREFIX.as_slice())?.try_into().ok()?;
    let point = ed25519_dalek::VerifyingKey::from_bytes(&key).ok()?;
    (!point.is_weak()).then_some(DeviceId(key))
}

/// The key that the peer proved to hold.
pub(crate) fn peer_device(connection: &quinn::Connection) -> Option<DeviceId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    device_of(chain.first()?)
}

fn key_in(end_entity: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<DeviceId, Error> {
    if !more.is_empty() {
        return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    }
    device_of(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn verify(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(key.as_ref()),
        signature,
        algorithms,
    )
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered)
}

/// The dialler's verifier: one key, and a note of another that answered, for the error message.
#[derive(Debug)]
pub(crate) struct Pin {
    expected: DeviceId,
    seen: OnceLock<DeviceId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pin {
    /// The device that answered in place of the expected one.
    pub(crate) fn other(&self) -> Option<DeviceId> {
        self.seen.get().copied().filter(|seen| *seen != self.expected)
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let device = key_in(end_entity, intermediates)?;
        let first = *self.seen.get_or_init(|| device);
        if device != self.expected || first != self.expected {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The acceptor's verifier: whoever proves to hold an Ed25519 key.
#[derive(Debug)]
struct AnyDevice {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_in(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_public_key_of_the_seed() {
        // RFC 8032, section 7.1, test 1: a vector from outside, so that seed and id agree with everybody else's.
        let seed = Zeroizing::new([
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ]);
        let identity = Identity::from_seed(&seed).expect("an identity");
        let expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(identity.device().to_string(), expected);
        let tls_key = identity.certified.key.public_key().expect("a public key");
        assert_eq!(tls_key.as_ref(), spki(&identity.device()).as_ref());
        assert!(!format!("{identity:?}").contains("9d61"));
    }

    #[test]
    fn only_well_formed_keys_are_devices() {
        let device = DeviceId(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes());
        assert_eq!(device_of(&spki(&device)), Some(device));
        let mut longer = spki(&device).to_vec();
        longer.push(0);
        assert_eq!(device_of(&longer), None);
        let mut other_algorithm = spki(&device).to_vec();
        other_algorithm[8] = 0x6e;
        assert_eq!(device_of(&other_algorithm), None);
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert_eq!(device_of(&spki(&DeviceId(identity_point))), None, "a key of small order");
    }
}
