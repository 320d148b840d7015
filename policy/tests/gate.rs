//! The gate as the engine uses it: what each role may do, how layers meet, what a grant is good for.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{Ask, bundles, gate, operation};
use std::collections::BTreeMap;
use syncd_policy::{
    Action, Base, Decision, Gate, GrantError, Origin, PolicyError, Verdict, check, default_bundles, have_room,
};
use syncd_schema::manifest::PolicyClass;
use syncd_schema::{Digest, OperationType, Role, domain};

const EVERYTHING: &str = "permit(principal, action, resource);";

/// One letter for each action of `Action::ALL`: allowed, refused, for review.
fn row(bundles: &BTreeMap<Digest, String>, ask: &Ask) -> String {
    let mut gate = Gate::new();
    let policies = gate.compile(bundles, None).expect("compiles");
    let letter = |action| match gate.decide(&policies, operation(1), &Ask { action, ..ask.clone() }.request())
    {
        Ok(_) => 'a',
        Err(refusal) if refusal.verdict == Verdict::Review => 'r',
        Err(_) => '.',
    };
    Action::ALL.map(letter).iter().collect()
}

#[test]
fn what_each_role_may_do_under_the_default_bundle() {
    let table = [
        // object, governance, operations: enqueue replay reconcile detect resolve repair tombstone checkpoint
        (Some(Role::Owner), "user:ada", "aaaaaaaaaaaaaaaaa"),
        (Some(Role::Admin), "user:ada", "aaaaaaaaaaaaaaaaa"),
        (Some(Role::Member), "user:ada", "aaa......aaaaaaaa"),
        (Some(Role::Agent), "user:ada", "aa.......aaaaa..a"),
        (Some(Role::Relay), "user:ada", "................."),
        (None, "user:ada", "................."),
        (Some(Role::Owner), "agent:bot", "aa.......aaaaa..a"),
        (Some(Role::Member), "agent:bot", "aa.......aaaaa..a"),
        (Some(Role::Agent), "agent:bot", "aa.......aaaaa..a"),
        (Some(Role::Relay), "agent:bot", "................."),
        (Some(Role::Member), "system:sourceos-syncd", "aaa......aaaaaaaa"),
        (Some(Role::Member), "connector:mail", "aaa......aaaaaaaa"),
        (Some(Role::Member), "worker:index", "aaa......aaaaaaaa"),
        (Some(Role::Agent), "system:sourceos-syncd", "aa.......aaaaaaaa"),
        (Some(Role::Relay), "system:sourceos-syncd", "................."),
    ];
    for (role, actor, expected) in table {
        let ask = Ask { role, actor: actor.parse().expect("an actor"), ..Ask::default() };
        assert_eq!(row(&default_bundles(), &ask), expected, "{role:?} {actor}");
    }
}

#[test]
fn an_agents_edit_without_a_good_base_is_a_proposal() {
    let ask = Ask { actor: "agent:bot".parse().expect("an actor"), ..Ask::default() };
    for (base, class, expected) in [
        (Base::Named, PolicyClass::Medium, "aa."),
        (Base::Named, PolicyClass::High, "rr."),
        (Base::Stale, PolicyClass::Low, "ar."),
        (Base::Missing, PolicyClass::Low, "ar."),
        (Base::NotNeeded, PolicyClass::Low, "ar."),
        (Base::Named, PolicyClass::Critical, "rr."),
        (Base::Missing, PolicyClass::Critical, "rr."),
    ] {
        let row = row(&default_bundles(), &Ask { base, class, ..ask.clone() });
        assert_eq!(&row[..3], expected, "{base:?} {class:?}");
    }
}

/// Agents answer ordinary cards, wherever they run; what is of a higher class waits for a person.
#[test]
fn agents_answer_ordinary_cards_only() {
    let resolve = Action::Operation(OperationType::Resolve);
    let allowed = |role, actor: &str, class, argued| {
        let actor = actor.parse().expect("an actor");
        let (mut gate, policies) = gate(&default_bundles(), None);
        let ask = Ask { action: resolve, role: Some(role), actor, class, argued, ..Ask::default() };
        gate.decide(&policies, operation(1), &ask.request()).is_ok()
    };
    for class in [PolicyClass::Low, PolicyClass::Medium, PolicyClass::High, PolicyClass::Critical] {
        let ordinary = matches!(class, PolicyClass::Low | PolicyClass::Medium);
        for (role, actor) in [
            (Role::Owner, "agent:bot"),
            (Role::Member, "agent:bot"),
            (Role::Agent, "agent:bot"),
            (Role::Agent, "user:ada"),
        ] {
            assert_eq!(allowed(role, actor, class, false), ordinary, "{role:?} {actor} {class:?}");
            assert!(!allowed(role, actor, class, true), "argued: {role:?} {actor} {class:?}");
        }
        assert!(allowed(Role::Member, "user:ada", class, true), "a person ends an argument: {class:?}");
        assert!(!allowed(Role::Member, "system:sourceos-syncd", class, true), "{class:?}");
    }
}

/// The floor's own table: what remains when bundles and device permit everything.
#[test]
fn a_permissive_bundle_does_not_weaken_the_floor() {
    let everything = bundles(&[EVERYTHING]);
    let table = [
        (Some(Role::Owner), None, false, "aaaaaaaaaaaaaaaaa"),
        (Some(Role::Owner), Some(Role::Owner), true, "aaaaaaaaaaaaaaaaa"),
        (Some(Role::Admin), None, false, "aaaaaaaaaaaaaaaaa"),
        (Some(Role::Admin), Some(Role::Owner), false, "aaaa..aaaaaaaaaaa"),
        (Some(Role::Admin), None, true, "................."),
        (Some(Role::Member), None, false, "aaa......aaaaaaaa"),
        (Some(Role::Agent), None, false, "aaa......aaaaaaaa"),
        (Some(Role::Relay), None, false, "................."),
        (None, None, false, "................."),
    ];
    for (role, target_role, weakens, expected) in table {
        let ask = Ask { role, target_role, weakens, ..Ask::default() };
        assert_eq!(row(&everything, &ask), expected, "{role:?} {target_role:?} {weakens}");
    }
}

/// What a collection's strategy asks for holds whatever the bundles and whoever it is.
#[test]
fn a_strategy_is_kept_by_the_floor() {
    let everything = bundles(&[EVERYTHING]);
    let owner = Ask { role: Some(Role::Owner), ..Ask::default() };
    assert_eq!(row(&everything, &Ask { replaces: true, ..owner.clone() }), ".................");
    assert_eq!(row(&everything, &Ask { authority: false, ..owner }), "...aaaaaaaaaaaaaa");
}

#[test]
fn a_bundle_cannot_pose_as_the_floor() {
    let posing = r#"@id("floor.members-write") permit(principal, action, resource);"#;
    assert!(matches!(check(posing), Err(PolicyError::Invalid(_))), "no dots in names");
    let posing = bundles(&[r#"@id("floor") permit(principal, action, resource);"#]);
    assert_eq!(row(&posing, &Ask { role: None, ..Ask::default() }), ".................");
}

#[test]
fn every_layer_must_permit() {
    let edits = "permit(principal, action == Action::\"edit\", resource);";
    let creates = "permit(principal, action == Action::\"create\", resource);";
    let verdict = |bundle: &[&str], device: Option<&str>, origin| {
        let (mut gate, policies) = gate(&bundles(bundle), device);
        let result = gate.decide(&policies, operation(1), &Ask { origin, ..Ask::default() }.request());
        result.map(|grant| grant.decision().policies.clone()).map_err(|refusal| refusal.decision.in_words())
    };
    let named = |device: bool| {
        let digest = domain::sha256(edits.as_bytes()).short();
        let own = device.then(|| "device.0".to_owned());
        own.into_iter()
            .chain(["floor.members-write".to_owned(), format!("workspace.{digest}.0")])
            .collect::<Vec<_>>()
    };
    assert_eq!(verdict(&[edits], None, Origin::Local), Ok(named(false)));
    assert_eq!(verdict(&[edits], Some(EVERYTHING), Origin::Local), Ok(named(true)));
    assert_eq!(verdict(&[edits, creates], None, Origin::Local), Ok(named(false)), "bundles add up");
    let workspace = "Refused. Nothing in the workspace's policy permits it. \
                     An owner or admin can change the workspace's policy.";
    assert_eq!(verdict(&[creates], Some(EVERYTHING), Origin::Local), Err(workspace.to_owned()));
    assert_eq!(verdict(&[], None, Origin::Local), Err(workspace.to_owned()), "no bundle permits nothing");
    assert_eq!(verdict(&[""], Some(EVERYTHING), Origin::Local), Err(workspace.to_owned()));
    let device = "Refused. Nothing in this device's own policy permits it. \
                  The user of this device can change its own policy: `policy show`, `policy set --device`.";
    assert_eq!(verdict(&[edits], Some(creates), Origin::Local), Err(device.to_owned()));
    assert_eq!(
        verdict(&[edits], Some(""), Origin::Local),
        Err(device.to_owned()),
        "an empty layer is a layer"
    );
    assert_eq!(verdict(&[edits], Some(creates), Origin::Remote), Ok(named(false)), "others do not have it");
}

#[test]
fn a_forbid_anywhere_wins() {
    let forbid = "@because(\"Frozen.\") @advice(\"Wait.\") forbid(principal, action, resource);";
    let (mut gate, policies) = gate(&bundles(&[EVERYTHING, forbid]), None);
    let refusal = gate.decide(&policies, operation(1), &Ask::default().request()).expect_err("refused");
    assert_eq!(refusal.verdict, Verdict::Refuse);
    let id = format!("workspace.{}.0", domain::sha256(forbid.as_bytes()).short());
    assert_eq!(refusal.to_string(), format!("Refused by {id}. Frozen. Wait."));
}

#[test]
fn a_policy_that_errs_refuses() {
    let errs = "permit(principal, action, resource) when { context.size * 9223372036854775807 > 0 };";
    let (mut gate, policies) = gate(&bundles(&[EVERYTHING, errs]), None);
    assert!(gate.decide(&policies, operation(1), &Ask { size: 1, ..Ask::default() }.request()).is_ok());
    let refusal = gate
        .decide(&policies, operation(1), &Ask { size: 2, ..Ask::default() }.request())
        .expect_err("overflows");
    assert_eq!((refusal.verdict, refusal.decision.policies.len()), (Verdict::Refuse, 0));
    assert_eq!(refusal.decision.errors.len(), 1);
    assert!(refusal.decision.in_words().contains("cannot be evaluated"), "{refusal}");
    assert!(refusal.decision.errors[0].contains("overflow"), "{refusal}");
}

#[test]
fn review_is_for_what_only_a_review_stands_against() {
    let review = "@review(\"Pay is looked at.\") forbid(principal, action, resource) \
                  when { context.changed.contains(\"/pay\") };";
    let forbid = "forbid(principal, action, resource) when { context.dangerous };";
    let changed = vec!["/pay/base".to_owned()];
    let verdict = |texts: &[&str], ask: &Ask| {
        let (mut gate, policies) = gate(&bundles(texts), None);
        gate.decide(&policies, operation(1), &ask.request()).map(|_| ()).map_err(|refusal| refusal.decision)
    };
    let pay = Ask { changed: changed.clone(), ..Ask::default() };
    let decision = verdict(&[EVERYTHING, review, forbid], &pay).expect_err("for review");
    assert_eq!(decision.verdict, Verdict::Review);
    assert_eq!((decision.policies.len(), decision.reasons[0].as_str()), (1, "Pay is looked at."));
    assert!(verdict(&[EVERYTHING, review, forbid], &Ask::default()).is_ok());
    let dangerous = Ask { dangerous: true, ..pay.clone() };
    let decision = verdict(&[EVERYTHING, review, forbid], &dangerous).expect_err("refused");
    assert_eq!((decision.verdict, decision.policies.len()), (Verdict::Refuse, 2));
    assert_eq!(decision.reasons, ["Pay is looked at."], "it is not for want of a permit");
    let decision = verdict(&[review], &pay).expect_err("nothing permits it");
    assert_eq!(decision.verdict, Verdict::Refuse);
    let decision = verdict(&[EVERYTHING, review], &Ask { role: None, ..pay }).expect_err("the floor forbids");
    assert_eq!(decision.verdict, Verdict::Refuse);
}

#[test]
fn sizes_are_told_apart_where_policies_do() {
    let text = "permit(principal, action, resource) when { context.size < 10 || context.size == 100 \
                || 1000 <= context.size };";
    let (mut gate, policies) = gate(&bundles(&[text]), None);
    for (size, allowed, range) in [
        (0, true, "0..9"),
        (9, true, "0..9"),
        (10, false, "10"),
        (11, false, "11..99"),
        (99, false, "11..99"),
        (100, true, "100"),
        (101, false, "101..999"),
        (999, false, "101..999"),
        (1_000, true, "1000"),
        (1_001, true, "1001.."),
        (u64::MAX, true, "1001.."),
    ] {
        let result = gate.decide(&policies, operation(1), &Ask { size, ..Ask::default() }.request());
        let decision = match &result {
            Ok(grant) => grant.decision(),
            Err(refusal) => &refusal.decision,
        };
        assert_eq!((result.is_ok(), decision.inputs["size"].as_str()), (allowed, range), "{size}");
    }
}

#[test]
fn a_grant_is_for_one_operation() {
    let (mut gate, policies) = gate(&default_bundles(), None);
    let grant =
        |gate: &mut Gate| gate.decide(&policies, operation(1), &Ask::default().request()).expect("allowed");
    let wrong = grant(&mut gate).redeem(operation(2)).expect_err("another operation");
    assert_eq!(wrong, GrantError::AnotherOperation { granted: operation(1), asked: operation(2) });
    let decision = grant(&mut gate).decision().digest();
    let redeemed = grant(&mut gate).redeem(operation(1)).expect("its own");
    assert_eq!((redeemed.operation(), redeemed.decision()), (operation(1), decision));
    assert_eq!(redeemed.policy_version(), policies.version(Origin::Local));
    assert!(!redeemed.is_genesis());
}

#[test]
fn a_resolution_admits_what_waits_for_review_and_nothing_else() {
    let (mut gate, policies) = gate(&default_bundles(), None);
    let agent = Ask { actor: "agent:bot".parse().expect("an actor"), base: Base::Stale, ..Ask::default() };
    let held = gate.decide(&policies, operation(1), &agent.request()).expect_err("for review");
    let delete = Ask { action: Action::Delete, ..agent };
    let refused = gate.decide(&policies, operation(2), &delete.request()).expect_err("refused");
    let mut redeem = |action| {
        let grant = gate.decide(&policies, operation(3), &Ask { action, ..Ask::default() }.request());
        grant.expect("allowed").redeem(operation(3)).expect("its own")
    };
    let (resolution, edit) = (redeem(Action::Operation(OperationType::Resolve)), redeem(Action::Edit));
    let error = |result: Result<syncd_policy::Grant, GrantError>| result.expect_err("no approval");
    assert_eq!(error(refused.approved(operation(2), &resolution)), GrantError::NotForReview);
    assert_eq!(error(held.approved(operation(1), &edit)), GrantError::NotAnApproval);
    assert!(matches!(error(held.approved(operation(2), &resolution)), GrantError::AnotherOperation { .. }));
    let grant = held.approved(operation(1), &resolution).expect("approved");
    assert_eq!(grant.decision().verdict, Verdict::Review);
    assert_eq!(grant.redeem(operation(1)).expect("its own").action(), Some(Action::Edit));
}

#[test]
fn the_genesis_needs_no_policy() {
    let grant = Gate::genesis(operation(3));
    assert_eq!(grant.decision().policies, ["floor.genesis"]);
    assert_eq!(grant.digest(), grant.decision().digest());
    assert!(grant.redeem(operation(3)).expect("its own").is_genesis());
}

#[test]
fn decisions_are_stable_shared_and_read_back() {
    let (mut first, policies) = gate(&default_bundles(), None);
    let grant = first.decide(&policies, operation(1), &Ask::default().request()).expect("allowed");
    let larger = Ask { size: 1 << 40, object: "other".parse().expect("an id"), ..Ask::default() };
    let again = first.decide(&policies, operation(2), &larger.request()).expect("allowed");
    assert!(std::sync::Arc::ptr_eq(grant.decision(), again.decision()), "no policy sees a difference");
    let (mut second, policies) = gate(&default_bundles(), None);
    let fresh = second.decide(&policies, operation(9), &larger.request()).expect("allowed");
    assert_eq!(fresh.digest(), grant.digest());
    assert_eq!(Decision::from_bytes(&grant.decision().to_bytes()).expect("reads"), **grant.decision());
    assert!(!grant.decision().inputs.contains_key("size"));
}

#[test]
fn one_gate_keeps_versions_apart() {
    let (mut gate, open) = gate(&bundles(&[EVERYTHING]), None);
    let closed = gate.compile(&bundles(&[]), None).expect("compiles");
    let ask = Ask::default();
    for _ in 0..2 {
        assert!(gate.decide(&open, operation(1), &ask.request()).is_ok());
        assert!(gate.decide(&closed, operation(1), &ask.request()).is_err());
    }
}

#[test]
fn a_review_policy_that_errs_refuses_too() {
    let errs = "@review(\"big\") forbid(principal, action, resource) when { context.size * 9223372036854775807 > 5 };";
    let review = "@review(\"look\") forbid(principal, action, resource);";
    let (mut gate, policies) = gate(&bundles(&[EVERYTHING, errs, review]), None);
    let refusal = gate.decide(&policies, operation(1), &Ask::default().request()).expect_err("overflows");
    assert_eq!((refusal.verdict, refusal.decision.errors.len()), (Verdict::Refuse, 1));
}

#[test]
fn an_attribute_that_is_only_asked_for_is_there() {
    let has = "permit(principal, action, resource) when { context has strategy && context has size };";
    let (mut gate, policies) = gate(&bundles(&[has]), None);
    assert!(gate.decide(&policies, operation(1), &Ask::default().request()).is_ok());
}

#[test]
fn bundles_whose_digests_begin_alike_stay_apart() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let (first, second) = (0..1_000_000)
        .find_map(|n| {
            let text = format!("{EVERYTHING} // {n}");
            let known = seen.insert(domain::sha256(text.as_bytes()).short(), text.clone());
            known.map(|known| (known, text))
        })
        .expect("32 bits collide soon");
    let (mut gate, policies) = gate(&bundles(&[&first, &second]), None);
    let grant = gate.decide(&policies, operation(1), &Ask::default().request()).expect("allowed");
    assert_eq!(grant.decision().policies.len(), 3, "{:?}", grant.decision().policies);
}

#[test]
fn versions_name_the_bundles_and_the_device() {
    let governance = syncd_schema::Governance { bundles: default_bundles(), ..Default::default() };
    let (mut gate, alone) = gate(&default_bundles(), None);
    let own = gate.compile(&default_bundles(), Some(EVERYTHING)).expect("compiles");
    assert_eq!(alone.version(Origin::Local), governance.policy_digest());
    assert_eq!(own.version(Origin::Remote), governance.policy_digest());
    assert_ne!(own.version(Origin::Local), governance.policy_digest());
    assert!(std::sync::Arc::ptr_eq(&alone, &gate.compile(&default_bundles(), None).expect("known")));
    assert!(own.names(Origin::Local).any(|name| name == "device.0"));
    assert!(!own.names(Origin::Remote).any(|name| name == "device.0"));
}

#[test]
fn what_does_not_compile_says_which_text_and_where() {
    let mut gate = Gate::new();
    let wrong = BTreeMap::from([(Digest([0; 32]), EVERYTHING.to_owned())]);
    assert!(matches!(gate.compile(&wrong, None), Err(PolicyError::WrongDigest { .. })));
    let error = gate.compile(&default_bundles(), Some("permit(")).expect_err("not Cedar");
    assert_eq!(error.to_string(), "this device's policy is not accepted");
    let source = std::error::Error::source(&error).expect("a source").to_string();
    assert!(source.contains("line 1"), "{source}");
}

#[test]
fn more_bundles_than_are_asked_together_permit_nothing_but_making_room() {
    let texts: Vec<String> =
        (0..65).map(|n| format!("permit(principal, action, resource); // {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let fitting = bundles(&texts[1..]);
    let (mut gate, policies) = gate(&fitting, None);
    let ask = Ask::default();
    assert!(gate.decide(&policies, operation(1), &ask.request()).is_ok());
    assert!(have_room(fitting.len()).is_ok());

    let crowd = bundles(&texts);
    assert!(matches!(have_room(crowd.len()), Err(PolicyError::TooManyBundles { found: 65 })));
    let policies = gate.compile(&crowd, None).expect("compiles");
    let governance = syncd_schema::Governance { bundles: crowd, ..Default::default() };
    assert_eq!(policies.version(Origin::Remote), governance.policy_digest());
    let refusal = gate.decide(&policies, operation(1), &ask.request()).expect_err("refused");
    assert_eq!(refusal.decision.policies, ["workspace.too-many-bundles"]);
    assert!(refusal.decision.in_words().contains("policy set"), "{}", refusal.decision.in_words());
    let govern = |role| Ask { role: Some(role), action: Action::Bundle, weakens: true, ..Ask::default() };
    assert!(gate.decide(&policies, operation(1), &govern(Role::Owner).request()).is_ok());
    assert!(gate.decide(&policies, operation(1), &govern(Role::Admin).request()).is_err());
}
