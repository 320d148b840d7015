//! What must hold of a document that the guard has let a change into: it can be read, edited, saved, loaded, forked,
//! merged and compared, by whatever the product does with it, and is the same wherever it is.

use crate::dice::Dice;
use crate::documents::{commit, manifest, product_edit};
use crate::edits::{self, Container};
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use syncd_engine::conflict;
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::guard::{self, Incoming, Outcome};
use syncd_schema::Digest;

/// What went wrong: a word to count by, and the place or difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: String,
    pub detail: String,
}

impl Failure {
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), detail: detail.into() }
    }
}

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic notes its place and says nothing.
pub fn silence() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| {
            let mut parts: Vec<&str> = at.file().rsplit('/').take(4).collect();
            parts.reverse();
            format!("{}:{}", parts.join("/"), at.line())
        });
        let said = message(info.payload());
        PLACE.set(format!("{} ({})", place.unwrap_or_default(), said.lines().next().unwrap_or_default()));
    }));
}

fn message(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Runs a step; a panic in it is a failure of its name.
pub fn step<T>(name: &str, run: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let place = PLACE.take();
        drop(payload);
        Failure::new(name, place)
    })
}

/// Everything that can be seen of a document, conflicts and names of operations included, in one order.
pub fn seen(doc: &Automerge) -> String {
    let mut out = String::new();
    let mut stack: Vec<(ObjId, ObjType)> = vec![(ROOT, ObjType::Map)];
    while let Some((id, kind)) = stack.pop() {
        let _ = writeln!(out, "{id} {kind:?} {}", doc.length(&id));
        let mut note = |place: &dyn std::fmt::Display, found: Vec<(Value<'_>, ObjId)>| {
            for (value, id) in found {
                let _ = write!(out, "  {place}: {id} = ");
                let _ = match &value {
                    Value::Object(kind) => writeln!(out, "{kind:?}"),
                    Value::Scalar(scalar) => match scalar.as_ref() {
                        ScalarValue::F64(n) => writeln!(out, "{:x}", n.to_bits()),
                        ScalarValue::Counter(n) => writeln!(out, "counter {}", i64::from(n)),
                        other => writeln!(out, "{other:?}"),
                    },
                };
                if let Value::Object(kind) = value {
                    stack.push((id, kind));
                }
            }
        };
        match kind {
            ObjType::Map | ObjType::Table => {
                // Where a counter is counted that contradicts other values, Automerge lists its key twice until it is
                // loaded again; what stands there is right.
                let keys: BTreeSet<String> = doc.keys(&id).collect();
                for key in keys {
                    note(&key, doc.get_all(&id, key.as_str()).expect("read"));
                }
            }
            // Long ones by what is shown: reading each place costs a look-up.
            _ if doc.length(&id) > 3_000 => doc.list_range(&id, ..).for_each(|item| {
                note(&item.index, vec![(item.value.clone().into(), item.id())]);
            }),
            _ => {
                for index in 0..doc.length(&id) {
                    note(&index, doc.get_all(&id, index).expect("read"));
                }
            }
        }
        if kind == ObjType::Text {
            let _ = writeln!(out, "  {:?}", doc.text(&id).expect("a text"));
            let spans = doc.spans(&id).expect("spans").count();
            let marks = doc.marks(&id).expect("marks").len();
            let _ = writeln!(out, "  {spans} spans, {marks} marks");
        }
    }
    out
}

/// The first line in which two differ.
fn difference(one: &str, other: &str) -> String {
    let differs = one.lines().zip(other.lines()).find(|(a, b)| a != b);
    differs.map_or_else(|| "one is longer".to_owned(), |(a, b)| format!("{a} / {b}"))
}

fn same(kind: &str, one: &Automerge, other: &Automerge) -> Result<(), Failure> {
    if document::heads(one) != document::heads(other) {
        return Err(Failure::new(kind, "other heads"));
    }
    let (a, b) = (step(kind, || seen(one))?, step(kind, || seen(other))?);
    let (read, otherwise) = step(kind, || (document::read(one), document::read(other)))?;
    if read != otherwise {
        return Err(Failure::new(kind, "reads differently"));
    }
    if a == b { Ok(()) } else { Err(Failure::new(kind, format!("differs ({})", difference(&a, &b)))) }
}

pub fn encoded(change: &Change) -> EncodedChange {
    EncodedChange { hash: Digest(change.hash().0), bytes: change.raw_bytes().to_vec() }
}

pub fn incoming(change: &EncodedChange) -> Incoming<'_> {
    Incoming { bytes: &change.bytes, expected: change.hash }
}

/// Reads a document in every way, and saves and loads it.
fn reads(doc: &Automerge, when: &str) -> Result<(), Failure> {
    let name = |what: &str| format!("{what} {when}");
    step(&name("seeing"), || seen(doc))?;
    step(&name("hydrating"), || drop(doc.hydrate(None)))?;
    step(&name("reading"), || (document::read(doc), document::operations(doc), doc.stats()))?;
    step(&name("parents"), || {
        for (id, ..) in edits::containers(doc, 50) {
            doc.parents(&id).expect("parents").count();
        }
    })?;
    let saved = step(&name("saving"), || document::compact(doc))?;
    let saved = saved.map_err(|error| Failure::new(&name("loading"), format!("{error}: {error:?}")))?;
    let again = step(&name("loading"), || document::load(Some(&saved), std::iter::empty()))?;
    let again = again.map_err(|error| Failure::new(&name("loading"), error.to_string()))?;
    same(&name("loaded"), doc, &again)
}

/// The changes of a document, each decoded, applied to nothing.
fn replayed(doc: &Automerge) -> Result<(), Failure> {
    let again = step("replaying", || {
        let changes = doc.get_changes(&[]);
        changes.iter().for_each(|change| drop(change.decode()));
        let mut again = document::empty();
        again.apply_changes(changes).expect("applied");
        again
    })?;
    same("replayed", doc, &again)
}

/// What the product does with what has arrived.
fn judged(doc: &Automerge, arrived: &[EncodedChange]) -> Result<(), Failure> {
    let hashes: Vec<Digest> = arrived.iter().map(|change| change.hash).collect();
    for by_lines in [false, true] {
        let found = step("detecting", || conflict::update(doc, &BTreeSet::new(), &hashes, &|_| by_lines))?;
        for conflict in found.iter().flatten().take(20) {
            step("describing", || {
                drop(conflict::path(doc, conflict));
                let mut sides = conflict::alternatives(doc, conflict);
                conflict::show_held(doc, conflict, &mut sides);
                drop(conflict::doubled(doc, conflict, by_lines));
            })?;
        }
    }
    for change in arrived {
        step("saying alone", || conflict::said_alone(&change.bytes, &mut conflict::Room::default()))?;
        step("looking for additions", || guard::only_adds(&change.bytes))?;
    }
    Ok(())
}

/// Honest edits of every kind on containers of a copy; what they made.
fn edited(doc: &mut Automerge, all: &[Container], dice: &mut Dice) -> Result<Vec<EncodedChange>, Failure> {
    let before = doc.get_heads();
    for container in all {
        step("an honest edit", || edits::every(doc, container, &[0xd1; 16], dice))?;
    }
    for n in 0..4 {
        let edit = product_edit(dice);
        // It may not fit, and is then refused.
        step("an edit by the product", || drop(document::apply(doc, &edit, [0xd2 + n; 16], 1, &manifest())))?;
    }
    let made = step("what honest edits made", || doc.get_changes(&before))?;
    Ok(made.iter().map(encoded).collect())
}

/// Lets changes in that must get in; they are honest and build on what is there.
fn let_in(doc: &Automerge, changes: &[EncodedChange], kind: &str) -> Result<Automerge, Failure> {
    let incoming: Vec<Incoming<'_>> = changes.iter().map(incoming).collect();
    let admission = guard::admit(Some(doc), &incoming);
    if let Some(outcome) =
        admission.outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Applied | Outcome::Present))
    {
        return Err(Failure::new(kind, crate::attempt::word(outcome)));
    }
    Ok(admission.doc.map_or_else(|| doc.clone(), |doc| *doc))
}

/// Everything that is tried on a document with changes let in. `before` is what they were let into.
pub fn survives(
    before: Option<&Automerge>,
    mut doc: Automerge,
    arrived: &[EncodedChange],
    dice: &mut Dice,
) -> Result<(), Failure> {
    let is_large = doc.stats().num_ops > 4_000;
    reads(&doc, "now")?;
    judged(&doc, arrived)?;
    if !is_large || dice.once_in(8) {
        replayed(&doc)?;
    }
    let mut all = step("finding containers", || edits::containers(&doc, 3_000))?;
    let most = if is_large { 4 } else { 12 };
    while all.len() > most {
        // The last ones are the newest or the deepest, and stay more often.
        all.remove(dice.roll(all.len() * 2 / 3));
    }
    // Somebody without knowledge of what arrived, and somebody with it.
    let mut apart = before.map(|before| before.clone().with_actor(automerge::ActorId::from([0xd0; 16])));
    if let Some(apart) = &mut apart {
        step("an edit apart", || drop(edits::change(apart, &[0xd0; 16], 6, dice)))?;
    }
    let theirs: Vec<EncodedChange> = apart
        .iter()
        .flat_map(|apart| apart.get_changes(&document_heads(before)))
        .map(|change| encoded(&change))
        .collect();
    let mut other = doc.clone();
    let made = edited(&mut doc, &all, dice)?;
    if let Some(apart) = &apart {
        step("merging", || doc.merge(&mut apart.clone()).expect("merged"))?;
    }
    reads(&doc, "later")?;
    // A second device hears of the same in another order, in two batches.
    other = let_in(&other, &theirs, "an honest change apart refused")?;
    other = let_in(&other, &made, "an honest change refused")?;
    same("another order", &doc, &other)?;
    if let Some(before) = before {
        let mut all: Vec<EncodedChange> = [arrived, &made, &theirs].concat();
        for at in (1..all.len()).rev() {
            all.swap(at, dice.roll(at + 1));
        }
        let third = let_in(before, &all, "one batch of all refused")?;
        same("one batch of all", &doc, &third)?;
    }
    let mut fork = step("forking", || doc.fork())?;
    step("an edit on a fork", || commit(&mut fork, &[0xd9; 16], |tx| tx.put(ROOT, "fork", 1).expect("put")))?;
    step("merging a fork", || doc.merge(&mut fork).expect("merged"))?;
    if !is_large && dice.once_in(4) {
        let heads = before.map(Automerge::get_heads).unwrap_or_default();
        step("a fork of the past", || if heads.is_empty() { None } else { doc.fork_at(&heads).ok() })?;
        let heads: Vec<Digest> = heads.iter().map(|head| Digest(head.0)).collect();
        step("reading the past", || document::read_past(&doc, &heads))?;
    }
    reads(&doc, "at last")
}

fn document_heads(doc: Option<&Automerge>) -> Vec<automerge::ChangeHash> {
    doc.map(Automerge::get_heads).unwrap_or_default()
}
