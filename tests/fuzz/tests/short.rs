//! The short run: every target on its seeds, on every input that ever broke it, and on mutations of both, with the memory
//! that each input takes.
//!
//! `SYNCD_WRITE_SEEDS=1` writes the seeds anew. `SYNCD_FUZZ_CORPUS=FOLDER` runs the inputs in a long run's folders too, one for
//! each target, since libFuzzer does not count what an input takes. An input that fails is kept in the target directory, by a name that
//! the failure says; fixed, it belongs into `crashers/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

mod seeds;

use peak_alloc::PeakAlloc;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use syncd_fuzz::mutate::mutated;
use syncd_fuzz::{TARGETS, Target};
use syncd_harness::rng::Rng;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Mutations of each target.
const INPUTS: usize = 2_000;
/// Seeds of one target together: they are small, or they are no seeds.
const SEED_BYTES: usize = 50 << 10;

/// One test at a time, or one would count another's memory; the seeds are written before any.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static WRITTEN: LazyLock<()> = LazyLock::new(|| {
        if std::env::var_os("SYNCD_WRITE_SEEDS").is_some() {
            TARGETS.iter().for_each(|target| write(&folder("seeds", target.name), &seeds::of(target.name)));
        }
    });
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    LazyLock::force(&WRITTEN);
    alone
}

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// The files of a folder in the order of their names; none if there is no such folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a name");
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// Runs one input, and says what is wrong.
fn run(target: &Target, data: &[u8]) -> Result<(), String> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let outcome = catch_unwind(|| (target.run)(data));
    let took = MEMORY.peak_usage().saturating_sub(before);
    let most = target.each * data.len() + target.base;
    match outcome {
        Err(_) => Err("it panicked, see above".to_owned()),
        Ok(()) if took > most => Err(format!("it took {took} bytes of memory, {most} are allowed")),
        Ok(()) => Ok(()),
    }
}

/// As [`run`]; keeps an input that fails.
fn must_run(target: &Target, name: &str, data: &[u8]) {
    let Err(why) = run(target, data) else { return };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", target.name));
    fs::write(&kept, data).expect("the input is kept");
    panic!("{} of {} bytes ({name}): {why}; kept at {}", target.name, data.len(), kept.display());
}

#[test]
fn every_target_survives_its_seeds_its_crashers_and_mutations_of_them() {
    let _alone = alone();
    for (number, target) in TARGETS.iter().enumerate() {
        let seeds = files(&folder("seeds", target.name));
        assert!(!seeds.is_empty(), "{} has no seeds; SYNCD_WRITE_SEEDS=1 writes them", target.name);
        let crashers = files(&folder("crashers", target.name));
        // What libraries make once and keep counts for nobody.
        seeds.iter().for_each(|(_, data)| (target.run)(data));
        let mut inputs = Vec::new();
        for (name, data) in seeds.into_iter().chain(crashers) {
            must_run(target, &name, &data);
            inputs.push(data);
        }
        if let Some(corpus) = std::env::var_os("SYNCD_FUZZ_CORPUS") {
            for (name, data) in files(&Path::new(&corpus).join(target.name)) {
                must_run(target, &name, &data);
            }
        }
        let mut rng = Rng::new(number as u64);
        for index in 0..INPUTS {
            must_run(target, &format!("mutation-{index}"), &mutated(&mut rng, &inputs));
        }
    }
}

#[test]
fn seeds_are_what_the_product_writes() {
    let _alone = alone();
    for target in TARGETS {
        let folder = folder("seeds", target.name);
        let made = seeds::of(target.name);
        assert!(made.iter().map(|(_, data)| data.len()).sum::<usize>() <= SEED_BYTES, "{}", target.name);
        assert!(files(&folder) == made, "the seeds of {} are others now: SYNCD_WRITE_SEEDS=1", target.name);
    }
}

fn write(folder: &Path, made: &[(String, Vec<u8>)]) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("old seeds go");
    }
    fs::create_dir_all(folder).expect("a folder");
    for (name, data) in made {
        fs::write(folder.join(name), data).expect("a seed");
    }
}

#[test]
fn what_takes_too_much_memory_is_seen() {
    let _alone = alone();
    let greedy = |data: &[u8]| drop(std::hint::black_box(vec![0_u8; data.len() * 100]));
    let target = Target { name: "greedy", run: greedy, each: 50, base: 64 << 10 };
    assert!(run(&target, &[0; 16]).is_ok());
    assert!(run(&target, &[0; 1 << 20]).is_err_and(|why| why.contains("bytes of memory")));
}

#[test]
fn every_target_has_its_libfuzzer_program() {
    let _alone = alone();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = fs::read_to_string(package.join("Cargo.toml")).expect("a manifest");
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    assert_eq!(files(&package.join("fuzz_targets")).len(), TARGETS.len());
    for Target { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program = fs::read_to_string(package.join(format!("fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("::{name}(data));")), "{name}");
    }
}
