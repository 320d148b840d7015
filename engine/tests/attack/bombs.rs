//! Small changes that claim to be enormous: each must be refused in microseconds, before anything is made room for.

use crate::craft::{Craft, framed, leb};
use automerge::Automerge;
use syncd_engine::document::EncodedChange;

fn number(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    leb(value, &mut bytes);
    bytes
}

/// A positive run count: signed numbers need a byte more where the highest bit of the last one is set.
fn count(value: u64) -> Vec<u8> {
    let mut bytes = number(value);
    if let Some(last) = bytes.last_mut().filter(|last| **last & 0x40 != 0) {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// All bombs that are known, by what they claim.
pub fn bombs(doc: &Automerge) -> Vec<(String, EncodedChange)> {
    let good = Craft::put(doc);
    let mut bombs = Vec::new();
    let mut add = |name: String, change: EncodedChange| bombs.push((name, change));
    for many in [2_000_000_u64, 1 << 32, 1 << 62, i64::MAX as u64] {
        for spec in [21, 66, 86, 112, 1, 2, 17, 19] {
            let nulls = [vec![0], number(many)].concat();
            add(format!("{many} nulls in column {spec}"), good.clone().column(spec, &nulls).make());
            let values = [count(many), vec![1, b'z']].concat();
            add(format!("{many} values in column {spec}"), good.clone().column(spec, &values).make());
        }
        add(format!("{many} flags"), good.clone().column(52, &number(many)).make());
        let preds = [vec![0x7f], number(many)].concat();
        add(format!("{many} predecessors"), good.clone().column(112, &preds).make());
        let all = [21, 66, 86, 112]
            .into_iter()
            .fold(good.clone(), |craft, spec| craft.column(spec, &[vec![0], number(many)].concat()));
        add(format!("{many} of everything"), all.column(52, &number(many)).make());
        let length = [vec![0x7f], number(((many.min(1 << 58)) << 4) | 6)].concat();
        add(format!("a value of {many} bytes"), good.clone().column(86, &length).make());
        let key = [vec![0x7f], number(many), vec![b'z']].concat();
        add(format!("a key of {many} bytes"), good.clone().column(21, &key).make());
        let body = |front: Vec<u8>, claim: u64| framed(1, &[front, number(claim), vec![0; 40]].concat());
        add(format!("{many} dependencies"), body(Vec::new(), many));
        add(format!("an actor of {many} bytes"), body(vec![0], many));
        add(format!("a message of {many} bytes"), body(vec![0, 1, 9, 1, 1, 0], many));
        add(format!("{many} other actors"), body(vec![0, 1, 9, 1, 1, 0, 0], many));
        add(format!("{many} columns"), body(vec![0, 1, 9, 1, 1, 0, 0, 0], many));
        let mut long = good.make();
        long.bytes.truncate(9);
        long.bytes.extend(number(many));
        add(format!("a chunk of {many} bytes"), long);
    }
    let least = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f];
    for spec in [21, 66, 86, 112, 113, 115] {
        let literal = [least.as_slice(), &[1]].concat();
        add(
            format!("a literal run without end in column {spec}"),
            good.clone().column(spec, &literal).make(),
        );
    }
    for (name, delta) in
        [("sums beyond all numbers", count(i64::MAX as u64)), ("sums below all numbers", least.to_vec())]
    {
        let preds = [vec![3], delta].concat();
        let craft = good.clone().column(112, &[0x7f, 3]).column(113, &[3, 0]).column(115, &preds);
        add(name.to_owned(), craft.make());
        let run = [count(1 << 62), vec![1]].concat();
        add(format!("{name}, by a run"), good.clone().column(115, &run).make());
    }
    let mut lengths = good.clone();
    lengths.columns.iter_mut().for_each(|(_, bytes)| bytes.truncate(1));
    add("columns longer than there are operations".to_owned(), lengths.make());
    // 1,000 bytes of stored zeros would be as large again; a real one is a thousand times its size.
    let deflated = [0xed, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a];
    for spec in [66, 86, 87, 112] {
        add(format!("column {spec} compressed"), good.clone().column(spec | 8, &deflated).make());
    }
    add("a compressed change".to_owned(), framed(2, &[0x5d; 1 << 19]));
    add("a compressed document".to_owned(), framed(0, &[0x5d; 1 << 19]));
    bombs
}
