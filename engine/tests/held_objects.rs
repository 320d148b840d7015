//! What is deleted, shared or broken while something of it is held: the same questions on every device, and a way out of
//! each.
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
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{ObjectView, Resolve};
use syncd_engine::{Engine, Intent};
use syncd_schema::{Digest, EntryKind, ObjectState, Role, UnixMicros};

const ADA: usize = 0;
const BOB: usize = 1;
const EVE: usize = 2;

/// Three devices with one object of class high, in which Ada and Bob have contradicted each other.
struct Three {
    all: [Engine; 3],
    now: u64,
}

impl Three {
    fn at_odds() -> Self {
        Self::under(&json!({"collection": "notes", "policyClass": "high"}))
    }

    fn under(manifest: &Value) -> Self {
        let (mut ada, _) = owner(1);
        let manifest = Intent::Govern(EntryKind::MANIFEST, manifest.to_string().into_bytes());
        write(&mut ada, manifest, START).expect("governed");
        put(&mut ada, "n1", json!({"k": 0, "other": 0}), START);
        put(&mut ada, "n2", json!({"k": 2}), START);
        put(&mut ada, "n3", json!({"k": 1}), START);
        let (bob, _) = member(&mut ada, 2, Role::Member);
        let (eve, _) = member(&mut ada, 3, Role::Member);
        let mut three = Self { all: [ada, bob, eve], now: 1_000_000 };
        three.meet_by(&[(ADA, EVE), (ADA, BOB), (ADA, EVE), (ADA, BOB)]);
        three.edit(ADA, json!({"k": 1}));
        three.edit(BOB, json!({"k": 2}));
        three
    }

    fn tick(&mut self) -> UnixMicros {
        self.now += 10;
        START.plus(self.now)
    }

    fn sync(&mut self, one: usize, other: usize) {
        let now = self.tick();
        let (low, high) = self.all.split_at_mut(one.max(other));
        sync(&mut high[0], &mut low[one.min(other)], now);
    }

    /// All hear of all, and ask the same.
    fn meet(&mut self) -> Vec<Digest> {
        self.meet_by(&[(ADA, BOB), (BOB, EVE), (EVE, ADA), (ADA, BOB), (BOB, EVE)])
    }

    fn meet_by(&mut self, way: &[(usize, usize)]) -> Vec<Digest> {
        way.iter().for_each(|(one, other)| self.sync(*one, *other));
        let cards = open(&self.all[ADA]);
        for engine in &mut self.all {
            assert_eq!(open(engine), cards);
            let report = engine.verify(|_, _| {}).expect("verifies");
            assert!(report.ok, "{:?}", report.findings);
        }
        cards
    }

    fn edit(&mut self, who: usize, patch: Value) {
        let now = self.tick();
        merge_patch(&mut self.all[who], "n1", patch, now);
    }

    fn delete(&mut self, who: usize) {
        let now = self.tick();
        write(&mut self.all[who], Intent::Delete { object: "n1".parse().unwrap() }, now).expect("deleted");
    }

    fn answer(&mut self, who: usize, card: Digest, choice: Choice, value: Option<Value>) {
        let now = self.tick();
        let resolve = Resolve { card, choice, value, pick: None, because: None };
        write(&mut self.all[who], Intent::Resolve(resolve), now).expect("resolved");
    }

    /// The card about the deletion, and the one about what is held.
    fn both(&mut self, cards: &[Digest]) -> [Digest; 2] {
        let kind = |card: &Digest| self.all[ADA].card(card).unwrap().unwrap().summary.kind;
        let kinds: Vec<&str> = cards.iter().map(kind).collect();
        match kinds.as_slice() {
            ["delete_edit", "concurrent_value"] => [cards[0], cards[1]],
            ["concurrent_value", "delete_edit"] => [cards[1], cards[0]],
            other => panic!("{other:?}"),
        }
    }

    /// Everybody shows this, and nothing is held any more.
    fn all_show(&mut self, value: &Value, state: ObjectState) {
        for engine in &mut self.all {
            let shown = view(engine);
            assert_eq!((&shown.value, shown.state), (value, state));
            assert_eq!(engine.status().unwrap().held, 0);
        }
    }
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

fn open(engine: &Engine) -> Vec<Digest> {
    let mut open: Vec<Digest> =
        engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
    open.sort_unstable();
    open
}

#[test]
fn a_deletion_that_knew_neither_side_is_one_question_and_they_are_another() {
    let ways: [&[(usize, usize)]; 3] = [
        &[(ADA, BOB), (BOB, EVE), (EVE, ADA), (ADA, BOB)],
        &[(EVE, ADA), (ADA, BOB), (BOB, EVE), (EVE, ADA)],
        &[(EVE, BOB), (BOB, ADA), (ADA, EVE), (EVE, BOB)],
    ];
    for way in ways {
        for who in [ADA, BOB, EVE] {
            for choice in [Choice::Local, Choice::Remote, Choice::Merge] {
                let mut three = Three::at_odds();
                three.delete(EVE);
                let cards = three.meet_by(way);
                let [deletion, value] = three.both(&cards);
                let given = (choice == Choice::Merge).then(|| json!({"k": 3, "other": 3}));
                three.answer(who, deletion, choice, given);
                let left = three.meet_by(way);
                if choice == Choice::Remote {
                    assert_eq!(left, [], "who deletes all of it has decided about all of it");
                    three.all_show(&Value::Null, ObjectState::Tombstoned);
                    continue;
                }
                // That it stays does not say how.
                assert_eq!(left.len(), 1, "{left:?}");
                if choice == Choice::Local {
                    assert_eq!(left, [value]);
                }
                let ended = three.all[EVE].card(&deletion).unwrap().unwrap();
                assert_eq!(ended.resolution.expect("answered").option, choice.word());
                three.answer(who, left[0], Choice::Merge, Some(json!(4)));
                assert_eq!(three.meet_by(way), []);
                let other = if choice == Choice::Merge { 3 } else { 0 };
                three.all_show(&json!({"k": 4, "other": other}), ObjectState::Clean);
            }
        }
    }
}

#[test]
fn whoever_deletes_what_is_held_with_the_rest_has_decided() {
    for who in [ADA, BOB, EVE] {
        let mut three = Three::at_odds();
        assert_eq!(three.meet().len(), 1);
        three.delete(who);
        assert_eq!(three.meet(), []);
        three.all_show(&Value::Null, ObjectState::Tombstoned);
    }
}

#[test]
fn work_that_such_a_deletion_had_not_seen_brings_both_questions_back() {
    for (who, by) in [(ADA, BOB), (BOB, EVE), (EVE, ADA)] {
        let mut three = Three::at_odds();
        let before = three.meet();
        three.delete(who);
        three.edit(by, json!({"other": 5}));
        let cards = three.meet();
        let [deletion, value] = three.both(&cards);
        assert_eq!([value], before.as_slice());
        three.answer(by, deletion, Choice::Local, None);
        assert_eq!(three.meet(), [value]);
        three.answer(who, value, Choice::Merge, Some(json!(4)));
        assert_eq!(three.meet(), []);
        three.all_show(&json!({"k": 4, "other": 5}), ObjectState::Clean);
    }
}

#[test]
fn a_deletion_of_one_side_alone_asks_the_same_everywhere() {
    // Ada has heard of nobody when she deletes what she sees.
    for way in [[(ADA, BOB), (BOB, EVE), (EVE, ADA)], [(BOB, EVE), (EVE, ADA), (ADA, BOB)]] {
        let mut three = Three::at_odds();
        three.delete(ADA);
        let cards = three.meet_by(&way);
        let cards = if cards.is_empty() { three.meet() } else { cards };
        let [deletion, value] = three.both(&cards);
        three.answer(EVE, value, Choice::Merge, Some(json!(4)));
        let left = three.meet();
        assert_eq!(left.len(), 1);
        assert_ne!(left, [deletion], "it was deleted without this, too");
        three.answer(BOB, left[0], Choice::Local, None);
        assert_eq!(three.meet(), []);
        three.all_show(&json!({"k": 4, "other": 0}), ObjectState::Clean);
    }
}

#[test]
fn what_is_shared_or_broken_while_something_is_held_is_asked_alike() {
    let manifests = [
        json!({"collection": "notes", "policyClass": "high", "unique": [["/k"]]}),
        json!({"collection": "notes", "policyClass": "high", "invariants": [
            {"name": "small", "schema": {"properties": {"k": {"maximum": 1}}}}]}),
        json!({"collection": "notes", "policyClass": "high", "mergeStrategy": "manual_review"}),
    ];
    for manifest in manifests {
        let mut three = Three::under(&json!({"collection": "notes", "policyClass": "high"}));
        let text = manifest.to_string().into_bytes();
        let now = three.tick();
        write(&mut three.all[ADA], Intent::Govern(EntryKind::MANIFEST, text), now).expect("governed");
        let cards = three.meet();
        assert!(cards.len() > 1, "{manifest}");
        let is_value =
            |card: &&Digest| three.all[EVE].card(card).unwrap().unwrap().summary.kind == "concurrent_value";
        let values: Vec<Digest> = cards.iter().filter(is_value).copied().collect();
        assert_eq!(values.len(), 1, "{manifest}");
        three.answer(BOB, values[0], Choice::Local, None);
        three.meet();
        let values: Vec<Value> = three.all.iter_mut().map(|engine| view(engine).value).collect();
        assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{manifest}");
    }
}
