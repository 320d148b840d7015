//! What each command asks, and how its answer is printed. Commands of several steps have files of their own.

use super::args::{Command, Edit, Evidence, Policy, Put, Rebirth, Repair, Resolve, Schema};
use super::{Context, agent, cards, import, invite, join, policy, print, progress, up};
use crate::api::{self, AnswerIn, ApiError, Call, RebirthIn, Request, exit};
use crate::exact::{self, ExactError};
use crate::os;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use syncd_schema::{DeviceId, WorkspaceId, limits};
use tokio::task::block_in_place;

/// Runs one command and returns its exit code.
pub(super) async fn run(context: &Context, command: Command) -> Result<u8, ApiError> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Init { name } => init(context, name.as_deref()).await,
        Command::Invite(args) => invite::run(context, &args).await,
        Command::Join { ticket, name } => join::run(context, &ticket, name.as_deref()).await,
        Command::Agent(command) => agent::run(context, command),
        Command::Import { paths } => import::run(context, &paths).await,
        Command::Policy(Policy::Attributes) => policy::attributes(context),
        Command::Policy(Policy::Check { file, device }) => policy::check(context, &file, device),
        Command::Policy(Policy::Set { file, device: true, .. }) => {
            policy::set_own(context, file.as_deref()).await
        }
        Command::Policy(Policy::Test { id }) => policy::test(context, id).await,
        Command::Evidence(Evidence::Verify) => verify(context).await,
        Command::Sync { peer } => {
            let peer = match peer {
                Some(peer) => Some(device_called(context, &peer).await?),
                None => None,
            };
            sync(context, Request::Sync { peer }).await
        }
        other => plain(context, other).await,
    }
}

/// The commands that are one request and one answer.
async fn plain(context: &Context, command: Command) -> Result<u8, ApiError> {
    let (request, key, human): (Request, Option<String>, fn(&Value) -> String) = match command {
        Command::Status => (Request::Status, None, print::status),
        Command::Devices => (Request::Devices, None, print::devices),
        Command::Put(args) => put(args)?,
        Command::Edit(args) => edit(args)?,
        Command::Get { id } => (Request::Get { object: id }, None, print::object),
        Command::List { collection, all } => (Request::List { collection, all }, None, print::objects),
        Command::History { id } => (Request::History { object: id }, None, print::history),
        Command::Delete { id, key } => (Request::Delete { object: id }, key.idempotency_key, print::written),
        Command::Rebirth(args) => rebirth(args)?,
        Command::Cards { all } => (Request::Cards { all }, None, cards::cards),
        Command::Card { card } => (Request::Card { card }, None, cards::card),
        Command::Resolve(args) => resolve(args)?,
        Command::Repair(Repair::Rollback { operation }) => {
            (Request::RepairRollback { operation }, None, print::rolled_back)
        }
        Command::Ops { status } => (Request::Ops { status }, None, print::operations),
        Command::Op { id } => (Request::Op { operation: id }, None, print::operation),
        Command::Explain { id } => (Request::Explain { subject: id }, None, print::explanation),
        Command::Policy(Policy::Set { file: Some(file), add, key, .. }) => {
            let text = read_text(&file)?;
            (Request::PolicySet { text, add }, key.idempotency_key, policy::put_in_force)
        }
        Command::Policy(_) => (Request::PolicyShow, None, print::policies),
        Command::Schema(command) => schema(command)?,
        Command::Evidence(_) => (Request::EvidenceList, None, print::evidence),
        Command::Checkpoint => (Request::Checkpoint, None, print::checkpoint),
        _ => return Err(ApiError::internal("the command has no request")),
    };
    let call = Call { idempotency_key: key, ..context.call(request) };
    let answer = context.ask(&call, &progress::none()).await?;
    context.output.answer(&answer, human)?;
    Ok(if api::waits(&answer) { exit::NEEDS_DECISION } else { 0 })
}

async fn init(context: &Context, given: Option<&str>) -> Result<u8, ApiError> {
    let name = device_name(given)?;
    // First, since nothing may be made where an identity is lost.
    let device = device(context)?;
    let (workspace, created) =
        block_in_place(|| context.root.workspace_or_new(context.workspace.as_deref(), &name))?;
    if !created && given.is_some() {
        keeps_its_name(context, &workspace, &name).await?;
    }
    let alias = context.root.aliases()?.name_of(&workspace).map(str::to_owned);
    let answer = json!({ "device": device, "workspace": workspace, "name": alias, "created": created });
    context.output.answer(&answer, print::initialised)?;
    Ok(0)
}

/// Says that a device which is a member already is called as before, whatever name was given now.
pub(super) async fn keeps_its_name(
    context: &Context,
    workspace: &WorkspaceId,
    given: &str,
) -> Result<(), ApiError> {
    let devices = context.ask_about(workspace, &context.call(Request::Devices), &progress::none()).await?;
    let own = devices.as_array().into_iter().flatten().find(|row| print::text(row, "trust") == "self");
    let name = own.map(|row| print::text(row, "name")).unwrap_or_default();
    if !name.is_empty() && name != given {
        let note = format!(
            "warning: this device is called {name} in its workspace and keeps that name; --name is for new ones"
        );
        context.output.note(&note);
    }
    Ok(())
}

/// This device's id.
pub(super) fn device(context: &Context) -> Result<syncd_schema::DeviceId, ApiError> {
    let secret = context.root.secret_or_new()?;
    Ok(syncd_engine::Identity::from_secret(&secret).device())
}

/// The name that was given, if it is one, else the machine's.
pub(super) fn device_name(given: Option<&str>) -> Result<String, ApiError> {
    let Some(given) = given else { return Ok(os::host()) };
    os::device_name(given).ok_or_else(|| {
        ApiError::usage("a device name has at least one printable character", "choose another --name")
    })
}

type Wanted = (Request, Option<String>, fn(&Value) -> String);

fn put(args: Put) -> Result<Wanted, ApiError> {
    let text = match (args.text, args.file) {
        (Some(text), None) if text != "-" => text,
        (_, Some(file)) => read_text(&file)?,
        _ => read_text(Path::new("-"))?,
    };
    let value = parse(&text, "the object")?;
    let request = Request::Put { collection: args.collection, object: args.id, value };
    Ok((request, args.key.idempotency_key, print::written))
}

fn schema(command: Schema) -> Result<Wanted, ApiError> {
    Ok(match command {
        Schema::List => (Request::SchemaList, None, print::collections),
        Schema::Show { collection } => (Request::SchemaShow { collection }, None, print::manifest),
        Schema::Set { file, key } => {
            let manifest = parse(&read_text(&file)?, "the manifest")?;
            (Request::SchemaSet { manifest }, key.idempotency_key, print::manifest_set)
        }
    })
}

fn edit(args: Edit) -> Result<Wanted, ApiError> {
    let edit = match (args.merge_patch, args.json_patch, args.set_text, args.splice, args.increment) {
        (Some(patch), ..) => json!({ "merge_patch": parse(&patch, "the merge patch")? }),
        (_, Some(patch), ..) => json!({ "json_patch": parse(&patch, "the JSON patch")? }),
        (_, _, Some(path), ..) => {
            let file = args
                .file
                .ok_or_else(|| ApiError::usage("--set-text needs --file", "name the file with the text"))?;
            json!({ "set_text": { "path": path, "text": read_text(&file)? } })
        }
        (_, _, _, Some(splice), _) => splice_edit(splice)?,
        (.., Some(increment)) => increment_edit(increment)?,
        _ => return Err(ApiError::usage("no edit was given", "see `edit --help`")),
    };
    let edit = serde_json::from_value(edit).map_err(|error| {
        ApiError::usage(format!("the edit is malformed: {error}"), "see RFC 6902 for JSON patches")
    })?;
    let request = Request::Edit { object: args.id, base: args.base, edit };
    Ok((request, args.key.idempotency_key, print::written))
}

fn rebirth(args: Rebirth) -> Result<Wanted, ApiError> {
    let Rebirth { id, value, nothing, because, yes, key } = args;
    let value = match value {
        Some(text) if text == "-" => Some(parse(&read_text(Path::new("-"))?, "the value")?),
        Some(text) => Some(parse(&text, "the value")?),
        None => None,
    };
    let wanted = RebirthIn { object: id, value, nothing, because, confirmed: yes };
    Ok((Request::Rebirth(wanted), key.idempotency_key, print::rebirth))
}

fn resolve(args: Resolve) -> Result<Wanted, ApiError> {
    let value = args.value.map(|text| parse(&text, "the value")).transpose()?;
    let Resolve { card, option, pick, because, .. } = args;
    let request = Request::Resolve(AnswerIn { card, option, value, pick, because });
    Ok((request, args.key.idempotency_key, cards::resolved))
}

fn splice_edit(args: Vec<String>) -> Result<Value, ApiError> {
    let count = |text: &str, what: &str| {
        let wrong = || {
            ApiError::usage(
                format!("{what} of --splice is not a number: {text:?}"),
                "count Unicode code points from 0",
            )
        };
        text.parse::<usize>().map_err(|_| wrong())
    };
    let [path, pos, del, text]: [String; 4] = args
        .try_into()
        .map_err(|_| ApiError::usage("--splice needs PATH POS DEL TEXT", "see `edit --help`"))?;
    Ok(
        json!({ "splice": { "path": path, "pos": count(&pos, "POS")?, "del": count(&del, "DEL")?, "text": text } }),
    )
}

fn increment_edit(args: Vec<String>) -> Result<Value, ApiError> {
    let [path, by]: [String; 2] =
        args.try_into().map_err(|_| ApiError::usage("--increment needs PATH BY", "see `edit --help`"))?;
    let by: i64 = by.parse().map_err(|_| {
        ApiError::usage(format!("BY of --increment is not a number: {by:?}"), "give a whole number")
    })?;
    Ok(json!({ "increment": { "path": path, "by": by } }))
}

async fn verify(context: &Context) -> Result<u8, ApiError> {
    let bar = progress::bar("verifying");
    let answer = context.ask(&context.call(Request::EvidenceVerify), &progress::follow(&bar)).await;
    bar.finish_and_clear();
    let answer = answer?;
    context.output.answer(&answer, print::verified)?;
    Ok(api::verdict(&answer))
}

/// The device that a person means: by its key, the beginning of that, or its name.
async fn device_called(context: &Context, called: &str) -> Result<DeviceId, ApiError> {
    if let Ok(device) = called.parse() {
        return Ok(device);
    }
    let devices = context.ask(&context.call(Request::Devices), &progress::none()).await?;
    let meant = devices.as_array().into_iter().flatten().filter_map(|row| {
        let text = |key| row.get(key).and_then(Value::as_str);
        let device = text("device")?;
        let is_other = text("trust") != Some("self");
        let is_meant = text("name") == Some(called) || (called.len() >= 4 && device.starts_with(called));
        (is_meant && is_other).then(|| device.parse().ok()).flatten()
    });
    match meant.collect::<Vec<DeviceId>>().as_slice() {
        [device] => Ok(*device),
        [] => Err(ApiError::not_found(
            format!("no device of the workspace is called {called}"),
            "`devices` lists them; the first characters of a key do",
        )),
        several => Err(ApiError::usage(
            format!("{} devices are called {called}", several.len()),
            "say more of the key that `devices` shows",
        )),
    }
}

async fn sync(context: &Context, request: Request) -> Result<u8, ApiError> {
    let spinner = progress::spinner("syncing");
    let answer = context.ask(&context.call(request), &progress::follow(&spinner)).await;
    spinner.finish_and_clear();
    context.output.answer(&answer?, print::synced)?;
    Ok(0)
}

/// JSON given by a person: what is wrong with it is said with its place.
fn parse(text: &str, what: &str) -> Result<Value, ApiError> {
    let malformed = |error: &dyn std::fmt::Display| {
        ApiError::usage(
            format!("{what} is not JSON: {error}"),
            "check quotes and commas; quote it for the shell with '…'",
        )
    };
    match exact::check(text.as_bytes()) {
        Err(ExactError::Form(error)) if error.is_data() => Err(ApiError::usage(
            format!("{what} is not clear: {error}"),
            "say each name once: of two values one would be lost",
        )),
        Err(ExactError::Form(error)) => Err(malformed(&error)),
        Err(error @ ExactError::Number { .. }) => Err(ApiError::usage(
            format!("{what} cannot be kept as it is: {error}"),
            "numbers are whole ones of 64 bits, or floating point ones, which have a point or an exponent",
        )),
        Ok(()) => serde_json::from_str(text).map_err(|error| malformed(&error)),
    }
}

/// Reads a text of bounded size from a file, or from standard input if it is named `-`.
pub(super) fn read_text(path: &Path) -> Result<String, ApiError> {
    let name =
        || if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |error: std::io::Error| {
        ApiError::failed(
            "file",
            format!("cannot read {}: {error}", name()),
            "check the path and its permissions",
        )
    };
    let mut bytes = Vec::new();
    // Escapes make JSON up to six times as long as what it says.
    let limit = 6 * limits::JSON_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if bytes.len() as u64 >= limit {
        let message = format!("{} is larger than any object", name());
        return Err(
            ApiError::failed("too_large", message, "split it into smaller objects").with_exit(exit::FAILED)
        );
    }
    String::from_utf8(bytes)
        .map_err(|_| ApiError::usage(format!("{} is not UTF-8", name()), "convert it, or use `import`"))
}
