//! What callers ask for: requests whose effect can be recognised, drawn from what a device shows.
//!
//! It reads an engine to aim (existing objects, places between tokens) and never writes. All objects are in the
//! collection `sim`: text `body`, counter `count`, list `items`, and a few contested keys.

use crate::model::{Dropped, What, tokens};
use crate::rng::Rng;
use serde_json::{Value, json};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{CardView, Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::{EntryKind, ObjectState};

/// The keys that writers compete for.
const KEYS: [&str; 3] = ["k0", "k1", "k2"];
/// Object ids that several devices may create at once.
const CONTESTED: usize = 4;

/// A request and what it means.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The object.
    pub object: String,
    /// What it means for the model.
    pub what: What,
    /// What is asked.
    pub request: WriteRequest,
    /// What it was about to drop when it was asked first.
    pub drops: Option<Dropped>,
}

/// Draws requests with unique tokens and idempotency keys.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    drawn: u64,
    /// Whether everybody writes the same few keys of two objects.
    pub is_narrow: bool,
}

impl Workload {
    /// The manifest of the collection everybody writes.
    #[must_use]
    pub fn manifest() -> WriteRequest {
        let manifest = json!({"collection": "sim", "fields": {"/body": "text", "/count": "counter"}});
        let bytes = manifest.to_string().into_bytes();
        WriteRequest::new(actor(), Intent::Govern(EntryKind::MANIFEST, bytes))
    }

    /// One request of `device` on what its engine shows; none when the engine cannot be read.
    pub fn draw(&mut self, device: usize, engine: &mut Engine, rng: &mut Rng) -> Option<Planned> {
        let collection = "sim".parse().ok()?;
        let objects = engine.list(Some(&collection)).ok()?;
        let alive: Vec<String> = objects
            .iter()
            .filter(|object| object.state != ObjectState::Tombstoned)
            .map(|object| object.object.to_string())
            .collect();
        if self.is_narrow {
            let object = format!("shared-{}", rng.below(2));
            let key = rng.pick(&KEYS).copied()?;
            let token = self.token(device);
            let value = engine.get(&object.parse().ok()?).ok()?.map(|view| view.value);
            let is_there = value.is_some_and(|value| value.get(key).is_some());
            return Some(match (alive.contains(&object), is_there && rng.percent(15)) {
                (false, _) => self.put(&object, &token),
                (true, true) => {
                    self.edit(&object, What::Remove(key), Edit::MergePatch(json!({ (key): null })))
                }
                (true, false) => self.set(&object, key, &token),
            });
        }
        let Some(object) = rng.pick(&alive).cloned().filter(|_| !rng.percent(15)) else {
            return Some(self.birth(device, rng));
        };
        let value = engine.get(&object.parse().ok()?).ok()??.value;
        Some(self.change(device, &object, &value, rng))
    }

    /// A new object.
    pub fn birth(&mut self, device: usize, rng: &mut Rng) -> Planned {
        let token = self.token(device);
        let object = if rng.percent(30) {
            format!("shared-{}", rng.below(CONTESTED))
        } else {
            format!("o{device}-{}", self.drawn)
        };
        self.put(&object, &token)
    }

    /// A new object of a given id and token.
    pub fn put(&mut self, object: &str, token: &str) -> Planned {
        let value = json!({"born": token, "body": "", "count": 0, "items": []});
        let intent = Intent::Put {
            collection: "sim".parse().expect("a collection"),
            object: Some(object.parse().expect("an id")),
            value,
        };
        self.planned(object, What::Put(token.to_owned()), intent)
    }

    /// Some change of an object with this value.
    pub fn change(&mut self, device: usize, object: &str, value: &Value, rng: &mut Rng) -> Planned {
        let token = self.token(device);
        let body = value.get("body").and_then(Value::as_str).unwrap_or_default();
        let key = rng.pick(&KEYS).copied().unwrap_or("k0");
        match rng.below(20) {
            0 => {
                self.planned(object, What::Delete, Intent::Delete { object: object.parse().expect("an id") })
            }
            1..=8 => self.set(object, key, &token),
            9 if value.get(key).is_some() => {
                self.edit(object, What::Remove(key), Edit::MergePatch(json!({ (key): null })))
            }
            10..=11 => {
                let by = 1 + rng.below(1_000) as i64 - if rng.percent(30) { 500 } else { 0 };
                let by = if by == 0 { 7 } else { by };
                self.edit(object, What::Add(by), Edit::Increment { path: "/count".to_owned(), by })
            }
            12..=13 => self.append(object, &token),
            14 if !body.is_empty() => self.cut(object, body, rng),
            _ => self.insert(object, body, &token, rng),
        }
    }

    /// An answer to a card about one of the keys that everybody competes for: one of its sides is kept. None when the
    /// card is about something else.
    pub fn decide(&mut self, card: &CardView, rng: &mut Rng) -> Option<Planned> {
        let key = KEYS.into_iter().find(|key| card.summary.path == format!("/{key}"))?;
        let side = rng.pick(&card.values)?;
        let what = match &side.said.value {
            Value::String(token) => What::Set(key, token.clone()),
            Value::Null => What::Remove(key),
            _ => return None,
        };
        let (pick, because) = (side.said.operation, None);
        let resolve = Resolve { card: card.summary.card, choice: Choice::Merge, value: None, pick, because };
        Some(self.planned(card.summary.object.as_str(), what, Intent::Resolve(resolve)))
    }

    /// A value for a key.
    pub fn set(&mut self, object: &str, key: &'static str, token: &str) -> Planned {
        self.edit(object, What::Set(key, token.to_owned()), Edit::MergePatch(json!({ (key): token })))
    }

    /// An object begins anew as a value, or as nothing.
    pub fn renew(&mut self, object: &str, value: Option<Value>) -> Planned {
        let remains = value.clone().map_or(Remains::Nothing, Remains::Value);
        let intent = Intent::Rebirth { object: object.parse().expect("an id"), remains };
        self.planned(object, What::Renew(value), intent)
    }

    fn append(&mut self, object: &str, token: &str) -> Planned {
        let patch = json!({"json_patch": [{"op": "add", "path": "/items/-", "value": token}]});
        let edit = serde_json::from_value(patch).expect("an edit");
        self.edit(object, What::Append(token.to_owned()), edit)
    }

    /// Between tokens, never inside one: a token that somebody splits would look lost.
    fn insert(&mut self, object: &str, body: &str, token: &str, rng: &mut Rng) -> Planned {
        let places: Vec<usize> =
            std::iter::once(0).chain(body.match_indices('>').map(|(at, _)| at + 1)).collect();
        let pos = rng.pick(&places).copied().unwrap_or(0);
        let edit = Edit::Splice { path: "/body".to_owned(), pos, del: 0, text: token.to_owned() };
        self.edit(object, What::Insert(token.to_owned()), edit)
    }

    fn cut(&mut self, object: &str, body: &str, rng: &mut Rng) -> Planned {
        let all = tokens(body);
        let token = rng.pick(&all).cloned().unwrap_or_default();
        let pos = body.find(&token).unwrap_or(0);
        let edit = Edit::Splice { path: "/body".to_owned(), pos, del: token.len(), text: String::new() };
        self.edit(object, What::Cut(token), edit)
    }

    fn edit(&mut self, object: &str, what: What, edit: Edit) -> Planned {
        let intent = Intent::Edit { object: object.parse().expect("an id"), base: None, edit };
        self.planned(object, what, intent)
    }

    pub(crate) fn planned(&mut self, object: &str, what: What, intent: Intent) -> Planned {
        self.drawn += 1;
        let mut request = WriteRequest::new(actor(), intent);
        request.idempotency_key = Some(format!("call-{}", self.drawn));
        Planned { object: object.to_owned(), what, request, drops: None }
    }

    /// A token that nobody else writes.
    pub fn token(&mut self, device: usize) -> String {
        self.drawn += 1;
        format!("<{device}.{}>", self.drawn)
    }
}

/// The person behind every request.
#[must_use]
pub fn actor() -> syncd_schema::Actor {
    "user:ada".parse().expect("an actor")
}
