//! The values and keys of the store's tables.

use crate::inputs::*;
use crate::vectors::*;
use syncd_engine::store::rows::{
    AboutRow, AnswerRow, BurstRow, CardEnd, CardRow, ConflictRow, ConflictsRow, DecidedRow, DeletionsRow,
    GovernanceRow, IdempotencyRow, LinksRow, LogKind, LogRow, ObjectRow, OpRow, PartRow, PeerRow, PendingRow,
    PlaceKey, RebirthRow, RebornRow, RunRow, SideRow, Source, StoreRow, TargetRow, TicketRow, UseRow,
    UsesRow, WorkspaceKey,
};
use syncd_engine::store::tables::{LogNo, key};
use syncd_evidence::Tree;
use syncd_schema::operation::EntryState;
use syncd_schema::{Collection, EntryKind, Epoch, Incarnation, LogSeq, ObjectId, Role, cbor};

/// A row without `PartialEq` is compared as debugging output shows it.
fn check_row<T>(file: &mut File, vector: &str, row: &T)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + std::fmt::Debug,
{
    file.exact(vector, &cbor::encode(row), |kept| {
        let (again, read) = canonical::<T>(kept);
        assert_eq!(format!("{read:?}"), format!("{row:?}"));
        (again, Facts::new())
    });
}

#[test]
fn rows() {
    let mut file = File::open("rows.json", "Values of the store's tables before they are sealed, and keys.");
    let mut tree = Tree::default();
    tree.append_entry(&[0]);
    let log_row = LogRow {
        kind: LogKind::Device(log()),
        tree,
        checkpoint: Some(checkpoint(1)),
        last: Some((operation(0), TIME)),
        governance: vec![digest(0x21)],
        actor: Some([0x91; 16]),
        frozen: false,
        fold_from: LogSeq(0),
        loose: 1,
        deletions: vec![DeletionsRow {
            of: digest(0x24),
            places: vec![LogSeq(7), LogSeq(9)],
            begun: Some(LogSeq(6)),
        }],
    };
    check_row(&mut file, "logs: device", &log_row);
    let empty = LogRow {
        kind: LogKind::Ledger,
        tree: Tree::default(),
        checkpoint: None,
        last: None,
        actor: None,
        deletions: Vec::new(),
        ..log_row
    };
    check_row(&mut file, "logs: empty ledger", &empty);
    check_row(
        &mut file,
        "logs: kinds",
        &vec![LogKind::Device(log()), LogKind::Local, LogKind::Ledger, LogKind::Branch(log())],
    );
    check_row(
        &mut file,
        "runs",
        &RunRow { count: 1, open_len: 3, checkpoint: checkpoint(1), bytes: vec![0, 1, 2, 3] },
    );
    let object_row = ObjectRow {
        collection: name::<Collection>("notes"),
        object: name::<ObjectId>("n1"),
        incarnation: Incarnation([0x92; 32]),
        document: 7,
        heads: vec![digest(0x93)],
        snapshot_bytes: 1_000,
        parts: 2,
        tail_bytes: 300,
        changes: 5,
        covered: vec![digest(0x93)],
        created: TIME,
        changed: TIME.plus(5),
        conflicts: 2,
        cards: vec![digest(0x97)],
        overruled: vec![digest(0x98)],
        yields: Some(Incarnation([0x99; 32])),
        echoes: vec![Source { log: LogNo(3), first: LogSeq(6), count: 1 }],
        reborn: false,
        known: None,
    };
    check_row(&mut file, "objects", &object_row);
    let held = ObjectRow { known: Some(vec![digest(0x93), digest(0x98)]), ..object_row };
    check_row(&mut file, "objects: something held", &held);
    let op = OpRow { counter: 7, actor: vec![0x91; 16] };
    let side = SideRow { operation: op.clone(), change: digest(0x96) };
    let conflict =
        |object, key| ConflictRow { kind: 0, object, key, sides: vec![side.clone()], is_equal: false };
    check_row(
        &mut file,
        "conflicts",
        &ConflictsRow {
            conflicts: vec![
                conflict(None, PlaceKey::Name("title".to_owned())),
                conflict(Some(op.clone()), PlaceKey::Element(op.clone())),
                conflict(Some(op.clone()), PlaceKey::Head),
                conflict(None, PlaceKey::Question(digest(0x97))),
            ],
        },
    );
    let target = TargetRow { path: "/parent".to_owned(), collection: name("notes"), object: name("n2") };
    let links = LinksRow { unique: vec![digest(0x9e)], targets: vec![target.clone()] };
    check_row(&mut file, "links", &links);
    let used = UseRow { operation: operation(6), payload: digest(0xa0) };
    check_row(&mut file, "idempotency: uses", &UsesRow { uses: vec![used] });
    for about in [
        AboutRow::Conflict(digest(0x9b)),
        AboutRow::Deletion,
        AboutRow::Lives,
        AboutRow::Held(LogNo(2), LogSeq(4)),
        AboutRow::Value("schema".to_owned()),
        AboutRow::Unique(digest(0x9e)),
        AboutRow::Dangling(target.clone()),
        AboutRow::Heads,
        AboutRow::Replay(digest(0x9f)),
        AboutRow::Late,
        AboutRow::Burst(digest(0x25)),
    ] {
        let by = DecidedRow {
            operation: operation(5),
            actor: actor(),
            device: device(),
            choice: "merge".to_owned(),
            because: Some("we talked".to_owned()),
            at: TIME,
        };
        let end = CardEnd { at: TIME, successors: vec![digest(0x9c)], by: Some(by) };
        let card = CardRow {
            object: name("n1"),
            collection: name("notes"),
            incarnation: Incarnation([0x92; 32]),
            kind: 1,
            path: "/title".to_owned(),
            about: about.clone(),
            opened: TIME,
            before: vec![digest(0x9d)],
            generation: 2,
            end: (about != AboutRow::Lives).then_some(end),
        };
        check_row(&mut file, &format!("cards: {about:?}"), &card);
    }
    let reborn = RebornRow {
        operation: operation(7),
        actor: actor(),
        device: device(),
        at: TIME,
        because: Some("it held a password".to_owned()),
        new: Some(Incarnation([0xa1; 32])),
    };
    let upto = [(LogKind::Device(log()), LogSeq(9)), (LogKind::Local, LogSeq(2))].into();
    check_row(&mut file, "rebirths", &RebirthRow { by: vec![reborn], upto });
    let sources = vec![Source { log: LogNo(2), first: LogSeq(4), count: 2 }];
    check_row(
        &mut file,
        "docs: tail",
        &PartRow { sources: sources.clone(), bytes: vec![1, 2, 3], lengths: vec![1, 2] },
    );
    check_row(&mut file, "docs: snapshot", &PartRow { sources, bytes: vec![1, 2, 3], lengths: Vec::new() });
    let pending = PendingRow {
        state: EntryState::Held,
        reason: "it builds on changes that have not arrived".to_owned(),
        object: Some((name("n1"), name("notes"), Incarnation([0x92; 32]))),
        missing: vec![digest(0x94)],
        requires: vec![operation(3)],
        decision: None,
        since: TIME,
        session: Some([0x91; 16]),
        asks: Some(digest(0x9a)),
        apart: true,
        withheld: false,
        late: false,
        in_burst: true,
    };
    check_row(&mut file, "pending", &pending);
    let by = DecidedRow {
        operation: operation(5),
        actor: actor(),
        device: device(),
        choice: "decline".to_owned(),
        because: None,
        at: TIME,
    };
    let answers = vec![AnswerRow { from: LogSeq(7), through: LogSeq(9), lets_in: false, by }];
    let (actor, collection) = (actor(), name("notes"));
    check_row(&mut file, "bursts", &BurstRow { log: log(), actor, collection, answers });
    check_row(
        &mut file,
        "idempotency",
        &IdempotencyRow { operation: operation(0), object: None, request: digest(0x95) },
    );
    check_row(
        &mut file,
        "peers",
        &PeerRow { count: 3, state: EntryState::Admitted, operation: Some(operation(9)), at: TIME },
    );
    check_row(
        &mut file,
        "tickets",
        &TicketRow { role: Role::Agent, expires: TIME, secret: [0x71; 16].into(), confirm: true, used: None },
    );
    let governance = GovernanceRow {
        id: digest(0x96),
        parents: vec![digest(0x97)],
        author: device(),
        kind: EntryKind::MEMBER,
        payload: vec![1, 2],
    };
    check_row(&mut file, "governance", &governance);
    let keys = vec![WorkspaceKey { key_epoch: 3, key: [0x61; 32] }];
    check_row(
        &mut file,
        "keys: store",
        &StoreRow { name: digest(0x32), epoch: Epoch(2), keys, stopped: None },
    );
    let incarnation = Incarnation([0x92; 32]);
    let keys = [
        ("logs", key::log(LogNo(258))),
        ("runs and pending", key::position(LogNo(258), LogSeq(772))),
        ("objects", key::object(&name("n1"), &name("notes"), &incarnation)),
        ("docs", key::part(7, 2)),
        ("names", key::name(&name("notes"), &name("n1"), &incarnation)),
        ("peers", key::peer(&device(), LogNo(258), LogSeq(772))),
    ];
    file.derived(
        "keys of tables",
        keys.into_iter().map(|(table, key)| (table.to_owned(), bytes(key))).collect(),
    );
    file.done();
}
