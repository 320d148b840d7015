//! `policy check`: whether a file would be accepted, without any workspace. `policy set --device`: what this device
//! forbids itself. `policy test`: a past decision, made again. And how these and `policy set` are told to people.

use super::output::shown;
use super::{Context, commands, print, progress};
use crate::api::{self, ApiError, Request, exit};
use crate::socket::Client;
use serde_json::{Value, json};
use std::path::Path;
use syncd_policy::{Finding, PolicyError};
use syncd_schema::{OperationId, domain};
use tokio::task::block_in_place;

/// Decides again, and says by its exit code whether it came out the same.
pub(super) async fn test(context: &Context, operation: OperationId) -> Result<u8, ApiError> {
    let call = context.call(Request::PolicyTest { operation });
    let answer = context.ask(&call, &progress::none()).await?;
    context.output.answer(&answer, tested)?;
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

/// Makes a file the policy of this device alone, or takes that away: for every workspace, and at once where a daemon runs.
pub(super) async fn set_own(context: &Context, file: Option<&Path>) -> Result<u8, ApiError> {
    api::may_set_own(&context.person()?)?;
    let text = file.map(commands::read_text).transpose()?;
    if let (Some(text), Some(file)) = (&text, file) {
        syncd_policy::check_own(text).map_err(|error| invalid(file, &error))?;
    }
    block_in_place(|| context.root.set_own_policy(text.as_deref()))?;
    let call = context.call(Request::PolicyOwn { text: text.clone() });
    for workspace in context.root.aliases()?.ids() {
        if let Some(mut daemon) = Client::connect(&context.root, &context.root.socket(&workspace)).await? {
            let told = daemon.ask(&call, &progress::none()).await;
            told.map_err(|error| {
                let hint = "the file is written; restart the daemon, which reads it when it starts";
                ApiError::failed("daemon_gone", api::chain(&error), hint)
            })??;
        }
    }
    let digest = text.as_ref().map(|text| domain::sha256(text.as_bytes()));
    let answer = json!({ "layer": "device", "digest": digest, "file": context.root.policy_file() });
    context.output.answer(&answer, own_set)?;
    Ok(0)
}

fn own_set(answer: &Value) -> String {
    match answer.get("digest") {
        Some(Value::String(_)) => {
            format!(
                "policy of this device {}  {}",
                print::short(answer, "digest"),
                print::text(answer, "file")
            )
        }
        _ => "this device has no policy of its own".to_owned(),
    }
}

/// Prints the schema that policies are checked against; needs no workspace.
pub(super) fn attributes(context: &Context) -> Result<u8, ApiError> {
    let answer = json!({ "schema": syncd_policy::SCHEMA });
    context.output.answer(&answer, |answer| print::text(answer, "schema"))?;
    Ok(0)
}

/// Checks a file and prints everything that is wrong with it.
pub(super) fn check(context: &Context, file: &Path, device: bool) -> Result<u8, ApiError> {
    let text = commands::read_text(file)?;
    let report = if device { syncd_policy::check_own(&text) } else { syncd_policy::check(&text) };
    match report {
        Ok(report) => {
            let warnings: Vec<Value> = report.warnings.iter().map(finding).collect();
            let policies = api::listed(&report);
            let answer = json!({ "ok": true, "digest": report.digest, "policies": policies, "errors": [], "warnings": warnings });
            context.output.answer(&answer, print::checked)?;
            Ok(0)
        }
        Err(error) => {
            let errors: Vec<Value> = match &error {
                PolicyError::Syntax(findings) | PolicyError::Invalid(findings) => {
                    findings.iter().map(finding).collect()
                }
                other => vec![json!({ "message": other.to_string() })],
            };
            let error = invalid(file, &error);
            if context.output.is_json() {
                let answer = json!({ "ok": false, "errors": errors, "warnings": [], "error": shown(&error) });
                context.output.answer(&answer, print::checked)?;
                Ok(exit::FAILED)
            } else {
                Err(error)
            }
        }
    }
}

fn invalid(file: &Path, error: &PolicyError) -> ApiError {
    let message = format!("{}: {}", file.display(), api::chain(error));
    ApiError::failed("invalid_policy", message, "correct the places named, and check again")
}

fn finding(finding: &Finding) -> Value {
    json!({
        "line": finding.place.map(|place| place.line),
        "column": finding.place.map(|place| place.column),
        "message": finding.message,
        "help": finding.help,
    })
}
