//! Findings: one for each kind of trouble at each place, however often it is met; told to the ledger once, listed in
//! order, named by explanations, and never more than somebody can read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::json;
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::{Engine, Event};
use syncd_evidence::{Finding, FindingKind, Record, RecordKind, Severity};
use syncd_schema::message::CloseCode;
use syncd_schema::{Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(10_000_000 + n)
}

fn finding(kind: FindingKind, place: &str, severity: Severity, n: u64) -> Finding {
    Finding::new(kind, place, severity, "it went wrong", "look at it", at(n))
}

/// The ledger's records of findings, newest first.
fn recorded(engine: &Engine) -> Vec<Record> {
    let records = engine.evidence(10_000).unwrap();
    records.into_iter().filter(|record| record.kind == RecordKind::Finding).collect()
}

#[test]
fn a_thousand_times_the_same_is_one_row_and_one_record_also_after_a_restart() {
    let (mut ada, disk) = owner(1);
    let before = ada.evidence(10_000).unwrap().len();
    for n in 0..1_000 {
        if n == 500 {
            ada.close().unwrap();
            ada = Engine::open(config(1, &disk)).unwrap();
        }
        let events = ada.note_finding(finding(FindingKind::LogFork, "log 1", Severity::Warning, n)).unwrap();
        let told = events.iter().filter(|event| matches!(event, Event::Finding { .. })).count();
        assert_eq!(told, usize::from(n == 0), "{n}");
    }
    let found = ada.findings().unwrap();
    assert_eq!((found.len(), found[0].count), (1, 1_000));
    assert_eq!((found[0].first_at, found[0].last_at), (at(0), at(999)));
    assert_eq!(ada.evidence(10_000).unwrap().len(), before + 1);
    let record = &recorded(&ada)[0];
    let kept = Finding::from_bytes(record.data.as_ref().unwrap()).unwrap();
    assert_eq!((kept.place.as_str(), kept.count), ("log 1", 1));
    assert!(record.note.as_ref().unwrap().contains("log_fork, log 1: it went wrong"));

    // What grows more severe is news to the ledger, once.
    for n in 1_000..1_003 {
        ada.note_finding(finding(FindingKind::LogFork, "log 1", Severity::Critical, n)).unwrap();
    }
    assert_eq!(recorded(&ada).len(), 2);
    assert!(ada.verify(|_, _| {}).unwrap().ok);
}

#[test]
fn places_that_are_made_up_fill_neither_the_list_nor_the_ledger() {
    let (mut ada, disk) = owner(1);
    for n in 0..400 {
        if n == 300 {
            ada.close().unwrap();
            ada = Engine::open(config(1, &disk)).unwrap();
        }
        let place = format!("object {n}");
        ada.note_finding(finding(FindingKind::RefusedPayload, &place, Severity::Warning, n)).unwrap();
    }
    let found = ada.findings().unwrap();
    assert_eq!(found.len(), 129, "128 places, and one for all others");
    let rest = found.iter().find(|finding| finding.place == "more places than are listed").unwrap();
    assert_eq!(rest.count, 400 - 128);
    assert_eq!(recorded(&ada).len(), 129);
    // Another kind has room of its own, and what is listed is still counted.
    ada.note_finding(finding(FindingKind::Rollback, "log 1", Severity::Critical, 1)).unwrap();
    ada.note_finding(finding(FindingKind::RefusedPayload, "object 5", Severity::Warning, 500)).unwrap();
    let found = ada.findings().unwrap();
    assert_eq!((found.len(), found[0].kind), (130, FindingKind::Rollback), "the most severe comes first");
    assert_eq!((found[1].place.as_str(), found[1].count), ("object 5", 2), "then what was met last");
}

#[test]
fn every_kind_is_kept_with_its_place_its_severity_and_a_next_step() {
    let (mut ada, _) = owner(1);
    for (n, kind) in FindingKind::ALL.into_iter().enumerate() {
        ada.note_finding(finding(kind, "here", Severity::Notice, n as u64)).unwrap();
    }
    let listed = ada.status().unwrap().findings;
    assert_eq!(listed.len(), FindingKind::ALL.len());
    for finding in listed {
        assert!(finding.check().is_ok() && !finding.next.is_empty() && finding.place == "here");
    }
}

#[test]
fn an_explanation_names_what_was_found_about_its_subject_and_nothing_else() {
    let (mut ada, _) = owner(1);
    let first = put(&mut ada, "n1", json!({"a": 1}), at(0));
    put(&mut ada, "n11", json!({"a": 1}), at(1));
    let of_operation = format!("object n9 in operation {}", first.operation);
    for (n, place) in ["object n1", "object n1 by 0011aabb", of_operation.as_str()].into_iter().enumerate() {
        let found = Finding {
            text: format!("trouble {n}"),
            next: format!("step {n}"),
            ..finding(FindingKind::LimitReached, place, Severity::Warning, 2)
        };
        ada.note_finding(found).unwrap();
    }
    let explained = |id: &str| {
        let explained = ada.explain(id).unwrap().unwrap();
        let has = |list: &[String], word: &str| list.iter().any(|line| line.contains(word));
        [0, 1, 2].map(|n| {
            let (because, next) = (
                has(&explained.because, &format!("trouble {n}")),
                has(&explained.next, &format!("step {n}")),
            );
            assert_eq!(because, next);
            because
        })
    };
    assert_eq!(explained("n1"), [true, true, false]);
    assert_eq!(explained("n11"), [false, false, false]);
    assert_eq!(explained(&first.operation.to_string()), [false, false, true]);
}

#[test]
fn what_a_member_says_that_is_no_message_is_found_and_what_a_stranger_says_is_not() {
    let (mut ada, _) = owner(1);
    let (bob, _) = member(&mut ada, 2, Role::Member);
    for (peer, times) in [(bob.device(), 3), (identity(66).device(), 3)] {
        for n in 0..times {
            let mut session = Session::new(peer, false);
            let outputs = session.handle(&mut ada, Input::Broken("no message".to_owned()), at(n)).unwrap();
            assert!(session.is_closed());
            let ends = |output: &Output| matches!(output, Output::Close(CloseCode::Protocol, _));
            assert!(outputs.last().is_some_and(ends), "{outputs:?}");
        }
    }
    let found = ada.findings().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].count), (FindingKind::BrokenProtocol, 3));
    assert_eq!(found[0].place, format!("device {}", bob.device()));
    assert!(found[0].text.contains("no message"));
}
