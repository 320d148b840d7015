//! Reading files for `import`: walked in order of their names, sent in batches of bounded size.

use super::door::Failure;
use super::{Context, print, progress};
use crate::api::{ApiError, Content, FileIn, Request, exit};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use syncd_schema::limits;

/// Bytes and files of one request: enough for a commit to be worth its signature, few enough to move the bar.
const BATCH_BYTES: usize = limits::CHANGE_BYTES;
const BATCH_FILES: usize = 256;

/// The longest text in bytes, if all its code points are long; how many code points it has is judged when it is read.
const TEXT_BYTES: u64 = 4 * limits::DOCUMENT_OPS;

/// The largest file that is not text: as base64, with its path, it must fit one change.
const BYTES: usize = (limits::CHANGE_BYTES - (8 << 10)) / 4 * 3;

/// A file that was found, and the path it will have.
struct Found {
    place: PathBuf,
    path: String,
}

/// Imports files and directories.
pub(super) async fn run(context: &Context, paths: &[PathBuf]) -> Result<u8, ApiError> {
    let mut failed = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        walk_argument(path, &mut found, &mut failed)?;
    }
    let id = context.workspace_id()?;
    let mut door = context.open_door(&id).await?;
    let bar = progress::bar("importing");
    bar.set_length(found.len() as u64);
    let mut sums = [0_u64; 3];
    let mut rest = found.as_slice();
    while !rest.is_empty() {
        let (files, taken) = read_batch(rest, &mut failed);
        rest = rest.get(taken..).unwrap_or_default();
        let call = context.call(Request::Import { files });
        let answer = door.ask(context, &id, &call, &progress::none()).await.map_err(interrupted)??;
        for (sum, key) in sums.iter_mut().zip(["imported", "updated", "skipped"]) {
            *sum += answer.get(key).and_then(Value::as_u64).unwrap_or_default();
        }
        failed.extend(answer.get("failed").and_then(Value::as_array).cloned().unwrap_or_default());
        bar.inc(taken as u64);
    }
    bar.finish_and_clear();
    let [imported, updated, skipped] = sums;
    let code = if failed.is_empty() { 0 } else { exit::FAILED };
    let answer = json!({ "imported": imported, "updated": updated, "skipped": skipped, "failed": failed });
    context.output.answer(&answer, print::imported)?;
    Ok(code)
}

fn interrupted(failure: Failure) -> ApiError {
    let error = ApiError::from(failure);
    ApiError { hint: "run the same import again: what is there already is skipped".to_owned(), ..error }
}

/// Finds the files under one argument. Their paths begin with the argument's own name.
fn walk_argument(argument: &Path, found: &mut Vec<Found>, failed: &mut Vec<Value>) -> Result<(), ApiError> {
    let missing = |error: std::io::Error| {
        ApiError::failed(
            "file",
            format!("cannot read {}: {error}", argument.display()),
            "check the path; nothing was imported",
        )
    };
    // `.` and `..` have a name only when they are resolved; a link that was named is followed.
    let place = std::fs::canonicalize(argument).map_err(missing)?;
    let named = argument.components().next_back();
    let name = match named {
        Some(Component::Normal(name)) => Some(name),
        _ => place.file_name(),
    };
    let Some(name) = name.and_then(|name| name.to_str()) else {
        failed.push(failure(argument, "its name is not UTF-8"));
        return Ok(());
    };
    walk(&place, name, found, failed);
    Ok(())
}

fn walk(place: &Path, path: &str, found: &mut Vec<Found>, failed: &mut Vec<Value>) {
    let kind = match std::fs::symlink_metadata(place) {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return failed.push(failure(Path::new(path), &error.to_string())),
    };
    if kind.is_file() {
        return found.push(Found { place: place.to_owned(), path: path.to_owned() });
    }
    if !kind.is_dir() {
        // Links could lead in circles or out of the tree.
        return failed.push(failure(Path::new(path), "it is neither a file nor a directory"));
    }
    let entries = std::fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return failed.push(failure(Path::new(path), &error.to_string())),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_name().to_str() {
            Some(name) => walk(&entry.path(), &format!("{path}/{name}"), found, failed),
            None => failed.push(failure(&entry.path(), "its name is not UTF-8")),
        }
    }
}

/// Reads files until a batch is full. Returns them, and how many of those that were found are dealt with.
fn read_batch(found: &[Found], failed: &mut Vec<Value>) -> (Vec<FileIn>, usize) {
    let (mut files, mut bytes, mut taken) = (Vec::new(), 0, 0);
    for file in found {
        if files.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
            break;
        }
        taken += 1;
        match read(&file.place) {
            Ok(content) => {
                bytes += match &content {
                    Content::Text(text) | Content::Bytes(text) => text.len(),
                };
                files.push(FileIn { path: file.path.clone(), content });
            }
            Err(why) => failed.push(failure(Path::new(&file.path), &why)),
        }
    }
    (files, taken)
}

fn read(place: &Path) -> Result<Content, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(place).map_err(|error| error.to_string())?;
    file.take(TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > TEXT_BYTES {
        let most = limits::DOCUMENT_OPS;
        return Err(format!(
            "it is larger than {TEXT_BYTES} bytes: an object holds {most} operations (DOCUMENT_OPS), and a text \
             takes one for each code point"
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Content::Text(text)),
        Err(error) if error.as_bytes().len() > BYTES => Err(format!(
            "it is not UTF-8 and larger than {BYTES} bytes: a change holds {} bytes (CHANGE_BYTES), in which it is written as base64",
            limits::CHANGE_BYTES
        )),
        Err(error) => Ok(Content::Bytes(BASE64.encode(error.as_bytes()))),
    }
}

fn failure(path: &Path, why: &str) -> Value {
    let error = ApiError::failed("file", why, "leave it out, or make it smaller or readable");
    crate::api::failure(&path.display().to_string(), &error)
}
