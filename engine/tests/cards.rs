//! Cards: what is asked is asked on every device alike, every answer does what it says there, and nothing is decided by
//! accident.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::{Value, json};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{CardView, ObjectView, Resolve, ResolveError, UndoError};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_evidence::RecordKind;
use syncd_schema::{Digest, EntryKind, ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Ada and Bob hold the same object and have not heard of each other since.
fn apart(value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", value, at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut bob, &mut ada, at(2));
    (ada, bob)
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

fn open(engine: &Engine) -> Vec<Digest> {
    let mut open: Vec<Digest> =
        engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
    open.sort_unstable();
    open
}

fn card(engine: &mut Engine, card: Digest) -> CardView {
    engine.card(&card).expect("readable").expect("known")
}

/// What two devices ask once they have met, which must be the same.
fn meet(ada: &mut Engine, bob: &mut Engine) -> Vec<Digest> {
    sync(bob, ada, at(1_000));
    let cards = open(ada);
    assert_eq!(cards, open(bob));
    let (here, there) = (view(ada), view(bob));
    assert_eq!((&here.value, here.state, &here.heads), (&there.value, there.state, &there.heads));
    assert_eq!(here.state == ObjectState::Conflicted, !cards.is_empty(), "{here:?}");
    for engine in [ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
        assert_eq!(engine.status().unwrap().open_cards, cards.len() as u64);
    }
    cards
}

fn answer(card: Digest, choice: Choice) -> Resolve {
    Resolve { card, choice, value: None, pick: None, because: None }
}

fn resolve_as(engine: &mut Engine, actor: &str, resolve: Resolve, n: u64) -> Result<Written, WriteError> {
    let request = WriteRequest::new(actor.parse().unwrap(), Intent::Resolve(resolve));
    engine.write(&[request], at(n)).expect("the disk works").0.remove(0)
}

fn resolve(engine: &mut Engine, resolve: Resolve, n: u64) -> Written {
    resolve_as(engine, "user:ada", resolve, n).expect("resolved")
}

/// Everything in a workspace that a person could compare.
fn portrait(engine: &mut Engine) -> Value {
    let objects = engine.list(None).unwrap();
    let views: Vec<ObjectView> =
        objects.iter().map(|row| engine.get(&row.object).unwrap().unwrap()).collect();
    let plain: Vec<Value> = views
        .iter()
        .map(|view| serde_json::to_value((&view.object, &view.value, view.state)).unwrap())
        .collect();
    json!({ "objects": plain, "cards": open(engine).iter().map(ToString::to_string).collect::<Vec<_>>() })
}

#[test]
fn a_card_shows_every_side_with_its_author_what_that_had_seen_and_what_each_answer_does() {
    let (mut ada, mut bob) = apart(json!({"title": "old"}));
    let adas = merge_patch(&mut ada, "n1", json!({"title": "Ada's"}), at(10)).operation;
    let bobs = merge_patch(&mut bob, "n1", json!({"title": "Bob's"}), at(11)).operation;
    let cards = meet(&mut ada, &mut bob);
    let [one] = cards.as_slice() else { panic!("{cards:?}") };
    let shown = card(&mut ada, *one);
    assert_eq!((shown.summary.path.as_str(), shown.summary.kind), ("/title", "concurrent_value"));
    assert_eq!(shown.summary.status, "open");
    let mut sides: Vec<_> = shown
        .values
        .iter()
        .map(|side| (side.said.operation, side.said.device, side.said.value.clone()))
        .collect();
    sides.sort_by_key(|side| side.0);
    assert_eq!(
        sides,
        [(Some(adas), Some(ada.device()), json!("Ada's")), (Some(bobs), Some(bob.device()), json!("Bob's"))]
    );
    assert!(shown.values.iter().all(|side| side.base == json!("old") && side.seen.len() == 1));
    assert_eq!(shown.values.iter().filter(|side| side.shown).count(), 1);
    let options: Vec<&str> = shown.options.iter().map(|option| option.option).collect();
    assert_eq!(options, ["merge", "fork", "keep_local", "keep_remote"]);
    assert!(shown.options.iter().all(|option| option.consequence.contains("every device")), "{shown:?}");
    // By the beginning of its id; the `card` that `get` names is the same.
    assert_eq!(ada.find_card(&one.to_string()[..9]).unwrap(), Some(*one));
    assert_eq!(view(&mut ada).conflicts[0].card.as_deref(), Some(one.to_string().as_str()));
}

#[test]
fn each_answer_ends_the_card_on_every_device_and_says_who_gave_it() {
    for choice in [Choice::Local, Choice::Remote, Choice::Merge, Choice::Fork] {
        let (mut ada, mut bob) = apart(json!({"title": "old", "n": 1}));
        merge_patch(&mut ada, "n1", json!({"title": "Ada's"}), at(10));
        merge_patch(&mut bob, "n1", json!({"title": "Bob's", "n": 2}), at(11));
        let one = meet(&mut ada, &mut bob)[0];
        let before = view(&mut bob).value["title"].clone();
        let other = if before == json!("Ada's") { json!("Bob's") } else { json!("Ada's") };
        let value = (choice == Choice::Merge).then(|| json!("both"));
        let because = Some("we talked".to_owned());
        let written = resolve(&mut bob, Resolve { value, because, ..answer(one, choice) }, 20);
        let expected = match choice {
            Choice::Local | Choice::Fork => before,
            Choice::Remote => other.clone(),
            _ => json!("both"),
        };
        assert!(meet(&mut ada, &mut bob).is_empty());
        for engine in [&mut ada, &mut bob] {
            assert_eq!(view(engine).value, json!({"title": expected, "n": 2}), "{choice:?}");
            let ended = card(engine, one);
            assert_eq!(ended.summary.status, "resolved");
            let by = ended.resolution.expect("decided");
            assert_eq!((by.operation, by.option.as_str()), (written.operation, choice.word()));
            assert_eq!(by.because.as_deref(), Some("we talked"));
            if choice == Choice::Fork {
                let forked =
                    engine.get(written.object.as_ref().unwrap()).unwrap().expect("the other side lives on");
                assert_eq!(forked.value, json!({"title": other, "n": 2}));
            }
        }
        // Again the same is the same; otherwise is too late.
        let again = resolve_as(&mut ada, "user:ada", answer(one, choice), 40);
        if choice == Choice::Merge {
            assert!(matches!(
                again,
                Err(WriteError::Resolve(ResolveError::NoValue | ResolveError::Decided { .. })) | Ok(_)
            ));
        } else {
            let again = again.expect("said again");
            assert!(again.repeated && again.operation == written.operation);
            let late = if choice == Choice::Local { Choice::Remote } else { Choice::Local };
            let late = resolve_as(&mut ada, "user:ada", answer(one, late), 41);
            assert!(matches!(late, Err(WriteError::Resolve(ResolveError::Decided { .. }))), "{late:?}");
        }
    }
}

#[test]
fn equal_answers_on_two_devices_are_one_and_different_ones_one_new_card() {
    for (adas, bobs, cards) in [("same", "same", 0), ("one", "other", 1)] {
        let (mut ada, mut bob) = apart(json!({"k": 0}));
        merge_patch(&mut ada, "n1", json!({"k": 1}), at(10));
        merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
        let one = meet(&mut ada, &mut bob)[0];
        let merged = |value: &str| Resolve { value: Some(json!(value)), ..answer(one, Choice::Merge) };
        resolve(&mut ada, merged(adas), 20);
        resolve(&mut bob, merged(bobs), 21);
        let heads = |engine: &mut Engine| view(engine).heads;
        assert_eq!(heads(&mut ada) == heads(&mut bob), cards == 0, "equal answers are equal bytes");
        let asked = meet(&mut ada, &mut bob);
        assert_eq!(asked.len(), cards);
        if let [next] = asked.as_slice() {
            let next = card(&mut ada, *next);
            assert_eq!(next.generation, 1);
            assert_eq!(next.values.len(), 2);
            resolve(&mut bob, answer(next.summary.card, Choice::Local), 30);
            assert!(meet(&mut ada, &mut bob).is_empty());
        }
    }
}

#[test]
fn machines_may_argue_three_times_then_a_person_decides() {
    let (mut ada, mut bob) = apart(json!({"k": 0}));
    merge_patch(&mut ada, "n1", json!({"k": 1}), at(10));
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    for round in 0..3_u64 {
        let one = meet(&mut ada, &mut bob)[0];
        assert_eq!(card(&mut ada, one).generation, round as u32);
        let merged = |value: u64| Resolve { value: Some(json!(value)), ..answer(one, Choice::Merge) };
        resolve_as(&mut ada, "agent:a", merged(10 * round + 11), 20 + round).expect("an agent may");
        resolve_as(&mut bob, "agent:b", merged(10 * round + 12), 20 + round).expect("an agent may");
    }
    let last = meet(&mut ada, &mut bob)[0];
    assert_eq!(card(&mut ada, last).may_decide, "a person");
    let refused = resolve_as(&mut ada, "agent:a", answer(last, Choice::Local), 50);
    let Err(WriteError::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert!(refused.decision.policies.iter().any(|policy| policy.contains("people-end-arguments")));
    resolve(&mut ada, answer(last, Choice::Local), 51);
    assert!(meet(&mut ada, &mut bob).is_empty());
}

#[test]
fn a_third_competitor_makes_another_card_of_which_the_first_is_a_part() {
    let (mut ada, mut bob) = apart(json!({"k": 0}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(3));
    sync(&mut eve, &mut ada, at(4));
    merge_patch(&mut ada, "n1", json!({"k": 1}), at(10));
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    merge_patch(&mut eve, "n1", json!({"k": 3}), at(12));
    let first = meet(&mut ada, &mut bob)[0];
    sync(&mut eve, &mut bob, at(13));
    let second = open(&bob)[0];
    assert_ne!(first, second);
    let old = card(&mut bob, first);
    assert_eq!((old.summary.status, old.superseded_by.as_slice()), ("superseded", &[second][..]));
    assert_eq!(card(&mut bob, second).supersedes, [first]);
    let answered = resolve_as(&mut bob, "user:bob", answer(first, Choice::Local), 14);
    assert!(
        matches!(answered, Err(WriteError::Resolve(ResolveError::Superseded { next, .. })) if next == second)
    );
    // Three sides: one of the two others must be named.
    let unnamed = resolve_as(&mut bob, "user:bob", answer(second, Choice::Remote), 15);
    assert!(matches!(unnamed, Err(WriteError::Resolve(ResolveError::Pick(2)))), "{unnamed:?}");

    // Ada, who has not heard of Eve, answers the first card. Her answer and Eve's value make one new card.
    let adas = resolve(&mut ada, Resolve { value: Some(json!(12)), ..answer(first, Choice::Merge) }, 16);
    sync(&mut bob, &mut ada, at(17));
    let third = open(&bob)[0];
    assert_ne!(third, second);
    let shown = card(&mut bob, third);
    let mut values: Vec<Value> = shown.values.iter().map(|side| side.said.value.clone()).collect();
    values.sort_by_key(ToString::to_string);
    assert_eq!(values, [json!(12), json!(3)]);
    assert_eq!(shown.supersedes, [second]);
    let pick = Some(adas.operation);
    resolve(&mut bob, Resolve { pick, ..answer(third, Choice::Merge) }, 18);
    sync(&mut eve, &mut bob, at(19));
    for engine in [&mut ada, &mut eve] {
        sync(&mut bob, engine, at(20));
        assert_eq!(open(engine), []);
        assert_eq!(view(engine).value, json!({"k": 12}));
    }
}

#[test]
fn what_is_deleted_and_written_can_stay_or_go_at_every_level() {
    let cases = [
        (json!({"k": null}), json!({"k": 2}), "/k"),
        (json!({"m": null}), json!({"m": {"a": 2}}), "/m"),
        (json!({"m": 5}), json!({"m": {"b": {"x": 2}}}), "/m"),
    ];
    for (deletes, writes, path) in cases {
        for stays in [false, true] {
            for turned in [false, true] {
                let (mut ada, mut bob) = apart(json!({"k": 1, "m": {"a": 1, "b": {"x": 1}}}));
                merge_patch(&mut ada, "n1", deletes.clone(), at(10));
                let work = merge_patch(&mut bob, "n1", writes.clone(), at(11)).operation;
                let gone = view(&mut ada).value;
                let stayed = view(&mut bob).value;
                let one = meet(&mut ada, &mut bob)[0];
                let by = if turned { &mut bob } else { &mut ada };
                let shown = card(by, one);
                assert_eq!(shown.summary.path, path);
                let pick = shown.operations.iter().find(|operation| (**operation == work) == stays).copied();
                let written = resolve(by, Resolve { pick, ..answer(one, Choice::Merge) }, 20);
                assert_eq!(written.object.unwrap().as_str(), "n1");
                assert_eq!(meet(&mut ada, &mut bob), [], "{path} {stays}");
                let expected = if stays { stayed } else { gone };
                assert_eq!(view(&mut ada).value, expected, "{path} stays {stays}");
            }
        }
    }
}

#[test]
fn an_object_that_was_deleted_and_edited_can_stay_or_go() {
    for choice in [Choice::Local, Choice::Remote, Choice::Merge, Choice::Fork] {
        let (mut ada, mut bob) = apart(json!({"k": 1}));
        write(&mut ada, Intent::Delete { object: "n1".parse().unwrap() }, at(10)).expect("deleted");
        merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
        let one = meet(&mut ada, &mut bob)[0];
        let shown = card(&mut ada, one);
        assert_eq!((shown.summary.kind, shown.summary.path.as_str()), ("delete_edit", ""));
        assert_eq!(shown.values.len(), 2);
        let value = (choice == Choice::Merge).then(|| json!({"k": 3}));
        let written = resolve(&mut ada, Resolve { value, ..answer(one, choice) }, 20);
        assert_eq!(meet(&mut ada, &mut bob), [], "{choice:?}");
        for engine in [&mut ada, &mut bob] {
            let shown = view(engine);
            match choice {
                Choice::Local => {
                    assert_eq!((shown.value, shown.state), (json!({"k": 2}), ObjectState::Clean))
                }
                Choice::Merge => {
                    assert_eq!((shown.value, shown.state), (json!({"k": 3}), ObjectState::Clean))
                }
                _ => assert_eq!((shown.value, shown.state), (Value::Null, ObjectState::Tombstoned)),
            }
            if choice == Choice::Fork {
                let object = written.object.as_ref().unwrap();
                assert_eq!(engine.get(object).unwrap().unwrap().value, json!({"k": 2}));
            }
        }
        // What stays is written to again, and deleted again.
        if choice == Choice::Local {
            merge_patch(&mut bob, "n1", json!({"k": 9}), at(30));
            write(&mut bob, Intent::Delete { object: "n1".parse().unwrap() }, at(31)).expect("deleted");
            assert_eq!(meet(&mut ada, &mut bob), []);
            assert_eq!(view(&mut ada).state, ObjectState::Tombstoned);
        }
    }
}

#[test]
fn two_lives_of_one_id_are_one_card_and_opposite_choices_lose_neither() {
    let lives = || {
        let (mut ada, _) = owner(1);
        let (mut bob, _) = member(&mut ada, 2, Role::Member);
        sync(&mut bob, &mut ada, at(1));
        sync(&mut bob, &mut ada, at(2));
        put(&mut ada, "n1", json!({"by": "ada"}), at(10));
        put(&mut bob, "n1", json!({"by": "bob"}), at(11));
        (ada, bob)
    };
    for choice in [Choice::Local, Choice::Remote, Choice::Fork] {
        let (mut ada, mut bob) = lives();
        let one = meet(&mut ada, &mut bob)[0];
        let shown = card(&mut ada, one);
        assert_eq!((shown.summary.kind, shown.values.len()), ("duplicate_identity", 2));
        let here = view(&mut ada).value;
        let written = resolve(&mut ada, answer(one, choice), 20);
        assert_eq!(meet(&mut ada, &mut bob), []);
        let now = view(&mut bob).value;
        assert_eq!(now == here, choice != Choice::Remote);
        if choice == Choice::Fork {
            let other = bob.get(written.object.as_ref().unwrap()).unwrap().unwrap();
            assert_ne!(other.value, here);
        }
        merge_patch(&mut bob, "n1", json!({"more": 1}), at(30));
        assert_eq!(meet(&mut ada, &mut bob), []);
    }
    // Each keeps another: both lives were ended in favour of the other, and the question comes back.
    let (mut ada, mut bob) = lives();
    let one = meet(&mut ada, &mut bob)[0];
    resolve(&mut ada, answer(one, Choice::Local), 20);
    resolve(&mut bob, answer(one, Choice::Remote), 21);
    let again = meet(&mut ada, &mut bob);
    assert_eq!(again.len(), 1, "nothing is lost by choosing");
    let shown = card(&mut ada, again[0]);
    assert_eq!(shown.values.len(), 2);
    let pick = shown.operations.first().copied();
    resolve(&mut ada, Resolve { pick, ..answer(again[0], Choice::Merge) }, 30);
    assert_eq!(meet(&mut ada, &mut bob), []);
    assert_eq!(view(&mut bob).value, shown.values[0].said.value);
}

#[test]
fn an_ordinary_write_with_knowledge_of_both_sides_is_a_decision_of_its_author() {
    let (mut ada, mut bob) = apart(json!({"title": "old"}));
    merge_patch(&mut ada, "n1", json!({"title": "Ada's"}), at(10));
    merge_patch(&mut bob, "n1", json!({"title": "Bob's"}), at(11));
    let one = meet(&mut ada, &mut bob)[0];
    let written = merge_patch(&mut bob, "n1", json!({"title": "both"}), at(20)).operation;
    assert_eq!(meet(&mut ada, &mut bob), []);
    for engine in [&mut ada, &mut bob] {
        let by = card(engine, one).resolution.expect("decided");
        assert_eq!((by.operation, by.option.as_str()), (written, "edit"));
        assert_eq!(by.actor, user());
    }
}

#[test]
fn a_resolution_travels_by_a_third_device_and_before_its_sides() {
    let (mut ada, mut bob) = apart(json!({"k": 0, "m": {"x": 1}}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(3));
    sync(&mut eve, &mut ada, at(4));
    merge_patch(&mut ada, "n1", json!({"k": 1, "m": null}), at(10));
    merge_patch(&mut bob, "n1", json!({"k": 2, "m": {"x": 2}}), at(11));
    for one in meet(&mut ada, &mut bob) {
        resolve(&mut bob, answer(one, Choice::Local), 20);
    }
    // Eve hears Bob's log first: his answers wait for Ada's side.
    sync(&mut eve, &mut bob, at(30));
    assert_eq!(portrait(&mut eve), portrait(&mut bob));
    assert_eq!(open(&eve), []);
    sync(&mut eve, &mut ada, at(31));
    assert_eq!(portrait(&mut ada), portrait(&mut bob));
}

#[test]
fn a_text_rewritten_twice_is_settled_as_chosen() {
    let set = |engine: &mut Engine, text: &str, n: u64| {
        let edit = Edit::SetText { path: "/text".to_owned(), text: text.to_owned() };
        let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
        write(engine, intent, at(n)).expect("written");
    };
    let (mut ada, mut bob) = apart(json!({"text": "draft"}));
    set(&mut ada, "price is 100 dollars\n", 5);
    sync(&mut bob, &mut ada, at(6));
    set(&mut ada, "price is 250 dollars\n", 10);
    set(&mut bob, "price is 300 dollars\n", 11);
    let one = meet(&mut ada, &mut bob)[0];
    let value = Some(json!("price is 275 dollars\n"));
    resolve(&mut bob, Resolve { value, ..answer(one, Choice::Merge) }, 20);
    assert_eq!(meet(&mut ada, &mut bob), []);
    assert_eq!(view(&mut ada).value["text"], "price is 275 dollars\n");
}

#[test]
fn what_only_says_that_it_is_a_resolution_settles_nothing() {
    let (mut ada, mut bob) = apart(json!({"k": 0}));
    let mut hand = Hand::enrolled(&mut ada, 9, Role::Member);
    sync(&mut bob, &mut ada, at(3));
    merge_patch(&mut ada, "n1", json!({"k": 1}), at(10));
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    let cards = meet(&mut ada, &mut bob);
    // An edit by its session's actor, sent as a resolution.
    let session = hand.session();
    let actor = hand.actor();
    let mut record = hand.edit(&mut ada, "n1", json!({"other": 1}), actor);
    record.entry.kind = EntryKind::RESOLUTION;
    let segment = hand.send(&[session, record]);
    let device = hand.identity.device();
    ada.receive(device, &segment, at(20)).expect("kept as evidence");
    assert_eq!(open(&ada), cards);
    assert_eq!(view(&mut ada).value.get("other"), None);
    assert!(ada.findings().unwrap().iter().any(|finding| finding.text.contains("no resolution")));
}

fn set_text(engine: &mut Engine, text: &str, n: u64) {
    let edit = Edit::SetText { path: "/text".to_owned(), text: text.to_owned() };
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
    write(engine, intent, at(n)).expect("written");
}

#[test]
fn of_a_text_one_side_is_kept_and_what_was_written_elsewhere_stays() {
    for rule in ["text", "text_review"] {
        for choice in [Choice::Local, Choice::Remote] {
            let (mut ada, mut bob) = apart(json!({"text": "draft"}));
            let manifest = json!({"collection": "notes", "fields": {"/text": rule}}).to_string().into_bytes();
            write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest), at(3)).expect("governed");
            set_text(&mut ada, "# offer\nprice is 100 dollars\nthe rest\nof it\nlong\nago\n", 5);
            sync(&mut bob, &mut ada, at(6));
            set_text(&mut ada, "# offer\nprice is 250 dollars\nthe rest\nof it\nlong\nago\nA\n", 10);
            set_text(&mut bob, "# Offer\nprice is 300 dollars\nthe rest\nof it\nlong\nago\n", 11);
            let cards = meet(&mut ada, &mut bob);
            assert_eq!(cards.len(), 1, "{rule}");
            let shown = card(&mut bob, cards[0]);
            assert_eq!((shown.summary.path.as_str(), shown.values.len()), ("/text", 2));
            resolve(&mut bob, answer(cards[0], choice), 20);
            assert_eq!(meet(&mut ada, &mut bob), [], "{rule} {choice:?}");
            let (price, head) = if choice == Choice::Local { (300, "# Offer") } else { (250, "# offer") };
            // The first two lines were rewritten together and belong to one question.
            let expected = format!("{head}\nprice is {price} dollars\nthe rest\nof it\nlong\nago\nA\n");
            assert_eq!(view(&mut ada).value["text"], expected, "{rule} {choice:?}");
        }
    }
}

#[test]
fn two_questions_about_one_text_are_answered_one_by_one() {
    let (mut ada, mut bob) = apart(json!({"text": "draft"}));
    let lines = |a: u32, b: u32| format!("price {a}\n{}weight {b}\n", "between\n".repeat(9));
    set_text(&mut ada, &lines(100, 100), 5);
    sync(&mut bob, &mut ada, at(6));
    set_text(&mut ada, &lines(250, 251), 10);
    set_text(&mut bob, &lines(300, 301), 11);
    let cards = meet(&mut ada, &mut bob);
    assert_eq!(cards.len(), 2);
    resolve(&mut bob, answer(cards[0], Choice::Local), 20);
    assert_eq!(meet(&mut ada, &mut bob), [cards[1]], "the other question is still asked");
    resolve(&mut bob, answer(cards[1], Choice::Remote), 30);
    assert_eq!(meet(&mut ada, &mut bob), []);
    let text = view(&mut ada).value["text"].as_str().unwrap().to_owned();
    assert!(text == lines(300, 251) || text == lines(250, 301), "{text}");
}

#[test]
fn an_edit_that_several_devices_make_alike_stands_there_once() {
    for rule in ["text", "text_review"] {
        let (mut ada, mut bob) = apart(json!({"text": "draft"}));
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        let manifest = json!({"collection": "notes", "fields": {"/text": rule}}).to_string().into_bytes();
        write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest), at(3)).expect("governed");
        set_text(&mut ada, "version 1.2\nend\n", 4);
        for engine in [&mut bob, &mut eve] {
            sync(engine, &mut ada, at(5));
            sync(engine, &mut ada, at(6));
        }
        for (n, engine) in [&mut ada, &mut bob, &mut eve].into_iter().enumerate() {
            set_text(engine, "version 1.3\nend\n", 10 + n as u64);
        }
        for n in 0..3 {
            sync(&mut bob, &mut ada, at(20 + n));
            sync(&mut eve, &mut bob, at(30 + n));
            sync(&mut ada, &mut eve, at(40 + n));
        }
        for engine in [&mut ada, &mut bob, &mut eve] {
            assert_eq!(view(engine).value["text"], "version 1.3\nend\n", "{rule}");
            assert_eq!(open(engine), []);
        }
        // At rest: nobody goes on taking copies out.
        let before = ada.frontier();
        sync(&mut eve, &mut ada, at(60));
        assert_eq!(before, ada.frontier());
        meet(&mut ada, &mut bob);
    }
}

#[test]
fn an_answer_overrules_the_deletions_it_has_seen_and_no_other() {
    let (mut ada, mut bob) = apart(json!({"k": 1}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    for n in 0..2 {
        sync(&mut eve, &mut ada, at(3 + n));
    }
    let delete = || Intent::Delete { object: "n1".parse().unwrap() };
    write(&mut ada, delete(), at(10)).expect("deleted");
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    // Eve deletes the same state, and nobody hears of it yet.
    write(&mut eve, delete(), at(12)).expect("deleted");
    let one = meet(&mut ada, &mut bob)[0];
    resolve(&mut ada, answer(one, Choice::Local), 20);
    assert_eq!(meet(&mut ada, &mut bob), []);
    assert_eq!(view(&mut ada).value, json!({"k": 2}));
    // She deleted what was there when the answer was given; the answer is about exactly that state.
    sync(&mut eve, &mut ada, at(30));
    for engine in [&mut ada, &mut eve] {
        assert_eq!((open(engine), view(engine).value.clone()), (vec![], json!({"k": 2})));
    }
    assert_eq!(portrait(&mut ada), portrait(&mut eve));
}

#[test]
fn whoever_may_not_delete_or_edit_may_not_do_so_by_way_of_a_card() {
    let (mut ada, mut bob) = apart(json!({"k": 1}));
    write(&mut ada, Intent::Delete { object: "n1".parse().unwrap() }, at(10)).expect("deleted");
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    let one = meet(&mut ada, &mut bob)[0];
    let refused = resolve_as(&mut ada, "agent:a", answer(one, Choice::Remote), 20);
    assert!(matches!(refused, Err(WriteError::Refused(_))), "agents do not delete: {refused:?}");
    resolve_as(&mut ada, "agent:a", answer(one, Choice::Local), 21).expect("an agent may say that it stays");
    assert_eq!(meet(&mut ada, &mut bob), []);
}

#[test]
fn an_answer_is_taken_back_by_another_operation_unless_somebody_has_written_since() {
    let (mut ada, mut bob) = apart(json!({"title": "old", "n": 1}));
    merge_patch(&mut ada, "n1", json!({"title": "Ada's"}), at(10));
    merge_patch(&mut bob, "n1", json!({"title": "Bob's"}), at(11));
    let one = meet(&mut ada, &mut bob)[0];
    let before = view(&mut ada).value;
    let given = Resolve { value: Some(json!("both")), ..answer(one, Choice::Merge) };
    let answered = resolve(&mut ada, given, 20).operation;
    merge_patch(&mut bob, "n1", json!({"n": 2}), at(21));
    meet(&mut ada, &mut bob);
    let undo = |engine: &mut Engine, operation, n| write(engine, Intent::Undo { operation }, at(n));
    let undone = undo(&mut bob, answered, 30).expect("taken back");
    let again = meet(&mut ada, &mut bob);
    assert_eq!((again.len(), card(&mut ada, one).superseded_by), (1, again), "it is asked again");
    assert_eq!(
        view(&mut ada).value,
        json!({"title": before["title"], "n": 2}),
        "what was done elsewhere stays"
    );
    let history = ada.history(&"n1".parse().unwrap()).unwrap();
    assert!(history.iter().any(|item| item.operation == undone.operation));
    assert!(history.iter().any(|item| item.operation == answered), "nothing is taken out of history");
    assert!(bob.evidence(100).unwrap().iter().any(|record| record.kind == RecordKind::Compensation));
    let again = undo(&mut ada, answered, 40);
    assert!(matches!(again, Err(WriteError::Undo(UndoError::ChangedSince { .. }))), "{again:?}");
    let edit = merge_patch(&mut ada, "n1", json!({"n": 3}), at(41)).operation;
    let edit = undo(&mut ada, edit, 42);
    assert!(matches!(edit, Err(WriteError::Undo(UndoError::NotAnAnswer(_)))), "{edit:?}");
}
