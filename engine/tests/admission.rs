//! Every device admits the same, in whatever order, batches and company entries arrive, whatever its clock says and
//! whatever its own policy forbids it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use automerge::{Automerge, ChangeHash, ReadDoc};
use common::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::message::Segment;
use syncd_schema::{DeviceId, LogId, LogSeq, OperationId, OperationStatus, Role, UnixMicros, domain};

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

/// Choices that repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 += 1;
        let hash = domain::hash("dice", &[&self.0.to_be_bytes()]);
        (u64::from_be_bytes(*hash.0.first_chunk().unwrap()) % sides as u64) as usize
    }
}

/// What was written: for each log its segments as they were signed, and every operation.
#[derive(Default)]
struct Written {
    logs: BTreeMap<LogId, Vec<Segment>>,
    operations: BTreeSet<OperationId>,
}

impl Written {
    /// Takes up what a device has written since the last time.
    fn take(&mut self, author: &mut Engine) {
        let log = author.own_log();
        let segments = self.logs.entry(log).or_default();
        let from = segments.last().map_or(LogSeq(0), |last| last.first.plus(u64::from(last.count)));
        segments.extend(author.segment(&log, from, None).expect("readable"));
        let all = author.operations(None, 1_000).expect("readable");
        self.operations.extend(all.into_iter().map(|view| view.operation));
    }
}

fn call(engine: &mut Engine, actor: &str, intent: Intent, now: UnixMicros) -> bool {
    let request = WriteRequest::new(actor.parse().unwrap(), intent);
    engine.write(&[request], now).expect("the disk works").0.remove(0).is_ok()
}

fn patch(id: &str, value: Value) -> Intent {
    Intent::Edit { object: id.parse().unwrap(), base: None, edit: Edit::MergePatch(value) }
}

fn add(text: &str) -> Intent {
    Intent::SetPolicy { text: text.to_owned(), beside: true }
}

const NO_NEW: &str = "@id(\"no-new\") forbid(principal, action == Action::\"create\", resource);";
const NO_END: &str = "@id(\"no-end\") forbid(principal, action == Action::\"delete\", resource);";
const LOOK: &str = "@id(\"look\") @review(\"Ada's are looked at.\") forbid(principal == User::\"ada\", \
                    action == Action::\"edit\", resource == Object::\"n3\");";
const NO_BOB: &str =
    "@id(\"no-bob\") forbid(principal == User::\"bob\", action, resource == Object::\"n2\");";

/// Policies that devices may have of their own: none, and some that would refuse or ask about nearly all of what arrives.
const OWN: [Option<&str>; 5] = [
    None,
    Some("forbid(principal, action, resource);"),
    Some(
        "permit(principal, action, resource); @review(\"Look.\") forbid(principal, action in Action::\"write\", resource);",
    ),
    Some("permit(principal is Agent, action, resource);"),
    Some(
        "permit(principal, action, resource) when { context.size < 40 }; forbid(principal == User::\"bob\", action, resource);",
    ),
];

/// Four authors under heads that drift apart: the owner and an admin add bundles at the same time, a member writes on
/// under old ones, and one whose entries are made by hand writes what the bundles it names forbid.
fn history(newcomers: &[u64]) -> (Written, Vec<Engine>, Vec<Engine>) {
    let (mut ada, _) = owner(1);
    let (mut eve, _) = member(&mut ada, 2, Role::Admin);
    let (mut bob, _) = member(&mut ada, 3, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 4, Role::Member);
    let fresh: Vec<Engine> = newcomers.iter().map(|seed| member(&mut ada, *seed, Role::Member).0).collect();
    let mut written = Written::default();
    for id in ["n1", "n2", "n3"] {
        put(&mut ada, id, json!({ "a": 0, "b": 0 }), at(1));
    }
    sync(&mut ada, &mut eve, at(2));
    sync(&mut ada, &mut bob, at(2));
    let old = ada.governance().heads.clone();
    hand.governance.clone_from(&old);
    let mut by_hand = vec![hand.session(), hand.birth("h1", json!({ "a": 1 }))];
    let mut segments = vec![hand.send(&by_hand)];

    assert!(call(&mut ada, "user:ada", add(NO_NEW), at(3)));
    written.take(&mut ada);
    assert!(call(&mut eve, "user:eve", add(NO_END), at(3)));
    written.take(&mut eve);
    assert!(!call(
        &mut ada,
        "user:ada",
        Intent::Put { collection: "notes".parse().unwrap(), object: None, value: json!({}) },
        at(4)
    ));
    assert!(call(&mut bob, "user:bob", patch("n1", json!({ "a": "bob" })), at(4)));
    assert!(call(
        &mut bob,
        "user:bob",
        Intent::Put {
            collection: "notes".parse().unwrap(),
            object: Some("n4".parse().unwrap()),
            value: json!({ "c": 1 })
        },
        at(5)
    ));
    written.take(&mut bob);
    assert!(call(&mut bob, "user:bob", Intent::Delete { object: "n2".parse().unwrap() }, at(6)));
    assert!(call(&mut ada, "user:ada", patch("n1", json!({ "a": "ada" })), at(6)));
    assert!(call(&mut ada, "agent:bot", patch("n2", json!({ "b": "bot" })), at(7)), "asked about");
    assert!(call(&mut eve, "user:eve", patch("n3", json!({ "a": "eve", "b": "eve" })), at(7)));
    written.take(&mut ada);

    // What the hand writes under the owner's bundle is forbidden there, and under the old ones it is not.
    hand.governance = ada.governance().heads.clone();
    let edit = hand.edit(&mut ada, "n3", json!({ "a": "hand" }), hand.actor());
    by_hand = vec![edit, hand.birth("h2", json!({ "a": 2 }))];
    segments.push(hand.send(&by_hand));
    for segment in &segments {
        ada.receive(hand.identity.device(), segment, at(8)).expect("received");
    }
    sync(&mut ada, &mut eve, at(8));
    let both = eve.governance().heads.clone();
    assert_eq!(both.len(), 2, "two bundles, neither knowing the other");
    assert!(call(&mut eve, "user:eve", add(LOOK), at(9)));
    assert!(!call(&mut eve, "user:eve", Intent::Delete { object: "n1".parse().unwrap() }, at(9)));
    written.take(&mut eve);
    assert!(call(&mut ada, "user:ada", add(NO_BOB), at(9)));
    written.take(&mut ada);
    hand.governance = eve.governance().heads.clone();
    let edit = hand.edit(&mut ada, "n3", json!({ "b": "hand" }), hand.actor());
    by_hand = vec![edit, hand.birth("h3", json!({ "a": 3 }))];
    segments.push(hand.send(&by_hand));
    sync(&mut ada, &mut bob, at(10));
    assert!(!call(&mut bob, "user:bob", patch("n2", json!({ "a": 1 })), at(11)));
    assert!(call(&mut bob, "user:bob", patch("n3", json!({ "a": "bob" })), at(11)));
    written.take(&mut bob);
    written.take(&mut eve);
    written.logs.insert(hand.log, segments);
    (written, vec![ada, eve, bob], fresh)
}

/// What must be equal on all devices.
#[derive(Debug, PartialEq)]
struct State {
    operations: BTreeMap<OperationId, OperationStatus>,
    objects: BTreeMap<String, (Value, Vec<String>)>,
    cards: BTreeSet<(String, String, String, &'static str)>,
    heads: BTreeSet<String>,
}

fn state(engine: &mut Engine) -> State {
    let operations = engine.operations(None, 1_000).expect("readable");
    let objects: Vec<_> = engine.list(None).expect("readable").into_iter().map(|row| row.object).collect();
    let cards = engine.cards(false).expect("readable").into_iter();
    State {
        operations: operations.into_iter().map(|view| (view.operation, view.status)).collect(),
        cards: cards.map(|c| (c.card.to_string(), c.object.to_string(), c.path, c.kind)).collect(),
        objects: objects
            .into_iter()
            .map(|id| {
                let view = engine.get(&id).expect("readable").expect("listed");
                let heads: BTreeSet<String> = view.heads.iter().map(ToString::to_string).collect();
                (id.to_string(), (view.value, heads.into_iter().collect()))
            })
            .collect(),
        heads: engine.governance().heads.iter().map(ToString::to_string).collect(),
    }
}

/// Hands a newcomer everything, in an order of the dice; what it cannot place yet comes again later.
fn deliver(
    engine: &mut Engine,
    written: &Written,
    peers: &[DeviceId],
    dice: &mut Dice,
    source: &mut [Engine],
) {
    let ends: BTreeMap<LogId, LogSeq> = written
        .logs
        .iter()
        .map(|(log, segments)| (*log, segments.last().map(|l| l.first.plus(u64::from(l.count))).unwrap()))
        .collect();
    for _ in 0..5_000 {
        let open: Vec<LogId> =
            ends.iter().filter(|(log, end)| engine.size_of_log(log) < **end).map(|(log, _)| *log).collect();
        if open.is_empty() {
            return;
        }
        let log = open[dice.roll(open.len())];
        let from = engine.size_of_log(&log);
        // As it was signed first, or all that somebody holds by now.
        let whole = dice.roll(4) == 0;
        let holder = &mut source[dice.roll(source.len())];
        let segment = match holder.segment(&log, from, None).expect("readable").filter(|_| whole) {
            Some(segment) => segment,
            None => match written.logs[&log].iter().find(|segment| segment.first == from) {
                Some(segment) => segment.clone(),
                None => continue,
            },
        };
        let now = at(dice.roll(1_000_000) as u64);
        let peer = peers[dice.roll(peers.len())];
        // Refused while its author is not known to be a member.
        let _ = engine.receive(peer, &segment, now);
        if dice.roll(40) == 0 {
            engine.set_own_policy(OWN[dice.roll(OWN.len())].map(str::to_owned)).expect("accepted");
        }
        if dice.roll(3) == 0 {
            let _ = engine.receive(peer, &segment, now);
        }
    }
    panic!("some of it was never taken");
}

#[test]
fn every_device_admits_the_same() {
    let newcomers: Vec<u64> = (10..22).collect();
    let (written, mut authors, mut fresh) = history(&newcomers);
    for now in [20, 21] {
        let [ada, eve, bob] = &mut authors[..] else { panic!("three") };
        for segment in written.logs.values().flatten() {
            let _ = ada.receive(eve.device(), segment, at(now));
        }
        sync(ada, eve, at(now));
        sync(eve, bob, at(now));
        sync(bob, ada, at(now));
    }
    let peers: Vec<DeviceId> = authors.iter().map(Engine::device).collect();
    let expected = state(&mut authors[0]);
    let count = |status| expected.operations.values().filter(|found| **found == status).count();
    assert_eq!(count(OperationStatus::Failed), 2, "h2 and h3: {expected:#?}");
    assert!(
        count(OperationStatus::AwaitingDecision) >= 1 && count(OperationStatus::Blocked) == 0,
        "{expected:#?}"
    );
    assert!(expected.cards.len() >= 3, "{expected:#?}");
    assert!(expected.objects.contains_key("h1") && !expected.objects.contains_key("h2"));
    assert!(written.operations.iter().all(|operation| expected.operations.contains_key(operation)));
    for author in &mut authors[1..] {
        assert_eq!(state(author), expected);
    }
    for (seed, engine) in fresh.iter_mut().enumerate() {
        let mut dice = Dice(seed as u64 * 77 + 5);
        engine.set_own_policy(OWN[dice.roll(OWN.len())].map(str::to_owned)).expect("accepted");
        deliver(engine, &written, &peers, &mut Dice(seed as u64 * 1_000_003), &mut authors);
        let mut found = state(engine);
        // What a newcomer has written itself, the others do not have.
        found.operations.retain(|operation, _| expected.operations.contains_key(operation));
        assert_eq!(found, expected, "order {seed}");
    }
}

/// A policy may look at what an entry does not say. What only the author's device could be permitted is refused there too:
/// else it would show for ever what nobody else takes.
#[test]
fn what_others_would_refuse_is_not_written() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    put(&mut ada, "n1", json!({ "a": 0 }), at(1));
    let text = "permit(principal, action, resource) unless { action == Action::\"edit\" };
        permit(principal, action == Action::\"edit\", resource) when { context.changed.contains(\"/a\") };
        permit(principal, action == Action::\"edit\", resource) when { context.origin == Origin::\"local\" };";
    let set = Intent::SetPolicy { text: text.to_owned(), beside: false };
    assert!(call(&mut ada, "user:ada", set, at(2)));
    assert!(!call(&mut ada, "user:ada", patch("n1", json!({ "a": 1 })), at(3)));
    put(&mut ada, "n2", json!({ "a": 0 }), at(4));
    sync(&mut ada, &mut bob, at(5));
    assert_eq!(value(&mut ada, "n1"), value(&mut bob, "n1"));
    let failed =
        |engine: &Engine| engine.operations(Some(OperationStatus::Failed), 100).expect("readable").len();
    assert_eq!((failed(&ada), failed(&bob)), (0, 0));
}

/// A policy that looks at the size of a change sees the same on every device: at the edge, one byte decides for all.
#[test]
fn sizes_are_judged_alike_by_the_author_and_by_others() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    put(&mut ada, "n1", json!({ "a": "" }), at(1));
    put(&mut ada, "gone", json!({}), at(1));
    let edit = |length: usize| patch("n1", json!({ "a": "x".repeat(length) }));
    let size_of = |engine: &mut Engine| {
        let last = engine.history(&"n1".parse().unwrap()).expect("readable").pop().expect("edited");
        let bytes =
            |doc: &Automerge| doc.get_change_by_hash(&ChangeHash(last.change.0)).map(|c| c.raw_bytes().len());
        engine.with_object(&"n1".parse().unwrap(), bytes).expect("readable").flatten().expect("there")
    };
    assert!(call(&mut ada, "user:ada", edit(20), at(2)));
    let largest = size_of(&mut ada);
    let limit = format!(
        "permit(principal, action, resource);
         forbid(principal, action == Action::\"edit\", resource) when {{ context.size > {largest} }};
         forbid(principal, action == Action::\"delete\", resource) when {{ context.size > 0 }};
         @review(\"looked at\") forbid(principal == User::\"bob\", action == Action::\"edit\", resource);"
    );
    let set = Intent::SetPolicy { text: limit, beside: false };
    assert!(call(&mut ada, "user:ada", set, at(3)));
    sync(&mut ada, &mut bob, at(4));
    let mut taken = Vec::new();
    for length in 0..40 {
        taken.push(call(&mut ada, "user:ada", edit(length), at(5 + length as u64)));
        assert!(size_of(&mut ada) <= largest, "what is written is what was judged");
        sync(&mut ada, &mut bob, at(5 + length as u64));
        assert_eq!(value(&mut ada, "n1"), value(&mut bob, "n1"), "length {length}");
    }
    assert!(taken[0] && !taken[39] && taken.windows(2).all(|pair| pair[0] || !pair[1]), "{taken:?}");
    // A proposal and a deletion are judged by what they will be, too.
    assert!(call(&mut ada, "user:bob", edit(10), at(60)));
    assert!(!call(&mut ada, "user:bob", edit(400), at(61)));
    assert!(!call(&mut ada, "user:ada", Intent::Delete { object: "gone".parse().unwrap() }, at(62)));
    sync(&mut ada, &mut bob, at(63));
    let state = (state(&mut ada), state(&mut bob));
    assert_eq!(state.0.cards, state.1.cards);
    assert_eq!((state.0.cards.len(), state.0.objects), (1, state.1.objects));
    assert!(bob.operations(Some(OperationStatus::Failed), 100).expect("readable").is_empty());
}

/// What others only want looked at is not done by its author alone.
#[test]
fn what_others_would_look_at_is_a_proposal() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    put(&mut ada, "n1", json!({ "a": 0 }), at(1));
    let text = "permit(principal, action, resource);
        @review(\"look\") forbid(principal, action == Action::\"edit\", resource)
        unless { context.changed.contains(\"/a\") };";
    assert!(call(&mut ada, "user:ada", Intent::SetPolicy { text: text.to_owned(), beside: false }, at(2)));
    assert!(call(&mut ada, "user:ada", patch("n1", json!({ "a": 1 })), at(3)));
    sync(&mut ada, &mut bob, at(4));
    let (ada, bob) = (state(&mut ada), state(&mut bob));
    assert_eq!((&ada.cards, &ada.objects), (&bob.cards, &bob.objects));
    assert_eq!(ada.cards.len(), 1);
}
