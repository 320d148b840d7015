//! Documents of every shape, each as it is and as it was some time before.

use crate::dice::Dice;
use crate::edits;
use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, ObjId, ObjType, ROOT, ScalarValue};
use serde_json::json;
use syncd_engine::document::{self, Edit};
use syncd_schema::manifest::{FieldRule, Manifest};

/// Each with how often it is attacked, compared with others: large ones cost more.
pub const SHAPES: [(&str, usize); 20] = [
    ("nothing", 3),
    ("a birth without members", 2),
    ("a record", 8),
    ("maps in maps", 4),
    ("lists in lists", 4),
    ("a list", 8),
    ("a list of maps", 6),
    ("a text", 8),
    ("a long text", 2),
    ("counters", 8),
    ("conflicts", 12),
    ("many actors", 3),
    ("a long history", 2),
    ("several heads", 6),
    ("ten thousand operations", 1),
    ("a soup", 16),
    ("a soup above the size of reloading", 10),
    ("all deleted", 4),
    ("what the product writes", 8),
    ("texts in lists in maps", 6),
];

/// A document now, and at an earlier time: none for one that is about to be born.
pub struct Pair {
    pub now: Option<Automerge>,
    pub earlier: Option<Automerge>,
}

pub fn manifest() -> Manifest {
    let fields = [("/t", FieldRule::Text), ("/c", FieldRule::Counter)];
    let fields = fields.iter().map(|(path, rule)| ((*path).to_owned(), *rule)).collect();
    Manifest { fields, ..Manifest::free_form("docs".parse().expect("a name")) }
}

fn born(value: &serde_json::Value) -> Automerge {
    let (object, collection) = ("o1".parse().expect("an id"), "docs".parse().expect("a name"));
    document::birth(&object, &collection, value, &manifest()).expect("born").doc
}

pub fn commit(doc: &mut Automerge, actor: &[u8], edit: impl FnOnce(&mut Transaction<'_>)) {
    doc.set_actor(ActorId::from(actor));
    let mut tx = doc.transaction();
    edit(&mut tx);
    tx.commit_with(CommitOptions::default().with_time(1_700_000_000));
}

fn join(doc: &mut Automerge, other: &Automerge) {
    doc.merge(&mut other.clone()).expect("merged");
}

/// Builds a document of a shape; `variant` makes others of the same.
pub fn build(shape: &str, variant: u64) -> Pair {
    let dice = &mut Dice::new(variant.wrapping_mul(31).wrapping_add(shape.len() as u64));
    let mut doc = born(&json!({}));
    let one = [1; 16];
    let mut earlier = None;
    match shape {
        "nothing" => return Pair { now: None, earlier: None },
        "a birth without members" => {}
        "a record" => {
            let members = (0..12).map(|n| (format!("field{n}"), json!(format!("value {n}")))).collect();
            doc = born(&serde_json::Value::Object(members));
            commit(&mut doc, &one, |tx| tx.put(ROOT, "field3", 5).expect("put"));
        }
        "maps in maps" | "lists in lists" => nested(&mut doc, shape == "maps in maps"),
        "a list" => commit(&mut doc, &one, |tx| drop(list(tx, &ROOT, 30))),
        "a list of maps" => commit(&mut doc, &one, |tx| {
            let list = list(tx, &ROOT, 2);
            for n in 0..10 {
                let map = tx.insert_object(&list, n, ObjType::Map).expect("inserted");
                tx.put(&map, "n", n as i64).expect("put");
                tx.put(&map, "name", "a name").expect("put");
            }
        }),
        "a text" => text(&mut doc, "A short text,\nwith two lines – and ünïcödé 👩‍👩‍👧.\n", dice),
        "a long text" => text(&mut doc, &"Lines, naïve and 日本語, of a long text 🎉.\n".repeat(60), dice),
        "counters" => counters(&mut doc, dice),
        "conflicts" => return conflicts(doc, dice),
        "many actors" => {
            for n in 0..80_u8 {
                let actor = vec![n.wrapping_mul(37); 1 + usize::from(n) % 64];
                earlier = if n == 40 { Some(doc.clone()) } else { earlier };
                drop(edits::change(&mut doc, &actor, 2, dice));
            }
        }
        "a long history" => {
            for n in 0..600 {
                earlier = if n == 590 { Some(doc.clone()) } else { earlier };
                commit(&mut doc, &one, |tx| tx.put(ROOT, format!("k{}", n % 20), n).expect("put"));
            }
        }
        "several heads" => return several_heads(doc, dice),
        "ten thousand operations" => large(&mut doc, dice),
        "a soup" => return soup(doc, 40, dice),
        "a soup above the size of reloading" => {
            text(&mut doc, &"more than is loaded again at each step. ".repeat(8), dice);
            return soup(doc, 60, dice);
        }
        "all deleted" => {
            commit(&mut doc, &one, |tx| drop(list(tx, &ROOT, 5)));
            earlier = Some(doc.clone());
            commit(&mut doc, &one, |tx| tx.delete(ROOT, "list").expect("deleted"));
        }
        "what the product writes" => return product(dice),
        _ => commit(&mut doc, &one, |tx| {
            for name in ["one", "two"] {
                let map = tx.put_object(ROOT, name, ObjType::Map).expect("put");
                let list = list(tx, &map, 3);
                let text = tx.insert_object(&list, 1, ObjType::Text).expect("inserted");
                tx.splice_text(&text, 0, 0, "text in a list").expect("spliced");
            }
        }),
    }
    if earlier.is_none() {
        earlier = Some(doc.clone());
        drop(edits::change(&mut doc, &[2; 16], 3, dice));
    }
    Pair { now: Some(doc), earlier }
}

fn list(tx: &mut Transaction<'_>, map: &ObjId, items: usize) -> ObjId {
    let list = tx.put_object(map, "list", ObjType::List).expect("put");
    for n in 0..items {
        tx.insert(&list, n, n as i64).expect("inserted");
    }
    for n in (0..items / 3).rev() {
        tx.delete(&list, n * 3).expect("deleted");
    }
    list
}

/// As deep as honest work goes here: lists in lists with a map now and then, or maps and lists in turn.
fn nested(doc: &mut Automerge, are_maps: bool) {
    commit(doc, &[1; 16], |tx| {
        let mut here = tx.put_object(ROOT, "in", ObjType::List).expect("put");
        let mut depth = 2;
        while depth + 2 <= edits::DEEPEST {
            if are_maps || depth % 7 == 0 {
                let map = tx.insert_object(&here, 0, ObjType::Map).expect("inserted");
                tx.put(&map, "n", depth as i64).expect("put");
                here = tx.put_object(&map, "in", ObjType::List).expect("put");
                depth += 2;
            } else {
                here = tx.insert_object(&here, 0, ObjType::List).expect("inserted");
                depth += 1;
            }
        }
    });
}

fn text(doc: &mut Automerge, content: &str, dice: &mut Dice) {
    let mut made = ROOT;
    commit(doc, &[1; 16], |tx| {
        made = tx.put_object(ROOT, "t", ObjType::Text).expect("put");
        tx.splice_text(&made, 0, 0, content).expect("spliced");
    });
    for actor in [2, 3, 2] {
        let at = dice.roll(20);
        commit(doc, &[actor; 16], |tx| tx.splice_text(&made, at, 5, "other words").expect("spliced"));
    }
}

fn counters(doc: &mut Automerge, dice: &mut Dice) {
    let mut made = ROOT;
    commit(doc, &[1; 16], |tx| {
        tx.put(ROOT, "c", ScalarValue::counter(5)).expect("put");
        tx.put(ROOT, "n", 5).expect("put");
        made = tx.put_object(ROOT, "list", ObjType::List).expect("put");
        for n in 0..4 {
            tx.insert(&made, n, ScalarValue::counter(n as i64)).expect("inserted");
        }
    });
    let mut other = doc.clone();
    for n in 0..4_usize {
        let doc = if n % 2 == 0 { &mut *doc } else { &mut other };
        let by = dice.roll(100) as i64 - 50;
        commit(doc, &[2 + n as u8 % 2; 16], |tx| {
            tx.increment(ROOT, "c", by).expect("counted");
            tx.increment(&made, n, 1).expect("counted");
            if n == 3 {
                tx.put(ROOT, "c", ScalarValue::counter(100)).expect("put");
            }
        });
    }
    join(doc, &other);
}

/// Three devices that put, make, delete and count in the same places without knowledge of each other.
fn conflicts(doc: Automerge, dice: &mut Dice) -> Pair {
    let mut doc = doc;
    let (mut list, mut text) = (ROOT, ROOT);
    commit(&mut doc, &[1; 16], |tx| {
        list = self::list(tx, &ROOT, 6);
        text = tx.put_object(ROOT, "t", ObjType::Text).expect("put");
        tx.splice_text(&text, 0, 0, "shared").expect("spliced");
        tx.put(ROOT, "c", ScalarValue::counter(1)).expect("put");
    });
    let mut sides: Vec<Automerge> = (0..3).map(|_| doc.clone()).collect();
    for (n, side) in sides.iter_mut().enumerate() {
        commit(side, &[10 + n as u8; 16], |tx| {
            tx.put(ROOT, "same", n as i64).expect("put");
            tx.put(&list, 0, n as i64 + 10).expect("put");
            let made = tx.put_object(ROOT, "both", if n == 1 { ObjType::List } else { ObjType::Map });
            let made = made.expect("put");
            if n != 1 {
                tx.put(&made, "inside", n as i64).expect("put");
            }
            tx.put(ROOT, "many", ScalarValue::counter(n as i64)).expect("put");
            match n {
                0 => tx.increment(ROOT, "c", 2).expect("counted"),
                1 => tx.put(ROOT, "c", ScalarValue::counter(9)).expect("put"),
                _ => tx.delete(ROOT, "c").expect("deleted"),
            }
            tx.splice_text(&text, n, 2, "XYZ").expect("spliced");
            tx.put_object(&list, 1, ObjType::Map).expect("put");
        });
    }
    let mut now = sides[0].clone();
    join(&mut now, &sides[1]);
    let earlier = now.clone();
    join(&mut now, &sides[2]);
    drop(edits::change(&mut now, &[2; 16], 2, dice));
    Pair { now: Some(now), earlier: Some(earlier) }
}

fn several_heads(doc: Automerge, dice: &mut Dice) -> Pair {
    let mut base = doc;
    drop(edits::change(&mut base, &[1; 16], 12, dice));
    let mut now = base.clone();
    let mut earlier = base.clone();
    for n in 0..8 {
        let mut side = base.clone();
        drop(edits::change(&mut side, &[20 + n; 16], 4, dice));
        join(&mut now, &side);
        if n == 3 {
            earlier = now.clone();
        }
    }
    Pair { now: Some(now), earlier: Some(earlier) }
}

fn large(doc: &mut Automerge, dice: &mut Dice) {
    commit(doc, &[1; 16], |tx| {
        let text = tx.put_object(ROOT, "t", ObjType::Text).expect("put");
        tx.splice_text(&text, 0, 0, &"ten thousand. ".repeat(500)).expect("spliced");
        let list = tx.put_object(ROOT, "records", ObjType::List).expect("put");
        for n in 0..600 {
            let map = tx.insert_object(&list, n, ObjType::Map).expect("inserted");
            for key in ["a", "b", "c", "d"] {
                tx.put(&map, key, dice.roll(1_000) as i64).expect("put");
            }
        }
    });
}

/// Three devices that edit at random and hear of each other now and then.
fn soup(doc: Automerge, steps: usize, dice: &mut Dice) -> Pair {
    let mut docs = vec![doc; 3];
    let mut earlier = None;
    for step in 0..steps {
        let (who, other) = (dice.roll(3), dice.roll(3));
        if who != other && dice.once_in(4) {
            let theirs = docs[other].clone();
            join(&mut docs[who], &theirs);
        } else {
            let edits = 1 + dice.roll(4);
            drop(edits::change(&mut docs[who], &[30 + who as u8; 16], edits, dice));
        }
        if step == steps / 2 {
            earlier = Some(docs[0].clone());
        }
    }
    let mut now = docs.remove(0);
    if dice.once_in(2) {
        docs.iter().for_each(|other| join(&mut now, other));
    }
    Pair { now: Some(now), earlier }
}

fn product(dice: &mut Dice) -> Pair {
    let value = json!({"t": "one\ntwo\n", "c": 0, "l": [1, {"x": 1}], "m": {"k": "v"}, "s": "string"});
    let mut now = born(&value);
    let mut earlier = None;
    for n in 0..12_u8 {
        let edit = product_edit(dice);
        // Some edits do not fit what is there, and are refused before anything is written.
        drop(document::apply(&mut now, &edit, [40 + n % 3; 16], 1_700_000_000, &manifest()));
        if n == 7 {
            earlier = Some(now.clone());
        }
    }
    Pair { now: Some(now), earlier }
}

/// An edit as callers of the product ask for it.
pub fn product_edit(dice: &mut Dice) -> Edit {
    let key = dice.one(["a", "b", "m", "s"]);
    let number = dice.roll(1_000);
    let step = |step| Edit::JsonPatch(serde_json::from_value(json!([step])).expect("a patch"));
    match dice.roll(9) {
        0 => Edit::MergePatch(json!({ key: number })),
        1 => Edit::MergePatch(json!({ key: null })),
        2 => Edit::MergePatch(json!({"m": {key: {"deep": [number, {"er": null}]}}})),
        3 => Edit::MergePatch(json!({key: {"x": "y"}, "f": 1.5, "u": u64::MAX, "neg": -1, "yes": true})),
        4 => Edit::Splice { path: "/t".into(), pos: 0, del: dice.roll(3), text: "typed €".into() },
        5 => Edit::SetText { path: "/t".into(), text: format!("line {number}\nnew line\n") },
        6 => Edit::Increment { path: "/c".into(), by: number as i64 - 500 },
        7 => step(json!({"op": "add", "path": "/l/0", "value": {"n": number}})),
        _ => step(json!({"op": "remove", "path": format!("/l/{}", dice.roll(3))})),
    }
}
