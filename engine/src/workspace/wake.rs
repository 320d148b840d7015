//! What had waited, tried again: only what the newest arrivals concern, and together with them where that is one
//! piece of work.

use super::admit::{Arrival, Candidate, Judged, Ledgered};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, LogState, strategy};
use crate::document;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{LogKind, PendingRow};
use crate::store::tables::LogNo;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, LogSeq};

impl Engine {
    /// Lets in what waited for objects that are born on this stage: an equal birth that came from elsewhere may be
    /// missing for ever.
    pub(super) fn admit_woken(&mut self, stage: &mut Stage) -> Result<(), StoreError> {
        let born = stage.objects.values().filter(|staged| staged.is_new);
        let born: Vec<Digest> = born.map(|staged| Digest(staged.row.incarnation.0)).collect();
        self.wake(stage, born)
    }

    /// Asks again about what waited for one of these.
    pub(super) fn wake(&mut self, stage: &mut Stage, digests: Vec<Digest>) -> Result<(), StoreError> {
        let mut done = Ledgered::default();
        let mut arrivals = Vec::new();
        for at in self.pending.woken_by(&digests, &[]) {
            let Some(session) = self.pending.get(&at).map(|row| row.session) else { continue };
            arrivals.extend(self.stored_arrival(stage, at, session, &mut done)?);
        }
        if arrivals.is_empty() { Ok(()) } else { self.admit(stage, arrivals).map(drop) }
    }

    /// An edit that waited for others of its object, asked about anew.
    pub(super) fn waited(
        &mut self,
        stage: &mut Stage,
        at: Standing,
        session: Option<[u8; 16]>,
        done: &mut Ledgered,
    ) -> Result<Option<Candidate>, StoreError> {
        let arrival = self.stored_arrival(stage, at, session, done)?;
        let Some(arrival) = arrival.filter(|arrival| arrival.record.entry.kind.is_change()) else {
            return Ok(None);
        };
        match self.judge(stage, &arrival, done)? {
            Judged::Granted(proof) => Ok(Some(Candidate { arrival, proof })),
            // It waits for somebody, and goes on doing so.
            Judged::Asks(_) => Ok(None),
            other => self.not_admitted(stage, &arrival, other, done).map(|()| None),
        }
    }

    /// Waiting entries whose wait may be over: those that named something which the last round let in.
    pub(super) fn retries(
        &mut self,
        stage: &mut Stage,
        done: &mut Ledgered,
    ) -> Result<Vec<Arrival>, StoreError> {
        let (admitted, arrived) = std::mem::take(&mut done.news);
        let mut woken = self.pending.woken_by(&arrived, &admitted);
        let concerned = |row: &PendingRow| {
            row.missing.iter().any(|hash| arrived.contains(hash))
                || row.requires.iter().any(|operation| admitted.contains(operation))
        };
        let staged = stage.pending.iter().filter(|(_, row)| row.as_ref().is_some_and(concerned));
        woken.extend(staged.map(|(at, _)| *at));
        let mut arrivals = Vec::new();
        for (no, seq) in woken {
            let row = match stage.pending_at(&(no, seq)) {
                Some(row) => row.as_ref(),
                None => self.pending.get(&(no, seq)),
            };
            let Some(row) = row.filter(|row| row.state == EntryState::Held) else { continue };
            let needs = strategy::needs(row);
            let changes_here = row.object.as_ref().is_none_or(|key| {
                stage
                    .objects
                    .get(key)
                    .is_some_and(|staged| needs.iter().all(|hash| document::holds(&staged.document, hash)))
            });
            let chain = stage.chain.as_ref().unwrap_or(&self.chain);
            let governance_here = !row.missing.is_empty() && chain.holds(needs);
            let required_here = !row.requires.is_empty()
                && row
                    .requires
                    .iter()
                    .any(|operation| done.admitted.contains(operation) || done.given_up.contains(operation));
            let waits_for_change = !row.missing.is_empty() && changes_here && row.object.is_some();
            if !(waits_for_change || governance_here || required_here) {
                continue;
            }
            let session = row.session;
            arrivals.extend(self.stored_arrival(stage, (no, seq), session, done)?);
        }
        Ok(arrivals)
    }

    pub(super) fn stored_arrival(
        &self,
        stage: &Stage,
        (no, seq): Standing,
        session: Option<[u8; 16]>,
        done: &mut Ledgered,
    ) -> Result<Option<Arrival>, StoreError> {
        let Some(LogKind::Device(log)) = self.staged_log(stage, no).map(|state: &LogState| state.row.kind)
        else {
            return Ok(None);
        };
        let index = |first: LogSeq| usize::try_from(seq.0.checked_sub(first.0)?).ok();
        let holds = |(of, first, records): &&(LogNo, LogSeq, Vec<LogRecord>)| {
            *of == no && index(*first).is_some_and(|index| index < records.len())
        };
        if done.run.as_ref().filter(holds).is_none() {
            done.run = self.staged_run(stage, no, seq)?.map(|(first, records)| (no, first, records));
        }
        let run = done.run.as_ref().and_then(|(_, first, records)| records.get(index(*first)?));
        let record = run.cloned().map(|mut record| {
            if let Some(payload) = stage.rewritten.get(&(no, seq)) {
                record.payload.clone_from(payload);
            }
            record
        });
        let waits = stage.pending_at(&(no, seq)).map_or_else(|| self.pending.get(&(no, seq)), Option::as_ref);
        let in_burst = waits.is_some_and(|row| row.in_burst);
        Ok(record.map(|record| Arrival { log, no, seq, record, session, in_burst }))
    }
}
