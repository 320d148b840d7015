//! Sprees of deletions and rewrites among other work, on three devices that meet now and then: whatever is held, let in and declined, in
//! whatever order it is heard of, all of them come to the same, and nothing waits without a card.
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
use std::collections::{BTreeMap, BTreeSet};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::{OperationId, OperationStatus, Role, UnixMicros, domain};

const COLLECTIONS: [&str; 2] = ["notes", "files"];
const ACTORS: [&str; 3] = ["user:ada", "agent:bot", "agent:other"];

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

/// Choices that repeat.
struct Dice(u64, u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.1 += 1;
        let hash = domain::hash("dice", &[&self.0.to_be_bytes(), &self.1.to_be_bytes()]);
        (u64::from_be_bytes(*hash.0.first_chunk().unwrap()) % sides as u64) as usize
    }
}

fn name(dice: &mut Dice, objects: usize) -> String {
    let n = dice.roll(objects);
    format!("{}-{n}", COLLECTIONS[n % 2])
}

fn call(engine: &mut Engine, actor: &str, intents: Vec<Intent>, now: UnixMicros) -> usize {
    let requests = intents.into_iter().map(|intent| WriteRequest::new(actor.parse().unwrap(), intent));
    let requests: Vec<WriteRequest> = requests.collect();
    let answers = engine.write(&requests, now).expect("the disk works").0;
    answers.iter().filter(|answer| answer.is_ok()).count()
}

/// Deletions or rewrites by one actor in one collection, in one batch or one after the other.
fn spree(engine: &mut Engine, dice: &mut Dice, objects: usize, now: UnixMicros) {
    let actor = ACTORS[dice.roll(ACTORS.len())];
    let (from, side) = (dice.roll(objects), dice.roll(2));
    let count = 1 + dice.roll(45);
    let rewrites = dice.roll(2) == 0;
    let sprees = (0..count).map(|n| {
        let n = (from + 2 * n + side) % objects;
        let object = format!("{}-{n}", COLLECTIONS[n % 2]).parse().unwrap();
        match rewrites {
            true => {
                let body = domain::hash("spree", &[&now.0.to_be_bytes(), &[n as u8]]).to_string();
                Intent::Edit { object, base: None, edit: Edit::MergePatch(json!({ "body": body })) }
            }
            false => Intent::Delete { object },
        }
    });
    if dice.roll(2) == 0 {
        call(engine, actor, sprees.collect(), now);
    } else {
        for one in sprees {
            call(engine, actor, vec![one], now);
        }
    }
}

fn answer(engine: &mut Engine, dice: &mut Dice, now: UnixMicros) {
    let cards = engine.cards(false).expect("readable");
    if cards.is_empty() {
        return;
    }
    let card = cards[dice.roll(cards.len())].card;
    let choice = [Choice::Remote, Choice::Decline][dice.roll(2)];
    let resolve = Resolve { card, choice, value: None, pick: None, because: None };
    // Some choices are none for some cards.
    call(engine, ACTORS[dice.roll(2)], vec![Intent::Resolve(resolve)], now);
}

fn step(engines: &mut [Engine; 3], dice: &mut Dice, objects: usize, now: UnixMicros) {
    let index = dice.roll(3);
    let engine = &mut engines[index];
    match dice.roll(10) {
        0..2 => spree(engine, dice, objects, now),
        2..4 => answer(engine, dice, now),
        4 => {
            let object = name(dice, objects).parse().unwrap();
            let remains = Remains::Value(json!({ "anew": dice.roll(100) }));
            call(engine, "user:ada", vec![Intent::Rebirth { object, remains }], now);
        }
        5..8 => {
            let (object, edit) = (name(dice, objects).parse().unwrap(), json!({ "a": dice.roll(1_000) }));
            let edit = Edit::MergePatch(edit);
            call(engine, "user:ada", vec![Intent::Edit { object, base: None, edit }], now);
        }
        _ => {
            let other = (index + 1 + dice.roll(2)) % 3;
            let (low, high) = (index.min(other), index.max(other));
            let (left, right) = engines.split_at_mut(high);
            sync(&mut left[low], &mut right[0], now);
        }
    }
}

/// What must be equal on all devices.
#[derive(Debug, PartialEq)]
struct State {
    values: BTreeMap<String, Value>,
    cards: BTreeSet<(String, String, &'static str)>,
    operations: BTreeMap<OperationId, OperationStatus>,
}

fn state(engine: &mut Engine) -> State {
    let objects: Vec<_> = engine.list(None).unwrap().into_iter().map(|row| row.object).collect();
    let values = objects.iter().filter_map(|id| Some((id.to_string(), engine.get(id).unwrap()?.value)));
    State {
        values: values.collect(),
        cards: (engine.cards(false).unwrap().into_iter())
            .map(|card| (card.card.to_string(), card.object.to_string(), card.kind))
            .collect(),
        operations: (engine.operations(None, 100_000).unwrap().into_iter())
            .map(|view| (view.operation, view.status))
            .collect(),
    }
}

fn story(seed: u64) -> usize {
    let mut dice = Dice(seed, 0);
    let objects = [24, 60, 120][dice.roll(3)];
    let (mut ada, _) = owner(1);
    let all = "permit(principal, action, resource);".to_owned();
    assert_eq!(call(&mut ada, "user:ada", vec![Intent::SetPolicy { text: all, beside: false }], at(1)), 1);
    let (mut eve, _) = member(&mut ada, 2, Role::Admin);
    let (mut bob, _) = member(&mut ada, 3, Role::Admin);
    let puts = (0..objects).map(|n| Intent::Put {
        collection: COLLECTIONS[n % 2].parse().unwrap(),
        object: Some(format!("{}-{n}", COLLECTIONS[n % 2]).parse().unwrap()),
        value: json!({ "n": n, "path": n.to_string() }),
    });
    assert_eq!(call(&mut ada, "user:ada", puts.collect(), at(2)), objects);
    sync(&mut ada, &mut eve, at(3));
    sync(&mut ada, &mut bob, at(3));
    let mut engines = [ada, eve, bob];
    for n in 0..60 {
        step(&mut engines, &mut dice, objects, at(10 + n));
    }
    let [ada, eve, bob] = &mut engines;
    for n in 0..3 {
        sync(ada, eve, at(100 + n));
        sync(eve, bob, at(100 + n));
        sync(bob, ada, at(100 + n));
    }
    let states: Vec<State> = engines.iter_mut().map(state).collect();
    for (engine, found) in engines.iter_mut().zip(&states) {
        let differ = |one: &State, other: &State| {
            let values = one.values.iter().filter(|(id, value)| other.values.get(*id) != Some(*value));
            let values = values.map(|(id, value)| format!("{id} {value}"));
            let cards = one.cards.difference(&other.cards).map(|card| format!("{card:?}"));
            let operations =
                one.operations.iter().filter(|(id, status)| other.operations.get(*id) != Some(*status));
            let operations = operations.map(|(id, status)| format!("{id} {status:?}"));
            values.chain(cards).chain(operations).collect::<Vec<String>>()
        };
        let (here, there) = (differ(found, &states[0]), differ(&states[0], found));
        assert!(here.is_empty() && there.is_empty(), "seed {seed}: {here:#?} {there:#?}");
        let report = engine.verify(|_, _| {}).expect("readable");
        assert!(report.ok, "seed {seed}: {:?}", report.findings);
        let blocked = engine.operations(Some(OperationStatus::Blocked), 100_000).unwrap();
        let why: Vec<_> = blocked.iter().map(|view| engine.explain(&view.operation.to_string())).collect();
        assert!(why.is_empty(), "seed {seed}: {why:#?}");
    }
    states[0].cards.iter().filter(|(.., kind)| *kind == "burst").count()
}

#[test]
fn devices_come_to_the_same() {
    let seeds = std::env::var("SYNCD_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(12);
    let held: usize = (0..seeds).map(story).sum();
    assert!(held > 5, "sprees are held: {held}");
}
