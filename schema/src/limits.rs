//! Every bound of the product in one place, each with its reason. Checked before allocating.

/// One Automerge change, encoded: a larger one is slow to review and blocks its log while it travels.
pub const CHANGE_BYTES: usize = 1 << 20;
/// Operations in one change: run-length coding lets 111 bytes claim millions, so bytes do not bound it.
pub const CHANGE_OPS: u64 = 100_000;
/// One saved document.
pub const DOCUMENT_BYTES: usize = 64 << 20;
/// Operations in one document: loading is linear in them.
pub const DOCUMENT_OPS: u64 = 1_000_000;
/// One entry, encoded, without its payload.
pub const ENTRY_BYTES: usize = 64 << 10;
/// A payload that is not a change: governance, tombstones.
pub const RECORD_BYTES: usize = 256 << 10;
/// Entries in one segment.
pub const SEGMENT_ENTRIES: usize = 4_096;
/// Entries in one group commit, and in a segment that is packed from several: each loads its documents together, so
/// this bounds memory, while its cost is spread thin enough.
pub const COMMIT_ENTRIES: usize = 1_024;
/// Payload bytes in one group commit, unless a single operation is larger: a commit must fit a segment.
pub const COMMIT_BYTES: usize = CHANGE_BYTES;
/// A segment as it travels: the largest change that does not compress, its entry and the seal.
pub const SEGMENT_SEALED_BYTES: usize = CHANGE_BYTES + (128 << 10);
/// A segment decompressed.
pub const SEGMENT_OPEN_BYTES: usize = 8 << 20;
/// A frame of the control stream.
pub const CONTROL_BYTES: usize = 512 << 10;
/// A frame of a log stream: a sealed segment and its header.
pub const LOG_FRAME_BYTES: usize = SEGMENT_SEALED_BYTES + (16 << 10);
/// Object and idempotency ids, collection names, actor ids.
pub const ID_BYTES: usize = 128;
/// What the author of an entry says about it: a sentence or two.
pub const ENTRY_NOTE_BYTES: usize = 1 << 10;
/// A path inside an object.
pub const PATH_BYTES: usize = 1 << 10;
/// Nesting of JSON values and of containers in a document: deeper ones overflow the stack on reading.
pub const JSON_DEPTH: usize = 64;
/// What a counter may begin with and what may be added to it at once, either way: as many additions as a document can hold
/// do not exceed 64 bits.
pub const COUNTER: i64 = 1 << 42;
/// One JSON value given by a caller.
pub const JSON_BYTES: usize = CHANGE_BYTES;
/// Devices of one workspace.
pub const DEVICES: usize = 256;
/// Epochs of one device, from the first that governance allows it: each is a log that everybody keeps.
pub const EPOCHS: usize = 8;
/// Runs of entries that one acknowledgement tells of when its receiver asked.
pub const OUTCOMES: usize = 4_096;
/// Operations an entry may require, logs it may have seen, governance heads it may name.
pub const REFERENCES: usize = 256;
/// Operations that the entries of one segment may require together: each is looked for in every log.
pub const SEGMENT_REQUIRES: usize = 1_024;
/// Dependencies of one change.
pub const CHANGE_DEPS: usize = 1_024;
/// A device name.
pub const NAME_BYTES: usize = 64;
/// Addresses in a ticket.
pub const TICKET_ADDRESSES: usize = 8;
/// A ticket as text.
pub const TICKET_CHARS: usize = 2_048;
/// A signed checkpoint note.
pub const NOTE_BYTES: usize = 4 << 10;
/// Entries of one device stored and not admitted, waiting or refused: each is in memory, with up to 16 names of what it
/// waits for. More are not taken before it is let in anew.
pub const PENDING_ENTRIES: usize = 65_536;
/// Entries of one device whose payload somebody withheld: of an object that began anew elsewhere, until that is heard of.
pub const WITHHELD_ENTRIES: usize = 4 * PENDING_ENTRIES;
/// How far a date may be off before somebody is told of it, in microseconds: a day, so that no time zone is taken for it.
pub const CLOCK_OFF: u64 = 86_400_000_000;
/// How long an entry may wait for what others hold before somebody is told of it, in microseconds: a day, since
/// devices are off at night.
pub const WAITS_LONG: u64 = 86_400_000_000;
/// How often a repeated finding about a device is waited for until the disk has it, in microseconds: others wait as well.
pub const FINDING_EVERY: u64 = 1_000_000;
/// Branches kept of one forked log: two prove the fork, more prove nothing new.
pub const BRANCHES: usize = 2;
/// Unacknowledged segments of one log in flight to one peer: bounds memory on a slow link.
pub const SEGMENTS_IN_FLIGHT: usize = 4;
/// Requests of callers waiting for the writer.
pub const WRITER_QUEUE: usize = 4_096;
/// One request on the Unix socket.
pub const REQUEST_BYTES: usize = 96 << 20;
/// JSON values of one request: each takes up to 700 bytes of memory, whatever its text, and an edit of as many operations
/// as a change may have names four for each.
pub const REQUEST_VALUES: usize = 1 << 19;
/// Governance entries of one workspace: every device holds all of them in memory.
pub const GOVERNANCE_ENTRIES: usize = 65_536;
/// Field rules of one manifest: each place of a value that is written or shown is compared with all of them.
pub const MANIFEST_FIELDS: usize = 256;
/// Unique keys of one manifest, and pointers in one: each is computed for every object that changes.
pub const MANIFEST_KEYS: usize = 16;
/// References of one manifest, for the same reason.
pub const MANIFEST_REFERENCES: usize = 32;
/// Invariants of one manifest: all are judged at each local write.
pub const MANIFEST_INVARIANTS: usize = 32;
/// Dangerous fields of one manifest: each path of an edit is compared with all of them.
pub const MANIFEST_DANGEROUS: usize = 64;
/// Places of one value that one pointer with `*` may name: more are not looked at, on every device alike.
pub const POINTED_VALUES: usize = 4_096;
/// The Cedar text of one invariant: more than a person reads at once.
pub const INVARIANT_BYTES: usize = 4 << 10;
/// Subschemas of one JSON Schema: each is walked once for each level that a value may nest.
pub const SCHEMA_PARTS: usize = 4_096;
/// Subschemas that one schema may apply along one line of nested values: schemas that refer to each other multiply, and
/// 200 bytes could ask for 2^64.
pub const SCHEMA_STEPS: u64 = 16_384;
/// Subschemas applied inside of each other: the validator recurses.
pub const SCHEMA_DEPTH: u64 = 512;
/// Patterns of one schema: each is compiled and kept.
pub const SCHEMA_PATTERNS: usize = 64;
/// A compiled pattern of a schema: matching costs its size times the text's at worst.
pub const PATTERN_BYTES: usize = 256 << 10;
/// Violations that are told of one value: a person needs the first.
pub const VIOLATIONS: usize = 16;
/// One violation's text, which may quote the value.
pub const VIOLATION_BYTES: usize = 512;
