//! Attacks of several operations or changes that are harmless one by one: nesting, and amounts.

use crate::dice::Dice;
use crate::draft::{DELETE, Draft, INCREMENT, Id, Key, LIST, MAP, Op, PUT, SIGNED, STRING, TEXT, put};
use crate::encode;
use crate::rules::{inserted, plain};
use crate::world::World;
use syncd_engine::document::EncodedChange;
use syncd_schema::Digest;

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// Containers in containers within one change: so many of an action, or of all in turn.
    Nested(usize, Option<u64>),
    /// The same, some levels a change.
    NestedBy(usize, usize),
    /// Containers below the deepest that is there.
    BelowDeepest(usize),
    /// Puts on one key that do not replace each other.
    PutsOnKey(usize),
    /// Each replaces all before it.
    PutsOverAll(usize),
    /// Increments of one counter, all of the first.
    Increments(usize),
    /// Deletions of one value.
    Deletions(usize),
    /// Items at the head of one list.
    AtHead(usize),
    /// Items each after the one before, in the order that costs most.
    Backwards(usize),
    /// Values over one item.
    PutsOnItem(usize),
    /// Containers without content.
    Containers(usize),
    /// Changes one after the other, without operations.
    EmptyChanges(usize),
    /// Changes beside each other.
    Beside(usize),
    /// Texts of one character.
    Texts(usize),
}

pub fn all() -> Vec<Chain> {
    use Chain as C;
    let mut all = vec![C::Nested(59, None), C::Nested(10_000, None), C::NestedBy(200, 3), C::NestedBy(70, 1)];
    all.extend([62, 63, 64, 65, 66, 100, 1_000].map(|levels| C::Nested(levels, Some(MAP))));
    all.extend([64, 65, 1_000, 10_000].map(|levels| C::Nested(levels, Some(LIST))));
    all.extend([1, 3, 4, 5, 6, 7, 50, 5_000].map(C::BelowDeepest));
    for many in [20, 500] {
        all.extend([C::PutsOnKey(many), C::PutsOverAll(many), C::Increments(many), C::Deletions(many)]);
        all.extend([C::AtHead(many), C::Backwards(many), C::PutsOnItem(many), C::Containers(many)]);
        all.extend([C::Beside(many / 20), C::EmptyChanges(many / 20), C::Texts(many)]);
    }
    all
}

/// What a change may be at most: one of each kind, as large as it is let in.
pub fn heaviest(most: usize) -> Vec<Chain> {
    use Chain as C;
    vec![
        C::PutsOnKey(most),
        C::PutsOverAll((most as f64 * 8.0).sqrt() as usize),
        C::Increments(most),
        C::Deletions(most),
        C::AtHead(most),
        C::Backwards(most),
        C::PutsOnItem(most),
        C::Containers(most),
        C::Texts(most / 2),
    ]
}

/// The changes of a chain on top of a draft's header, whose own operations are dropped.
pub fn build(chain: Chain, draft: &Draft, world: &World, dice: &mut Dice) -> Vec<EncodedChange> {
    let empty = Draft { ops: Vec::new(), ..draft.clone() };
    match chain {
        Chain::Nested(levels, action) => vec![nested(empty, None, levels, action).write()],
        Chain::BelowDeepest(levels) => {
            let (deepest, action) = deepest(world);
            let mut draft = empty;
            if let Some(object) = deepest {
                let made = dice.one([MAP, LIST]);
                draft.ops.push(inside(&object, action, made));
                let last = draft.id(0);
                draft = nested(draft, Some((last, made)), levels.saturating_sub(1), None);
            }
            vec![draft.write()]
        }
        Chain::NestedBy(levels, each) => line(empty, levels / each, |draft, last: Option<(Id, u64)>| {
            let draft = nested(draft, last, each, None);
            let action = draft.ops.last().map_or(MAP, |op| op.action);
            let last = draft.id(draft.ops.len() - 1);
            (draft, Some((last, action)))
        }),
        Chain::EmptyChanges(many) => line(empty, many, |draft, last: Option<()>| (draft, last)),
        Chain::Beside(many) => (0..many)
            .map(|n| {
                let actor = [vec![0x50 + (n % 16) as u8; 8], (n as u64).to_be_bytes().to_vec()].concat();
                Draft { actor, seq: 1, ops: vec![put("beside")], ..empty.clone() }.write()
            })
            .collect(),
        _ => vec![many(chain, empty).write()],
    }
}

/// Changes of one actor, each on top of the one before.
fn line<T>(
    first: Draft,
    changes: usize,
    mut fill: impl FnMut(Draft, Option<T>) -> (Draft, Option<T>),
) -> Vec<EncodedChange> {
    let (mut next, mut state, mut written) = (first, None, Vec::new());
    for _ in 0..changes {
        let (draft, after) = fill(next.clone(), state.take());
        state = after;
        let change = draft.write();
        next = Draft {
            deps: vec![Digest(change.hash.0)],
            seq: draft.seq + 1,
            start_op: draft.next(),
            ops: Vec::new(),
            ..draft
        };
        written.push(change);
    }
    written
}

/// An operation that makes a container in another.
fn inside(object: &Id, action: u64, made: u64) -> Op {
    match action {
        LIST => inserted(object.clone(), made),
        _ => plain(Some(object.clone()), Key::Name(b"in".to_vec()), made, Vec::new()),
    }
}

fn nested(mut draft: Draft, below: Option<(Id, u64)>, levels: usize, action: Option<u64>) -> Draft {
    let mut here = below;
    for level in 0..levels {
        let made = action.unwrap_or(if level % 3 == 0 { LIST } else { MAP });
        draft.ops.push(match &here {
            Some((object, action)) => inside(object, *action, made),
            None => plain(None, Key::Name(b"deep".to_vec()), made, Vec::new()),
        });
        here = Some((draft.id(draft.ops.len() - 1), made));
    }
    draft
}

fn deepest(world: &World) -> (Option<Id>, u64) {
    let made = world.known.iter().filter(|known| matches!(known.op.action, MAP | LIST));
    let depth = |id: &Id| {
        let (mut depth, mut here) = (0, Some(id.clone()));
        while let Some(known) = here.as_ref().and_then(|id| world.get(id)) {
            depth += 1;
            here = known.op.object.clone();
        }
        depth
    };
    let deepest = made.max_by_key(|known| depth(&known.id));
    deepest.map_or((None, MAP), |known| (Some(known.id.clone()), known.op.action))
}

/// Very many operations of one kind.
fn many(chain: Chain, mut draft: Draft) -> Draft {
    let first = draft.id(0);
    let own = |draft: &Draft, index: usize| draft.id(index);
    let on_key = |action, preds| plain(None, Key::Name(b"many".to_vec()), action, preds);
    match chain {
        Chain::PutsOnKey(many) => draft.ops = vec![on_key(PUT, Vec::new()); many],
        Chain::PutsOverAll(many) => {
            for n in 0..many {
                let preds = (0..n).map(|index| own(&draft, index)).collect();
                draft.ops.push(on_key(PUT, preds));
            }
        }
        Chain::Increments(many) => {
            draft.ops = vec![on_key(INCREMENT, vec![first]); many];
            draft.ops[0] = Op { value: (8, encode::signed(1)), ..on_key(PUT, Vec::new()) };
        }
        Chain::Deletions(many) => {
            draft.ops = vec![on_key(DELETE, vec![first]); many];
            draft.ops[0] = on_key(PUT, Vec::new());
        }
        Chain::Containers(many) => {
            draft.ops = (0..many)
                .map(|n| {
                    plain(None, Key::Name(format!("c{n}").into_bytes()), [MAP, LIST, TEXT][n % 3], Vec::new())
                })
                .collect();
        }
        Chain::Texts(many) => {
            for n in 0..many {
                draft.ops.push(plain(None, Key::Name(format!("t{n}").into_bytes()), TEXT, Vec::new()));
                let text = draft.id(draft.ops.len() - 1);
                draft.ops.push(Op { value: (STRING, b"x".to_vec()), ..inserted(text, PUT) });
            }
        }
        Chain::AtHead(many) | Chain::Backwards(many) | Chain::PutsOnItem(many) => {
            draft.ops.push(on_key(LIST, Vec::new()));
            draft.ops.push(inserted(first.clone(), PUT));
            let item = own(&draft, 1);
            for n in 2..many {
                let mut op = Op { value: (SIGNED, encode::signed(n as i64)), ..inserted(first.clone(), PUT) };
                if !matches!(chain, Chain::AtHead(_)) {
                    op.key = Key::Element(item.clone());
                    op.insert = matches!(chain, Chain::Backwards(_));
                }
                draft.ops.push(op);
            }
        }
        _ => {}
    }
    draft
}
