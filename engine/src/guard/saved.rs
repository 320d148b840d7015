//! An index of a whole document, read from what Automerge saves of it.
//!
//! The saved form has every operation but deletions in columns like a change's, sorted by container, so that a container
//! stands before what is in it; `Automerge`'s binary format, "Operation columns". The bytes are this device's own.

use super::chunk;
use super::columns::Columns;
use super::index::{Container, ContainerNo, Index, ROOT, Shape, Slot, Value, What};
use super::ops::{Cursor, Key, Ops, action, value};
use super::reader::Reader;
use super::refused::{Reason, Refused};
use automerge::{Automerge, SaveOptions};
use syncd_schema::Digest;

/// Columns of a saved document that a change does not have: the operations' own ids.
const ID_ACTOR: u64 = 33;
const ID_COUNTER: u64 = 35;

/// A column: its specification and its bytes.
type Column<'a> = (u64, Reader<'a>);

/// Reads the operations of a document.
///
/// # Errors
/// When the saved form is another than the one this was written for.
pub(super) fn read(doc: &Automerge) -> Result<Index, Refused> {
    let bytes = doc.save_with_options(SaveOptions { deflate: false, retain_orphans: false });
    let mut reader = Reader::new(&bytes, 0, "saved document");
    if reader.array::<4>()? != chunk::MAGIC {
        return Err(reader.refuse(Reason::BadMagic));
    }
    reader.array::<4>()?;
    let kind = reader.byte()?;
    if kind != 0 {
        return Err(reader.refuse(Reason::ChunkType { found: kind }));
    }
    reader.unsigned()?;
    let mut index = Index::default();
    for _ in 0..reader.unsigned()? {
        index.actor_or_new(chunk::read_actor(&mut reader)?);
    }
    let mut heads = Vec::new();
    for _ in 0..reader.unsigned()? {
        heads.push(Digest(reader.array()?));
    }
    heads.sort_unstable();
    let of_changes = table(&mut reader)?;
    let of_ops = table(&mut reader)?;
    for (_, length) in of_changes {
        reader.take(length)?;
    }
    let mut columns = Vec::with_capacity(of_ops.len());
    for (spec, length) in of_ops {
        columns.push((spec, reader.window(length, "operations")?));
    }
    fill(&mut index, &columns, reader)?;
    index.set_heads(heads);
    index.begin();
    Ok(index)
}

fn table(reader: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, Refused> {
    let mut table = Vec::new();
    for _ in 0..reader.unsigned()? {
        table.push((reader.unsigned()?, reader.unsigned()?));
    }
    Ok(table)
}

fn fill(index: &mut Index, saved: &[Column<'_>], end: Reader<'_>) -> Result<(), Refused> {
    let mut columns = Columns::none(end);
    let none = Reader::new(&[], end.offset(), "operations");
    let (mut ids, mut counters) = (none, none);
    for (spec, column) in saved {
        match *spec {
            ID_ACTOR => ids = *column,
            ID_COUNTER => counters = *column,
            spec => {
                // Successors and marks are of no use here.
                if let Some((known, _)) = columns.by_spec(spec) {
                    *known = *column;
                }
            }
        }
    }
    let (mut ids, mut counters) = (Cursor::<u64>::new(ids), Cursor::<i64>::new(counters));
    let mut ops = Ops::new(&columns);
    let mut counter = 0_i64;
    // Values stand by container and not by author, and the index wants them in the order of their numbers.
    let mut values: Vec<Vec<(u32, Value)>> = vec![Vec::new(); index.actor_count()];
    let mut last: Option<((u64, u64), ContainerNo)> = None;
    while let Some(actor) = ids.next()? {
        let delta = counters.next()?.unwrap_or(0);
        counter = counter.saturating_add(delta);
        let (op, _) = ops.next()?;
        let wrong = || end.refuse(Reason::OutOfRange);
        let own = u32::try_from(counter).map_err(|_| wrong())?;
        let actor = u32::try_from(actor).map_err(|_| wrong())?;
        let container = match op.object {
            None => ROOT,
            Some(object) if last.is_some_and(|(last, _)| last == object) => last.map_or(ROOT, |(_, no)| no),
            Some(object) => {
                let maker = u32::try_from(object.0).map_err(|_| wrong())?;
                let no = index.made_by(maker, object.1).ok_or_else(wrong)?;
                last = Some((object, no));
                no
            }
        };
        let slot = match op.key {
            _ if op.inserts => Slot::Item(actor, own),
            Key::Name(name) => Slot::Name(index.name_or_new(name)),
            Key::Element((actor, counter)) => {
                let (actor, counter) = (u32::try_from(actor), u32::try_from(counter));
                Slot::Item(actor.map_err(|_| wrong())?, counter.map_err(|_| wrong())?)
            }
            Key::Head => return Err(wrong()),
        };
        let shape = match op.action {
            action::INCREMENT | action::DELETE => continue,
            action::MAKE_MAP => Some(Shape::Map),
            action::MAKE_LIST => Some(Shape::List),
            action::MAKE_TEXT => Some(Shape::Text),
            _ => None,
        };
        let what = match shape {
            Some(shape) => {
                let depth = index.container(container).map_or(0, |within| within.depth) + 1;
                index.add_container(actor, own, Container { shape, depth });
                What::Container
            }
            None if op.value.0 == value::COUNTER => What::Counter,
            None => What::Scalar,
        };
        let written = Value { container, slot, what, inserts: op.inserts };
        values.get_mut(actor as usize).ok_or_else(wrong)?.push((own, written));
    }
    for (actor, mut values) in (0_u32..).zip(values) {
        values.sort_unstable_by_key(|(counter, _)| *counter);
        for (counter, value) in values {
            index.add(actor, counter, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::lives::{Numbers, at_no_time, life};
    use crate::guard::{scan, semantics};
    use automerge::transaction::Transactable;
    use automerge::{Change, ObjId, ObjType, ROOT as DOC, ReadDoc, ScalarValue};

    /// Three people who write maps, lists, texts and counters.
    fn written(seed: u64) -> Automerge {
        let mut born = crate::document::empty();
        let mut first = born.transaction();
        first.put_object(DOC, "list", ObjType::List).unwrap();
        first.put_object(DOC, "text", ObjType::Text).unwrap();
        first.put(DOC, "count", ScalarValue::counter(3)).unwrap();
        first.commit_with(at_no_time());
        life(seed, &born, 60, |tx, numbers, _| {
            let list = tx.get(DOC, "list").unwrap().unwrap().1;
            let text = tx.get(DOC, "text").unwrap().unwrap().1;
            for _ in 0..=numbers.below(4) {
                write(tx, numbers, &list, &text);
            }
        })
    }

    fn write(tx: &mut impl Transactable, numbers: &mut Numbers, list: &ObjId, text: &ObjId) {
        let (items, characters) = (tx.length(list), tx.length(text));
        let key = format!("k{}", numbers.below(4));
        match numbers.below(9) {
            0 => tx.put(DOC, key, numbers.below(5) as i64).unwrap(),
            1 => drop(tx.put_object(DOC, key, ObjType::Map).unwrap()),
            2 => drop(tx.delete(DOC, key)),
            3 => tx.insert(list, numbers.below(items + 1), "item").unwrap(),
            4 if items > 0 => tx.put(list, numbers.below(items), ScalarValue::counter(1)).unwrap(),
            5 if items > 0 => drop(tx.insert_object(list, numbers.below(items), ObjType::Text).unwrap()),
            6 => tx.increment(DOC, "count", 2).unwrap(),
            _ => {
                let at = numbers.below(characters + 1);
                let gone = numbers.below(3).min(characters - at) as isize;
                tx.splice_text(text, at, gone, "typed é").unwrap();
            }
        }
    }

    /// Everything an index says of operations, under names that do not depend on how it was made.
    fn facts(index: &Index, changes: &[Change]) -> Vec<String> {
        let mut facts = Vec::new();
        for change in changes {
            let actor = index.actor(change.actor_id().to_bytes()).unwrap();
            for counter in change.start_op().get()..=change.max_op() {
                let container = index.made_by(actor, counter).and_then(|no| index.container(no));
                let value = index
                    .value(actor, counter)
                    .map(|value| (value.what, value.inserts, index.container(value.container)));
                facts.push(format!("{counter} {container:?} {value:?}"));
            }
        }
        facts
    }

    #[test]
    fn read_at_once_or_change_by_change_an_index_is_the_same_and_honest_changes_keep_the_rules() {
        for seed in 0..40 {
            let doc = written(seed);
            let changes = doc.get_changes(&[]);
            let mut grown = Index::default();
            for change in &changes {
                let (scanned, layout) = scan::layout(change.raw_bytes()).expect("honest");
                semantics::check(&mut grown, &scanned, &layout)
                    .unwrap_or_else(|refused| panic!("seed {seed}: {refused}"));
            }
            let read = read(&doc).expect("the form is known");
            assert_eq!(read.heads(), grown.heads(), "seed {seed}");
            assert_eq!(facts(&read, &changes), facts(&grown, &changes), "seed {seed}");
        }
    }

    #[test]
    fn a_batch_can_be_taken_back() {
        let doc = written(7);
        let changes = doc.get_changes(&[]);
        let (first, rest) = changes.split_at(changes.len() / 2);
        let mut index = Index::default();
        let add = |index: &mut Index, change: &Change| {
            let (scanned, layout) = scan::layout(change.raw_bytes()).unwrap();
            semantics::check(index, &scanned, &layout).unwrap();
        };
        first.iter().for_each(|change| add(&mut index, change));
        index.begin();
        let before = (index.heads().to_vec(), facts(&index, first), index.bytes());
        rest.iter().for_each(|change| add(&mut index, change));
        index.undo();
        assert_eq!(before, (index.heads().to_vec(), facts(&index, first), index.bytes()));
        rest.iter().for_each(|change| add(&mut index, change));
        assert!(index.is_of(Some(&doc)));
    }
}
