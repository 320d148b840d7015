//! Judgement and merge of verified entries, on a stage.
//!
//! Entries are judged one by one in the order of their log, since governance among them changes the rules for the
//! next; changes are then applied once per document. An entry that needs something which is not here waits, alone;
//! one that is refused stays in its log and never in a document. Whatever waited is tried again when what it
//! waits for may have come.

use super::blame::bad_entry;
use super::judge::Question;
use super::rebirth::After;
use super::seek::Sought;
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey, strategy, subject_key};
use crate::guard;
use crate::ledger;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::PendingRow;
use crate::store::tables::LogNo;
use std::collections::{BTreeMap, BTreeSet};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Coverage, Record, RecordKind};
use syncd_policy::{Gate, Origin, Redeemed, Refusal, Verdict};
use syncd_schema::burst::Burst;
use syncd_schema::governance::{Act, Link, Member};
use syncd_schema::message::Outcome;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, Entry, EntryKind, LogId, LogSeq, OperationId, OperationType, domain};

/// An entry that arrived, or that waited and is tried again.
pub(super) struct Arrival {
    pub(super) log: LogId,
    pub(super) no: LogNo,
    pub(super) seq: LogSeq,
    pub(super) record: LogRecord,
    /// The actor of the session in force where the entry stands: a later session changes nothing for it.
    pub(super) session: Option<[u8; 16]>,
    /// Whether it is a deletion behind many others in its log.
    pub(super) in_burst: bool,
}

/// What the judgement of one entry says.
pub(super) enum Judged {
    /// May become part of canonical state.
    Granted(Redeemed),
    /// Its payload is not here.
    Withheld,
    /// Needs something that has not arrived.
    Waits { missing: Vec<Digest>, requires: Vec<OperationId>, reason: String },
    /// May become part of it once somebody has looked.
    Asks(Approval),
    /// It is about what an object was before it began anew, and dropped with the rest of that.
    Dropped,
    /// It is about that too, by somebody who did not know.
    Late,
    /// Never becomes part of it.
    Refused { reason: String, decision: Option<Digest>, finding: bool },
}

/// What lets a change in when somebody decides so.
pub(super) enum Approval {
    /// The gate has permitted it; it was written to be asked about.
    Proposed(Redeemed),
    /// The gate wants it to be asked about.
    Reviewed(Refusal),
}

impl Approval {
    /// The proof that it may be written, now that a resolution approves it.
    pub(super) fn by(self, operation: OperationId, resolution: &Redeemed) -> Option<Redeemed> {
        match self {
            Self::Proposed(proof) => Some(proof),
            Self::Reviewed(refusal) => refusal.approved(operation, resolution).ok()?.redeem(operation).ok(),
        }
    }
}

/// A granted change on its way into its document.
pub(super) struct Candidate {
    pub(super) arrival: Arrival,
    pub(super) proof: Redeemed,
}

/// How many of the changes and operations that an entry misses are remembered: when these have come, it is judged again and names
/// the next. All of them would let a few bytes of segment fill memory and disk.
const NAMED_MISSING: usize = 8;

/// What became of each entry, collected for records and acknowledgements.
#[derive(Default)]
pub(super) struct Ledgered {
    pub(super) states: BTreeMap<Standing, (LogId, EntryState, Option<OperationId>)>,
    /// What to say of entries in the ledger, once all is known: in the order of their logs, neighbours are one record.
    pub(super) records: Vec<(Standing, Record)>,
    /// Operations admitted on this stage, for `requires`.
    pub(super) admitted: BTreeSet<OperationId>,
    /// Of the last round: operations admitted, and the changes and governance heads that came with them, for which
    /// others may have waited.
    pub(super) news: (BTreeSet<OperationId>, BTreeSet<Digest>),
    /// Operations that had waited and are refused now, and whether there are new ones: others may have waited for the
    /// end of that.
    pub(super) given_up: BTreeSet<OperationId>,
    has_given_up: bool,
    /// What was read to find operations that entries require.
    sought: Sought,
    /// The run that was read last: entries that are let in together stand together.
    pub(super) run: Option<(LogNo, LogSeq, Vec<LogRecord>)>,
}

impl Engine {
    /// Judges and merges arrivals, then whatever had waited for them.
    pub(super) fn admit(
        &mut self,
        stage: &mut Stage,
        arrivals: Vec<Arrival>,
    ) -> Result<Vec<(LogId, Outcome)>, StoreError> {
        let mut done = Ledgered::default();
        if !arrivals.is_empty() && self.admit_round(stage, arrivals, &mut done)? {
            self.let_in_waiting(stage, &mut done)?;
        }
        self.record_all(stage, &mut done);
        Ok(outcomes(&done))
    }

    /// Judges and merges what had waited for what was let in, as long as there is more.
    pub(super) fn let_in_waiting(
        &mut self,
        stage: &mut Stage,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        loop {
            let next = self.retries(stage, done)?;
            if next.is_empty() || !self.admit_round(stage, next, done)? {
                return Ok(());
            }
        }
    }

    /// Writes into the ledger what there is to say of entries.
    pub(super) fn record_all(&mut self, stage: &mut Stage, done: &mut Ledgered) {
        done.records.sort_by_key(|(at, _)| *at);
        for (at, record) in std::mem::take(&mut done.records) {
            let id = self.record(stage, record);
            if let Some((_, _, operation)) = done.states.get_mut(&at) {
                *operation = Some(id);
            }
        }
    }

    /// One pass over entries in order. True when something was admitted.
    fn admit_round(
        &mut self,
        stage: &mut Stage,
        arrivals: Vec<Arrival>,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let mut progress = false;
        let mut candidates: BTreeMap<ObjectKey, Vec<Candidate>> = BTreeMap::new();
        let mut deletions = Vec::new();
        let mut rebirths = Vec::new();
        let mut asking = Vec::new();
        for arrival in arrivals {
            match self.judge(stage, &arrival, done)? {
                Judged::Asks(approval) => asking.push((arrival, approval)),
                Judged::Granted(proof) => match arrival.record.entry.kind {
                    EntryKind::EDIT | EntryKind::RESOLUTION => {
                        let Some(subject) = &arrival.record.entry.subject else { continue };
                        let key = subject_key(subject);
                        candidates.entry(key).or_default().push(Candidate { arrival, proof });
                    }
                    kind if kind.is_deletion() => deletions.push(Candidate { arrival, proof }),
                    EntryKind::REBIRTH => rebirths.push(Candidate { arrival, proof }),
                    kind => {
                        progress = true;
                        if kind == EntryKind::BURST {
                            self.note_answer(stage, &arrival)?;
                        }
                        self.admitted(stage, &arrival, proof.decision(), done);
                    }
                },
                other => {
                    progress |= matches!(other, Judged::Dropped);
                    self.not_admitted(stage, &arrival, other, done)?;
                }
            }
        }
        self.let_in_asked(stage, asking, &mut candidates, done)?;
        for (key, group) in candidates {
            progress |= self.merge(stage, &key, group, done)?;
        }
        for candidate in deletions {
            progress |= self.apply_deletion(stage, candidate, done)?;
        }
        for candidate in rebirths {
            progress |= self.apply_rebirth(stage, candidate, done)?;
        }
        Ok(progress | std::mem::take(&mut done.has_given_up))
    }

    /// The gate's question and the checks that need no document.
    pub(super) fn judge(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        done: &mut Ledgered,
    ) -> Result<Judged, StoreError> {
        let entry = &arrival.record.entry;
        let refused =
            |reason: &str| Ok(Judged::Refused { reason: reason.to_owned(), decision: None, finding: true });
        if !entry.kind.is_known() {
            return Ok(waits(format!("entries of kind {} need a newer version", entry.kind.0)));
        }
        let after_rebirth = self.after_rebirth(Some(stage), (arrival.no, arrival.seq), entry);
        if after_rebirth == Some(After::Dropped) {
            return Ok(Judged::Dropped);
        }
        let Some(payload) = &arrival.record.payload else { return Ok(Judged::Withheld) };
        if !arrival.record.is_genuine() {
            return refused("the payload is not the one its entry names");
        }
        // What is late is in no document, and it is dropped with what it required.
        if after_rebirth.is_none()
            && let Some(missing) = self.missing_requirements(stage, entry, done)?
        {
            return Ok(missing);
        }
        if entry.kind == EntryKind::GENESIS {
            return self.judge_genesis(stage, arrival, payload);
        }
        let Some(rules) = self.staged_rules(stage, &entry.governance) else {
            return Ok(strategy::under_unknown(entry));
        };
        let device = arrival.log.device;
        if rules.governance.members.get(&device).is_some_and(|m| arrival.log.epoch < m.min_epoch) {
            return refused("its device may no longer write in that epoch");
        }
        let act = if entry.kind.is_governance() {
            match Act::decode(entry.kind, payload) {
                Ok(act) => Some(act),
                // A newer version may understand it: the chain must not lose it for good.
                Err(error) => return Ok(waits(format!("it may need a newer version: {error}"))),
            }
        } else {
            None
        };
        if entry.kind == EntryKind::BURST && Burst::from_bytes(payload).is_err() {
            return refused("it says nothing of a burst that can be read");
        }
        if entry.kind == EntryKind::SESSION && payload.len() != 16 {
            return refused("a session has 16 bytes");
        }
        if entry.kind.is_change() && !actor_fits(arrival, payload) {
            return refused("the change is neither a birth nor one that its device's session can have made");
        }
        if entry.kind.is_put_to_somebody() && guard::message(payload).is_ok_and(|said| !said.is_empty()) {
            return refused("what waits for somebody says nothing beside its edit: only answers do");
        }
        let chain = stage.chain.as_ref().unwrap_or(&self.chain);
        if let Some(held) = strategy::quarantined(chain, &rules.governance, entry) {
            return Ok(held);
        }
        let mut question = Question::of_entry(Origin::Remote, device, entry, act.as_ref(), &rules.governance)
            .with_payload(entry, payload);
        question.replaces = strategy::replaces(&question, payload);
        if entry.kind == EntryKind::RESOLUTION {
            // What it writes is an edit like any other, made on exactly what it names.
            let mut edit =
                Question::of_entry(Origin::Remote, device, entry, None, &rules.governance).into_edit();
            edit.replaces = strategy::replaces(&edit, payload);
            if let Err(refusal) = edit.ask(&mut self.gate, &rules, entry.operation) {
                let decision = Some(self.keep_decision(stage, &refusal.decision, refusal.digest));
                let reason = refusal.decision.in_words();
                return Ok(Judged::Refused { reason, decision, finding: false });
            }
        }
        match question.ask(&mut self.gate, &rules, entry.operation) {
            Ok(grant) => {
                // After the gate: Cedar reads the policies of those alone who may write them.
                if let Some(reason) = act.as_ref().and_then(|act| self.malformed_act(act)) {
                    return refused(reason);
                }
                if let Some(judged) = act.as_ref().and_then(|act| strategy::unusable(act, &rules.governance))
                {
                    return Ok(judged);
                }
                self.keep_decision(stage, grant.decision(), grant.digest());
                let Ok(proof) = grant.redeem(entry.operation) else {
                    return refused("the grant does not fit the operation");
                };
                self.take_effect(stage, arrival, act, payload)?;
                Ok(match entry.kind {
                    _ if after_rebirth == Some(After::Late) => Judged::Late,
                    kind if kind.is_put_to_somebody() => Judged::Asks(Approval::Proposed(proof)),
                    _ => Judged::Granted(proof),
                })
            }
            Err(refusal) => {
                let decision = Some(self.keep_decision(stage, &refusal.decision, refusal.digest));
                let may_wait = entry.kind == EntryKind::EDIT || entry.kind.is_put_to_somebody();
                if may_wait && refusal.verdict == Verdict::Review {
                    if after_rebirth == Some(After::Late) {
                        return Ok(Judged::Late);
                    }
                    return Ok(Judged::Asks(Approval::Reviewed(refusal)));
                }
                Ok(Judged::Refused { reason: refusal.decision.in_words(), decision, finding: false })
            }
        }
    }

    /// The genesis is admitted because the workspace's id is its hash, and for no other reason.
    fn judge_genesis(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        payload: &[u8],
    ) -> Result<Judged, StoreError> {
        let entry = &arrival.record.entry;
        let refused =
            |reason: &str| Ok(Judged::Refused { reason: reason.to_owned(), decision: None, finding: true });
        let act = match Act::decode(entry.kind, payload) {
            Ok(act) => act,
            Err(error) => return refused(&error.to_string()),
        };
        let Act::Genesis(genesis) = &act else { return refused("not a genesis") };
        let first = arrival.seq == LogSeq(0) && entry.governance.is_empty();
        if genesis.workspace() != self.workspace || genesis.owner != arrival.log.device || !first {
            return refused("it is the genesis of another workspace");
        }
        let grant = Gate::genesis(entry.operation);
        self.keep_decision(stage, grant.decision(), grant.digest());
        let Ok(proof) = grant.redeem(entry.operation) else {
            return refused("the grant does not fit the operation");
        };
        self.take_effect(stage, arrival, Some(act), payload)?;
        Ok(Judged::Granted(proof))
    }

    fn missing_requirements(
        &self,
        stage: &Stage,
        entry: &Entry,
        done: &mut Ledgered,
    ) -> Result<Option<Judged>, StoreError> {
        let mut requires = Vec::new();
        for operation in &entry.requires {
            let here =
                done.admitted.contains(operation) || self.is_admitted(stage, &mut done.sought, *operation)?;
            if !here {
                requires.push(*operation);
            }
            if requires.len() >= NAMED_MISSING {
                break;
            }
        }
        let reason = "it requires operations that have not been admitted".to_owned();
        Ok((!requires.is_empty()).then_some(Judged::Waits { missing: Vec::new(), requires, reason }))
    }

    /// What must hold of an act beyond its form.
    fn malformed_act(&mut self, act: &Act) -> Option<&'static str> {
        match act {
            Act::Member(member) if member.role.is_some() => {
                let statement = Member::key_statement(&self.workspace, &member.key_agreement);
                let signature: Option<[u8; 64]> = member.key_signature.as_slice().try_into().ok();
                let vouched = signature.is_some_and(|signature| {
                    syncd_evidence::keys::verify(&member.device, &statement, &signature).is_ok()
                });
                (!vouched).then_some("the new device does not vouch for its key-agreement key")
            }
            Act::Bundle(bundle) => {
                let bundles = [(domain::sha256(bundle.text.as_bytes()), bundle.text.clone())].into();
                self.gate.compile(&bundles, None).is_err().then_some("the policy bundle does not compile")
            }
            _ => None,
        }
    }

    /// What an admitted act of governance does.
    fn take_effect(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        act: Option<Act>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let Some(act) = act else { return Ok(()) };
        let may_crowd = matches!(act, Act::Bundle(_));
        let link = Link {
            id: leaf_hash(&arrival.record.entry.to_bytes()),
            parents: arrival.record.entry.governance.clone(),
            author: arrival.log.device,
            act,
        };
        self.add_link(stage, link, arrival.record.entry.kind, payload);
        if may_crowd { self.note_crowd(stage) } else { Ok(()) }
    }

    pub(super) fn admitted(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        decision: Digest,
        done: &mut Ledgered,
    ) {
        let entry = &arrival.record.entry;
        if entry.kind == EntryKind::MANIFEST {
            done.news.1.extend(strategy::woken_by_payload(arrival.record.payload.as_deref()));
        }
        let covers = coverage(arrival);
        let kind = match entry.kind {
            EntryKind::RESOLUTION | EntryKind::ENDING => OperationType::Resolve,
            _ => OperationType::Replay,
        };
        let mut record = ledger::admission(&entry.actor, arrival.log.device, kind, covers, decision);
        if entry.kind.is_governance() {
            record.kind = RecordKind::Governance;
        }
        if entry.idempotency_key.is_some() {
            stage.keyed.push(entry.clone());
        }
        let at = (arrival.no, arrival.seq);
        done.records.push((at, record));
        done.states.insert(at, (arrival.log, EntryState::Admitted, None));
        done.admitted.insert(entry.operation);
        done.news.0.insert(entry.operation);
        done.news.1.insert(match entry.kind.is_governance() {
            true => leaf_hash(&entry.to_bytes()),
            false => entry.payload_digest,
        });
        if self.pending.contains(&at) || stage.pending.contains_key(&at) {
            stage.pending.insert(at, None);
        }
    }

    pub(super) fn not_admitted(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        judged: Judged,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let entry = &arrival.record.entry;
        let mut withheld = false;
        let mut is_known = true;
        let (state, reason, mut missing, requires, decision, finding) = match judged {
            Judged::Granted(_) => return Ok(()),
            Judged::Asks(approval) => return self.ask_about(stage, arrival, &approval, done),
            Judged::Late => return self.late(stage, arrival, done),
            Judged::Dropped => {
                self.dropped(stage, arrival, done);
                return Ok(());
            }
            Judged::Withheld => {
                withheld = true;
                let reason = "its payload was withheld by whoever passed it on, and is asked for".to_owned();
                (EntryState::Held, reason, vec![entry.payload_digest], Vec::new(), None, false)
            }
            Judged::Waits { missing, requires, reason } => {
                // What it waits for is nothing that arrives: only a newer version can read it.
                let unread = missing.is_empty() && requires.is_empty();
                is_known &= !unread;
                (EntryState::Held, reason, missing, requires, None, unread)
            }
            Judged::Refused { reason, decision, finding } => {
                (EntryState::Refused, reason, Vec::new(), Vec::new(), decision, finding)
            }
        };
        missing.truncate(NAMED_MISSING);
        let at = (arrival.no, arrival.seq);
        let before = stage.pending_at(&at).cloned().flatten().or_else(|| self.pending.get(&at).cloned());
        // What is refused of what is said of many objects is no matter of the one that it names.
        let is_said = entry.kind == EntryKind::BURST && state == EntryState::Refused;
        let object = entry.subject.as_ref().filter(|_| !is_said).map(subject_key);
        if before.as_ref().is_none_or(|before| before.state != state) {
            let refused = state == EntryState::Refused;
            let record =
                ledger::withheld(entry, coverage(arrival), arrival.log.device, refused, decision, &reason);
            done.records.push((at, record));
            if finding {
                self.find(stage, bad_entry(arrival, is_known, &reason, stage.now))?;
            }
        }
        let had_waited = before.as_ref().is_some_and(|before| before.state == EntryState::Held);
        if had_waited && state == EntryState::Refused && done.given_up.insert(entry.operation) {
            done.has_given_up = true;
            done.news.0.insert(entry.operation);
        }
        let since = before.map_or(stage.now, |before| before.since);
        let row = PendingRow {
            state,
            missing,
            requires,
            decision,
            session: arrival.session,
            withheld,
            in_burst: arrival.in_burst,
            ..PendingRow::held(reason, object, since)
        };
        stage.pending.insert(at, Some(row));
        done.states.insert(at, (arrival.log, state, None));
        Ok(())
    }
}

/// Ranges with one state each, named by the record under which they stand in this device's ledger.
fn outcomes(done: &Ledgered) -> Vec<(LogId, Outcome)> {
    let mut outcomes: Vec<(LogId, Outcome)> = Vec::new();
    for ((_, seq), (log, state, operation)) in &done.states {
        match outcomes.last_mut() {
            Some((last_log, last))
                if last_log == log
                    && (last.state, last.operation) == (*state, *operation)
                    && last.first.plus(last.count) == *seq =>
            {
                last.count += 1;
            }
            _ => {
                let outcome = Outcome { first: *seq, count: 1, state: *state, operation: *operation };
                outcomes.push((*log, outcome));
            }
        }
    }
    outcomes
}

/// A device writes as the actor of its session, and builds on what there is. A birth builds on nothing; its actor
/// follows from its content and cannot be recomputed without its value, but its hash is the incarnation that the entry
/// names. Any other change that builds on nothing would take the place of the birth where it comes first.
fn actor_fits(arrival: &Arrival, payload: &[u8]) -> bool {
    let Ok(parts) = guard::chunk::split(payload) else { return false };
    match (arrival.record.entry.kind, arrival.record.entry.is_birth()) {
        (_, true) => parts.deps.is_empty(),
        // Its actor follows from its content, which the guard checks when the change may be decoded.
        (EntryKind::RESOLUTION | EntryKind::PROPOSAL | EntryKind::REWRITE, false) => !parts.deps.is_empty(),
        (_, false) => !parts.deps.is_empty() && arrival.session.is_some_and(|actor| parts.actor == actor),
    }
}

fn waits(reason: String) -> Judged {
    Judged::Waits { missing: Vec::new(), requires: Vec::new(), reason }
}

pub(super) fn coverage(arrival: &Arrival) -> Coverage {
    Coverage { log: syncd_evidence::CoveredLog::Device(arrival.log), first: arrival.seq, count: 1 }
}
