//! The first words of a session: who may go on, and what the others are told.
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
use syncd_schema::message::{CloseCode, Control, Hello, MAX_VERSION, features};
use syncd_schema::{LogSeq, Role, WorkspaceId};

/// The hello that a device sends.
fn hello(engine: &syncd_engine::Engine, peer: syncd_schema::DeviceId) -> Hello {
    match Session::new(peer, true).start(engine).remove(0) {
        Output::Control(Control::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn closed(outputs: &[Output]) -> Option<(CloseCode, String)> {
    outputs.iter().find_map(|output| match output {
        Output::Close(code, text) => Some((*code, text.clone())),
        _ => None,
    })
}

#[test]
fn who_does_not_fit_is_told_why_and_learns_nothing() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"secret": 1}), START);
    let (bob, _) = member(&mut ada, 2, Role::Member);
    let good = hello(&bob, ada.device());
    let newer = Hello { min_version: MAX_VERSION + 1, max_version: MAX_VERSION + 3, ..good.clone() };
    let older = Hello { min_version: 0, max_version: 0, ..good.clone() };
    let unable = Hello { features: good.features & !features::REQUIRED, ..good.clone() };
    let elsewhere = Hello { workspace: WorkspaceId([9; 16]), ..good.clone() };
    let cases = [
        (newer, bob.device(), CloseCode::Version, "version"),
        (older, bob.device(), CloseCode::Version, "version"),
        (unable, bob.device(), CloseCode::Version, "update"),
        (elsewhere, bob.device(), CloseCode::Workspace, "workspace"),
        (good.clone(), identity(66).device(), CloseCode::UnknownKey, "ticket"),
    ];
    for (hello, peer, expected, word) in cases {
        let mut session = Session::new(peer, false);
        let outputs = session.handle(&mut ada, Input::Control(Control::Hello(hello)), START).unwrap();
        let (code, text) = closed(&outputs).expect("closed");
        assert_eq!(code, expected);
        assert!(text.contains(word), "{text}");
        assert!(session.is_closed());
        let told = |output: &&Output| {
            matches!(output, Output::Control(Control::Hello(_) | Control::Frontier(_)) | Output::Segment(_))
        };
        assert!(!outputs.iter().any(|output| told(&output)), "{outputs:?}");
        let after = session.handle(&mut ada, Input::Grew, START).unwrap();
        assert!(after.is_empty(), "nothing follows a goodbye");
    }
    // What a later version adds means nothing to this one.
    let mut session = Session::new(bob.device(), false);
    let later = Hello { features: u64::MAX, max_version: u16::MAX, ..good };
    let outputs = session.handle(&mut ada, Input::Control(Control::Hello(later)), START).unwrap();
    assert_eq!(closed(&outputs), None);
}

#[test]
fn words_out_of_place_end_the_session() {
    let (mut ada, _) = owner(1);
    let (bob, _) = member(&mut ada, 2, Role::Member);
    let log = ada.own_log();
    let ack = Control::Ack { log, size: LogSeq(1), outcomes: Vec::new() };
    let want = Control::Want { log, from: LogSeq(0), branch: None };
    for word in [ack, want, Control::Frontier(Vec::new())] {
        let mut session = Session::new(bob.device(), false);
        let outputs = session.handle(&mut ada, Input::Control(word), START).unwrap();
        assert_eq!(closed(&outputs).expect("closed").0, CloseCode::Protocol);
    }
    // A second hello.
    let mut session = Session::new(bob.device(), false);
    let words = hello(&bob, ada.device());
    let first = session.handle(&mut ada, Input::Control(Control::Hello(words.clone())), START).unwrap();
    assert_eq!(closed(&first), None);
    let again = session.handle(&mut ada, Input::Control(Control::Hello(words)), START).unwrap();
    assert_eq!(closed(&again).expect("closed").0, CloseCode::Protocol);
}
