//! Where answers go: standard output for results, standard error for everything else.

use crate::api::ApiError;
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};

/// The code of an answer that nobody could be given.
const UNWRITTEN: &str = "unwritten";

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
    ///
    /// # Errors
    /// When it cannot be written. A reader that closed the pipe had what it wanted.
    pub(super) fn answer(self, value: &Value, human: impl FnOnce(&Value) -> String) -> Result<(), ApiError> {
        let text = if self.json { value.to_string() } else { human(value) };
        match print(text.trim_end_matches('\n')) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ApiError::failed(
                UNWRITTEN,
                format!("the answer could not be written to standard output: {error}"),
                "what was asked for was done, unless it only reads; make room there, and look with `ops` before \
                 repeating a change",
            )),
            _ => Ok(()),
        }
    }

    /// Prints why there is no answer.
    pub(super) fn error(self, error: &ApiError) {
        let lines = || {
            let hint = if error.message.contains(&error.hint) { "" } else { error.hint.as_str() };
            format!("error: {}\n  {hint}", error.message).trim_end().to_owned()
        };
        // Where answers cannot be written, errors cannot either.
        if !self.json || error.code == UNWRITTEN {
            self.note(&lines());
        } else if let Err(broken) = print(&json!({ "error": shown(error) }).to_string())
            && broken.kind() != ErrorKind::BrokenPipe
        {
            self.note(&lines());
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

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
