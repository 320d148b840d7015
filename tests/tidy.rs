//! Rules of this repository that no compiler knows: arrows between crates, clocks, sizes, and what must not stand in
//! a file. Each message names the place and what to do.
//!
//! A check is a function from a file's path and text to messages; the walk over the files is at the end, and so is,
//! for each check, a small file that breaks its rule. Words that a check looks for are put together from halves, so
//! that this file passes its own checks.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One file of the repository. The path is relative to its root, with `/` between names.
struct File {
    path: String,
    text: String,
}

/// Every check of one file.
const CHECKS: [fn(&File) -> Vec<String>; 11] = [
    arrows,
    lints_are_inherited,
    dependencies_have_reasons,
    opens_with_its_purpose,
    redb_stays_in_the_store,
    no_clock,
    no_randomness,
    nothing_left_to_do,
    not_too_long,
    no_machine_paths,
    exceptions_have_reasons,
];

/// Crates of ours that a crate may depend on. `DESIGN`: arrows never turn back.
const ARROWS: [(&str, &[&str]); 9] = [
    ("schema", &[]),
    ("policy", &["syncd-schema"]),
    ("evidence", &["syncd-schema"]),
    ("transport", &["syncd-schema"]),
    ("engine", &["syncd-schema", "syncd-policy", "syncd-evidence"]),
    ("tests/harness", &["syncd-schema", "syncd-policy", "syncd-evidence", "syncd-engine"]),
    (
        "tests/fuzz",
        &[
            "syncd-schema",
            "syncd-policy",
            "syncd-evidence",
            "syncd-engine",
            "syncd-transport",
            "syncd-harness",
        ],
    ),
    ("tests/fuzz/libfuzzer", &["syncd-fuzz"]),
    (
        "",
        &[
            "syncd-schema",
            "syncd-policy",
            "syncd-evidence",
            "syncd-engine",
            "syncd-transport",
            "syncd-harness",
        ],
    ),
];

/// Libraries that belong to some crates only: who may depend on them, and why nobody else.
const CONFINED: [(&str, &[&str], &str); 6] = [
    ("redb", &["engine", "tests/harness"], "the store is the engine's; use its `Store`"),
    ("quinn", &["transport"], "links are the transport's; use its `Link`"),
    ("rustls", &["transport"], "TLS is the transport's; use its `Identity`"),
    ("tokio", &["transport", ""], "the cores have no runtime; hand them time and messages as values"),
    ("getrandom", &[""], "randomness is handed in as `Entropy`"),
    ("rand", &[], "randomness is handed in as `Entropy`"),
];

/// The longest file. 150 to 400 lines read well.
const MOST_LINES: usize = 600;

/// Directories that are not ours to check.
const IGNORED: [&str; 4] = ["target", ".git", ".library", "node_modules"];

// ---------------------------------------------------------------------------------------------- manifests

/// A line `name = …` or `name.workspace = true` of a manifest.
struct Line<'a> {
    number: usize,
    section: &'a str,
    name: &'a str,
    rest: &'a str,
}

fn manifest_lines(text: &str) -> Vec<Line<'_>> {
    let mut section = "";
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = header.0.trim_matches(['[', ']']);
        } else if let Some((key, rest)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = key.trim().split('.').next().unwrap_or_default().trim_matches('"');
            lines.push(Line { number: index + 1, section, name, rest });
        }
    }
    lines
}

/// The crate whose manifest this is: its directory, empty for the root package.
fn crate_of(file: &File) -> Option<&str> {
    match file.path.strip_suffix("Cargo.toml")? {
        "" => Some(""),
        dir => dir.strip_suffix('/'),
    }
}

fn arrows(file: &File) -> Vec<String> {
    let Some(this) = crate_of(file) else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == this) else {
        return vec![format!("{}: a crate that tests/tidy.rs does not know; add it to ARROWS", file.path)];
    };
    let mut found = Vec::new();
    for line in manifest_lines(&file.text) {
        let (Line { number, name, section, .. }, path) = (&line, &file.path);
        let dependency = section.rsplit('.').next().unwrap_or_default();
        if !dependency.ends_with("dependencies") || *section == "workspace.dependencies" {
            continue;
        }
        if name.starts_with("syncd-") && !allowed.contains(name) {
            found.push(format!(
                "{path}:{number}: {name} is not below this crate; move the code, not the arrow"
            ));
        }
        // What a helper of tests needs is its own business; a crate's tests must still not meet it twice.
        if dependency == "dev-dependencies" {
            continue;
        }
        for (library, crates, why) in CONFINED {
            if *name == library && !crates.contains(&this) {
                found.push(format!("{path}:{number}: {library} must not be used here: {why}"));
            }
        }
    }
    found
}

fn lints_are_inherited(file: &File) -> Vec<String> {
    // The harness is part of tests and may panic as they do; libFuzzer's programs are no part of the workspace.
    let own = ["tests/harness", "tests/fuzz/libfuzzer"];
    let Some(this) = crate_of(file).filter(|this| !own.contains(this)) else { return Vec::new() };
    let inherits =
        |line: &Line<'_>| line.section == "lints" && line.name == "workspace" && line.rest.trim() == "true";
    if manifest_lines(&file.text).iter().any(inherits) {
        return Vec::new();
    }
    vec![format!(
        "{}: crate {this:?} has lints of its own; write `[lints]` and `workspace = true`",
        file.path
    )]
}

fn dependencies_have_reasons(file: &File) -> Vec<String> {
    if file.path != "Cargo.toml" {
        return Vec::new();
    }
    let unexplained = manifest_lines(&file.text).into_iter().filter(|line| {
        line.section == "workspace.dependencies"
            && !line.name.starts_with("syncd-")
            && !line.rest.contains("# ")
    });
    let say = |line: Line<'_>| {
        format!("{}:{}: say behind {} why it is here: `# …`", file.path, line.number, line.name)
    };
    unexplained.map(say).collect()
}

// ---------------------------------------------------------------------------------------------- sources

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

/// Tests, benchmarks and examples, which are not part of the product.
fn is_beside_the_product(path: &str) -> bool {
    let dir = |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
    dir("tests") || dir("benches") || dir("examples") || path.ends_with("/tests.rs")
}

/// Lines of the product's own code with their numbers: without comments, and without a file's tests at its end.
fn product_lines(file: &File) -> Vec<(usize, &str)> {
    if !is_rust(file) || is_beside_the_product(&file.path) {
        return Vec::new();
    }
    let numbered = file.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let code = numbered.take_while(|(_, line)| line.trim() != "#[cfg(test)]" || line.starts_with(' '));
    code.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// A message for each line of the product that holds one of the words.
fn words(file: &File, words: &[String], say: &str) -> Vec<String> {
    let holds = |line: &str| words.iter().find(|word| line.contains(word.as_str()));
    let lines = product_lines(file).into_iter();
    lines
        .filter_map(|(n, line)| holds(line).map(|word| format!("{}:{n}: `{word}`: {say}", file.path)))
        .collect()
}

fn opens_with_its_purpose(file: &File) -> Vec<String> {
    if !is_rust(file) || file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}:1: open the file with `//! ` and what it is for", file.path)]
}

fn redb_stays_in_the_store(file: &File) -> Vec<String> {
    if file.path.starts_with("engine/src/store/") {
        return Vec::new();
    }
    let name = ["re", "db::"].concat();
    words(file, &[name], "only engine/src/store/ knows the database; add what is missing to `Store`")
}

fn no_clock(file: &File) -> Vec<String> {
    let system = [["System", "Time::now"].concat(), ["Utc", "::now"].concat(), ["Local", "::now"].concat()];
    let instant = ["Instant", "::now"].concat();
    let mut forbidden = system.to_vec();
    // Timeouts of the network are for those who wait for it; the cores are handed the time.
    if !file.path.starts_with("transport/") && !file.path.starts_with("daemon/net/") {
        forbidden.push(instant);
    }
    if file.path == "daemon/os.rs" {
        return Vec::new();
    }
    words(file, &forbidden, "only daemon/os.rs reads the clock; take the time as an argument")
}

fn no_randomness(file: &File) -> Vec<String> {
    if file.path == "daemon/os.rs" {
        return Vec::new();
    }
    let names = [
        ["getran", "dom::"],
        ["Os", "Rng"],
        ["Sys", "Rng"],
        ["thread", "_rng"],
        ["rand", "::rng("],
        ["from_", "os_rng"],
    ];
    let names: Vec<String> = names.iter().map(|halves| halves.concat()).collect();
    words(file, &names, "only daemon/os.rs draws randomness; take an `Entropy`")
}

fn nothing_left_to_do(file: &File) -> Vec<String> {
    if !is_rust(file) && !file.path.ends_with(".md") && !file.path.ends_with(".toml") {
        return Vec::new();
    }
    let words =
        [["to", "do!("], ["unimple", "mented!("], ["TO", "DO"], ["FIX", "ME"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
            found.push(format!("{}:{}: `{word}`: do it now, or write an issue", file.path, index + 1));
        }
    }
    found
}

fn not_too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if !is_rust(file) || lines <= MOST_LINES {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, the limit is {MOST_LINES}; split it by what its parts know", file.path)]
}

fn no_machine_paths(file: &File) -> Vec<String> {
    let paths = [["/wo", "rk/"], ["/ho", "me/"], ["/tmp", "/bench"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(path) = paths.iter().find(|path| line.contains(path.as_str())) {
            found.push(format!(
                "{}:{}: `{path}` exists on one machine only; take the path from outside",
                file.path,
                index + 1
            ));
        }
    }
    found
}

fn exceptions_have_reasons(file: &File) -> Vec<String> {
    if !is_rust(file) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in file.text.match_indices(opening) {
            let line_start = file.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let attribute = file.text[at..].split(")]").next().unwrap_or_default();
            // Only attributes at the beginning of a line, and those in a parameter or field list: not in strings.
            let quoted =
                file.text[line_start..at].contains(['"', '`']) || file.text[line_start..at].contains("//");
            if !quoted && !attribute.contains("reason =") {
                let number = file.text[..at].lines().count().max(1) + usize::from(at == line_start && at > 0);
                found.push(format!("{}:{number}: `{opening}`: add `, reason = \"…\"`", file.path));
            }
        }
    }
    found
}

// ---------------------------------------------------------------------------------------------- the walk

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_text(name: &str) -> bool {
    let ends =
        [".rs", ".toml", ".md", ".json", ".txt", ".yml", ".yaml", ".py", ".sh", ".cedar", ".cedarschema"];
    ends.iter().any(|end| name.ends_with(end)) || matches!(name, "run" | "LICENSE" | ".gitignore")
}

fn walk(dir: &Path, files: &mut Vec<File>) {
    let mut entries: Vec<_> = fs::read_dir(dir).expect("a directory of the repository").flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_dir() && !IGNORED.contains(&name.as_str()) {
            walk(&entry.path(), files);
        } else if kind.is_file() && is_text(&name) {
            let path = entry.path();
            let shown =
                path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
            files.push(File { path: shown, text });
        }
    }
}

#[test]
fn the_repository_is_tidy() {
    let mut files = Vec::new();
    walk(root(), &mut files);
    assert!(files.iter().any(|file| file.path == "tests/tidy.rs"), "the walk did not find this file");
    let found: Vec<String> =
        files.iter().flat_map(|file| CHECKS.iter().flat_map(|check| check(file))).collect();
    let list = found.iter().fold(String::new(), |mut list, message| {
        let _ = writeln!(list, "  {message}");
        list
    });
    assert!(found.is_empty(), "{} places are not tidy:\n{list}", found.len());
}

// ---------------------------------------------------------------------------------------------- the checks can fail

fn messages(check: fn(&File) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    check(&File { path: path.to_owned(), text: text.to_owned() })
}

#[test]
fn arrows_that_turn_back_are_seen() {
    let dependency =
        |name: &str| format!("[package]\nname = \"x\"\n[dependencies]\n{name}.workspace = true\n");
    let back = [
        ("schema", "syncd-engine"),
        ("policy", "syncd-evidence"),
        ("transport", "syncd-engine"),
        ("engine", "syncd-transport"),
    ];
    let strange = [
        ("engine", "tokio"),
        ("evidence", "getrandom"),
        ("policy", "redb"),
        ("engine", "quinn"),
        ("schema", "rand"),
    ];
    for (dir, name) in back.into_iter().chain(strange) {
        let found = messages(arrows, &format!("{dir}/Cargo.toml"), &dependency(name));
        assert_eq!(found.len(), 1, "{dir} -> {name}: {found:?}");
        assert!(found[0].starts_with(&format!("{dir}/Cargo.toml:4: ")), "{found:?}");
    }
    for (path, name) in [
        ("engine/Cargo.toml", "syncd-schema"),
        ("engine/Cargo.toml", "redb"),
        ("transport/Cargo.toml", "quinn"),
        ("Cargo.toml", "tokio"),
    ] {
        assert!(messages(arrows, path, &dependency(name)).is_empty(), "{path} -> {name}");
    }
    let table = "[target.'cfg(unix)'.dependencies]\nquinn = \"0.11\"\n";
    assert_eq!(messages(arrows, "engine/Cargo.toml", table).len(), 1);
    let helper = "[dev-dependencies]\nsyncd-harness = { path = \"../tests/harness\" }\n";
    assert_eq!(messages(arrows, "engine/Cargo.toml", helper).len(), 1);
    assert_eq!(messages(arrows, "new/Cargo.toml", "").len(), 1);
}

#[test]
fn own_lints_and_unexplained_dependencies_are_seen() {
    assert_eq!(messages(lints_are_inherited, "engine/Cargo.toml", "[package]\n").len(), 1);
    assert_eq!(
        messages(lints_are_inherited, "engine/Cargo.toml", "[lints.rust]\nworkspace = true\n").len(),
        1
    );
    assert!(messages(lints_are_inherited, "engine/Cargo.toml", "[lints]\nworkspace = true\n").is_empty());
    let bare = "[workspace.dependencies]\nsyncd-x = { path = \"x\" }\nhex = \"0.4\"\nlru = \"0.19\" # bounded caches\n";
    let found = messages(dependencies_have_reasons, "Cargo.toml", bare);
    assert!(found.len() == 1 && found[0].starts_with("Cargo.toml:3: "), "{found:?}");
}

#[test]
fn files_without_a_purpose_are_seen() {
    assert_eq!(messages(opens_with_its_purpose, "engine/src/x.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(messages(opens_with_its_purpose, "examples/x.rs", "").len(), 1);
    assert!(messages(opens_with_its_purpose, "engine/src/x.rs", "//! What it is for.\n").is_empty());
}

#[test]
fn what_belongs_elsewhere_is_seen() {
    let database = ["use re", "db::Database;\n"].concat();
    assert_eq!(messages(redb_stays_in_the_store, "engine/src/session/mod.rs", &database).len(), 1);
    assert!(messages(redb_stays_in_the_store, "engine/src/store/mod.rs", &database).is_empty());
    assert!(messages(redb_stays_in_the_store, "engine/tests/x.rs", &database).is_empty());

    let clock = ["//! X.\nfn f() { std::time::System", "Time::now(); }\n"].concat();
    let found = messages(no_clock, "engine/src/x.rs", &clock);
    assert!(found.len() == 1 && found[0].starts_with("engine/src/x.rs:2: "), "{found:?}");
    assert_eq!(messages(no_clock, "transport/src/x.rs", &clock).len(), 1);
    assert!(messages(no_clock, "daemon/os.rs", &clock).is_empty());
    assert!(messages(no_clock, "engine/benches/x.rs", &clock).is_empty());
    let timer = ["let start = Instant", "::now();\n"].concat();
    assert_eq!(messages(no_clock, "daemon/api/mod.rs", &timer).len(), 1);
    assert!(messages(no_clock, "daemon/net/mod.rs", &timer).is_empty());
    assert!(messages(no_clock, "transport/src/dial.rs", &timer).is_empty());
    assert!(messages(no_clock, "engine/src/x.rs", &format!("// {timer}")).is_empty());
    assert!(
        messages(no_clock, "engine/src/x.rs", &format!("#[cfg(test)]\nmod tests {{ {timer} }}")).is_empty()
    );

    let random = ["getran", "dom::fill(&mut bytes);\n"].concat();
    assert_eq!(messages(no_randomness, "daemon/root/mod.rs", &random).len(), 1);
    assert!(messages(no_randomness, "daemon/os.rs", &random).is_empty());
}

#[test]
fn what_is_left_to_do_too_long_or_local_is_seen() {
    let left = ["fn f() { to", "do!(); }\n// FIX", "ME\n// TO", "DO\n"].concat();
    assert_eq!(messages(nothing_left_to_do, "tests/x.rs", &left).len(), 3);
    assert!(messages(nothing_left_to_do, "tests/x.rs", "//! Done.\n").is_empty());

    assert_eq!(messages(not_too_long, "engine/src/x.rs", &"\n".repeat(MOST_LINES + 1)).len(), 1);
    assert!(messages(not_too_long, "engine/src/x.rs", &"\n".repeat(MOST_LINES)).is_empty());

    let local = ["{ \"path\": \"/ho", "me/ada/x\" }\n"].concat();
    assert_eq!(messages(no_machine_paths, "docs/x.json", &local).len(), 1);
}

#[test]
fn exceptions_without_a_reason_are_seen() {
    let bare = "//! X.\n#![allow(dead_code)]\n\n#[allow(unused)]\nfn f() {}\n";
    let found = messages(exceptions_have_reasons, "engine/src/x.rs", bare);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("engine/src/x.rs:4: ") && found[1].starts_with("engine/src/x.rs:2: "),
        "{found:?}"
    );
    let long = "#[allow(\n    clippy::a,\n    reason = \"because\"\n)]\nfn f() {}\n";
    assert!(messages(exceptions_have_reasons, "engine/src/x.rs", long).is_empty());
}
