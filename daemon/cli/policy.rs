//! `policy check`: whether a file would be accepted as a bundle, without any workspace.

use super::output::shown;
use super::{Context, commands, print};
use crate::api::{self, ApiError, exit};
use serde_json::{Value, json};
use std::path::Path;
use syncd_policy::{Finding, PolicyError};

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
