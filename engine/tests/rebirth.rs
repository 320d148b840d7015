//! An object that begins anew: what it was is in no store any more, and nothing that was done since is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use redb::{ReadableDatabase, ReadableTable};
use serde_json::{Value, json};
use syncd_engine::conflict::Choice;
use syncd_engine::log::run;
use syncd_engine::store::Location;
use syncd_engine::store::rows::{PartRow, RunRow};
use syncd_engine::store::seal::SealKey;
use syncd_engine::store::tables::Table;
use syncd_engine::workspace::{CardView, Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::{Actor, Digest, ObjectState, Role, UnixMicros};

const SECRET: &str = "correct horse battery staple";

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn renew(engine: &mut Engine, remains: Remains, n: u64) -> Result<Written, WriteError> {
    let intent = Intent::Rebirth { object: "n1".parse().unwrap(), remains };
    let because = Some("it held a password".to_owned());
    let request = WriteRequest { note: because, ..WriteRequest::new(user(), intent) };
    engine.write(&[request], at(n)).expect("the disk works").0.remove(0)
}

fn answer(engine: &mut Engine, card: Digest, choice: Choice, value: Option<Value>, n: u64) {
    let resolve = Resolve { card, choice, value, pick: None, because: None };
    write(engine, Intent::Resolve(resolve), at(n)).expect("resolved");
}

fn open(engine: &mut Engine) -> Vec<CardView> {
    let open = engine.cards(false).expect("readable");
    let mut open: Vec<CardView> =
        open.iter().map(|card| engine.card(&card.card).expect("readable").expect("known")).collect();
    open.sort_by_key(|card| card.summary.card);
    open
}

fn verified(engine: &mut Engine) {
    let report = engine.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

/// Where a text is in a store, of all that it holds: values unsealed, runs and documents taken apart.
fn places(disk: &Disk, seed: u64, text: &str) -> Vec<&'static str> {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    let copy = Disk(std::sync::Arc::new(std::sync::Mutex::new(disk.0.lock().unwrap().clone())));
    let database = redb::Database::builder().create_with_backend(copy).expect("a database");
    let read = database.begin_read().unwrap();
    let key = SealKey::from_bytes([seed as u8; 32].into());
    let mut found = Vec::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Plain) {
        let definition = redb::TableDefinition::<&[u8], &[u8]>::new(table.name());
        for row in read.open_table(definition).expect("a table").iter().unwrap() {
            let (at, sealed) = row.unwrap();
            let bound = [b"sourceos-syncd/1/store/", table.name().as_bytes(), &[0], at.value()].concat();
            let bytes = key.open(&sealed.value()[1..], &bound).expect("opens");
            let inside = match table {
                Table::Runs => minicbor::decode::<RunRow>(&bytes)
                    .ok()
                    .and_then(|row| run::decode(&row.bytes, row.open_len as usize).ok())
                    .is_some_and(|records| {
                        records.iter().any(|record| record.payload.as_deref().is_some_and(holds))
                    }),
                Table::Docs => {
                    let part: PartRow = minicbor::decode(&bytes).unwrap();
                    part.lengths.is_empty()
                        && automerge::Automerge::load(&part.bytes)
                            .unwrap()
                            .get_changes(&[])
                            .into_iter()
                            .any(|change| holds(change.raw_bytes()))
                }
                _ => false,
            };
            if inside || holds(&bytes) || holds(at.value()) {
                found.push(table.name());
            }
        }
    }
    found
}

/// Devices that hold one object with a secret in it.
struct Team {
    ada: (Engine, Disk),
    bob: (Engine, Disk),
    eve: (Engine, Disk),
}

impl Team {
    fn new() -> Self {
        let mut ada = owner(1);
        let mut bob = member(&mut ada.0, 2, Role::Member);
        let mut eve = member(&mut ada.0, 3, Role::Admin);
        sync(&mut bob.0, &mut ada.0, at(1));
        put(&mut bob.0, "n1", json!({"k": 0, "other": 0}), at(2));
        let mut team = {
            sync(&mut eve.0, &mut ada.0, at(3));
            Self { ada, bob, eve }
        };
        team.meet(10);
        merge_patch(&mut team.bob.0, "n1", json!({"password": SECRET}), at(20));
        merge_patch(&mut team.ada.0, "n1", json!({"other": 1}), at(21));
        team.meet(30);
        merge_patch(&mut team.bob.0, "n1", json!({"password": format!("{SECRET} 2")}), at(40));
        team.meet(50);
        assert_eq!(team.places(SECRET), [(1, true), (2, true), (3, true)], "they are found where they are");
        team
    }

    fn all(&mut self) -> [(u64, &mut Engine, &Disk); 3] {
        let Self { ada, bob, eve } = self;
        [(1, &mut ada.0, &ada.1), (2, &mut bob.0, &bob.1), (3, &mut eve.0, &eve.1)]
    }

    /// Everybody hears of everything, and says the same.
    fn meet(&mut self, n: u64) {
        for round in 0..2 {
            sync(&mut self.bob.0, &mut self.ada.0, at(n + 3 * round));
            sync(&mut self.eve.0, &mut self.bob.0, at(n + 3 * round + 1));
            sync(&mut self.ada.0, &mut self.eve.0, at(n + 3 * round + 2));
        }
        let frontier = self.ada.0.frontier();
        let shown = value(&mut self.ada.0, "n1");
        let cards: Vec<Digest> = open(&mut self.ada.0).iter().map(|card| card.summary.card).collect();
        for (seed, engine, _) in self.all() {
            assert_eq!(engine.frontier(), frontier, "device {seed}");
            assert_eq!(value(engine, "n1"), shown, "device {seed}");
            let here: Vec<Digest> = open(engine).iter().map(|card| card.summary.card).collect();
            assert_eq!(here, cards, "device {seed}: {:?}", open(engine));
            verified(engine);
        }
    }

    fn places(&mut self, text: &str) -> Vec<(u64, bool)> {
        self.all().map(|(seed, _, disk)| (seed, !places(disk, seed, text).is_empty())).to_vec()
    }

    fn forgot(&mut self, text: &str) {
        for (seed, _, disk) in self.all() {
            assert_eq!(places(disk, seed, text), Vec::<&str>::new(), "device {seed}");
        }
    }
}

#[test]
fn what_it_was_is_in_no_store_and_its_author_is_told() {
    let mut team = Team::new();
    let before = team.ada.0.get(&"n1".parse().unwrap()).unwrap().unwrap().heads;
    renew(&mut team.ada.0, Remains::Value(json!({"k": 0, "other": 1})), 60).expect("renewed");
    team.meet(70);
    team.forgot(SECRET);
    for (seed, engine, _) in team.all() {
        assert_eq!(value(engine, "n1"), json!({"k": 0, "other": 1}), "device {seed}");
        let view = engine.get(&"n1".parse().unwrap()).unwrap().unwrap();
        assert!(view.conflicts.is_empty() && view.heads != before, "device {seed}: {view:?}");
        let findings = engine.status().expect("readable").findings;
        let told: Vec<_> = findings.iter().filter(|f| f.kind.word() == "work_dropped").collect();
        // Three changes of bob and one of ada's, who knows.
        assert_eq!(told.len(), usize::from(seed == 2), "device {seed}: {told:?}");
        assert!(told.iter().all(|f| f.text.contains("3 changes") && f.text.contains("password")));
    }
    // Work goes on, from everybody.
    merge_patch(&mut team.bob.0, "n1", json!({"k": 7}), at(80));
    team.meet(90);
    assert_eq!(value(&mut team.eve.0, "n1")["k"], 7);
    // Whoever comes later gets the logs without it.
    let (mut dan, disk) = member(&mut team.ada.0, 4, Role::Member);
    sync(&mut dan, &mut team.ada.0, at(100));
    sync(&mut team.bob.0, &mut team.ada.0, at(101));
    sync(&mut dan, &mut team.bob.0, at(102));
    sync(&mut team.ada.0, &mut dan, at(103));
    assert_eq!(value(&mut dan, "n1"), json!({"k": 7, "other": 1}));
    assert_eq!(dan.frontier(), team.ada.0.frontier());
    assert!(places(&disk, 4, SECRET).is_empty());
    verified(&mut dan);
    assert!(open(&mut dan).is_empty());
    assert_eq!(dan.status().unwrap().held, 0, "nothing waits for what was dropped");
}

#[test]
fn what_is_shown_stays_where_nothing_else_is_said() {
    let mut team = Team::new();
    merge_patch(&mut team.bob.0, "n1", json!({"password": null}), at(55));
    team.meet(56);
    renew(&mut team.eve.0, Remains::Shown, 60).expect("renewed");
    team.meet(70);
    team.forgot(SECRET);
    assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 0, "other": 1}));
}

#[test]
fn late_work_waits_on_a_card_and_is_answered() {
    for choice in [Choice::Decline, Choice::Merge] {
        let mut team = Team::new();
        merge_patch(&mut team.bob.0, "n1", json!({"late": "one more thing", "k": 5}), at(60));
        merge_patch(&mut team.eve.0, "n1", json!({"note": "and another"}), at(61));
        renew(&mut team.ada.0, Remains::Value(json!({"k": 0})), 62).expect("renewed");
        team.meet(70);
        team.forgot(SECRET);
        assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 0}), "it is not in the object");
        let view = team.bob.0.get(&"n1".parse().unwrap()).unwrap().unwrap();
        assert_eq!((view.state, view.conflicts.len()), (ObjectState::Conflicted, 1));
        assert_eq!(view.conflicts[0].values.len(), 2);
        let card = open(&mut team.eve.0).remove(0);
        assert_eq!(card.summary.kind, "late_work");
        let said: Vec<&Value> = card.values.iter().map(|side| &side.said.value["set"]).collect();
        assert!(said.contains(&&json!({"late": "one more thing", "k": 5})), "{said:?}");
        assert!(said.contains(&&json!({"note": "and another"})), "{said:?}");
        assert!(card.values.iter().all(|side| side.said.device.is_some() && side.said.operation.is_some()));
        // Who may not erase does not answer.
        let resolve = Resolve {
            card: card.summary.card,
            choice,
            value: Some(json!({"k": 5})),
            pick: None,
            because: None,
        };
        let refused = write(&mut team.bob.0, Intent::Resolve(resolve), at(78));
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        let wanted = (choice == Choice::Merge).then(|| json!({"k": 5}));
        answer(&mut team.eve.0, card.summary.card, choice, wanted, 80);
        team.meet(90);
        team.forgot("one more thing");
        team.forgot("and another");
        assert!(open(&mut team.bob.0).is_empty());
        let k = if choice == Choice::Merge { 5 } else { 0 };
        assert_eq!(value(&mut team.bob.0, "n1"), json!({ "k": k }));
        let ended = team.bob.0.card(&card.summary.card).unwrap().unwrap();
        assert_eq!(ended.resolution.expect("decided").option, "rebirth");
    }
}

#[test]
fn a_deletion_by_somebody_who_did_not_know_is_late_too() {
    let mut team = Team::new();
    write(&mut team.bob.0, Intent::Delete { object: "n1".parse().unwrap() }, at(60)).expect("deleted");
    renew(&mut team.ada.0, Remains::Value(json!({"k": 0})), 61).expect("renewed");
    team.meet(70);
    assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 0}));
    let card = open(&mut team.ada.0).remove(0);
    assert_eq!(card.values[0].said.value, json!({"deletes": "the object"}));
    answer(&mut team.ada.0, card.summary.card, Choice::Decline, None, 80);
    team.meet(90);
    assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 0}));
    assert!(open(&mut team.ada.0).is_empty());
}

#[test]
fn two_at_once_agree_or_leave_the_choice() {
    for same in [true, false] {
        let mut team = Team::new();
        let other = if same { json!({"k": 1}) } else { json!({"k": 2}) };
        renew(&mut team.ada.0, Remains::Value(json!({"k": 1})), 60).expect("renewed");
        renew(&mut team.eve.0, Remains::Value(other), 61).expect("renewed");
        team.meet(70);
        team.forgot(SECRET);
        let cards = open(&mut team.bob.0);
        assert_eq!(cards.len(), usize::from(!same));
        if let [card] = cards.as_slice() {
            assert_eq!((card.summary.kind, card.values.len()), ("duplicate_identity", 2));
            answer(&mut team.bob.0, card.summary.card, Choice::Local, None, 80);
            team.meet(90);
            assert!(open(&mut team.eve.0).is_empty());
        } else {
            assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 1}));
        }
    }
}

#[test]
fn a_deleted_object_is_erased_and_its_id_can_be_used_again() {
    let mut team = Team::new();
    write(&mut team.bob.0, Intent::Delete { object: "n1".parse().unwrap() }, at(60)).expect("deleted");
    team.meet(61);
    assert_ne!(team.places(SECRET), [(1, false), (2, false), (3, false)], "a deletion keeps what was");
    renew(&mut team.ada.0, Remains::Nothing, 70).expect("erased");
    team.meet(80);
    team.forgot(SECRET);
    assert_eq!(value(&mut team.bob.0, "n1"), Value::Null);
    // The very value it was born with.
    put(&mut team.bob.0, "n1", json!({"k": 0, "other": 0}), at(90));
    team.meet(91);
    assert_eq!(value(&mut team.eve.0, "n1"), json!({"k": 0, "other": 0}));
}

#[test]
fn it_can_begin_anew_again_and_again() {
    let mut team = Team::new();
    for n in 0..3 {
        renew(&mut team.ada.0, Remains::Value(json!({"k": 0})), 100 * n + 100).expect("renewed");
        merge_patch(&mut team.ada.0, "n1", json!({"more": format!("round {n}")}), at(100 * n + 101));
        team.meet(100 * n + 110);
    }
    for n in 0..2 {
        team.forgot(&format!("round {n}"));
    }
    assert_eq!(value(&mut team.bob.0, "n1"), json!({"k": 0, "more": "round 2"}));
}

#[test]
fn what_waited_is_dropped_with_the_rest_and_its_card_ends() {
    let mut team = Team::new();
    let edit = Edit::MergePatch(json!({"offer": "take this"}));
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
    let agent: Actor = "agent:bot".parse().unwrap();
    let proposed = team.bob.0.write(&[WriteRequest::new(agent, intent)], at(60)).unwrap().0.remove(0);
    assert!(proposed.expect("proposed").card.is_some());
    team.meet(61);
    assert_eq!(open(&mut team.ada.0).len(), 1);
    renew(&mut team.ada.0, Remains::Shown, 70).expect("renewed");
    team.meet(80);
    team.forgot("take this");
    assert!(open(&mut team.bob.0).is_empty());
}

#[test]
fn only_people_who_govern_may() {
    let mut team = Team::new();
    let refused = renew(&mut team.bob.0, Remains::Nothing, 60);
    assert!(
        matches!(&refused, Err(WriteError::Refused(why)) if why.decision.in_words().contains("only they erase"))
    );
    let intent = Intent::Rebirth { object: "n1".parse().unwrap(), remains: Remains::Nothing };
    let request = WriteRequest::new("agent:bot".parse().unwrap(), intent);
    let refused = team.ada.0.write(&[request], at(61)).unwrap().0.remove(0);
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
    team.meet(70);
    assert_eq!(value(&mut team.ada.0, "n1")["password"], format!("{SECRET} 2"));
}

#[test]
fn what_comes_after_the_rebirth_is_never_written_down() {
    let mut team = Team::new();
    // Bob's work is here in ada's store alone, and eve hears of the rebirth first.
    let lost = "said to ada alone";
    merge_patch(&mut team.bob.0, "n1", json!({ "lost": lost }), at(60));
    sync(&mut team.bob.0, &mut team.ada.0, at(61));
    let from = team.ada.0.size_of_log(&team.ada.0.own_log());
    let bobs = team.eve.0.size_of_log(&team.bob.0.own_log());
    let segment = team.bob.0.segment(&team.bob.0.own_log(), bobs, None).unwrap().expect("news");
    renew(&mut team.ada.0, Remains::Value(json!({"k": 0})), 62).expect("renewed");
    let rebirth = team.ada.0.segment(&team.ada.0.own_log(), from, None).unwrap().expect("news");
    team.eve.0.receive(team.ada.0.device(), &rebirth, at(63)).expect("taken");
    team.eve.0.receive(team.bob.0.device(), &segment, at(64)).expect("taken");
    assert_eq!(places(&team.eve.1, 3, lost), Vec::<&str>::new());
    team.meet(70);
    team.forgot(lost);
}

#[test]
fn a_payload_that_somebody_withheld_is_fetched_from_somebody_else() {
    let (mut ada, _) = owner(1);
    let mut hand = Hand::enrolled(&mut ada, 2, Role::Member);
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    let (mut dan, _) = member(&mut ada, 4, Role::Member);
    let records = [hand.session(), hand.birth("n1", json!({"k": 1}))];
    let whole = hand.send(&records);
    let mut stripped = records.clone();
    stripped[1].payload = None;
    let run = run::encode(&stripped);
    let stripped = hand.seal(syncd_schema::LogSeq(0), 2, &run.bytes, run.open_len as u32);
    sync(&mut eve, &mut ada, at(1));
    sync(&mut dan, &mut ada, at(2));
    eve.receive(ada.device(), &stripped, at(3)).expect("taken: a rebirth may explain it");
    dan.receive(ada.device(), &whole, at(3)).expect("taken");
    assert_eq!(value(&mut eve, "n1"), Value::Null);
    verified(&mut eve);
    sync(&mut eve, &mut dan, at(4));
    assert_eq!(value(&mut eve, "n1"), json!({"k": 1}));
    assert_eq!(eve.status().unwrap().held, 0);
    verified(&mut eve);

    // What is no change has to be there.
    let mut session = hand.session();
    session.payload = None;
    hand.tree.append(syncd_evidence::merkle::leaf_hash(&session.entry.to_bytes()));
    let run = run::encode(&[session]);
    let segment = hand.seal(syncd_schema::LogSeq(2), 1, &run.bytes, run.open_len as u32);
    assert!(eve.receive(ada.device(), &segment, at(6)).is_err());
}

#[test]
fn the_file_does_not_keep_it_either_and_a_crash_does_not_forget_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let config =
        || syncd_engine::Config { location: Location::File(path.clone()), ..config(1, &Disk::default()) };
    let mut ada = Engine::create(config(), "desk", START).expect("created");
    put(&mut ada, "n1", json!({"k": SECRET.repeat(20)}), at(1));
    for n in 0..40 {
        put(&mut ada, &format!("m{n}"), json!({"k": n}), at(2 + n));
    }
    // The sealed bytes under which the document lies, as they are on disk.
    let sealed = {
        let disk = Disk(std::sync::Arc::new(std::sync::Mutex::new(std::fs::read(&path).unwrap())));
        let database = redb::Database::builder().create_with_backend(disk).unwrap();
        let read = database.begin_read().unwrap();
        let docs = read.open_table(redb::TableDefinition::<&[u8], &[u8]>::new("docs")).unwrap();
        let (_, sealed) = docs.iter().unwrap().next().unwrap().unwrap();
        sealed.value().to_vec()
    };
    assert!(sealed.len() > 500);
    let on_disk = || {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(64).any(|part| part == &sealed[100..164])
    };
    assert!(on_disk());
    renew(&mut ada, Remains::Value(json!({"k": ""})), 60).expect("renewed");
    assert!(ada.owes_erasure() && on_disk(), "freed pages keep what they held");
    drop(ada);
    // Whatever ended the process, opening the store again does it.
    let mut ada = Engine::open(config()).expect("opens");
    assert!(!on_disk() && !ada.owes_erasure() && !ada.finish_erasure().unwrap());
    merge_patch(&mut ada, "n1", json!({"k": SECRET.repeat(20)}), at(61));
    renew(&mut ada, Remains::Value(json!({"k": ""})), 62).expect("renewed");
    assert!(ada.finish_erasure().expect("erased") && !ada.owes_erasure());
    // It is the same store.
    put(&mut ada, "m99", json!({"k": 1}), at(70));
    verified(&mut ada);
    drop(ada);
    let mut ada = Engine::open(config()).expect("opens");
    assert!(!ada.owes_erasure());
    assert_eq!((value(&mut ada, "n1"), value(&mut ada, "m7")), (json!({"k": ""}), json!({"k": 7})));
    verified(&mut ada);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}
