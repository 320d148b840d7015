//! Past decisions made again: with the policies that decided, whether today's program agrees, and with those in force
//! now, what would be decided.
//!
//! What another device wrote is asked about again from the entry itself, as it was when it arrived. What was written here
//! was asked about with more than its entry says — the paths of an edit, a base that was not the newest — so it is asked
//! about from what the decision recorded, which is all that its policies could see.
//!
//! Neighbouring admissions share one ledger record, which names their decisions and not whose each was: of several, the
//! one that agrees is taken, else the one that looked at the most of the same.

use super::judge::Question;
use super::segments::Found;
use super::{Engine, Rules, history, strategy};
use crate::store::StoreError;
use crate::store::rows;
use crate::store::tables::Table;
use std::collections::BTreeMap;
use std::sync::Arc;
use syncd_evidence::Record;
use syncd_policy::{Action, Base, Decision, Gate, Origin, Policies, Recalled, local_version};
use syncd_schema::entry::Subject;
use syncd_schema::governance::{Act, Chain, Link};
use syncd_schema::{Actor, DeviceId, Digest, EntryKind, Governance, Manifest, OperationId};

/// Inputs that come from nothing but the change: where they were not recorded, asking other policies assumes them.
const OF_THE_CHANGE: [&str; 9] =
    ["changed", "fields", "dangerous", "base", "size", "replaces", "argued", "weakens", "targetRole"];

/// A past decision and what would be decided again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The operation it was about.
    pub operation: OperationId,
    /// What was decided.
    pub then: Arc<Decision>,
    /// What this program decides with the policies of then.
    pub again: Arc<Decision>,
    /// What it would decide with the policies, members and manifests of now.
    pub now: Arc<Decision>,
    /// What the policies of now look at and those of then did not: it is not known, and taken as for an ordinary change.
    pub assumed: Vec<String>,
}

impl Replay {
    /// Whether the same is decided by the same policies from the same inputs. Words for people do not count.
    #[must_use]
    pub fn is_same(&self) -> bool {
        is_same(&self.then, &self.again)
    }
}

/// Why a decision cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No such operation here.
    #[error("there is no operation {0}")]
    NotFound(OperationId),
    /// No decision is on record.
    #[error("no policy decided about operation {0} here")]
    NotDecided(OperationId),
    /// The policies that decided are not here.
    #[error("the policies of version {0}, which decided, are not held here")]
    NoPolicies(Digest),
    /// The record says less than its policies look at.
    #[error("the decision about operation {0} does not record all that its policies look at in this version")]
    NotRecorded(OperationId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Bundles, and a device's own policy.
type Texts = (BTreeMap<Digest, String>, Option<String>);

/// The change that a decision was about.
struct Matter {
    operation: OperationId,
    origin: Origin,
    device: DeviceId,
    actor: Actor,
    subject: Option<Subject>,
    /// From the entry, if there is one.
    entry: Option<Box<(Found, Option<Act>)>>,
}

impl Matter {
    /// The question about a call that came to no entry.
    fn question<'a>(&'a self, action: Action, manifest: Option<&'a Manifest>) -> Question<'a> {
        Question {
            origin: self.origin,
            actor: &self.actor,
            device: self.device,
            action,
            subject: self.subject.as_ref(),
            manifest,
            changed: &[],
            size: 0,
            base: Base::NotNeeded,
            target_role: None,
            weakens: false,
            argued: false,
            dangerous: false,
            replaces: false,
        }
    }
}

impl Engine {
    /// Decides again what was decided about an operation: one of this device or of another, or a call that was refused.
    ///
    /// # Errors
    /// When there is no such operation or no decision about it, or what is needed to decide again is not here.
    pub fn replay_decision(&mut self, operation: OperationId) -> Result<Replay, ReplayError> {
        let (matter, recorded) = match self.find_operation(operation)? {
            Some(found) => self.matter_of_entry(found)?,
            None => {
                let record = self.ledger_record(operation)?.ok_or(ReplayError::NotFound(operation))?;
                (self.matter_of_record(&record), vec![record])
            }
        };
        let mut candidates: Vec<Decision> = Vec::new();
        for digest in recorded.iter().flat_map(history::decisions_of) {
            candidates.extend(self.decision(&digest)?);
        }
        if matter.entry.as_ref().is_some_and(|entry| entry.0.record.entry.kind == EntryKind::GENESIS) {
            return self.replay_genesis(operation, candidates);
        }
        let from_entry = self.ask_from_entry(&matter);
        let then =
            Arc::new(chosen(candidates, from_entry.as_deref()).ok_or(ReplayError::NotDecided(operation))?);
        let again = match from_entry.filter(|_| matter.origin == Origin::Remote) {
            Some(again) => again,
            None => self.ask_from_inputs(&matter, &then)?,
        };
        let now = self.ask_now(&matter, &then)?;
        let looked = |name: &&&str| now.inputs.contains_key(**name) && !then.inputs.contains_key(**name);
        let assumed = match matter.origin {
            // An entry says all that is ever asked about it.
            Origin::Remote => Vec::new(),
            Origin::Local => OF_THE_CHANGE.iter().filter(looked).map(|name| (*name).to_owned()).collect(),
        };
        Ok(Replay { operation, then, again, now, assumed })
    }

    fn matter_of_entry(&self, found: Found) -> Result<(Matter, Vec<Record>), StoreError> {
        let device = self.log_id(found.no).map_or_else(|| self.device(), |log| log.device);
        let entry = &found.record.entry;
        let payload = found.record.payload.as_deref().unwrap_or_default();
        let act = entry.kind.is_governance().then(|| Act::decode(entry.kind, payload).ok()).flatten();
        let recorded = self.evidence_of(found.no, found.seq)?;
        let matter = Matter {
            operation: entry.operation,
            origin: if device == self.device() { Origin::Local } else { Origin::Remote },
            device,
            actor: entry.actor.clone(),
            subject: entry.subject.clone(),
            entry: Some(Box::new((found, act))),
        };
        Ok((matter, recorded))
    }

    /// A call that came to no entry: refused, or one that would have changed nothing.
    fn matter_of_record(&self, record: &Record) -> Matter {
        Matter {
            operation: record.id,
            origin: Origin::Local,
            device: record.device,
            actor: record.actor.clone(),
            subject: record.subject.clone(),
            entry: None,
        }
    }

    fn replay_genesis(
        &self,
        operation: OperationId,
        candidates: Vec<Decision>,
    ) -> Result<Replay, ReplayError> {
        let grant = Gate::genesis(operation);
        let again = Arc::clone(grant.decision());
        let then = chosen(candidates, Some(&again)).ok_or(ReplayError::NotDecided(operation))?;
        Ok(Replay { operation, then: Arc::new(then), now: Arc::clone(&again), again, assumed: Vec::new() })
    }

    /// What the gate says about an entry as it stands, under the governance that it names.
    fn ask_from_entry(&mut self, matter: &Matter) -> Option<Arc<Decision>> {
        let (found, act) = matter.entry.as_deref()?;
        let (entry, payload) = (&found.record.entry, found.record.payload.as_deref().unwrap_or_default());
        let rules = self.rules_under(&entry.governance)?;
        let mut question =
            Question::of_entry(matter.origin, matter.device, entry, act.as_ref(), &rules.governance)
                .with_payload(entry, payload);
        question.replaces = strategy::replaces(&question, payload);
        Some(self.decided(&question, &rules, matter.operation))
    }

    /// What the gate says with the policies of then about what they recorded.
    fn ask_from_inputs(&mut self, matter: &Matter, then: &Decision) -> Result<Arc<Decision>, ReplayError> {
        let named = matter.entry.as_deref().map(|(found, _)| found.record.entry.governance.clone());
        let under = named.and_then(|heads| self.rules_under(&heads));
        let policies = match under.filter(|rules| asked(&rules.policies, &then.policy_version).is_some()) {
            Some(rules) => Arc::clone(&rules.policies),
            None => {
                let held = self.texts_of(&then.policy_version)?;
                let (bundles, own) = held.ok_or(ReplayError::NoPolicies(then.policy_version))?;
                let compiled = self.gate.compile(&bundles, own.as_deref());
                compiled.map_err(|_| ReplayError::NoPolicies(then.policy_version))?
            }
        };
        let origin = asked(&policies, &then.policy_version).unwrap_or(matter.origin);
        let again = Gate::again(&policies, origin, &then.inputs);
        again.map(Arc::new).ok_or(ReplayError::NotRecorded(matter.operation))
    }

    /// What the policies, members and manifests of now say about the change.
    fn ask_now(&mut self, matter: &Matter, then: &Decision) -> Result<Arc<Decision>, ReplayError> {
        let rules = Arc::clone(&self.rules);
        let manifest =
            matter.subject.as_ref().and_then(|subject| rules.governance.manifests.get(&subject.collection));
        let recalled =
            Recalled::from_inputs(&then.inputs).ok_or(ReplayError::NotRecorded(matter.operation))?;
        let entry = matter.entry.as_deref().map(|(found, act)| (&found.record, act));
        // What an act takes away is seen from where it was written.
        let named = entry.and_then(|(record, _)| self.rules_under(&record.entry.governance));
        let named = named.unwrap_or_else(|| Arc::clone(&rules));
        let mut question = match entry {
            Some((record, act)) => {
                let payload = record.payload.as_deref().unwrap_or_default();
                let (origin, device) = (matter.origin, matter.device);
                let of_entry =
                    Question::of_entry(origin, device, &record.entry, act.as_ref(), &named.governance);
                let mut question = Question { manifest, ..of_entry.with_payload(&record.entry, payload) };
                question.replaces = strategy::replaces(&question, payload);
                question
            }
            None => matter.question(recalled.action, manifest),
        };
        if matter.origin == Origin::Local {
            question.action = recalled.action;
            question.changed = recalled.changed.as_deref().unwrap_or_default();
            question.size = recalled.size.unwrap_or(question.size);
            question.base = recalled.base.unwrap_or(question.base);
            question.dangerous = recalled.dangerous.unwrap_or_default();
            question.target_role = recalled.target_role.unwrap_or(question.target_role);
            question.weakens = recalled.weakens.unwrap_or(question.weakens);
            question.argued = recalled.argued.unwrap_or(question.argued);
            if matter.entry.is_none() {
                question.replaces = recalled.replaces.unwrap_or_default();
            }
        }
        Ok(self.decided(&question, &rules, matter.operation))
    }

    fn decided(&mut self, question: &Question<'_>, rules: &Rules, operation: OperationId) -> Arc<Decision> {
        match question.ask(&mut self.gate, rules, operation) {
            Ok(grant) => Arc::clone(grant.decision()),
            Err(refusal) => refusal.decision,
        }
    }

    /// The texts that were in force here under a version: bundles that stood at some time at the end of the chain as it
    /// grew here, and with them one of the policies that this device has had of its own, or none.
    fn texts_of(&self, version: &Digest) -> Result<Option<Texts>, StoreError> {
        let own = self.own_policies()?;
        let fits = |governance: &Governance| {
            let bundles = governance.policy_digest();
            let mut all = own.iter().map(Some).chain([None]);
            all.find(|own| local_version(&bundles, own.map(String::as_str)) == *version)
                .map(Option::<&String>::cloned)
        };
        if let Some(own) = fits(self.governance()) {
            return Ok(Some((self.governance().bundles.clone(), own)));
        }
        let mut chain = Chain::default();
        for (at, bytes) in self.store.prefix(Table::Governance, &[])? {
            let row: rows::GovernanceRow = rows::decode(Table::Governance, &at, &bytes)?;
            let Ok(act) = Act::decode(row.kind, &row.payload) else { continue };
            let matters = matches!(act, Act::Genesis(_) | Act::Bundle(_));
            chain.add(Link { id: row.id, parents: row.parents, author: row.author, act });
            let Some(governance) = matters.then(|| chain.current()) else { continue };
            if let Some(own) = fits(&governance) {
                return Ok(Some((governance.bundles, own)));
            }
        }
        Ok(None)
    }
}

/// How policies were asked that decided under this version; none if they are others.
fn asked(policies: &Policies, version: &Digest) -> Option<Origin> {
    [Origin::Local, Origin::Remote].into_iter().find(|origin| policies.version(*origin) == *version)
}

/// The decision about an entry among those that its records name.
fn chosen(candidates: Vec<Decision>, asked: Option<&Decision>) -> Option<Decision> {
    let Some(asked) = asked else { return candidates.into_iter().next() };
    let shared = |decision: &Decision| {
        asked.inputs.iter().filter(|(name, value)| decision.inputs.get(*name) == Some(*value)).count()
    };
    // The first of equals is the one that was made first.
    candidates.into_iter().rev().max_by_key(|decision| (is_same(decision, asked), shared(decision)))
}

fn is_same(a: &Decision, b: &Decision) -> bool {
    (a.verdict, &a.policies, &a.errors, a.policy_version)
        == (b.verdict, &b.policies, &b.errors, b.policy_version)
}
