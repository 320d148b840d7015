//! What each command of the harness does.

use super::device::Device;
use super::{records, say};
use serde_json::{Value, json};
use sourceos_syncd::net::NodeEvent;
use sourceos_syncd::os;
use std::collections::BTreeSet;
use std::time::Instant;
use syncd_engine::{Edit, Intent, Shared, WriteRequest};
use syncd_schema::ObjectId;

/// Intents handed to the engine in one call by the bulk commands.
const BATCH: usize = 2_000;

fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key].as_str().unwrap_or_default()
}

fn number(command: &Value, key: &str) -> usize {
    command[key].as_u64().unwrap_or_default() as usize
}

fn now_us() -> u64 {
    os::now().0
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Runs a command. None when it has no answer, or answers later.
pub async fn run(device: &mut Device, name: &str, command: &Value) -> Option<Value> {
    let began = Instant::now();
    let answer = match name {
        "gen" => generate(device, command),
        "load" => load(device, command),
        "listen" => {
            device.listen(number(command, "port") as u16, text(command, "ids")).await;
            json!({"ms": ms(began)})
        }
        "connect" => {
            let at = now_us();
            device.connect(number(command, "port") as u16, text(command, "ids")).await;
            json!({"ms": ms(began), "at_us": at})
        }
        "disconnect" => {
            device.disconnect();
            json!({})
        }
        "track" => json!({}),
        "expect" => expect(device, command).await,
        "edit" => edit(device, command),
        "watch" => {
            watch(device, command);
            return None;
        }
        "verify" => verify(device, command),
        "ingest" => ingest(device, command),
        "gen_text" => generate_text(device, command),
        "fetch_text" => fetch_text(device, command).await,
        "live_watch" => live_watch(device, command),
        "live_edit" => {
            live_edit(device, command);
            return None;
        }
        "stats" => json!({}),
        other => json!({"error": format!("unknown command {other}")}),
    };
    Some(answer)
}

/// Carries out intents in large batches; every one must be accepted.
fn write_all(shared: &Shared, intents: Vec<Intent>) {
    for batch in intents.chunks(BATCH) {
        let requests: Vec<WriteRequest> =
            batch.iter().map(|intent| WriteRequest::new(records::actor(), intent.clone())).collect();
        let (answers, events) =
            shared.with(|engine| engine.write(&requests, os::now())).expect("the disk works");
        for answer in answers {
            answer.expect("accepted");
        }
        shared.tell(&events);
    }
}

fn generate(device: &mut Device, command: &Value) -> Value {
    let began = Instant::now();
    let shared = device.shared();
    let n = number(command, "n") as u64;
    let mut ids = String::new();
    let mut intents = Vec::new();
    for i in 0..n {
        let object: ObjectId = format!("record-{i:08}").parse().expect("an id");
        ids.push_str(&format!("{object}\n"));
        let [first, rest @ ..] = records::steps(i);
        intents.push(Intent::Put {
            collection: records::collection(),
            object: Some(object.clone()),
            value: first,
        });
        intents.extend(rest.into_iter().map(|step| records::patch(&object, step)));
    }
    write_all(&shared, intents);
    std::fs::write(text(command, "ids"), ids).expect("the ids are written");
    json!({"ms": ms(began)})
}

fn load(device: &mut Device, command: &Value) -> Value {
    let began = Instant::now();
    let shared = device.shared();
    let mut loaded = 0;
    for id in records::ids(text(command, "ids")) {
        loaded += usize::from(shared.with(|engine| engine.get(&id)).expect("readable").is_some());
    }
    json!({"ms": ms(began), "loaded": loaded})
}

async fn expect(device: &mut Device, command: &Value) -> Value {
    let (shared, node) = (device.shared(), device.node().expect("connected"));
    let n = number(command, "n") as u64;
    let mut steps = node.steps();
    let at = loop {
        steps.mark_unchanged();
        let objects = shared.with(|engine| engine.object_count());
        if objects >= n && node.peers().iter().any(|peer| peer.quiet) {
            break now_us();
        }
        steps.changed().await.expect("the node lives");
    };
    json!({"at_us": at, "stalled": false})
}

fn edit(device: &mut Device, command: &Value) -> Value {
    let began = Instant::now();
    let shared = device.shared();
    let ids = records::ids(text(command, "ids"));
    let (from, count) = (number(command, "from"), number(command, "count"));
    let tag = json!({"status": text(command, "tag")});
    write_all(&shared, ids[from..from + count].iter().map(|id| records::patch(id, tag.clone())).collect());
    json!({"ms": ms(began)})
}

fn field(shared: &Shared, id: &ObjectId, field: &str) -> Option<String> {
    let read = |doc: &automerge::Automerge| syncd_engine::document::read_at(doc, field);
    let value = shared.with(|engine| engine.with_object(id, read)).expect("readable")?.expect("a path")?;
    value.as_str().map(str::to_owned)
}

fn watch(device: &mut Device, command: &Value) {
    let (shared, ids) = (device.shared(), records::ids(text(command, "ids")));
    let (from, count) = (number(command, "from"), number(command, "count"));
    let tag = text(command, "tag").to_owned();
    let node = device.node().expect("connected once");
    let mut events = node.subscribe();
    let mut open: BTreeSet<ObjectId> = ids[from..from + count].iter().cloned().collect();
    tokio::spawn(async move {
        open.retain(|id| field(&shared, id, "/status").as_deref() != Some(&tag));
        while !open.is_empty() {
            match events.recv().await {
                Ok(NodeEvent::ObjectChanged { object, .. }) => {
                    if open.contains(&object) && field(&shared, &object, "/status").as_deref() == Some(&tag) {
                        open.remove(&object);
                    }
                }
                Ok(_) => {}
                Err(_) => open.retain(|id| field(&shared, id, "/status").as_deref() != Some(&tag)),
            }
        }
        // What is visible is on disk: the commit came first.
        let at = now_us();
        say(&json!({"re": "watch", "r": {"at_us": at, "persisted_us": at, "ok": count}}));
    });
    say(&json!({"ev": "watching"}));
}

fn verify(device: &mut Device, command: &Value) -> Value {
    let shared = device.shared();
    let ids = records::ids(text(command, "ids"));
    let mut ok = 0;
    for (i, id) in ids.iter().enumerate() {
        let mut wanted = records::whole(i as u64);
        let Some(found) = shared.with(|engine| engine.get(id)).expect("readable") else { continue };
        // Later workloads overwrite these.
        for key in ["status", "count", "live"] {
            if let Some(value) = found.value.get(key) {
                wanted[key] = value.clone();
            }
        }
        ok += usize::from(found.value == wanted);
    }
    json!({"ok": ok, "of": ids.len()})
}

fn ingest(device: &mut Device, command: &Value) -> Value {
    let shared = device.shared();
    let ids = records::ids(text(command, "ids"));
    let (docs, ops) = (number(command, "docs"), number(command, "ops"));
    let callers = number(command, "callers").max(1);
    let began = Instant::now();
    let run = |caller: usize| {
        let (shared, ids) = (shared.clone(), &ids[..docs]);
        let mut latencies = Vec::new();
        for k in (caller..ops).step_by(callers) {
            let at = Instant::now();
            let intent = records::patch(&ids[k % docs], json!({"count": 1_000_000 + k}));
            shared.write(WriteRequest::new(records::actor(), intent), os::now).expect("accepted");
            latencies.push(at.elapsed().as_micros() as u64);
        }
        latencies
    };
    let mut latencies: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(move || run(caller))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no caller fails")).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    json!({
        "s": seconds, "ops_s": ops as f64 / seconds, "callers": callers,
        "p50_us": latencies[ops / 2], "p99_us": latencies[ops * 99 / 100],
    })
}

fn generate_text(device: &mut Device, command: &Value) -> Value {
    let began = Instant::now();
    let shared = device.shared();
    let (patches, end) = records::trace(text(command, "trace"));
    let batch = number(command, "batch").max(1);
    let object: ObjectId = "paper".parse().expect("an id");
    let empty = json!({"text": ""});
    let birth = Intent::Put { collection: records::collection(), object: Some(object.clone()), value: empty };
    write_all(&shared, vec![birth]);
    let build = Instant::now();
    let intents = patches.chunks(batch).map(|chunk| splice(&object, chunk)).collect();
    write_all(&shared, intents);
    let build_ms = ms(build);
    let view = shared.with(|engine| engine.get(&object)).expect("readable").expect("there");
    assert_eq!(view.value["text"].as_str(), Some(end.as_str()), "the trace ends in its text");
    std::fs::write(text(command, "ids"), format!("{object}\n")).expect("the ids are written");
    let changes = patches.len().div_ceil(batch);
    json!({"ms": ms(began), "build_ms": build_ms, "changes": changes, "chars": end.chars().count()})
}

/// One operation that makes several splices in a row.
fn splice(object: &ObjectId, patches: &[(usize, usize, String)]) -> Intent {
    let path = "/text".to_owned();
    let edit = Edit::Splices {
        path,
        splices: patches.iter().map(|(pos, del, text)| (*pos, *del, text.clone())).collect(),
    };
    Intent::Edit { object: object.clone(), base: None, edit }
}

async fn fetch_text(device: &mut Device, command: &Value) -> Value {
    let (shared, node) = (device.shared(), device.node().expect("connected"));
    let id = records::ids(text(command, "ids")).remove(0);
    let chars = number(command, "chars");
    let mut steps = node.steps();
    loop {
        steps.mark_unchanged();
        if field(&shared, &id, "/text").is_some_and(|text| text.chars().count() == chars) {
            break;
        }
        steps.changed().await.expect("the node lives");
    }
    let at = now_us();
    json!({"at_us": at, "persisted_us": at})
}

fn live_watch(device: &mut Device, command: &Value) -> Value {
    let shared = device.shared();
    let id = records::ids(text(command, "ids")).remove(number(command, "doc"));
    let count = number(command, "count") as i64;
    let mut events = device.node().expect("connected").subscribe();
    tokio::spawn(async move {
        let mut last = -1;
        while last + 1 < count {
            match events.recv().await {
                Ok(NodeEvent::ObjectChanged { object, .. }) if object == id => {}
                Ok(_) => continue,
                Err(_) => {}
            }
            let Some(value) = field(&shared, &id, "/live") else { continue };
            let at = now_us();
            let Some((k, then)) = value.split_once(' ') else { continue };
            let (k, then): (i64, u64) = (k.parse().expect("a number"), then.parse().expect("a time"));
            if k > last {
                last = k;
                say(&json!({"ev": "seen", "k": k, "us": at.saturating_sub(then)}));
            }
        }
    });
    json!({})
}

fn live_edit(device: &mut Device, command: &Value) {
    let shared = device.shared();
    let id = &records::ids(text(command, "ids"))[number(command, "doc")];
    let live = format!("{} {}", number(command, "k"), now_us());
    let intent = records::patch(id, json!({"live": live}));
    tokio::task::block_in_place(|| {
        shared.write(WriteRequest::new(records::actor(), intent), os::now).expect("accepted");
    });
}
