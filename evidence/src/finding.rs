//! Findings: what went wrong or looks wrong, where, and what to do about it.
//!
//! A refusal is an answer to whoever asked; a finding is for whoever looks after the workspace. Every one names a
//! way out, and the same trouble at the same place is one finding with a count, so that a peer that repeats itself
//! cannot fill the store. Raising and closing them is the engine's business. Start with [`Finding`].

use crate::text;
use minicbor::{Decode, Encode};
use serde::Serialize;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::{Digest, UnixMicros, domain, limits};

/// A place: at most a collection, an object and a path, with room for what joins them.
pub const PLACE_BYTES: usize = 2 * limits::ID_BYTES + limits::PATH_BYTES + 64;
/// A finding's text and its next step: a few sentences each, as they stand in `status`.
pub const TEXT_BYTES: usize = 1 << 10;
/// A finding, encoded: the three texts above and a hundred bytes of numbers.
pub const FINDING_BYTES: usize = PLACE_BYTES + 2 * TEXT_BYTES + 256;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A peer sent a payload that is malformed, too large or not what its entry says.
    #[n(0)]
    RefusedPayload,
    /// A device signed two histories of one log: a clone, a forgery or a restored disk that wrote on.
    #[n(1)]
    LogFork,
    /// A log, this device's own included, is shorter than somebody has already seen it.
    #[n(2)]
    Rollback,
    /// A segment does not verify: its signature, its range or its root is wrong.
    #[n(3)]
    BrokenSegment,
    /// The store holds bytes that do not open, decode or hash as they should.
    #[n(4)]
    StoreDamage,
    /// An entry of a kind this version does not know; its object waits for an update.
    #[n(5)]
    UnknownKind,
    /// A device tried to join with a ticket that is wrong, used up or expired.
    #[n(6)]
    PairingRefused,
    /// A device's clock is far from the others': nothing is refused for it, but times mislead.
    #[n(7)]
    ClockSkew,
    /// A limit was reached, and something was not taken in because of it.
    #[n(8)]
    LimitReached,
    /// A log by a device that the governance chain does not name.
    #[n(9)]
    UnknownMember,
    /// Work of this device was dropped from every device, by somebody who may do that.
    #[n(10)]
    WorkDropped,
    /// A member said something that is no part of the protocol, and was not heard any further.
    #[n(11)]
    BrokenProtocol,
    /// Somebody on this machine was not let in: another user, or a program without the token of the name it gave.
    #[n(12)]
    LocalRefusal,
    /// Others on this machine could read a file with a key in it.
    #[n(13)]
    ExposedFile,
    /// Entries of a device build on what it does not have itself, or go back to what it knew to be old.
    #[n(14)]
    Unfounded,
}

impl FindingKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 15] = [
        Self::RefusedPayload,
        Self::LogFork,
        Self::Rollback,
        Self::BrokenSegment,
        Self::StoreDamage,
        Self::UnknownKind,
        Self::PairingRefused,
        Self::ClockSkew,
        Self::LimitReached,
        Self::UnknownMember,
        Self::WorkDropped,
        Self::BrokenProtocol,
        Self::LocalRefusal,
        Self::ExposedFile,
        Self::Unfounded,
    ];

    /// A word for people and filters; also what the id is derived from, so it never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RefusedPayload => "refused_payload",
            Self::LogFork => "log_fork",
            Self::Rollback => "rollback",
            Self::BrokenSegment => "broken_segment",
            Self::StoreDamage => "store_damage",
            Self::UnknownKind => "unknown_kind",
            Self::PairingRefused => "pairing_refused",
            Self::ClockSkew => "clock_skew",
            Self::LimitReached => "limit_reached",
            Self::UnknownMember => "unknown_member",
            Self::WorkDropped => "work_dropped",
            Self::BrokenProtocol => "broken_protocol",
            Self::LocalRefusal => "local_refusal",
            Self::ExposedFile => "exposed_file",
            Self::Unfounded => "unfounded",
        }
    }
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; nothing waits.
    #[n(0)]
    Notice,
    /// Something waits, or will.
    #[n(1)]
    Warning,
    /// Work or trust is at stake.
    #[n(2)]
    Critical,
}

impl Severity {
    /// A word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Trouble of one kind at one place, however often it was met.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(array)]
pub struct Finding {
    /// What kind of trouble.
    #[n(0)]
    pub kind: FindingKind,
    /// Where: a device, a log, an object, a file.
    #[n(1)]
    pub place: String,
    /// How soon somebody should look.
    #[n(2)]
    pub severity: Severity,
    /// What happened, in words.
    #[n(3)]
    pub text: String,
    /// What to do about it: the way out.
    #[n(4)]
    pub next: String,
    /// When it was met first.
    #[n(5)]
    pub first_at: UnixMicros,
    /// When it was met last.
    #[n(6)]
    pub last_at: UnixMicros,
    /// How often it was met.
    #[n(7)]
    pub count: u64,
    /// The digest of what shows it, such as a forked checkpoint that was kept.
    #[n(8)]
    pub evidence: Option<Digest>,
}

impl Finding {
    /// Trouble met once, now. Texts are cut to their limits; text and next step must not be empty.
    #[must_use]
    pub fn new(
        kind: FindingKind,
        place: &str,
        severity: Severity,
        text: &str,
        next: &str,
        at: UnixMicros,
    ) -> Self {
        Self {
            kind,
            place: text::cut(place, PLACE_BYTES),
            severity,
            text: text::cut(text, TEXT_BYTES),
            next: text::cut(next, TEXT_BYTES),
            first_at: at,
            last_at: at,
            count: 1,
            evidence: None,
        }
    }

    /// The same finding, with what shows it.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Digest) -> Self {
        self.evidence = Some(evidence);
        self
    }

    /// Its id, which follows from kind and place alone: the same trouble at the same place is one finding.
    #[must_use]
    pub fn id(&self) -> Digest {
        domain::hash("finding", &[self.kind.word().as_bytes(), self.place.as_bytes()])
    }

    /// Takes another meeting with the same trouble into this one. Returns whether it was the same; if not,
    /// nothing has changed.
    ///
    /// The words, and the evidence if there is any, are those met last; the severity is the highest so far, so
    /// that a finding does not grow quiet before somebody looked.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.kind != other.kind || self.place != other.place {
            return false;
        }
        let newer = other.last_at >= self.last_at;
        if newer {
            self.text.clone_from(&other.text);
            self.next.clone_from(&other.next);
        }
        if other.evidence.is_some() && (newer || self.evidence.is_none()) {
            self.evidence = other.evidence;
        }
        self.severity = self.severity.max(other.severity);
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.count = self.count.saturating_add(other.count);
        true
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads canonical bytes and checks every bound of the format.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding of a finding within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let finding: Self = cbor::decode("finding", bytes, FINDING_BYTES)?;
        finding.check()?;
        Ok(finding)
    }

    /// Checks every bound of the format.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), CborError> {
        let invalid = |rule| Err(CborError::Invalid { what: "finding", rule });
        let text_ok = |text: &str| !text.is_empty() && text.len() <= TEXT_BYTES;
        if self.place.len() > PLACE_BYTES {
            return invalid("place too long");
        }
        if !text_ok(&self.text) || !text_ok(&self.next) {
            return invalid("text and next step have 1 to 1,024 bytes");
        }
        if self.count == 0 || self.first_at > self.last_at {
            return invalid("a finding was met at least once, and first before last");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(at: u64) -> Finding {
        let at = UnixMicros(at);
        Finding::new(FindingKind::LogFork, "aabb/0", Severity::Warning, "two histories", "pair again", at)
    }

    #[test]
    fn findings_of_every_kind_come_back() {
        for kind in FindingKind::ALL {
            for severity in [Severity::Notice, Severity::Warning, Severity::Critical] {
                let plain = Finding { kind, severity, ..finding(5) };
                let shown = plain.clone().with_evidence(Digest([1; 32]));
                for original in [plain, shown] {
                    assert_eq!(Finding::from_bytes(&original.to_bytes()).expect("decodes"), original);
                }
            }
        }
    }

    #[test]
    fn words_are_the_same_for_people_and_in_json() {
        for kind in FindingKind::ALL {
            assert_eq!(text::serde_word(&kind), kind.word());
        }
        for severity in [Severity::Notice, Severity::Warning, Severity::Critical] {
            assert_eq!(text::serde_word(&severity), severity.word());
        }
    }

    #[test]
    fn the_id_follows_from_kind_and_place_alone() {
        let first = finding(5);
        assert_eq!(first.id(), Finding { text: "other".into(), ..finding(9) }.id());
        assert_ne!(first.id(), Finding { kind: FindingKind::Rollback, ..finding(5) }.id());
        assert_ne!(first.id(), Finding { place: "aabb/1".into(), ..finding(5) }.id());
        // Kept in stores and named by people: a change of the derivation must be noticed.
        let known = "2e1ee6dd89d00c9ba59ddc78ad86fc0a5f75125c784a2ada7034cfc5d5d8913b";
        assert_eq!(first.id().to_string(), known);
    }

    #[test]
    fn repeats_are_one_finding_with_a_count() {
        let mut whole = finding(5).with_evidence(Digest([1; 32]));
        let later = Finding { text: "again".into(), severity: Severity::Notice, ..finding(9) };
        let earlier = finding(2).with_evidence(Digest([2; 32]));
        assert!(whole.merge(&later));
        assert_eq!(whole.severity, Severity::Warning, "it does not grow quiet");
        assert!(whole.merge(&earlier));
        assert_eq!((whole.first_at, whole.last_at, whole.count), (UnixMicros(2), UnixMicros(9), 3));
        assert_eq!(whole.text, "again");
        assert_eq!(whole.evidence, Some(Digest([1; 32])));
        assert!(whole.check().is_ok());

        let before = whole.clone();
        assert!(!whole.merge(&Finding { place: "elsewhere".into(), ..finding(10) }));
        assert!(!whole.merge(&Finding { kind: FindingKind::Rollback, ..finding(10) }));
        assert_eq!(whole, before);
        let mut full = Finding { count: u64::MAX, ..finding(1) };
        assert!(full.merge(&finding(2)));
        assert_eq!(full.count, u64::MAX);
    }

    #[test]
    fn long_texts_are_cut_and_the_largest_finding_fits() {
        let long = "ä".repeat(4_000);
        let at = UnixMicros(u64::MAX);
        let largest = Finding::new(FindingKind::StoreDamage, &long, Severity::Critical, &long, &long, at);
        let largest = Finding { count: u64::MAX, ..largest.with_evidence(Digest([1; 32])) };
        assert_eq!(Finding::from_bytes(&largest.to_bytes()).expect("fits"), largest);
    }

    #[test]
    fn findings_that_break_a_rule_are_refused() {
        let broken = [
            Finding { next: String::new(), ..finding(5) },
            Finding { text: String::new(), ..finding(5) },
            Finding { text: "x".repeat(TEXT_BYTES + 1), ..finding(5) },
            Finding { place: "x".repeat(PLACE_BYTES + 1), ..finding(5) },
            Finding { count: 0, ..finding(5) },
            Finding { last_at: UnixMicros(4), ..finding(5) },
        ];
        for finding in broken {
            assert!(matches!(Finding::from_bytes(&finding.to_bytes()), Err(CborError::Invalid { .. })));
        }
    }
}
