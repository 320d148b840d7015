//! Attacks in processes of their own, which may overflow their stack, run out of memory or never end: each such end
//! is a failure with its seed, and the next process goes on behind it.

use crate::aftermath::{self, Failure};
use crate::attempt::{self, Attack, Worlds};
use crate::world::World;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use syncd_engine::document::{self, EncodedChange};
use syncd_schema::Digest;

/// What a process may take of memory, in KiB: bombs must fail here and not fill the machine.
const MEMORY_KIB: u64 = 3 << 20;
/// What an ordinary thread has.
const STACK_BYTES: usize = 2 << 20;
/// Without a word for this long, a process hangs.
const HANGS: Duration = Duration::from_secs(60);
/// An attack that takes longer is a failure too: all of them are small.
const SLOW: Duration = Duration::from_secs(10);
/// What was kept is followed by so many different lives.
const ROUNDS: u64 = 12;
/// Attacks of one process.
const EACH: u64 = 500;

const RANGE: &str = "SYNCD_ATTACK_RANGE";
const ONE: &str = "SYNCD_ATTACK_ONE";
const FILE: &str = "SYNCD_ATTACK_FILE";
/// Where attacks that did harm are kept, one for each kind of failure.
const KEEP: &str = "SYNCD_CRASHERS";

/// By rule how often, and the first seed.
type Seeds = BTreeMap<String, (u64, u64)>;

/// What became of all attacks.
#[derive(Debug, Default)]
pub struct Tally {
    pub offered: u64,
    /// By what the guard said.
    pub outcomes: BTreeMap<String, u64>,
    /// By rule: offered, let in, stopped by Automerge only.
    pub rules: BTreeMap<String, [u64; 3]>,
    /// By what stopped them: what came as far as Automerge.
    pub late: BTreeMap<String, Seeds>,
    /// By kind and place.
    pub failures: BTreeMap<String, Seeds>,
    pub slowest: (Duration, u64),
}

fn note(seeds: &mut BTreeMap<String, Seeds>, what: String, rule: &str, seed: u64) {
    let known = seeds.entry(what).or_default().entry(attempt::name(rule).to_owned()).or_insert((0, seed));
    known.0 += 1;
}

impl Tally {
    fn failed(&mut self, seed: u64, rule: &str, failure: &Failure) {
        // Beyond the place it is about one attack only.
        let place = failure.detail.split(" (").next().unwrap_or_default();
        let what = format!("{}: {place}", failure.kind);
        if !self.failures.contains_key(&what) {
            println!("seed {seed}, {rule}: {} {}", failure.kind, failure.detail);
        }
        note(&mut self.failures, what, rule, seed);
    }

    /// A line of a process: seed, rule, outcome, microseconds, and a failure's kind and detail.
    fn line(&mut self, line: &str) -> Option<()> {
        let mut parts = line.split('\t');
        let seed = parts.next()?.parse().ok()?;
        let (rule, outcome) = (parts.next()?, parts.next()?);
        let took = Duration::from_micros(parts.next()?.parse().ok()?);
        self.offered += 1;
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
        let counts = self.rules.entry(attempt::name(rule).to_owned()).or_default();
        counts[0] += 1;
        counts[1] += u64::from(outcome == "Applied");
        if attempt::is_late(outcome) {
            counts[2] += 1;
            note(&mut self.late, outcome.to_owned(), rule, seed);
        }
        self.slowest = self.slowest.max((took, seed));
        if let (Some(kind), Some(detail)) = (parts.next(), parts.next()) {
            self.failed(seed, rule, &Failure::new(kind, detail));
        } else if took > SLOW {
            self.failed(seed, rule, &Failure::new("slow", String::new()));
        }
        Some(())
    }

    pub fn print(&self) {
        println!("{} attacks, the slowest {:.1?} (seed {})", self.offered, self.slowest.0, self.slowest.1);
        println!("\noutcomes:");
        self.outcomes.iter().for_each(|(outcome, count)| println!("{count:8} {outcome}"));
        println!("\n offered   let in     late  rule");
        for (rule, [offered, in_, late]) in &self.rules {
            println!("{offered:8} {in_:8} {late:8}  {rule}");
        }
        let each = |all: &BTreeMap<String, Seeds>| {
            for (what, rules) in all {
                println!("{:8} {what}", rules.values().map(|(count, _)| count).sum::<u64>());
                let list = rules.iter().map(|(rule, (count, seed))| format!("{rule} {count} (seed {seed})"));
                println!("         by {}", list.collect::<Vec<_>>().join(", "));
            }
        };
        println!("\nstopped by the document library only:");
        each(&self.late);
        println!("\nfailures:");
        each(&self.failures);
    }
}

/// Attacks with all seeds of a range, in as many processes at a time as the machine has processors.
pub fn attack_all(seeds: Range<u64>) -> Tally {
    let starts = (seeds.start..seeds.end).step_by(EACH as usize);
    let ranges: VecDeque<Range<u64>> = starts.map(|from| from..(from + EACH).min(seeds.end)).collect();
    let (left, tally) = (Mutex::new(ranges), Mutex::new(Tally::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("a lock").pop_front();
                    let Some(mut range) = next else { return };
                    while !range.is_empty() {
                        let seeds = format!("{} {}", range.start, range.end);
                        range.start = one_process((RANGE, &seeds), &range, &tally);
                    }
                }
            });
        }
    });
    tally.into_inner().expect("a lock")
}

fn process(variable: &str, value: &str) -> Command {
    let test = std::env::current_exe().expect("a path of this test");
    let mut command = Command::new("sh");
    // Where memory cannot be limited, the rest still holds.
    let limited = format!("ulimit -v {MEMORY_KIB} 2>/dev/null; exec \"$0\" \"$@\"");
    command.arg("-c").arg(limited).arg(test).args(["--exact", "one_process", "--ignored", "--nocapture"]);
    command.env(variable, value).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Tries what once did harm again, each file in a process of its own. How many there are.
pub fn replay_all(folder: &Path, tally: &Mutex<Tally>) -> usize {
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.expect("an entry").path());
    let files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|found| found == "hex")).collect();
    for file in &files {
        one_process((FILE, &file.to_string_lossy()), &(0..1), tally);
    }
    files.len()
}

/// Attacks in one process as far as it comes. Says where the next one has to begin.
fn one_process((variable, value): (&str, &str), range: &Range<u64>, tally: &Mutex<Tally>) -> u64 {
    let mut child = process(variable, value).spawn().expect("a process");
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok()
    });
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        BufReader::new(err).take(1 << 16).read_to_string(&mut said).map(|_| said).unwrap_or_default()
    });
    let mut current = None;
    let hangs = loop {
        match heard.recv_timeout(HANGS) {
            Ok(line) => {
                // The test harness may have written something before it.
                if let Some((_, begun)) = line.split_once("@@") {
                    current = begun
                        .split_once('\t')
                        .map(|(seed, rule)| (seed.parse().unwrap_or(0), rule.to_owned()));
                } else if let Some((_, done)) = line.split_once("==") {
                    tally.lock().expect("a lock").line(done).expect("a line of our own");
                    current = None;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    if hangs {
        child.kill().expect("a process of our own");
    }
    let status = child.wait().expect("a process of our own");
    let said = said.join().expect("a reader");
    let kind = match (hangs, said.contains("overflowed its stack"), said.contains("memory allocation of")) {
        (true, ..) => "hang",
        (_, true, _) => "stack overflow",
        (.., true) => "out of memory",
        _ => "abort",
    };
    match current {
        Some((seed, rule)) => {
            let failure = Failure::new(kind, String::new());
            tally.lock().expect("a lock").failed(seed, &rule, &failure);
            if std::env::var_os(KEEP).is_some() {
                process(ONE, &format!("{seed} {kind}")).output().expect("a process");
            }
            seed + 1
        }
        None => {
            assert!(status.success(), "a process ended outside of an attack: {status} {said}");
            range.end
        }
    }
}

/// The other side: attacks with a range of seeds and says what became of each.
pub fn be_attacked() {
    aftermath::silence();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let all = thread.spawn(|| {
        let mut worlds = Worlds::default();
        if let Ok(one) = std::env::var(ONE) {
            let (seed, kind) = one.split_once(' ').expect("a seed and a kind");
            let attack = attempt::attack(&mut worlds, seed.parse().expect("a seed"));
            return keep(&attack, &Failure::new(kind, attack.rule.clone()));
        }
        if let Ok(file) = std::env::var(FILE) {
            return (0..ROUNDS).for_each(|seed| attempted(&kept(Path::new(&file)), seed));
        }
        let range = std::env::var(RANGE).expect("a range of seeds");
        let (from, to) = range.split_once(' ').expect("a range");
        for seed in from.parse::<u64>().expect("a seed")..to.parse().expect("a seed") {
            attempted(&attempt::attack(&mut worlds, seed), seed);
        }
    });
    all.expect("a thread").join().expect("no panic outside of a step");
}

fn attempted(attack: &Attack, seed: u64) {
    let mut out = std::io::stdout();
    // Before it is tried, so that a process that ends here has said where.
    writeln!(out, "@@{seed}\t{} on {}", attack.rule, attack.world.shape).expect("stdout");
    out.flush().expect("stdout");
    let verdict = attempt::run(attack, seed);
    let failed = verdict.failure.as_ref().map(|Failure { kind, detail }| {
        keep(attack, &Failure::new(kind, detail.clone()));
        format!("\t{kind}\t{}", detail.replace(['\t', '\n'], " "))
    });
    let (rule, outcome, took) = (&attack.rule, &verdict.outcome, verdict.took.as_micros());
    let shape = attack.world.shape;
    writeln!(out, "=={seed}\t{rule} on {shape}\t{outcome}\t{took}{}", failed.unwrap_or_default())
        .expect("stdout");
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    text.trim().as_bytes().chunks(2).map(digit).collect()
}

/// An attack that was kept.
fn kept(file: &Path) -> Attack {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut lines = text.lines().map(unhex);
    let document = lines.next().filter(|bytes| !bytes.is_empty());
    let doc = document.map(|bytes| document::load(Some(&bytes), std::iter::empty()).expect("a document"));
    let hash = |bytes: &[u8]| Digest(Sha256::digest(&bytes[8..]).into());
    let changes = lines.map(|bytes| EncodedChange { hash: hash(&bytes), bytes }).collect();
    let rule = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Attack { world: Rc::new(World::on("a file", doc.clone(), doc)), rule, changes }
}

/// Keeps the smallest attack for each kind of failure: a line of hex for the document, one for each change.
fn keep(attack: &Attack, failure: &Failure) {
    let Some(folder) = std::env::var_os(KEEP).map(PathBuf::from) else { return };
    let detail = failure.detail.split(" (").next().unwrap_or_default();
    let plain: String = format!("{} {detail}", failure.kind)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(90)
        .collect();
    let document = attack.world.doc.as_ref().map(automerge::Automerge::save).unwrap_or_default();
    let mut text = format!("{}\n", hex(&document));
    attack.changes.iter().for_each(|change| text.push_str(&format!("{}\n", hex(&change.bytes))));
    let path = Path::new(&folder).join(plain).with_extension("hex");
    if std::fs::metadata(&path).is_ok_and(|known| known.len() <= text.len() as u64) {
        return;
    }
    std::fs::write(path, text).expect("a folder to keep attacks in");
}
