//! Three layers, one evaluation: the floor, the workspace's bundles, the device's own policy.
//!
//! Cedar alone would let a permit of any layer stand for all. So every policy's id begins with its layer, and a
//! change passes only if the permits that decided come from every layer present, nothing forbids, and nothing
//! failed to evaluate. No text of one layer can therefore permit what another does not.

use crate::check::{Named, PolicyError};
use crate::decision::{Decision, Verdict};
use crate::normal::{Normal, Vocabulary};
use crate::seen::Seen;
use cedar_policy::{
    Authorizer, Decision as Answer, Entities, Policy, PolicyId, PolicySet, Request, Response,
};
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::{Digest, domain};

/// The layer built into the program.
pub const FLOOR: &str = include_str!("floor.cedar");

/// The bundle a new workspace begins with; its genesis holds it.
pub const DEFAULT_BUNDLE: &str = include_str!("default.cedar");

/// What is asked in the place of bundles that are too many.
pub(crate) const CROWDED: &str = include_str!("crowded.cedar");

/// The input that names the floor that was asked; it is not about the change.
pub(crate) const FLOOR_INPUT: &str = "floor";
/// Policies, texts and errors a decision lists at most, so that its record stays readable and bounded.
const LISTED: usize = 64;
/// Bytes of one text in a decision.
const WORDS_BYTES: usize = 512;

/// Where a policy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The program.
    Floor,
    /// The workspace's bundles, all of them together.
    Workspace,
    /// This device; asked about local changes only.
    Device,
}

impl Layer {
    /// The first part of the ids of its policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Workspace => "workspace",
            Self::Device => "device",
        }
    }

    const fn nothing_permits(self) -> &'static str {
        match self {
            Self::Floor => "Nothing built in permits it.",
            Self::Workspace => "Nothing in the workspace's policy permits it.",
            Self::Device => "Nothing in this device's own policy permits it.",
        }
    }

    const fn way_out(self) -> &'static str {
        match self {
            Self::Floor => "What is built in does not change; another device or role may do it.",
            Self::Workspace => "An owner or admin can change the workspace's policy.",
            Self::Device => {
                "The user of this device can change its own policy: `policy show`, `policy set --device`."
            }
        }
    }
}

/// What is known of one policy besides its text.
#[derive(Debug)]
struct Rule {
    layer: Layer,
    review: bool,
    because: Option<String>,
    advice: Option<String>,
}

impl Rule {
    fn new(layer: Layer, policy: &Policy) -> Self {
        let words = |key| policy.annotation(key).map(str::trim).filter(|text| !text.is_empty()).map(cut);
        let review = policy.annotation("review").is_some();
        Self { layer, review, because: words("because").or_else(|| words("review")), advice: words("advice") }
    }
}

/// All policies that are asked about the changes of one origin.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) version: Digest,
    pub(crate) vocabulary: Vocabulary,
    /// All but the forbids that ask for review, and those: Cedar does not say what would have been permitted where
    /// something forbids, and asked one after the other, each policy is still evaluated once.
    policies: PolicySet,
    reviews: PolicySet,
    entities: Entities,
    /// What the floor is, for the record: a later version of the program may have another.
    floor: String,
    rules: BTreeMap<String, Rule>,
    layers: Vec<Layer>,
}

/// One text of a layer, parsed; the digest tells several texts of one layer apart.
pub(crate) type Text<'a> = (Layer, Option<Digest>, &'a [Named]);

impl Stack {
    /// Puts the texts together. The floor and the workspace are always present, whatever the texts hold.
    pub(crate) fn new(version: Digest, texts: &[Text<'_>], entities: Entities) -> Result<Self, PolicyError> {
        let mut seen = Seen::default();
        let mut rules = BTreeMap::new();
        let mut policies = Vec::new();
        for (layer, digest, named) in texts {
            // Eight digits are enough for people, but whoever may write bundles can find two that share them.
            let shared = |digest: &Digest| {
                texts
                    .iter()
                    .filter(|(_, other, _)| other.is_some_and(|o| o.short() == digest.short()))
                    .count()
                    > 1
            };
            let text = digest.map(|digest| if shared(&digest) { digest.to_string() } else { digest.short() });
            for one in *named {
                let json = one.policy.to_json().map_err(built_in("policy"))?;
                seen.read(&json);
                let id = one.id(*layer, text.as_deref());
                rules.insert(id.clone(), Rule::new(*layer, &one.policy));
                policies.push(one.policy.new_id(PolicyId::new(id)));
            }
        }
        let asks = |policy: &Policy| rules.get(policy.id().as_ref() as &str).is_some_and(|rule| rule.review);
        let set = |policies: Vec<Policy>| PolicySet::from_policies(policies).map_err(built_in("policy set"));
        let (reviews, policies) = policies.into_iter().partition(asks);
        let layers: BTreeSet<Layer> =
            texts.iter().map(|(layer, ..)| *layer).chain([Layer::Floor, Layer::Workspace]).collect();
        Ok(Self {
            version,
            vocabulary: Vocabulary::new(seen)?,
            policies: set(policies)?,
            reviews: set(reviews)?,
            entities,
            floor: domain::sha256(FLOOR.as_bytes()).short(),
            rules,
            layers: layers.into_iter().collect(),
        })
    }

    /// The ids of all policies, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(String::as_str)
    }

    /// Decides, without any cache.
    pub(crate) fn decide(&self, normal: &Normal) -> Decision {
        let mut decision = Decision {
            verdict: Verdict::Refuse,
            policies: Vec::new(),
            errors: Vec::new(),
            policy_version: self.version,
            inputs: self
                .vocabulary
                .inputs(normal)
                .into_iter()
                .map(|(name, value)| (name, cut(&value)))
                .collect(),
            reasons: Vec::new(),
            advice: Vec::new(),
        };
        decision.inputs.insert(FLOOR_INPUT.to_owned(), self.floor.clone());
        match self.vocabulary.question(normal) {
            Ok(question) => self.fill(&mut decision, &question),
            Err(message) => decision.errors.push(cut(&message)),
        }
        if !decision.errors.is_empty() {
            decision.verdict = Verdict::Refuse;
            decision.reasons.push("What cannot be evaluated permits nothing.".to_owned());
            decision.advice.push("The policy has to be corrected.".to_owned());
        }
        let mut decision = decision.sorted();
        for list in
            [&mut decision.policies, &mut decision.errors, &mut decision.reasons, &mut decision.advice]
        {
            list.truncate(LISTED);
        }
        decision
    }

    fn fill(&self, decision: &mut Decision, question: &Request) {
        let response = self.ask(&self.policies, question);
        let reviews = self.ask(&self.reviews, question);
        let errors = response.diagnostics().errors().chain(reviews.diagnostics().errors());
        decision.errors.extend(errors.map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                cut(&format!("{}: {}", error.policy_id(), error.inner()))
            }
        }));
        self.blame(decision, &reviews);
        let asked = decision.policies.len();
        if response.decision() == Answer::Deny {
            self.blame(decision, &response);
        }
        let is_forbidden = decision.policies.len() > asked;
        if is_forbidden || (asked == 0 && !decision.errors.is_empty()) {
            return;
        }
        let missing = self.missing(&response);
        match (missing.is_empty(), asked > 0) {
            (true, true) => decision.verdict = Verdict::Review,
            (true, false) => {
                decision.verdict = Verdict::Allow;
                decision
                    .policies
                    .extend(response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).to_owned()));
            }
            (false, _) => self.lack(decision, &missing),
        }
    }

    fn ask(&self, policies: &PolicySet, question: &Request) -> Response {
        Authorizer::new().is_authorized(question, policies, &self.entities)
    }

    /// The layers none of whose permits decided.
    fn missing(&self, response: &Response) -> Vec<Layer> {
        let permits: Vec<Layer> = match response.decision() {
            Answer::Allow => {
                let rule = |id: &PolicyId| self.rules.get(id.as_ref() as &str).map(|rule| rule.layer);
                response.diagnostics().reason().filter_map(rule).collect()
            }
            Answer::Deny => Vec::new(),
        };
        self.layers.iter().filter(|layer| !permits.contains(layer)).copied().collect()
    }

    /// Says which policies forbid, why, and what would change it.
    fn blame(&self, decision: &mut Decision, response: &Response) {
        for id in response.diagnostics().reason() {
            let id: &str = id.as_ref();
            decision.policies.push(id.to_owned());
            let Some(rule) = self.rules.get(id) else { continue };
            decision.reasons.extend(rule.because.clone());
            let way_out = if rule.review { None } else { Some(rule.layer.way_out().to_owned()) };
            decision.advice.extend(rule.advice.clone().or(way_out));
        }
    }

    fn lack(&self, decision: &mut Decision, missing: &[Layer]) {
        decision.reasons.extend(missing.iter().map(|layer| layer.nothing_permits().to_owned()));
        decision.advice.extend(missing.iter().map(|layer| layer.way_out().to_owned()));
    }
}

pub(crate) fn built_in<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> PolicyError {
    move |error| PolicyError::BuiltIn { what, message: error.to_string() }
}

/// A text short enough for a record; one that was cut ends in the hash of the whole, so that two stay two.
fn cut(text: &str) -> String {
    if text.len() <= WORDS_BYTES {
        return text.to_owned();
    }
    let mut end = WORDS_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!(
        "{}… ({} bytes, {})",
        text.get(..end).unwrap_or_default(),
        text.len(),
        domain::sha256(text.as_bytes())
    )
}
