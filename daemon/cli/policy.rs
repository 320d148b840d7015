//! `policy check`: whether a file would be accepted as a bundle, without any workspace. `policy test`: a past decision,
//! made again. And how both and `policy set` are told to people.

use super::output::shown;
use super::{Context, commands, print, progress};
use crate::api::{self, ApiError, Request, exit};
use serde_json::{Value, json};
use std::path::Path;
use syncd_policy::{Finding, PolicyError};
use syncd_schema::OperationId;

/// Decides again, and says by its exit code whether it came out the same.
pub(super) async fn test(context: &Context, operation: OperationId) -> Result<u8, ApiError> {
    let call = context.call(Request::PolicyTest { operation });
    let answer = context.ask(&call, &progress::none()).await?;
    context.output.answer(&answer, tested);
    Ok(api::tested(&answer))
}

fn tested(answer: &Value) -> String {
    let word =
        |at: &str, key: &str| answer.get(at).map(|decision| print::text(decision, key)).unwrap_or_default();
    let line = |name: &str, at: &str| {
        let policies = answer.get(at).map(|decision| print::rows(decision, "policies")).unwrap_or_default();
        let policies: Vec<&str> = policies.iter().filter_map(Value::as_str).collect();
        vec![name.to_owned(), word(at, "verdict"), policies.join(", ")]
    };
    let same = answer.get("same") == Some(&Value::Bool(true));
    let outcome = if same { "the same is decided again" } else { "something ELSE is decided again" };
    let mut out = format!("{outcome}\n");
    out.push_str(&print::table(vec![line("then", "then"), line("again", "again"), line("now", "now")]));
    let assumed = answer.get("now").map(|now| print::rows(now, "assumed")).unwrap_or_default();
    let assumed: Vec<&str> = assumed.iter().filter_map(Value::as_str).collect();
    if !assumed.is_empty() {
        out.push_str(&format!("not on record, and assumed for now: {}\n", assumed.join(", ")));
    }
    out
}

/// What `policy set` came to.
pub(super) fn put_in_force(answer: &Value) -> String {
    format!(
        "bundle {}  {}\noperation {}\npolicy version {}",
        print::short(answer, "digest"),
        print::text(answer, "status"),
        print::text(answer, "operation"),
        print::text(answer, "version")
    )
}

/// Checks a file and prints everything that is wrong with it.
pub(super) fn check(context: &Context, file: &Path) -> Result<u8, ApiError> {
    let text = commands::read_text(file)?;
    match syncd_policy::check(&text) {
        Ok(report) => {
            let warnings: Vec<Value> = report.warnings.iter().map(finding).collect();
            let policies = api::listed(&report);
            let answer = json!({ "ok": true, "digest": report.digest, "policies": policies, "errors": [], "warnings": warnings });
            context.output.answer(&answer, print::checked);
            Ok(0)
        }
        Err(error) => {
            let message = api::chain(&error);
            let errors: Vec<Value> = match &error {
                PolicyError::Syntax(findings) | PolicyError::Invalid(findings) => {
                    findings.iter().map(finding).collect()
                }
                other => vec![json!({ "message": other.to_string() })],
            };
            let hint = "correct the places named, and check again";
            let error = ApiError::failed("invalid_policy", format!("{}: {message}", file.display()), hint);
            if context.output.is_json() {
                let answer = json!({ "ok": false, "errors": errors, "warnings": [], "error": shown(&error) });
                context.output.answer(&answer, print::checked);
                Ok(exit::FAILED)
            } else {
                Err(error)
            }
        }
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "line": finding.place.map(|place| place.line),
        "column": finding.place.map(|place| place.column),
        "message": finding.message,
        "help": finding.help,
    })
}
