//! What a liar says: each lie is a few messages to one device, made of what that device shows.

use super::{Liar, Lie};
use crate::clock::YEAR;
use serde_json::json;
use syncd_engine::Engine;
use syncd_engine::conflict::Question;
use syncd_engine::guard::chunk;
use syncd_engine::log::LogRecord;
use syncd_engine::session::Input;
use syncd_evidence::merkle::leaf_hash;
use syncd_schema::burst::{Answer, Burst};
use syncd_schema::entry::{Ending, Rebirth, Subject, Tombstone, Upto};
use syncd_schema::message::{Control, Position, Segment};
use syncd_schema::{
    Digest, EntryKind, Epoch, Incarnation, LogId, LogSeq, ObjectState, OperationId, UnixMicros, cbor, limits,
};

/// The logs that it forks, one after the other; the first is the one that it goes on with.
const FORKED: std::ops::Range<u32> = 1..4;

fn sent(segment: Segment) -> Input {
    Input::Segment(Box::new(segment))
}

impl Liar {
    /// What it says to a device that is to believe a lie.
    pub fn words(&mut self, lie: Lie, engine: &mut Engine, now: UnixMicros) -> Vec<Input> {
        self.histories[0].governance.clone_from(&engine.governance().heads);
        let mut words = self.missing_at(engine);
        let lies = match lie {
            Lie::OtherPayload => self.other_payload(),
            Lie::BrokenPayload => self.broken_payloads(engine),
            Lie::Fork => self.forks(engine),
            Lie::Skip => self.skips(engine),
            Lie::Epochs => self.epochs(),
            Lie::UnknownKind => self.unknown_kinds(engine),
            Lie::TinyObjects => self.tiny_objects(),
            Lie::Enormous => self.enormous(),
            Lie::NoGovernance => self.no_governance(engine),
            Lie::NoRequirement => self.no_requirements(engine),
            Lie::NothingToAnswer => self.nothing_to_answer(engine),
            Lie::Clocks => self.clocks(now),
            Lie::OtherWorkspace => self.other_workspace(),
            Lie::Withheld => self.withheld(),
            Lie::TwoOfOne => self.two_of_one(engine),
        };
        if !lies.is_empty() {
            *self.told.entry(lie).or_default() += 1;
        }
        words.extend(lies);
        words
    }

    /// Entries appended to the log that it goes on with.
    fn says(&mut self, records: &[LogRecord]) -> Vec<Input> {
        if records.is_empty() {
            return Vec::new();
        }
        vec![sent(self.histories[0].append(records, &mut self.hand))]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.hand.rng.below(256) as u8).collect()
    }

    fn digest(&mut self) -> Digest {
        Digest(self.bytes(32).try_into().expect("32 bytes"))
    }

    /// An object of somebody else that has something in it, if there is one.
    fn target(&mut self, engine: &Engine) -> Option<Subject> {
        let collection = "sim".parse().expect("a collection");
        let objects = engine.list(Some(&collection)).expect("readable");
        let alive: Vec<_> = objects.iter().filter(|o| o.state != ObjectState::Tombstoned).collect();
        let object = self.hand.rng.pick(&alive)?.object.clone();
        let history = engine.history(&object).expect("readable");
        let birth = history.iter().find(|item| item.kind == "create")?.change;
        Some(Subject { collection, object, incarnation: Incarnation(birth.0) })
    }

    /// A payload that differs from the one that is signed; the log itself stays as it was.
    fn other_payload(&mut self) -> Vec<Input> {
        let name = self.name();
        let mut copy = self.histories[0].clone();
        let mut record = copy.birth(&name, &json!({ "n": 1 }));
        let first = copy.tree.size();
        copy.tree.append(leaf_hash(&record.entry.to_bytes()));
        let other = copy.birth(&name, &json!({ "n": 2 }));
        record.payload = other.payload;
        vec![sent(copy.seal(first, &[record], &mut self.hand))]
    }

    /// Changes whose columns are damaged, births of nothing, resolutions that are none, acts that say nothing.
    fn broken_payloads(&mut self, engine: &mut Engine) -> Vec<Input> {
        let (name, garbage) = (self.name(), self.bytes(60));
        let target = self.target(engine);
        let quill = &mut self.histories[0];
        let mut records = Vec::new();
        let mut birth = quill.birth(&name, &json!({ "n": 1, "deep": { "list": [1, 2, 3] } }));
        damage(&mut birth, self.hand.rng.below(40));
        birth
            .entry
            .subject
            .iter_mut()
            .for_each(|s| s.incarnation = Incarnation(birth.entry.payload_digest.0));
        records.push(birth);
        for kind in [EntryKind::MEMBER, EntryKind::MANIFEST, EntryKind::BUNDLE] {
            records.push(quill.record(kind, None, &garbage));
        }
        if let Some(subject) = target {
            let value = json!({ "liar": self.drawn });
            if let Some(mut record) = quill.edit(engine, &subject, value.clone()) {
                damage(&mut record, self.hand.rng.below(40));
                records.push(record);
            }
            // An edit that says it is a resolution, and bytes that say they are any of these.
            if let Some(mut record) = quill.edit(engine, &subject, value) {
                record.entry.kind = EntryKind::RESOLUTION;
                records.push(record);
            }
            for kind in [16, 17, 18, 19, 20, 21, 22] {
                records.push(quill.record(EntryKind(kind), Some(subject.clone()), &garbage));
            }
        }
        self.says(&records)
    }

    /// Every device hears another history of the same log, begun at any place of one that another device knows.
    fn forks(&mut self, engine: &mut Engine) -> Vec<Input> {
        let epoch = Epoch(FORKED.start + self.hand.rng.below(FORKED.len()) as u32);
        let known: Vec<usize> =
            (0..self.histories.len()).filter(|n| self.histories[*n].log.epoch == epoch).collect();
        let mut quill = match self.hand.rng.pick(&known) {
            None => self.histories[0].of_epoch(epoch.0),
            Some(from) => self.histories[*from].clone(),
        };
        quill.rewind(self.hand.rng.below(quill.sent.len() + 1));
        quill.governance.clone_from(&self.histories[0].governance);
        quill.time = quill.time.plus(1 + self.hand.rng.below(100) as u64);
        let name = self.name();
        let begin = quill.begin();
        let birth = quill.birth(&name, &json!({ "fork": self.drawn }));
        let mut records = vec![begin, birth];
        let divided = if self.divides { self.target(engine) } else { None };
        let edit = divided.and_then(|subject| quill.edit(engine, &subject, json!({ "liar": self.drawn })));
        records.extend(edit);
        quill.append(&records, &mut self.hand);
        let words = quill.sent.iter().cloned().map(sent).collect();
        self.histories.push(quill);
        words
    }

    /// Segments from behind the end of a log, and positions of logs that nobody has.
    fn skips(&mut self, engine: &Engine) -> Vec<Input> {
        let mut copy = self.histories[0].clone();
        for _ in 0..=self.hand.rng.below(5) {
            let hidden = copy.record(EntryKind::CHECKPOINT, None, b"");
            copy.tree.append(leaf_hash(&hidden.entry.to_bytes()));
        }
        let next = copy.record(EntryKind::CHECKPOINT, None, b"");
        let first = copy.tree.size();
        copy.tree.append(leaf_hash(&next.entry.to_bytes()));
        let segment = copy.seal(first, &[next], &mut self.hand);
        let mut positions = Vec::new();
        for log in [engine.own_log(), copy.log, LogId { epoch: Epoch(7), ..copy.log }] {
            let (root, size) = (self.digest(), LogSeq(1 << self.hand.rng.below(63)));
            let branch = self.hand.rng.percent(30);
            positions.push(Position { log, size, root, branch, signature: None });
        }
        vec![sent(segment), Input::Control(Control::Frontier(positions))]
    }

    /// One entry in each of many logs, of which every device hears of others.
    fn epochs(&mut self) -> Vec<Input> {
        let from = FORKED.end + self.hand.rng.below(4 * self.scale) as u32;
        let mut words = Vec::new();
        for epoch in from..from + self.scale as u32 {
            let mut quill = self.histories[0].of_epoch(epoch);
            let name = format!("epoch-{epoch}");
            let begin = quill.begin();
            let birth = quill.birth(&name, &json!({ "epoch": epoch }));
            words.push(sent(quill.append(&[begin, birth], &mut self.hand)));
            self.histories.push(quill);
        }
        words
    }

    fn unknown_kinds(&mut self, engine: &Engine) -> Vec<Input> {
        let target = self.target(engine);
        let payload = self.bytes(20);
        let mut records = Vec::new();
        for n in 0..self.scale {
            let kind = EntryKind(100 + (n % 7) as u16);
            let subject = target.clone().filter(|_| n % 2 == 0);
            records.push(self.histories[0].record(kind, subject, &payload));
        }
        self.says(&records)
    }

    /// Each by somebody else, as it says.
    fn tiny_objects(&mut self) -> Vec<Input> {
        let names: Vec<String> = (0..self.scale).map(|_| self.name()).collect();
        let quill = &mut self.histories[0];
        let mut records: Vec<LogRecord> = names.iter().map(|name| quill.birth(name, &json!({}))).collect();
        for (record, name) in records.iter_mut().zip(&names) {
            record.entry.actor = format!("user:{name}").parse().expect("an actor");
        }
        let parts: Vec<&[LogRecord]> = records.chunks(limits::COMMIT_ENTRIES).collect();
        parts.into_iter().flat_map(|part| self.says(part)).collect()
    }

    /// A value as large as a change may be, and what is larger: of which the log knows nothing.
    fn enormous(&mut self) -> Vec<Input> {
        let name = self.name();
        let text = "x".repeat(self.large.min(limits::CHANGE_BYTES - 1_000));
        let birth = self.histories[0].birth(&name, &json!({ "text": text }));
        let mut words = self.says(&[birth]);
        let mut copy = self.histories[0].clone();
        let over = vec![b'x'; limits::CHANGE_BYTES + 1];
        let mut record = copy.record(EntryKind::CHECKPOINT, None, &over);
        record.entry.payload_len = u32::MAX;
        let first = copy.tree.size();
        copy.tree.append(leaf_hash(&record.entry.to_bytes()));
        words.push(sent(copy.seal(first, &[record], &mut self.hand)));
        words
    }

    /// Heads that are nowhere, and the ones that are there said in every way there is.
    fn no_governance(&mut self, engine: &mut Engine) -> Vec<Input> {
        let target = self.target(engine);
        let known = self.histories[0].governance.clone();
        let mut records = Vec::new();
        for n in 0..3 {
            let nowhere = self.digest();
            let quill = &mut self.histories[0];
            quill.governance = match n {
                1 => vec![nowhere],
                // As it was when the liar came.
                2 => self.oldest.clone(),
                _ => known.clone(),
            };
            records.push(quill.record(EntryKind::CHECKPOINT, None, b""));
            let edit = target.as_ref().and_then(|subject| quill.edit(engine, subject, json!({ "liar": n })));
            if n == 1 {
                records.extend(edit);
            }
        }
        self.histories[0].governance = known;
        self.says(&records)
    }

    /// Many segments of few entries, each of which requires as many operations as one may.
    fn no_requirements(&mut self, engine: &mut Engine) -> Vec<Input> {
        let target = self.target(engine);
        let mut words = Vec::new();
        for _ in 0..self.scale {
            let mut records = Vec::new();
            for n in 0..limits::SEGMENT_REQUIRES / limits::REFERENCES {
                let time = self.histories[0].time;
                let at = |n: usize| OperationId::at(time.plus(n as u64), 99);
                let quill = &mut self.histories[0];
                let edit = target.as_ref().and_then(|s| quill.edit(engine, s, json!({ "liar": n })));
                let mut record = match edit.filter(|_| n == 0) {
                    Some(record) => record,
                    None => quill.record(EntryKind::CHECKPOINT, None, b""),
                };
                record.entry.requires = (0..limits::REFERENCES).map(at).collect();
                records.push(record);
            }
            words.extend(self.says(&records));
        }
        words
    }

    /// Answers, endings, rebirths and letters about bursts that nobody asked for.
    fn nothing_to_answer(&mut self, engine: &mut Engine) -> Vec<Input> {
        let Some(subject) = self.target(engine) else { return Vec::new() };
        let (card, head, life) = (self.digest(), self.digest(), self.digest());
        let unborn = Subject { incarnation: Incarnation(life.0), ..subject.clone() };
        let deletes = Tombstone { heads: vec![head], keeps: None };
        let (device, epoch) = (engine.device(), engine.own_log().epoch);
        let answer = Burst::Answer(Answer {
            device,
            epoch,
            actor: crate::workload::actor(),
            from: LogSeq(0),
            through: LogSeq(u64::MAX),
            lets_in: true,
        });
        let upto = vec![Upto { device, epoch, seq: LogSeq(u64::MAX) }];
        let rebirth = Rebirth { new: Some(Incarnation(card.0)), upto: upto.clone() };
        let quill = &mut self.histories[0];
        let ending = |deletes: &Tombstone, choice: &str| {
            cbor::encode(&Ending { deletes: deletes.clone(), card, choice: choice.to_owned() })
        };
        let mut records = vec![
            quill.record(EntryKind::ENDING, Some(subject.clone()), &ending(&deletes, "accept")),
            quill.record(EntryKind::ENDING, Some(unborn.clone()), &ending(&deletes, "no such choice")),
            quill.record(EntryKind::TOMBSTONE, Some(unborn.clone()), &cbor::encode(&deletes)),
            quill.record(EntryKind::BURST, Some(subject.clone()), &cbor::encode(&answer)),
            quill.record(EntryKind::REBIRTH, Some(unborn), &cbor::encode(&rebirth)),
            quill.record(
                EntryKind::REBIRTH,
                Some(subject.clone()),
                &cbor::encode(&Rebirth { new: None, upto }),
            ),
        ];
        // In their right form, about places, deletions and changes that there are not.
        for question in [Question::Place(card), Question::Deletion(vec![head]), Question::Change(life)] {
            records.extend(quill.resolution(engine, &subject, question, card));
        }
        if let Some(change) = quill.change(engine, &subject, json!({ "liar": "resolves" })) {
            let answers = quill.record(EntryKind::RESOLUTION, Some(subject.clone()), &change.bytes);
            let proposes = quill.record(EntryKind::PROPOSAL, Some(subject), &change.bytes);
            records.extend([answers, proposes]);
        }
        self.says(&records)
    }

    /// Entries of years past and to come, in a log of their own, since times do not go back.
    fn clocks(&mut self, now: UnixMicros) -> Vec<Input> {
        let first = &self.histories[0];
        let epoch = FORKED.end + self.told.get(&Lie::Clocks).copied().unwrap_or_default() as u32;
        let mut quill = first.of_epoch(epoch);
        quill.time = UnixMicros(1);
        let mut words = Vec::new();
        let year = YEAR.unsigned_abs();
        for time in
            [UnixMicros(1), now.plus(10 * year), UnixMicros(u64::MAX / 2), UnixMicros(u64::MAX - 5_000)]
        {
            let name = self.name();
            quill.time = time.max(quill.time);
            let begin = quill.begin();
            let birth = quill.birth(&name, &json!({ "at": time.0.to_string() }));
            words.push(sent(quill.append(&[begin, birth], &mut self.hand)));
        }
        self.histories.push(quill);
        words
    }

    /// Its own log of another workspace, under the name of this one too, and what is in it as entries here.
    fn other_workspace(&mut self) -> Vec<Input> {
        let log = self.other.own_log();
        let segment = self.other.segment(&log, LogSeq(0), None).expect("readable").expect("a segment");
        let here = self.histories[0].log;
        let renamed = Segment { log: LogId { epoch: Epoch(3), ..here }, ..segment.clone() };
        let subject = self.other.list(None).expect("readable");
        let mut records = Vec::new();
        for summary in subject {
            let history = self.other.history(&summary.object).expect("readable");
            let Some(birth) = history.first().map(|item| item.change) else { continue };
            let (collection, object) = (summary.collection, summary.object);
            let subject = Subject { collection, object, incarnation: Incarnation(birth.0) };
            // The change is an edit of what was born there, by the session that it had there.
            let mut stranger = self.histories[0].clone();
            stranger.log = log;
            let edit = stranger.change(&mut self.other, &subject, json!({ "here": true }));
            let payload = edit.expect("an edit").bytes;
            records.push(self.histories[0].record(EntryKind::EDIT, Some(subject), &payload));
        }
        let mut words = self.says(&records);
        words.extend([sent(segment), sent(renamed)]);
        words
    }

    /// A change of which nobody gets the payload, and an edit on top of it.
    fn withheld(&mut self) -> Vec<Input> {
        let name = self.name();
        let mut record = self.histories[0].birth(&name, &json!({ "n": 1 }));
        record.payload = None;
        self.says(&[record])
    }

    /// Two changes of one session with one number: which of them counts must not depend on what arrived before.
    fn two_of_one(&mut self, engine: &mut Engine) -> Vec<Input> {
        let Some(subject) = self.target(engine) else { return Vec::new() };
        let mut session = [0; 16];
        session.copy_from_slice(&self.bytes(16));
        let quill = &mut self.histories[0];
        quill.session = session;
        let mut records = vec![quill.begin()];
        let one = quill.edit(engine, &subject, json!({ "liar": "one" }));
        // On less than the first builds on: where that is not here yet, this one could be quicker.
        let other = quill.change_on(engine, &subject, json!({ "liar": "other" }), true);
        let other = other.map(|change| quill.record(EntryKind::EDIT, Some(subject), &change.bytes));
        records.extend(one.into_iter().chain(other));
        self.says(&records)
    }
}

/// Changes a byte of a change behind its actor, and names it by what it is then.
fn damage(record: &mut LogRecord, place: usize) {
    let Some(payload) = record.payload.as_ref() else { return };
    let Ok(parts) = chunk::split(payload) else { return };
    let mut rest = parts.rest.to_vec();
    let place = place % rest.len().max(1);
    if let Some(byte) = rest.get_mut(place) {
        *byte ^= 0x55;
    }
    let Ok((hash, bytes)) = chunk::assemble(&parts.deps, parts.actor, &rest) else { return };
    (record.entry.payload_digest, record.entry.payload_len) = (hash, bytes.len() as u32);
    record.payload = Some(bytes);
}
