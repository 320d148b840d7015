//! Changes that break one rule each: what operations point at, what they are, and what they hold.

use crate::dice::Dice;
use crate::draft::{
    BYTES, COUNTER, DELETE, Draft, FLOAT, INCREMENT, Id, Key, LIST, MAP, NULL, Op, PUT, SIGNED, STRING, TEXT,
    TIMESTAMP, UNSIGNED, put,
};
use crate::encode;
use crate::world::{CLASSES, Class, World};

/// A rule about operations, and how it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The object is another operation.
    Object(Class),
    /// The element is another operation.
    Element(Class),
    /// A predecessor is another operation.
    Pred(Class),
    /// Inserts where it should not, or the other way round.
    InsertFlag,
    NameInList,
    NameInText,
    ElementInMap,
    HeadInMap,
    HeadNotInserted,
    TwoKeys,
    NoKey,
    Action(u64),
    PredTwice,
    PredLeftOut,
    NoPreds,
    PredOfOtherSlot,
    PredsOfWholeObject,
    PredsTurned,
    DeadPred,
    PredOfInsert,
    OwnConflict,
    DeletedTwice,
    IncrementOfValue,
    IncrementOfContainer,
    IncrementOfNothing,
    IncrementOfHalf,
    IncrementBy(u64),
    IncrementInserted,
    IncrementInText,
    DeleteOfNothing,
    DeleteOfHalf,
    DeleteWithValue,
    DeleteInserted,
    DeleteInOtherObject,
    MakeWithValue,
    PutInText,
    MakeOverCharacter,
    InsertMadeInText(u64),
    CharacterOf(u64),
    LongCharacter,
    NoCharacter,
    HugeCharacter,
    /// A counter that is not counted.
    CounterHeld(i64),
    CounterAt(i64),
    CounterBy(i64),
    CounterTwice(i64),
    CounterByUnsigned,
    Float(u64),
    Timestamp(i64),
    UnknownType(u64),
    WrongLength(u64, u64),
    LongNumber,
    TwoNumbers,
    NoNumber,
    NotUtf8,
    CutCharacter,
    HugeValue,
    EmptyKey,
    KeyOf(usize),
    NulKey,
    KeyNotUtf8,
}

/// Every rule once.
pub fn all() -> Vec<Rule> {
    use Rule as R;
    let classes = CLASSES.iter();
    let mut rules: Vec<Rule> =
        classes.flat_map(|class| [R::Object(*class), R::Element(*class), R::Pred(*class)]).collect();
    rules.extend((0..=8).chain([100, u64::MAX]).map(R::Action));
    rules.extend([NULL, 1, UNSIGNED, FLOAT, STRING, BYTES, COUNTER, TIMESTAMP, 10].map(R::IncrementBy));
    rules.extend([MAP, LIST, TEXT].map(R::InsertMadeInText));
    rules.extend([NULL, 1, UNSIGNED, SIGNED, FLOAT, BYTES, COUNTER, TIMESTAMP, 12].map(R::CharacterOf));
    let extremes = [i64::MAX, i64::MIN, 1 << 53, -(1 << 62), 1 << 62];
    rules.extend(extremes.iter().flat_map(|n| {
        [R::CounterHeld(*n), R::CounterAt(*n), R::CounterBy(*n), R::CounterTwice(*n), R::Timestamp(*n)]
    }));
    let floats = [
        f64::NAN.to_bits(),
        u64::MAX,
        f64::INFINITY.to_bits(),
        (-0.0_f64).to_bits(),
        1,
        0x7ff0_0000_0000_0001,
    ];
    rules.extend(floats.map(R::Float));
    rules.extend((10..16).map(R::UnknownType));
    rules.extend(
        (0..10)
            .flat_map(|kind| [0, 1, 7, 9, 11, 1 << 20, 1 << 59].map(|length| R::WrongLength(kind, length))),
    );
    rules.extend([1_023, 1_024, 1_025, 65_536].map(R::KeyOf));
    rules.extend([
        R::InsertFlag,
        R::NameInList,
        R::NameInText,
        R::ElementInMap,
        R::HeadInMap,
        R::HeadNotInserted,
        R::TwoKeys,
        R::NoKey,
        R::PredTwice,
        R::PredLeftOut,
        R::NoPreds,
        R::PredOfOtherSlot,
        R::PredsOfWholeObject,
        R::PredsTurned,
        R::DeadPred,
        R::PredOfInsert,
        R::OwnConflict,
        R::DeletedTwice,
        R::IncrementOfValue,
        R::IncrementOfContainer,
        R::IncrementOfNothing,
        R::IncrementOfHalf,
        R::IncrementInserted,
        R::IncrementInText,
        R::DeleteOfNothing,
        R::DeleteOfHalf,
        R::DeleteWithValue,
        R::DeleteInserted,
        R::DeleteInOtherObject,
        R::MakeWithValue,
        R::PutInText,
        R::MakeOverCharacter,
        R::LongCharacter,
        R::NoCharacter,
        R::HugeCharacter,
        R::CounterByUnsigned,
        R::LongNumber,
        R::TwoNumbers,
        R::NoNumber,
        R::NotUtf8,
        R::CutCharacter,
        R::HugeValue,
        R::EmptyKey,
        R::NulKey,
        R::KeyNotUtf8,
    ]);
    rules
}

pub fn plain(object: Option<Id>, key: Key, action: u64, preds: Vec<Id>) -> Op {
    let value = match action {
        PUT => (SIGNED, encode::signed(7)),
        INCREMENT => (SIGNED, encode::signed(1)),
        _ => (NULL, Vec::new()),
    };
    Op { object, key, insert: false, action, value, claims: None, preds }
}

pub fn inserted(object: Id, action: u64) -> Op {
    Op { insert: true, ..plain(Some(object), Key::Head, action, Vec::new()) }
}

fn character(object: Id, text: &str) -> Op {
    Op { value: (STRING, text.as_bytes().to_vec()), ..inserted(object, PUT) }
}

/// Honest operations of one kind each, for rules that ask for one.
mod honest {
    use super::{Class, DELETE, Dice, INCREMENT, LIST, Op, PUT, TEXT, World, character, inserted, plain};

    pub fn on(world: &World, class: Class, action: u64, dice: &mut Dice) -> Option<Op> {
        let (object, key, live) = world.slot(class, dice)?;
        Some(plain(object, key, action, live))
    }

    pub fn item(world: &World, dice: &mut Dice) -> Option<Op> {
        world.container(LIST, dice).map(|list| inserted(list, PUT))
    }

    pub fn typed(world: &World, dice: &mut Dice) -> Option<Op> {
        let mut op = character(world.container(TEXT, dice)?, "x");
        // After a character as often as at the beginning.
        let after = world.known.iter().filter(|known| known.op.insert && known.op.object == op.object);
        let after: Vec<_> = after.map(|known| known.id.clone()).collect();
        if let Some(id) = dice.pick(&after).filter(|_| after.len() % 2 == 0) {
            op.key = super::Key::Element(id.clone());
        }
        Some(op)
    }

    pub fn any(world: &World, dice: &mut Dice) -> Option<Op> {
        match dice.roll(8) {
            0 => item(world, dice),
            1 => typed(world, dice),
            2 => on(world, Class::ListItem, PUT, dice),
            3 => on(world, Class::Counter, INCREMENT, dice),
            4 => on(world, Class::MapValue, DELETE, dice),
            5 => on(world, Class::Character, DELETE, dice),
            6 => on(world, Class::ListItem, DELETE, dice),
            _ => on(world, Class::MapValue, PUT, dice),
        }
    }
}

/// One of the draft's operations of which something is true, or an honest one that is put at its end.
fn find(
    draft: &mut Draft,
    dice: &mut Dice,
    fits: impl Fn(&Op) -> bool,
    make: impl FnOnce(&mut Dice) -> Option<Op>,
) -> Option<usize> {
    let fitting: Vec<usize> = (0..draft.ops.len()).filter(|at| fits(&draft.ops[*at])).collect();
    if let Some(at) = dice.pick(&fitting).filter(|_| fitting.len() > 1 || fitting[0].is_multiple_of(2)) {
        return Some(*at);
    }
    let op = make(dice)?;
    draft.ops.push(op);
    Some(draft.ops.len() - 1)
}

/// Breaks a rule; none if this document has nothing to break it with.
pub fn apply(rule: Rule, draft: &mut Draft, world: &World, dice: &mut Dice) -> Option<()> {
    match rule {
        Rule::Object(_) | Rule::Element(_) | Rule::Pred(_) => point(rule, draft, world, dice),
        Rule::InsertFlag
        | Rule::NameInList
        | Rule::NameInText
        | Rule::ElementInMap
        | Rule::HeadInMap
        | Rule::HeadNotInserted
        | Rule::TwoKeys
        | Rule::NoKey
        | Rule::Action(_) => misplace(rule, draft, world, dice),
        Rule::PredTwice
        | Rule::PredLeftOut
        | Rule::NoPreds
        | Rule::PredOfOtherSlot
        | Rule::PredsOfWholeObject
        | Rule::PredsTurned
        | Rule::DeadPred
        | Rule::PredOfInsert
        | Rule::OwnConflict
        | Rule::DeletedTwice => replace(rule, draft, world, dice),
        _ => {
            let (op, more) = crate::contents::broken(rule, draft, world, dice)?;
            draft.ops.push(op);
            draft.ops.extend(more);
            Some(())
        }
    }
}

/// One reference to something else.
fn point(rule: Rule, draft: &mut Draft, world: &World, dice: &mut Dice) -> Option<()> {
    let any = |dice: &mut Dice| honest::any(world, dice);
    let at = match rule {
        Rule::Object(_) => find(draft, dice, |_| true, any)?,
        Rule::Element(_) => find(
            draft,
            dice,
            |op| matches!(op.key, Key::Element(_) | Key::Head),
            |dice| {
                if dice.once_in(2) { honest::item(world, dice) } else { honest::typed(world, dice) }
            },
        )?,
        _ => find(
            draft,
            dice,
            |op| !op.preds.is_empty(),
            |dice| honest::on(world, Class::MapValue, PUT, dice),
        )?,
    };
    let (Rule::Object(class) | Rule::Element(class) | Rule::Pred(class)) = rule else { return None };
    let target = world.some(class, draft, at, dice)?;
    let op = draft.ops.get_mut(at)?;
    match rule {
        Rule::Object(_) => op.object = Some(target),
        Rule::Element(_) => op.key = Key::Element(target),
        _ => {
            let which = dice.roll(op.preds.len());
            if dice.once_in(2) {
                op.preds[which] = target;
            } else {
                op.preds.push(target);
            }
            op.preds.sort();
        }
    }
    Some(())
}

/// A key or an action that does not fit its container.
fn misplace(rule: Rule, draft: &mut Draft, world: &World, dice: &mut Dice) -> Option<()> {
    let any = |dice: &mut Dice| honest::any(world, dice);
    let is_named = |op: &Op| matches!(op.key, Key::Name(_));
    let at = match rule {
        Rule::NameInList => find(draft, dice, |_| false, |dice| honest::item(world, dice))?,
        Rule::NameInText => find(draft, dice, |_| false, |dice| honest::typed(world, dice))?,
        Rule::ElementInMap | Rule::HeadInMap => find(draft, dice, is_named, |_| Some(put("in the root")))?,
        Rule::HeadNotInserted => {
            find(draft, dice, |op| op.key == Key::Head, |dice| honest::item(world, dice))?
        }
        _ => find(draft, dice, |_| true, any)?,
    };
    let element = world.some(
        dice.one([Class::ListItem, Class::Character, Class::DeadItem, Class::MapValue]),
        draft,
        at,
        dice,
    );
    let op = draft.ops.get_mut(at)?;
    match rule {
        Rule::InsertFlag => op.insert = !op.insert,
        Rule::NameInList | Rule::NameInText => {
            op.key = Key::Name(b"name".to_vec());
            op.insert = dice.once_in(4);
        }
        Rule::ElementInMap => {
            op.key = Key::Element(element?);
            op.insert = dice.once_in(2);
        }
        Rule::HeadInMap => {
            op.key = Key::Head;
            op.insert = !dice.once_in(4);
        }
        Rule::HeadNotInserted => op.insert = false,
        Rule::TwoKeys => op.key = Key::Both(b"a".to_vec(), element?),
        Rule::NoKey => op.key = Key::Neither,
        Rule::Action(action) => {
            op.action = action;
            // Half of them with the value that the action goes with.
            if dice.once_in(2) {
                op.value = match action {
                    PUT => (STRING, b"x".to_vec()),
                    INCREMENT => (SIGNED, encode::signed(3)),
                    _ => (NULL, Vec::new()),
                };
            }
        }
        _ => return None,
    }
    Some(())
}

/// Predecessors that are not what an honest writer replaces.
fn replace(rule: Rule, draft: &mut Draft, world: &World, dice: &mut Dice) -> Option<()> {
    let class =
        dice.one([Class::MapValue, Class::ListItem, Class::Counter, Class::ListValue, Class::MapMade]);
    let action = dice.one([PUT, PUT, DELETE, MAP, LIST, TEXT]);
    let action = if class == Class::Counter && dice.once_in(2) { INCREMENT } else { action };
    let at = match rule {
        Rule::PredOfInsert => find(
            draft,
            dice,
            |op| op.insert,
            |dice| if dice.once_in(2) { honest::item(world, dice) } else { honest::typed(world, dice) },
        )?,
        Rule::DeletedTwice => find(draft, dice, |_| false, |dice| honest::on(world, class, DELETE, dice))?,
        Rule::OwnConflict => {
            find(draft, dice, |op| !op.insert && op.action != DELETE, |_| Some(put("twice")))?
        }
        _ => find(draft, dice, |_| false, |dice| honest::on(world, class, action, dice))?,
    };
    let dead = dice.one([Class::DeadMapValue, Class::DeadItem, Class::DeadCharacter, Class::DeadContainer]);
    let other =
        dice.one([Class::MapValue, Class::ListItem, Class::Character, Class::Counter, Class::MapMade]);
    match rule {
        Rule::OwnConflict | Rule::DeletedTwice => {
            let copy = draft.ops.get(at)?.clone();
            draft.ops.push(copy);
        }
        Rule::DeadPred => {
            // Where it stood itself, so that nothing else is wrong.
            let known = world.get(world.of(dead).get(dice.roll(world.of(dead).len().max(1)))?)?;
            draft.ops[at] = plain(
                known.op.object.clone(),
                known.slot.clone(),
                dice.one([PUT, DELETE, INCREMENT, MAP]),
                vec![known.id.clone()],
            );
        }
        Rule::PredOfOtherSlot => {
            let foreign = dice.pick(world.of(other))?.clone();
            let preds = &mut draft.ops.get_mut(at)?.preds;
            *preds = if dice.once_in(2) { vec![foreign] } else { [preds.as_slice(), &[foreign]].concat() };
            preds.sort();
        }
        Rule::PredOfInsert => {
            let foreign = dice.pick(world.of(other))?.clone();
            draft.ops.get_mut(at)?.preds.push(foreign);
        }
        Rule::PredsOfWholeObject => {
            let object = draft.ops.get(at)?.object.clone();
            let slots = world.live.iter().filter(|((of, _), _)| *of == object).take(64);
            let mut preds: Vec<Id> = slots.flat_map(|(_, live)| live.iter().cloned()).collect();
            preds.sort();
            draft.ops.get_mut(at)?.preds = preds;
        }
        _ => {
            let preds = &mut draft.ops.get_mut(at)?.preds;
            match rule {
                Rule::PredTwice => preds.insert(0, preds.first()?.clone()),
                Rule::PredLeftOut => drop(preds.pop()?),
                Rule::NoPreds => preds.clear(),
                _ if preds.len() < 2 => return None,
                _ => preds.reverse(),
            }
        }
    }
    Some(())
}

pub use honest::{item, on, typed};
