//! Policies that can never decide anything, found by asking them about every request that they can tell apart.
//!
//! What is said here is certain: a policy of which it is not known is not mentioned. Cedar's own validator finds those that
//! fail for their types; this finds those that contradict themselves in values, and permissions of what the floor
//! never lets through. A forbid beside a forbid of the floor is said to decide with it, so only permissions are judged so.

use crate::check::{Finding, Named, PolicyError};
use crate::layer::{FLOOR, built_in};
use crate::normal::{Normal, Vocabulary};
use crate::seen::Seen;
use cedar_policy::{Authorizer, Decision as Answer, Effect, Entities, PolicySet, Schema};

/// Requests that one text is asked about, at a few microseconds each: `policy check` answers while somebody waits.
const QUESTIONS: usize = 100_000;

const NEVER: &str = "this policy can never apply: no request meets all of its conditions";
const FORBIDDEN: &str =
    "this policy can never decide: everything that it permits is refused by what is built in";

/// The policies of a text that never decide.
pub(crate) fn find(parsed: &[Named], schema: &Schema) -> Result<Vec<Finding>, PolicyError> {
    let floor = crate::check::parse(FLOOR).map_err(built_in("floor"))?;
    let mut search = Search {
        entities: schema.action_entities().map_err(built_in("schema"))?,
        floor_sees: Seen::default(),
        floor: set(&floor)?,
        left: QUESTIONS,
    };
    for named in &floor {
        search.floor_sees.read(&named.policy.to_json().map_err(built_in("floor"))?);
    }
    let mut findings = Vec::new();
    for named in parsed {
        let message = search.verdict(named)?;
        findings.extend(message.map(|message| Finding {
            place: Some(named.place),
            message: message.to_owned(),
            help: Some("correct its conditions, or remove it".to_owned()),
        }));
    }
    Ok(findings)
}

fn set<'a>(named: impl IntoIterator<Item = &'a Named>) -> Result<PolicySet, PolicyError> {
    PolicySet::from_policies(named.into_iter().map(|named| named.policy.clone()))
        .map_err(built_in("policy set"))
}

struct Search {
    entities: Entities,
    floor: PolicySet,
    floor_sees: Seen,
    /// Questions that may still be asked.
    left: usize,
}

/// What one question to one policy comes to.
enum Met {
    Yes,
    No,
    /// It fails there, which refuses the change: that is an effect, and for somebody else to judge.
    Fails,
}

impl Search {
    /// Why a policy never decides; none if it does, or that is not known.
    fn verdict(&mut self, named: &Named) -> Result<Option<&'static str>, PolicyError> {
        let mut seen = Seen::default();
        seen.read(&named.policy.to_json().map_err(built_in("policy"))?);
        let mut both = self.floor_sees.clone();
        both.read(&named.policy.to_json().map_err(built_in("policy"))?);
        let floor = Vocabulary::new(self.floor_sees.clone())?;
        let (own, both) = (Vocabulary::new(seen)?, Vocabulary::new(both)?);
        let Some((space, count)) = own.space().and_then(|space| space.len().map(|count| (space, count)))
        else {
            return Ok(None);
        };
        let alone = set([named])?;
        let permits = named.policy.effect() == Effect::Permit;
        let mut applies = false;
        for normal in (0..count).filter_map(|number| space.at(number)) {
            if !self.may_ask() {
                return Ok(None);
            }
            match self.meets(&alone, permits, &own, &normal) {
                Met::No => continue,
                Met::Fails => return Ok(None),
                Met::Yes if !permits || !floor.is_plain() => return Ok(None),
                Met::Yes => applies = true,
            }
            for complete in both.completions(&normal) {
                // Beyond the budget it is not known.
                if !self.may_ask() || self.floor_permits(&both, &complete) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(if applies { FORBIDDEN } else { NEVER }))
    }

    fn may_ask(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn meets(&self, alone: &PolicySet, permits: bool, own: &Vocabulary, normal: &Normal) -> Met {
        let Ok(question) = own.question(normal) else { return Met::Fails };
        let response = Authorizer::new().is_authorized(&question, alone, &self.entities);
        let diagnostics = response.diagnostics();
        if diagnostics.errors().next().is_some() {
            return Met::Fails;
        }
        let is_met = match permits {
            true => response.decision() == Answer::Allow,
            false => diagnostics.reason().next().is_some(),
        };
        if is_met { Met::Yes } else { Met::No }
    }

    /// Whether the floor lets a request through; what cannot be asked counts as let through.
    fn floor_permits(&self, both: &Vocabulary, normal: &Normal) -> bool {
        let Ok(question) = both.question(normal) else { return true };
        let response = Authorizer::new().is_authorized(&question, &self.floor, &self.entities);
        response.decision() == Answer::Allow
    }
}
