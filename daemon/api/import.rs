//! Files into objects of the collection `files`.
//!
//! A file's object id is derived from its path, so that finding it again takes one look-up however many files there
//! are, and two devices that import the same file make the same object instead of two. An object that was deleted
//! does not come back; its file gets the next id derived from the path.

use super::write::Who;
use super::{ApiError, Reply, Workspace};
use crate::os;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::{Collection, ObjectId, ObjectState, domain};

/// The collection that files go to.
const FILES: &str = "files";

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
    Create(ObjectId),
    Change(ObjectId, Edit),
    Nothing,
}

/// Takes files in, all of them in as few commits as they fit. One that fails does not stop the others.
pub(super) fn import(workspace: &Workspace, who: &Who, files: Vec<FileIn>) -> Reply {
    let collection: Collection =
        FILES.parse().map_err(|_| ApiError::internal("the collection has no name"))?;
    let (mut imported, mut updated, mut skipped, mut failed) = (0_u64, 0_u64, 0_u64, Vec::new());
    let (results, events) = workspace.shared.with(|engine| -> Result<_, ApiError> {
        let (mut requests, mut wanted): (Vec<WriteRequest>, Vec<(String, bool)>) = (Vec::new(), Vec::new());
        for file in files {
            let (path, is_new) = (file.path.clone(), true);
            match plan(engine, &file)? {
                Plan::Nothing => skipped += 1,
                Plan::Create(object) => {
                    let (field, content) = file.content.field();
                    let value = json!({ "path": file.path, field: content });
                    requests.push(who.wants(Intent::Put {
                        collection: collection.clone(),
                        object: Some(object),
                        value,
                    }));
                    wanted.push((path, is_new));
                }
                Plan::Change(object, edit) => {
                    requests.push(who.wants(Intent::Edit { object, base: None, edit }));
                    wanted.push((path, !is_new));
                }
            }
        }
        let (answers, events) = engine.write(&requests, os::now())?;
        Ok((wanted.into_iter().zip(answers).collect::<Vec<_>>(), events))
    })?;
    workspace.shared.tell(&events);
    for ((path, is_new), result) in results {
        match result {
            Ok(_) => {
                imported += 1;
                updated += u64::from(!is_new);
            }
            Err(error) => failed.push(failure(&path, &ApiError::of_write(&error))),
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
        let Some(view) = engine.get(&object)? else { return Ok(Plan::Create(object)) };
        if view.state != ObjectState::Tombstoned {
            return Ok(change(object, &view.value, &file.content));
        }
        generation += 1;
    }
}

/// What turns the object into the file, if anything.
fn change(object: ObjectId, value: &Value, content: &Content) -> Plan {
    let held = |field: &str| value.get(field).and_then(Value::as_str);
    let (field, new) = content.field();
    match (content, held("text"), held("bytes")) {
        (_, text, bytes) if held(field) == Some(new.as_str()) && (text.is_none() || bytes.is_none()) => {
            Plan::Nothing
        }
        (Content::Text(text), Some(_), None) => {
            Plan::Change(object, Edit::SetText { path: "/text".to_owned(), text: text.clone() })
        }
        (Content::Text(text), ..) => {
            Plan::Change(object, Edit::MergePatch(json!({ "text": text, "bytes": null })))
        }
        (Content::Bytes(bytes), ..) => {
            Plan::Change(object, Edit::MergePatch(json!({ "bytes": bytes, "text": null })))
        }
    }
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
        assert!(matches!(change(id(), &held, &text("one")), Plan::Nothing));
        assert!(matches!(change(id(), &held, &text("two")), Plan::Change(_, Edit::SetText { .. })));
        let bytes = Content::Bytes("/w==".to_owned());
        assert!(matches!(change(id(), &held, &bytes), Plan::Change(_, Edit::MergePatch(_))));
        assert_ne!(object_id("a/b", 0).unwrap(), object_id("a/b", 1).unwrap());
        assert_ne!(object_id("a/b", 0).unwrap(), object_id("a/c", 0).unwrap());
    }
}
