//! What was decided and why, in a form that is stored once, compared by its digest and explained to people.
//!
//! A decision names nothing that differs between equal questions — no operation, no time, no exact size where
//! only a range mattered — so that a thousand entries of one kind share one record.

use minicbor::{Decode, Encode};
use std::collections::BTreeMap;
use std::fmt;
use syncd_schema::Digest;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::domain;

/// The largest encoded decision that is read back: hundreds of policies with their texts.
pub const DECISION_BYTES: usize = 256 << 10;

/// What a decision comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// It may happen.
    #[n(0)]
    Allow,
    /// It may not.
    #[n(1)]
    Refuse,
    /// It may happen once somebody has looked: it becomes a card.
    #[n(2)]
    Review,
}

impl Verdict {
    /// The word used in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::Review => "review",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Decision {
    /// What it comes to.
    #[n(0)]
    pub verdict: Verdict,
    /// The policies that decided, sorted: those that permit when allowed, else those that forbid. Empty when
    /// nothing forbids and something is missing; then `reasons` says what.
    #[n(1)]
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, with Cedar's account, sorted.
    #[n(2)]
    pub errors: Vec<String>,
    /// The bundles, and for a local change the device's policy, that were asked.
    #[n(3)]
    pub policy_version: Digest,
    /// What the policies could see of the change. Ids and sizes that no policy tells apart are given as such.
    #[n(4)]
    pub inputs: BTreeMap<String, String>,
    /// Why, for people, sorted.
    #[n(5)]
    pub reasons: Vec<String>,
    /// What would change it, for people, sorted.
    #[n(6)]
    pub advice: Vec<String>,
}

impl Decision {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a stored decision.
    ///
    /// # Errors
    /// When the bytes are too many, malformed or not canonical, or its lists are not sorted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let decision: Self = cbor::decode("decision", bytes, DECISION_BYTES)?;
        let lists = [&decision.policies, &decision.errors, &decision.reasons, &decision.advice];
        if lists.iter().all(|list| list.is_sorted()) {
            Ok(decision)
        } else {
            Err(CborError::Invalid { what: "decision", rule: "its lists are sorted" })
        }
    }

    /// The name of the decision: the hash of its canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        domain::hash("decision", &[&self.to_bytes()])
    }

    /// The decision for people: what, by which policies, why, and what would change it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = String::from(match self.verdict {
            Verdict::Allow => "Allowed",
            Verdict::Refuse => "Refused",
            Verdict::Review => "Waits for a decision",
        });
        if !self.policies.is_empty() {
            words.push_str(if self.verdict == Verdict::Review { " because of " } else { " by " });
            words.push_str(&self.policies.join(", "));
        }
        words.push('.');
        for sentence in self.reasons.iter().chain(&self.advice) {
            words.push(' ');
            words.push_str(sentence);
        }
        if !self.errors.is_empty() {
            words.push_str(" Could not be evaluated: ");
            words.push_str(&self.errors.join("; "));
            words.push('.');
        }
        words
    }

    pub(crate) fn sorted(mut self) -> Self {
        for list in [&mut self.policies, &mut self.errors, &mut self.reasons, &mut self.advice] {
            list.sort_unstable();
            list.dedup();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            verdict: Verdict::Refuse,
            policies: vec!["workspace.0badcafe.pay".into(), "device.quiet".into(), "device.quiet".into()],
            errors: vec![],
            policy_version: Digest([7; 32]),
            inputs: BTreeMap::from([("role".into(), "agent".into())]),
            reasons: vec!["Pay is settled by payroll.".into()],
            advice: vec!["Ask payroll.".into()],
        }
    }

    #[test]
    fn the_digest_does_not_depend_on_order() {
        let mut other = decision();
        other.policies.reverse();
        assert_ne!(decision().digest(), other.digest());
        assert_eq!(decision().sorted().digest(), other.sorted().digest());
    }

    #[test]
    fn a_decision_is_read_back() {
        let decision = decision().sorted();
        assert_eq!(Decision::from_bytes(&decision.to_bytes()).expect("a decision"), decision);
        assert!(Decision::from_bytes(&self::decision().to_bytes()).is_err(), "not sorted");
    }

    /// Decisions are named by their digest in logs that outlive this code.
    #[test]
    fn the_digest_stays() {
        assert_eq!(
            decision().sorted().digest().to_string(),
            "83d8202915710078ace692b1087dd1c663a7aac4bc8ed4df8047140fbd09d27d"
        );
    }

    #[test]
    fn words_say_who_why_and_what_now() {
        assert_eq!(
            decision().sorted().in_words(),
            "Refused by device.quiet, workspace.0badcafe.pay. Pay is settled by payroll. Ask payroll."
        );
    }
}
