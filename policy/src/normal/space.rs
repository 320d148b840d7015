//! All reduced requests there are under a vocabulary, in an order.
//!
//! Policies tell finitely many requests apart as long as they only compare: words of closed sets, ids with those they name
//! and one that they do not, sizes with numbers, paths with paths. Some of these requests nobody can make; none that
//! somebody can make is missing. That is what makes it right to say that a policy applies to none of them.

use super::{ATTRIBUTES, FLAGS, Normal, UNSEEN, Vocabulary, WORDS, is_within};
use crate::request::{self, Action, Resource};
use crate::seen::View;
use std::collections::BTreeSet;

/// Paths that a policy compares with, beyond which their combinations are too many to look through.
const PATHS: usize = 6;

/// What each part of a request can be.
#[derive(Debug)]
pub(crate) struct Space {
    acts: Vec<(Action, Resource)>,
    actors: Vec<(u8, u16)>,
    objects: Vec<u16>,
    /// What stands for the object where there is none.
    no_object: u16,
    devices: Vec<u16>,
    collections: Vec<u16>,
    words: [Vec<u8>; WORDS.len()],
    flags: [Vec<Option<bool>>; FLAGS.len()],
    sizes: Vec<Option<i64>>,
    changed: Vec<Vec<String>>,
    fields: Vec<Vec<String>>,
}

/// Takes the parts of a number apart that says which choice is made of each of several.
struct Choice(usize);

impl Choice {
    fn of<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let count = from.len().max(1);
        let chosen = from.get(self.0 % count);
        self.0 /= count;
        chosen
    }
}

impl Vocabulary {
    /// None when policies do more than compare.
    pub(crate) fn space(&self) -> Option<Space> {
        let ids = |read: bool, known: usize| -> Option<Vec<u16>> {
            (0..=if read { u16::try_from(known).ok()? } else { 0 }).map(Some).collect()
        };
        let mut actors = Vec::new();
        for (kind, of_kind) in self.kinds.iter().enumerate() {
            let kind = u8::try_from(kind).ok()?;
            actors.extend(ids(true, of_kind.known.len())?.into_iter().map(|id| (kind, id)));
        }
        let [.., device, collection] = self.reads;
        let both = |action: Action| {
            let resources = [Some(Resource::Object), Some(Resource::Workspace)];
            let is = move |resource: &Option<Resource>| {
                *resource == Some(action.resource(true)) || *resource == Some(action.resource(false))
            };
            resources.into_iter().filter(is).flatten().map(move |resource| (action, resource))
        };
        Some(Space {
            acts: Action::ALL.into_iter().flat_map(both).collect(),
            actors,
            objects: ids(true, self.objects.known.len())?,
            no_object: self.objects.find(""),
            devices: ids(device, self.devices.known.len())?,
            collections: ids(collection, self.collections.known.len())?,
            words: self.words_read(&[UNSEEN; WORDS.len()]),
            flags: self.flags_read(&[None; FLAGS.len()]),
            sizes: sizes(&self.seen.size)?,
            changed: subsets(&self.seen.changed)?,
            fields: subsets(&self.seen.fields)?,
        })
    }

    /// Whether nothing but words and flags of the context, and the kind of who acts, is looked at.
    pub(crate) fn is_plain(&self) -> bool {
        let ids = self.kinds.iter().chain([&self.objects, &self.devices, &self.collections]);
        let [.., device, collection] = self.reads;
        let blind = self.seen.size.is_blind() && self.seen.changed.is_blind() && self.seen.fields.is_blind();
        ids.into_iter().all(|ids| ids.known.is_empty()) && !device && !collection && blind
    }

    /// Every way in which what a reduced request leaves open can be for this vocabulary as well.
    pub(crate) fn completions(&self, normal: &Normal) -> impl Iterator<Item = Normal> + use<> {
        let (words, flags) = (self.words_read(&normal.words), self.flags_read(&normal.flags));
        let counts = words.iter().map(Vec::len).chain(flags.iter().map(Vec::len));
        let count: usize = counts.map(|count| count.max(1)).product();
        let normal = normal.clone();
        (0..count).filter_map(move |number| {
            let mut choice = Choice(number);
            let mut complete = normal.clone();
            for (word, from) in complete.words.iter_mut().zip(&words) {
                *word = *choice.of(from)?;
            }
            for (flag, from) in complete.flags.iter_mut().zip(&flags) {
                *flag = *choice.of(from)?;
            }
            Some(complete)
        })
    }

    /// The words of each attribute that is read and not fixed; those first that the least is forbidden for.
    fn words_read(&self, fixed: &[u8; WORDS.len()]) -> [Vec<u8>; WORDS.len()] {
        std::array::from_fn(|at| {
            let fixed = fixed.get(at).copied().unwrap_or(UNSEEN);
            let read = self.reads.get(at).copied().unwrap_or_default();
            let count = WORDS.get(at).map_or(0, |(_, words)| words.len());
            if fixed != UNSEEN || !read {
                return vec![fixed];
            }
            let words = 0..u8::try_from(count).unwrap_or(UNSEEN);
            if ATTRIBUTES.get(at) == Some(&"targetRole") { words.rev().collect() } else { words.collect() }
        })
    }

    fn flags_read(&self, fixed: &[Option<bool>; FLAGS.len()]) -> [Vec<Option<bool>>; FLAGS.len()] {
        std::array::from_fn(|at| {
            let fixed = fixed.get(at).copied().flatten();
            let read = self.reads.get(WORDS.len() + at).copied().unwrap_or_default();
            if fixed.is_some() || !read {
                return vec![fixed];
            }
            let first = FLAGS.get(at) == Some(&"authority");
            vec![Some(first), Some(!first)]
        })
    }
}

impl Space {
    /// How many numbers there are; none if they are beyond counting.
    pub(crate) fn len(&self) -> Option<usize> {
        let some = [
            self.acts.len(),
            self.actors.len(),
            self.objects.len(),
            self.devices.len(),
            self.collections.len(),
            self.sizes.len(),
            self.changed.len(),
            self.fields.len(),
        ];
        let read = self.words.iter().map(Vec::len).chain(self.flags.iter().map(Vec::len));
        some.into_iter().chain(read).try_fold(1_usize, usize::checked_mul)
    }

    /// The request of a number; none if it names an object where the act is about none.
    pub(crate) fn at(&self, number: usize) -> Option<Normal> {
        let mut choice = Choice(number);
        let (kind, actor) = *choice.of(&self.actors)?;
        let (action, resource) = *choice.of(&self.acts)?;
        let object = *choice.of(&self.objects)?;
        if resource == Resource::Workspace && object != self.no_object {
            return None;
        }
        let (device, collection) = (*choice.of(&self.devices)?, *choice.of(&self.collections)?);
        let (mut words, mut flags) = ([UNSEEN; WORDS.len()], [None; FLAGS.len()]);
        for (word, from) in words.iter_mut().zip(&self.words) {
            *word = *choice.of(from)?;
        }
        for (flag, from) in flags.iter_mut().zip(&self.flags) {
            *flag = *choice.of(from)?;
        }
        Some(Normal {
            action,
            resource,
            kind,
            actor,
            object,
            device,
            collection,
            words,
            flags,
            size: *choice.of(&self.sizes)?,
            changed: choice.of(&self.changed)?.clone(),
            fields: choice.of(&self.fields)?.clone(),
        })
    }
}

/// The stand-ins of all sizes.
fn sizes(view: &View<i64>) -> Option<Vec<Option<i64>>> {
    let View::Constants(known) = view else { return None };
    let next = |size: i64| [size, size.saturating_add(1)];
    let all: BTreeSet<i64> =
        known.iter().copied().flat_map(next).chain([0]).filter(|size| *size >= 0).collect();
    Some(if known.is_empty() { vec![None] } else { all.into_iter().map(Some).collect() })
}

/// The sets of paths that a change can be seen to touch. What touches a path touches those above it.
fn subsets(view: &View<String>) -> Option<Vec<Vec<String>>> {
    let View::Constants(known) = view else { return None };
    if known.len() > PATHS {
        return None;
    }
    let all = (0..1_usize << known.len()).map(|set| -> Vec<String> {
        let is_in = |(at, path): (usize, &String)| (set >> at & 1 == 1).then(|| path.clone());
        known.iter().enumerate().filter_map(is_in).collect()
    });
    let has_all_above = |set: &Vec<String>| {
        let above =
            |path: &String| known.iter().filter(|other| is_within(path, other)).all(|o| set.contains(o));
        set.iter().all(above)
    };
    Some(all.filter(has_all_above).collect())
}

const _: () = assert!(request::KINDS.len() < UNSEEN as usize);
