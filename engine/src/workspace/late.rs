//! Work on what an object was before it began anew, by somebody who did not know: what a person is shown, and answers.
//!
//! It cannot be merged, since what it built on is gone. So what it says is shown as far as it can be read alone; whoever
//! decides writes what is wanted into the object as it is now, or does not, and in either case it is dropped like the rest.

use super::asked::Offer;
use super::intent::{Intent, WriteError, WriteRequest, Written};
use super::read::Competing;
use super::resolve::{Answering, ResolveError};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey};
use crate::conflict::{self, Alternative, Choice};
use crate::document::Edit;
use crate::store::StoreError;
use crate::store::tables::LogNo;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::entry::{Rebirth, Subject, Upto};
use syncd_schema::{LogId, LogSeq, ObjectId};

/// Late entries that a card shows, and that one answer drops: the oldest of each log come first.
const SHOWN: usize = 64;

impl Engine {
    /// What somebody did to a life that had ended.
    pub(super) fn late_offers(&self, key: &ObjectKey) -> Result<Vec<Offer>, StoreError> {
        let (mut offers, mut room) = (Vec::new(), conflict::Room::default());
        for (no, seq) in self.late_shown(key) {
            let Some(record) = self.record_at(no, seq)? else { continue };
            let (device, change) = (self.log_id(no).map(|log| log.device), record.entry.payload_digest);
            let is_change = record.entry.kind.is_change();
            let said =
                record.payload.filter(|_| is_change).map(|payload| conflict::said_alone(&payload, &mut room));
            let alternative = Alternative {
                change,
                changes: vec![change],
                value: said.unwrap_or_else(|| serde_json::json!({ "deletes": "the object" })),
                keep: conflict::Keep::Gone,
                is_shown: false,
            };
            let operations = vec![record.entry.operation];
            offers.push(Offer {
                alternative,
                operations,
                author: Some((device, record.entry)),
                object: None,
            });
        }
        Ok(offers)
    }

    /// Where the late entries stand that are shown: alike on every device, and as many of each log, so that nobody's flood hides
    /// what others did.
    fn late_shown(&self, key: &ObjectKey) -> Vec<Standing> {
        let mut of_log: BTreeMap<LogNo, usize> = BTreeMap::new();
        let ranked = self.late_work(key).into_iter().map(|at| {
            let rank = of_log.entry(at.0).or_default();
            *rank += 1;
            (*rank, self.log_id(at.0), at)
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable();
        ranked.into_iter().take(SHOWN).map(|(.., at)| at).collect()
    }

    /// Up to where an answer drops other logs: what nobody was shown is asked about next.
    fn shown_upto(&self, key: &ObjectKey, own: LogNo) -> Vec<Upto> {
        let mut ends: BTreeMap<LogId, LogSeq> = BTreeMap::new();
        for (no, seq) in self.late_shown(key).into_iter().filter(|(no, _)| *no != own) {
            let Some(log) = self.log_id(no) else { continue };
            let end = ends.entry(log).or_default();
            *end = seq.plus(1).max(*end);
        }
        ends.into_iter().map(|(log, seq)| Upto { device: log.device, epoch: log.epoch, seq }).collect()
    }

    /// Late work as it is shown with its object.
    pub(super) fn late_competing(&mut self, object: &ObjectId) -> Result<Vec<Competing>, StoreError> {
        let late = self.pending.of_object(object).filter(|(_, row)| row.late);
        let lives: BTreeSet<&ObjectKey> = late.filter_map(|(_, row)| row.object.as_ref()).collect();
        let begun = lives.into_iter().filter_map(|key| self.rebirths.get(key).map(|row| (key, row)));
        let cards: Vec<_> = begun.map(|(key, row)| self.late_card(key, row)).collect();
        let mut competing = Vec::new();
        for card in cards {
            let Some(row) = self.card_row(None, &card)? else { continue };
            competing.extend(self.competing_at(&card, &row)?);
        }
        Ok(competing)
    }

    /// Drops late work, and writes first what is wanted of it.
    pub(super) fn resolve_late(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
    ) -> Result<Written, WriteError> {
        let (object, collection, incarnation) = asked.key();
        let old = Subject { collection, object: object.clone(), incarnation };
        let written = match (asked.resolve.choice, &asked.resolve.value) {
            (Choice::Decline, _) => None,
            (Choice::Merge, Some(value)) => Some(value.clone()),
            (Choice::Merge, None) => return Err(ResolveError::NoValue.into()),
            (choice, _) => return Err(ResolveError::NoOption(choice).into()),
        };
        let note = asked.resolve.because.clone();
        let manifest = self.governance().manifest(&old.collection);
        let log = self.log_for(stage, &manifest)?;
        let at = self.next_operation(stage, log);
        let proof = self.may_renew(stage, asked.request, &old, at.0)?;
        let mut heads = Vec::new();
        if let Some(value) = written {
            let base = self.writable(stage, &object)?.heads;
            let edit = Edit::MergePatch(value);
            let intent =
                Intent::Edit { object: object.clone(), base: Some(base.clone()), edit: edit.clone() };
            let request =
                WriteRequest { note: note.clone(), intent, idempotency_key: None, ..asked.request.clone() };
            heads = self.edit(stage, &request, &object, Some(&base), &edit)?.heads;
        }
        let request = WriteRequest { note, ..asked.request.clone() };
        let upto = self.shown_upto(&asked.key(), log);
        let rebirth = Rebirth { new: None, upto };
        let operation = self.log_rebirth(stage, &request, log, (&old, rebirth, Vec::new()), proof)?;
        Ok(super::local::done(operation, Some(object), heads))
    }
}
