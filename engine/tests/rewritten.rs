//! The store's file written anew: whatever interrupts it leaves one whole store and nothing beside it, and nobody else gets
//! in between.
#![cfg(unix)]
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
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use syncd_engine::store::StoreError;
use syncd_engine::workspace::Remains;
use syncd_engine::{Config, Engine, Intent, Location, OpenError};

fn on(path: &Path) -> Config {
    Config { location: Location::File(path.to_owned()), ..config(1, &Disk::default()) }
}

/// A store that owes an erasure.
fn owing(path: &Path) -> Engine {
    let mut ada = Engine::create(on(path), "desk", START).expect("created");
    for n in 0..60 {
        put(&mut ada, &format!("n{n}"), json!({"k": "x".repeat(500)}), START.plus(1 + n));
    }
    erase(&mut ada, "n1", 100);
    assert!(ada.owes_erasure());
    ada
}

fn erase(engine: &mut Engine, id: &str, n: u64) {
    let intent = Intent::Rebirth { object: id.parse().unwrap(), remains: Remains::Nothing };
    write(engine, intent, START.plus(n)).expect("erased");
}

fn beside(path: &Path) -> Vec<String> {
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn unfinished(path: &Path, process: u32) -> PathBuf {
    path.with_extension(format!("rewritten-{process}"))
}

#[test]
fn what_a_kill_left_beside_it_goes_when_the_store_is_opened_and_is_never_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(owing(&path));
    // Killed while it copied, by this process's number or another's; and things that are somebody else's.
    std::fs::copy(&path, unfinished(&path, 1)).unwrap();
    std::fs::write(unfinished(&path, std::process::id()), b"half").unwrap();
    for name in ["other.rewritten-1", "store.rewritten-old"] {
        std::fs::write(folder.path().join(name), b"not ours").unwrap();
    }
    let mut ada = Engine::open(on(&path)).expect("opens");
    assert!(!ada.owes_erasure(), "done when it was opened");
    let mut names = beside(&path);
    names.sort();
    assert_eq!(names, ["other.rewritten-1", "store.redb", "store.rewritten-old"]);
    assert_eq!(value(&mut ada, "n2"), json!({"k": "x".repeat(500)}));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ada.verify(|_, _| {}).unwrap().ok);
}

#[test]
fn when_it_cannot_be_written_the_store_is_as_before_and_it_is_done_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut ada = owing(&path);
    // Something that is no file has the name, and cannot be removed as one.
    let obstacle = unfinished(&path, std::process::id());
    std::fs::create_dir(&obstacle).unwrap();
    assert!(matches!(ada.finish_erasure(), Err(StoreError::Commit { .. })));
    assert!(ada.owes_erasure());
    put(&mut ada, "more", json!({"k": 1}), START.plus(200));
    drop(ada);
    std::fs::remove_dir(&obstacle).unwrap();
    let mut ada = Engine::open(on(&path)).expect("opens");
    assert!(!ada.owes_erasure());
    assert_eq!(value(&mut ada, "more"), json!({"k": 1}));
    assert_eq!(beside(&path), ["store.redb"]);
}

#[test]
fn nobody_gets_in_while_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut ada = owing(&path);
    let done = AtomicBool::new(false);
    let tried = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut tried = 0;
            while !done.load(Ordering::Relaxed) {
                let opened = Engine::open(on(&path));
                assert!(matches!(&opened, Err(OpenError::Store(StoreError::Busy { .. }))), "{opened:?}");
                tried += 1;
            }
            tried
        });
        let written: Result<Vec<bool>, StoreError> = (0..30)
            .map(|n| {
                let is_written = ada.finish_erasure();
                erase(&mut ada, &format!("n{}", n + 2), 300 + n);
                is_written
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(written.expect("written").iter().all(|is_written| *is_written));
        other.join().expect("it never got in")
    });
    assert!(tried > 0);
    // It is one file all the time: what was written is in the one that has the name.
    put(&mut ada, "last", json!({"k": 1}), START.plus(400));
    drop(ada);
    let mut ada = Engine::open(on(&path)).expect("opens");
    assert_eq!(value(&mut ada, "last"), json!({"k": 1}));
    assert!(ada.verify(|_, _| {}).unwrap().ok);
}
