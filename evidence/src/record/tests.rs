//! Tests of the record format and of coalescing, apart because they are as long as the format.

use super::*;
use syncd_schema::{Epoch, Incarnation, WorkspaceId};

fn log(epoch: u32) -> CoveredLog {
    let (workspace, device) = (WorkspaceId([1; 16]), DeviceId([2; 32]));
    CoveredLog::Device(LogId { workspace, device, epoch: Epoch(epoch) })
}

fn subject(object: &str) -> Subject {
    Subject {
        collection: "notes".parse().expect("a collection"),
        object: object.parse().expect("an object"),
        incarnation: Incarnation([3; 32]),
    }
}

fn record(first: u64, count: u64) -> Record {
    Record {
        version: RECORD_VERSION,
        id: OperationId::at(UnixMicros(1_000).plus(first), 7),
        at: UnixMicros(1_000).plus(first),
        actor: "user:ada".parse().expect("an actor"),
        device: DeviceId([4; 32]),
        kind: RecordKind::Admission,
        outcome: Outcome::Admitted,
        operation: OperationType::Replay,
        covers: Some(Coverage { log: log(0), first: LogSeq(first), count }),
        subject: Some(subject("a")),
        decision: Some(Digest([5; 32])),
        note: None,
        data: None,
    }
}

#[test]
fn records_of_every_kind_outcome_and_operation_come_back() {
    for kind in RecordKind::ALL {
        for outcome in Outcome::ALL {
            for operation in operation_code::CODES {
                let original = Record { kind, outcome, operation, ..record(0, 1) };
                assert_eq!(Record::from_bytes(&original.to_bytes()).expect("decodes"), original);
            }
        }
    }
}

#[test]
fn optional_fields_come_back_present_and_absent() {
    let full = Record { note: Some("because".into()), data: Some(vec![0xff; 9]), ..record(3, 2) };
    let local = Coverage { log: CoveredLog::Local, first: LogSeq(0), count: 1 };
    let bare = Record { covers: Some(local), subject: None, decision: None, ..record(3, 2) };
    let empty = Record { covers: None, data: Some(Vec::new()), ..bare.clone() };
    for original in [full, bare, empty] {
        assert_eq!(Record::from_bytes(&original.to_bytes()).expect("decodes"), original);
    }
}

#[test]
fn the_largest_record_fits_its_limit_and_one_byte_more_is_refused() {
    let longest = "x".repeat(128);
    let largest = Record {
        actor: format!("connector:{}", "y".repeat(118)).parse().expect("the longest actor"),
        subject: Some(Subject { collection: longest.parse().expect("a name"), ..subject(&longest) }),
        note: Some("n".repeat(NOTE_BYTES)),
        data: Some(vec![0; DATA_BYTES]),
        ..record(u64::MAX - 1, 1)
    };
    assert_eq!(Record::from_bytes(&largest.to_bytes()).expect("fits"), largest);

    let note = Record { note: Some("n".repeat(NOTE_BYTES + 1)), ..record(0, 1) };
    let data = Record { data: Some(vec![0; DATA_BYTES + 1]), ..record(0, 1) };
    for refused in [note, data, record(0, 0), record(u64::MAX, 1), Record { version: 2, ..record(0, 1) }] {
        assert!(matches!(Record::from_bytes(&refused.to_bytes()), Err(CborError::Invalid { .. })));
    }
    let mut cut = record(0, 1);
    cut.set_note(&"ä".repeat(NOTE_BYTES));
    assert!(cut.check().is_ok());
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let bytes = record(0, 1).to_bytes();
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(Record::from_bytes(&trailing).is_err());

    // The version again, in two bytes instead of one.
    let mut longer = bytes.clone();
    assert_eq!(longer[1], RECORD_VERSION);
    longer.splice(1..2, [0x18, RECORD_VERSION]);
    assert!(matches!(Record::from_bytes(&longer), Err(CborError::NotCanonical { .. })));

    // An array without its length: 0x9f ... 0xff.
    let mut open = bytes;
    open[0] = 0x9f;
    open.push(0xff);
    assert!(matches!(Record::from_bytes(&open), Err(CborError::NotCanonical { .. })));
}

#[test]
fn unknown_codes_are_refused() {
    assert_eq!(cbor::encode(&RecordKind::Replay), [13]);
    assert!(cbor::decode::<RecordKind>("kind", &[14], 1).is_err());
    assert!(cbor::decode::<Outcome>("outcome", &[6], 1).is_err());
    let mut decoder = Decoder::new(&[8]);
    assert!(operation_code::decode(&mut decoder, &mut ()).is_err());
}

#[test]
fn a_batch_becomes_one_record_in_whatever_order_it_comes() {
    let batch: Vec<Record> = (0..10).map(|seq| record(10 + seq, 1)).collect();
    let mut forward = batch[0].clone();
    assert!(batch[1..].iter().all(|next| forward.coalesce(next)));
    let mut backward = batch[9].clone();
    assert!(batch[..9].iter().rev().all(|next| backward.coalesce(next)));
    assert_eq!(forward, record(10, 10));
    assert_eq!(backward, forward);
}

#[test]
fn a_subject_survives_only_while_all_agree() {
    let mut whole = record(0, 1);
    assert!(whole.coalesce(&record(1, 1)));
    assert_eq!(whole.subject, Some(subject("a")));
    assert!(whole.coalesce(&Record { subject: Some(subject("b")), ..record(2, 1) }));
    assert_eq!(whole.subject, None);
    assert!(whole.coalesce(&record(3, 1)));
    assert_eq!(whole.subject, None);
}

#[test]
fn what_differs_or_does_not_adjoin_stays_apart() {
    let other_log = Coverage { log: log(1), first: LogSeq(5), count: 1 };
    let differing = [
        record(6, 1),
        record(4, 1),
        record(3, 3),
        Record { covers: Some(other_log), ..record(5, 1) },
        Record { covers: None, ..record(5, 1) },
        Record { kind: RecordKind::Refusal, ..record(5, 1) },
        Record { outcome: Outcome::Held, ..record(5, 1) },
        Record { operation: OperationType::Enqueue, ..record(5, 1) },
        Record { decision: None, ..record(5, 1) },
        Record { device: DeviceId([9; 32]), ..record(5, 1) },
        Record { actor: Actor::system(), ..record(5, 1) },
        Record { note: Some("x".into()), ..record(5, 1) },
        Record { data: Some(vec![1]), ..record(5, 1) },
    ];
    for other in differing {
        let mut kept = record(3, 2);
        assert!(!kept.coalesce(&other), "{other:?}");
        assert_eq!(kept, record(3, 2));
    }
    let mut last = record(u64::MAX - 2, 1);
    assert!(!last.coalesce(&record(u64::MAX - 1, 2)), "a range must end");
    assert!(last.coalesce(&record(u64::MAX - 1, 1)));
}

#[test]
fn coverage_knows_its_entries() {
    let covers = Coverage { log: log(0), first: LogSeq(3), count: 2 };
    let inside: Vec<u64> = (0..9).filter(|seq| covers.contains(&log(0), LogSeq(*seq))).collect();
    assert_eq!(inside, [3, 4]);
    assert!(!covers.contains(&log(1), LogSeq(3)));
}

#[test]
fn words_are_the_same_for_people_and_in_json() {
    for kind in RecordKind::ALL {
        assert_eq!(text::serde_word(&kind), kind.word());
    }
    for outcome in Outcome::ALL {
        assert_eq!(text::serde_word(&outcome), outcome.word());
    }
}
