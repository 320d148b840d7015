//! What a manifest asks of values, and that asking costs a bounded amount of work whatever the manifest says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

use serde_json::{Value, json};
use std::time::Instant;
use syncd_engine::judgement::{Judge, JudgeError, Rule};
use syncd_schema::{Manifest, limits};

fn manifest(members: &Value) -> Manifest {
    let mut manifest = json!({"collection": "docs"});
    manifest.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    Manifest::from_json(manifest.to_string().as_bytes()).expect("a manifest")
}

fn of_schema(schema: &Value) -> Result<Judge, JudgeError> {
    Judge::new(&manifest(&json!({ "schema": schema })))
}

fn refused(schema: &Value) -> String {
    of_schema(schema).map(drop).expect_err("refused").to_string()
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "c": inner }))
}

#[test]
fn violations_name_rule_place_and_what_is_wrong_in_one_order() {
    let judge = Judge::new(&manifest(&json!({
        "schema": {"type": "object", "required": ["title"], "properties": {
            "title": {"type": "string", "pattern": "^[A-Z]"}, "n": {"$ref": "#/$defs/small"},
        }, "$defs": {"small": {"maximum": 9}}},
        "invariants": [
            {"name": "budget", "cedar": "context.value.spent <= context.value.budget"},
            {"name": "few", "schema": {"properties": {"l": {"maxItems": 1}}}},
        ],
    })))
    .expect("compiles");
    assert!(judge.violations(&json!({"title": "Ab", "n": 9, "spent": 1, "budget": 2, "l": []})).is_empty());
    let found = judge.violations(&json!({"title": "ab", "n": 10, "spent": 3, "budget": 2, "l": [1, 2]}));
    let said: Vec<_> = found.iter().map(|v| (v.rule, v.name.as_str(), v.path.as_str())).collect();
    assert_eq!(
        said,
        [
            (Rule::Schema, "", "/n"),
            (Rule::Schema, "", "/title"),
            (Rule::Invariant, "budget", ""),
            (Rule::Invariant, "few", "/l"),
        ]
    );
    assert_eq!(found[2].to_string(), "invariant \"budget\", at the value: is false");
    assert!(found[0].to_string().starts_with("schema, at /n: 10 is greater than"), "{}", found[0]);
    let missing = judge.violations(&json!({}));
    assert!(
        missing[0].text.contains("title") && missing[1].text.contains("cannot be evaluated"),
        "{missing:?}"
    );
}

#[test]
fn violations_are_few_and_short() {
    let judge = of_schema(&json!({"properties": {"l": {"items": {"const": "x".repeat(9_000)}}}})).unwrap();
    let found = judge.violations(&json!({"l": vec!["ü".repeat(5_000); 5_000]}));
    assert_eq!(found.len(), limits::VIOLATIONS);
    assert!(found.iter().all(|v| v.text.len() <= limits::VIOLATION_BYTES + 3));
    assert_eq!(found[0].path, "/l/0");
}

#[test]
fn the_dialect_is_2020_12_and_what_it_leaves_open_is_an_annotation() {
    let judge = of_schema(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.org/x",
        "properties": {"d": {"format": "date"}, "t": {"prefixItems": [{"type": "string"}], "items": false}},
        "unevaluatedProperties": false,
    }))
    .unwrap();
    assert!(judge.violations(&json!({"d": "tomorrow", "t": ["a"]})).is_empty());
    assert_eq!(judge.violations(&json!({"t": ["a", 1], "more": 1})).len(), 2);
    assert!(of_schema(&json!(false)).unwrap().violations(&json!({})).len() == 1);
    assert!(refused(&json!({"type": "nonsense"})).contains("nonsense"));
    assert!(refused(&json!([])).starts_with("schema: "));
    assert!(refused(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).contains("2020-12"));
}

#[test]
fn nothing_outside_is_referred_to() {
    for target in ["https://example.org/x", "file:///etc/passwd", "other.json", "#anchor", "#/$defs/a%25b"] {
        assert!(refused(&json!({"allOf": [{"$ref": target}]})).contains("nothing is fetched"), "{target}");
    }
    assert!(refused(&json!({"$ref": "#/$defs/none"})).contains("where nothing is"));
    assert!(refused(&json!({"$dynamicRef": "#x"})).contains("$dynamicRef"));
    let hidden = json!({"$defs": {"a": {"$id": "https://example.org/", "$defs": {"b": {}}}}});
    assert!(refused(&hidden).contains("$id"));
}

/// Each of these takes a validator that follows it for ever, or its stack.
#[test]
fn schemas_that_would_not_end_are_refused() {
    let chain = |n: usize, link: &dyn Fn(usize) -> Value| {
        let mut defs: serde_json::Map<String, Value> =
            (0..n).map(|i| (format!("d{i}"), link(i + 1))).collect();
        defs.insert(format!("d{n}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let next = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
    let twice = |i: usize| json!({"allOf": [next(i), next(i)]});
    let begun = Instant::now();
    for (schema, says) in [
        (json!({"$ref": "#"}), "never ends"),
        (json!({"allOf": [{"not": {"$ref": "#"}}]}), "never ends"),
        (chain(40, &twice), "steps"),
        (chain(1_000, &next), "inside of each other"),
        (json!({"properties": {"c": {"allOf": vec![json!({"$ref": "#"}); 20]}}}), "steps"),
        (chain(20, &|i| json!({"allOf": [next(i)], "unevaluatedProperties": false})), "steps"),
        (json!({"allOf": vec![json!({"minimum": 1}); 5_000]}), "subschemas"),
        (
            json!({"anyOf": (0..65).map(|i| json!({"pattern": format!("a{i}")})).collect::<Vec<_>>()}),
            "patterns",
        ),
    ] {
        let message = refused(&schema);
        assert!(message.contains(says), "{message}");
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// Two ways to go at each level are 2^64 at the deepest: such a schema judges what is less deep.
#[test]
fn schemas_that_multiply_judge_values_that_are_not_too_deep() {
    let begun = Instant::now();
    let both = |key: &str| json!({key: {"$ref": "#"}, "$ref": "#/$defs/more", "$defs": {"more": {key: {"$ref": "#"}}}});
    for (schema, deep) in [
        (json!({"properties": {"c": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}), nested(64)),
        (
            json!({"additionalProperties": {"$ref": "#"}, "patternProperties": {"a": {"$ref": "#"}}}),
            nested(64),
        ),
        (both("items"), (0..64).fold(json!(1), |inner, _| json!([inner]))),
        (both("contains"), (0..64).fold(json!(1), |inner, _| json!([inner]))),
    ] {
        let judge = of_schema(&schema).expect("let in");
        let found = judge.violations(&deep);
        assert!(found.len() == 1 && found[0].text.contains("nests deeper"), "{schema}: {found:?}");
        assert!(judge.violations(&nested(8)).is_empty());
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn schemas_that_describe_trees_judge_any_depth() {
    let tree =
        json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "number"}}});
    let judge = of_schema(&tree).unwrap();
    assert!(judge.violations(&json!({"left": {"right": {"n": 1}}, "n": 2})).is_empty());
    assert_eq!(judge.violations(&json!({"left": {"right": {"n": "1"}}}))[0].path, "/left/right/n");
    let closed = json!({"allOf": [{"properties": {"n": {}}}], "properties": {"c": {"$ref": "#"}}, "unevaluatedProperties": false});
    let judge = of_schema(&closed).unwrap();
    assert!(judge.violations(&(0..63).fold(json!({"n": 1}), |inner, _| json!({"c": inner}))).is_empty());
    assert_eq!(judge.violations(&json!({"c": {"x": 1}}))[0].path, "/c");
    let list = json!({"anyOf": [{"type": "number"}, {"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]});
    let judge = of_schema(&list).expect("each level of the value is one more");
    assert!(judge.violations(&nested(63)).is_empty());
}

/// What is left over is found by asking again: the nearest to the limit that is let in, on the widest object.
#[test]
fn what_is_left_over_is_found_in_time() {
    let chain = |n: usize, each: bool| {
        (0..n).fold(json!({"properties": {"x": {}}}), |inner, level| {
            let mut schema = json!({"allOf": [inner]});
            if each || level == n - 1 {
                schema["unevaluatedProperties"] = json!(true);
            }
            schema
        })
    };
    let wide: Value =
        (0..10_000).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>().into();
    let begun = Instant::now();
    for each in [true, false] {
        // JSON is read to 128 levels.
        let judge = (1..60).rev().find_map(|n| of_schema(&chain(n, each)).ok()).expect("some are let in");
        assert!(judge.violations(&wide).is_empty());
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// The dearest schema that is let in, on the deepest value, within the stack of a thread that answers requests.
#[test]
fn the_deepest_that_is_let_in_fits_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let judged = small.spawn(|| {
        let inner = json!({"allOf": [{"allOf": [{"allOf": [{"additionalProperties": {"$ref": "#"}}]}]}]});
        let judge = of_schema(&inner).expect("let in");
        let found = judge.violations(&nested(64));
        let chain: serde_json::Map<String, Value> = (0..400)
            .map(|i| (format!("d{i}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", i + 1)}]})))
            .take(240)
            .chain([("d240".to_owned(), json!({"required": ["x"]}))])
            .collect();
        let judge = of_schema(&json!({"$ref": "#/$defs/d0", "$defs": chain})).expect("let in");
        (found.len(), judge.violations(&json!({})).len())
    });
    assert_eq!(judged.unwrap().join().expect("no overflow"), (0, 1));
}

#[test]
fn patterns_take_linear_time_and_bounded_room() {
    let begun = Instant::now();
    for pattern in ["^(a+)+$", "(a|aa)+$", "(.*)*x", "^(a|b|ab)*c$"] {
        let judge = of_schema(&json!({"properties": {"t": {"pattern": pattern}}})).expect("let in");
        assert_eq!(judge.violations(&json!({"t": "a".repeat(100_000) + "!"})).len(), 1, "{pattern}");
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    for pattern in ["(a{1000}){1000}", r"\p{L}{500}", "(?=a)b", r"(a)\1", "("] {
        refused(&json!({"properties": {"t": {"pattern": pattern}}}));
    }
    let letters =
        of_schema(&json!({"properties": {"t": {"pattern": r"^\p{L}[\w-]{0,20}$"}}})).expect("let in");
    assert!(letters.violations(&json!({"t": "éa-1"})).is_empty());
}

#[test]
fn conditions_are_compiled_before_they_are_in_force() {
    let of = |text: &str| Judge::new(&manifest(&json!({"invariants": [{"name": "i", "cedar": text}]})));
    assert!(of("context.value.a == 1").is_ok());
    for text in ["", "context.value.", &"(".repeat(100), "permit(principal, action, resource);"] {
        assert!(
            of(text).map(drop).expect_err("refused").to_string().starts_with("invariant \"i\": "),
            "{text}"
        );
    }
}
