//! The plain reference: who was told "ok" about what, and what must therefore be found at the end.
//!
//! Each intent has an effect that cannot be mistaken for another's: values, text insertions and list items are
//! unique tokens, increments are summed. The model knows nothing of logs, merges or policies; what an author had
//! seen is the set of change hashes that the device's own history showed before the write.
//!
//! [`Model::survival`] is the one place that says what counts as survived. Tighten it there.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::{Digest, ObjectState, OperationId};

/// What somebody wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A new object; the token is under the key `born`, which nobody else writes.
    Put(String),
    /// A key gets a token as its value.
    Set(&'static str, String),
    /// A key goes.
    Remove(&'static str),
    /// A token in the text `body`.
    Insert(String),
    /// A token leaves the text.
    Cut(String),
    /// A token at the end of the list `items`.
    Append(String),
    /// The counter `count` grows.
    Add(i64),
    /// The object goes.
    Delete,
    /// The object begins anew as this value, or as nothing.
    Renew(Option<Value>),
    /// Late work is dropped; first a key gets a token as its value.
    Drop(Option<(&'static str, String)>),
}

impl What {
    fn token(&self) -> Option<&str> {
        match self {
            Self::Put(token) | Self::Set(_, token) | Self::Insert(token) | Self::Append(token) => Some(token),
            Self::Remove(_) | Self::Cut(_) | Self::Add(_) | Self::Delete => None,
            // What is written with it is acknowledged by itself.
            Self::Renew(_) | Self::Drop(_) => None,
        }
    }

    /// The key that only one of several writers can show a value at.
    fn key(&self) -> Option<&'static str> {
        match self {
            Self::Set(key, _) | Self::Remove(key) => Some(key),
            _ => None,
        }
    }
}

/// An acknowledged intent.
#[derive(Clone, Debug)]
pub struct Acked {
    /// The device that acknowledged it.
    pub device: usize,
    /// Under which operation.
    pub operation: OperationId,
    /// About which object.
    pub object: String,
    /// What it was.
    pub what: What,
    /// The change it made; a deletion makes none.
    pub change: Option<Digest>,
    /// The object's changes that the device showed when it was written.
    pub seen: BTreeSet<Digest>,
    /// The life of the object it is about: the change that began it.
    pub life: Option<Digest>,
}

/// What somebody dropped for good who may: entries about one life of an object that he had seen.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// About which object.
    pub object: String,
    /// The life that ended, if it was this that ended it.
    pub life: Option<Digest>,
    /// The entries.
    pub operations: BTreeSet<OperationId>,
    /// Their changes: an equal birth is dropped wherever it stands.
    pub changes: BTreeSet<Digest>,
}

/// What a device shows of an object, without the engine's types.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its state.
    pub state: ObjectState,
    /// The value shown, unless the object was deleted, and every competing one.
    pub values: Vec<Value>,
    /// Operations that are shown as sides of a contradiction.
    pub sides: BTreeSet<OperationId>,
    /// Operations that are shown as work on what the object was before it began anew.
    pub late: BTreeSet<OperationId>,
}

impl Shown {
    /// Nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        let (values, sides, late) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { state: ObjectState::Tombstoned, values, sides, late }
    }
}

/// How intents survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survival {
    /// To be seen.
    pub visible: u64,
    /// Replaced or deleted by somebody who had seen it.
    pub superseded: u64,
    /// One of several concurrent writes of one key, shown as a side of their contradiction.
    pub contested: u64,
    /// Shown as work on what the object was before it began anew.
    pub late: u64,
    /// Dropped by somebody who had seen it.
    pub dropped: u64,
}

/// All that was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// In order of acknowledgement.
    pub acked: Vec<Acked>,
    /// What was dropped.
    pub dropped: Vec<Dropped>,
}

impl Model {
    /// Every object that an acknowledged intent is about.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<&str> {
        self.acked.iter().map(|acked| acked.object.as_str()).collect()
    }

    /// Judges every acknowledged intent by what is shown in the end. That each is in the history of every device is
    /// checked apart, by its operation.
    ///
    /// # Errors
    /// Lists what was lost, and what is shown though nobody was told that it was written.
    pub fn survival(&self, shown: &BTreeMap<String, Shown>) -> Result<Survival, Vec<String>> {
        let (mut survival, mut lost) = (Survival::default(), Vec::new());
        let mut of_object: BTreeMap<&str, Vec<&Acked>> = BTreeMap::new();
        for acked in &self.acked {
            of_object.entry(&acked.object).or_default().push(acked);
        }
        for (object, intents) in of_object {
            let Some(view) = shown.get(object) else {
                lost.push(format!("LOST: object {object} with {} acknowledged intents", intents.len()));
                continue;
            };
            let (dropped, intents): (Vec<&Acked>, Vec<&Acked>) =
                intents.into_iter().partition(|intent| self.is_dropped(intent));
            survival.dropped += dropped.len() as u64;
            for intent in &intents {
                match fate(intent, &intents, view) {
                    Fate::Visible => survival.visible += 1,
                    Fate::Superseded => survival.superseded += 1,
                    Fate::Contested => survival.contested += 1,
                    Fate::Late => survival.late += 1,
                    Fate::Lost => lost.push(format!(
                        "LOST: {:?} of object {object} by device {} in {}; shown: {view:?}",
                        intent.what, intent.device, intent.operation
                    )),
                }
            }
            lost.extend(self.wrong_counters(object, &intents, view));
        }
        lost.extend(self.phantoms(shown));
        if lost.is_empty() { Ok(survival) } else { Err(lost) }
    }

    /// Whether somebody dropped it who had seen it.
    fn is_dropped(&self, intent: &Acked) -> bool {
        let by = |dropped: &&Dropped| {
            dropped.operations.contains(&intent.operation)
                || intent.change.is_some_and(|change| dropped.changes.contains(&change))
        };
        self.dropped.iter().filter(|dropped| dropped.object == intent.object).any(|dropped| by(&dropped))
    }

    /// The tokens that may be in no store any more: all that was said with them was dropped.
    #[must_use]
    pub fn forgotten(&self) -> BTreeSet<&str> {
        let token = |acked: &&Acked| acked.what.token().is_some();
        let (dropped, kept): (Vec<&Acked>, Vec<&Acked>) =
            self.acked.iter().filter(token).partition(|acked| self.is_dropped(acked));
        let kept: BTreeSet<&str> = kept.iter().filter_map(|acked| acked.what.token()).collect();
        dropped.iter().filter_map(|acked| acked.what.token()).filter(|token| !kept.contains(token)).collect()
    }

    /// Each life's counter is the sum of its increments, no more and no less.
    fn wrong_counters(&self, object: &str, intents: &[&Acked], view: &Shown) -> Option<String> {
        if view.state == ObjectState::Tombstoned {
            return None;
        }
        let ended: BTreeSet<Digest> = self.dropped.iter().filter_map(|dropped| dropped.life).collect();
        let mut sums: BTreeMap<Option<Digest>, i64> = BTreeMap::new();
        for intent in intents.iter().filter(|intent| intent.life.is_none_or(|life| !ended.contains(&life))) {
            let by = if let What::Add(by) = intent.what { by } else { 0 };
            *sums.entry(intent.life).or_default() += by;
        }
        let expected: BTreeSet<i64> = sums.into_values().collect();
        let found: BTreeSet<i64> =
            view.values.iter().filter_map(|value| value.get("count").and_then(Value::as_i64)).collect();
        (expected != found).then(|| {
            format!("LOST: the counters of object {object} are {found:?}, acknowledged were {expected:?}")
        })
    }

    /// Tokens that are shown and that nobody was told were written.
    fn phantoms(&self, shown: &BTreeMap<String, Shown>) -> Vec<String> {
        let known: BTreeSet<&str> = self.acked.iter().filter_map(|acked| acked.what.token()).collect();
        let mut found = Vec::new();
        for (object, view) in shown {
            for token in view.values.iter().flat_map(|value| tokens(&value.to_string())) {
                if !known.contains(token.as_str()) {
                    found.push(format!("PHANTOM: {token} in object {object} was never acknowledged"));
                }
            }
        }
        found
    }
}

/// All `<…>` in a text.
#[must_use]
pub fn tokens(text: &str) -> Vec<String> {
    let parts = text.split('<').skip(1).filter_map(|part| part.split_once('>'));
    parts.map(|(name, _)| format!("<{name}>")).collect()
}

enum Fate {
    Visible,
    Superseded,
    Contested,
    Late,
    Lost,
}

/// What became of one intent.
fn fate(intent: &Acked, all: &[&Acked], view: &Shown) -> Fate {
    let had_seen = |later: &&&Acked| intent.change.is_some_and(|change| later.seen.contains(&change));
    let deleted = all.iter().filter(|other| other.what == What::Delete).any(|other| had_seen(&other));
    if view.late.contains(&intent.operation) {
        return Fate::Late;
    }
    if intent.what == What::Delete {
        let took_effect = matches!(view.state, ObjectState::Tombstoned | ObjectState::Conflicted);
        return if took_effect { Fate::Visible } else { Fate::Lost };
    }
    // An object is gone only when every change of it was seen by somebody who deleted it.
    if view.state == ObjectState::Tombstoned {
        return if deleted { Fate::Superseded } else { Fate::Lost };
    }
    if view.values.iter().any(|value| is_visible(&intent.what, value)) {
        return Fate::Visible;
    }
    // Of two lives one may be deleted; the other is shown.
    if deleted {
        return Fate::Superseded;
    }
    if let What::Insert(token) = &intent.what {
        let cut = all.iter().any(|other| other.what == What::Cut(token.clone()));
        return if cut { Fate::Superseded } else { Fate::Lost };
    }
    let Some(key) = intent.what.key() else { return Fate::Lost };
    // Equal decisions are one change in several logs.
    let is_same = |other: &&&Acked| other.operation == intent.operation || other.change == intent.change;
    let mut rivals = all.iter().filter(|other| other.what.key() == Some(key) && !is_same(other));
    if rivals.clone().any(|rival| had_seen(&rival)) {
        return Fate::Superseded;
    }
    // Two concurrent writes to one key: Automerge shows one. The other must be shown as contradicting it.
    let concurrent = |rival: &&Acked| {
        !rival.change.is_some_and(|change| intent.seen.contains(&change)) && !had_seen(&rival)
    };
    let is_shown = all.iter().any(|other| is_same(&other) && view.sides.contains(&other.operation));
    if rivals.any(concurrent) && is_shown { Fate::Contested } else { Fate::Lost }
}

fn is_visible(what: &What, value: &Value) -> bool {
    let at = |key: &str| value.get(key);
    match what {
        What::Put(token) => at("born").and_then(Value::as_str) == Some(token),
        What::Set(key, token) => at(key).and_then(Value::as_str) == Some(token),
        What::Remove(key) => at(key).is_none(),
        What::Insert(token) => {
            at("body").and_then(Value::as_str).is_some_and(|body| body.contains(token.as_str()))
        }
        What::Cut(token) => {
            !at("body").and_then(Value::as_str).is_some_and(|body| body.contains(token.as_str()))
        }
        What::Append(token) => at("items")
            .and_then(Value::as_array)
            .is_some_and(|items| items.iter().filter(|item| item.as_str() == Some(token)).count() == 1),
        // Judged as a sum.
        What::Add(_) => true,
        What::Delete | What::Renew(_) | What::Drop(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn acked(what: What, change: u8, seen: &[u8]) -> Acked {
        Acked {
            device: 0,
            operation: OperationId([change; 16]),
            object: "o".to_owned(),
            what,
            change: Some(Digest([change; 32])),
            seen: seen.iter().map(|n| Digest([*n; 32])).collect(),
            life: Some(Digest([1; 32])),
        }
    }

    fn judged(intents: Vec<Acked>, state: ObjectState, value: Value) -> Result<Survival, Vec<String>> {
        contested(intents, state, value, &[])
    }

    fn contested(
        intents: Vec<Acked>,
        state: ObjectState,
        value: Value,
        sides: &[u8],
    ) -> Result<Survival, Vec<String>> {
        let sides = sides.iter().map(|n| OperationId([*n; 16])).collect();
        let shown = BTreeMap::from([(
            "o".to_owned(),
            Shown { state, values: vec![value], sides, late: BTreeSet::new() },
        )]);
        Model { acked: intents, ..Model::default() }.survival(&shown)
    }

    #[test]
    fn a_later_write_supersedes_a_concurrent_one_does_not_and_nothing_else_excuses() {
        let put = || acked(What::Put("<p>".into()), 1, &[]);
        let set = |token: &str, change, seen: &[u8]| acked(What::Set("k0", token.into()), change, seen);
        let value = json!({"born": "<p>", "k0": "<b>", "count": 0});
        let clean = |intents| judged(intents, ObjectState::Clean, value.clone());
        let later = clean(vec![put(), set("<a>", 2, &[1]), set("<b>", 3, &[1, 2])]).expect("superseded");
        assert_eq!((later.visible, later.superseded, later.contested), (2, 1, 0));
        let raced = || vec![put(), set("<a>", 2, &[1]), set("<b>", 3, &[1])];
        let shown =
            contested(raced(), ObjectState::Conflicted, value.clone(), &[2, 3]).expect("both are shown");
        assert_eq!((shown.visible, shown.superseded, shown.contested), (2, 0, 1));
        assert!(clean(raced()).is_err(), "one of them is nowhere to be seen");
        // The one that had seen the other is the one that is gone.
        assert!(clean(vec![put(), set("<a>", 2, &[1, 3]), set("<b>", 3, &[1])]).is_err());
        assert!(clean(vec![put(), set("<b>", 3, &[1]), acked(What::Insert("<t>".into()), 4, &[1])]).is_err());
        assert!(clean(vec![put()]).is_err(), "<b> is a phantom");
    }

    #[test]
    fn a_deletion_excuses_only_what_it_had_seen() {
        let put = acked(What::Put("<p>".into()), 1, &[]);
        let delete = |seen: &[u8]| Acked { change: None, ..acked(What::Delete, 9, seen) };
        let set = acked(What::Set("k0", "<a>".into()), 2, &[1]);
        let gone = |intents| judged(intents, ObjectState::Tombstoned, Value::Null);
        assert!(gone(vec![put.clone(), set.clone(), delete(&[1, 2])]).is_ok());
        assert!(gone(vec![put, set, delete(&[1])]).is_err());
    }

    #[test]
    fn counters_are_sums() {
        let put = acked(What::Put("<p>".into()), 1, &[]);
        let add = acked(What::Add(3), 2, &[1]);
        let intents = || vec![put.clone(), add.clone(), acked(What::Add(4), 3, &[1])];
        assert!(judged(intents(), ObjectState::Clean, json!({"born": "<p>", "count": 7})).is_ok());
        assert!(judged(intents(), ObjectState::Clean, json!({"born": "<p>", "count": 4})).is_err());
    }
}
