//! Many callers, one engine: each gets its own answer, calls made together share commits, and no caller waits for
//! ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod common;

use common::*;
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use syncd_engine::{CallError, Edit, Event, Intent, Shared, WriteError, WriteRequest};

const CALLERS: usize = 16;
const CALLS: usize = 40;

fn birth(id: &str, n: usize) -> WriteRequest {
    let (collection, object) = ("notes".parse().unwrap(), Some(id.parse().unwrap()));
    WriteRequest::new(user(), Intent::Put { collection, object, value: json!({"n": n}) })
}

#[test]
fn every_caller_gets_its_own_answer_and_calls_share_commits() {
    let shared = Shared::new(owner(1).0);
    let commits = Arc::new(Mutex::new(0_usize));
    let count = Arc::clone(&commits);
    shared.listen(Arc::new(move |events: &[Event]| {
        *count.lock().unwrap() += usize::from(!events.is_empty());
    }));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let shared = shared.clone();
            scope.spawn(move || {
                for n in 0..CALLS {
                    let id = format!("c{caller}-{n}");
                    let written = shared.write(birth(&id, n), || START).expect("written");
                    assert_eq!(written.object.expect("an object").to_string(), id);
                    // What is answered can be read at once.
                    assert_eq!(shared.with(|engine| value(engine, &id)), json!({"n": n}));
                    // A refusal goes to the caller who earned it.
                    let again = shared.write(birth(&id, n), || START).expect_err("there is one");
                    assert!(
                        matches!(again, CallError::Write(error) if matches!(*error, WriteError::Exists(_)))
                    );
                }
            });
        }
    });
    assert_eq!(shared.with(|engine| engine.object_count()), (CALLERS * CALLS) as u64);
    assert!(*commits.lock().unwrap() < CALLERS * CALLS, "callers that wait together share a commit");
}

#[test]
fn a_panic_while_leading_leaves_nobody_waiting() {
    let shared = Shared::new(owner(1).0);
    shared.write(birth("counter", 0), || START).expect("written");
    let together = Barrier::new(CALLERS);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (shared, together, outcomes) = (shared.clone(), &together, &outcomes);
            scope.spawn(move || {
                together.wait();
                for _ in 0..CALLS {
                    let edit = Edit::MergePatch(json!({"by": caller}));
                    let intent = Intent::Edit { object: "counter".parse().unwrap(), base: None, edit };
                    // The clock of every fourth caller breaks, while it leads.
                    let clock = || if caller % 4 == 0 { panic!("no clock") } else { START };
                    let call = || shared.write(WriteRequest::new(user(), intent.clone()), clock);
                    let outcome = catch_unwind(AssertUnwindSafe(call));
                    outcomes.lock().unwrap().push(match outcome {
                        Ok(Ok(_)) => "written",
                        Ok(Err(CallError::Interrupted)) => "interrupted",
                        Ok(Err(error)) => panic!("{error}"),
                        Err(_) => "panicked",
                    });
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let count = |what| outcomes.iter().filter(|outcome| **outcome == what).count();
    assert_eq!(outcomes.len(), CALLERS * CALLS, "everybody came back");
    assert!(count("written") > 0 && count("panicked") > 0, "{} {}", count("written"), count("panicked"));
    shared.write(birth("afterwards", 1), || START).expect("and it goes on");
}
