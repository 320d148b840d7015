//! What a device or a peer is to blame for, on record: each finding names it, by its place or in its text.

use super::admit::Arrival;
use super::finding::{log_place, object_place};
use super::receive::{ReceiveError, VerifiedSegment};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, strategy};
use crate::store::StoreError;
use crate::store::rows::PendingRow;
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_schema::message::Segment;
use syncd_schema::operation::EntryState;
use syncd_schema::{DeviceId, LogId, LogSeq, UnixMicros, limits};

/// What to do about a device of which nobody knows whether it lies or is broken.
const FIND_OUT: &str =
    "nothing else is touched by it; if the device is trusted, find out what it runs, else remove it";

/// Where a finding about a device is.
fn at_device(device: &DeviceId) -> String {
    format!("device {}", device.short())
}

/// An entry that is refused, or that this version does not know.
pub(super) fn bad_entry(arrival: &Arrival, known: bool, reason: &str, now: UnixMicros) -> Finding {
    let device = arrival.log.device;
    let place = match &arrival.record.entry.subject {
        Some(subject) => format!("{} by {}", object_place(&subject.object), device.short()),
        None => log_place(&arrival.log),
    };
    let (kind, next) = if known {
        (FindingKind::RefusedPayload, FIND_OUT)
    } else {
        (FindingKind::UnknownKind, "update this program; the entry is kept and will be read then")
    };
    Finding::new(kind, &place, Severity::Warning, reason, next, now)
        .with_evidence(arrival.record.entry.payload_digest)
}

impl Engine {
    /// What a peer or the log's device is to blame for goes on record; what is merely early does not.
    pub(super) fn blame(
        &mut self,
        from: DeviceId,
        segment: &Segment,
        error: &ReceiveError,
        now: UnixMicros,
    ) -> Result<(), StoreError> {
        let author = segment.log.device;
        // Epochs are free to whoever makes them up.
        let at_log = format!("{} from {}", log_place(&segment.log), from.short());
        let (kind, place, next) = match error {
            ReceiveError::UnknownMember(_)
            | ReceiveError::UnknownKey(_)
            | ReceiveError::Gap { .. }
            | ReceiveError::Frozen(_)
            | ReceiveError::Store(_) => return Ok(()),
            // Whoever passes it on may hold the other history in good faith: that is found when both are here.
            ReceiveError::DoesNotExtend(_) if from != author => return Ok(()),
            ReceiveError::TooManyEpochs(_) => (
                FindingKind::LimitReached,
                at_device(&author),
                "if the device was restored often, an admin lets it in anew with `invite`; else remove it",
            ),
            ReceiveError::TooManyPending => (
                FindingKind::LimitReached,
                at_log,
                "sync with the device that holds what the entries wait for; if there is none, an admin lets their \
                 device in anew with `invite`, or removes it",
            ),
            _ => (
                FindingKind::BrokenSegment,
                at_log,
                "sync again; if it happens again, the peer's store or program is damaged, or it lies: remove it",
            ),
        };
        self.note_about_device(
            Finding::new(kind, &place, Severity::Warning, &error.to_string(), next, now),
            now,
        )
    }

    /// Puts a finding about a device on record. One that was put there just now is counted without waiting for the disk:
    /// whoever repeats himself does not make it work.
    fn note_about_device(&mut self, finding: Finding, now: UnixMicros) -> Result<(), StoreError> {
        let id = finding.id();
        let is_news = self.blamed.get(&id).is_none_or(|last| now.0.abs_diff(last.0) >= limits::FINDING_EVERY);
        let mut stage = self.stage(now);
        self.find(&mut stage, finding)?;
        if !is_news && stage.raised.is_empty() {
            return self.store.note(stage.batch);
        }
        self.commit(stage)?;
        self.blamed.put(id, now);
        Ok(())
    }

    /// Looks at what a segment says of itself that refuses nothing and misleads people: times that cannot be, and
    /// governance that goes back to what its author knew to be old.
    pub(super) fn look_over(
        &self,
        stage: &mut Stage,
        segment: &VerifiedSegment,
        founded: Option<UnixMicros>,
    ) -> Result<(), StoreError> {
        let device = segment.log.device;
        let times = || segment.records.iter().map(|record| record.entry.time);
        let off = limits::CLOCK_OFF;
        let ahead = times().max().filter(|time| *time > stage.now.plus(off));
        let behind = times().min().filter(|time| founded.is_some_and(|founded| time.plus(off) < founded));
        for (time, how) in
            [(ahead, "ahead of this device's clock"), (behind, "before the workspace was made")]
        {
            let Some(time) = time else { continue };
            let text = format!("device {} dates entries {time}, {how}", device.short());
            let next =
                "set the clock that is wrong; what was written stays as it is, and is shown with its date";
            let (kind, severity) = (FindingKind::ClockSkew, Severity::Notice);
            self.find(stage, Finding::new(kind, &at_device(&device), severity, &text, next, stage.now))?;
        }
        let mut heads = self.device_log(&segment.log).map(|state| state.row.governance.as_slice());
        for record in &segment.records {
            let named = record.entry.governance.as_slice();
            if let Some(before) = heads.replace(named)
                && before != named
                && self.chain.holds(before)
                && self.chain.holds(named)
                && !self.chain.covers(named, before)
            {
                let text = format!("log {} goes back to older governance than it has named", segment.log);
                let finding = self.unfounded(&device, &text, stage.now);
                return self.find(stage, finding);
            }
        }
        Ok(())
    }

    fn unfounded(&self, device: &DeviceId, text: &str, now: UnixMicros) -> Finding {
        Finding::new(FindingKind::Unfounded, &at_device(device), Severity::Warning, text, FIND_OUT, now)
    }

    /// Finds entries that wait for what is not to come: those of a peer that has told all that it has, and those of
    /// anybody that have waited for long.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn note_unfounded(
        &mut self,
        peer: Option<&DeviceId>,
        now: UnixMicros,
    ) -> Result<(), StoreError> {
        let logs: Vec<LogId> = self
            .log_numbers
            .keys()
            .filter(|log| log.device != self.device() && peer.is_none_or(|peer| log.device == *peer))
            .copied()
            .collect();
        for log in logs {
            let Some((seq, reason)) = self.waits_in_vain(&log, peer.is_some(), now) else { continue };
            let text = match peer {
                Some(_) => format!(
                    "entry {seq} of log {log} waits, and its own device has no more to tell: {reason}"
                ),
                None => format!("entry {seq} of log {log} has waited for more than a day: {reason}"),
            };
            let finding = self.unfounded(&log.device, &text, now);
            self.note_about_device(finding, now)?;
        }
        Ok(())
    }

    /// The first entry of a log that waits for something that others would have to send.
    fn waits_in_vain(&self, log: &LogId, at_once: bool, now: UnixMicros) -> Option<(LogSeq, String)> {
        let no = *self.log_numbers.get(log)?;
        if self.pending.held_in(no) == 0 && self.pending.withheld_in(no).is_empty() {
            return None;
        }
        let long = |row: &PendingRow| row.since.plus(limits::WAITS_LONG) < now;
        let in_vain = |row: &&PendingRow| {
            let asks = row.asks.is_some() || row.late || row.apart || row.in_burst;
            let misses = row.withheld || !strategy::needs(row).is_empty() || !row.requires.is_empty();
            row.state == EntryState::Held && !asks && misses && (at_once || long(row))
        };
        let mut rows = self.pending.of_log(no, LogSeq(0));
        rows.find(|(_, row)| in_vain(row)).map(|(seq, row)| (seq, row.reason.clone()))
    }

    /// How many entries of a device's logs are stored and not admitted, and of how many the payload is missing: of the
    /// logs of its present membership, so that letting it in anew makes room.
    pub(super) fn not_admitted_of(&self, stage: &Stage, log: &LogId) -> (usize, usize) {
        let least = self.governance().members.get(&log.device).map(|member| member.min_epoch);
        let logs = self.log_numbers.iter().filter(|(other, _)| {
            other.device == log.device && least.is_none_or(|least| other.epoch >= least)
        });
        let numbers: std::collections::BTreeSet<_> = logs
            .map(|(_, no)| *no)
            .chain(stage.log_of(&super::LogKind::Device(*log)).map(|s| s.no))
            .collect();
        let (mut waiting, mut withheld) = numbers.iter().fold((0, 0), |(waiting, withheld), no| {
            (waiting + self.pending.kept_out_of(*no), withheld + self.pending.withheld_in(*no).len())
        });
        let counts = |row: Option<&PendingRow>| {
            let withheld = row.is_some_and(|row| row.withheld);
            (usize::from(row.is_some() && !withheld), usize::from(withheld))
        };
        let of_device = |((no, _), _): &(&Standing, &Option<PendingRow>)| numbers.contains(no);
        for (at, row) in stage.pending.iter().filter(of_device) {
            let (before, after) = (counts(self.pending.get(at)), counts(row.as_ref()));
            waiting = (waiting + after.0).saturating_sub(before.0);
            withheld = (withheld + after.1).saturating_sub(before.1);
        }
        (waiting, withheld)
    }

    /// Whether entries of a log may be taken as far as what is known of its device and held of it goes.
    #[must_use]
    pub(crate) fn has_room_for(&self, log: &LogId) -> bool {
        let stage = self.stage(UnixMicros(0));
        let (waiting, withheld) = self.not_admitted_of(&stage, log);
        self.knows(&log.device)
            && self.is_open_epoch(log)
            && waiting + limits::SEGMENT_ENTRIES <= limits::PENDING_ENTRIES
            && withheld + limits::SEGMENT_ENTRIES <= limits::WITHHELD_ENTRIES
    }
}
