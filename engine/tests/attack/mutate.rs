//! Honest changes, altered at random by somebody who then makes the checksum right.

use crate::craft::framed;
use crate::dice::Dice;
use crate::draft::{Draft, Parts};
use crate::encode;
use crate::form::COLUMNS;
use syncd_engine::document::EncodedChange;

/// How a change is altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Bits of columns, whose lengths stay.
    ColumnBytes,
    /// Bytes after the dependencies.
    AnyBytes,
    /// Bytes more or fewer, anywhere after the dependencies.
    Lengths,
    Truncated,
    /// A column of another change.
    ColumnOfOther,
    /// All columns from one on are those of another change.
    Spliced,
    ColumnsSwapped,
    /// The count of a run.
    RunCount,
    /// A number, somewhere in a column, by one.
    OneMore,
    /// A piece of a column moved within it.
    Moved,
    /// Operations of another change, in its order or mixed.
    OperationsOfOther,
    OperationsTurned,
    OperationTwice,
    OperationLeftOut,
}

pub const MUTATIONS: [Mutation; 14] = [
    Mutation::ColumnBytes,
    Mutation::AnyBytes,
    Mutation::Lengths,
    Mutation::Truncated,
    Mutation::ColumnOfOther,
    Mutation::Spliced,
    Mutation::ColumnsSwapped,
    Mutation::RunCount,
    Mutation::OneMore,
    Mutation::Moved,
    Mutation::OperationsOfOther,
    Mutation::OperationsTurned,
    Mutation::OperationTwice,
    Mutation::OperationLeftOut,
];

/// Alters a change; `other` is another one on the same document.
pub fn mutated(mutation: Mutation, draft: &Draft, other: &Draft, dice: &mut Dice) -> EncodedChange {
    let mut parts = draft.parts();
    match mutation {
        Mutation::AnyBytes | Mutation::Lengths | Mutation::Truncated => return bytes(mutation, &parts, dice),
        Mutation::OperationsOfOther
        | Mutation::OperationsTurned
        | Mutation::OperationTwice
        | Mutation::OperationLeftOut => return operations(mutation, draft, other, dice).write(),
        Mutation::ColumnOfOther => {
            let theirs = other.parts();
            for _ in 0..=dice.roll(2) {
                let spec = dice.one(COLUMNS);
                let column = theirs.columns.iter().find(|(found, _)| *found == spec);
                parts.set(spec, column.map(|(_, bytes)| bytes.clone()).unwrap_or_default());
            }
        }
        Mutation::Spliced => {
            let from = dice.one(COLUMNS);
            parts.columns.retain(|(spec, _)| *spec < from);
            parts.columns.extend(other.parts().columns.into_iter().filter(|(spec, _)| *spec >= from));
        }
        Mutation::ColumnsSwapped => {
            let (one, two) = (dice.one(COLUMNS), dice.one(COLUMNS));
            let (first, second) = (parts.column(one).cloned(), parts.column(two).cloned());
            parts.set(one, second.unwrap_or_default());
            parts.set(two, first.unwrap_or_default());
        }
        _ => {
            for _ in 0..=dice.roll(3) {
                column(mutation, &mut parts, dice);
            }
        }
    }
    parts.write()
}

fn column(mutation: Mutation, parts: &mut Parts, dice: &mut Dice) {
    let many = parts.columns.len();
    let Some((_, bytes)) = parts.columns.get_mut(dice.roll(many.max(1))) else { return };
    let at = dice.roll(bytes.len());
    match mutation {
        Mutation::RunCount => {
            let count = dice.one([0, 1, 2, 3, 64, -1, -2, i64::MAX, i64::MIN, 1 << 40, 100_000]);
            bytes.splice(0..1, encode::signed(count)).for_each(drop);
        }
        Mutation::OneMore => {
            bytes[at] = if dice.once_in(2) { bytes[at].wrapping_add(1) } else { bytes[at].wrapping_sub(1) }
        }
        Mutation::Moved => {
            let byte = bytes.remove(at);
            let to = dice.roll(bytes.len() + 1);
            bytes.insert(to, byte);
        }
        _ if dice.once_in(3) => bytes[at] = dice.roll(256) as u8,
        _ => bytes[at] ^= 1 << dice.roll(8),
    }
}

fn bytes(mutation: Mutation, parts: &Parts, dice: &mut Dice) -> EncodedChange {
    let mut body = parts.body();
    // The dependencies stay, else nothing beyond them would be tried.
    let from = (encode::unsigned(parts.deps.len() as u64).len() + 32 * parts.deps.len()).min(body.len() - 1);
    for _ in 0..=dice.roll(3) {
        let at = from + dice.roll(body.len() - from);
        match mutation {
            Mutation::Truncated => body.truncate(at.max(from + 1)),
            Mutation::Lengths if dice.once_in(2) => body.insert(at, dice.roll(256) as u8),
            Mutation::Lengths if body.len() > from + 2 => drop(body.remove(at)),
            _ if dice.once_in(3) => body[at] = dice.roll(256) as u8,
            _ => body[at] ^= 1 << dice.roll(8),
        }
    }
    framed(1, &body)
}

fn operations(mutation: Mutation, draft: &Draft, other: &Draft, dice: &mut Dice) -> Draft {
    let mut draft = draft.clone();
    let many = draft.ops.len().max(1);
    match mutation {
        Mutation::OperationsTurned => {
            let (one, two) = (dice.roll(many), dice.roll(many));
            if !draft.ops.is_empty() {
                draft.ops.swap(one, two);
            }
        }
        Mutation::OperationTwice => {
            let copy = draft.ops.get(dice.roll(many)).cloned();
            draft.ops.splice(0..0, copy).for_each(drop);
        }
        Mutation::OperationLeftOut if draft.ops.len() > 1 => drop(draft.ops.remove(dice.roll(many))),
        _ => {
            // Under its own numbers: what they refer to of their own change is now something else.
            let rest = dice.roll(many);
            draft.ops.truncate(rest);
            draft.ops.extend(other.ops.iter().cloned());
        }
    }
    draft
}
