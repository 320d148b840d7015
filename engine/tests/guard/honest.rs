//! Devices that edit at random and exchange what they have by way of the guard.

use crate::craft::framed;
use crate::{born, incoming, manifest};
use automerge::Automerge;
use proptest::prelude::*;
use serde_json::{Value, json};
use syncd_engine::document::{self, Edit, EncodedChange};
use syncd_engine::guard::{self, Incoming, chunk};
use syncd_schema::Digest;

/// A small deterministic source of numbers.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

pub fn some_edit(dice: &mut Dice, doc: &Automerge) -> Edit {
    let key = ["a", "b", "m", "s"][dice.roll(4)];
    let text =
        document::read_at(doc, "/t").unwrap().and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default();
    let len = text.chars().count();
    let step = |value: Value| Edit::JsonPatch(serde_json::from_value(Value::Array(vec![value])).unwrap());
    let number = dice.roll(1_000);
    match dice.roll(12) {
        0 => Edit::MergePatch(json!({key: number})),
        1 => Edit::MergePatch(json!({key: null})),
        2 => Edit::MergePatch(json!({"m": {key: {"deep": [number, {"er": null}]}}})),
        3 => Edit::MergePatch(json!({key: {"x": "y"}, "f": 1.5, "u": u64::MAX, "neg": -1, "yes": true})),
        4 | 5 => {
            let pos = dice.roll(len + 1);
            let del = dice.roll((len - pos).min(5) + 1);
            Edit::Splice {
                path: "/t".into(),
                pos,
                del,
                text: ["", "x", "€\n", "many words here"][dice.roll(4)].into(),
            }
        }
        6 => Edit::SetText { path: "/t".into(), text: text.to_uppercase() + "\nnew line" },
        7 => Edit::Increment { path: "/c".into(), by: number as i64 - 500 },
        8 => step(json!({"op": "add", "path": "/l/0", "value": {"n": number}})),
        9 => step(json!({"op": "add", "path": "/l/-", "value": "end"})),
        10 => step(json!({"op": "remove", "path": format!("/l/{}", dice.roll(4))})),
        _ => step(json!({"op": "replace", "path": format!("/l/{}", dice.roll(3)), "value": ["r", number]})),
    }
}

/// Three devices that edit at random and exchange what they have by way of the guard.
pub fn run_devices(seed: u64, steps: usize) -> (Vec<Automerge>, Vec<EncodedChange>) {
    let mut dice = Dice(seed | 1);
    let (doc, birth) = born();
    let mut docs = vec![doc; 3];
    let mut log = vec![birth];
    let mut session = [0_u8; 3];
    for _ in 0..steps {
        let device = dice.roll(3);
        if dice.roll(4) > 0 {
            session[device] += u8::from(dice.roll(10) == 0);
            let actor = [10 * (device as u8 + 1) + session[device] % 10; 16];
            let edit = some_edit(&mut dice, &docs[device]);
            if let Ok(Some(change)) =
                document::apply(&mut docs[device], &edit, actor, 1_700_000_000, &manifest())
            {
                log.push(change);
            }
        } else {
            let from = dice.roll(3);
            send(&docs[from].clone(), &mut docs[device]);
        }
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
        send(&docs[from].clone(), &mut docs[to]);
    }
    (docs, log)
}

/// Another order of changes for each seed.
pub fn any_order(seed: u64, hash: &Digest) -> Digest {
    syncd_schema::domain::sha256(&[seed.to_be_bytes().as_slice(), &hash.0].concat())
}

pub fn send(from: &Automerge, to: &mut Automerge) {
    let changes: Vec<EncodedChange> = from
        .get_changes(&[])
        .iter()
        .map(|change| EncodedChange { hash: Digest(change.hash().0), bytes: change.raw_bytes().to_vec() })
        .collect();
    let incoming: Vec<Incoming<'_>> = changes.iter().map(incoming).collect();
    let admission = guard::admit(Some(to), &incoming);
    assert!(admission.is_complete(), "an honest change was not let in: {:?}", admission.outcomes);
    if let Some(doc) = admission.doc {
        *to = *doc;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn honest_changes_pass_and_devices_agree(seed in any::<u64>()) {
        let (docs, log) = run_devices(seed, 60);
        for doc in &docs {
            prop_assert_eq!(document::heads(doc), document::heads(&docs[0]));
            prop_assert_eq!(document::read(doc), document::read(&docs[0]));
            document::compact(doc).unwrap();
        }
        // From nothing, in one batch.
        let admission = guard::admit(None, &log.iter().map(incoming).collect::<Vec<_>>());
        prop_assert!(admission.is_complete());
        prop_assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(&docs[0]));
        // And in any order.
        let mut shuffled = log.clone();
        shuffled.sort_by_key(|change| any_order(seed, &change.hash));
        let admission = guard::admit(None, &shuffled.iter().map(incoming).collect::<Vec<_>>());
        prop_assert!(admission.is_complete(), "{:?}", admission.outcomes);
        prop_assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(&docs[0]));
        // Every chunk comes apart and together again.
        for change in &log {
            let parts = chunk::split(&change.bytes).unwrap();
            let (hash, bytes) = chunk::assemble(&parts.deps, parts.actor, parts.rest).unwrap();
            prop_assert_eq!((hash, &bytes), (change.hash, &change.bytes));
            let meta = automerge::Change::try_from(bytes.as_slice()).unwrap();
            let scanned = guard::scan(&change.bytes).unwrap();
            prop_assert_eq!(&scanned.actor, &meta.actor_id().to_bytes());
            prop_assert_eq!(scanned.deps.iter().map(|dep| dep.0).collect::<Vec<_>>(), meta.deps().iter().map(|dep| dep.0).collect::<Vec<_>>());
            prop_assert_eq!((scanned.seq, scanned.start_op, scanned.ops), (meta.seq(), meta.start_op().get(), meta.len() as u64));
            prop_assert_eq!((scanned.max_op(), scanned.time), (meta.max_op(), meta.timestamp()));
        }
    }

    #[test]
    fn splitting_never_panics_and_is_exact(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0..3_u8) {
        let change = framed(kind, &bytes);
        if let Ok(parts) = chunk::split(&change.bytes) {
            prop_assert_eq!(chunk::assemble(&parts.deps, parts.actor, parts.rest).unwrap(), (change.hash, change.bytes));
        }
        let _ = guard::scan(&framed(kind, &bytes).bytes);
        let _ = guard::scan(&bytes);
    }
}
