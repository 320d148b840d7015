//! Verification of everything this store holds: any byte of live data that was changed, dropped or moved is found,
//! and the report says where.
//!
//! Logs are rebuilt from their entries and compared with every signed checkpoint; payloads with the digests in their
//! entries; documents with the entries that made them; the index with the documents.

use super::rebirth::After;
use super::segments::decode_run;
use super::{Engine, LogState, ObjectKey, subject_key};
use crate::document;
use crate::store::StoreError;
use crate::store::rows::{self, LogKind, ObjectRow, RunRow};
use crate::store::tables::{Table, key};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use syncd_evidence::Tree;
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{CoveredLog, Outcome};
use syncd_schema::{DeviceId, Digest, EntryKind, LogSeq, OperationId};

/// What was found about one log.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// Whose it is.
    pub device: DeviceId,
    /// `device`, `branch`, `local` or `ledger`.
    pub kind: &'static str,
    /// Which life.
    pub epoch: u32,
    /// Entries that verify from the start on.
    pub size: u64,
    /// Their root.
    pub root: Digest,
    /// Whether all of it verifies.
    pub ok: bool,
}

/// One thing that does not verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where.
    pub place: String,
    /// What is wrong there.
    pub text: String,
    /// What to do.
    pub next: String,
}

/// The result of `evidence verify`.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether everything verifies.
    pub ok: bool,
    /// The ledger.
    pub ledger: LogReport,
    /// The other logs.
    pub logs: Vec<LogReport>,
    /// Documents whose content was compared with the log.
    pub documents: u64,
    /// What does not verify.
    pub findings: Vec<Violation>,
}

/// What a walk over the logs collects for the documents.
#[derive(Default)]
pub(super) struct Walk {
    findings: Vec<Violation>,
    /// Hashes of admitted changes by object.
    changes: BTreeMap<ObjectKey, Vec<Digest>>,
    decisions: BTreeSet<Digest>,
    /// Entries that the ledger says were admitted: from, to.
    admissions: BTreeMap<CoveredLog, Vec<(LogSeq, LogSeq)>>,
    /// Cards that the ledger says were opened.
    pub(super) cards: BTreeSet<Digest>,
    /// Governance entries that were admitted.
    governance: u64,
    /// Answers about deletions in a row that were admitted, by what they are about.
    pub(super) answers: BTreeMap<Digest, BTreeSet<OperationId>>,
}

impl Walk {
    /// Whether some record of the ledger says that an entry was admitted. Ranges are sorted when the ledger is read.
    fn is_evidenced(&self, log: &CoveredLog, seq: LogSeq) -> bool {
        let Some(ranges) = self.admissions.get(log) else { return false };
        let after = ranges.partition_point(|(from, _)| *from <= seq);
        // Ranges of one log do not overlap, except where an entry was admitted again after a failed commit.
        ranges.iter().take(after).rev().take(4).any(|(from, to)| *from <= seq && seq < *to)
    }

    pub(super) fn violation(&mut self, place: impl Into<String>, text: impl Into<String>) {
        let next =
            "restore this store from a backup, or remove it and join again: peers hold the replicated logs";
        self.findings.push(Violation { place: place.into(), text: text.into(), next: next.to_owned() });
    }
}

impl Engine {
    /// Verifies the store. `progress` is told how many of how many entries and documents are done.
    ///
    /// # Errors
    /// Only when reading fails in a way that cannot be placed; damage is in the report.
    pub fn verify(&mut self, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport, StoreError> {
        let mut walk = Walk::default();
        match self.store.check_file() {
            Ok(true) => {}
            Ok(false) => walk.violation("store file", "the database file was damaged and has been repaired"),
            Err(error) => walk.violation("store file", format!("the database file is damaged: {error}")),
        }
        let total = self.logs.values().map(|log| log.size().0).sum::<u64>() + self.objects;
        let mut done = 0;
        let mut reports = Vec::new();
        let states: Vec<LogState> = self.logs.values().cloned().collect();
        // The ledger has the lowest number: what it says is known when the others are read.
        for state in &states {
            reports.push(self.verify_log(state, &mut walk));
            walk.admissions.values_mut().for_each(|ranges| ranges.sort_unstable());
            done += state.size().0;
            progress(done, total);
        }
        if walk.governance != self.chain.len() as u64 {
            let text = format!("it has {} entries, the logs have {}", self.chain.len(), walk.governance);
            walk.violation("table governance", text);
        }
        self.verify_rows(&mut walk)?;
        let documents = self.verify_documents(&mut walk, |count| progress(done + count, total))?;
        self.verify_cards(&mut walk)?;
        self.verify_bursts(&mut walk)?;
        self.verify_competing(&mut walk)?;
        self.verify_decisions(&mut walk)?;
        let index = reports.iter().position(|report| report.kind == "ledger").unwrap_or_default();
        let ledger = reports.remove(index.min(reports.len().saturating_sub(1)));
        Ok(VerifyReport {
            ok: walk.findings.is_empty(),
            ledger,
            logs: reports,
            documents,
            findings: walk.findings,
        })
    }

    fn verify_log(&self, state: &LogState, walk: &mut Walk) -> LogReport {
        let (kind, device, epoch) = match state.row.kind {
            LogKind::Device(log) => ("device", log.device, log.epoch.0),
            LogKind::Branch(log) => ("branch", log.device, log.epoch.0),
            LogKind::Local => ("local", self.device(), 0),
            LogKind::Ledger => ("ledger", self.device(), 0),
        };
        let name = format!("{kind} log {}/{epoch}", device.short());
        let before = walk.findings.len();
        let mut tree = Tree::default();
        if let Err(error) = self.verify_runs(state, device, &name, &mut tree, walk) {
            walk.violation(format!("{name}, entry {}", tree.size()), error.to_string());
        }
        if tree.size() != state.size() || tree.root() != state.row.tree.root() {
            let text = format!("holds {} entries that verify, its row says {}", tree.size(), state.size());
            walk.violation(&name, text);
        }
        let ok = walk.findings.len() == before;
        LogReport { device, kind, epoch, size: tree.size().0, root: tree.root(), ok }
    }

    fn verify_runs(
        &self,
        state: &LogState,
        device: DeviceId,
        name: &str,
        tree: &mut Tree,
        walk: &mut Walk,
    ) -> Result<(), StoreError> {
        let origin = self.origin(&state.row.kind);
        for at in self.store.keys(Table::Runs, &key::log(state.no), usize::MAX)? {
            let Some((_, first)) = key::parse_position(&at) else { continue };
            if first != tree.size() {
                walk.violation(
                    format!("{name}, entry {}", tree.size()),
                    format!("the next run begins at {first}"),
                );
                return Ok(());
            }
            let Some(row) = rows::read::<RunRow>(&self.store, Table::Runs, &at)? else { continue };
            if matches!(state.row.kind, LogKind::Ledger) {
                for record in super::history::decode_records(state.no, first, &row)? {
                    walk.decisions.extend(super::history::decisions_of(&record));
                    walk.cards.extend(super::verify_cards::opened_by(&record));
                    if let (Outcome::Admitted, Some(covers)) = (record.outcome, record.covers) {
                        let range = (covers.first, covers.first.plus(covers.count));
                        walk.admissions.entry(covers.log).or_default().push(range);
                    }
                    tree.append(leaf_hash(&record.to_bytes()));
                }
            } else {
                self.verify_entries(state, first, &row, name, tree, walk)?;
            }
            let place = || format!("{name}, entries {first} to {}", tree.size());
            if row.checkpoint.size != tree.size() || row.checkpoint.root != tree.root() {
                walk.violation(place(), "the entries do not lead to the signed checkpoint");
                return Ok(());
            }
            if let Err(error) = row.checkpoint.verify(&origin, &device) {
                walk.violation(place(), error.to_string());
            }
        }
        Ok(())
    }

    fn verify_entries(
        &self,
        state: &LogState,
        first: LogSeq,
        row: &RunRow,
        name: &str,
        tree: &mut Tree,
        walk: &mut Walk,
    ) -> Result<(), StoreError> {
        for (index, record) in decode_run(state.no, first, row)?.into_iter().enumerate() {
            let seq = first.plus(index as u64);
            let leaf = leaf_hash(&record.entry.to_bytes());
            tree.append(leaf);
            let entry = &record.entry;
            let place = || format!("{name}, entry {seq}");
            if !record.is_genuine() {
                walk.violation(place(), "the payload is not the one its entry names");
            }
            if self.after_rebirth(None, (state.no, seq), entry) == Some(After::Dropped) {
                if record.payload.is_some() && entry.kind.is_change() {
                    walk.violation(place(), "its object began anew without it, and it is still here");
                }
                continue;
            }
            let withheld = self.pending.get(&(state.no, seq)).is_some_and(|row| row.withheld);
            let is_branch = matches!(state.row.kind, LogKind::Branch(_));
            if record.payload.is_none() && !withheld && !is_branch {
                walk.violation(place(), "its payload is missing");
            }
            let admitted = !self.pending.contains(&(state.no, seq));
            if admitted && !is_branch && !self.knows_rebirth(&state.row.kind, seq, entry) {
                walk.violation(
                    place(),
                    "an object began anew by it, and the table of rebirths does not say so",
                );
            }
            if admitted && !is_branch {
                if !walk.is_evidenced(&Self::covered(&state.row.kind), seq) {
                    walk.violation(place(), "it counts as admitted, and the ledger has no record of that");
                }
                if entry.kind.is_governance() {
                    walk.governance += 1;
                    if !self.chain.holds(&[leaf]) {
                        walk.violation(place(), "it is admitted and missing from the table of governance");
                    }
                }
            }
            if admitted && !is_branch {
                self.verify_answer(&record, walk);
            }
            if let (Some(subject), EntryKind::EDIT, true, false) =
                (&entry.subject, entry.kind, admitted, is_branch)
            {
                let key = subject_key(subject);
                walk.changes.entry(key).or_default().push(entry.payload_digest);
            }
        }
        Ok(())
    }

    /// Every value of every table opens under its key and place, whether or not anything refers to it.
    fn verify_rows(&self, walk: &mut Walk) -> Result<(), StoreError> {
        for table in Table::ALL {
            if matches!(table, Table::Plain | Table::Runs) {
                continue;
            }
            for at in self.store.keys(table, &[], usize::MAX)? {
                if let Err(error) = self.store.get(table, &at) {
                    walk.violation(
                        format!("table {}, key {}", table.name(), hex::encode(&at)),
                        error.to_string(),
                    );
                }
            }
        }
        let stored = self.store.get_plain("workspace")?.unwrap_or_default();
        if stored != self.workspace.as_bytes() {
            walk.violation("table plain, key workspace", "it names another workspace");
        }
        Ok(())
    }

    fn verify_documents(&self, walk: &mut Walk, mut progress: impl FnMut(u64)) -> Result<u64, StoreError> {
        let mut changes = std::mem::take(&mut walk.changes);
        let mut count = 0;
        let mut links = BTreeMap::new();
        for at in self.store.keys(Table::Objects, &[], usize::MAX)? {
            let row: ObjectRow = match rows::read(&self.store, Table::Objects, &at) {
                Ok(Some(row)) => row,
                Ok(None) | Err(_) => continue,
            };
            let place = format!("object {}", row.object);
            self.verify_asked(&row, walk)?;
            let key = (row.object.clone(), row.collection.clone(), row.incarnation);
            if row.reborn != self.rebirths.contains_key(&key) {
                walk.violation(&place, "its row and the table of rebirths differ on whether it began anew");
            }
            let logged = changes.remove(&key).unwrap_or_default();
            let name = key::name(&row.collection, &row.object, &row.incarnation);
            if !row.reborn && !matches!(self.store.get(Table::Names, &name), Ok(Some(_))) {
                walk.violation(&place, "the index by collection does not list it");
            }
            match self.load_document(&row) {
                Ok(document) => {
                    links.extend(self.expected_links(&row, &document)?);
                    if self.whole_document(&row, &document)?.as_ref().map(document::heads) != row.known {
                        walk.violation(&place, "what is held of it is not what its index row says");
                    }
                    if document::heads(&document) != row.heads {
                        walk.violation(&place, "its document has other heads than its index row");
                    }
                    let missing = logged.iter().filter(|hash| !document::holds(&document, hash)).count();
                    if missing > 0 {
                        walk.violation(
                            &place,
                            format!("{missing} admitted changes are missing from its document"),
                        );
                    }
                    match self.keeps_contradictions(&row, &document) {
                        Ok(true) => {}
                        Ok(false) => {
                            walk.violation(&place, "its document contradicts itself elsewhere than is noted");
                        }
                        Err(error) => walk.violation(&place, error.to_string()),
                    }
                }
                Err(error) => walk.violation(&place, error.to_string()),
            }
            count += 1;
            if count % 64 == 0 {
                progress(count);
            }
        }
        for key in self.rebirths.keys() {
            if self.object_row(key)?.is_none() {
                walk.violation(format!("object {}", key.0), "it began anew, and the life before has no row");
            }
        }
        self.verify_links(links, walk)?;
        for (object, hashes) in changes {
            let text = format!("{} admitted changes are in the log and the object is not", hashes.len());
            walk.violation(format!("object {}", object.0), text);
        }
        progress(count);
        Ok(count)
    }

    fn verify_decisions(&self, walk: &mut Walk) -> Result<(), StoreError> {
        for digest in std::mem::take(&mut walk.decisions) {
            let place = format!("decision {}", digest.short());
            match self.decision(&digest) {
                Ok(Some(decision)) if decision.digest() == digest => {}
                Ok(_) => walk.violation(place, "the ledger names it and it is missing or altered"),
                Err(error) => walk.violation(place, error.to_string()),
            }
        }
        Ok(())
    }
}
