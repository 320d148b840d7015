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
use crate::store::tables::LogNo;
use std::collections::{BTreeMap, BTreeSet};
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
        let waiting = self.first_waiting(stage, key, group, outcomes)?;
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

    /// Of each session in a group, the first of its changes that waits.
    fn first_waiting(
        &self,
        stage: &Stage,
        key: &ObjectKey,
        group: &[(Candidate, Vec<u8>)],
        outcomes: &[Outcome],
    ) -> Result<BTreeMap<Line, (Standing, OperationId)>, StoreError> {
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
        let staged = stage.pending.iter().filter_map(|(at, row)| Some((at, row.as_ref()?)));
        let staged = staged.filter(|(_, row)| row.is_before_others() && row.object.as_ref() == Some(key));
        let staged: BTreeSet<(Line, LogSeq)> =
            staged.filter_map(|(at, row)| Some(((at.0, row.session?), at.1))).collect();
        for (line @ (no, session), end) in last {
            let stored = self.pending.before(key, session, (no, end)).copied();
            let mut stored = stored.filter(|at| stage.pending_at(at).is_none() && !offered.contains(at));
            let staged = staged.range((line, LogSeq(0))..(line, end)).map(|(_, seq)| (no, *seq));
            let mut staged = staged.filter(|at| !offered.contains(at));
            // Of each the first says all: to look at every one would unpack a run for each.
            let found =
                [self.first_of_session(stage, &mut stored)?, self.first_of_session(stage, &mut staged)?];
            found.into_iter().flatten().for_each(|(at, operation)| wait(line, at, operation));
        }
        Ok(waiting)
    }

    /// The first of some waiting entries that is a change made by a session.
    fn first_of_session(
        &self,
        stage: &Stage,
        places: &mut dyn Iterator<Item = Standing>,
    ) -> Result<Option<(Standing, OperationId)>, StoreError> {
        for at in places {
            let run = self.staged_run(stage, at.0, at.1)?;
            let entry = run.and_then(|(first, records)| {
                let index = usize::try_from(at.1.0.checked_sub(first.0)?).ok()?;
                records.into_iter().nth(index).map(|record| record.entry)
            });
            if let Some(entry) = entry.filter(is_of_session) {
                return Ok(Some((at, entry.operation)));
            }
        }
        Ok(None)
    }
}
