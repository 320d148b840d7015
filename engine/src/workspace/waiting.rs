//! Entries that are stored and not admitted, found by what they wait for: what arrives wakes those it concerns and
//! touches no other, however many wait.

use super::ObjectKey;
use crate::store::rows::PendingRow;
use crate::store::tables::LogNo;
use std::collections::btree_map::Values;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, LogSeq, ObjectId, OperationId};

/// Where an entry stands.
pub(crate) type Standing = (LogNo, LogSeq);

/// The rows of the table `pending`.
#[derive(Default)]
pub(crate) struct Waiting {
    rows: BTreeMap<Standing, PendingRow>,
    /// Held entries by the changes and governance heads they miss.
    by_digest: HashMap<Digest, BTreeSet<Standing>>,
    /// Held entries by the operations they require.
    by_operation: HashMap<OperationId, BTreeSet<Standing>>,
    /// Those that wait for somebody to let them in, by their changes.
    by_asked: HashMap<Digest, BTreeSet<Standing>>,
    /// All of them by the object they are about.
    by_object: HashMap<ObjectId, BTreeSet<Standing>>,
    /// Those that are held because they contradict, by their object.
    apart: HashMap<ObjectId, BTreeSet<Standing>>,
    /// Those that later changes of their session have to wait for, by object, log and session.
    before: HashMap<(ObjectId, LogNo, [u8; 16]), BTreeSet<Standing>>,
    /// Those whose payload is not here.
    withheld: BTreeMap<LogNo, BTreeSet<LogSeq>>,
    /// How many other entries of each log are held, and how often that has changed.
    held: HashMap<LogNo, (usize, u64)>,
    /// How many entries of each log are here, held or refused, of those whose payload is here.
    kept_out: HashMap<LogNo, usize>,
}

impl Waiting {
    pub(crate) fn get(&self, at: &Standing) -> Option<&PendingRow> {
        self.rows.get(at)
    }

    pub(crate) fn contains(&self, at: &Standing) -> bool {
        self.rows.contains_key(at)
    }

    pub(crate) fn values(&self) -> Values<'_, Standing, PendingRow> {
        self.rows.values()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Standing, &PendingRow)> {
        self.rows.iter()
    }

    /// Those of a log from a position on.
    pub(crate) fn of_log(&self, no: LogNo, from: LogSeq) -> impl Iterator<Item = (LogSeq, &PendingRow)> {
        let end = (LogNo(no.0.saturating_add(1)), LogSeq(0));
        self.rows.range((no, from)..end).map(|((_, seq), row)| (*seq, row))
    }

    /// Entries of a log whose payload is not here.
    pub(crate) fn withheld_in(&self, no: LogNo) -> &BTreeSet<LogSeq> {
        const NONE: &BTreeSet<LogSeq> = &BTreeSet::new();
        self.withheld.get(&no).unwrap_or(NONE)
    }

    /// Of each log that lacks some, the first entry whose payload is not here.
    pub(crate) fn first_withheld(&self) -> impl Iterator<Item = (LogNo, LogSeq)> {
        self.withheld.iter().filter_map(|(no, lacking)| Some((*no, *lacking.first()?)))
    }

    /// How many entries of a log are held, of those whose payload is here.
    pub(crate) fn held_in(&self, no: LogNo) -> usize {
        self.held.get(&no).map_or(0, |(count, _)| *count)
    }

    /// How many entries of a log are held or refused, of those whose payload is here.
    pub(crate) fn kept_out_of(&self, no: LogNo) -> usize {
        self.kept_out.get(&no).copied().unwrap_or_default()
    }

    /// How many there are, and by how many names they can be woken.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let places = |count: usize, set: &BTreeSet<Standing>| count + set.len();
        let digests = self.by_digest.values().fold(0, places);
        (self.rows.len(), self.by_operation.values().fold(digests, places))
    }

    /// How often an entry of a log began or ceased to be held.
    pub(crate) fn held_changes(&self, no: LogNo) -> u64 {
        self.held.get(&no).map_or(0, |(_, changes)| *changes)
    }

    /// Held entries that one of these may let in.
    pub(crate) fn woken_by<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a Digest>,
        operations: impl IntoIterator<Item = &'a OperationId>,
    ) -> BTreeSet<Standing> {
        let changes = digests.into_iter().filter_map(|digest| self.by_digest.get(digest));
        let required = operations.into_iter().filter_map(|operation| self.by_operation.get(operation));
        changes.chain(required).flatten().copied().collect()
    }

    /// Entries with this change that wait for somebody to let it in.
    pub(crate) fn asking(&self, change: &Digest) -> impl Iterator<Item = Standing> + use<'_> {
        self.by_asked.get(change).into_iter().flatten().copied()
    }

    /// Those about an object, whatever life of it.
    pub(crate) fn of_object<'a>(
        &'a self,
        object: &ObjectId,
    ) -> impl Iterator<Item = (&'a Standing, &'a PendingRow)> + use<'a> {
        let places = self.by_object.get(object).into_iter().flatten();
        places.filter_map(|at| self.rows.get_key_value(at))
    }

    /// Those of an object that are held because they contradict.
    pub(crate) fn apart_in<'a>(
        &'a self,
        (object, collection, incarnation): &'a ObjectKey,
    ) -> impl Iterator<Item = (&'a Standing, &'a PendingRow)> + use<'a> {
        let places = self.apart.get(object).into_iter().flatten();
        let rows = places.filter_map(|at| self.rows.get_key_value(at));
        rows.filter(move |(_, row)| {
            row.object.as_ref().is_some_and(|(_, of, life)| of == collection && life == incarnation)
        })
    }

    /// Those of a session and an object before a place in its log, in the order of the log, that later changes of the
    /// session have to wait for.
    pub(crate) fn before(
        &self,
        key: &ObjectKey,
        session: [u8; 16],
        (no, end): Standing,
    ) -> impl Iterator<Item = &Standing> {
        let places = self.before.get(&(key.0.clone(), no, session));
        let places = places.into_iter().flat_map(move |places| places.range(..(no, end)));
        places.filter(|at| self.rows.get(at).is_some_and(|row| row.object.as_ref() == Some(key)))
    }

    pub(crate) fn insert(&mut self, at: Standing, row: PendingRow) {
        self.remove(&at);
        if let Some((object, ..)) = &row.object {
            self.by_object.entry(object.clone()).or_default().insert(at);
            if row.apart {
                self.apart.entry(object.clone()).or_default().insert(at);
            }
            if let Some(session) = row.session.filter(|_| row.is_before_others()) {
                self.before.entry((object.clone(), at.0, session)).or_default().insert(at);
            }
        }
        *self.kept_out.entry(at.0).or_default() += usize::from(!row.withheld);
        if row.state == EntryState::Held {
            let (count, changes) = self.held.entry(at.0).or_default();
            (*count, *changes) = (*count + usize::from(!row.withheld), *changes + 1);
            if row.withheld {
                self.withheld.entry(at.0).or_default().insert(at.1);
            }
            for digest in &row.missing {
                self.by_digest.entry(*digest).or_default().insert(at);
            }
            for operation in &row.requires {
                self.by_operation.entry(*operation).or_default().insert(at);
            }
            if let Some(change) = row.asks {
                self.by_asked.entry(change).or_default().insert(at);
            }
        }
        self.rows.insert(at, row);
    }

    pub(crate) fn remove(&mut self, at: &Standing) {
        let Some(row) = self.rows.remove(at) else { return };
        if let Some((object, ..)) = &row.object {
            forget(&mut self.by_object, object, at);
            forget(&mut self.apart, object, at);
            if let Some(session) = row.session {
                forget(&mut self.before, &(object.clone(), at.0, session), at);
            }
        }
        let kept_out = self.kept_out.entry(at.0).or_default();
        *kept_out = kept_out.saturating_sub(usize::from(!row.withheld));
        if row.state != EntryState::Held {
            return;
        }
        let (count, changes) = self.held.entry(at.0).or_default();
        (*count, *changes) = (count.saturating_sub(usize::from(!row.withheld)), *changes + 1);
        if row.withheld
            && let Some(lacking) = self.withheld.get_mut(&at.0)
        {
            lacking.remove(&at.1);
        }
        for digest in &row.missing {
            forget(&mut self.by_digest, digest, at);
        }
        for operation in &row.requires {
            forget(&mut self.by_operation, operation, at);
        }
        if let Some(change) = &row.asks {
            forget(&mut self.by_asked, change, at);
        }
    }
}

fn forget<K: Eq + std::hash::Hash>(index: &mut HashMap<K, BTreeSet<Standing>>, key: &K, at: &Standing) {
    if let Some(places) = index.get_mut(key) {
        places.remove(at);
        if places.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncd_schema::{Incarnation, UnixMicros};

    fn row(state: EntryState, missing: &[u8], requires: &[u8]) -> PendingRow {
        PendingRow {
            state,
            missing: missing.iter().map(|n| Digest([*n; 32])).collect(),
            requires: requires.iter().map(|n| OperationId([*n; 16])).collect(),
            ..PendingRow::held(String::new(), None, UnixMicros(0))
        }
    }

    #[test]
    fn what_arrives_wakes_those_that_wait_for_it() {
        let (one, two, three) = ((LogNo(1), LogSeq(0)), (LogNo(1), LogSeq(1)), (LogNo(2), LogSeq(0)));
        let mut waiting = Waiting::default();
        waiting.insert(one, row(EntryState::Held, &[1, 2], &[]));
        waiting.insert(two, row(EntryState::Held, &[2], &[7]));
        let object: ObjectId = "n1".parse().unwrap();
        let about = (object.clone(), "notes".parse().unwrap(), Incarnation([1; 32]));
        waiting.insert(three, PendingRow { object: Some(about), ..row(EntryState::Refused, &[2], &[7]) });
        assert_eq!(waiting.of_object(&object).map(|(at, _)| *at).collect::<Vec<_>>(), [three]);
        let woken = |waiting: &Waiting, digest: u8, operation: u8| {
            waiting.woken_by(&[Digest([digest; 32])], &[OperationId([operation; 16])])
        };
        assert_eq!(woken(&waiting, 1, 0), BTreeSet::from([one]));
        assert_eq!(woken(&waiting, 2, 0), BTreeSet::from([one, two]));
        assert_eq!(woken(&waiting, 0, 7), BTreeSet::from([two]));
        assert_eq!((waiting.held_in(LogNo(1)), waiting.held_in(LogNo(2))), (2, 0));

        // What it waits for now counts, not what it waited for.
        waiting.insert(one, row(EntryState::Held, &[3], &[]));
        assert_eq!(woken(&waiting, 2, 0), BTreeSet::from([two]));
        assert_eq!(woken(&waiting, 3, 0), BTreeSet::from([one]));
        waiting.insert(two, row(EntryState::Refused, &[], &[]));
        waiting.remove(&one);
        assert_eq!(waiting.held_in(LogNo(1)), 0);
        waiting.remove(&three);
        assert!(
            waiting.by_digest.is_empty() && waiting.by_operation.is_empty() && waiting.by_object.is_empty()
        );
        assert!(waiting.contains(&two) && !waiting.contains(&one));
    }
}
