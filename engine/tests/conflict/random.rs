//! Two to four replicas work apart on a few keys, so that they often collide, and hear of each other in parts, by way
//! of others, and after having been loaded anew. After every step the set that was kept up to date is the one that the
//! reference finds in the whole document.

use crate::reference::{self, Found};
use crate::{actor, empty};
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, Change, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};
use std::collections::BTreeSet;
use syncd_engine::conflict::{self, Conflict, Key, Kind, OpName};
use syncd_schema::Digest;

/// A small deterministic source of numbers.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

pub struct Replica {
    pub doc: Automerge,
    pub open: BTreeSet<Conflict>,
}

impl Replica {
    pub fn learn(&mut self, arrived: &[Change]) {
        let arrived: Vec<Digest> = arrived.iter().map(|change| Digest(change.hash().0)).collect();
        self.open = conflict::update(&self.doc, &self.open, &arrived, &|_| false).expect("not too wide");
    }

    /// Two to four that begin alike.
    pub fn several(dice: &mut Dice) -> Vec<Self> {
        let count = 2 + dice.roll(3);
        let begun = |n| Self { doc: base().with_actor(actor(1 + n as u8)), open: BTreeSet::new() };
        (0..count).map(begun).collect()
    }

    /// Takes some of what another has, in causal order.
    pub fn receive(&mut self, from: &Automerge, dice: &mut Dice) {
        let mut new = self.missing(from);
        if dice.roll(3) == 0 {
            new.truncate(dice.roll(new.len() + 1));
        }
        self.take(new);
    }

    /// Takes all that another has.
    pub fn receive_all(&mut self, from: &Automerge) {
        let new = self.missing(from);
        self.take(new);
    }

    fn missing(&self, from: &Automerge) -> Vec<Change> {
        let held: BTreeSet<ChangeHash> = self.doc.get_changes(&[]).iter().map(Change::hash).collect();
        let mut new: Vec<Change> = from.get_changes(&[]);
        new.retain(|change| !held.contains(&change.hash()));
        new
    }

    fn take(&mut self, new: Vec<Change>) {
        if !new.is_empty() {
            self.doc.apply_changes(new.clone()).expect("applies");
            self.learn(&new);
        }
    }

    pub fn edit(&mut self, dice: &mut Dice) {
        let mut tx = self.doc.transaction();
        for _ in 0..=dice.roll(3) / 2 {
            work(&mut tx, dice);
        }
        if let (Some(hash), _) = tx.commit() {
            let change = self.doc.get_change_by_hash(&hash).expect("just made");
            self.learn(&[change]);
        }
    }
}

fn get(tx: &Transaction<'_>, of: &ObjId, key: &str, kind: ObjType) -> Option<ObjId> {
    match tx.get(of, key).expect("readable") {
        Some((Value::Object(found), id)) if found == kind => Some(id),
        _ => None,
    }
}

fn work(tx: &mut Transaction<'_>, dice: &mut Dice) {
    let key = ["a", "b", "m"][dice.roll(3)];
    match dice.roll(12) {
        0 | 1 => tx.put(ROOT, key, dice.roll(2) as i64).expect("put"),
        2 => {
            if tx.get(ROOT, key).expect("readable").is_some() {
                tx.delete(ROOT, key).expect("deleted");
            }
        }
        3 => {
            let made = tx.put_object(ROOT, "m", ObjType::Map).expect("made");
            if dice.roll(2) == 0 {
                tx.put(made, "x", dice.roll(2) as i64).expect("put");
            }
        }
        4 | 5 => {
            if let Some(map) = get(tx, &ROOT, "m", ObjType::Map) {
                match (dice.roll(4), get(tx, &map, "deep", ObjType::Map)) {
                    (0, _) => drop(tx.put_object(map, "deep", ObjType::Map).expect("made")),
                    (1, Some(deep)) => tx.put(deep, "y", dice.roll(3) as i64).expect("put"),
                    (2, _) if tx.get(&map, "x").expect("readable").is_some() => {
                        tx.delete(map, "x").expect("deleted");
                    }
                    _ => tx.put(map, "x", dice.roll(2) as i64).expect("put"),
                }
            }
        }
        6 => tx.put(ROOT, "n", ScalarValue::counter(dice.roll(2) as i64)).expect("put"),
        7 => {
            if let Some((Value::Scalar(value), _)) = tx.get(ROOT, "n").expect("readable")
                && value.is_counter()
            {
                tx.increment(ROOT, "n", 1 + dice.roll(3) as i64).expect("counted");
            }
        }
        8 => {
            if let Some(list) = get(tx, &ROOT, "l", ObjType::List) {
                let len = tx.length(&list);
                match dice.roll(3) {
                    0 => drop(tx.insert_object(&list, dice.roll(len + 1), ObjType::Map).expect("inserted")),
                    1 if len > 0 => tx.delete(&list, dice.roll(len)).expect("deleted"),
                    _ if len > 0 => {
                        let at = dice.roll(len);
                        match tx.get(&list, at).expect("readable") {
                            Some((Value::Object(ObjType::Map), item)) if dice.roll(2) == 0 => {
                                tx.put(item, "z", dice.roll(2) as i64).expect("put");
                            }
                            _ => tx.put(&list, at, dice.roll(2) as i64).expect("put"),
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {
            if let Some(text) = get(tx, &ROOT, "t", ObjType::Text) {
                let len = tx.length(&text);
                let pos = dice.roll(len + 1);
                let del = dice.roll(4).min(len - pos);
                let typed = ["", "x", "yz"][dice.roll(3)];
                tx.splice_text(text, pos, del as isize, typed).expect("spliced");
            }
        }
    }
}

pub fn base() -> Automerge {
    let mut doc = empty(9);
    let mut tx = doc.transaction();
    tx.put(ROOT, "a", 0).unwrap();
    tx.put(ROOT, "n", ScalarValue::counter(0)).unwrap();
    let map = tx.put_object(ROOT, "m", ObjType::Map).unwrap();
    tx.put_object(&map, "deep", ObjType::Map).unwrap();
    let list = tx.put_object(ROOT, "l", ObjType::List).unwrap();
    tx.insert_object(&list, 0, ObjType::Map).unwrap();
    tx.insert(&list, 1, 1).unwrap();
    let text = tx.put_object(ROOT, "t", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, "0123456789").unwrap();
    tx.commit();
    doc
}

/// In the words of the reference.
fn plain(open: &BTreeSet<Conflict>) -> Found {
    let name = |name: &OpName| format!("{}@{}", name.counter, name.actor);
    let found = open.iter().map(|conflict| {
        let kind = match conflict.kind {
            Kind::Value => "value",
            Kind::DeleteEdit => "delete",
            Kind::Inside => "inside",
            Kind::CounterReset => "reset",
            Kind::Text => "text",
            Kind::Answer => "answer",
        };
        let object = conflict.place.object.as_ref().map_or_else(|| "root".to_owned(), name);
        let key = match &conflict.place.key {
            Key::Name(key) => key.clone(),
            Key::Element(element) => name(element),
            Key::Head => "head".to_owned(),
            Key::Question(question) => question.to_string(),
        };
        let sides = conflict.sides.iter().map(|side| name(&side.operation)).collect();
        (kind, format!("{object} {key}"), sides, conflict.is_equal)
    });
    found.collect()
}

fn check(replica: &Replica, seed: u64, step: usize) {
    let (kept, reference) = (plain(&replica.open), reference::conflicts(&replica.doc));
    let missed: Vec<_> = reference.difference(&kept).collect();
    let invented: Vec<_> = kept.difference(&reference).collect();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "seed {seed}, step {step}: not found {missed:#?}, found and not there {invented:#?}"
    );
}

/// One script; how many conflicts were open in it, summed over its steps.
fn script(seed: u64) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut replicas = Replica::several(&mut dice);
    let count = replicas.len();
    let mut open = 0;
    for step in 0..12 + dice.roll(12) {
        let one = dice.roll(count);
        match dice.roll(5) {
            0 | 1 => {
                let other = dice.roll(count);
                let from = replicas[other].doc.clone();
                replicas[one].receive(&from, &mut dice);
            }
            2 if dice.roll(4) == 0 => {
                let saved = replicas[one].doc.save();
                let loaded = Automerge::load(&saved).expect("loads");
                replicas[one].doc = loaded.with_actor(actor(20 + one as u8 + 4 * (step as u8)));
            }
            _ => replicas[one].edit(&mut dice),
        }
        check(&replicas[one], seed, step);
        open += replicas[one].open.len();
    }
    // All hear of all, whoever begins: one set of conflicts everywhere, and with it one set of ids.
    for round in 0..2 {
        for one in 0..count {
            for other in 0..count {
                let from = replicas[other].doc.clone();
                let held: BTreeSet<ChangeHash> =
                    replicas[one].doc.get_changes(&[]).iter().map(Change::hash).collect();
                let mut new = from.get_changes(&[]);
                new.retain(|change| !held.contains(&change.hash()));
                if !new.is_empty() {
                    replicas[one].doc.apply_changes(new.clone()).expect("applies");
                    replicas[one].learn(&new);
                }
                check(&replicas[one], seed, 100 + round);
            }
        }
    }
    let ids = |replica: &Replica| replica.open.iter().map(Conflict::id).collect::<BTreeSet<_>>();
    for replica in &replicas {
        assert_eq!(ids(replica), ids(&replicas[0]), "seed {seed}");
        assert_eq!(ids(replica).len(), replica.open.len(), "ids differ");
    }
    open
}

fn scripts(seeds: std::ops::Range<u64>) {
    let (mut open, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        open += script(seed);
    }
    println!("{count} scripts, {open} open conflicts compared");
    assert!(open as u64 > count, "the scripts hardly collide");
}

#[test]
fn some_hundred_scripts_agree_with_the_reference() {
    let from = std::env::var("SYNCD_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    let count = std::env::var("SYNCD_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    scripts(from..from + count);
}

/// Of what several typed alike, one copy is where its author went on typing with the next change.
#[test]
fn whoever_goes_on_typing_has_worked_in_a_copy() {
    script(9_284);
}
