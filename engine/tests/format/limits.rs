//! The table of limits in `docs/format.md` says what the code says.

use std::collections::BTreeMap;
use std::path::Path;
use syncd_schema::limits;

macro_rules! values {
    ($($name:ident),* $(,)?) => { BTreeMap::from([$((stringify!($name), limits::$name as u64)),*]) };
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_document_names_every_limit_and_its_value() {
    let values: BTreeMap<&str, u64> = values![
        CHANGE_BYTES,
        CHANGE_OPS,
        DOCUMENT_BYTES,
        DOCUMENT_OPS,
        ENTRY_BYTES,
        RECORD_BYTES,
        SEGMENT_ENTRIES,
        COMMIT_ENTRIES,
        COMMIT_BYTES,
        SEGMENT_SEALED_BYTES,
        SEGMENT_OPEN_BYTES,
        CONTROL_BYTES,
        LOG_FRAME_BYTES,
        ID_BYTES,
        ENTRY_NOTE_BYTES,
        PATH_BYTES,
        JSON_DEPTH,
        COUNTER,
        JSON_BYTES,
        DEVICES,
        EPOCHS,
        REFERENCES,
        OUTCOMES,
        SEGMENT_REQUIRES,
        CHANGE_DEPS,
        NAME_BYTES,
        TICKET_ADDRESSES,
        TICKET_CHARS,
        NOTE_BYTES,
        PENDING_ENTRIES,
        WITHHELD_ENTRIES,
        CLOCK_OFF,
        WAITS_LONG,
        FINDING_EVERY,
        BRANCHES,
        SEGMENTS_IN_FLIGHT,
        WRITER_QUEUE,
        REQUEST_BYTES,
        REQUEST_VALUES,
        GOVERNANCE_ENTRIES,
        MANIFEST_FIELDS,
        MANIFEST_KEYS,
        MANIFEST_REFERENCES,
        MANIFEST_INVARIANTS,
        MANIFEST_DANGEROUS,
        POINTED_VALUES,
        INVARIANT_BYTES,
        SCHEMA_PARTS,
        SCHEMA_STEPS,
        SCHEMA_DEPTH,
        SCHEMA_PATTERNS,
        PATTERN_BYTES,
        VIOLATIONS,
        VIOLATION_BYTES,
    ];
    let source = read("schema/src/limits.rs");
    let named = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> = named.filter(|name| !values.contains_key(name)).collect();
    assert!(missing.is_empty(), "name these limits here and in docs/format.md: {missing:?}");

    let document = read("docs/format.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let table: BTreeMap<&str, &str> = rows.map(|(name, rest)| (name, rest.trim_end_matches(" |"))).collect();
    for (name, value) in values {
        assert_eq!(table.get(name), Some(&value.to_string().as_str()), "docs/format.md, {name}");
    }
}
