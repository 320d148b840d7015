//! Changes that break a rule about their form: numbers, dependencies, actors, columns and how they are written.

use crate::craft::{framed, leb};
use crate::dice::Dice;
use crate::draft::{Draft, Parts};
use crate::encode::{self, Style};
use crate::world::World;
use syncd_engine::document::EncodedChange;
use syncd_schema::Digest;

/// A rule about a change's form, and how it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Seq(i64),
    StartOp(i64),
    Time(i64),
    Message(usize),
    MessageNotUtf8,
    DepLeftOut,
    DepTwice,
    DepUnknown,
    /// A dependency that another one builds on already.
    DepNeedless,
    DepsTurned,
    NoDeps,
    ManyDeps(usize),
    ActorOf(usize),
    ActorOfOther,
    UnusedActor,
    ActorTwice,
    OwnActorListed,
    ActorsTurned,
    Footer,
    TrailingBytes,
    ChunkType(u8),
    Style(Style, u64),
    NullsWritten(u64),
    UnknownColumn(u64),
    Compressed(u64),
    EmptyColumn,
    ColumnTwice,
    ColumnsTurned,
    ColumnMissing(u64),
    ColumnLonger(u64),
    ColumnShorter(u64),
    BooleansInPieces,
    LengthOf(i64),
    NoOperations,
}

/// The columns that a change may have.
pub const COLUMNS: [u64; 12] = [1, 2, 17, 19, 21, 52, 66, 86, 87, 112, 113, 115];

pub fn all() -> Vec<Form> {
    use Form as F;
    let last = i64::from(u32::MAX);
    let mut all: Vec<Form> =
        [-1, 1, 2, last, i64::MAX, i64::MIN].iter().flat_map(|by| [F::Seq(*by), F::StartOp(*by)]).collect();
    all.extend([-1, i64::MIN, i64::MAX, 253_402_300_799_999, 253_402_300_800_000, 0].map(F::Time));
    all.extend([1, 1_024, 1_025, 100_000].map(F::Message));
    all.extend([2, 64, 1_024, 1_025, 5_000].map(F::ManyDeps));
    all.extend([0, 1, 17, 64, 65, 4_096].map(F::ActorOf));
    all.extend([0, 2, 3, 4, 255].map(F::ChunkType));
    let styles = [Style::Split, Style::Literal, Style::Single, Style::Long];
    all.extend(styles.iter().flat_map(|style| COLUMNS.iter().map(|spec| F::Style(*style, *spec))));
    for spec in COLUMNS {
        all.extend([F::NullsWritten(spec), F::Compressed(spec), F::ColumnMissing(spec)]);
        all.extend([F::ColumnLonger(spec), F::ColumnShorter(spec)]);
    }
    all.extend([0, 3, 5, 20, 22, 53, 88, 114, 144, 148, 149, 165, 197, u64::MAX >> 1].map(F::UnknownColumn));
    all.extend([-1, 1, 100, last].map(F::LengthOf));
    all.extend([
        F::MessageNotUtf8,
        F::DepLeftOut,
        F::DepTwice,
        F::DepUnknown,
        F::DepNeedless,
        F::DepsTurned,
        F::NoDeps,
        F::ActorOfOther,
        F::UnusedActor,
        F::ActorTwice,
        F::OwnActorListed,
        F::ActorsTurned,
        F::Footer,
        F::TrailingBytes,
        F::EmptyColumn,
        F::ColumnTwice,
        F::ColumnsTurned,
        F::BooleansInPieces,
        F::NoOperations,
    ]);
    all
}

/// Writes a draft in a form that is wrong; none if there is nothing about this draft that could be.
pub fn broken(form: Form, draft: &Draft, world: &World, dice: &mut Dice) -> Option<EncodedChange> {
    match form {
        Form::Style(style, spec) => {
            let mut parts = draft.parts();
            let columns = encode::styled(draft, &parts.others, style, spec);
            if columns == parts.columns {
                return None;
            }
            parts.columns = columns;
            Some(parts.write())
        }
        Form::NoOperations => Some(Draft { ops: Vec::new(), ..draft.clone() }.write()),
        Form::ChunkType(kind) => Some(framed(kind, &draft.parts().body())),
        Form::ColumnsTurned
        | Form::ColumnTwice
        | Form::Compressed(_)
        | Form::EmptyColumn
        | Form::LengthOf(_) => table(form, &draft.parts(), dice),
        Form::DepLeftOut
        | Form::DepTwice
        | Form::DepUnknown
        | Form::DepNeedless
        | Form::DepsTurned
        | Form::NoDeps
        | Form::ManyDeps(_) => {
            let mut parts = draft.parts();
            parts.deps = deps(form, parts.deps, world, dice)?;
            Some(parts.write())
        }
        Form::ActorOf(_)
        | Form::ActorOfOther
        | Form::UnusedActor
        | Form::ActorTwice
        | Form::OwnActorListed
        | Form::ActorsTurned => actors(form, draft, world, dice),
        _ => {
            let mut parts = draft.parts();
            alter(form, &mut parts, draft, dice)?;
            Some(parts.write())
        }
    }
}

fn alter(form: Form, parts: &mut Parts, draft: &Draft, dice: &mut Dice) -> Option<()> {
    match form {
        Form::Seq(by) => parts.seq = parts.seq.wrapping_add_signed(by),
        Form::StartOp(by) => parts.start_op = parts.start_op.wrapping_add_signed(by),
        Form::Time(time) => parts.time = time,
        Form::Message(length) => parts.message = vec![b'm'; length],
        Form::MessageNotUtf8 => parts.message = vec![b'm', 0xff],
        Form::Footer => parts.extra = vec![1, 1, 65],
        Form::TrailingBytes => parts.extra = vec![0; 1 + dice.roll(40)],
        Form::UnknownColumn(spec) => parts.set(spec, vec![draft.ops.len() as u8]),
        Form::NullsWritten(spec) => {
            let nulls = [vec![0], encode::unsigned(draft.ops.len() as u64)].concat();
            if parts.column(spec).is_some() && dice.once_in(2) {
                return None;
            }
            parts.set(spec, nulls);
        }
        Form::ColumnMissing(spec) => {
            parts.column(spec)?;
            parts.set(spec, Vec::new());
        }
        Form::ColumnLonger(spec) => {
            parts.column(spec)?.extend(dice.one([[0x7f, 0], [0x7f, 1], [0, 1], [2, 1]]))
        }
        Form::ColumnShorter(spec) => drop(parts.column(spec).filter(|bytes| bytes.len() > 1)?.pop()),
        Form::BooleansInPieces => {
            let bytes = parts.column(52)?;
            match dice.roll(3) {
                0 => bytes.extend([0, 0]),
                1 => bytes.push(0),
                _ => bytes.splice(0..0, [0, 0]).for_each(drop),
            }
        }
        _ => return None,
    }
    Some(())
}

fn deps(form: Form, mut deps: Vec<Digest>, world: &World, dice: &mut Dice) -> Option<Vec<Digest>> {
    let all =
        || world.base.get_changes_meta(&[]).into_iter().map(|meta| Digest(meta.hash.0)).collect::<Vec<_>>();
    match form {
        Form::DepLeftOut => drop((!deps.is_empty()).then(|| deps.remove(dice.roll(deps.len())))?),
        Form::DepTwice => deps.insert(0, *deps.first()?),
        Form::DepUnknown => deps.push(Digest([0xfe; 32])),
        Form::DepNeedless => {
            deps.push(*dice.pick(&all())?);
            deps.sort_unstable();
            deps.dedup();
        }
        Form::DepsTurned if deps.len() > 1 => deps.reverse(),
        Form::NoDeps => deps.clear(),
        Form::ManyDeps(most) => {
            deps.extend(all().into_iter().take(most));
            while deps.len() < most {
                deps.push(Digest(std::array::from_fn(|_| dice.number() as u8)));
            }
            deps.sort_unstable();
            deps.dedup();
        }
        _ => return None,
    }
    Some(deps)
}

fn actors(form: Form, draft: &Draft, world: &World, dice: &mut Dice) -> Option<EncodedChange> {
    let mut draft = draft.clone();
    match form {
        Form::ActorOf(length) => {
            let old = std::mem::replace(&mut draft.actor, vec![7; length]);
            rename(&mut draft, &old);
            draft.seq = 1;
        }
        Form::ActorOfOther => {
            // Somebody else's name, at whatever number that would be next or was before.
            let known = dice.pick(&world.known)?.id.actor.clone();
            let old = std::mem::replace(&mut draft.actor, known);
            rename(&mut draft, &old);
            draft.seq = dice.one([1, 2, 3, draft.seq]);
        }
        _ => {
            let mut others = draft.actors();
            match form {
                Form::UnusedActor => {
                    others.push(vec![0xaa; 16]);
                    others.sort();
                }
                Form::ActorTwice => others.insert(0, others.first()?.clone()),
                Form::OwnActorListed => {
                    others.push(draft.actor.clone());
                    others.sort();
                }
                _ if others.len() < 2 => return None,
                _ => others.reverse(),
            }
            draft.others = Some(others);
        }
    }
    Some(draft.write())
}

/// Makes the draft's references to its own operations follow its actor.
fn rename(draft: &mut Draft, old: &[u8]) {
    let actor = draft.actor.clone();
    let start_op = draft.start_op;
    for op in &mut draft.ops {
        let element = match &mut op.key {
            crate::draft::Key::Element(id) => Some(id),
            _ => None,
        };
        for id in op.object.iter_mut().chain(element).chain(&mut op.preds) {
            if id.actor == old && id.counter >= start_op {
                id.actor.clone_from(&actor);
            }
        }
    }
}

/// A column table that does not describe the columns.
fn table(form: Form, parts: &Parts, dice: &mut Dice) -> Option<EncodedChange> {
    let mut columns = parts.columns.clone();
    let at = dice.roll(columns.len().max(1));
    match form {
        Form::ColumnsTurned if columns.len() > 1 => columns.reverse(),
        Form::ColumnTwice => columns.insert(at, columns.get(at)?.clone()),
        Form::EmptyColumn => {
            let unused = COLUMNS.iter().find(|spec| columns.iter().all(|(found, _)| found != *spec))?;
            columns.push((*unused, Vec::new()));
            columns.sort();
        }
        Form::Compressed(spec) => columns.iter_mut().find(|(found, _)| *found == spec)?.0 |= 8,
        Form::LengthOf(_) => {}
        _ => return None,
    }
    let empty = Parts { columns: Vec::new(), extra: Vec::new(), ..parts.clone() };
    let mut body = empty.body();
    // The count of columns is the last byte of a body without any.
    body.pop();
    leb(columns.len() as u64, &mut body);
    for (index, (spec, bytes)) in columns.iter().enumerate() {
        leb(*spec, &mut body);
        let claimed = match form {
            Form::LengthOf(by) if index == at => (bytes.len() as u64).wrapping_add_signed(by),
            _ => bytes.len() as u64,
        };
        leb(claimed, &mut body);
    }
    columns.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
    Some(framed(1, &body))
}
