//! Records, decisions and findings.

use crate::inputs::*;
use crate::vectors::*;
use std::collections::BTreeMap;
use syncd_engine::ledger;
use syncd_engine::store::rows::RunRow;
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Coverage, CoveredLog, Finding, FindingKind, Outcome, Record, RecordKind, Severity};
use syncd_policy::{Decision, Verdict};
use syncd_schema::{LogSeq, OperationType, cbor};

fn record() -> Record {
    Record {
        covers: Some(Coverage { log: CoveredLog::Device(log()), first: LogSeq(290), count: 10 }),
        decision: Some(digest(0x81)),
        ..ledger::record(RecordKind::Admission, Outcome::Admitted, OperationType::Replay, &actor(), device())
    }
}

fn decision() -> Decision {
    Decision {
        verdict: Verdict::Refuse,
        policies: vec!["device.quiet".to_owned(), "workspace.0badcafe.pay".to_owned()],
        errors: Vec::new(),
        policy_version: digest(0x82),
        inputs: BTreeMap::from([("aa".to_owned(), "2".to_owned()), ("b".to_owned(), "1".to_owned())]),
        reasons: vec!["Pay is settled by payroll.".to_owned()],
        advice: vec!["Ask payroll.".to_owned()],
    }
}

fn finding() -> Finding {
    Finding::new(
        FindingKind::LogFork,
        "log 03a107bf/2",
        Severity::Critical,
        "two histories",
        "pair again",
        TIME,
    )
    .with_evidence(digest(0x83))
}

#[test]
fn evidence() {
    let mut file = File::open(
        "evidence.json",
        "Ledger records, a packed run of them, a decision with its digest and a finding with its id.",
    );
    let mut noted = Record {
        covers: Some(Coverage { log: CoveredLog::Local, first: LogSeq(0), count: 1 }),
        subject: Some(subject(digest(0x84))),
        data: Some(cbor::encode(&vec![digest(0x85), digest(0x86)])),
        ..ledger::record(RecordKind::Refusal, Outcome::Refused, OperationType::Enqueue, &actor(), device())
    };
    noted.set_note("not on a Sunday");
    let records = [("record", record()), ("record with everything", noted.clone())];
    for (vector, record) in records {
        file.exact(vector, &record.to_bytes(), |kept| {
            let read = Record::from_bytes(kept).expect("a record");
            assert_eq!(read, record);
            (read.to_bytes(), facts([("leaf", text(leaf_hash(kept)))]))
        });
    }
    for (vector, list) in [("ledger run", vec![record()]), ("ledger run, compressed", vec![noted.clone(); 8])]
    {
        let encoded = ledger::encode(&list);
        let (count, open_len) = (list.len() as u32, encoded.open_len as u32);
        file.packed(vector, &encoded.bytes, |kept| {
            let row = RunRow { count, open_len, checkpoint: checkpoint(1), bytes: kept.to_vec() };
            assert_eq!(ledger::decode(&row).expect("a run"), list);
            facts([("records", list.iter().map(|record| bytes(record.to_bytes())).collect())])
        });
    }
    file.exact("decision", &decision().to_bytes(), |kept| {
        let read = Decision::from_bytes(kept).expect("a decision");
        assert_eq!(read, decision());
        (read.to_bytes(), facts([("digest", text(read.digest()))]))
    });
    file.exact("finding", &finding().to_bytes(), |kept| {
        let read = Finding::from_bytes(kept).expect("a finding");
        assert_eq!(read, finding());
        (read.to_bytes(), facts([("id", text(read.id()))]))
    });
    file.done();
}
