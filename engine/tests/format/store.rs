//! A whole store, kept as a file.

use crate::inputs::*;
use crate::vectors::*;
use automerge::Change;
use serde_json::{Value, json};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use syncd_engine::conflict::Choice;
use syncd_engine::log::run;
use syncd_engine::store::Store;
use syncd_engine::store::rows::{
    BurstRow, CardRow, ConflictsRow, GovernanceRow, IdempotencyRow, LinksRow, LogRow, ObjectRow, PartRow,
    PeerRow, PendingRow, RebirthRow, RunRow, StoreRow, TicketRow, UsesRow,
};
use syncd_engine::store::seal::SealKey;
use syncd_engine::store::tables::Table;
use syncd_engine::workspace::{Remains, Resolve};
use syncd_engine::{Config, Edit, Engine, Intent, Location, WriteRequest, ledger};
use syncd_evidence::Finding;
use syncd_policy::Decision;
use syncd_schema::message;
use syncd_schema::operation::EntryState;
use syncd_schema::{
    DeviceId, EntryKind, Epoch, Genesis, LogId, LogSeq, OperationId, Role, UnixMicros, WorkspaceId, domain,
};
use zeroize::Zeroizing;

/// A store in memory: opening a kept file must not change the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Vec<u8>>>);

impl redb::StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        out.copy_from_slice(&self.0.lock().unwrap()[offset as usize..offset as usize + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.lock().unwrap()[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Disk {
    fn location(&self) -> Location {
        let disk = self.clone();
        Location::Backend(Arc::new(move || Box::new(disk.clone())))
    }
}

pub(crate) fn config(disk: &Disk, byte: u8) -> Config {
    Config {
        location: disk.location(),
        store_key: Zeroizing::new([byte; 32]),
        identity: identity(byte),
        entropy: Box::new(Chain([byte; 32])),
        policy: None,
    }
}

fn at(n: u64) -> UnixMicros {
    TIME.plus(n * 1_000_000)
}

fn call(engine: &mut Engine, actor: &str, intent: Intent, n: u64) -> Result<OperationId, String> {
    let mut request = WriteRequest::new(actor.parse().expect("an actor"), intent);
    request.idempotency_key = (n % 10 == 3).then(|| format!("call-{n}"));
    let answer = engine.write(&[request], at(n)).expect("the disk works").0.remove(0);
    answer.map(|written| written.operation).map_err(|error| error.to_string())
}

fn put(collection: &str, id: &str, value: Value) -> Intent {
    Intent::Put { collection: name(collection), object: Some(name(id)), value }
}

fn patch(id: &str, value: Value) -> Intent {
    Intent::Edit { object: name(id), base: None, edit: Edit::MergePatch(value) }
}

/// Makes a workspace with some of everything and returns the owner's disk.
fn make_store() -> Disk {
    let (disk, other) = (Disk::default(), Disk::default());
    let mut ada = Engine::create(config(&disk, 1), "desk", at(0)).expect("a workspace");
    call(&mut ada, "user:ada", put("notes", "n1", json!({ "title": "first", "n": 1 })), 1).expect("put");
    call(&mut ada, "user:ada", put("files", "f1", json!({ "path": "a.txt", "text": "hello\n" })), 2)
        .expect("put");
    call(&mut ada, "user:ada", put("vault", "v1", json!({ "password": "hunter2" })), 3).expect("put");
    call(&mut ada, "user:ada", put("notes", "gone", json!({ "a": 1 })), 4).expect("put");
    call(&mut ada, "user:ada", Intent::Delete { object: name("gone") }, 5).expect("deleted");
    for n in 6..80 {
        let line = format!("line {n} of a text that grows until its document is saved as a whole\n");
        let edit = Edit::Splice { path: "/text".to_owned(), pos: 0, del: 0, text: line };
        call(&mut ada, "user:ada", Intent::Edit { object: name("f1"), base: None, edit }, n).expect("edited");
    }
    call(&mut ada, "user:ada", put("notes", "renewed", json!({ "secret": "hunter2" })), 5).expect("put");
    let remains = Remains::Value(json!({ "secret": "gone" }));
    call(&mut ada, "user:ada", Intent::Rebirth { object: name("renewed"), remains }, 6).expect("renewed");
    call(&mut ada, "agent:scribe", patch("n1", json!({ "n": 2 })), 80).expect("proposed");
    call(&mut ada, "user:ada", Intent::Checkpoint, 81).expect("a checkpoint");
    clear_a_collection(&mut ada);
    ada.invite(Role::Member, at(10_000), true, vec!["127.0.0.1:4433".to_owned()]).expect("a ticket");

    let joiner = identity(2);
    let signature = joiner.key_signature(&ada.workspace());
    let (welcome, _) = ada
        .enrol(joiner.device(), "phone", Role::Member, joiner.key_agreement(), &signature, at(82))
        .expect("enrolled");
    let mut bob = Engine::join(config(&other, 2), ada.workspace(), ada.device(), &welcome).expect("joined");
    exchange(&mut ada, &mut bob, 83);
    call(&mut bob, "user:bob", patch("n1", json!({ "title": "second" })), 84).expect("edited");
    call(&mut bob, "user:bob", put("notes", "n2", json!({ "by": "bob" })), 85).expect("put");
    exchange(&mut bob, &mut ada, 86);
    let outcome = message::Outcome {
        first: LogSeq(0),
        count: 3,
        state: EntryState::Admitted,
        operation: Some(operation(7)),
    };
    ada.note_outcomes(&joiner.device(), &ada.own_log(), LogSeq(3), &[outcome], at(87)).expect("noted");
    ada.note_addresses(&joiner.device(), &["127.0.0.1:4434".to_owned()]).expect("noted");
    ada.note_refused_pairing(DeviceId([9; 32]), "an expired ticket", at(88)).expect("a finding");
    ada.close().expect("closes");
    compact(&disk);
    disk
}

/// Deletions in a row, held and declined.
fn clear_a_collection(ada: &mut Engine) {
    let ids = || (0..10).map(|n| format!("b{n}"));
    let fill: Vec<Intent> = ids().map(|id| put("bin", &id, json!({}))).collect();
    let clear: Vec<Intent> = ids().map(|id| Intent::Delete { object: name(&id) }).collect();
    for batch in [fill, clear] {
        let batch: Vec<WriteRequest> =
            batch.into_iter().map(|intent| WriteRequest::new(actor(), intent)).collect();
        let answers = ada.write(&batch, at(81)).expect("the disk works").0;
        assert!(answers.iter().all(Result::is_ok));
    }
    let cards = ada.cards(false).expect("readable").into_iter();
    for card in cards.filter(|card| card.kind == "burst") {
        let resolve =
            Resolve { card: card.card, choice: Choice::Decline, value: None, pick: None, because: None };
        call(ada, "user:ada", Intent::Resolve(resolve), 81).expect("declined");
    }
}

/// Gives `to` whatever `from` holds.
fn exchange(from: &mut Engine, to: &mut Engine, n: u64) {
    for (log, size) in from.log_sizes() {
        while to.size_of_log(&log) < size {
            let segment =
                from.segment(&log, to.size_of_log(&log), None).expect("readable").expect("a segment");
            to.receive(from.device(), &segment, at(n)).expect("received");
        }
    }
}

/// Gives back the pages that redb keeps for later, so that the kept file is small.
fn compact(disk: &Disk) {
    let mut database = redb::Database::builder().create_with_backend(disk.clone()).expect("opens");
    while database.compact().expect("compacts") {}
}

const STORE: &str = "store-1.redb";

fn store_facts(engine: &mut Engine) -> Value {
    let positions = engine
        .frontier()
        .iter()
        .map(|p| json!([domain::log_origin(&p.log), p.size.0, p.root.to_string()]))
        .collect::<Vec<_>>();
    let objects = ["n1", "n2", "f1", "v1", "gone", "renewed"].map(|id| {
        let view = engine.get(&name(id)).expect("readable").expect("there");
        json!({ "object": id, "value": view.value, "state": view.state, "heads": view.heads, "history": engine.history(&name(id)).expect("readable").len() })
    });
    json!({ "frontier": positions, "objects": objects })
}

#[test]
fn a_store_of_this_format_stays_openable() {
    let path = fixtures().join(STORE);
    if writing() {
        let disk = make_store();
        std::fs::write(&path, disk.0.lock().unwrap().as_slice()).expect("the file can be written");
        let mut engine = Engine::open(config(&disk, 1)).expect("opens");
        let about = "A whole store of format 1 in store-1.redb: what its logs and objects are.";
        let file = json!({
            "about": about,
            "store_key": hex::encode([1; 32]),
            "identity_secret": hex::encode([1; 64]),
            "workspace": engine.workspace(),
            "device": engine.device(),
            "facts": store_facts(&mut engine),
        });
        let text = serde_json::to_string_pretty(&file).expect("json") + "\n";
        std::fs::write(fixtures().join("store-1.json"), text).expect("the file can be written");
    }
    let kept = read_json("store-1.json");
    let disk = Disk(Arc::new(Mutex::new(std::fs::read(&path).expect("the kept store"))));
    let mut engine = Engine::open(config(&disk, 1)).expect("a store of format 1 opens");
    assert_eq!(text(engine.workspace()), kept["workspace"]);
    assert_eq!(text(engine.device()), kept["device"]);
    assert_eq!(store_facts(&mut engine), kept["facts"]);
    let report = engine.verify(|_, _| {}).expect("readable");
    assert!(report.ok, "{:?}", report.findings);
    call(&mut engine, "user:ada", patch("n1", json!({ "title": "third" })), 1_003).expect("and goes on");
    drop(engine);
    every_row(&disk);
}

/// Every row of the kept store is decoded and encoded again: what is not canonical is not of this format.
fn every_row(disk: &Disk) {
    let key = SealKey::from_bytes(Zeroizing::new([1; 32]));
    let store = Store::open(&disk.location(), key, Box::new(Chain([3; 32]))).expect("opens");
    assert_eq!(store.get_plain("format").expect("readable").expect("there"), [0, 0, 0, 1]);
    let mut actors = Vec::new();
    let mut sessions = Vec::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Plain) {
        let rows = store.range(table, Bound::Unbounded, Bound::Unbounded, usize::MAX).expect("readable");
        assert!(
            !rows.is_empty() || matches!(table, Table::Pending | Table::Conflicts),
            "table {} is empty",
            table.name()
        );
        for (key, value) in rows {
            let again = match table {
                Table::Plain => continue,
                Table::Runs => {
                    let (again, row) = canonical::<RunRow>(&value);
                    if key[..4] == [0; 4] {
                        ledger::decode(&row).expect("records");
                    } else {
                        look_into(&row, key[..4] == [0, 0, 0, 2], &mut sessions, &mut actors);
                    }
                    again
                }
                Table::Logs => canonical::<LogRow>(&value).0,
                Table::Objects => canonical::<ObjectRow>(&value).0,
                Table::Docs => canonical::<PartRow>(&value).0,
                Table::Names => Vec::new(),
                Table::Conflicts => canonical::<ConflictsRow>(&value).0,
                Table::Cards => canonical::<CardRow>(&value).0,
                Table::Rebirths => canonical::<RebirthRow>(&value).0,
                Table::Links if key[0] < 2 => value.clone(),
                Table::Links => canonical::<LinksRow>(&value).0,
                Table::Bursts => canonical::<BurstRow>(&value).0,
                Table::Pending => canonical::<PendingRow>(&value).0,
                Table::Idempotency if minicbor::decode::<IdempotencyRow>(&value).is_ok() => {
                    canonical::<IdempotencyRow>(&value).0
                }
                Table::Idempotency => canonical::<UsesRow>(&value).0,
                Table::Decisions => {
                    let decision = Decision::from_bytes(&value).expect("a decision");
                    assert_eq!(decision.digest().0.to_vec(), key);
                    decision.to_bytes()
                }
                Table::Findings => {
                    let finding = Finding::from_bytes(&value).expect("a finding");
                    assert_eq!(finding.id().0.to_vec(), key);
                    finding.to_bytes()
                }
                Table::Peers => canonical::<PeerRow>(&value).0,
                Table::Tickets => canonical::<TicketRow>(&value).0,
                Table::Governance => canonical::<GovernanceRow>(&value).0,
                Table::Keys if key == b"store" => canonical::<StoreRow>(&value).0,
                Table::Keys if key == b"erasing" => Vec::new(),
                Table::Keys if key == b"genesis" => canonical::<Genesis>(&value).0,
                Table::Keys if key.starts_with(b"address/") => canonical::<Vec<String>>(&value).0,
                Table::Keys if key.starts_with(b"judged/") => value.clone(),
                Table::Keys if key.starts_with(b"unsettled/") => canonical::<(u64, u64)>(&value).0,
                Table::Keys if key.starts_with(b"policy/") => canonical::<String>(&value).0,
                Table::Keys => panic!("table keys has a row that docs/format.md does not know: {key:x?}"),
            };
            assert_eq!(again, value, "table {}, key {}", table.name(), hex::encode(key));
        }
    }
    let log = LogId {
        workspace: WorkspaceId(
            store.get_plain("workspace").expect("readable").expect("there").try_into().expect("16 bytes"),
        ),
        device: device(),
        epoch: Epoch(0),
    };
    let allowed: Vec<[u8; 16]> =
        sessions.iter().map(|session: &Vec<u8>| session_actor(&log, session)).collect();
    assert!(
        actors.len() > 70 && actors.iter().all(|actor| allowed.iter().any(|a| a[..] == actor[..])),
        "actors follow from sessions"
    );
}

/// Decodes a run, encodes it again, and collects sessions and the actors of edits that are no births.
fn look_into(row: &RunRow, own: bool, sessions: &mut Vec<Vec<u8>>, actors: &mut Vec<Vec<u8>>) {
    let records = run::decode(&row.bytes, row.open_len as usize).expect("a run");
    assert_eq!(records.len(), row.count as usize);
    let again = run::encode(&records);
    assert_eq!(again.open_len, row.open_len as usize);
    assert_eq!(run::decode(&again.bytes, again.open_len).expect("a run"), records);
    for record in records.iter().filter(|_| own) {
        let Some(payload) = &record.payload else { continue };
        if record.entry.kind == EntryKind::SESSION {
            sessions.push(payload.clone());
        }
        if record.entry.kind == EntryKind::EDIT && !record.entry.is_birth() {
            let change = Change::try_from(payload.as_slice()).expect("a change");
            actors.push(change.actor_id().to_bytes().to_vec());
        }
    }
}
