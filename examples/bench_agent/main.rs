//! A device that a benchmark drives over standard input and output, one JSON line each way.
//!
//! It is the product with everything on: gate, log, ledger, and a commit on disk before every answer. The commands
//! are those of the peers' harness, so that one driver measures all of them; `ingest` takes a number of callers.
//! Run it with `--dir DIR`. [`device`] is the store and its node, [`work`] what the commands do, [`records`] the data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring tool stops at the first thing that is not as it should be"
)]

mod device;
mod records;
mod work;

use device::Device;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Prints one line at once.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("standard output is open");
    out.flush().expect("standard output is open");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let began = Instant::now();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|a| a == "--dir").expect("--dir DIR");
    let mut device = Device::open(PathBuf::from(&arguments[at + 1]));
    say(&json!({"ev": "ready", "ms": began.elapsed().as_secs_f64() * 1e3}));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("standard input is readable") {
        let command: Value = serde_json::from_str(&line).expect("a JSON line");
        let name = command["cmd"].as_str().expect("cmd").to_owned();
        if name == "quit" {
            device.stop().await;
            return;
        }
        if let Some(answer) = work::run(&mut device, &name, &command).await {
            say(&json!({"re": name, "r": answer}));
        }
    }
}
