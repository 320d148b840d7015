//! The detector: a table of what contradicts and what does not, and random work against a reference of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod answers;
mod live;
mod random;
#[path = "../real/mod.rs"]
mod real;
mod reference;
mod table;

use automerge::{ActorId, Automerge, ChangeHash};
use std::collections::BTreeSet;
use syncd_engine::conflict::{self, Conflict};
use syncd_engine::document;
use syncd_schema::Digest;

fn actor(n: u8) -> ActorId {
    ActorId::from([n; 16])
}

/// Gives `to` what `from` holds and it lacks, and says which contradictions that brings.
fn receive(from: &Automerge, to: &mut Automerge) -> Vec<Conflict> {
    let held: BTreeSet<ChangeHash> = to.get_changes(&[]).iter().map(|change| change.hash()).collect();
    let new: Vec<automerge::Change> =
        from.get_changes(&[]).into_iter().filter(|change| !held.contains(&change.hash())).collect();
    take(new, to)
}

fn take(changes: Vec<automerge::Change>, to: &mut Automerge) -> Vec<Conflict> {
    let arrived: Vec<Digest> = changes.iter().map(|change| Digest(change.hash().0)).collect();
    to.apply_changes(changes).unwrap();
    conflict::update(to, &BTreeSet::new(), &arrived, &|_| false).unwrap().into_iter().collect()
}

fn empty(n: u8) -> Automerge {
    document::empty().with_actor(actor(n))
}
