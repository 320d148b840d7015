//! What devices say to each other, tickets, and ids.

use crate::inputs::*;
use crate::vectors::*;
use serde_json::json;
use syncd_schema::message::{self, CloseCode, Control, Hello, Position, frontier_digest};
use syncd_schema::operation::EntryState;
use syncd_schema::ticket::Ticket;
use syncd_schema::{Epoch, LogId, LogSeq, Role, cbor, domain};

#[test]
fn control_messages() {
    let mut file =
        File::open("control.json", "Messages of the control stream, and the digest of a frontier.");
    let position =
        Position { log: log(), size: LogSeq(300), root: digest(0x41), branch: false, signature: None };
    let outcome = message::Outcome {
        first: LogSeq(290),
        count: 10,
        state: EntryState::Admitted,
        operation: Some(operation(0)),
    };
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        features: message::features::ZSTD,
        workspace: workspace(),
        frontier: frontier_digest(&[position]),
        entries: 300,
        own: Some(Box::new(Position { signature: Some([0x42; 64]), ..position })),
    };
    let messages = [
        ("hello", Control::Hello(hello)),
        (
            "frontier",
            Control::Frontier(vec![
                position,
                Position { branch: true, ..position },
                Position { signature: Some([0x42; 64]), ..position },
            ]),
        ),
        ("ack", Control::Ack { log: log(), size: LogSeq(300), outcomes: vec![outcome] }),
        ("want", Control::Want { log: log(), from: LogSeq(17), branch: Some(digest(7)) }),
        ("ask", Control::Ask { log: log(), from: LogSeq(17) }),
        (
            "close",
            Control::Close { code: CloseCode::Protocol, text: "that message has no place here".to_owned() },
        ),
    ];
    for (vector, message) in messages {
        file.exact(vector, &message.to_bytes(), |kept| {
            let read = Control::from_bytes(kept).expect("a message");
            assert_eq!(read, message);
            (read.to_bytes(), Facts::new())
        });
    }
    let second = Position { log: LogId { epoch: Epoch(0), ..log() }, ..position };
    let digest = frontier_digest(&[position, second]);
    assert_eq!(digest, frontier_digest(&[second, position]), "the order does not count");
    let positions = [position, second].iter().map(|position| bytes(cbor::encode(position))).collect();
    file.derived("frontier digest", facts([("positions", positions), ("digest", text(digest))]));
    file.derived("frontier digest of nothing", facts([("digest", text(frontier_digest(&[])))]));
    let states = [
        EntryState::Sent,
        EntryState::Persisted,
        EntryState::Admitted,
        EntryState::Held,
        EntryState::Refused,
    ];
    let states =
        states.iter().map(|state| json!([format!("{state:?}"), hex::encode(cbor::encode(state))])).collect();
    file.derived("entry states", facts([("codes", states)]));
    file.done();
}

#[test]
fn tickets() {
    let mut file =
        File::open("tickets.json", "A ticket as text (in `bytes`, as UTF-8), and its public name.");
    let ticket = Ticket {
        workspace: workspace(),
        inviter: device(),
        addresses: vec!["127.0.0.1:4433".to_owned(), "[::1]:4433".to_owned()],
        secret: [0x71; 16].into(),
        role: Role::Member,
        expires: TIME,
    };
    file.exact("ticket", ticket.to_string().as_bytes(), |kept| {
        let read = Ticket::parse(std::str::from_utf8(kept).expect("text")).expect("a ticket");
        assert_eq!(read, ticket);
        let facts =
            facts([("text", text(&read)), ("cbor", bytes(cbor::encode(&read))), ("name", text(read.name()))]);
        (read.to_string().into_bytes(), facts)
    });
    file.done();
}

#[test]
fn hashes_and_ids() {
    let mut file = File::open("derivations.json", "Ids and hashes from given inputs.");
    file.derived(
        "hash of parts",
        facts([
            ("purpose", text("vector")),
            ("parts", json!(["01", "", "0203"])),
            ("hash", text(domain::hash("vector", &[&[1], &[], &[2, 3]]))),
        ]),
    );
    file.derived(
        "label",
        facts([("purpose", text("segment")), ("label", text(domain::label("segment", &workspace())))]),
    );
    file.derived(
        "operation id",
        facts([
            ("time", json!(TIME.0)),
            ("tag", text(format!("{TAG:016x}"))),
            ("id", text(operation(0))),
            ("bytes", bytes(operation(0).0)),
        ]),
    );
    let identity = identity(1);
    file.derived(
        "identity",
        facts([
            ("secret", bytes([1; 64])),
            ("device", text(identity.device())),
            ("key_agreement", text(identity.key_agreement())),
        ]),
    );
    file.done();
}
