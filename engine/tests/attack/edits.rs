//! Honest edits by Automerge's own interface, at random and one of each kind.

use crate::dice::Dice;
use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};

/// Containers nest at most this deep here, the root being the first.
pub const DEEPEST: usize = 60;
const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "k1", "k2", "k3", "title", "état", "日本", "x y/z~"];
const WORDS: [&str; 7] = ["", "x", "word ", "€\n", "naïve 👩‍👩‍👧 ", "many words in one go, ", "line\nline\n"];

/// A container, and how deep it is.
pub type Container = (ObjId, ObjType, usize);

/// All containers that are shown, from the root on; at most `most`.
pub fn containers(doc: &impl ReadDoc, most: usize) -> Vec<Container> {
    let mut found = vec![(ROOT, ObjType::Map, 1)];
    let mut next = 0;
    while let Some((id, kind, depth)) = found.get(next).cloned() {
        next += 1;
        let mut add = |value: &Value<'_>, id: ObjId| {
            if let Value::Object(kind) = value {
                found.push((id, *kind, depth + 1));
            }
        };
        match kind {
            ObjType::Text => {}
            ObjType::List => {
                doc.list_range(&id, ..).for_each(|item| add(&item.value.clone().into(), item.id()));
            }
            _ => doc.map_range(&id, ..).for_each(|item| add(&item.value.clone().into(), item.id())),
        }
        if found.len() >= most {
            found.truncate(most);
            return found;
        }
    }
    found
}

pub fn value(dice: &mut Dice) -> ScalarValue {
    match dice.roll(12) {
        0 => ScalarValue::Null,
        1 => ScalarValue::Boolean(dice.once_in(2)),
        2 => ScalarValue::Uint(dice.number()),
        3 => ScalarValue::F64(dice.roll(1_000) as f64 / 8.0),
        4 => ScalarValue::Bytes(vec![dice.roll(256) as u8; dice.roll(40)]),
        5 => ScalarValue::counter(dice.roll(100) as i64 - 50),
        6 => ScalarValue::Timestamp(1_700_000_000_000 + dice.roll(100_000) as i64),
        7 => ScalarValue::Int(i64::from(dice.number() as i32)),
        _ => ScalarValue::Str(format!("{}{}", dice.one(WORDS), dice.roll(100)).into()),
    }
}

fn kind(dice: &mut Dice) -> ObjType {
    dice.one([ObjType::Map, ObjType::List, ObjType::Text])
}

/// One edit at random. Containers that it makes are added to those given.
pub fn some(tx: &mut Transaction<'_>, all: &mut Vec<Container>, dice: &mut Dice) {
    let Some((id, found, depth)) = dice.pick(all).cloned() else { return };
    let may_nest = depth < DEEPEST;
    match found {
        ObjType::Text => in_text(tx, &id, dice),
        ObjType::List => {
            let length = tx.length(&id);
            let at = dice.roll(length + 1);
            match dice.roll(8) {
                0 | 1 if may_nest => {
                    let kind = kind(dice);
                    let made = tx.insert_object(&id, at, kind).expect("inserted");
                    all.push((made, kind, depth + 1));
                }
                2 if at < length && may_nest => {
                    let kind = kind(dice);
                    let made = tx.put_object(&id, at, kind).expect("put");
                    all.push((made, kind, depth + 1));
                }
                3 if at < length => tx.put(&id, at, value(dice)).expect("put"),
                4 if at < length => tx.delete(&id, at).expect("deleted"),
                5 if at < length => count(tx, &id, at, dice),
                _ => tx.insert(&id, at, value(dice)).expect("inserted"),
            }
        }
        _ => {
            let key = dice.one(KEYS);
            match dice.roll(8) {
                0 | 1 if may_nest => {
                    let kind = kind(dice);
                    let made = tx.put_object(&id, key, kind).expect("put");
                    all.push((made, kind, depth + 1));
                }
                2 if tx.get(&id, key).expect("read").is_some() => tx.delete(&id, key).expect("deleted"),
                3 | 4 => count(tx, &id, key, dice),
                _ => tx.put(&id, key, value(dice)).expect("put"),
            }
        }
    }
}

/// Types where it is shown; what the product writes is at least a character and at most a few lines.
fn in_text(tx: &mut Transaction<'_>, id: &ObjId, dice: &mut Dice) {
    let length = tx.length(id);
    let at = dice.roll(length + 1);
    let delete = dice.roll((length - at).min(6) + 1);
    tx.splice_text(id, at, delete as isize, dice.one(WORDS)).expect("spliced");
}

/// Adds to a counter, or makes one where there is none.
fn count(tx: &mut Transaction<'_>, id: &ObjId, prop: impl Into<automerge::Prop>, dice: &mut Dice) {
    let prop = prop.into();
    let found = tx.get(id, prop.clone()).expect("read");
    if found.is_some_and(|(value, _)| matches!(&value, Value::Scalar(scalar) if scalar.is_counter())) {
        tx.increment(id, prop, dice.roll(9) as i64 - 4).expect("counted");
    } else {
        tx.put(id, prop, ScalarValue::counter(dice.roll(10) as i64)).expect("put");
    }
}

/// Some edits as one change; none when they come to nothing.
pub fn change(doc: &mut Automerge, actor: &[u8], edits: usize, dice: &mut Dice) -> Option<Change> {
    doc.set_actor(ActorId::from(actor));
    let mut all = containers(doc, 200);
    let mut tx = doc.transaction();
    for _ in 0..edits {
        some(&mut tx, &mut all, dice);
    }
    let hash = tx.commit_with(CommitOptions::default().with_time(1_700_000_000)).0?;
    doc.get_change_by_hash(&hash)
}

/// Every kind of edit that fits a container, each as one change. The place of a panic is its caller's to catch.
pub fn every(doc: &mut Automerge, container: &Container, actor: &[u8], dice: &mut Dice) {
    doc.set_actor(ActorId::from(actor));
    let (id, kind, depth) = container;
    let mut edits: Vec<fn(&mut Transaction<'_>, &Container, &mut Dice)> = match kind {
        ObjType::Text => vec![
            |tx, (id, ..), _| drop(tx.splice_text(id, 0, 0, "first ")),
            |tx, (id, ..), _| drop(tx.splice_text(id, tx.length(id), 0, " last")),
            |tx, (id, ..), dice| in_text(tx, id, dice),
            |tx, (id, ..), dice| drop(tx.splice_text(id, dice.roll(tx.length(id)), 1, "")),
            // It compares all with all; the product compares lines first, and by itself.
            |tx, (id, ..), _| {
                if tx.length(id) < 2_000 {
                    drop(tx.update_text(id, "made\nanew, all of it"));
                }
            },
            |tx, (id, ..), _| drop(tx.splice_text(id, 0, tx.length(id) as isize, "")),
        ],
        ObjType::List => vec![
            |tx, (id, ..), _| drop(tx.insert(id, 0, "first")),
            |tx, (id, ..), _| drop(tx.insert(id, tx.length(id), "last")),
            |tx, (id, ..), dice| drop(tx.insert(id, dice.roll(tx.length(id) + 1), 5)),
            |tx, (id, ..), dice| drop(tx.put(id, dice.roll(tx.length(id)), "put")),
            |tx, (id, ..), dice| drop(tx.put_object(id, dice.roll(tx.length(id)), ObjType::Map)),
            |tx, (id, ..), dice| drop(tx.increment(id, dice.roll(tx.length(id)), 2)),
            |tx, (id, ..), dice| drop(tx.delete(id, dice.roll(tx.length(id)))),
            |tx, (id, ..), _| drop(tx.delete(id, 0)),
        ],
        _ => vec![
            |tx, (id, ..), _| drop(tx.put(id, "a", "put")),
            |tx, (id, ..), _| drop(tx.put(id, "none before", 1)),
            |tx, (id, ..), _| {
                let key = tx.keys(id).next();
                drop(key.map(|key| tx.put(id, key, "over the first")));
            },
            |tx, (id, ..), dice| {
                let keys: Vec<String> = tx.keys(id).take(50).collect();
                drop(dice.pick(&keys).map(|key| tx.increment(id, key.as_str(), 2)));
            },
            |tx, (id, ..), dice| {
                let keys: Vec<String> = tx.keys(id).take(50).collect();
                drop(dice.pick(&keys).map(|key| tx.put_object(id, key.as_str(), ObjType::List)));
            },
            |tx, (id, ..), dice| {
                let keys: Vec<String> = tx.keys(id).take(50).collect();
                drop(dice.pick(&keys).map(|key| tx.delete(id, key.as_str())));
            },
        ],
    };
    if *depth >= DEEPEST && *kind != ObjType::Text {
        edits.truncate(4);
    }
    for edit in edits {
        if doc.object_type(id).is_err() || (*kind != ObjType::Map && doc.length(id) == 0 && dice.once_in(2)) {
            continue;
        }
        let is_empty = doc.length(id) == 0;
        let mut tx = doc.transaction();
        if !(is_empty && *kind != ObjType::Map) {
            edit(&mut tx, container, dice);
        } else if *kind == ObjType::Text {
            tx.splice_text(id, 0, 0, "text").expect("into an empty text");
        } else {
            tx.insert(id, 0, "item").expect("into an empty list");
        }
        tx.commit_with(CommitOptions::default().with_time(1_700_000_000));
    }
}
