//! What logs consist of: packed runs, entries, their payloads, checkpoints, and the evidence that is kept about them.

use crate::fixed::{canonical, identity, log};
use syncd_engine::log::run;
use syncd_evidence::{Checkpoint, Finding, Record, Tree};
use syncd_policy::Decision;
use syncd_schema::burst::Burst;
use syncd_schema::entry::{Deletion, Rebirth};
use syncd_schema::{
    Actor, Collection, DeviceId, Digest, Entry, EntryKind, Incarnation, LogSeq, ObjectId, OperationId,
    WorkspaceId, cbor, domain, limits,
};

/// The body of a run that is not compressed.
pub fn run(data: &[u8]) {
    run_of(&[&[0], data].concat(), data.len());
}

/// A run that zstd has compressed. Its segment says the size that the compressed bytes say, since another is refused at
/// once.
pub fn packed(data: &[u8]) {
    let announced = zstd::zstd_safe::get_frame_content_size(data).ok().flatten().unwrap_or(0);
    run_of(&[&[1], data].concat(), usize::try_from(announced).unwrap_or(usize::MAX));
}

fn run_of(bytes: &[u8], announced: usize) {
    let Ok(records) = run::decode(bytes, announced) else { return };
    assert!(announced <= limits::SEGMENT_OPEN_BYTES && records.len() <= limits::SEGMENT_ENTRIES);
    for record in &records {
        record.entry.check().expect("an entry within its bounds");
        assert!(record.payload.as_ref().is_none_or(|payload| payload.len() <= limits::CHANGE_BYTES));
        let bytes = record.entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes).expect("an entry"), record.entry);
    }
    let again = run::encode(&records);
    assert_eq!(run::decode(&again.bytes, again.open_len).expect("a run"), records);
}

/// An entry.
pub fn entry(data: &[u8]) {
    let Some(entry) = canonical(Entry::from_bytes(data), data) else { return };
    assert!(entry.requires.len() <= limits::REFERENCES && entry.seen.len() <= limits::REFERENCES);
    assert!(entry.payload_len as usize <= limits::CHANGE_BYTES);
}

/// The payload of an entry that is neither a change nor governance; the first byte says of which kind.
pub fn payload(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match EntryKind(u16::from(*kind)) {
        EntryKind::REBIRTH => drop(canonical(Rebirth::from_bytes(data), data)),
        EntryKind::BURST => drop(canonical(Burst::from_bytes(data), data)),
        kind => {
            let Ok(deletion) = Deletion::read(kind, data) else { return };
            assert_eq!(deletion.to_bytes(), data);
        }
    }
}

/// A checkpoint in its compact form. None of these is signed.
pub fn checkpoint(data: &[u8]) {
    let decoded = cbor::decode::<Checkpoint>("checkpoint", data, limits::NOTE_BYTES);
    let Some(checkpoint) = canonical(decoded, data) else { return };
    let (origin, device) = (domain::log_origin(&log()), identity(1).device());
    if let Ok(verified) = checkpoint.verify(&origin, &device) {
        assert_eq!(*verified.checkpoint(), checkpoint);
    }
}

/// A checkpoint as a signed note; and the bytes as the text of one, signed.
pub fn note(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    note_text(text);
    let key = identity(1);
    let checkpoint = Checkpoint { size: LogSeq(0), root: Digest([0; 32]), signature: key.key().sign(data) };
    let note = checkpoint.to_note("x", &key.device());
    let line = note.lines().last().expect("a line with the signature");
    note_text(&format!("{text}\n{line}\n"));
}

fn note_text(text: &str) {
    let (origin, device) = (domain::log_origin(&log()), identity(1).device());
    let Ok(verified) = Checkpoint::from_note(text, &origin, &device) else { return };
    assert!(text.len() <= limits::NOTE_BYTES);
    // Others may have signed it too, and their lines are not kept.
    let own = verified.to_note();
    assert_eq!(Checkpoint::from_note(&own, &origin, &device).expect("a note"), verified);
    assert_eq!(text.split("\n\n").next(), own.split("\n\n").next());
}

/// Records, findings, decisions and trees, by the first byte.
pub fn evidence(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which {
        0 => drop(canonical(Record::from_bytes(data), data)),
        1 => drop(canonical(Finding::from_bytes(data), data)),
        2 => drop(canonical(Decision::from_bytes(data), data)),
        _ => {
            let decoded = cbor::decode::<Tree>("tree", data, limits::NOTE_BYTES);
            let Some(mut tree) = canonical(decoded, data) else { return };
            let (size, root) = (tree.size(), tree.root());
            tree.append(Digest([1; 32]));
            assert!(tree.size() == size.plus(1) && tree.root() != root);
        }
    }
}

/// Every kind of id and name in its text form.
pub fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    id::<WorkspaceId>(text);
    id::<DeviceId>(text);
    id::<Digest>(text);
    id::<Incarnation>(text);
    id::<OperationId>(text);
    id::<ObjectId>(text);
    id::<Collection>(text);
    id::<Actor>(text);
}

fn id<T>(text: &str)
where
    T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug,
{
    let Ok(id) = text.parse::<T>() else { return };
    let shown = id.to_string();
    assert!(shown.len() <= limits::ID_BYTES, "{shown}");
    assert!(shown.parse::<T>().is_ok_and(|again| again == id), "{text:?} is shown as {shown:?}");
}
