//! One attack: a document, changes that somebody hostile has made for it, and what becomes of both.

use crate::aftermath::{self, Failure, incoming, step};
use crate::bombs;
use crate::chains::{self, Chain};
use crate::dice::Dice;
use crate::documents::SHAPES;
use crate::draft::{Draft, put};
use crate::edits;
use crate::form::{self, Form};
use crate::mutate::{self, MUTATIONS};
use crate::rules::{self, Rule};
use crate::world::World;
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT, ReadDoc};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use syncd_engine::document::EncodedChange;
use syncd_engine::guard::{self, Incoming, Outcome, Reason};

/// How many attacks share their documents before there are new ones.
pub const VARIANTS: u64 = 2_000;

/// Keeps the documents between attacks.
#[derive(Default)]
pub struct Worlds(HashMap<(usize, u64, bool), Rc<World>>);

impl Worlds {
    fn some(&mut self, seed: u64, dice: &mut Dice) -> Rc<World> {
        let mut left = dice.roll(SHAPES.iter().map(|(_, weight)| weight).sum());
        let mut shape = 0;
        while left >= SHAPES[shape].1 {
            left -= SHAPES[shape].1;
            shape += 1;
        }
        let key = (shape, seed / VARIANTS, dice.once_in(4));
        if self.0.keys().any(|(_, variant, _)| *variant != key.1) {
            self.0.clear();
        }
        let world = self.0.entry(key).or_insert_with(|| Rc::new(World::new(SHAPES[shape].0, key.1, key.2)));
        Rc::clone(world)
    }
}

/// What is sent, and the rule it breaks.
pub struct Attack {
    pub world: Rc<World>,
    pub rule: String,
    pub changes: Vec<EncodedChange>,
}

/// What became of it.
pub struct Verdict {
    /// What the guard said of the last change.
    pub outcome: String,
    pub failure: Option<Failure>,
    pub took: Duration,
}

/// The attack of a seed.
pub fn attack(worlds: &mut Worlds, seed: u64) -> Attack {
    let dice = &mut Dice::new(seed);
    let world = worlds.some(seed, dice);
    let (rule, changes) = aimed_or_mutated(&world, dice);
    Attack { world, rule, changes }
}

/// The name of a rule, without what it is broken with.
pub fn name(rule: &str) -> &str {
    rule.split(['(', ':', ' ']).next().unwrap_or_default()
}

static RULES: LazyLock<Vec<Vec<Rule>>> = LazyLock::new(|| by_name(rules::all()));
static FORMS: LazyLock<Vec<Vec<Form>>> = LazyLock::new(|| by_name(form::all()));
static CHAINS: LazyLock<Vec<Vec<Chain>>> = LazyLock::new(|| by_name(chains::all()));

/// Rules by their names; those about references three times, since there is most to point at.
fn by_name<T: Copy + Debug>(all: Vec<T>) -> Vec<Vec<T>> {
    let mut by_name: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for rule in all {
        by_name.entry(name(&format!("{rule:?}")).to_owned()).or_default().push(rule);
    }
    let times = |name: &str| if ["Object", "Element", "Pred"].contains(&name) { 3 } else { 1 };
    by_name.into_iter().flat_map(|(name, rules)| vec![rules; times(&name)]).collect()
}

/// One of some rules: each name as often as any other, whatever it may be broken with.
fn some<T: Copy>(rules: &[Vec<T>], dice: &mut Dice) -> T {
    *dice.pick(rules).and_then(|rules| dice.pick(rules)).expect("there are some")
}

fn aimed_or_mutated(world: &World, dice: &mut Dice) -> (String, Vec<EncodedChange>) {
    let draft = draft(world, dice);
    if dice.once_in(2) {
        let mutation = dice.one(MUTATIONS);
        let other = self::draft(world, dice);
        return (format!("{mutation:?}"), vec![mutate::mutated(mutation, &draft, &other, dice)]);
    }
    // Until one is found that this document has something for.
    loop {
        match dice.roll(16) {
            0 => {
                let chain: Chain = some(&CHAINS, dice);
                return (format!("{chain:?}"), chains::build(chain, &draft, world, dice));
            }
            1 => {
                let doc = world.doc.as_ref().unwrap_or(&world.base);
                let (name, change) = dice.pick(&bombs::bombs(doc)).expect("there are some").clone();
                return (format!("bomb: {name}"), vec![change]);
            }
            2..=5 => {
                let form: Form = some(&FORMS, dice);
                if let Some(change) = form::broken(form, &draft, world, dice) {
                    return (format!("{form:?}"), vec![change]);
                }
            }
            _ => {
                let rule: Rule = some(&RULES, dice);
                let mut broken = draft.clone();
                if rules::apply(rule, &mut broken, world, dice).is_some() {
                    let mut name = format!("{rule:?}");
                    // Now and then a second one, which may hide the first.
                    if dice.once_in(8) {
                        let second: Rule = some(&RULES, dice);
                        if rules::apply(second, &mut broken, world, dice).is_some() {
                            name = format!("{name} and another");
                        }
                    }
                    return (name, vec![broken.write()]);
                }
            }
        }
    }
}

/// An honest change on a document, as a list of operations.
pub fn draft(world: &World, dice: &mut Dice) -> Draft {
    let mut copy = world.base.clone();
    let known = dice.pick(&world.known).map(|known| known.id.actor.clone());
    let is_past = world.doc.as_ref().is_some_and(|doc| doc.get_heads() != world.base.get_heads());
    // Whoever has written on it before goes on, unless it has gone on elsewhere.
    let actor = known.filter(|_| !is_past && dice.once_in(3));
    let actor = actor.unwrap_or_else(|| vec![dice.one([9, 0, 0xff, 0x55]); dice.one([16, 16, 1, 20])]);
    let edits = 1 + dice.roll(6);
    if let Some(change) = edits::change(&mut copy, &actor, edits, dice) {
        return Draft::of(&change);
    }
    copy.set_actor(ActorId::from(actor.as_slice()));
    let mut tx = copy.transaction();
    tx.put(ROOT, "always", dice.number()).expect("put");
    let change = tx.commit().0.and_then(|hash| copy.get_change_by_hash(&hash));
    change.map_or_else(|| unreachable!("a put of a new value is a change"), |change| Draft::of(&change))
}

/// What the guard said, in a word.
pub fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => match &refused.reason {
            Reason::Panicked { at } => format!("Panicked at {at}"),
            reason => format!("{reason:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
        },
        Outcome::Missing(_) => "Missing".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Whether it came as far as Automerge, where it had to be caught.
pub fn is_late(outcome: &str) -> bool {
    ["Panicked", "Undecodable", "Inapplicable", "NotRebuilt", "NotReloadable"]
        .iter()
        .any(|word| outcome.starts_with(word))
}

/// Offers the changes and looks at what they leave.
pub fn run(attack: &Attack, seed: u64) -> Verdict {
    let dice = &mut Dice::new(!seed);
    let before = Instant::now();
    let mut outcome = String::new();
    let failure = offer(attack, &mut outcome, dice).err();
    Verdict { outcome, failure, took: before.elapsed() }
}

fn offer(attack: &Attack, outcome: &mut String, dice: &mut Dice) -> Result<(), Failure> {
    let Attack { world, changes, .. } = attack;
    let doc = world.doc.as_ref();
    let batch: Vec<Incoming<'_>> = changes.iter().map(incoming).collect();
    let admission = step("the guard", || guard::admit(doc, &batch))?;
    *outcome = admission.outcomes.last().map(word).unwrap_or_default();
    let outcomes: Vec<String> = admission.outcomes.iter().map(word).collect();
    if outcomes.iter().any(|outcome| outcome == "Applied" || is_late(outcome)) {
        is_judged_alike(attack, &outcomes)?;
    }
    let Some(after) = admission.doc else { return Ok(()) };
    let arrived: Vec<EncodedChange> = changes
        .iter()
        .zip(&admission.outcomes)
        .filter(|(_, outcome)| **outcome == Outcome::Applied)
        .map(|(change, _)| change.clone())
        .collect();
    aftermath::survives(doc, *after, &arrived, dice)
}

/// Whatever else a device has, and in whatever batches the changes come, they are let in or refused alike: else two
/// devices with the same entries would differ for ever.
fn is_judged_alike(attack: &Attack, expected: &[String]) -> Result<(), Failure> {
    let Attack { world, changes, .. } = attack;
    let alike = |name: &str, doc: Option<&Automerge>| {
        let mut here = doc.cloned();
        let mut found = Vec::new();
        for change in changes {
            let admission = step("the guard", || guard::admit(here.as_ref(), &[incoming(change)]))?;
            found.extend(admission.outcomes.iter().map(word));
            here = admission.doc.map(|doc| *doc).or(here);
        }
        // Of those refused it does not matter why, nor where in the library it was noticed.
        let is_in = |outcome: &String| outcome == "Applied" || outcome == "Present";
        // Two changes of one actor and number are a fork of their author, where the first wins everywhere.
        let is_fork = |outcome: &String| outcome == "Equivocation";
        let differs = expected
            .iter()
            .zip(&found)
            .find(|(one, other)| is_in(one) != is_in(other) && !is_fork(one) && !is_fork(other));
        match differs {
            Some((one, other)) => Err(Failure::new(name, format!("{one} / {other}"))),
            None => Ok(()),
        }
    };
    if changes.len() > 1 {
        alike("one by one judged otherwise", world.doc.as_ref())?;
    }
    let Some(doc) = &world.doc else { return Ok(()) };
    alike("on its own past judged otherwise", Some(&world.base))?;
    if doc.stats().num_ops < 4_000 {
        // Beside much else that has happened meanwhile: more operations than are loaded again.
        let mut more = doc.clone();
        crate::documents::commit(&mut more, &[0xcc; 16], |tx| {
            for n in 0..300 {
                tx.put(ROOT, format!("meanwhile {n}"), n).expect("put");
            }
        });
        alike("beside other work judged otherwise", Some(&more))?;
    }
    Ok(())
}

/// An honest change with one more operation, written by hand: what is not broken passes.
pub fn unbroken(world: &World, dice: &mut Dice) -> EncodedChange {
    let mut draft = draft(world, dice);
    draft.ops.push(put("one more, by hand"));
    draft.write()
}
