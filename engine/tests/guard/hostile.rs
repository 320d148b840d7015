//! Changes that were altered, or point where they should not, by an attacker who knows the format.

use crate::craft::{Craft, framed, leb};
use crate::honest::{Dice, run_devices, some_edit};
use crate::{incoming, manifest};
use automerge::{Automerge, ReadDoc};
use std::collections::BTreeMap;
use syncd_engine::document::{self, Edit, EncodedChange};
use syncd_engine::guard::{self, Outcome, Reason};

/// Alters a change's body at random and gives it the right checksum, as an attacker would.
fn mutated(dice: &mut Dice, change: &EncodedChange) -> EncodedChange {
    let header = change.bytes.len() - chunk_body(&change.bytes).len();
    let mut body = change.bytes[header..].to_vec();
    // The dependencies stay, else nothing beyond them would be tried.
    let deps = 1 + 32 * usize::from(body[0]) + 1;
    // Half of them only touch columns and keep their lengths: these get furthest.
    let columns = dice.roll(2) == 0;
    for _ in 0..=dice.roll(3) {
        let from = if columns { deps.max(body.len().saturating_sub(50)) } else { deps };
        let at = from + dice.roll(body.len() - from);
        match dice.roll(if columns { 4 } else { 6 }) {
            0 => body[at] ^= 1 << dice.roll(8),
            1 => body[at] = body[at].wrapping_add(1),
            2 => body[at] = body[at].wrapping_sub(1),
            3 => body[at] = dice.roll(256) as u8,
            4 => body.insert(at, dice.roll(256) as u8),
            _ => {
                if body.len() > deps + 1 {
                    body.remove(at);
                }
            }
        }
    }
    framed(1, &body)
}

fn chunk_body(bytes: &[u8]) -> &[u8] {
    let length = bytes[9..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    &bytes[9 + length..]
}

/// What must hold after the guard has seen a change, whatever it was.
fn stays_sound(doc: &Automerge, what: &str) {
    let saved = document::compact(doc).unwrap_or_else(|error| panic!("{what}: {error}"));
    let again = document::load(Some(&saved), std::iter::empty()).unwrap();
    assert_eq!(document::read(&again), document::read(doc), "{what}");
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => {
            format!("{:?}", refused.reason).split([' ', '{']).next().unwrap().to_owned()
        }
        other => format!("{other:?}").split('(').next().unwrap().to_owned(),
    }
}

/// Keeps one change for each place in Automerge that panics, when `SYNCD_CRASHERS` names a folder for them.
fn keep_crasher(outcome: &Outcome, base: &Automerge, bad: &EncodedChange) {
    let Some(folder) = std::env::var_os("SYNCD_CRASHERS") else { return };
    let Outcome::Refused(refused) = outcome else { return };
    let Reason::Panicked { at } = &refused.reason else { return };
    let name = at.replace(['/', ':', '.'], "-");
    let path = std::path::Path::new(&folder).join(name).with_extension("hex");
    let text = format!("{}\n{}\n", hex(&base.save()), hex(&bad.bytes));
    if std::fs::metadata(&path).is_err() || std::fs::metadata(&path).unwrap().len() > text.len() as u64 {
        std::fs::write(path, text).unwrap();
    }
}

enum Harm {
    None,
    Now,
    Later,
}

/// Whether a document that let a change in can still be read, edited, saved and loaded.
fn harm(mut doc: Automerge, round: usize) -> Harm {
    let caught =
        |test: &mut dyn FnMut()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_ok();
    if !caught(&mut || stays_sound(&doc, "now")) {
        return Harm::Now;
    }
    let sound = caught(&mut || {
        let mut dice = Dice(round as u64 + 1);
        for n in 0..5 {
            let edit = some_edit(&mut dice, &doc);
            let _ = document::apply(&mut doc, &edit, [200 + n; 16], 1, &manifest());
        }
        stays_sound(&doc, "later");
    });
    if sound { Harm::None } else { Harm::Later }
}

#[test]
fn mutated_changes_do_no_harm() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut applied, mut broken, mut later) = (0, 0, 0);
    let rounds = std::env::var("SYNCD_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for round in 0..rounds {
        let (base, changes) = SCRIPTS.with(|scripts| scripts[round % scripts.len()].clone());
        let change = &changes[dice.roll(changes.len())];
        let bad = mutated(&mut dice, change);
        let admission = guard::admit(Some(&base), &[incoming(&bad)]);
        *counts.entry(word(&admission.outcomes[0])).or_default() += 1;
        keep_crasher(&admission.outcomes[0], &base, &bad);
        let Some(doc) = admission.doc else { continue };
        applied += 1;
        match harm(*doc, round) {
            Harm::None => continue,
            Harm::Now => broken += 1,
            Harm::Later => later += 1,
        }
        println!("not sound: {} on {}", hex(&bad.bytes), hex(&base.save()));
    }
    println!(
        "{rounds} mutated: {applied} applied, {broken} broken at once, {later} after honest edits; {counts:?}"
    );
    assert_eq!((broken, later), (0, 0));
}

/// Well-formed changes whose operations point at existing operations of any kind: what mutation rarely makes.
fn misdirected(dice: &mut Dice, base: &Automerge) -> EncodedChange {
    let metas = base.get_changes_meta(&[]);
    let owner = &metas[dice.roll(metas.len())];
    let (low, high) = (owner.start_op, owner.max_op.max(owner.start_op));
    let mut op = || (low + dice.roll((high - low + 1) as usize) as u64).min(high);
    let number = |value: u64| {
        let mut bytes = vec![0x7f];
        leb(value, &mut bytes);
        bytes
    };
    // Deltas are signed, where a leading bit of 1 in the last byte would be a minus.
    let delta = |value: u64| {
        let mut bytes = vec![0x7f];
        let mut rest = value;
        while rest >= 64 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let (object, element, pred) = (op(), op(), op());
    let mut craft = Craft { others: vec![owner.actor.to_bytes().to_vec()], ..Craft::put(base) };
    if dice.roll(3) > 0 {
        craft = craft.column(1, &[0x7f, 1]).column(2, &number(object));
    }
    if dice.roll(2) == 0 {
        craft.columns.retain(|(spec, _)| *spec != 21);
        let insert = dice.roll(2) as u8;
        craft = craft.column(52, if insert == 1 { &[0, 1] } else { &[1] });
        craft = match dice.roll(3) {
            0 if insert == 1 => craft.column(19, &[0x7f, 0]),
            _ => craft.column(17, &[0x7f, 1]).column(19, &delta(element)),
        };
    }
    let action = dice.roll(6) as u8;
    craft = craft.column(66, &[0x7f, action]);
    if dice.roll(2) == 0 {
        craft.columns.retain(|(spec, _)| *spec != 87);
        craft = craft.column(86, &[0x7f, 0]);
    }
    if dice.roll(3) > 0 {
        craft = craft.column(112, &[0x7f, 1]).column(113, &[0x7f, 1]).column(115, &delta(pred));
    }
    craft.make()
}

#[test]
fn misdirected_changes_do_no_harm() {
    let mut dice = Dice(0xdead_beef_cafe);
    let rounds: usize = std::env::var("SYNCD_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let (mut applied, mut broken, mut later) = (0, 0, 0);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..rounds {
        let (base, _) = SCRIPTS.with(|scripts| scripts[round % scripts.len()].clone());
        let bad = misdirected(&mut dice, &base);
        let admission = guard::admit(Some(&base), &[incoming(&bad)]);
        *counts.entry(word(&admission.outcomes[0])).or_default() += 1;
        keep_crasher(&admission.outcomes[0], &base, &bad);
        let Some(doc) = admission.doc else { continue };
        applied += 1;
        match harm(*doc, round) {
            Harm::None => {}
            Harm::Now => broken += 1,
            Harm::Later => later += 1,
        }
    }
    println!(
        "{rounds} misdirected: {applied} applied, {broken} broken at once, {later} after honest edits; {counts:?}"
    );
    assert_eq!((broken, later), (0, 0));
}

thread_local! {
    /// Documents, and changes whose dependencies they hold.
    static SCRIPTS: Vec<(Automerge, Vec<EncodedChange>)> = (1..40_u64).map(|seed| {
        let (docs, _) = run_devices(seed * 7919, 25);
        let mut base = docs[0].clone();
        if seed % 2 == 0 {
            // Too large to be loaded again at each step: the other layers must do without that one.
            let text = Edit::Splice { path: "/t".into(), pos: 0, del: 0, text: "a longer text\n".repeat(50) };
            document::apply(&mut base, &text, [99; 16], 1, &manifest()).unwrap().unwrap();
            assert!(base.stats().num_ops > 256);
        }
        let mut dice = Dice(seed);
        let changes = (0..12_u8).filter_map(|n| {
            let mut doc = base.clone();
            let edit = some_edit(&mut dice, &doc);
            document::apply(&mut doc, &edit, [100 + n; 16], 1, &manifest()).ok().flatten()
        });
        let changes = changes.collect();
        (base, changes)
    }).collect();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
