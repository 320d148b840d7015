//! What `policy check` says about texts: places of errors, warnings, bounds.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use syncd_policy::{DEFAULT_BUNDLE, FLOOR, Finding, Place, PolicyError, check};

fn invalid(text: &str) -> Vec<Finding> {
    match check(text) {
        Err(PolicyError::Invalid(findings) | PolicyError::Syntax(findings)) => findings,
        other => panic!("expected findings, got {other:?}"),
    }
}

#[test]
fn the_built_in_texts_are_clean() {
    for text in [FLOOR, DEFAULT_BUNDLE] {
        let report = check(text).expect("accepted");
        assert_eq!(report.warnings, []);
        assert!(report.policies.iter().all(|policy| policy.name.parse::<usize>().is_err()), "all have names");
    }
}

#[test]
fn a_report_lists_policies_with_their_places() {
    let text = "// first\npermit(principal, action, resource);\n\n  @id(\"look\") @review(\"Look.\")\n  \
                forbid(principal, action, resource) when { context.dangerous };";
    let report = check(text).expect("accepted");
    let listed: Vec<_> = report
        .policies
        .iter()
        .map(|p| (p.name.as_str(), p.place.line, p.place.column, p.permits, p.review))
        .collect();
    assert_eq!(listed, [("0", 2, 1, true, false), ("look", 4, 3, false, true)]);
}

#[test]
fn a_syntax_error_names_its_line() {
    let error =
        check("permit(principal, action, resource);\n\nforbid(principal action, resource);").expect_err("no");
    assert!(matches!(error, PolicyError::Syntax(_)));
    assert!(error.to_string().contains("line 3, column 18"), "{error}");
}

#[test]
fn words_the_schema_does_not_have_are_errors_with_a_place() {
    let text = "permit(principal, action, resource)\nwhen { context.role == Role::\"onwer\" };";
    let findings = invalid(text);
    assert_eq!(findings[0].place, Some(Place { line: 2, column: 24 }), "{findings:?}");
    let text = "permit(principal, action, resource)\nwhen {\n  context.colour == \"red\" };";
    assert_eq!(invalid(text)[0].place.map(|place| place.line), Some(3));
    assert!(check("permit(principal, action == Action::\"read\", resource);").is_err());
    assert!(check("permit(principal == Person::\"ada\", action, resource);").is_err());
    assert!(check("permit(principal, action, resource) when { context.size > \"1\" };").is_err());
}

#[test]
fn names_and_annotations_are_checked() {
    let twice =
        "@id(\"a\")permit(principal, action, resource);\n@id(\"a\")permit(principal, action, resource);";
    assert_eq!(invalid(twice)[0].to_string(), "line 2, column 1: another policy has this @id");
    assert!(invalid("@id(\"a b\")permit(principal, action, resource);")[0].message.contains("@id"));
    assert!(invalid("@review(\"x\")permit(principal, action, resource);")[0].message.contains("@review"));
    let template = "permit(principal == ?principal, action, resource);";
    assert!(invalid(template)[0].message.contains("template"));
}

#[test]
fn policies_that_never_apply_and_lockouts_are_warned_of() {
    let warns = |text: &str, of: &str| {
        let report = check(text).expect("accepted");
        let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.iter().any(|warning| warning.contains(of)), "{warnings:?}");
    };
    let never = "permit(principal, action, resource);\nforbid(principal, action == Action::\"edit\", resource) \
                 when { principal is User && principal is Agent };";
    warns(never, "line 2, column 1");
    warns("", "permits anything");
    warns("forbid(principal, action, resource) when { context.dangerous };", "permits anything");
    warns("permit(principal, action in Action::\"write\", resource);", "replace it");
    let keeps =
        "permit(principal, action, resource); forbid(principal, action, resource) when { context.weakens };";
    warns(keeps, "replace it");
    assert_eq!(check("permit(principal, action, resource);").expect("accepted").warnings, []);
}

/// Without the bounds each of these overflows the stack inside Cedar and ends the process.
#[test]
fn deep_texts_are_refused_before_cedar_sees_them() {
    let policy = |condition: String| format!("permit(principal, action, resource)\nwhen {{ {condition} }};");
    for condition in [
        format!("{}true{}", "(".repeat(500), ")".repeat(500)),
        format!("{}1{}.isEmpty()", "[".repeat(500), "]".repeat(500)),
        format!("true{}", "&&true".repeat(8_000)),
        format!("1{} == 1", "+1".repeat(8_000)),
        format!("{}true", "if true then true else ".repeat(2_500)),
        format!("context{}", ".a".repeat(8_000)),
    ] {
        let error = check(&policy(condition)).expect_err("too much");
        assert!(matches!(error, PolicyError::TooMuch { place: Place { line: 2, .. }, .. }), "{error}");
    }
}

/// What the bounds let pass must fit a stack of 2 MiB, that of a worker thread.
#[test]
fn the_deepest_texts_that_pass_fit_a_small_stack() {
    let policy = |condition: String| format!("permit(principal, action, resource) when {{ {condition} }};");
    let brackets = 23;
    for condition in [
        format!("{}true{}", "(".repeat(brackets), ")".repeat(brackets)),
        format!("{}true{}{}", "(".repeat(brackets), ")".repeat(brackets), "&&true".repeat(250)),
        format!(
            "{}{}true{}",
            "!(".repeat(brackets),
            "if true then true else ".repeat(160),
            ")".repeat(brackets)
        ),
        format!("1{} > 0", "+1".repeat(500)),
    ] {
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || check(&policy(condition)));
        let report = thread.expect("a thread").join().expect("no overflow");
        assert!(report.is_ok(), "{report:?}");
    }
}
