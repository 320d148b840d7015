//! Real editing sessions: how they are read, and what each transaction was made with knowledge of.
#![allow(dead_code, reason = "each test file uses a part")]

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Position, deleted, inserted; in code points.
pub type Patch = (usize, usize, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(default)]
    pub start_content: String,
    pub end_content: String,
    pub txns: Vec<Txn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Txn {
    #[serde(default)]
    pub agent: usize,
    #[serde(default)]
    pub parents: Vec<usize>,
    pub patches: Vec<Patch>,
}

/// How many transactions of each agent a state holds. One agent's are ordered, so this says which.
pub type Past = BTreeMap<usize, usize>;

/// A trace of the shared data, if that is there.
pub fn shared(name: &str) -> Option<Trace> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there; only the small trace is replayed", path.display());
        return None;
    }
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip runs");
    assert!(unpacked.status.success(), "gzip cannot read {}", path.display());
    Some(serde_json::from_slice(&unpacked.stdout).expect("a trace"))
}

/// The small trace inside the repository.
pub fn small() -> Trace {
    serde_json::from_str(include_str!("../data/small-trace.json")).expect("a trace")
}

/// The causal past of each transaction, itself excluded.
pub fn pasts(trace: &Trace) -> Vec<Past> {
    let mut after: Vec<Past> = Vec::new();
    let mut pasts = Vec::new();
    let mut written = Past::new();
    for txn in &trace.txns {
        let mut past = Past::new();
        for parent in &txn.parents {
            for (agent, count) in &after[*parent] {
                let known = past.entry(*agent).or_default();
                *known = (*known).max(*count);
            }
        }
        let own = past.get(&txn.agent).copied().unwrap_or_default();
        let mine = written.entry(txn.agent).or_default();
        assert_eq!(own, *mine, "an agent knows what it wrote");
        *mine += 1;
        let mut with = past.clone();
        with.insert(txn.agent, own + 1);
        after.push(with);
        pasts.push(past);
    }
    pasts
}

/// Where a commit may end. One operation per transaction either way; with `grouped`, transactions that one agent
/// wrote without hearing of anybody share a commit, unless somebody needs exactly those before.
pub fn commits(trace: &Trace, pasts: &[Past], grouped: bool) -> Vec<std::ops::Range<usize>> {
    let needed: BTreeSet<(usize, usize)> = trace
        .txns
        .iter()
        .zip(pasts)
        .flat_map(|(txn, past)| past.iter().filter(|(agent, _)| **agent != txn.agent).map(|(a, n)| (*a, *n)))
        .collect();
    let others = |n: usize| pasts[n].iter().filter(move |(agent, _)| **agent != trace.txns[n].agent);
    let mut commits: Vec<std::ops::Range<usize>> = Vec::new();
    for (n, txn) in trace.txns.iter().enumerate() {
        let own = pasts[n].get(&txn.agent).copied().unwrap_or_default();
        let goes_on = grouped
            && n > 0
            && trace.txns[n - 1].agent == txn.agent
            && others(n - 1).eq(others(n))
            && !needed.contains(&(txn.agent, own));
        match commits.last_mut() {
            Some(last) if goes_on => last.end = n + 1,
            _ => commits.push(n..n + 1),
        }
    }
    commits
}
