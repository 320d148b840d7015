//! Findings as this engine keeps them: one row for each kind of trouble at each place, with a count.
//!
//! What a finding is belongs to `syncd-evidence`. Here is when one is new, how many are kept, what the ledger says of them
//! and which ones an explanation names. Places can be made up by whoever makes the trouble, so that of each kind only so many are listed; the
//! rest is one finding more, and its count goes on.

use super::read::Explanation;
use super::stage::Stage;
use super::{Engine, Event};
use crate::ledger;
use crate::store::StoreError;
use crate::store::tables::Table;
use std::collections::BTreeMap;
use syncd_evidence::finding::FINDING_BYTES;
use syncd_evidence::record::DATA_BYTES;
use syncd_evidence::{Finding, FindingKind, Outcome, RecordKind, Severity};
use syncd_schema::{Actor, DeviceId, Digest, Entry, LogId, ObjectId, OperationType, UnixMicros};

/// Places listed of one kind of trouble: more than anybody reads, and little enough to be read whole.
pub const PLACES_KEPT: usize = 128;
/// Where the rest is.
const ELSEWHERE: &str = "more places than are listed";
/// Findings that one explanation names.
const EXPLAINED: usize = 16;

// A record of the ledger holds the finding that it is about.
const _: () = assert!(FINDING_BYTES <= DATA_BYTES);

/// How many places of each kind there are.
pub(super) type Places = BTreeMap<FindingKind, usize>;

impl Engine {
    /// Raises a finding, or counts it again.
    pub(crate) fn find(&self, stage: &mut Stage, finding: Finding) -> Result<(), StoreError> {
        if self.count_again(stage, &finding)? {
            return Ok(());
        }
        let is_raised = |(id, is_new): &&(Digest, bool)| {
            *is_new && stage.findings.get(id).is_some_and(|other| other.kind == finding.kind)
        };
        let kept = self.places.get(&finding.kind).copied().unwrap_or_default();
        let is_full = kept + stage.raised.iter().filter(is_raised).count() >= PLACES_KEPT;
        let finding = match is_full {
            true => Finding { place: ELSEWHERE.to_owned(), ..finding },
            false => finding,
        };
        if is_full && self.count_again(stage, &finding)? {
            return Ok(());
        }
        let id = finding.id();
        stage.events.push(Event::Finding { kind: finding.kind.word(), text: finding.text.clone() });
        stage.raised.push((id, true));
        stage.batch.put(Table::Findings, id.0.to_vec(), finding.to_bytes());
        stage.findings.insert(id, finding);
        Ok(())
    }

    /// Takes another meeting with trouble that is known into its finding. Whether it is known.
    fn count_again(&self, stage: &mut Stage, finding: &Finding) -> Result<bool, StoreError> {
        let id = finding.id();
        let known = match stage.findings.remove(&id) {
            Some(known) => Some(known),
            None => {
                let stored = self.store.get(Table::Findings, &id.0)?;
                stored.and_then(|bytes| Finding::from_bytes(&bytes).ok())
            }
        };
        let Some(mut known) = known else { return Ok(false) };
        let before = known.severity;
        known.merge(finding);
        if known.severity > before {
            stage.raised.push((id, false));
        }
        stage.batch.put(Table::Findings, id.0.to_vec(), known.to_bytes());
        stage.findings.insert(id, known);
        Ok(true)
    }

    /// Writes into the ledger what was raised, and what grew more severe; that it was met again is in its row.
    pub(super) fn record_findings(&mut self, stage: &mut Stage) {
        for (id, _) in stage.raised.clone() {
            let Some(finding) = stage.findings.get(&id).cloned() else { continue };
            let device = self.device();
            let (kind, noted) = (RecordKind::Finding, Outcome::Noted);
            let mut record = ledger::record(kind, noted, OperationType::Detect, &Actor::system(), device);
            record.set_note(&format!("{}, {}: {}", finding.kind.word(), finding.place, finding.text));
            record.data = Some(finding.to_bytes());
            self.record(stage, record);
        }
    }

    /// After the commit: what was raised takes a place.
    pub(super) fn count_places(&mut self, stage: &Stage) {
        for (id, _) in stage.raised.iter().filter(|(_, is_new)| *is_new) {
            if let Some(finding) = stage.findings.get(id) {
                *self.places.entry(finding.kind).or_default() += 1;
            }
        }
    }

    /// Counts the places of a store that is opened.
    pub(super) fn read_places(&mut self) -> Result<(), StoreError> {
        self.places.clear();
        for finding in self.findings()? {
            *self.places.entry(finding.kind).or_default() += 1;
        }
        Ok(())
    }

    /// Everything somebody should look at: the most severe first, then what was met last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn findings(&self) -> Result<Vec<Finding>, StoreError> {
        let rows = self.store.prefix(Table::Findings, &[])?;
        let mut found: Vec<Finding> =
            rows.iter().filter_map(|(_, bytes)| Finding::from_bytes(bytes).ok()).collect();
        found.sort_by(|a, b| (b.severity, b.last_at, &a.place).cmp(&(a.severity, a.last_at, &b.place)));
        Ok(found)
    }

    /// Puts on record what was met outside of the engine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_finding(&mut self, finding: Finding) -> Result<Vec<Event>, StoreError> {
        self.ensure_clean()?;
        let mut stage = self.stage(finding.last_at);
        self.find(&mut stage, finding)?;
        self.commit(stage)
    }

    /// Puts on record that a peer said something that is no part of the protocol. Keys cost nothing, so that only members
    /// are listed: what strangers say at the door is in the log alone.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_broken_protocol(
        &mut self,
        peer: &DeviceId,
        what: &str,
        now: UnixMicros,
    ) -> Result<Vec<Event>, StoreError> {
        if !self.knows(peer) {
            return Ok(Vec::new());
        }
        self.note_finding(Finding::new(
            FindingKind::BrokenProtocol,
            &format!("device {peer}"),
            Severity::Warning,
            &format!("device {} was not heard any further: {what}", peer.short()),
            "update both devices; if it happens again, find out what that device runs, else remove it",
            now,
        ))
    }

    /// Adds to an explanation what was found about an object.
    pub(super) fn add_findings_about(
        &self,
        explained: &mut Explanation,
        object: &ObjectId,
    ) -> Result<(), StoreError> {
        let place = object_place(object);
        self.add_findings(explained, |finding| match finding.place.strip_prefix(&place) {
            Some(rest) => rest.is_empty() || rest.starts_with(" by ") || rest.starts_with(" in operation "),
            None => false,
        })
    }

    /// Adds to an explanation what was found about an entry: about itself, its object or its log.
    pub(super) fn add_findings_of(
        &self,
        explained: &mut Explanation,
        log: Option<&LogId>,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let place = log.map(log_place).unwrap_or_default();
        let of_log = format!("{place} from ");
        let operation = format!(" in operation {}", entry.operation);
        self.add_findings(explained, |finding| {
            let is_evidence = |digest: Digest| {
                finding.kind == FindingKind::RefusedPayload && digest == entry.payload_digest
            };
            finding.evidence.is_some_and(is_evidence)
                || finding.place.ends_with(&operation)
                || (log.is_some() && (finding.place == place || finding.place.starts_with(&of_log)))
        })
    }

    fn add_findings(
        &self,
        explained: &mut Explanation,
        is_about: impl Fn(&Finding) -> bool,
    ) -> Result<(), StoreError> {
        for finding in self.findings()?.iter().filter(|finding| is_about(finding)).take(EXPLAINED) {
            let times = match finding.count {
                1 => format!("once, at {}", finding.last_at),
                count => format!("{count} times, last at {}", finding.last_at),
            };
            let (kind, severity) = (finding.kind.word(), finding.severity.word());
            explained.because.push(format!("Finding {kind} ({severity}), met {times}: {}.", finding.text));
            if !explained.next.contains(&finding.next) {
                explained.next.push(finding.next.clone());
            }
        }
        Ok(())
    }
}

/// How a finding names an object; who and in which operation may stand behind.
pub(super) fn object_place(object: &ObjectId) -> String {
    format!("object {object}")
}

/// How a finding names a log; from whom it came may stand behind.
pub(super) fn log_place(log: &LogId) -> String {
    format!("log {log}")
}
