//! How long a contradiction stays, by hand.

use crate::device::{Device, remove_all_doubled, sync_all};
use syncd_engine::conflict;

fn base() -> String {
    (0..12).map(|n| format!("line {n}\n")).collect()
}

/// Two devices that both changed line 5, and know it.
fn apart() -> Vec<Device> {
    let mut devices = Device::all(&base(), 2, true);
    devices[0].set(&base().replace("line 5", "our five"));
    devices[1].set(&base().replace("line 5", "their V"));
    sync_all(&mut devices);
    assert_eq!(devices[0].cards().len(), 1);
    devices
}

#[test]
fn work_elsewhere_leaves_it_open() {
    let mut devices = apart();
    let id = devices[0].cards()[0].id();
    for (old, new) in
        [("line 9", "nine"), ("line 0", "zero"), ("line 6\n", "line 6 \n"), ("line 4\n", "4\n4b\n")]
    {
        let text = devices[0].text().replace(old, new);
        devices[0].set(&text);
        assert_eq!(
            devices[0].cards().iter().map(|card| card.id()).collect::<Vec<_>>(),
            [id],
            "{old} became {new}"
        );
    }
    // And typing, a character at a time.
    for _ in 0..20 {
        let text = devices[0].text().replace("nine", "nine and");
        devices[0].set(&text);
    }
    sync_all(&mut devices);
    assert_eq!(devices[1].cards()[0].id(), id);
}

#[test]
fn who_writes_these_lines_with_knowledge_of_both_ends_it() {
    let mut devices = apart();
    devices[0].set(&base().replace("line 5", "our five"));
    assert_eq!(devices[0].open.len(), 0);
    sync_all(&mut devices);
    assert_eq!(devices[1].open.len(), 0);
    let mut devices = apart();
    devices[0].set(&base().replace("line 5", "mine"));
    devices[1].set(&base().replace("line 5", "yours"));
    sync_all(&mut devices);
    assert_eq!(devices[0].cards().len(), 1, "two decisions are a new contradiction");
    assert_eq!(devices[0].open, devices[1].open);
}

#[test]
fn the_versions_are_whole_lines() {
    let devices = apart();
    let card = devices[0].cards()[0];
    let versions = conflict::versions(&devices[0].doc, card).unwrap().unwrap();
    assert_eq!(versions.base, "line 5\n");
    let mut sides: Vec<&str> = versions.sides.iter().map(|(_, text)| text.as_str()).collect();
    sides.sort_unstable();
    assert_eq!(sides, ["our five\n", "their V\n"]);
}

#[test]
fn three_who_differ_are_one_question() {
    let mut devices = Device::all(&base(), 3, true);
    for (n, device) in devices.iter_mut().enumerate() {
        device.set(&base().replace("line 5", &format!("five by {n}")));
        device.set(&base().replace("line 5", &format!("five by {n}, again")).replace("line 9", "nine"));
    }
    sync_all(&mut devices);
    let cards = devices[0].cards();
    assert_eq!(cards.len(), 1, "the nine is the same for all");
    assert_eq!(conflict::versions(&devices[0].doc, cards[0]).unwrap().unwrap().sides.len(), 3);
    remove_all_doubled(&mut devices);
    sync_all(&mut devices);
    assert_eq!(devices[2].open.len(), 1);
    assert_eq!(devices[2].text().matches("nine").count(), 1);
}

#[test]
fn work_undone_is_no_side() {
    let mut devices = Device::all(&base(), 2, true);
    let text = base();
    devices[0].set(&text.replace("line 5", "line 5 and more"));
    devices[0].set(&text);
    devices[1].set(&text.replace("line 5", "five"));
    sync_all(&mut devices);
    assert_eq!(devices[0].open.len(), 0);
    assert_eq!(devices[0].text(), text.replace("line 5", "five"));
}

#[test]
fn one_deletes_what_the_other_edits() {
    let mut devices = Device::all(&base(), 2, true);
    devices[0].set(&base().replace("line 5\n", ""));
    devices[1].set(&base().replace("line 5", "line 5 and more"));
    sync_all(&mut devices);
    let card = devices[0].cards()[0];
    let versions = conflict::versions(&devices[0].doc, card).unwrap().unwrap();
    let mut sides: Vec<&str> = versions.sides.iter().map(|(_, text)| text.as_str()).collect();
    sides.sort_unstable();
    assert_eq!(sides, ["", "line 5 and more\n"]);
}
