//! Bad input at the engine's door: segments altered on their way, made by hand, out of place, or about things that
//! do not exist. Each leaves a clear error or state, a finding where somebody is to blame, everything honest as it
//! was, and a door that still opens for honest things.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::{Value, json};
use std::mem::discriminant;
use syncd_engine::log::{LogRecord, run};
use syncd_engine::workspace::{Receipt, ReceiveError};
use syncd_engine::{Engine, Intent};
use syncd_evidence::Tree;
use syncd_evidence::merkle::leaf_hash;
use syncd_schema::entry::Tombstone;
use syncd_schema::message::Segment;
use syncd_schema::operation::EntryState;
use syncd_schema::{
    Digest, EntryKind, Epoch, LogSeq, Member, ObjectState, OperationId, Role, UnixMicros, WorkspaceId, cbor,
    limits,
};

fn at(n: u64) -> UnixMicros {
    START.plus(10_000_000 + n)
}

/// What may not change by bad input.
#[derive(Debug, PartialEq)]
struct Honest {
    values: Vec<Value>,
    ledger: u64,
    frontier: Digest,
    members: usize,
}

/// Ada's engine is the door; Bob is honest, the hand belongs to a member who is not.
struct Door {
    ada: Engine,
    bob: Engine,
    hand: Hand,
    now: u64,
}

impl Door {
    fn new() -> Self {
        let (mut ada, _) = owner(1);
        put(&mut ada, "n1", json!({"title": "first"}), at(0));
        put(&mut ada, "n2", json!({"title": "second"}), at(1));
        let (mut bob, _) = member(&mut ada, 2, Role::Member);
        let hand = Hand::enrolled(&mut ada, 3, Role::Member);
        sync(&mut bob, &mut ada, at(2));
        put(&mut bob, "b1", json!({"title": "bob's"}), at(3));
        sync(&mut bob, &mut ada, at(4));
        Self { ada, bob, hand, now: 10 }
    }

    fn now(&mut self) -> UnixMicros {
        self.now += 1;
        at(self.now)
    }

    fn honest(&mut self) -> Honest {
        let values = ["n1", "n2", "b1"].map(|id| value(&mut self.ada, id)).to_vec();
        let report = self.ada.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
        let frontier = syncd_schema::message::frontier_digest(&self.ada.frontier());
        Honest { values, ledger: report.ledger.size, frontier, members: self.ada.governance().members.len() }
    }

    fn findings(&self, kind: &str) -> u64 {
        let found = self.ada.status().expect("status").findings;
        found.iter().filter(|f| f.kind.word() == kind).map(|f| f.count).sum()
    }

    fn receive(&mut self, segment: &Segment) -> Result<Receipt, ReceiveError> {
        let (from, now) = (self.bob.device(), self.now());
        self.ada.receive(from, segment, now)
    }

    /// The segment is not taken, nothing changed, and a finding tells of it exactly when somebody is to blame.
    fn rejects(&mut self, segment: &Segment, blame: bool) -> ReceiveError {
        let (before, found) = (self.honest(), self.ada.status().unwrap().findings.len());
        let broken = self.findings("broken_segment");
        let error = self.receive(segment).expect_err("not taken");
        assert!(!error.to_string().is_empty());
        // What is found for the first time, the ledger is told of.
        let new = self.ada.status().unwrap().findings.len() - found;
        assert_eq!(self.honest(), Honest { ledger: before.ledger + new as u64, ..before }, "{error}");
        assert_eq!(self.findings("broken_segment"), broken + u64::from(blame), "{error}");
        assert!(blame || self.ada.status().unwrap().findings.len() == found, "{error}");
        error
    }

    /// The hand's entries are taken, and this became of each.
    fn takes(&mut self, records: &[LogRecord], states: &[EntryState]) -> Receipt {
        let first = self.hand.tree.size().0;
        let segment = self.hand.send(records);
        let receipt = self.receive(&segment).expect("taken");
        let state = |seq| {
            let of = |o: &&syncd_schema::message::Outcome| o.first.0 <= seq && seq < o.first.0 + o.count;
            let outcomes = receipt.outcomes.iter().filter(|(log, _)| *log == self.hand.log);
            outcomes.map(|(_, outcome)| outcome).find(of).expect("an outcome for each").state
        };
        let found: Vec<EntryState> = (first..first + records.len() as u64).map(state).collect();
        assert_eq!(found, states);
        receipt
    }

    /// Honest devices write and sync as before, in both directions, and everything verifies.
    fn goes_on(mut self) {
        let (now, next) = (self.now(), self.now());
        merge_patch(&mut self.bob, "n2", json!({"bob": self.now}), now);
        put(&mut self.ada, "afterwards", json!({"on": true}), now);
        sync(&mut self.bob, &mut self.ada, next);
        if self.findings("log_fork") > 0 {
            // Who learns of a fork asks for the other history in the next session.
            sync(&mut self.bob, &mut self.ada, next);
        }
        assert_eq!(self.ada.frontier(), self.bob.frontier());
        assert_eq!(value(&mut self.bob, "afterwards"), json!({"on": true}));
        for engine in [&mut self.ada, &mut self.bob] {
            assert_eq!(value(engine, "n2")["bob"], json!(self.now));
            let report = engine.verify(|_, _| {}).expect("verifies");
            assert!(report.ok, "{:?}", report.findings);
        }
    }

    /// A segment of Bob's that Ada lacks, of several entries.
    fn bobs(&mut self) -> Segment {
        let log = self.bob.own_log();
        let from = self.ada.size_of_log(&log);
        let now = self.now();
        put(&mut self.bob, "b2", json!({"text": "x".repeat(400)}), now);
        merge_patch(&mut self.bob, "b1", json!({"more": 1}), now);
        self.bob.segment(&log, from, None).expect("readable").expect("entries")
    }

    /// The hand's log begins with its session.
    fn with_session(mut self) -> Self {
        let session = self.hand.session();
        self.takes(&[session], &[EntryState::Admitted]);
        self
    }
}

#[test]
fn a_bit_flipped_anywhere_is_noticed() {
    let mut door = Door::new();
    let segment = door.bobs();
    let bytes = segment.to_bytes();
    let before = door.honest();
    let (mut unreadable, mut rejected) = (0, 0);
    for index in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[index] ^= 1 << (index % 8);
        match Segment::from_bytes(&altered) {
            Err(_) => unreadable += 1,
            Ok(altered) => {
                assert_ne!(altered, segment);
                rejected += 1;
                let error = door.receive(&altered).expect_err("an altered segment");
                assert!(!error.to_string().is_empty());
            }
        }
    }
    eprintln!("{} bytes flipped: {unreadable} not a segment, {rejected} refused", bytes.len());
    assert!(rejected > bytes.len() / 2);
    assert!(door.findings("broken_segment") as usize > bytes.len() / 2);
    let listed = door.ada.status().unwrap().findings.len();
    assert!(listed < 10, "repetitions are counted, not listed");
    assert_eq!(door.honest(), Honest { ledger: before.ledger + listed as u64, ..before });
    assert_eq!(door.receive(&segment).expect("the genuine one").received, 2);
    door.goes_on();
}

#[test]
fn every_field_is_bound() {
    let mut door = Door::new();
    let good = door.bobs();
    let other = identity(3).device();
    let mut alter = |change: &dyn Fn(&mut Segment), blame| {
        let mut segment = good.clone();
        change(&mut segment);
        door.rejects(&segment, blame)
    };
    let error = alter(&|s| s.log.workspace = WorkspaceId([9; 16]), true);
    assert!(matches!(error, ReceiveError::Workspace));
    let error = alter(&|s| s.log.device = other, true);
    assert!(matches!(error, ReceiveError::Checkpoint(_)), "{error}");
    let error = alter(&|s| s.log.epoch = Epoch(1), true);
    assert!(matches!(error, ReceiveError::Checkpoint(_)), "{error}");
    alter(&|s| s.first = s.first.plus(1), true);
    alter(&|s| s.count += 1, true);
    alter(&|s| (s.first, s.count) = (s.first.plus(1), s.count - 1), false);
    alter(&|s| (s.first, s.count) = (LogSeq(s.first.0 - 1), s.count + 1), true);
    alter(&|s| s.checkpoint.truncate(20), true);
    let error = alter(&|s| s.key_epoch = 9, false);
    assert!(error.is_early(), "its key may still arrive");
    for open_len in [0, 1, good.open_len - 1, good.open_len + 1, u32::MAX] {
        assert!(matches!(alter(&|s| s.open_len = open_len, true), ReceiveError::Sealed));
    }
    for length in [0, 10, 24, 39, 40, good.sealed.len() - 1] {
        assert!(matches!(alter(&|s| s.sealed.truncate(length), true), ReceiveError::Sealed));
    }
    alter(&|s| s.sealed.push(0), true);
    door.goes_on();
}

#[test]
fn reordered_repeated_and_overlapping_segments() {
    let mut door = Door::new();
    let first = door.bobs();
    let (log, have) = (door.bob.own_log(), first.first);
    let middle = first.first.plus(u64::from(first.count));
    let now = door.now();
    merge_patch(&mut door.bob, "b1", json!({"more": 2}), now);
    let second = door.bob.segment(&log, middle, None).unwrap().unwrap();
    let both = door.bob.segment(&log, have, None).unwrap().unwrap();
    let error = door.rejects(&second, false);
    assert!(
        matches!(error, ReceiveError::Gap { first, have: held } if first == middle && held == have),
        "{error}"
    );
    assert_eq!(door.receive(&first).unwrap().received, 2);
    assert_eq!(door.receive(&both).unwrap().received, 1, "the two that were here are skipped");
    let before = door.honest();
    for again in [&first, &second, &both] {
        let receipt = door.receive(again).expect("again");
        assert_eq!((receipt.received, receipt.size), (0, middle.plus(1)));
        assert!(receipt.outcomes.is_empty() && receipt.events.is_empty());
    }
    assert_eq!(door.honest(), before, "not one more record in the ledger");
    door.goes_on();
}

#[test]
fn entries_signed_by_another_device_are_not_its_log() {
    let mut door = Door::new();
    let log = door.bob.own_log();
    let own = door.hand.log;
    let tree = door.hand.tree.clone();
    let session = door.hand.session();
    door.hand.log = log;
    let forged = door.hand.send(&[session]);
    assert!(matches!(door.rejects(&forged, true), ReceiveError::Checkpoint(_)));
    (door.hand.log, door.hand.tree) = (own, tree);
    door.with_session().goes_on();
}

#[test]
fn a_log_that_does_not_extend_is_asked_for_as_a_branch_and_then_frozen() {
    let mut door = Door::new().with_session();
    let start = door.hand.tree.clone();
    let [one, two, other, more] =
        ["h1", "h2", "h3", "h4"].map(|id| door.hand.birth(id, json!({"by": "hand"})));
    door.takes(&[one, two], &[EntryState::Admitted; 2]);
    let held = std::mem::replace(&mut door.hand.tree, start);
    let same_size = door.hand.send(&[other.clone(), more.clone()]);
    assert_eq!(door.hand.tree.size(), held.size());
    assert!(matches!(door.rejects(&same_size, false), ReceiveError::DoesNotExtend(_)));
    let (now, longer) = (door.now(), door.hand.birth("h5", json!({})));
    let longer = door.hand.send(&[longer]);
    assert!(matches!(door.rejects(&longer, false), ReceiveError::DoesNotExtend(_)), "at {now}");
    // The whole other history, as it is asked for, is the proof.
    door.hand.tree = Tree::default();
    door.hand.time = START.plus(5_000_000);
    let records = [door.hand.session(), other, more];
    let mut branch = door.hand.send(&records);
    branch.branch = Some(Digest([0; 32]));
    let before = door.honest();
    door.receive(&branch).expect("a branch");
    let log = door.hand.log;
    assert_eq!(door.findings("log_fork"), 1);
    assert!(door.ada.status().unwrap().logs.iter().all(|view| view.frozen == (view.device == log.device)));
    assert_eq!(value(&mut door.ada, "h3"), Value::Null, "nothing of the second history becomes canonical");
    assert_eq!(door.honest().values, before.values);
    let next = door.hand.birth("h6", json!({}));
    let next = door.hand.send(&[next]);
    assert!(matches!(door.receive(&next), Err(ReceiveError::Frozen(_))));
    door.goes_on();
}

#[test]
fn a_genuine_history_sent_as_a_branch_is_no_fork() {
    let mut door = Door::new();
    for (name, log) in [("another's", door.bob.own_log()), ("the device's own", door.ada.own_log())] {
        let mut whole = door.bob.segment(&log, LogSeq(0), None).unwrap().unwrap();
        whole.branch = Some(Digest([0; 32]));
        let before = door.honest();
        let _ = door.receive(&whole);
        assert_eq!(door.findings("log_fork"), 0, "{name} log is one history");
        assert_eq!(door.honest(), before, "{name}");
        assert_eq!(door.ada.stopped(), None);
    }
    let more = door.bobs();
    assert_eq!(door.receive(&more).expect("the log goes on").received, 2);
    door.goes_on();
}

#[test]
fn a_run_that_lies_about_its_size_is_refused() {
    let mut door = Door::new();
    let session = door.hand.session();
    let run = run::encode(std::slice::from_ref(&session));
    let leaf = leaf_hash(&session.entry.to_bytes());
    let honest_len = run.open_len as u32;
    let bomb = |len: usize| [vec![1], zstd::bulk::compress(&vec![0; len], 3).unwrap()].concat();
    // A body that claims four billion entries.
    let mut claims = vec![0, 1];
    claims.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    let cases: [(&str, u32, Vec<u8>, u32); 9] = [
        ("fewer entries than it says", 2, run.bytes.clone(), honest_len),
        ("shorter than it opens to", 1, run.bytes.clone(), honest_len - 1),
        ("nothing", 1, Vec::new(), 0),
        ("another compression", 1, [&[7], &run.bytes[1..]].concat(), honest_len),
        ("a small claim for a large body", 1, bomb(64 << 20), 1_000),
        ("a large claim for a larger body", 1, bomb(64 << 20), limits::SEGMENT_OPEN_BYTES as u32),
        ("a claim beyond all limits", 1, bomb(64 << 20), u32::MAX),
        ("zeros", 1, bomb(8 << 20), limits::SEGMENT_OPEN_BYTES as u32),
        ("billions of entries", 1, claims, 8),
    ];
    for (what, count, bytes, open_len) in cases {
        door.hand.tree = Tree::default();
        (0..count).for_each(|_| door.hand.tree.append(leaf));
        let segment = door.hand.seal(LogSeq(0), count, &bytes, open_len);
        let error = door.rejects(&segment, true);
        assert!(matches!(error, ReceiveError::Run(_)), "{what}: {error}");
    }
    // Room for more than there is costs memory each time it is read: not taken either.
    door.hand.tree = Tree::default();
    door.hand.tree.append(leaf);
    let roomy = door.hand.seal(LogSeq(0), 1, &run.bytes, limits::SEGMENT_OPEN_BYTES as u32);
    assert!(matches!(door.rejects(&roomy, true), ReceiveError::Run(_)));
    door.hand.tree = Tree::default();
    door.with_session().goes_on();
}

#[test]
fn an_id_that_does_not_carry_its_time_is_refused() {
    let mut door = Door::new().with_session();
    let honest = door.hand.birth("h1", json!({}));
    let (time, id) = (honest.entry.time, honest.entry.operation);
    let mut other_version = id;
    other_version.0[6] ^= 0x30;
    let tree = door.hand.tree.clone();
    for operation in [OperationId::at(time.plus(1), 7), OperationId([0xff; 16]), other_version] {
        let mut record = honest.clone();
        record.entry.operation = operation;
        let segment = door.hand.send(&[record]);
        let error = door.rejects(&segment, true);
        assert!(matches!(error, ReceiveError::Id(LogSeq(1)) | ReceiveError::Order(LogSeq(1))), "{error}");
        door.hand.tree = tree.clone();
    }
    door.takes(&[honest], &[EntryState::Admitted]);
    door.goes_on();
}

#[test]
fn ids_and_times_that_go_back_are_refused() {
    for case in 0..4 {
        let mut door = Door::new().with_session();
        let mut records = [door.hand.birth("h1", json!({})), door.hand.birth("h2", json!({}))];
        let first = (records[0].entry.time, records[0].entry.operation);
        match case {
            0 => records[1].entry.time = first.0,
            1 => records[1].entry.time = UnixMicros(first.0.0 - 1),
            2 => records[1].entry.operation = first.1,
            _ => records[0].entry.operation = OperationId([0; 16]),
        }
        let segment = door.hand.send(&records);
        let error = door.rejects(&segment, true);
        let wrong = LogSeq(if case == 3 { 1 } else { 2 });
        assert!(matches!(error, ReceiveError::Order(seq) if seq == wrong), "{case}: {error}");
        door.goes_on();
    }
}

#[test]
fn an_unknown_kind_blocks_its_object_and_never_its_log() {
    let mut door = Door::new().with_session();
    let about = subject(&door.ada, "n1");
    let known = door.hand.record(EntryKind(99), Some(about), b"what a newer version says");
    let unborn = door.hand.birth("h9", json!({})).entry.subject;
    let unknown = door.hand.record(EntryKind(99), unborn, b"of something new");
    let general = door.hand.record(EntryKind(400), None, b"of no object");
    let edit = door.hand.birth("h1", json!({"a": 1}));
    use EntryState::{Admitted, Held};
    door.takes(&[known, unknown, general, edit], &[Held, Held, Held, Admitted]);
    assert_eq!(value(&mut door.ada, "h1"), json!({"a": 1}));
    let view = |door: &mut Door, id: &str| door.ada.get(&id.parse().unwrap()).unwrap().expect("known");
    assert_eq!(view(&mut door, "n1").value, json!({"title": "first"}), "what was understood stays readable");
    for id in ["n1", "h9"] {
        assert_eq!(view(&mut door, id).state, ObjectState::Blocked);
        let why = door.ada.explain(id).unwrap().expect("explained");
        assert!(why.because.join(" ").contains("newer version"), "{why:?}");
    }
    assert_eq!(view(&mut door, "n2").state, ObjectState::Clean);
    assert!(door.findings("unknown_kind") >= 3);
    let again = door.hand.birth("h2", json!({}));
    door.takes(&[again], &[Admitted]);
    door.goes_on();
}

#[test]
fn what_needs_something_that_never_comes_waits_alone() {
    let mut door = Door::new().with_session();
    let before = door.honest();
    let nowhere = [Digest([7; 32])].to_vec();
    let heads = std::mem::replace(&mut door.hand.governance, nowhere);
    let stranded = door.hand.birth("h1", json!({}));
    door.hand.governance = heads;
    let mut needy = door.hand.birth("h2", json!({}));
    needy.entry.requires = vec![OperationId([5; 16])];
    let fine = door.hand.birth("h4", json!({"a": 1}));
    use EntryState::{Admitted, Held};
    door.takes(&[stranded, needy, fine], &[Held, Held, Admitted]);
    assert_eq!(value(&mut door.ada, "h4"), json!({"a": 1}));
    for (id, state) in [("h1", ObjectState::Quarantined), ("h2", ObjectState::Blocked)] {
        assert_eq!(door.ada.get(&id.parse().unwrap()).unwrap().expect("waits").state, state);
    }
    let status = door.ada.status().unwrap();
    assert_eq!((status.held, status.refused, status.findings.len()), (2, 0, 0), "nobody is to blame");
    assert_eq!(door.honest().values, before.values);
    door.goes_on();
}

#[test]
fn what_is_required_and_comes_later_ends_the_wait() {
    let mut door = Door::new().with_session();
    let now = door.now();
    let operation = merge_patch(&mut door.bob, "b1", json!({"needed": true}), now).operation;
    let mut needy = door.hand.birth("h1", json!({"a": 1}));
    needy.entry.requires = vec![operation];
    door.takes(&[needy], &[EntryState::Held]);
    let log = door.bob.own_log();
    let segment = door.bob.segment(&log, door.ada.size_of_log(&log), None).unwrap().unwrap();
    let receipt = door.receive(&segment).unwrap();
    let outcome = receipt.outcomes.iter().find(|(log, _)| *log == door.hand.log).expect("its outcome");
    assert_eq!(outcome.1.state, EntryState::Admitted);
    assert_eq!(value(&mut door.ada, "h1"), json!({"a": 1}));
    door.goes_on();
}

#[test]
fn a_log_of_a_stranger_is_early_and_taken_once_it_is_a_member() {
    let mut door = Door::new();
    let mut stranger = Hand::enrolled(&mut owner(1).0, 8, Role::Member);
    stranger.log.workspace = door.ada.workspace();
    stranger.key = door.hand.key.clone();
    stranger.governance = door.ada.governance().heads.clone();
    let session = stranger.session();
    let segment = stranger.send(&[session]);
    let error = door.rejects(&segment, false);
    assert!(error.is_early() && matches!(error, ReceiveError::UnknownMember(_)));
    assert_eq!(discriminant(&door.rejects(&segment, false)), discriminant(&error));
    let mut enrolled = Hand::enrolled(&mut door.ada, 8, Role::Member);
    let session = enrolled.session();
    let segment = enrolled.send(&[session]);
    let receipt = door.receive(&segment).expect("a member now");
    assert_eq!(receipt.outcomes[0].1.state, EntryState::Admitted);
    door.goes_on();
}

#[test]
fn a_payload_that_is_not_the_one_its_entry_names_breaks_the_segment() {
    let mut door = Door::new().with_session();
    let log = door.hand.log;
    let tree = door.hand.tree.clone();
    let birth = door.hand.birth("h1", json!({"text": "as it was written"}));
    let other = door.hand.birth("h2", json!({"text": "as it was written"})).payload;
    let mut flipped = birth.payload.clone().expect("a payload");
    *flipped.last_mut().expect("bytes") ^= 1;
    let without = birth.payload.as_ref().map(|payload| payload[..payload.len() - 1].to_vec());
    for payload in [other, Some(flipped), without, Some(Vec::new())] {
        // Leaf and signature are those of the honest entry: only what is carried beside it is another.
        let altered = LogRecord { entry: birth.entry.clone(), payload };
        let segment = door.hand.send(&[altered]);
        let error = door.rejects(&segment, true);
        assert!(matches!(error, ReceiveError::Payload(seq) if seq == tree.size()), "{error}");
        door.hand.tree = tree.clone();
    }
    assert_eq!(door.ada.size_of_log(&log), tree.size(), "nothing of it was kept");
    // Whoever passed it on cannot spoil the log: from another hand the same entries are taken.
    door.takes(&[birth], &[EntryState::Admitted]);
    assert_eq!(value(&mut door.ada, "h1"), json!({"text": "as it was written"}));
    door.goes_on();
}

#[test]
fn a_plain_member_cannot_make_members() {
    let mut door = Door::new().with_session();
    let before = door.honest();
    let intruder = identity(66);
    let member = Member {
        device: intruder.device(),
        key_agreement: intruder.key_agreement(),
        key_signature: intruder.key_signature(&door.ada.workspace()).to_vec(),
        name: "intruder".into(),
        role: Some(Role::Owner),
        keys: Vec::new(),
        min_epoch: Epoch(0),
    };
    let mut unvouched = member.clone();
    unvouched.key_signature = vec![0; 64];
    let records =
        [member, unvouched].map(|member| door.hand.record(EntryKind::MEMBER, None, &cbor::encode(&member)));
    door.takes(&records, &[EntryState::Refused; 2]);
    assert!(!door.ada.knows(&intruder.device()));
    let after = door.honest();
    assert_eq!((after.members, &after.values), (before.members, &before.values));
    let why = door.ada.explain(&records[0].entry.operation.to_string()).unwrap().expect("explained");
    assert_eq!(why.state, "refused");
    let fine = door.hand.birth("h1", json!({}));
    door.takes(&[fine], &[EntryState::Admitted]);
    door.goes_on();
}

#[test]
fn a_tombstone_waits_for_what_it_deletes() {
    let mut door = Door::new().with_session();
    let now = door.now();
    let heads = merge_patch(&mut door.bob, "n1", json!({"last": "words"}), now).heads;
    let about = subject(&door.ada, "n1");
    let early = door.hand.record(
        EntryKind::TOMBSTONE,
        Some(about.clone()),
        &cbor::encode(&Tombstone { heads, keeps: None }),
    );
    let never = cbor::encode(&Tombstone { heads: vec![Digest([3; 32])], keeps: None });
    let never = door.hand.record(EntryKind::TOMBSTONE, Some(subject(&door.ada, "n2")), &never);
    let nothing = door.hand.record(
        EntryKind::TOMBSTONE,
        Some(about),
        &cbor::encode(&Tombstone { heads: Vec::new(), keeps: None }),
    );
    door.takes(&[early, never], &[EntryState::Held; 2]);
    assert_eq!(value(&mut door.ada, "n1"), json!({"title": "first"}));
    let log = door.bob.own_log();
    let segment = door.bob.segment(&log, door.ada.size_of_log(&log), None).unwrap().unwrap();
    door.receive(&segment).expect("what it waited for");
    let state = |door: &mut Door, id: &str| door.ada.get(&id.parse().unwrap()).unwrap().expect("known").state;
    assert_eq!(state(&mut door, "n1"), ObjectState::Tombstoned);
    assert_eq!(state(&mut door, "n2"), ObjectState::Blocked);
    assert_eq!(value(&mut door.ada, "n2"), json!({"title": "second"}));
    let segment = door.hand.send(&[nothing]);
    let receipt = door.receive(&segment).expect("taken");
    assert_ne!(receipt.outcomes[0].1.state, EntryState::Admitted, "it deletes nothing");
    door.goes_on();
}

#[test]
fn one_device_does_not_fill_the_workspace_with_epochs() {
    let mut door = Door::new();
    let mut taken = 0;
    for epoch in 0..2 * limits::EPOCHS as u32 {
        door.hand.log.epoch = Epoch(epoch);
        door.hand.tree = Tree::default();
        let session = door.hand.session();
        let segment = door.hand.send(&[session]);
        taken += usize::from(door.receive(&segment).is_ok());
    }
    assert!(taken <= limits::EPOCHS, "{taken} epochs were opened");
    door.goes_on();
}

#[test]
fn a_delete_by_an_honest_device_still_works_beside_all_that() {
    let mut door = Door::new().with_session();
    let held = Tombstone { heads: vec![Digest([3; 32])], keeps: None };
    let held = door.hand.record(EntryKind::TOMBSTONE, Some(subject(&door.ada, "n1")), &cbor::encode(&held));
    door.takes(&[held], &[EntryState::Held]);
    let now = door.now();
    write(&mut door.ada, Intent::Delete { object: "n1".parse().unwrap() }, now).expect("deleted");
    assert_eq!(value(&mut door.ada, "n1"), Value::Null);
    door.goes_on();
}
