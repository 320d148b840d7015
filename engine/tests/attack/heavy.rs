//! The largest changes that are let in, one of each kind: what they cost to take, to read and to work beside.

use crate::aftermath::{encoded, incoming};
use crate::chains::{self, heaviest};
use crate::dice::Dice;
use crate::documents::commit;
use crate::draft::Draft;
use crate::world::World;
use automerge::transaction::Transactable;
use automerge::{ROOT, ReadDoc};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use syncd_engine::guard::{self, Outcome};
use syncd_engine::{conflict, document};

/// What one of them may cost altogether: whoever may write may make a device work, but not stand still.
const MOST: Duration = Duration::from_secs(20);

/// `SYNCD_HEAVIEST` says how many operations they have.
#[test]
fn the_largest_changes_keep_nobody() {
    let operations = crate::number("SYNCD_HEAVIEST", 3_000) as usize;
    let world = World::new("a record", 0, false);
    let dice = &mut Dice::new(1);
    for chain in heaviest(operations) {
        let own =
            Draft { actor: vec![9; 16], seq: 1, ops: Vec::new(), ..crate::attempt::draft(&world, dice) };
        let change = chains::build(chain, &own, &world, dice).remove(0);
        let begun = Instant::now();
        let mut said = Vec::new();
        let mut timed = |what: &str, since: Instant| said.push(format!("{what} {:.1?}", since.elapsed()));
        let admission = guard::admit(world.doc.as_ref(), &[incoming(&change)]);
        timed("admitted", begun);
        match admission.outcomes.as_slice() {
            [Outcome::Applied] => {}
            other => {
                println!("{chain:?}, {} bytes: {other:?}, {:.1?}", change.bytes.len(), begun.elapsed());
                continue;
            }
        }
        let mut doc = admission.doc.expect("a document");
        let since = Instant::now();
        assert!(document::read(&doc).is_object());
        timed("read", since);
        let since = Instant::now();
        let saved = document::compact(&doc).expect("saved");
        timed("saved and loaded", since);
        let before = doc.get_heads();
        let since = Instant::now();
        commit(&mut doc, &[3; 16], |tx| {
            tx.put(ROOT, "field1", 9).expect("put");
            if let Ok(Some((_, id))) = tx.get(ROOT, "many") {
                let length = tx.length(&id);
                if length > 0 {
                    tx.insert(&id, length / 2, 1).expect("inserted");
                    tx.put(&id, 0, 1).expect("put");
                } else {
                    tx.put(ROOT, "many", 1).expect("put");
                }
            }
        });
        timed("edited", since);
        let next = encoded(doc.get_changes(&before).first().expect("a change"));
        let again = document::load(Some(&saved), std::iter::empty()).expect("loaded");
        let since = Instant::now();
        assert!(guard::admit(Some(&again), &[incoming(&next)]).is_complete());
        timed("the edit admitted elsewhere", since);
        let since = Instant::now();
        drop(conflict::update(&doc, &BTreeSet::new(), &[change.hash, next.hash], &|_| false));
        timed("searched for conflicts", since);
        let all = begun.elapsed();
        println!("{chain:?}, {} bytes, {all:.1?}: {}", change.bytes.len(), said.join(", "));
        assert!(all < MOST, "{chain:?} took {all:?}");
    }
}
