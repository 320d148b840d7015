//! Checkpoints: a device's signature over the size and root of one of its logs.
//!
//! Stored and sent in a compact form, 100 bytes; signed as the text of a C2SP tlog-checkpoint in a C2SP signed
//! note, so that any verifier of that format checks them. The text is a function of origin, size and root, so
//! that the compact form loses nothing and no text is parsed where segments arrive. The line that names the log
//! (its origin) is given by the caller and never taken from the checkpoint: a checkpoint of one log can then
//! not stand in for another's.
//!
//! Formats: <https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>. Start with [`Checkpoint`].

use crate::keys::{self, DeviceKey, SignatureError};
use minicbor::{Decode, Encode};
use signed_note::{Note, Signature, Verifier, VerifierList};
use syncd_schema::{DeviceId, Digest, LogSeq, limits};

/// The note's type byte for Ed25519 over the text itself.
const ALGORITHM_ED25519: u8 = 0x01;

/// What a device signed about one of its logs, not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Checkpoint {
    /// How many leaves the log has.
    #[n(0)]
    pub size: LogSeq,
    /// The root of the tree over them.
    #[n(1)]
    pub root: Digest,
    /// The device's Ed25519 signature over the note's text.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Why a checkpoint was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The origin cannot be a line of a checkpoint, so nothing signed for it means one thing only.
    #[error("{origin:?} cannot be the origin of a checkpoint")]
    Origin {
        /// The origin given.
        origin: String,
    },
    /// The signature is not this device's over this log, size and root.
    #[error("checkpoint of {origin} at size {size}")]
    Signature {
        /// The log.
        origin: String,
        /// The size claimed.
        size: LogSeq,
        /// What is wrong with it.
        #[source]
        source: SignatureError,
    },
}

/// Why a text is not a checkpoint of this log by this device.
#[derive(Debug, thiserror::Error)]
pub enum ReadNoteError {
    /// Larger than any note this product writes.
    #[error("a note of {found} bytes, the limit is {}", limits::NOTE_BYTES)]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not a signed note, or without a valid signature of this device.
    #[error("not a note signed by device {device}")]
    Note {
        /// Whose signature was asked for.
        device: DeviceId,
        /// What the library said.
        #[source]
        source: signed_note::NoteError,
    },
    /// The signed text is not origin, size and root.
    #[error(
        "the note's text is not a checkpoint of this product: it must be origin, size and root, one a line"
    )]
    Text,
    /// A checkpoint of another log.
    #[error("a checkpoint of {found:?}, not of {origin:?}")]
    OtherLog {
        /// The log asked for.
        origin: String,
        /// The log it is about.
        found: String,
    },
    /// The origin asked for cannot be one.
    #[error("the note cannot be verified")]
    Checkpoint {
        /// Why.
        #[source]
        source: CheckpointError,
    },
}

/// A checkpoint whose signature was verified for one log and one device. There is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    device: DeviceId,
    origin: String,
}

impl Checkpoint {
    /// Signs the size and root of the log with this origin.
    ///
    /// With an origin that cannot be a line of a checkpoint the result verifies nowhere.
    #[must_use]
    pub fn sign(origin: &str, size: LogSeq, root: Digest, key: &DeviceKey) -> Self {
        Self { size, root, signature: key.sign(text(origin, size, root).as_bytes()) }
    }

    /// Checks that this device signed this size and root for the log with this origin.
    ///
    /// # Errors
    /// When it did not, or the origin cannot be one.
    pub fn verify(&self, origin: &str, device: &DeviceId) -> Result<VerifiedCheckpoint, CheckpointError> {
        if !is_origin(origin) {
            return Err(CheckpointError::Origin { origin: origin.to_owned() });
        }
        let text = text(origin, self.size, self.root);
        keys::verify(device, text.as_bytes(), &self.signature).map_err(|source| {
            CheckpointError::Signature { origin: origin.to_owned(), size: self.size, source }
        })?;
        Ok(VerifiedCheckpoint { checkpoint: *self, device: *device, origin: origin.to_owned() })
    }

    /// The C2SP signed note, as text.
    #[must_use]
    pub fn to_note(&self, origin: &str, device: &DeviceId) -> String {
        let line = Signature::new(key_name(device), key_id(device), self.signature.to_vec());
        // The library refuses names with blanks or plus signs only, and a device's name never has one.
        let line = line.map(|line| line.to_bytes()).unwrap_or_default();
        format!("{}\n{}", text(origin, self.size, self.root), String::from_utf8_lossy(&line))
    }

    /// Reads and verifies a C2SP signed note. Signatures of others (cosigners) are allowed and ignored;
    /// extension lines are not, since the compact form could not carry them.
    ///
    /// # Errors
    /// When the text is not a note, not a checkpoint of this log, or not signed by this device.
    pub fn from_note(
        note: &str,
        origin: &str,
        device: &DeviceId,
    ) -> Result<VerifiedCheckpoint, ReadNoteError> {
        if note.len() > limits::NOTE_BYTES {
            return Err(ReadNoteError::TooLarge { found: note.len() });
        }
        let unsigned = |source| ReadNoteError::Note { device: *device, source };
        let note = Note::from_bytes(note.as_bytes()).map_err(unsigned)?;
        let known =
            VerifierList::new(vec![Box::new(DeviceVerifier { name: key_name(device), device: *device })]);
        let (verified, _) = note.verify(&known).map_err(unsigned)?;
        let signature = verified.first().and_then(|signature| signature.signature().try_into().ok());
        let signature: [u8; 64] = signature.ok_or(unsigned(signed_note::NoteError::UnverifiedNote))?;

        let body = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|_| ReadNoteError::Text)?;
        if body.origin() != origin {
            let (origin, found) = (origin.to_owned(), body.origin().to_owned());
            return Err(ReadNoteError::OtherLog { origin, found });
        }
        let (size, root) = (LogSeq(body.size()), Digest(body.hash().0));
        if text(origin, size, root).as_bytes() != note.text() {
            return Err(ReadNoteError::Text);
        }
        // The signature is checked once more over the compact form: only `verify` makes a VerifiedCheckpoint,
        // and people read notes too rarely for the second check to matter.
        Self { size, root, signature }
            .verify(origin, device)
            .map_err(|source| ReadNoteError::Checkpoint { source })
    }
}

impl VerifiedCheckpoint {
    /// How many leaves the log has.
    #[must_use]
    pub const fn size(&self) -> LogSeq {
        self.checkpoint.size
    }

    /// The root of the tree over them.
    #[must_use]
    pub const fn root(&self) -> Digest {
        self.checkpoint.root
    }

    /// The device that signed it.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The log it is about.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The compact form, for storing and sending.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The C2SP signed note, as text.
    #[must_use]
    pub fn to_note(&self) -> String {
        self.checkpoint.to_note(&self.origin, &self.device)
    }
}

/// The verifier key of a device in C2SP form, `<name>+<key id>+<key>`, to give to other verifiers of notes.
///
/// # Errors
/// When the device id is not an Ed25519 public key.
pub fn verifier_key(device: &DeviceId) -> Result<String, SignatureError> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(device.as_bytes())
        .map_err(|source| SignatureError::NotAKey { device: *device, source })?;
    Ok(signed_note::new_ed25519_verifier_key(&key_name(device), &key))
}

/// The name under which a device signs notes.
fn key_name(device: &DeviceId) -> String {
    format!("sourceos-syncd/{device}")
}

fn key_id(device: &DeviceId) -> u32 {
    let mut key = vec![ALGORITHM_ED25519];
    key.extend_from_slice(device.as_bytes());
    signed_note::key_id(&key_name(device), &key)
}

/// What is signed: the three lines of a tlog-checkpoint. `Hash` prints as base64.
fn text(origin: &str, size: LogSeq, root: Digest) -> String {
    format!("{origin}\n{size}\n{}\n", tlog_tiles::Hash(root.0))
}

/// Whether an origin is one line that every reader of notes reads alike. A stricter rule than C2SP's, which
/// only advises against blanks and plus signs.
fn is_origin(origin: &str) -> bool {
    signed_note::is_key_name_valid(origin) && !origin.chars().any(char::is_control)
}

/// Checks signatures for `signed_note` by this crate's strict rule.
struct DeviceVerifier {
    name: String,
    device: DeviceId,
}

impl Verifier for DeviceVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        key_id(&self.device)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.try_into().is_ok_and(|signature| keys::verify(&self.device, message, signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signed_note::StandardVerifier;
    use syncd_schema::cbor;

    const ORIGIN: &str = "sourceos-syncd/1/log/0011/2233/0";

    fn key() -> DeviceKey {
        DeviceKey::from_seed(&[3; 32])
    }

    fn signed() -> Checkpoint {
        Checkpoint::sign(ORIGIN, LogSeq(1_234), Digest([0xab; 32]), &key())
    }

    #[test]
    fn a_checkpoint_holds_for_its_log_device_size_and_root_only() {
        let (checkpoint, device) = (signed(), key().device());
        let verified = checkpoint.verify(ORIGIN, &device).expect("own checkpoint");
        assert_eq!((verified.size(), verified.root()), (LogSeq(1_234), Digest([0xab; 32])));
        assert_eq!((verified.device(), verified.origin()), (device, ORIGIN));
        assert_eq!(verified.checkpoint(), &checkpoint);

        let other_device = DeviceKey::from_seed(&[4; 32]).device();
        let larger = Checkpoint { size: LogSeq(1_235), ..checkpoint };
        let other_root = Checkpoint { root: Digest([0xac; 32]), ..checkpoint };
        assert!(checkpoint.verify("sourceos-syncd/1/log/0011/2233/1", &device).is_err());
        assert!(checkpoint.verify(ORIGIN, &other_device).is_err());
        assert!(larger.verify(ORIGIN, &device).is_err());
        assert!(other_root.verify(ORIGIN, &device).is_err());
    }

    #[test]
    fn origins_that_are_not_one_line_verify_nowhere() {
        for origin in ["", "two\nlines", "a b", "a+b", "tab\t", "nul\0"] {
            let checkpoint = Checkpoint::sign(origin, LogSeq(1), Digest([1; 32]), &key());
            let answer = checkpoint.verify(origin, &key().device());
            assert!(matches!(answer, Err(CheckpointError::Origin { .. })), "{origin:?}");
        }
    }

    #[test]
    fn the_compact_form_is_small_and_comes_back() {
        let bytes = cbor::encode(&signed());
        assert_eq!(bytes.len(), 104, "array, size in 3, root in 34, signature in 66 bytes");
        assert_eq!(cbor::decode::<Checkpoint>("checkpoint", &bytes, 128).expect("decodes"), signed());
        assert!(cbor::decode::<Checkpoint>("checkpoint", &bytes[..103], 128).is_err());
    }

    #[test]
    fn other_implementations_verify_our_notes() {
        let device = key().device();
        let note = Note::from_bytes(signed().to_note(ORIGIN, &device).as_bytes()).expect("a note");
        let standard = StandardVerifier::new(&verifier_key(&device).expect("a key")).expect("a verifier");
        let (verified, others) = note.verify(&VerifierList::new(vec![Box::new(standard)])).expect("verifies");
        assert_eq!((verified.len(), others.len()), (1, 0));
        assert_eq!(verified[0].name(), format!("sourceos-syncd/{device}"));

        let body = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("a checkpoint");
        assert_eq!((body.origin(), body.size(), body.extension()), (ORIGIN, 1_234, ""));
        assert_eq!(body.hash().0, [0xab; 32]);
        assert_eq!(body.to_bytes(), note.text());
    }

    #[test]
    fn a_note_comes_back_whoever_else_signed_it() {
        let device = key().device();
        let note = signed().to_note(ORIGIN, &device);
        let verified = Checkpoint::from_note(&note, ORIGIN, &device).expect("own note");
        assert_eq!(verified.checkpoint(), &signed());
        assert_eq!(verified.to_note(), note);

        let witness = DeviceKey::from_seed(&[5; 32]);
        let theirs = Checkpoint::sign(ORIGIN, LogSeq(1_234), Digest([0xab; 32]), &witness);
        let line = theirs.to_note(ORIGIN, &witness.device()).lines().last().expect("a line").to_owned();
        let cosigned = format!("{note}{line}\n");
        assert_eq!(Checkpoint::from_note(&cosigned, ORIGIN, &device).expect("cosigned"), verified);
        let by_witness = Checkpoint::from_note(&cosigned, ORIGIN, &witness.device()).expect("cosigned");
        assert_eq!(by_witness.device(), witness.device());
    }

    #[test]
    fn notes_of_others_of_other_logs_and_with_extensions_are_refused() {
        let device = key().device();
        let note = signed().to_note(ORIGIN, &device);
        let stranger = DeviceKey::from_seed(&[6; 32]).device();
        assert!(matches!(Checkpoint::from_note(&note, ORIGIN, &stranger), Err(ReadNoteError::Note { .. })));
        assert!(matches!(
            Checkpoint::from_note(&note, "other", &device),
            Err(ReadNoteError::OtherLog { .. })
        ));
        let long = format!("{}{note}", "x".repeat(limits::NOTE_BYTES));
        assert!(matches!(Checkpoint::from_note(&long, ORIGIN, &device), Err(ReadNoteError::TooLarge { .. })));

        let extended = format!("{}extension\n", text(ORIGIN, LogSeq(1), Digest([1; 32])));
        let signature = key().sign(extended.as_bytes()).to_vec();
        let line = Signature::new(key_name(&device), key_id(&device), signature).expect("a line").to_bytes();
        let note = format!("{extended}\n{}", String::from_utf8(line).expect("text"));
        assert!(matches!(Checkpoint::from_note(&note, ORIGIN, &device), Err(ReadNoteError::Text)));
    }
}
