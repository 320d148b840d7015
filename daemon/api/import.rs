//! Files into objects of the collection `files`.
//!
//! A file's object id is derived from its path, so that finding it again takes one look-up however many files there
//! are, and two devices that import the same file make the same object instead of two. An object that was deleted
//! does not come back; its file gets the next id derived from the path.
//!
//! A text that is too large for one change comes in by several: the object with the beginning, then the rest. They are
//! operations of their own, so whoever syncs in between sees the beginning; an import that was interrupted goes on
//! where it stopped when it is repeated, since it writes the difference. Such an object names the device that made it: two
//! devices that import one such file while they are apart make two lives of one object, which everybody sees as a
//! conflict. Without the name they would share the beginning and each add the rest, and nobody would be told.

use super::write::Who;
use super::{ApiError, Reply, Workspace};
use crate::os;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncd_engine::document::{operations, text_start, text_steps};
use syncd_engine::{Edit, Engine, Intent};
use syncd_schema::{Collection, DeviceId, ObjectId, ObjectState, domain, limits};

/// The collection that files go to.
const FILES: &str = "files";

/// Where its objects hold their texts.
const TEXT: &str = "/text";

/// Where an object whose text came by several operations names the device that took it in.
const IMPORTED_BY: &str = "imported_by";

/// Operations of an object beside its text's: its members, and the text itself.
const AROUND: u64 = 16;

/// A file as it comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIn {
    /// Its path, relative to the parent of what was named, with `/` between its parts.
    pub path: String,
    /// What is in it.
    #[serde(flatten)]
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Anything else, in base64.
    Bytes(String),
}

impl Content {
    const fn field(&self) -> (&'static str, &String) {
        match self {
            Self::Text(text) => ("text", text),
            Self::Bytes(bytes) => ("bytes", bytes),
        }
    }
}

/// What is to be done about a file.
enum Plan {
    Create(ObjectId, Value, Vec<Edit>),
    Change(ObjectId, Vec<Edit>),
    Nothing,
    /// It cannot be taken in.
    Refuse(ApiError),
}

/// A file of which something is written: how many requests it takes, and whether its object is there already.
struct Wanted {
    path: String,
    requests: usize,
    is_new: bool,
}

/// Takes files in, all of them in as few commits as they fit. One that fails does not stop the others.
pub(super) fn import(workspace: &Workspace, who: &Who, files: Vec<FileIn>) -> Reply {
    let collection: Collection =
        FILES.parse().map_err(|_| ApiError::internal("the collection has no name"))?;
    // A key stands for one operation and this makes many; repeated, it finds that nothing differs.
    let who = &Who { actor: who.actor.clone(), idempotency_key: None, note: None };
    let (mut imported, mut updated, mut skipped, mut failed) = (0_u64, 0_u64, 0_u64, Vec::new());
    let (wanted, answers, events) = workspace.shared.with(|engine| -> Result<_, ApiError> {
        let (mut requests, mut wanted) = (Vec::new(), Vec::new());
        for file in files {
            let before = requests.len();
            let (object, edits, is_new) = match plan(engine, &file)? {
                Plan::Nothing => {
                    skipped += 1;
                    continue;
                }
                Plan::Refuse(error) => {
                    failed.push(failure(&file.path, &error));
                    continue;
                }
                Plan::Create(object, value, edits) => {
                    let (collection, created) = (collection.clone(), Some(object.clone()));
                    requests.push(who.wants(Intent::Put { collection, object: created, value }));
                    (object, edits, true)
                }
                Plan::Change(object, edits) => (object, edits, false),
            };
            let edit = |edit| Intent::Edit { object: object.clone(), base: None, edit };
            requests.extend(edits.into_iter().map(|step| who.wants(edit(step))));
            wanted.push(Wanted { path: file.path, requests: requests.len() - before, is_new });
        }
        let (answers, events) = engine.write(&requests, os::now())?;
        Ok((wanted, answers, events))
    })?;
    workspace.shared.tell(&events);
    let mut answers = answers.into_iter();
    for file in wanted {
        // What follows a failed step fails for want of it, so the first error is the reason.
        let failures = answers.by_ref().take(file.requests).filter_map(Result::err).collect::<Vec<_>>();
        match failures.first() {
            None => {
                imported += 1;
                updated += u64::from(!file.is_new);
            }
            Some(error) => failed.push(failure(&file.path, &ApiError::of_write(error))),
        }
    }
    Ok(json!({ "imported": imported, "updated": updated, "skipped": skipped, "failed": failed }))
}

/// A file that was not taken in.
pub(crate) fn failure(path: &str, error: &ApiError) -> Value {
    json!({ "path": path, "code": error.code, "message": error.message, "hint": error.hint })
}

fn plan(engine: &mut Engine, file: &FileIn) -> Result<Plan, ApiError> {
    let mut generation = 0_u32;
    loop {
        let object = object_id(&file.path, generation)?;
        let Some(view) = engine.get(&object)? else { return Ok(create(object, file, engine.device())) };
        if view.state != ObjectState::Tombstoned {
            let held = engine.with_object(&object, operations)?.unwrap_or_default();
            return Ok(change(object, &view.value, &file.content, held));
        }
        generation += 1;
    }
}

/// What makes the file's object.
fn create(object: ObjectId, file: &FileIn, device: DeviceId) -> Plan {
    let (field, content) = file.content.field();
    let (start, edits) = match &file.content {
        Content::Text(text) => {
            if let Some(error) = too_large(text, 0, code_points(text)) {
                return Plan::Refuse(error);
            }
            let start = text_start(text);
            (start, text_steps(TEXT, start, text))
        }
        Content::Bytes(_) => (content.as_str(), Vec::new()),
    };
    let mut value = json!({ "path": file.path, field: start });
    if let (false, Some(members)) = (edits.is_empty(), value.as_object_mut()) {
        members.insert(IMPORTED_BY.to_owned(), json!(device.to_string()));
    }
    Plan::Create(object, value, edits)
}

/// What turns the object into the file, if anything.
fn change(object: ObjectId, value: &Value, content: &Content, held_ops: u64) -> Plan {
    let held = |field: &str| value.get(field).and_then(Value::as_str);
    let (field, new) = content.field();
    match (content, held("text"), held("bytes")) {
        (_, text, bytes) if held(field) == Some(new.as_str()) && (text.is_none() || bytes.is_none()) => {
            Plan::Nothing
        }
        (Content::Text(text), Some(old), None) => {
            let edits = text_steps(TEXT, old, text);
            match too_large(text, held_ops, inserted(&edits)) {
                Some(error) => Plan::Refuse(error),
                None => Plan::Change(object, edits),
            }
        }
        (Content::Text(text), ..) => {
            if let Some(error) = too_large(text, held_ops, code_points(text)) {
                return Plan::Refuse(error);
            }
            let start = text_start(text);
            let mut edits = vec![Edit::MergePatch(json!({ "text": start, "bytes": null }))];
            edits.extend(text_steps(TEXT, start, text));
            Plan::Change(object, edits)
        }
        (Content::Bytes(bytes), ..) => {
            Plan::Change(object, vec![Edit::MergePatch(json!({ "bytes": bytes, "text": null }))])
        }
    }
}

/// Every code point of a text is an operation, and one that was deleted still is one: what was there before counts.
fn too_large(text: &str, held: u64, added: u64) -> Option<ApiError> {
    let limit = limits::DOCUMENT_OPS;
    if held.saturating_add(added).saturating_add(AROUND) <= limit {
        return None;
    }
    let chars = code_points(text);
    let message = if held == 0 {
        format!(
            "a text of {chars} code points is too large: an object holds {limit} operations (DOCUMENT_OPS)"
        )
    } else {
        format!(
            "a text of {chars} code points, {added} of them new, is too large for an object that has {held} \
             operations of {limit} (DOCUMENT_OPS)"
        )
    };
    Some(ApiError::failed("too_large", message, "split the file, or leave it out"))
}

fn code_points(text: &str) -> u64 {
    text.chars().count() as u64
}

/// How many code points the edits write at most.
fn inserted(edits: &[Edit]) -> u64 {
    let of_edit = |edit: &Edit| match edit {
        Edit::SetText { text, .. } => code_points(text),
        Edit::Splices { splices, .. } => splices.iter().map(|(_, _, text)| code_points(text)).sum(),
        _ => 0,
    };
    edits.iter().map(of_edit).sum()
}

/// The id of the object for a path: a hash, since paths are longer than ids and may hold what ids may not.
fn object_id(path: &str, generation: u32) -> Result<ObjectId, ApiError> {
    let hash = domain::hash("file", &[path.as_bytes(), &generation.to_be_bytes()]).to_string();
    let id: String = hash.chars().take(32).collect();
    format!("file-{id}").parse().map_err(|_| ApiError::internal("a file's object has no id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_changed_by_the_smallest_edit() {
        let id = || object_id("a/b", 0).unwrap();
        let text = |text: &str| Content::Text(text.to_owned());
        let held = json!({ "path": "a/b", "text": "one" });
        let one = |plan: Plan| match plan {
            Plan::Change(_, edits) => <[Edit; 1]>::try_from(edits).unwrap(),
            _ => panic!("no change"),
        };
        assert!(matches!(change(id(), &held, &text("one"), 5), Plan::Nothing));
        assert!(matches!(one(change(id(), &held, &text("two"), 5)), [Edit::SetText { .. }]));
        let bytes = Content::Bytes("/w==".to_owned());
        assert!(matches!(one(change(id(), &held, &bytes, 5)), [Edit::MergePatch(_)]));
        assert_ne!(object_id("a/b", 0).unwrap(), object_id("a/b", 1).unwrap());
        assert_ne!(object_id("a/b", 0).unwrap(), object_id("a/c", 0).unwrap());
    }

    #[test]
    fn a_text_may_fill_an_object_and_no_more() {
        let most = (limits::DOCUMENT_OPS - AROUND) as usize;
        let file = |count: usize| FileIn { path: "a".into(), content: Content::Text("x".repeat(count)) };
        let device = DeviceId([1; 32]);
        let plan = create(object_id("a", 0).unwrap(), &file(most), device);
        let Plan::Create(_, value, edits) = plan else { panic!("it fits") };
        let start = code_points(value["text"].as_str().unwrap());
        assert_eq!(start + inserted(&edits), most as u64);
        let Plan::Refuse(error) = create(object_id("a", 0).unwrap(), &file(most + 1), device) else {
            panic!("refused")
        };
        assert!(error.message.contains("DOCUMENT_OPS"), "{error}");
        // What was deleted still counts.
        let held = json!({ "path": "a", "text": "one" });
        let plan = change(object_id("a", 0).unwrap(), &held, &file(1000).content, limits::DOCUMENT_OPS - 500);
        assert!(matches!(plan, Plan::Refuse(_)));
    }
}
