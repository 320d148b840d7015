//! Operations that break a rule by what they do and hold.

use crate::dice::Dice;
use crate::draft::{
    BYTES, COUNTER, DELETE, Draft, FLOAT, INCREMENT, Key, LIST, MAP, Op, PUT, SIGNED, STRING, TEXT,
    TIMESTAMP, UNSIGNED, put,
};
use crate::encode;
use crate::rules::{Rule, inserted, item, on, plain, typed};
use crate::world::{Class, World};

/// An operation that breaks a rule, and those that follow it.
pub fn broken(rule: Rule, draft: &Draft, world: &World, dice: &mut Dice) -> Option<(Op, Vec<Op>)> {
    let op = match rule {
        Rule::CounterAt(_) | Rule::CounterBy(_) | Rule::CounterTwice(_) | Rule::CounterByUnsigned => {
            return counters(rule, draft, world, dice);
        }
        Rule::IncrementOfValue
        | Rule::IncrementOfContainer
        | Rule::IncrementOfNothing
        | Rule::IncrementOfHalf
        | Rule::IncrementBy(_)
        | Rule::IncrementInserted
        | Rule::IncrementInText => increments(rule, world, dice)?,
        Rule::PutInText
        | Rule::MakeOverCharacter
        | Rule::InsertMadeInText(_)
        | Rule::CharacterOf(_)
        | Rule::LongCharacter
        | Rule::NoCharacter
        | Rule::HugeCharacter => texts(rule, world, dice)?,
        Rule::DeleteOfNothing
        | Rule::DeleteOfHalf
        | Rule::DeleteWithValue
        | Rule::DeleteInserted
        | Rule::DeleteInOtherObject => deletions(rule, world, dice)?,
        Rule::MakeWithValue => {
            let action = dice.one([MAP, LIST, TEXT]);
            Op { action, value: value_of(dice.one([SIGNED, STRING, COUNTER])), ..put("made") }
        }
        _ => held(rule, world, dice)?,
    };
    Some((op, Vec::new()))
}

/// Some value of a type.
fn value_of(kind: u64) -> (u64, Vec<u8>) {
    let bytes = match kind {
        UNSIGNED => encode::unsigned(300),
        SIGNED | COUNTER | TIMESTAMP => encode::signed(-300),
        FLOAT => 1.5_f64.to_le_bytes().to_vec(),
        STRING => b"x".to_vec(),
        BYTES | 10.. => vec![1, 2, 3],
        _ => Vec::new(),
    };
    (kind, bytes)
}

fn increments(rule: Rule, world: &World, dice: &mut Dice) -> Option<Op> {
    let class = match rule {
        Rule::IncrementOfValue => dice.one([Class::MapValue, Class::ListItem, Class::ListValue]),
        Rule::IncrementOfContainer => dice.one([Class::MapMade, Class::ListMade, Class::TextMade]),
        Rule::IncrementInText => Class::Character,
        _ => Class::Counter,
    };
    let mut op = on(world, class, INCREMENT, dice)?;
    match rule {
        Rule::IncrementOfNothing => op.preds.clear(),
        Rule::IncrementOfHalf => drop((op.preds.len() > 1).then(|| op.preds.pop())?),
        Rule::IncrementBy(kind) => op.value = value_of(kind),
        Rule::IncrementInserted => op.insert = true,
        _ => {}
    }
    Some(op)
}

fn texts(rule: Rule, world: &World, dice: &mut Dice) -> Option<Op> {
    Some(match rule {
        Rule::PutInText => {
            let op = on(world, Class::Character, PUT, dice)?;
            Op { value: value_of(dice.one([STRING, SIGNED])), ..op }
        }
        Rule::MakeOverCharacter => on(world, Class::Character, dice.one([MAP, LIST, TEXT]), dice)?,
        Rule::InsertMadeInText(action) => inserted(world.container(TEXT, dice)?, action),
        Rule::CharacterOf(kind) => Op { value: value_of(kind), ..typed(world, dice)? },
        _ => {
            let content = match rule {
                Rule::LongCharacter => {
                    dice.one(["two", "e\u{301}", "👩‍👩‍👧", "\r\n", "a longer word in one operation"]).to_owned()
                }
                Rule::NoCharacter => String::new(),
                _ => "long ".repeat(20_000),
            };
            let op = typed(world, dice)?;
            Op { value: (STRING, content.into_bytes()), ..op }
        }
    })
}

fn deletions(rule: Rule, world: &World, dice: &mut Dice) -> Option<Op> {
    let class =
        dice.one([Class::MapValue, Class::ListItem, Class::Character, Class::Counter, Class::MapMade]);
    let mut op = on(world, class, DELETE, dice)?;
    match rule {
        Rule::DeleteOfNothing => op.preds.clear(),
        Rule::DeleteOfHalf => drop((op.preds.len() > 1).then(|| op.preds.pop())?),
        Rule::DeleteWithValue => op.value = value_of(dice.one([SIGNED, STRING, COUNTER, 2])),
        Rule::DeleteInserted => op.insert = true,
        _ => op.object = world.container(dice.one([MAP, LIST, TEXT]), dice),
    }
    Some(op)
}

fn counters(rule: Rule, draft: &Draft, world: &World, dice: &mut Dice) -> Option<(Op, Vec<Op>)> {
    let counter = |n: i64| Op { value: (COUNTER, encode::signed(n)), ..put("counter") };
    let on_own = |op: Op, by: i64| {
        let id = draft.id(draft.ops.len());
        let mut step = plain(op.object.clone(), op.key.clone(), INCREMENT, vec![id]);
        step.value = (SIGNED, encode::signed(by));
        (op, step)
    };
    Some(match rule {
        Rule::CounterAt(n) => {
            let (op, step) = on_own(counter(n), if n > 0 { 1 } else { -1 });
            (op, vec![step])
        }
        Rule::CounterBy(by) => {
            let mut op = on(world, Class::Counter, INCREMENT, dice)?;
            op.value = (SIGNED, encode::signed(by));
            (op, Vec::new())
        }
        Rule::CounterTwice(by) => {
            let (op, step) = on_own(counter(by), by);
            (op, vec![step.clone(), step])
        }
        _ => {
            let mut op = on(world, Class::Counter, INCREMENT, dice)?;
            op.value = (UNSIGNED, encode::unsigned(dice.one([1, u64::MAX, 1 << 63, i64::MAX as u64])));
            (op, Vec::new())
        }
    })
}

/// A value, or a key, that is not what it says.
fn held(rule: Rule, world: &World, dice: &mut Dice) -> Option<Op> {
    let base = match dice.roll(3) {
        0 => item(world, dice),
        1 => on(world, Class::MapValue, PUT, dice),
        _ => None,
    };
    let mut op = base.unwrap_or_else(|| put("held"));
    match rule {
        Rule::CounterHeld(n) => op.value = (COUNTER, encode::signed(n)),
        Rule::Float(bits) => op.value = (FLOAT, bits.to_le_bytes().to_vec()),
        Rule::Timestamp(n) => op.value = (TIMESTAMP, encode::signed(n)),
        Rule::UnknownType(kind) => op.value = (kind, vec![1; dice.roll(12)]),
        Rule::WrongLength(kind, length) => {
            op.value = value_of(kind);
            op.claims = Some(length);
            // Half of them with as many bytes as they claim.
            if length <= 11 && dice.once_in(2) {
                op.value.1.resize(length as usize, 0);
            }
        }
        Rule::LongNumber => {
            let kind = dice.one([UNSIGNED, SIGNED, COUNTER, TIMESTAMP]);
            op.value = (kind, encode::long(encode::signed(dice.roll(1_000) as i64), false));
        }
        Rule::TwoNumbers => op.value = (SIGNED, [encode::signed(5), encode::signed(6)].concat()),
        Rule::NoNumber => op.value = (dice.one([UNSIGNED, SIGNED, COUNTER, TIMESTAMP]), vec![0xff; 10]),
        Rule::NotUtf8 => {
            let bytes: [&[u8]; 4] = [&[0xff], &[0xc3], &[0xed, 0xa0, 0x80], &[b'a', 0xf5]];
            op.value = (STRING, dice.one(bytes).to_vec());
        }
        Rule::CutCharacter => op.value = (STRING, "é".as_bytes()[..1].to_vec()),
        Rule::HugeValue => op.value = (dice.one([STRING, BYTES]), vec![b'h'; 200_000]),
        Rule::EmptyKey => {
            (op.object, op.key, op.insert, op.preds) = (None, Key::Name(Vec::new()), false, Vec::new())
        }
        Rule::KeyOf(length) => {
            (op.object, op.key, op.insert, op.preds) =
                (None, Key::Name(vec![b'k'; length]), false, Vec::new());
        }
        Rule::NulKey => {
            let key = dice.one(["\0", "a\0b", "\u{ffff}", "__proto__", "\u{202e}", "🎉"]);
            (op.object, op.key, op.insert, op.preds) = (None, Key::Name(key.into()), false, Vec::new());
        }
        Rule::KeyNotUtf8 => {
            (op.object, op.key, op.insert, op.preds) = (None, Key::Name(vec![b'k', 0xff]), false, Vec::new());
        }
        _ => return None,
    }
    Some(op)
}
