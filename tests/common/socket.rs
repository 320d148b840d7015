//! A connection to a daemon's socket, as a program would make one: one JSON document per line in both directions.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::os::unix::net::UnixStream;

/// A connection.
pub struct Client {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// What the daemon said: the answer, or the error it gave; the outer error is that it went away.
pub type Ask = std::io::Result<Result<Value, Value>>;

impl Client {
    pub fn connect(socket: &str) -> std::io::Result<Self> {
        let writer = UnixStream::connect(socket)?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    pub fn ask(&mut self, request: &Value) -> Ask {
        writeln!(self.writer, "{}", json!({ "actor": "user:ada", "request": request }))?;
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
            let mut line: Value = serde_json::from_str(&line)?;
            if !line["ok"].is_null() {
                return Ok(Ok(line["ok"].take()));
            }
            if !line["error"].is_null() {
                return Ok(Err(line["error"].take()));
            }
        }
    }

    /// The answer to a request that must succeed.
    pub fn must(&mut self, request: &Value) -> Value {
        self.ask(request).unwrap().unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    pub fn put(&mut self, object: &str, value: Value) -> Ask {
        self.ask(&json!({ "put": { "collection": "notes", "object": object, "value": value } }))
    }

    pub fn edit(&mut self, object: &str, edit: Value) -> Ask {
        self.ask(&json!({ "edit": { "object": object, "base": null, "edit": edit } }))
    }

    pub fn get(&mut self, object: &str) -> Value {
        self.must(&json!({ "get": { "object": object } }))
    }

    /// The ids of all objects.
    pub fn objects(&mut self) -> Vec<String> {
        let rows = self.must(&json!({ "list": { "collection": null, "all": true } }));
        rows.as_array().unwrap().iter().map(|row| row["object"].as_str().unwrap().to_owned()).collect()
    }
}
