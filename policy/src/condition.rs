//! A condition on a value: a Cedar expression that must be true of it, as a manifest's invariants have it.
//!
//! The expression sees `context.value` and nothing else that means anything. JSON objects are records, arrays are sets,
//! whole numbers of 64 bits are `Long`, 2.0 as much as 2. Cedar knows no null and no fractions: a member or an item that
//! is null, a fraction or a larger number is left out, and `has` asks whether a member is there. An expression that
//! cannot be evaluated, or comes to something else than a boolean, counts as false, and the reason says so.

use crate::check::{self, PolicyError};
use crate::shape;
use cedar_policy::{
    Context, Entities, EntityUid, EvalResult, Expression, Policy, Request, RestrictedExpression,
    eval_expression,
};
use serde_json::{Number, Value};
use std::collections::BTreeSet;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Condition {
    expression: Expression,
}

impl Condition {
    /// Parses an expression.
    ///
    /// # Errors
    /// When it is too long, too deeply nested, or not a Cedar expression.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        // Cedar's parser recurses without a bound.
        check::scan(text)?;
        let expression = text.parse().map_err(|errors| check::syntax(text, &errors))?;
        Ok(Self { expression })
    }

    /// What an expression that parses looks at: each path of attributes it reads or asks for, from the variable on, such as
    /// `["context", "value", "spent"]`. What cannot be told apart is left out: attributes of what a record or an `if` yields.
    ///
    /// # Errors
    /// As [`Condition::parse`].
    pub fn looks_at(text: &str) -> Result<BTreeSet<Vec<String>>, PolicyError> {
        Self::parse(text)?;
        // Cedar shows the form of policies only. What parses as an expression is one, whatever stands around it.
        let policy = Policy::parse(None, format!("permit(principal, action, resource) when {{ {text}\n}};"))
            .map_err(|errors| check::syntax(text, &errors))?;
        let form = policy.to_json().map_err(|error| PolicyError::BuiltIn {
            what: "form of an expression",
            message: error.to_string(),
        })?;
        let mut found = BTreeSet::new();
        for condition in form.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            condition.get("body").into_iter().for_each(|body| paths(body, &mut found));
        }
        Ok(found)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// Why it is not, in words.
    pub fn judge(&self, facts: &Facts) -> Result<(), String> {
        match eval_expression(&facts.request, &Entities::empty(), &self.expression) {
            Ok(EvalResult::Bool(true)) => Ok(()),
            Ok(EvalResult::Bool(false)) => Err("is false".to_owned()),
            Ok(_) => Err("is neither true nor false".to_owned()),
            Err(error) => Err(format!("cannot be evaluated: {error}")),
        }
    }
}

/// Adds the paths in an expression's form. One that goes on stands for what it begins with.
fn paths(form: &Value, found: &mut BTreeSet<Vec<String>>) {
    if let Some(path) = path(form) {
        found.insert(path);
        return;
    }
    match form {
        Value::Array(items) => items.iter().for_each(|item| paths(item, found)),
        Value::Object(members) => members.values().for_each(|member| paths(member, found)),
        _ => {}
    }
}

/// The path that a form is: a variable, or an attribute of a path.
fn path(form: &Value) -> Option<Vec<String>> {
    let [(operator, inner)] = form.as_object()?.iter().collect::<Vec<_>>()[..] else { return None };
    match operator.as_str() {
        "Var" => Some(vec![inner.as_str()?.to_owned()]),
        "." | "has" => {
            let mut path = path(inner.get("left")?)?;
            path.push(inner.get("attr")?.as_str()?.to_owned());
            Some(path)
        }
        _ => None,
    }
}

/// A value as conditions see it.
#[derive(Clone, Debug)]
pub struct Facts {
    request: Request,
}

impl Facts {
    /// Makes a value visible to conditions.
    ///
    /// # Errors
    /// When Cedar cannot hold it, in words.
    pub fn of(value: &Value) -> Result<Self, String> {
        let value = expression(value, shape::FACTS_DEPTH)?
            .ok_or_else(|| "the value is none that Cedar knows".to_owned())?;
        let context =
            Context::from_pairs([("value".to_owned(), value)]).map_err(|error| error.to_string())?;
        let nobody = |kind: &str| {
            let named = format!("{kind}::\"this\"");
            named.parse::<EntityUid>().map_err(|error| error.to_string())
        };
        let request = Request::new(nobody("User")?, nobody("Action")?, nobody("Object")?, context, None);
        Ok(Self { request: request.map_err(|error| error.to_string())? })
    }
}

/// None for what Cedar has no value for.
fn expression(value: &Value, depth: usize) -> Result<Option<RestrictedExpression>, String> {
    let below = || depth.checked_sub(1).ok_or_else(|| "the value nests too deep".to_owned());
    Ok(match value {
        Value::Null => None,
        Value::Bool(b) => Some(RestrictedExpression::new_bool(*b)),
        Value::Number(number) => whole(number).map(RestrictedExpression::new_long),
        Value::String(text) => Some(RestrictedExpression::new_string(text.clone())),
        Value::Array(items) => {
            let below = below()?;
            let items = items.iter().map(|item| expression(item, below)).collect::<Result<Vec<_>, _>>()?;
            Some(RestrictedExpression::new_set(items.into_iter().flatten()))
        }
        Value::Object(members) => {
            let below = below()?;
            let mut fields = Vec::with_capacity(members.len());
            for (key, member) in members {
                if let Some(member) = expression(member, below)? {
                    fields.push((key.clone(), member));
                }
            }
            Some(RestrictedExpression::new_record(fields).map_err(|error| error.to_string())?)
        }
    })
}

/// A number as a `Long`, if it is whole and fits.
fn whole(number: &Number) -> Option<i64> {
    /// 2^63: floating point numbers below it in size, and it negated, are 64-bit integers if they are whole.
    const EDGE: f64 = 9_223_372_036_854_775_808.0;
    let fits = |n: &f64| n.fract() == 0.0 && (-EDGE..EDGE).contains(n);
    number.as_i64().or_else(|| {
        let float = number.is_f64().then(|| number.as_f64()).flatten();
        float.filter(fits).map(|n| n as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(text: &str, value: &Value) -> Result<(), String> {
        Condition::parse(text).expect("an expression").judge(&Facts::of(value)?)
    }

    #[test]
    fn a_value_is_a_record() {
        let value = json!({"spent": 7, "budget": 10.0, "tags": ["a", "b"], "who": {"name": "ada"}});
        for (text, holds) in [
            ("context.value.spent <= context.value.budget", true),
            ("context.value.spent > 7", false),
            (r#"context.value.tags.contains("a")"#, true),
            (r#"context.value.who.name like "a*""#, true),
            ("context.value has nothing", false),
            (r#"if context.value has spent then context.value.spent < 8 else false"#, true),
        ] {
            assert_eq!(judge(text, &value).is_ok(), holds, "{text}");
        }
    }

    #[test]
    fn what_it_looks_at_can_be_told() {
        let text = r#"context.value.a.b <= context.vlaue.c && context.value has d && !(principal == User::"x")
            && (if context.value has "e" then [1, context.value.e].contains(1) else {Var: "resource"}.Var == "") // end"#;
        let found: Vec<String> =
            Condition::looks_at(text).unwrap().iter().map(|path| path.join(".")).collect();
        let expected =
            ["context.value.a.b", "context.value.d", "context.value.e", "context.vlaue.c", "principal"];
        assert_eq!(found, expected);
        assert!(Condition::looks_at("true }; permit(principal, action, resource) when { true").is_err());
    }

    #[test]
    fn what_cannot_be_evaluated_does_not_hold() {
        let value = json!({"n": 1});
        let says = |text: &str| judge(text, &value).expect_err("does not hold");
        assert!(says("context.value.missing > 1").contains("cannot be evaluated"));
        assert!(says("context.value.n && true").contains("cannot be evaluated"));
        assert!(says("context.value.n + 9223372036854775807 > 0").contains("cannot be evaluated"));
        assert!(says("context.value.n").contains("neither"));
        assert!(says("principal == User::\"ada\"").contains("is false"));
    }

    #[test]
    fn null_and_fractions_are_not_there() {
        let value = json!({"a": null, "b": 1.5, "c": 18_446_744_073_709_551_615_u64, "d": [1, 1.5, null, 2]});
        for text in ["context.value has a", "context.value has b", "context.value has c"] {
            assert!(judge(text, &value).is_err(), "{text}");
        }
        assert_eq!(judge("context.value.d == [1, 2]", &value), Ok(()));
        assert_eq!(whole(&Number::from_f64(-9.3e18).unwrap()), None);
    }

    #[test]
    fn members_that_cedar_gives_a_meaning_have_none_here() {
        let value = json!({"x": {"__entity": {"type": "User", "id": "ada"}}, "y": {"__extn": {"fn": "ip", "arg": "1"}}});
        assert_eq!(judge(r#"context.value.x has __entity && context.value.y has __extn"#, &value), Ok(()));
    }

    #[test]
    fn hostile_texts_and_values_are_refused_and_harmless() {
        assert!(matches!(Condition::parse(&"(".repeat(500)), Err(PolicyError::TooMuch { .. })));
        assert!(matches!(Condition::parse(&"!".repeat(600)), Err(PolicyError::TooMuch { .. })));
        assert!(matches!(
            Condition::parse("true }; permit(principal, action, resource) when { true"),
            Err(PolicyError::Syntax(_))
        ));
        let mut deep = json!(1);
        for _ in 0..shape::FACTS_DEPTH {
            deep = json!({"a": deep});
        }
        // The stack of a thread that answers requests.
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let judged =
            small.spawn(move || (judge("context.value has a", &deep), judge("true", &json!([deep]))));
        let (fits, too_deep) = judged.unwrap().join().unwrap();
        assert_eq!(fits, Ok(()));
        assert!(too_deep.unwrap_err().contains("too deep"));
    }
}
