//! Files of vectors: kept, compared, or written anew.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use syncd_schema::cbor;

/// Facts beside the bytes: what a second implementation should find.
pub(crate) type Facts = Map<String, Value>;

pub(crate) fn facts<const N: usize>(list: [(&str, Value); N]) -> Facts {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/format")
}

pub(crate) fn writing() -> bool {
    std::env::var_os("SYNCD_WRITE_VECTORS").is_some()
}

/// One file of vectors: compared with what the code writes now, or written.
pub(crate) struct File {
    name: &'static str,
    about: &'static str,
    kept: BTreeMap<String, Value>,
    new: Vec<Value>,
}

impl File {
    pub(crate) fn open(name: &'static str, about: &'static str) -> Self {
        let kept = if writing() { BTreeMap::new() } else { read_vectors(name) };
        Self { name, about, kept, new: Vec::new() }
    }

    /// A vector whose bytes the code must write exactly. `read` decodes kept bytes and gives them back encoded
    /// again, with what follows from them.
    pub(crate) fn exact(&mut self, vector: &str, written: &[u8], read: impl Fn(&[u8]) -> (Vec<u8>, Facts)) {
        let bytes = self.kept_bytes(vector, written);
        let place = format!("{}: {vector}", self.name);
        assert_eq!(hex::encode(written), hex::encode(&bytes), "{place}: other bytes are written now");
        let (again, facts) = read(&bytes);
        assert_eq!(
            hex::encode(again),
            hex::encode(&bytes),
            "{place}: decoding and encoding changes the bytes"
        );
        self.keep(vector, &bytes, facts);
    }

    /// A vector that may be compressed otherwise another time: only what it says is compared.
    pub(crate) fn packed(&mut self, vector: &str, written: &[u8], read: impl Fn(&[u8]) -> Facts) {
        let bytes = self.kept_bytes(vector, written);
        assert_eq!(read(written), read(&bytes), "{}: {vector}: other content is written now", self.name);
        self.keep(vector, &bytes, read(&bytes));
    }

    /// A derivation without bytes of its own.
    pub(crate) fn derived(&mut self, vector: &str, facts: Facts) {
        self.keep(vector, &[], facts);
    }

    fn kept_bytes(&self, vector: &str, written: &[u8]) -> Vec<u8> {
        if writing() {
            return written.to_vec();
        }
        let kept = self.kept.get(vector).unwrap_or_else(|| panic!("{}: no vector {vector}", self.name));
        hex::decode(kept["bytes"].as_str().expect("hex")).expect("hex")
    }

    fn keep(&mut self, vector: &str, bytes: &[u8], facts: Facts) {
        let facts = Value::Object(facts);
        if !writing() {
            let kept =
                self.kept.remove(vector).unwrap_or_else(|| panic!("{}: no vector {vector}", self.name));
            assert_eq!(
                facts, kept["facts"],
                "{}: {vector}: something else follows from the bytes now",
                self.name
            );
        }
        self.new.push(json!({ "name": vector, "bytes": hex::encode(bytes), "facts": facts }));
    }

    pub(crate) fn done(self) {
        if writing() {
            let file = json!({ "about": self.about, "vectors": self.new });
            let text = serde_json::to_string_pretty(&file).expect("json") + "\n";
            std::fs::write(fixtures().join(self.name), text).expect("the file can be written");
        } else {
            let left: Vec<&String> = self.kept.keys().collect();
            assert!(left.is_empty(), "{}: vectors that nothing checks: {left:?}", self.name);
        }
    }
}

pub(crate) fn read_json(name: &str) -> Value {
    let path = fixtures().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("json")
}

pub(crate) fn read_vectors(name: &str) -> BTreeMap<String, Value> {
    let file = read_json(name);
    let vectors = file["vectors"].as_array().expect("a list").iter();
    vectors.map(|vector| (vector["name"].as_str().expect("a name").to_owned(), vector.clone())).collect()
}

pub(crate) fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

pub(crate) fn bytes(value: impl AsRef<[u8]>) -> Value {
    Value::String(hex::encode(value))
}

/// A value of a type without a text form, as Rust's debugging output shows it: for people.
pub(crate) fn shown(value: &impl std::fmt::Debug) -> Value {
    Value::String(format!("{value:?}"))
}

pub(crate) fn canonical<T>(kept: &[u8]) -> (Vec<u8>, T)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    let value: T = cbor::decode("vector", kept, usize::MAX).expect("decodes");
    (cbor::encode(&value), value)
}
