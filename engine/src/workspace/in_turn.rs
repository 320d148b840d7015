//! Changes of one session are let in in the order of its log.
//!
//! An honest device builds each change of an object on the one before, so that the guard keeps this order by itself. Two
//! changes with one number, of which the first waits for something, would else be let in as they become ready: another
//! one on each device, for ever, since a document takes no second change of that number.

use super::admit::{Candidate, Judged, Ledgered};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey};
use crate::guard::Outcome;
use crate::store::StoreError;
use crate::store::rows::PendingRow;
use crate::store::tables::LogNo;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::operation::EntryState;
use syncd_schema::{Entry, EntryKind, LogSeq, OperationId};

/// A session's changes: the log and the Automerge actor that they are of.
type Line = (LogNo, [u8; 16]);

/// Whether an entry is a change that is made by a session, and not one whose actor follows from what it says.
fn is_of_session(entry: &Entry) -> bool {
    entry.kind == EntryKind::EDIT && !entry.is_birth()
}

fn line_of(candidate: &Candidate) -> Option<Line> {
    let session = candidate.arrival.session.filter(|_| is_of_session(&candidate.arrival.record.entry))?;
    Some((candidate.arrival.no, session))
}

impl Engine {
    /// Takes those out of a group that would be let in before an earlier change of their session that waits. True when
    /// there were any, so that the others have to be offered again.
    pub(super) fn keep_in_turn(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        (group, outcomes): (&mut Vec<(Candidate, Vec<u8>)>, &[Outcome]),
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let mut waiting: BTreeMap<Line, (Standing, OperationId)> = BTreeMap::new();
        let mut wait = |line: Line, at: Standing, operation: OperationId| {
            let first = waiting.entry(line).or_insert((at, operation));
            *first = (*first).min((at, operation));
        };
        for ((candidate, _), outcome) in group.iter().zip(outcomes) {
            if let (Some(line), Outcome::Missing(_)) = (line_of(candidate), outcome) {
                let arrival = &candidate.arrival;
                wait(line, (arrival.no, arrival.seq), arrival.record.entry.operation);
            }
        }
        let place = |(candidate, _): &(Candidate, Vec<u8>)| (candidate.arrival.no, candidate.arrival.seq);
        let offered: BTreeSet<Standing> = group.iter().map(place).collect();
        let mut last: BTreeMap<Line, LogSeq> = BTreeMap::new();
        for one in group.iter() {
            if let Some(line) = line_of(&one.0) {
                let seq = last.entry(line).or_insert(one.0.arrival.seq);
                *seq = one.0.arrival.seq.max(*seq);
            }
        }
        let stored = self.pending.of_object(&key.0).filter(|(at, _)| stage.pending_at(at).is_none());
        let staged = stage.pending.iter().filter_map(|(at, row)| Some((at, row.as_ref()?)));
        let before = stored.chain(staged).filter(|(_, row)| may_be_before(row, key));
        let mut before: Vec<(&Standing, [u8; 16])> =
            before.filter_map(|(at, row)| Some((at, row.session?))).collect();
        before.sort_unstable();
        // The first of a session says all: to look at each would unpack a run for each.
        let mut found: BTreeSet<Line> = BTreeSet::new();
        for (at, session) in before {
            let line = (at.0, session);
            let is_before = last.get(&line).is_some_and(|last| *last > at.1);
            if !is_before || offered.contains(at) || found.contains(&line) {
                continue;
            }
            let run = self.staged_run(stage, at.0, at.1)?;
            let entry = run.and_then(|(first, records)| {
                let index = usize::try_from(at.1.0.checked_sub(first.0)?).ok()?;
                records.into_iter().nth(index).map(|record| record.entry)
            });
            if let Some(entry) = entry.filter(is_of_session) {
                found.insert(line);
                wait((at.0, session), *at, entry.operation);
            }
        }
        let mut kept = Vec::with_capacity(group.len());
        let mut has_early = false;
        for ((candidate, bytes), outcome) in std::mem::take(group).into_iter().zip(outcomes) {
            let first = line_of(&candidate).and_then(|line| waiting.get(&line));
            let at = (candidate.arrival.no, candidate.arrival.seq);
            match first.filter(|(before, _)| matches!(outcome, Outcome::Applied) && *before < at) {
                Some((_, operation)) => {
                    has_early = true;
                    let reason = "an earlier change of its session waits".to_owned();
                    let judged = Judged::Waits { missing: Vec::new(), requires: vec![*operation], reason };
                    self.not_admitted(stage, &candidate.arrival, judged, done)?;
                }
                None => kept.push((candidate, bytes)),
            }
        }
        *group = kept;
        Ok(has_early)
    }
}

/// Whether a waiting entry may be a change that others of its session have to wait for: what somebody is asked about is
/// known, and counted, wherever it is looked at.
fn may_be_before(row: &PendingRow, key: &ObjectKey) -> bool {
    row.state == EntryState::Held
        && row.object.as_ref() == Some(key)
        && row.asks.is_none()
        && !row.apart
        && !row.late
}
