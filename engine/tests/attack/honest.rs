//! Honest changes, thousands of them: written here as Automerge writes them, and let in by the guard.

use crate::aftermath::{self, encoded, incoming};
use crate::attempt;
use crate::dice::Dice;
use crate::documents::SHAPES;
use crate::draft::Draft;
use crate::world::World;
use automerge::{Automerge, ReadDoc};
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::guard::{self, Incoming, Outcome};

/// What is written by hand is, byte for byte, what Automerge writes: so an attack breaks nothing but its rule.
#[test]
fn changes_are_written_as_automerge_does() {
    let mut written = 0;
    for (shape, _) in SHAPES {
        for variant in 0..3 {
            let world = World::new(shape, variant, false);
            for change in world.base.get_changes(&[]) {
                assert_eq!(Draft::of(&change).write(), encoded(&change), "{shape}, variant {variant}");
                written += 1;
            }
        }
    }
    println!("{written} changes");
    assert!(written > 2_000);
}

#[test]
fn honest_changes_are_let_in() {
    let (mut histories, mut single) = (0, 0);
    for (shape, _) in SHAPES {
        for variant in 0..4 {
            let dice = &mut Dice::new(variant);
            let world = World::new(shape, variant, variant % 2 == 1);
            let Some(doc) = &world.doc else { continue };
            histories += whole_history(shape, doc, dice);
            let many = if doc.stats().num_ops > 4_000 { 3 } else { 30 };
            for n in 0..many {
                let change = if n % 3 == 0 {
                    attempt::unbroken(&world, dice)
                } else {
                    attempt::draft(&world, dice).write()
                };
                let outcomes = guard::admit(Some(doc), &[incoming(&change)]).outcomes;
                assert_eq!(outcomes, [Outcome::Applied], "{shape}, variant {variant}, change {n}");
                single += 1;
            }
        }
    }
    println!("{histories} in histories, {single} one by one");
    assert!(histories > 2_000 && single > 1_500);
}

/// What attacks are measured by holds of honest work: else a failure would say nothing about them.
#[test]
fn honest_work_survives_what_is_tried() {
    let most = crate::number("SYNCD_HONEST", 4);
    let mut failed = Vec::new();
    for (shape, _) in SHAPES {
        for variant in 0..most {
            let dice = &mut Dice::new(variant);
            let world = World::new(shape, variant, false);
            let change = attempt::draft(&world, dice).write();
            let admission = guard::admit(world.doc.as_ref(), &[incoming(&change)]);
            let after = admission.doc.expect("an honest change");
            if let Err(failure) = aftermath::survives(world.doc.as_ref(), *after, &[change], dice) {
                failed.push(format!("{shape}, variant {variant}: {failure:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} fail: {failed:#?}", failed.len());
}

/// All changes of a document, in any order and in batches of any size. How many there are.
fn whole_history(shape: &str, doc: &Automerge, dice: &mut Dice) -> usize {
    let mut changes: Vec<EncodedChange> = doc.get_changes(&[]).iter().map(encoded).collect();
    let in_order = guard::admit(None, &changes.iter().map(incoming).collect::<Vec<_>>());
    assert!(in_order.is_complete(), "{shape}: {:?}", in_order.first_refused());
    assert_eq!(document::heads(&in_order.doc.unwrap()), document::heads(doc), "{shape}");
    let mut here: Option<Box<Automerge>> = None;
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(1 + dice.roll(40)));
        let admission = guard::admit(here.as_deref(), &part.iter().map(incoming).collect::<Vec<_>>());
        assert!(admission.is_complete(), "{shape}: {:?}", admission.first_refused());
        (here, rest) = (admission.doc, after);
    }
    assert_eq!(document::heads(&here.unwrap()), document::heads(doc), "{shape}");
    for at in (1..changes.len()).rev() {
        changes.swap(at, dice.roll(at + 1));
    }
    let shuffled: Vec<Incoming<'_>> = changes.iter().map(incoming).collect();
    let admission = guard::admit(None, &shuffled);
    assert!(admission.is_complete(), "{shape}: {:?}", admission.first_refused());
    assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(doc), "{shape}");
    changes.len()
}
