//! Each class of contradiction by hand, in both directions, and its harmless neighbours.

use crate::{actor, empty, receive};
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use syncd_engine::conflict::{Conflict, Kind};

type Tx<'d> = Transaction<'d>;

/// The document that all sides begin with.
fn base() -> Automerge {
    let mut doc = empty(9);
    let mut tx = doc.transaction();
    tx.put(ROOT, "k", "old").unwrap();
    tx.put(ROOT, "other", "old").unwrap();
    tx.put(ROOT, "n", ScalarValue::counter(10)).unwrap();
    let map = tx.put_object(ROOT, "m", ObjType::Map).unwrap();
    tx.put(&map, "f", 1).unwrap();
    let deep = tx.put_object(&map, "deep", ObjType::Map).unwrap();
    tx.put(&deep, "g", 1).unwrap();
    let list = tx.put_object(ROOT, "l", ObjType::List).unwrap();
    for n in 0..3 {
        let item = tx.insert_object(&list, n, ObjType::Map).unwrap();
        tx.put(&item, "n", n as i64).unwrap();
    }
    let text = tx.put_object(ROOT, "t", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, "price is 100 dollars, no more").unwrap();
    tx.commit();
    doc
}

fn object(tx: &Tx<'_>, path: &[&str]) -> ObjId {
    path.iter().fold(ROOT, |here, step| match step.parse::<usize>() {
        Ok(index) => tx.get(&here, index).unwrap().unwrap().1,
        Err(_) => tx.get(&here, *step).unwrap().unwrap().1,
    })
}

fn splice(tx: &mut Tx<'_>, pos: usize, del: isize, text: &str) {
    let at = object(tx, &["t"]);
    tx.splice_text(at, pos, del, text).unwrap();
}

/// What both sides find when each edits without the other, whoever receives first.
fn apart(ours: impl Fn(&mut Tx<'_>), theirs: impl Fn(&mut Tx<'_>)) -> Vec<Conflict> {
    let run = |first: u8, second: u8| {
        let mut left = base().with_actor(actor(first));
        let mut right = base().with_actor(actor(second));
        let mut tx = left.transaction();
        ours(&mut tx);
        tx.commit();
        let mut tx = right.transaction();
        theirs(&mut tx);
        tx.commit();
        let (mine, yours) = (left.clone(), right.clone());
        let here = receive(&yours, &mut left);
        let there = receive(&mine, &mut right);
        assert_eq!(here, there, "both sides find the same");
        let ids = |found: &[Conflict]| found.iter().map(Conflict::id).collect::<Vec<_>>();
        assert_eq!(ids(&here), ids(&there));
        // From nothing, all at once.
        let whole = receive(&left, &mut empty(7));
        assert_eq!(whole, here, "a device that comes later finds the same");
        here
    };
    let (one, other) = (run(1, 2), run(2, 1));
    let kinds = |found: &[Conflict]| found.iter().map(|c| (c.kind, c.is_equal)).collect::<Vec<_>>();
    assert_eq!(kinds(&one), kinds(&other), "whatever the actors are called");
    one
}

fn kinds(ours: impl Fn(&mut Tx<'_>), theirs: impl Fn(&mut Tx<'_>)) -> Vec<Kind> {
    apart(ours, theirs).iter().filter(|conflict| !conflict.is_equal).map(|conflict| conflict.kind).collect()
}

#[test]
fn one_key_put_twice() {
    assert_eq!(kinds(|a| a.put(ROOT, "k", "A").unwrap(), |b| b.put(ROOT, "k", "B").unwrap()), [Kind::Value]);
    let equal = apart(|a| a.put(ROOT, "k", "same").unwrap(), |b| b.put(ROOT, "k", "same").unwrap());
    assert_eq!(equal.iter().map(|c| (c.kind, c.is_equal)).collect::<Vec<_>>(), [(Kind::Value, true)]);
    let new = |value: &'static str| move |tx: &mut Tx<'_>| tx.put(ROOT, "new", value).unwrap();
    assert_eq!(kinds(new("A"), new("B")), [Kind::Value], "also a key that was not there");
    let changed_twice = |tx: &mut Tx<'_>| {
        tx.put(ROOT, "k", "first").unwrap();
        tx.put(ROOT, "k", "second").unwrap();
    };
    let found = apart(changed_twice, |b| b.put(ROOT, "k", "B").unwrap());
    assert_eq!(found[0].sides.len(), 2, "of each side the latest counts");
}

#[test]
fn a_key_deleted_and_put() {
    let delete = |tx: &mut Tx<'_>| tx.delete(ROOT, "k").unwrap();
    let put = |tx: &mut Tx<'_>| tx.put(ROOT, "k", "B").unwrap();
    assert_eq!(kinds(delete, put), [Kind::DeleteEdit]);
    assert_eq!(kinds(put, delete), [Kind::DeleteEdit]);
    assert_eq!(apart(delete, delete), [], "both deleted it");
}

#[test]
fn work_inside_of_what_is_taken_away() {
    let delete = |tx: &mut Tx<'_>| tx.delete(ROOT, "m").unwrap();
    let replace = |tx: &mut Tx<'_>| tx.put(ROOT, "m", 5).unwrap();
    let edit = |tx: &mut Tx<'_>| tx.put(object(tx, &["m"]), "f", 2).unwrap();
    let deeper = |tx: &mut Tx<'_>| tx.put(object(tx, &["m", "deep"]), "new", 2).unwrap();
    let tidy = |tx: &mut Tx<'_>| tx.delete(object(tx, &["m"]), "f").unwrap();
    for taken in [&delete as &dyn Fn(&mut Tx<'_>), &replace] {
        for work in [&edit as &dyn Fn(&mut Tx<'_>), &deeper] {
            assert_eq!(kinds(taken, work), [Kind::Inside]);
            assert_eq!(kinds(work, taken), [Kind::Inside]);
        }
        assert_eq!(apart(taken, tidy), [], "who deletes inside loses nothing");
    }
    let and_back = |tx: &mut Tx<'_>| {
        tx.put(object(tx, &["m"]), "f", 2).unwrap();
        tx.delete(object(tx, &["m"]), "f").unwrap();
    };
    assert_eq!(apart(delete, and_back), [], "nothing is left of that work");
}

#[test]
fn a_list_item_deleted_and_edited() {
    let delete = |tx: &mut Tx<'_>| tx.delete(object(tx, &["l"]), 1).unwrap();
    let edit = |tx: &mut Tx<'_>| tx.put(object(tx, &["l", "1"]), "n", 9).unwrap();
    let replace = |tx: &mut Tx<'_>| tx.put(object(tx, &["l"]), 1, "scalar").unwrap();
    assert_eq!(kinds(delete, edit), [Kind::Inside]);
    assert_eq!(kinds(edit, delete), [Kind::Inside]);
    assert_eq!(kinds(delete, replace), [Kind::DeleteEdit]);
    let other = |tx: &mut Tx<'_>| tx.put(object(tx, &["l", "2"]), "n", 9).unwrap();
    assert_eq!(apart(delete, other), []);
    let insert =
        |value: &'static str| move |tx: &mut Tx<'_>| tx.insert(object(tx, &["l"]), 1, value).unwrap();
    assert_eq!(apart(insert("A"), insert("B")), [], "both are in the list");
}

#[test]
fn one_container_made_twice() {
    let make = |key: &'static str, value: i64| {
        move |tx: &mut Tx<'_>| {
            let made = tx.put_object(ROOT, "cfg", ObjType::Map).unwrap();
            tx.put(made, key, value).unwrap();
        }
    };
    assert_eq!(kinds(make("a", 1), make("b", 1)), [Kind::Value]);
    assert_eq!(kinds(make("a", 1), make("a", 2)), [Kind::Value]);
    assert!(apart(make("a", 1), make("a", 1)).iter().all(|conflict| conflict.is_equal), "both made the same");
    let text = |content: &'static str| {
        move |tx: &mut Tx<'_>| {
            let made = tx.put_object(ROOT, "cfg", ObjType::Text).unwrap();
            tx.splice_text(made, 0, 0, content).unwrap();
        }
    };
    assert_eq!(kinds(text("one"), text("two")), [Kind::Value]);
    assert_eq!(kinds(text("one"), make("a", 1)), [Kind::Value]);
}

#[test]
fn a_counter_reset_and_counted() {
    let reset = |tx: &mut Tx<'_>| tx.put(ROOT, "n", ScalarValue::counter(0)).unwrap();
    let count = |tx: &mut Tx<'_>| tx.increment(ROOT, "n", 5).unwrap();
    let delete = |tx: &mut Tx<'_>| tx.delete(ROOT, "n").unwrap();
    assert_eq!(kinds(reset, count), [Kind::CounterReset]);
    assert_eq!(kinds(count, reset), [Kind::CounterReset]);
    assert_eq!(kinds(delete, count), [Kind::CounterReset]);
    assert_eq!(apart(count, count), [], "increments add up");
}

#[test]
fn a_text_rewritten_twice() {
    let replace = |with: &'static str| move |tx: &mut Tx<'_>| splice(tx, 9, 3, with);
    assert_eq!(kinds(replace("250"), replace("300")), [Kind::Text], "not 300250");
    let equal = apart(replace("250"), replace("250"));
    assert_eq!(equal.iter().map(|c| (c.kind, c.is_equal)).collect::<Vec<_>>(), [(Kind::Text, true)]);
    let overlapping = |tx: &mut Tx<'_>| splice(tx, 6, 5, "was 9");
    assert_eq!(kinds(replace("250"), overlapping), [Kind::Text]);
    let delete = |tx: &mut Tx<'_>| splice(tx, 6, 14, "");
    let inside = |tx: &mut Tx<'_>| splice(tx, 10, 0, "x");
    assert_eq!(apart(delete, inside), [], "what is typed in the middle of what is deleted stays");
    let rewrite = |tx: &mut Tx<'_>| splice(tx, 6, 14, "was nothing");
    assert_eq!(kinds(rewrite, inside), [Kind::Text], "typed in the middle of what is rewritten");
    assert_eq!(kinds(inside, rewrite), [Kind::Text]);
    assert_eq!(apart(delete, |tx| splice(tx, 8, 3, "")), [], "both delete, and nothing is lost");
    assert_eq!(apart(replace("250"), |tx| splice(tx, 20, 0, "!")), [], "elsewhere");
    assert_eq!(apart(|tx| splice(tx, 3, 0, "A"), |tx| splice(tx, 3, 0, "B")), [], "two type at one place");
    let gone = |tx: &mut Tx<'_>| tx.delete(ROOT, "t").unwrap();
    assert_eq!(kinds(gone, inside), [Kind::Inside]);
}

#[test]
fn different_keys_and_orders_of_work_are_no_conflict() {
    assert_eq!(apart(|a| a.put(ROOT, "k", "A").unwrap(), |b| b.put(ROOT, "other", "B").unwrap()), []);
    let edit = |tx: &mut Tx<'_>| tx.put(object(tx, &["m"]), "f", 2).unwrap();
    let deeper = |tx: &mut Tx<'_>| tx.put(object(tx, &["m", "deep"]), "g", 2).unwrap();
    assert_eq!(apart(edit, deeper), []);
}

#[test]
fn a_third_competitor_makes_another_conflict_and_a_decision_ends_it() {
    let mut docs: Vec<Automerge> = (1..=3).map(|n| base().with_actor(actor(n))).collect();
    for (n, doc) in docs.iter_mut().enumerate() {
        let mut tx = doc.transaction();
        tx.put(ROOT, "k", n as i64).unwrap();
        tx.commit();
    }
    let [a, b, c] = docs.as_mut_slice() else { panic!("three") };
    let two = receive(b, a);
    let three = receive(c, a);
    assert_eq!((two[0].sides.len(), three[0].sides.len()), (2, 3));
    assert_ne!(two[0].id(), three[0].id());
    // By another way the same.
    receive(c, b);
    let mut late = empty(8);
    receive(a, &mut late);
    assert_eq!(receive(&a.clone(), b), three);

    // Whoever has seen all and writes has decided; who has not seen it competes with the decision.
    let mut tx = a.transaction();
    tx.put(ROOT, "k", "decided").unwrap();
    tx.commit();
    assert_eq!(receive(a, b), []);
    assert_eq!(receive(a, &mut empty(6)), [], "also for a device that learns all at once");
    let mut tx = c.transaction();
    tx.put(ROOT, "k", "later").unwrap();
    tx.commit();
    let found = receive(a, c);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sides.len(), 2, "the decision and the one it did not know of");
}

#[test]
fn a_change_without_operations_is_known_to_what_builds_on_it() {
    use syncd_schema::Digest;
    // What follows an empty change begins with its number: whichever hash is smaller, it comes later.
    for n in 0..32 {
        let mut left = base().with_actor(actor(1));
        left.set_actor(actor(40 + n));
        left.empty_commit(automerge::transaction::CommitOptions::default());
        let mut right = left.clone().with_actor(actor(2));
        left.set_actor(actor(1));
        for (doc, value) in [(&mut left, "A"), (&mut right, "B")] {
            let mut tx = doc.transaction();
            tx.put(ROOT, "k", value).unwrap();
            tx.commit();
        }
        receive(&right, &mut left);
        let all: Vec<Digest> = left.get_changes(&[]).iter().map(|change| Digest(change.hash().0)).collect();
        let found =
            syncd_engine::conflict::update(&left, &std::collections::BTreeSet::new(), &all, &|_| false)
                .unwrap();
        assert_eq!(found.iter().map(|conflict| conflict.sides.len()).collect::<Vec<_>>(), [2]);
    }
}
