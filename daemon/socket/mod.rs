//! The daemon's Unix socket: one JSON document per line in both directions.
//!
//! A client sends a [`Call`] and hears any number of `{"progress":{"done":…,"total":…}}` lines,
//! then one `{"ok":…}` or `{"error":{"code","message","hint","exit"}}`. It may then send the next. Lines are bounded
//! while they are read; only the user who owns the root directory is heard.

mod client;
mod server;

pub use client::{Client, ClientError};
pub use server::Server;

use crate::api::{ApiError, Call};
use crate::exact::{self, ExactError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use syncd_schema::limits;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Clients served at a time: each may hold one request in memory.
const CLIENTS: usize = 64;
/// How long a client may be silent between requests before its place is given to others.
const IDLE: Duration = Duration::from_secs(300);
/// How often a daemon that is at work says so, to a client that would take silence for the end.
const AT_WORK: Duration = Duration::from_secs(1);
/// After how much silence a client's person is told that the daemon does not answer.
pub const SILENCE: Duration = Duration::from_secs(5);
/// After how much silence a client gives up: far more than a daemon is ever silent for, even on a busy machine.
pub const GIVE_UP: Duration = Duration::from_secs(20);
/// An answer may be a list of everything: larger than any request, and still bounded.
const ANSWER_BYTES: usize = 8 * limits::REQUEST_BYTES;

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// How far it is.
    Progress {
        /// Done.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// The answer.
    Ok(Value),
    /// Why there is none.
    Error(ApiError),
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
enum ReadLineError {
    #[error("the line is longer than {0} bytes")]
    TooLong(usize),
    #[error("the connection ended inside a line")]
    Cut,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads one line of at most `limit` bytes; none when the other side is done.
async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin + Send),
    limit: usize,
) -> Result<Option<Vec<u8>>, ReadLineError> {
    let mut line = Vec::new();
    let read = reader.take(limit as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if read > limit => Err(ReadLineError::TooLong(limit)),
        Some(_) => Err(ReadLineError::Cut),
    }
}

/// Reads a request, a line without its end.
///
/// # Errors
/// When it is none of this version, or of more values than any request has.
pub fn call(line: &[u8]) -> Result<Call, ApiError> {
    if values(line) > limits::REQUEST_VALUES {
        let message = format!("a request of more than {} JSON values", limits::REQUEST_VALUES);
        return Err(ApiError::failed("too_large", message, "split the request"));
    }
    // Here and below the position and what was expected, never the text: a log may keep it.
    match exact::check(line) {
        Err(ExactError::Number { column, .. }) => {
            let message = format!("a whole number beyond 64 bits (column {column})");
            return Err(ApiError::usage(message, "write it as a string, or with a point or an exponent"));
        }
        Err(ExactError::Form(error)) if error.is_data() => {
            let message = format!("a name stands twice in one object (column {})", error.column());
            return Err(ApiError::usage(message, "say each name once"));
        }
        Err(ExactError::Form(_)) | Ok(()) => {}
    }
    serde_json::from_slice(line).map_err(|error| {
        let message = format!("not a request of this version (column {})", error.column());
        ApiError::usage(message, "use a command of the same version as the daemon, or restart the daemon")
    })
}

/// How many values JSON has at most, without reading them: in memory a small object takes 90 times its text.
fn values(json: &[u8]) -> usize {
    let (mut values, mut quoted, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' | b',' if !quoted => values += 1,
            _ => {}
        }
    }
    values
}

/// A line as bytes, its end included.
fn encode(line: &impl Serialize) -> Vec<u8> {
    // Values that came from JSON always go back to it.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_while_they_are_read() {
        let mut input: &[u8] = b"ab\n\ncdef\nx";
        assert_eq!(read_line(&mut input, 3).await.unwrap().unwrap(), b"ab");
        assert_eq!(read_line(&mut input, 3).await.unwrap().unwrap(), b"");
        assert!(matches!(read_line(&mut input, 3).await, Err(ReadLineError::TooLong(3))));
        let mut input: &[u8] = b"x";
        assert!(matches!(read_line(&mut input, 3).await, Err(ReadLineError::Cut)));
        assert!(read_line(&mut input, 3).await.unwrap().is_none());
    }

    #[test]
    fn values_are_counted_before_they_are_read() {
        assert_eq!(values(br#"{"a": [1, "[,{\",", {}]}"#), 6);
        let objects = "{},".repeat(limits::REQUEST_VALUES / 2);
        let line =
            format!(r#"{{"actor":"user:ada","request":{{"schema_set":{{"manifest":[{objects}0]}}}}}}"#);
        assert_eq!(call(line.as_bytes()).unwrap_err().code, "too_large");
        let text = ",".repeat(limits::REQUEST_VALUES);
        let line = format!(r#"{{"actor":"user:ada","request":{{"policy_set":{{"text":"{text}"}}}}}}"#);
        assert!(call(line.as_bytes()).is_ok());
    }

    #[test]
    fn a_request_is_taken_as_it_is_written_or_not_at_all() {
        let put = |value: &str| {
            let line =
                format!(r#"{{"actor":"user:ada","request":{{"put":{{"collection":"c","value":{value}}}}}}}"#);
            call(line.as_bytes()).map(drop).map_err(|error| error.message)
        };
        assert_eq!(put(r#"{"n":18446744073709551615,"m":{"n":1e30}}"#), Ok(()));
        assert!(put(r#"{"n":18446744073709551616}"#).unwrap_err().contains("64 bits (column 69)"));
        assert!(put(r#"{"secret":1,"secret":2}"#).unwrap_err().starts_with("a name stands twice"));
    }
}
