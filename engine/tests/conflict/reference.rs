//! The rules once more, as plainly as they can be said: every pair of operations of a whole document is looked at, and
//! nothing is kept between two answers. Knowledge is a set of hashes, places are text.

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Automerge, ChangeHash, ObjId, ObjType, ScalarValue};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use syncd_engine::document;

/// Kind, place, names of the sides, and whether all come to the same.
pub type Found = BTreeSet<(&'static str, String, BTreeSet<String>, bool)>;

struct Line {
    id: OpId,
    change: ChangeHash,
    op: Op,
}

impl Line {
    fn name(&self) -> String {
        name(&self.id)
    }

    fn object(&self) -> String {
        match &self.op.obj {
            ObjectId::Root => "root".to_owned(),
            ObjectId::Id(id) => name(id),
        }
    }

    fn place(&self) -> String {
        format!("{} {}", self.object(), if self.op.insert { self.name() } else { key(&self.op.key) })
    }

    fn writes(&self) -> bool {
        !self.op.insert && !matches!(self.op.action, OpType::Increment(_))
    }

    fn deletes(&self) -> bool {
        self.op.action == OpType::Delete
    }

    fn replaces(&self, other: &Self) -> bool {
        self.op.pred.iter().any(|pred| *pred == other.id)
    }
}

fn name(id: &OpId) -> String {
    format!("{}@{}", id.counter(), id.actor())
}

fn said(line: &Line) -> String {
    match &line.op.action {
        OpType::Put(ScalarValue::Str(text)) => text.to_string(),
        _ => String::new(),
    }
}

fn key(key: &Key) -> String {
    match key {
        Key::Map(key) => key.to_string(),
        Key::Seq(ElementId::Head) => "head".to_owned(),
        Key::Seq(ElementId::Id(id)) => name(id),
    }
}

struct All<'d> {
    doc: &'d Automerge,
    lines: Vec<Line>,
    past: HashMap<ChangeHash, HashSet<ChangeHash>>,
}

/// All contradictions of a document.
pub fn conflicts(doc: &Automerge) -> Found {
    let mut past: HashMap<ChangeHash, HashSet<ChangeHash>> = HashMap::new();
    let mut lines = Vec::new();
    for change in doc.get_changes(&[]) {
        let mut known = HashSet::new();
        for dep in change.deps() {
            known.insert(*dep);
            known.extend(&past[dep]);
        }
        past.insert(change.hash(), known);
        let decoded = change.decode();
        let start = decoded.start_op.get();
        for (n, op) in decoded.operations.into_iter().enumerate() {
            lines.push(Line {
                id: OpId::new(start + n as u64, &decoded.actor_id),
                change: change.hash(),
                op,
            });
        }
    }
    let all = All { doc, lines, past };
    let mut found = all.slots();
    found.extend(all.inside());
    found.extend(all.texts());
    found
}

impl All<'_> {
    /// Whether `later` was made with knowledge of `earlier`.
    fn knew(&self, later: &Line, earlier: &Line) -> bool {
        match later.change == earlier.change {
            true => later.id.counter() > earlier.id.counter(),
            false => self.past[&later.change].contains(&earlier.change),
        }
    }

    fn apart(&self, one: &Line, other: &Line) -> bool {
        one.id != other.id && !self.knew(one, other) && !self.knew(other, one)
    }

    fn slots(&self) -> Found {
        let mut found = Found::new();
        let places: BTreeSet<String> =
            self.lines.iter().filter(|line| line.writes()).map(Line::place).collect();
        for place in places {
            let writes: Vec<&Line> =
                self.lines.iter().filter(|line| line.writes() && line.place() == place).collect();
            let last: Vec<&Line> = writes
                .iter()
                .filter(|line| !writes.iter().any(|other| self.knew(other, line)))
                .copied()
                .collect();
            if last.len() < 2 || last.iter().all(|line| line.deletes()) {
                continue;
            }
            let kind = if last.iter().any(|line| line.deletes()) { "delete" } else { "value" };
            let values: Vec<String> = last.iter().map(|line| self.outcome(line)).collect();
            let is_equal = values.iter().all(|value| *value == values[0]);
            found.insert((kind, place, last.iter().map(|line| line.name()).collect(), is_equal));
        }
        found
    }

    fn outcome(&self, line: &Line) -> String {
        match &line.op.action {
            OpType::Make(kind) => {
                let id = ObjId::Id(line.id.counter(), line.id.actor().clone(), 0);
                format!("{kind} {}", document::read_object(self.doc, &id, *kind))
            }
            other => format!("{other:?}"),
        }
    }

    /// The operations that made an object and those around it.
    fn around(&self, object: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut here = object.to_owned();
        while here != "root" {
            let maker = self.lines.iter().find(|line| line.name() == here).unwrap();
            names.push(here);
            here = maker.object();
        }
        names
    }

    fn inside(&self) -> Found {
        let mut found = Found::new();
        for made in &self.lines {
            let kills: Vec<&Line> =
                self.lines.iter().filter(|line| line.writes() && line.replaces(made)).collect();
            let mut sides: BTreeSet<String> = BTreeSet::new();
            let mut counts = true;
            for edit in self.lines.iter().filter(|line| !line.deletes()) {
                let counted = matches!(edit.op.action, OpType::Increment(_)) && edit.replaces(made);
                if !counted && !self.around(&edit.object()).contains(&made.name()) {
                    continue;
                }
                let decided = kills.iter().any(|kill| self.knew(kill, edit));
                let gone = self
                    .lines
                    .iter()
                    .any(|line| line.writes() && line.replaces(edit) && self.knew(line, edit));
                let apart: Vec<&&Line> = kills.iter().filter(|kill| self.apart(kill, edit)).collect();
                if !decided && !gone && !apart.is_empty() {
                    counts &= counted;
                    sides.insert(edit.name());
                    sides.extend(apart.iter().map(|kill| kill.name()));
                }
            }
            if !sides.is_empty() {
                let kind = if counts { "reset" } else { "inside" };
                found.insert((kind, kills[0].place(), sides, false));
            }
        }
        found
    }

    fn texts(&self) -> Found {
        let mut found = Found::new();
        let objects: BTreeSet<String> = self.lines.iter().map(Line::object).collect();
        for object in objects.iter().filter(|object| *object != "root") {
            let maker = self.lines.iter().find(|line| line.name() == **object).unwrap();
            if maker.op.action == OpType::Make(ObjType::Text) {
                found.extend(self.text(object));
            }
        }
        found
    }

    fn text(&self, object: &str) -> Found {
        let here: Vec<&Line> = self.lines.iter().filter(|line| line.object() == object).collect();
        // Pieces: within a change, typing one after the other, then deleting.
        let mut pieces: Vec<Vec<&Line>> = Vec::new();
        for line in &here {
            let goes_on = pieces.last().and_then(|piece| piece.last()).is_some_and(|last| {
                let next = last.change == line.change && last.id.counter() + 1 == line.id.counter();
                let types = !line.op.insert || (last.op.insert && key(&line.op.key) == last.name());
                next && types
            });
            match pieces.last_mut() {
                Some(piece) if goes_on => piece.push(line),
                _ => pieces.push(vec![line]),
            }
        }
        let deleted = |piece: &[&Line]| -> BTreeSet<String> {
            piece.iter().filter(|line| line.deletes()).map(|line| key(&line.op.key)).collect()
        };
        let all_deleted: BTreeSet<String> =
            here.iter().filter(|line| line.deletes()).map(|line| key(&line.op.key)).collect();
        let leaves =
            |piece: &[&Line]| piece.iter().any(|line| line.op.insert && !all_deleted.contains(&line.name()));
        let after = |piece: &[&Line]| {
            piece
                .first()
                .filter(|line| line.op.insert)
                .map(|line| key(&line.op.key))
                .filter(|key| key != "head")
        };
        // Where a piece types what, if it does nothing else.
        let typing = |piece: &[&Line]| -> Option<(String, String)> {
            let types = piece.iter().all(|line| line.op.insert);
            types.then(|| (key(&piece[0].op.key), piece.iter().map(|line| said(line)).collect()))
        };
        let contradict = |one: &[&Line], other: &[&Line]| {
            let types_after = |one: &[&Line], other: &[&Line]| {
                after(one).is_some_and(|after| deleted(other).contains(&after))
            };
            let meet = !deleted(one).is_disjoint(&deleted(other))
                || types_after(one, other)
                || types_after(other, one);
            let types_alike = typing(one).is_some_and(|typing_one| typing(other) == Some(typing_one));
            (meet || types_alike) && self.apart(one[0], other[0]) && leaves(one) && leaves(other)
        };
        // Whatever hangs together, by spreading from each.
        let mut group: BTreeMap<usize, usize> = BTreeMap::new();
        for start in 0..pieces.len() {
            let mut reached = BTreeSet::from([start]);
            let mut next = vec![start];
            while let Some(one) = next.pop() {
                for other in 0..pieces.len() {
                    if contradict(&pieces[one], &pieces[other]) && reached.insert(other) {
                        next.push(other);
                    }
                }
            }
            if reached.len() > 1 {
                group.insert(start, *reached.first().unwrap());
            }
        }
        let mut found = Found::new();
        for first in group.values().collect::<BTreeSet<_>>() {
            let members: Vec<&Vec<&Line>> =
                group.iter().filter(|(_, of)| *of == first).map(|(piece, _)| &pieces[*piece]).collect();
            let work = |piece: &Vec<&Line>| {
                let typed: String =
                    piece.iter().filter(|line| line.op.insert).map(|line| said(line)).collect();
                let in_order: Vec<String> =
                    piece.iter().filter(|line| line.deletes()).map(|line| key(&line.op.key)).collect();
                (in_order, after(piece), typed)
            };
            // Of what was typed alike the smallest stays, and the others must be as they were typed to be removed.
            let typed = |piece: &Vec<&Line>| -> Vec<OpId> {
                piece.iter().filter(|line| line.op.insert).map(|line| line.id.clone()).collect()
            };
            let first =
                |piece: &Vec<&Line>| typed(piece).iter().map(|id| (id.counter(), id.actor().clone())).min();
            let kept = members.iter().filter(|piece| first(piece).is_some()).min_by_key(|piece| first(piece));
            let is_untouched = |piece: &Vec<&Line>| {
                let names: BTreeSet<String> = typed(piece).iter().map(name).collect();
                let strange = |line: &&&Line| !piece.iter().any(|own| own.id == line.id);
                !here.iter().filter(strange).any(|line| names.contains(&key(&line.op.key)))
            };
            let is_equal = members.iter().all(|piece| work(piece) == work(members[0]))
                && members
                    .iter()
                    .all(|piece| first(piece) == kept.and_then(|kept| first(kept)) || is_untouched(piece));
            let sides = members.iter().flat_map(|piece| piece.iter().map(|line| line.name())).collect();
            found.insert(("text", format!("{object} head"), sides, is_equal));
        }
        found
    }
}
