//! Texts judged by lines, as people review them: sides contradict each other where they changed the same or touching
//! lines and did not come to the same.
//!
//! Lines of work are compared two by two, by their hunks against what both authors knew. Hunks that meet are one
//! matter, with all that hangs together with them, until somebody who knew both sides works inside of their lines; work
//! elsewhere in the text leaves it open. What a matter comes to is seen in each of its versions that no other builds on,
//! and in what was there before all of them. Where they agree, what Automerge shows must be that; it is not where all
//! typed the same, which then stands there several times: the copies are named (`doubled`). If that does not
//! explain it, the matter is a contradiction as well.
//!
//! All is found in a closed window, outside of which nothing is concurrent with anything in it, and from nothing but the
//! changes in that: not from what was found before.

use super::hunks::{Hunk, Sides};
use super::joined::Joined;
use super::order::Order;
use super::runs::{Run, runs};
use super::{Conflict, Key, Kind, OpName, Slot, TooWide, Window};
use automerge::{Automerge, ObjType, ReadDoc};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use syncd_schema::Digest;

/// Pairs and places that are looked at before a text counts as too wide: about a second's work.
const MOST_STEPS: usize = 64 << 20;

/// A contradiction that names more operations than this names of each change the first.
const MOST_SIDES: usize = 4096;

/// The lines that a contradiction is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// What was there before any side.
    pub base: String,
    /// What each side made of it, by its last change, in causal order.
    pub sides: Vec<(Digest, String)>,
}

/// What was found about one place of a text.
pub(super) struct Matter {
    pub(super) conflict: Conflict,
    pub(super) versions: Versions,
    /// Elements that say once more what others say; without them the text is what all sides came to.
    pub(super) doubled: Vec<OpName>,
}

/// Texts that are judged by lines and in which something arrived.
pub(super) fn touched(
    doc: &Automerge,
    window: &Window,
    by_lines: &dyn Fn(&OpName) -> bool,
) -> BTreeSet<OpName> {
    let mut seen: BTreeMap<&OpName, bool> = BTreeMap::new();
    let mut last = None;
    for operation in window.operations().iter().filter(|operation| window.is_new(operation)) {
        let Some(text) = operation.slot.object.as_ref().filter(|object| last != Some(*object)) else {
            continue;
        };
        last = Some(text);
        if matches!(operation.slot.key, Key::Element(_)) {
            let is_text = || doc.object_type(text.object()).is_ok_and(|kind| kind == ObjType::Text);
            seen.entry(text).or_insert_with(|| is_text() && by_lines(text));
        }
    }
    seen.into_iter().filter(|(_, is_judged)| *is_judged).map(|(text, _)| text.clone()).collect()
}

/// All contradictions in some texts that have to do with what arrived, or with those that were there before.
pub(super) fn conflicts(
    doc: &Automerge,
    texts: &BTreeSet<OpName>,
    before: &BTreeSet<Conflict>,
    arrived: &[Digest],
) -> Result<Vec<Conflict>, TooWide> {
    let mut focus: BTreeSet<Digest> = arrived.iter().copied().collect();
    let open = before.iter().filter(|conflict| texts.iter().any(|text| conflict.is_in_text(text)));
    focus.extend(open.flat_map(|conflict| conflict.sides.iter().map(|side| side.change)));
    let window = Window::closed(doc, &focus)?;
    let mut found = Vec::new();
    for text in texts {
        found.extend(matters(doc, &window, text)?.into_iter().map(|matter| matter.conflict));
    }
    Ok(found)
}

/// What is known about a contradiction, from the document.
pub(super) fn matter(doc: &Automerge, conflict: &Conflict) -> Result<Option<Matter>, TooWide> {
    let Some(text) = &conflict.place.object else { return Ok(None) };
    let focus = conflict.sides.iter().map(|side| side.change).collect();
    let window = Window::closed(doc, &focus)?;
    let matters = matters(doc, &window, text)?;
    Ok(matters.into_iter().find(|matter| matter.conflict.sides == conflict.sides))
}

fn matters(doc: &Automerge, window: &Window, text: &OpName) -> Result<Vec<Matter>, TooWide> {
    if is_one_line(window, text) {
        return Ok(Vec::new());
    }
    if let Some(order) = Order::new(doc, window, text) {
        return Judge::new(&order, text).matters();
    }
    let all = doc.get_changes_meta(&[]).iter().map(|change| Digest(change.hash.0)).collect();
    let window = Window::closed(doc, &all)?;
    Order::new(doc, &window, text).map_or_else(|| Ok(Vec::new()), |order| Judge::new(&order, text).matters())
}

/// Whether each change of a text knew the one before it.
fn is_one_line(window: &Window, text: &OpName) -> bool {
    let of_text = |object: &Option<OpName>| object.as_ref() == Some(text);
    let operations = window.operations().iter().filter(|operation| of_text(&operation.slot.object));
    let mut last = None;
    operations.map(|operation| operation.change).all(|change| {
        let knew = last.is_none_or(|last| window.sees(change, last));
        last = Some(change);
        knew
    })
}

/// Two hunks that meet.
struct Meeting {
    /// A span of one of them, by its number among all spans.
    span: usize,
    extent: Range<usize>,
}

/// What hangs together.
struct Group {
    extent: Range<usize>,
    /// Spans of each run that takes part.
    spans: BTreeMap<usize, Vec<usize>>,
}

struct Judge<'o> {
    order: &'o Order<'o>,
    text: &'o OpName,
    runs: Vec<Run>,
    /// The number of each run's first span among all spans.
    first_span: Vec<usize>,
    steps: usize,
}

impl<'o> Judge<'o> {
    fn new(order: &'o Order<'o>, text: &'o OpName) -> Self {
        let runs = runs(order);
        let mut count = 0;
        let first_span = runs.iter().map(|run| {
            count += run.spans.len();
            count - run.spans.len()
        });
        Self { order, text, first_span: first_span.collect(), runs, steps: 0 }
    }

    fn matters(mut self) -> Result<Vec<Matter>, TooWide> {
        let groups = self.groups()?;
        let mut matters = Vec::new();
        for group in groups {
            self.spend(group.extent.len().saturating_mul(group.spans.len()))?;
            matters.extend(self.judge(&group));
        }
        Ok(matters)
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooWide> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MOST_STEPS {
            let actors: BTreeSet<_> =
                self.runs.iter().map(|run| self.order.window().author(run.first)).collect();
            return Err(TooWide { changes: self.runs.len(), actors: actors.len() });
        }
        Ok(())
    }

    /// Whether a run was made with knowledge of another. It knew all of it, or nothing.
    fn knew(&self, later: &Run, earlier: &Run) -> bool {
        later.first != earlier.first && self.order.window().sees(later.first, earlier.last)
    }

    fn groups(&mut self) -> Result<Vec<Group>, TooWide> {
        let spans = self.runs.iter().map(|run| run.spans.len()).sum();
        let mut joined = Joined::new(spans);
        let mut meetings: Vec<Meeting> = Vec::new();
        for one in 0..self.runs.len() {
            self.spend(self.runs.len())?;
            for other in one + 1..self.runs.len() {
                let (Some(a), Some(b)) = (self.runs.get(one), self.runs.get(other)) else { continue };
                if self.knew(a, b) || self.knew(b, a) {
                    continue;
                }
                let steps = a.acts.len() + b.acts.len();
                let hunks = [
                    Sides { order: self.order, run: a, other: b },
                    Sides { order: self.order, run: b, other: a },
                ];
                let [ours, theirs] = hunks.map(|sides| sides.hunks());
                let met = self.meet((one, a, &ours), (other, b, &theirs), &mut joined);
                self.spend(steps + met.len() * self.runs.len())?;
                meetings.extend(met);
            }
        }
        Ok(self.collect(&mut joined, &meetings))
    }

    /// The hunks of two runs that meet and that nobody has settled since.
    fn meet(
        &self,
        (one, a, ours): (usize, &Run, &[Hunk]),
        (other, b, theirs): (usize, &Run, &[Hunk]),
        joined: &mut Joined,
    ) -> Vec<Meeting> {
        let mut met = Vec::new();
        let first = |run: usize| self.first_span.get(run).copied().unwrap_or_default();
        let mut later = theirs;
        for hunk in ours {
            while later.first().is_some_and(|next| next.lines.end < hunk.lines.start) {
                later = later.get(1..).unwrap_or_default();
            }
            for next in later.iter().take_while(|next| next.meets(hunk)) {
                let (mine, yours) = (hunk.extent(a), next.extent(b));
                let extent = mine.start.min(yours.start)..mine.end.max(yours.end);
                if self.is_over(a, b, &extent) {
                    continue;
                }
                let spans = hunk.spans.clone().map(|span| span + first(one));
                let spans = spans.chain(next.spans.clone().map(|span| span + first(other)));
                let span = hunk.spans.start + first(one);
                spans.for_each(|each| joined.join(span, each));
                met.push(Meeting { span, extent });
            }
        }
        met
    }

    /// Whether somebody who knew both worked in these lines since.
    fn is_over(&self, a: &Run, b: &Run, extent: &Range<usize>) -> bool {
        let sides = Sides { order: self.order, run: a, other: b };
        let is_theirs = |place: usize| sides.is_common(place) || a.works_at(place) || b.works_at(place);
        // Whole lines put before these are elsewhere.
        let mut inner = None;
        self.runs.iter().filter(|run| self.knew(run, a) && self.knew(run, b)).any(|run| {
            let after = run.spans.partition_point(|(_, to)| *to < extent.start);
            let mut spans = run.spans.iter().skip(after).take_while(|(from, _)| *from < extent.end);
            spans.any(|(_, to)| {
                let inner = *inner.get_or_insert_with(|| {
                    extent.clone().find(|place| is_theirs(*place)).unwrap_or(extent.start)
                });
                *to >= inner || !self.order.ends_line(*to)
            })
        })
    }

    fn collect(&self, joined: &mut Joined, meetings: &[Meeting]) -> Vec<Group> {
        let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
        for meeting in meetings {
            let root = joined.root(meeting.span);
            let new = || Group { extent: meeting.extent.clone(), spans: BTreeMap::new() };
            let group = groups.entry(root).or_insert_with(new);
            group.extent.start = group.extent.start.min(meeting.extent.start);
            group.extent.end = group.extent.end.max(meeting.extent.end);
        }
        for (run, (spans, first)) in self.runs.iter().zip(&self.first_span).enumerate() {
            for span in 0..spans.spans.len() {
                if let Some(group) = groups.get_mut(&joined.root(first + span)) {
                    group.spans.entry(run).or_default().push(span);
                }
            }
        }
        groups.into_values().collect()
    }

    /// What the versions of a group come to; nothing, if nobody need be told.
    fn judge(&self, group: &Group) -> Option<Matter> {
        let window = self.order.window();
        let members: Vec<&Run> = group.spans.keys().filter_map(|run| self.runs.get(*run)).collect();
        let all_know = |change: usize| members.iter().all(|member| window.sees(member.last, change));
        let one_knows = |change: usize| members.iter().any(|member| window.sees(member.last, change));
        let base = self.order.stretch(group.extent.clone(), all_know);
        let is_last = |run: &&&Run| !members.iter().any(|other| self.knew(other, run));
        let versions: Vec<(&Run, String)> = members
            .iter()
            .filter(is_last)
            .map(|run| {
                (*run, self.order.stretch(group.extent.clone(), |change| window.sees(run.last, change)))
            })
            .collect();
        let outcomes: BTreeSet<&str> =
            versions.iter().map(|(_, text)| text.as_str()).filter(|text| *text != base).collect();
        let mut doubled = Vec::new();
        let mut is_equal = false;
        if outcomes.len() < 2 {
            let outcome = outcomes.first().copied().unwrap_or(&base);
            if self.order.stretch(group.extent.clone(), one_knows) == outcome {
                return None;
            }
            let same = versions.iter().filter(|(_, text)| text == outcome).map(|(run, _)| *run);
            let copies = self.copies(&group.extent, same, &all_know, &one_knows);
            let left = group
                .extent
                .clone()
                .filter(|place| self.order.is_in(*place, one_knows) && !copies.contains(place));
            is_equal = left.map(|place| self.order.text(place)).collect::<String>() == outcome;
            if is_equal {
                doubled = copies.iter().filter_map(|place| self.name(*place).cloned()).collect();
            }
        }
        let place = Slot { object: Some(self.text.clone()), key: Key::Head };
        let mut conflict = Conflict::new(Kind::Text, place, window, self.operations(group));
        conflict.is_equal = is_equal;
        let sides = versions.into_iter().filter_map(|(run, text)| Some((window.hash(run.last)?, text)));
        Some(Matter { conflict, versions: Versions { sides: sides.collect(), base }, doubled })
    }

    fn name(&self, place: usize) -> Option<&OpName> {
        let index = self.order.maker(place)?;
        self.order.window().operations().get(index).map(|operation| &operation.name)
    }

    /// What versions that came to the same typed, but for the one whose first operation has the smallest name: of any
    /// two copies everybody removes the same.
    fn copies(
        &self,
        extent: &Range<usize>,
        same: impl Iterator<Item = &'o Run>,
        all_know: &impl Fn(usize) -> bool,
        one_knows: &impl Fn(usize) -> bool,
    ) -> BTreeSet<usize>
    where
        Self: 'o,
    {
        let typed = |run: &Run| -> BTreeSet<usize> {
            let own =
                |place: &usize| self.order.shows(run.last, *place) && !self.order.is_known(*place, all_know);
            extent.clone().filter(own).collect()
        };
        let mut copies: Vec<(Option<&OpName>, BTreeSet<usize>)> = same
            .map(typed)
            .map(|places| (places.iter().filter_map(|place| self.name(*place)).min(), places))
            .filter(|(first, _)| first.is_some())
            .collect();
        copies.sort();
        let Some((kept, others)) = copies.split_first() else { return BTreeSet::new() };
        let others = others.iter().flat_map(|(_, places)| places.difference(&kept.1));
        others.filter(|place| self.order.is_in(**place, one_knows)).copied().collect()
    }

    /// The operations of a group, by their indexes.
    fn operations(&self, group: &Group) -> Vec<usize> {
        let mut all = Vec::new();
        for (run, spans) in &group.spans {
            let Some(run) = self.runs.get(*run) else { continue };
            for (from, to) in spans.iter().filter_map(|span| run.spans.get(*span)) {
                let start = run.acts.partition_point(|(place, _)| place < from);
                let acts = run.acts.iter().skip(start).take_while(|(place, _)| place <= to);
                all.extend(acts.map(|(_, index)| *index));
            }
        }
        if all.len() > MOST_SIDES {
            all.sort_unstable();
            let operations = self.order.window().operations();
            all.dedup_by_key(|index| operations.get(*index).map(|operation| operation.change));
        }
        all
    }
}
