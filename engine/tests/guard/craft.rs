//! Changes written by hand, byte for byte.

use automerge::Automerge;
use sha2::{Digest as _, Sha256};
use syncd_engine::document::{self, EncodedChange};
use syncd_schema::Digest;

/// A change with exactly these bytes after the header, and the checksum to go with them.
pub fn framed(kind: u8, body: &[u8]) -> EncodedChange {
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind];
    leb(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    let hash: [u8; 32] = Sha256::digest(&bytes[8..]).into();
    bytes[4..8].copy_from_slice(&hash[..4]);
    EncodedChange { hash: Digest(hash), bytes }
}

pub fn leb(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A change to be written by hand.
#[derive(Clone)]
pub struct Craft {
    pub deps: Vec<Digest>,
    pub actor: Vec<u8>,
    pub seq: u64,
    pub start_op: u64,
    pub time: u8,
    pub others: Vec<Vec<u8>>,
    pub columns: Vec<(u64, Vec<u8>)>,
    pub extra: Vec<u8>,
}

impl Craft {
    /// `put z = 7` into the root, by a new actor on top of a document.
    pub fn put(doc: &Automerge) -> Self {
        let max_op = doc.get_changes_meta(&[]).iter().map(|meta| meta.max_op).max().unwrap_or(0);
        Self {
            deps: document::heads(doc),
            actor: vec![9; 16],
            seq: 1,
            start_op: max_op + 1,
            time: 0,
            others: Vec::new(),
            columns: vec![
                (21, vec![0x7f, 1, b'z']),
                (52, vec![1]),
                (66, vec![0x7f, 1]),
                (86, vec![0x7f, 0x14]),
                (87, vec![7]),
                (112, vec![0x7f, 0]),
            ],
            extra: Vec::new(),
        }
    }

    pub fn column(mut self, spec: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(found, _)| *found != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort();
        self
    }

    pub fn make(&self) -> EncodedChange {
        let mut body = Vec::new();
        leb(self.deps.len() as u64, &mut body);
        self.deps.iter().for_each(|dep| body.extend_from_slice(dep.as_bytes()));
        leb(self.actor.len() as u64, &mut body);
        body.extend_from_slice(&self.actor);
        leb(self.seq, &mut body);
        leb(self.start_op, &mut body);
        body.push(self.time);
        body.push(0);
        leb(self.others.len() as u64, &mut body);
        for other in &self.others {
            leb(other.len() as u64, &mut body);
            body.extend_from_slice(other);
        }
        leb(self.columns.len() as u64, &mut body);
        for (spec, bytes) in &self.columns {
            leb(*spec, &mut body);
            leb(bytes.len() as u64, &mut body);
        }
        self.columns.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
        body.extend_from_slice(&self.extra);
        framed(1, &body)
    }
}
