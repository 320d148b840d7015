//! Where answers go: standard output for results, standard error for everything else.

use crate::api::ApiError;
use serde_json::{Value, json};
use std::io::Write;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer: as one line of JSON, or as what it is for people.
    pub(super) fn answer(self, value: &Value, human: impl FnOnce(&Value) -> String) {
        if self.json { print(&value.to_string()) } else { print(human(value).trim_end_matches('\n')) }
    }

    /// Prints why there is no answer.
    pub(super) fn error(self, error: &ApiError) {
        if self.json {
            print(&json!({ "error": shown(error) }).to_string());
        } else {
            self.note(&format!("error: {}\n  {}", error.message, error.hint));
        }
    }

    /// Says something that is not the answer.
    pub(super) fn note(self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody can be told that nobody can be told.
        let _ = writeln!(stderr, "{text}");
    }
}

/// An error as `--json` shows it.
pub(super) fn shown(error: &ApiError) -> Value {
    json!({ "code": error.code, "message": error.message, "hint": error.hint })
}

fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that went away has what it wanted; the exit code still says how the command went.
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
