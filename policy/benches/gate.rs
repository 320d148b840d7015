//! What a decision costs: cached, cold, and compiling. Plain timing; prints the median of each.

use std::hint::black_box;
use std::time::{Duration, Instant};
use syncd_policy::{Action, Base, Gate, Origin, Request, default_bundles};
use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{Actor, Collection, DeviceId, ObjectId, OperationId, Role, UnixMicros};

/// Calls timed together, so that the clock's own cost does not count.
const BATCH: u32 = 20;

fn median(name: &str, rounds: usize, mut round: impl FnMut() -> Duration) {
    let mut times: Vec<Duration> = (0..rounds).map(|_| round()).collect();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{name:<32} p50 {:>10.2?}   p99 {:>10.2?}", at(50), at(99));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (actor, agent): (Actor, Actor) = ("user:ada".parse()?, "agent:bot".parse()?);
    let (collection, object): (Collection, ObjectId) = ("notes".parse()?, "n1".parse()?);
    let changed = ["/title".to_owned(), "/text".to_owned()];
    let request = Request {
        action: Action::Edit,
        origin: Origin::Local,
        actor: &actor,
        device: DeviceId([7; 32]),
        role: Some(Role::Member),
        target_role: None,
        collection: Some(&collection),
        object: Some(&object),
        class: PolicyClass::Medium,
        scope: EncryptionScope::Workspace,
        strategy: MergeStrategy::Crdt,
        changed: &changed,
        size: 300,
        base: Base::Named,
        touches_dangerous: false,
        weakens: false,
        argued: false,
        replaces: false,
        has_authority: true,
    };
    let proposal = Request { actor: &agent, base: Base::Stale, ..request.clone() };
    let operation = OperationId::at(UnixMicros(1), 1);
    // Three policies that read what the default bundle does not: numbers, paths, ids.
    let own = "permit(principal, action, resource);
        forbid(principal, action, resource) when { context.size > 1000000 };
        forbid(principal, action, resource) when { context.changed.containsAny([\"/pay\", \"/id\"]) };
        forbid(principal == User::\"eve\", action, resource) when { context.collection == Collection::\"vault\" };";
    for (name, device) in [("default bundle", None), ("with a device layer", Some(own))] {
        let mut gate = Gate::new();
        let policies = gate.compile(&default_bundles(), device)?;
        println!("{name}, {} policies", policies.names(Origin::Local).count());
        for (name, request) in [("allow", &request), ("review", &proposal)] {
            median(&format!("  {name}, cached"), 5_000, || {
                let start = Instant::now();
                for _ in 0..BATCH {
                    let _ = black_box(gate.decide(&policies, operation, black_box(request)));
                }
                start.elapsed() / BATCH
            });
            median(&format!("  {name}, cold"), 2_000, || {
                let mut fresh = Gate::new();
                let start = Instant::now();
                let _ = black_box(fresh.decide(&policies, operation, black_box(request)));
                start.elapsed()
            });
        }
        median("  compile", 50, || {
            let mut fresh = Gate::new();
            let start = Instant::now();
            let _ = black_box(fresh.compile(&default_bundles(), device));
            start.elapsed()
        });
    }
    Ok(())
}
