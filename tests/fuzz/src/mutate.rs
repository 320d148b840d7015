//! Inputs for the short run: committed values, changed by chance from a fixed seed.
//!
//! Coverage guides nothing here, so the changes are those that decoders stumble over: bits, lengths of any encoding,
//! cuts, and parts of other values of the same target.

use syncd_harness::rng::Rng;

/// The longest input. What needs more is for libFuzzer.
const MOST: usize = 16 << 10;

/// Lengths and numbers of CBOR, LEB128 and frames that claim much, some of them just what limits allow, and text that nests.
const HOSTILE: [&[u8]; 20] = [
    &[0x80, 0x20],
    &[0xff, 0x0f],
    &[0x9a, 0, 1, 0, 0],
    &[0x5a, 0, 1, 0, 0],
    &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xbb, 0, 0, 0, 1, 0, 0, 0, 0],
    &[0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    &[0x7a, 0xff, 0xff, 0xff, 0xff],
    &[0x9f],
    &[0xff],
    &[0x81; 64],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x00, 0x07, 0xff, 0xff],
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":",
    b"((((((((((((((((((((((((((((((((",
    b"99999999999999999999999999",
    b"\\u0000\\ud800~1~0/-",
];

/// One input: a seed with one to eight changes.
#[must_use]
pub fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = pick(rng, seeds);
    for _ in 0..=rng.below(8) {
        change(rng, &mut data, seeds);
    }
    data.truncate(MOST);
    data
}

fn pick(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if seeds.is_empty() { Vec::new() } else { seeds[rng.below(seeds.len())].clone() }
}

fn change(rng: &mut Rng, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if data.is_empty() {
        data.push(rng.next() as u8);
    }
    // Versions, counts and lengths are at the front.
    let front = if rng.percent(25) { 16 } else { MOST };
    let at = rng.below(data.len().min(front));
    let end = at + 1 + rng.below((data.len() - at).min(32));
    match rng.below(10) {
        0 => data[at] ^= 1 << rng.below(8),
        1 => data[at] = rng.next() as u8,
        // The neighbour of a length.
        2 => data[at] = data[at].wrapping_add(if rng.percent(50) { 1 } else { 0xff }),
        3 => data[at] = [0, 1, 0x17, 0x18, 0x7f, 0x80, 0xfe, 0xff][rng.below(8)],
        4 => data.truncate(at),
        5 => drop(data.drain(at..end)),
        6 => {
            let part = data[at..end].to_vec();
            insert(data, at, &part);
        }
        7 => insert(data, at, HOSTILE[rng.below(HOSTILE.len())]),
        8 => {
            let part = HOSTILE[rng.below(HOSTILE.len())];
            let end = (at + part.len()).min(data.len());
            data.splice(at..end, part.iter().copied());
        }
        _ => {
            let other = pick(rng, seeds);
            if !other.is_empty() {
                let from = rng.below(other.len());
                data.splice(at..end, other[from..].iter().copied().take(256));
            }
        }
    }
}

fn insert(data: &mut Vec<u8>, at: usize, part: &[u8]) {
    data.splice(at..at, part.iter().copied());
}
