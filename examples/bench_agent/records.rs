//! The records and the text that the harness works with.

use serde_json::{Value, json};
use std::io::Read;
use syncd_engine::{Edit, Intent};
use syncd_schema::{Actor, ObjectId};

/// The collection of all records.
pub fn collection() -> syncd_schema::Collection {
    "records".parse().expect("a name")
}

/// Who works.
pub fn actor() -> Actor {
    "user:bench".parse().expect("an actor")
}

/// The five steps in which record `i` comes to be: twelve fields, about 300 bytes as JSON.
pub fn steps(i: u64) -> [Value; 5] {
    [
        json!({
            "id": format!("rec-{i:08}"), "title": format!("Inspection record number {i}"),
            "author": format!("user-{}@example.org", i % 97), "created": 1_700_000_000_000_u64 + i,
        }),
        json!({"status": "draft", "priority": i % 5}),
        json!({
            "body": format!("Line {i}: the quick brown fox jumps over the lazy dog near the river bank"),
            "count": i * 7,
        }),
        json!({"ratio": (i % 1000) as f64 / 3.0, "flag": i.is_multiple_of(2)}),
        json!({"site": format!("site-{}", i % 313), "updated": 1_700_000_100_000_u64 + i}),
    ]
}

/// The whole record.
pub fn whole(i: u64) -> Value {
    let mut record = json!({});
    for step in steps(i) {
        for (key, value) in step.as_object().expect("an object") {
            record[key] = value.clone();
        }
    }
    record
}

/// A merge patch on an object.
pub fn patch(object: &ObjectId, value: Value) -> Intent {
    Intent::Edit { object: object.clone(), base: None, edit: Edit::MergePatch(value) }
}

/// A sequential editing trace: position, deleted, inserted; and the text at its end.
pub fn trace(path: &str) -> (Vec<(usize, usize, String)>, String) {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("the trace is readable");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let patches = trace["txns"].as_array().expect("txns").iter().flat_map(|txn| {
        txn["patches"].as_array().expect("patches").iter().map(|patch| {
            (number(&patch[0]), number(&patch[1]), patch[2].as_str().expect("a text").to_owned())
        })
    });
    (patches.collect(), trace["endContent"].as_str().expect("a text").to_owned())
}

/// The ids in a file, one a line.
pub fn ids(path: &str) -> Vec<ObjectId> {
    let text = std::fs::read_to_string(path).expect("the ids are readable");
    text.lines().map(|line| line.parse().expect("an id")).collect()
}
