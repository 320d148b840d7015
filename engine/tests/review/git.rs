//! Real merges of git, played as two devices that write whole texts.

use crate::device::{Device, sync_all};
use std::path::PathBuf;
use std::process::Command;
use syncd_engine::review;

/// What `git merge-file` makes of two versions: the text, or none if it sees a conflict. None at all without git.
pub fn merge_file(name: &str, base: &str, ours: &str, theirs: &str) -> Option<Option<String>> {
    let dir = std::env::temp_dir().join(format!("syncd-review-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (file, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        std::fs::write(dir.join(file), text).unwrap();
    }
    let merged =
        Command::new("git").current_dir(&dir).args(["merge-file", "-p", "ours", "base", "theirs"]).output();
    std::fs::remove_dir_all(&dir).unwrap();
    let merged = merged.ok()?;
    let code = merged.status.code().unwrap();
    assert!(code < 128, "git merge-file fails: {}", String::from_utf8_lossy(&merged.stderr));
    Some((code == 0).then(|| String::from_utf8(merged.stdout).unwrap()))
}

/// What happened to merges.
#[derive(Debug, Default)]
pub struct Count {
    /// Those in which git sees a conflict, and of these those with a card.
    pub conflicts: usize,
    pub carded: usize,
    /// Those that git merges, and of these those that ended without a card in git's text.
    pub clean: usize,
    pub silent: usize,
    /// Those that ended without a card in another text, or though git sees a conflict.
    pub wrong: usize,
}

impl Count {
    pub fn add(&mut self, name: &str, git: Option<&str>, ours: Option<&str>) {
        *(if git.is_none() { &mut self.conflicts } else { &mut self.clean }) += 1;
        match (git, ours) {
            (None, None) => self.carded += 1,
            (Some(git), Some(ours)) if git == ours => self.silent += 1,
            (Some(_), None) => println!("{name}: a card, and git merges it"),
            _ => {
                println!("{name}: no card, and not what git says");
                self.wrong += 1;
            }
        }
    }

    pub fn print(&self, what: &str) {
        println!(
            "{what}: {} of {} conflicts opened a card; {} of {} clean merges ended in git's text without one; \
             {} ended in another text without one",
            self.carded, self.conflicts, self.silent, self.clean, self.wrong
        );
    }
}

/// The text in which two devices end, each in turn the first to hear of the other; none if there is a card.
pub fn play(base: &str, ours: &str, theirs: &str) -> Option<String> {
    let (one, device) = meet(base, ours, theirs);
    assert_eq!(device.open, device.anew(), "who comes later finds the same");
    // Copies that were typed differently may be told apart or not, by which of them is the smaller: then it is a card.
    let (one, other) = (one?, meet(base, theirs, ours).0?);
    assert_eq!(one, other, "whoever the devices are");
    Some(one)
}

/// The text, and a device that has heard of both sides.
fn meet(base: &str, ours: &str, theirs: &str) -> (Option<String>, Device) {
    let mut devices = Device::all(base, 2, true);
    devices[0].set(ours);
    devices[1].set(theirs);
    sync_all(&mut devices);
    assert_eq!(devices[0].open, devices[1].open, "both find the same");
    let heard = devices[0].clone();
    if !heard.cards().is_empty() {
        return (None, heard);
    }
    // Both may do it before they hear of each other.
    let removed = [0, 1].map(|n| devices[n].remove_doubled());
    assert_eq!(removed[0], removed[1]);
    assert_eq!(devices[0].text(), devices[1].text());
    sync_all(&mut devices);
    assert_eq!(devices[0].open.len(), 0, "nothing is left to do");
    assert_eq!(devices[0].text(), devices[1].text());
    (Some(devices[0].text()), heard)
}

#[test]
fn real_merges_end_as_in_git() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/git-merges.jsonl.gz");
    if !path.exists() {
        eprintln!("skipped: {} is not there; no real merge is played", path.display());
        return;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip runs");
    assert!(unpacked.status.success(), "gzip cannot read {}", path.display());
    let (mut count, mut strings) = (Count::default(), Count::default());
    for (n, line) in String::from_utf8(unpacked.stdout).unwrap().lines().enumerate() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| case[name].as_str().unwrap();
        let (id, base, ours, theirs) = (field("id"), field("base"), field("ours"), field("theirs"));
        let Some(git) = merge_file(&format!("real-{n}"), base, ours, theirs) else {
            eprintln!("skipped: there is no git to compare with");
            return;
        };
        assert_eq!(git.is_none(), case["git_conflicts"] != 0, "{id}: git has changed its mind");
        count.add(id, git.as_deref(), play(base, ours, theirs).as_deref());
        strings.add(id, git.as_deref(), review::merge(base, ours, theirs).text().as_deref());
    }
    count.print("real merges on two devices");
    strings.print("real merges of plain texts");
    for count in [count, strings] {
        assert_eq!(count.carded, count.conflicts);
        assert!(count.silent * 100 >= count.clean * 99);
        assert_eq!(count.wrong, 0);
    }
}
