//! A device: a document with a text, and what is known to contradict in it.

use automerge::{ActorId, Automerge, Change, ChangeHash, ReadDoc};
use serde_json::json;
use std::collections::BTreeSet;
use syncd_engine::Edit;
use syncd_engine::conflict::{self, Conflict, OpName};
use syncd_engine::document;
use syncd_schema::Digest;
use syncd_schema::manifest::Manifest;

/// Characters that are written at once, about.
const PIECE: usize = 40_000;

#[derive(Clone)]
pub struct Device {
    pub doc: Automerge,
    pub open: BTreeSet<Conflict>,
    pub actor: [u8; 16],
    pub by_lines: bool,
}

impl Device {
    /// Devices that all begin with a text.
    pub fn all(base: &str, count: u8, by_lines: bool) -> Vec<Self> {
        let manifest = Manifest::free_form("notes".parse().unwrap());
        let born =
            document::birth(&"it".parse().unwrap(), &"notes".parse().unwrap(), &json!({"t": ""}), &manifest);
        let mut first = Self { doc: born.unwrap().doc, open: BTreeSet::new(), actor: [99; 16], by_lines };
        // A piece at a time: a change holds only so many operations.
        first.set("x");
        let mut text = String::new();
        for line in base.split_inclusive('\n') {
            text.push_str(line);
            if text.len() % PIECE < line.len() {
                first.set(&text);
            }
        }
        first.set(base);
        let with = |n: u8| Self { actor: [n + 1; 16], ..first.clone() };
        (0..count).map(with).collect()
    }

    pub fn text(&self) -> String {
        self.doc.text(self.id().object()).unwrap()
    }

    /// The operation that made the text.
    pub fn id(&self) -> OpName {
        OpName::of_object(&self.doc.get(automerge::ROOT, "t").unwrap().unwrap().1).unwrap()
    }

    /// Writes a whole new text.
    pub fn set(&mut self, text: &str) {
        self.edit(&Edit::SetText { path: "/t".to_owned(), text: text.to_owned() });
    }

    pub fn edit(&mut self, edit: &Edit) {
        let manifest = Manifest::free_form("notes".parse().unwrap());
        let made = document::apply(&mut self.doc, edit, self.actor, 0, &manifest).unwrap();
        self.learn(made.iter().map(|change| change.hash).collect());
    }

    /// Takes what another has.
    pub fn receive(&mut self, from: &Self) {
        self.take(self.missing(from));
    }

    /// What another has that is not here, in causal order.
    pub fn missing(&self, from: &Self) -> Vec<Change> {
        let held: BTreeSet<ChangeHash> = self.doc.get_changes(&[]).iter().map(Change::hash).collect();
        from.doc.get_changes(&[]).into_iter().filter(|change| !held.contains(&change.hash())).collect()
    }

    pub fn take(&mut self, changes: Vec<Change>) {
        let arrived = changes.iter().map(|change| Digest(change.hash().0)).collect();
        self.doc.apply_changes(changes).unwrap();
        self.learn(arrived);
    }

    fn learn(&mut self, arrived: Vec<Digest>) {
        if !arrived.is_empty() {
            self.open = conflict::update(&self.doc, &self.open, &arrived, &|_| self.by_lines).unwrap();
        }
    }

    /// What contradicts, found in the whole document at once.
    pub fn anew(&self) -> BTreeSet<Conflict> {
        let all: Vec<Digest> =
            self.doc.get_changes(&[]).iter().map(|change| Digest(change.hash().0)).collect();
        conflict::update(&self.doc, &BTreeSet::new(), &all, &|_| self.by_lines).unwrap()
    }

    /// Those that somebody must decide.
    pub fn cards(&self) -> Vec<&Conflict> {
        self.open.iter().filter(|conflict| !conflict.is_equal).collect()
    }

    /// Removes what stands in the text several times because several typed it alike; whether there was any.
    pub fn remove_doubled(&mut self) -> bool {
        let all = self.open.iter().filter(|conflict| conflict.is_equal);
        let doubled: Vec<OpName> =
            all.flat_map(|conflict| conflict::doubled(&self.doc, conflict, self.by_lines).unwrap()).collect();
        let text = self.id();
        self.doc.set_actor(ActorId::from(&self.actor[..]));
        let mut tx = self.doc.transaction();
        let count = conflict::delete_elements(&mut tx, &text, &doubled).unwrap();
        if let Some(hash) = tx.commit().0 {
            self.learn(vec![Digest(hash.0)]);
        }
        count > 0
    }
}

/// Every device hears all, until nothing is new.
pub fn sync_all(devices: &mut [Device]) {
    for _ in 0..2 {
        for to in 0..devices.len() {
            for from in 0..devices.len() {
                let source = devices[from].clone();
                devices[to].receive(&source);
            }
        }
    }
}

/// Each device removes what it finds doubled, without hearing of the others.
pub fn remove_all_doubled(devices: &mut [Device]) {
    for device in devices {
        device.remove_doubled();
    }
}
