//! Requests about cards: what is asked, and answers to it.

use super::write::{Who, write};
use super::{ApiError, Reply, Workspace, exit, json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{Resolve, ResolveError, UndoError};
use syncd_engine::{Intent, WriteError};
use syncd_schema::{Digest, OperationId, limits};

/// Digits of its id by which a card may be called.
const CARD_DIGITS: usize = 8;

/// An answer to a card, as it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AnswerIn {
    /// The card's id, or at least eight digits of its beginning.
    pub card: String,
    /// `merge`, `fork`, `keep_local`, `keep_remote` or `decline`.
    pub option: String,
    /// The value of a merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// An operation of the side that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<OperationId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

pub(super) fn cards(workspace: &Workspace, all: bool) -> Reply {
    json(&workspace.shared.with(|engine| engine.cards(all))?)
}

pub(super) fn card(workspace: &Workspace, text: &str) -> Reply {
    let view = workspace.shared.with(|engine| match engine.find_card(text)? {
        Some(card) => engine.card(&card),
        None => Ok(None),
    })?;
    json(&view.ok_or_else(|| no_card(text))?)
}

pub(super) fn resolve(workspace: &Workspace, who: Who, answer: AnswerIn) -> Reply {
    let card = workspace.shared.with(|engine| engine.find_card(&answer.card))?;
    let card: Digest = card.ok_or_else(|| no_card(&answer.card))?;
    let choice: Choice = answer.option.parse().map_err(|error: syncd_engine::conflict::NotAChoice| {
        ApiError::usage(error.to_string(), "see what each does with `card CARD`")
    })?;
    if answer.because.as_ref().is_some_and(|why| why.is_empty() || why.len() > limits::ENTRY_NOTE_BYTES) {
        let message = format!("--because takes 1 to {} bytes", limits::ENTRY_NOTE_BYTES);
        return Err(ApiError::usage(message, "say it shorter"));
    }
    let AnswerIn { value, pick, because, .. } = answer;
    let written = write(workspace, who, Intent::Resolve(Resolve { card, choice, value, pick, because }))?;
    Ok(object!({
        "card": card,
        "operation": written.operation,
        "status": json(&written.status)?,
        "object": written.object,
        "repeated": written.repeated,
    }))
}

/// Why a card is there; none where there is no such card.
pub(super) fn explained(workspace: &Workspace, text: &str) -> Result<Option<Value>, ApiError> {
    let view = workspace.shared.with(|engine| match engine.find_card(text)? {
        Some(card) => engine.card(&card),
        None => Ok(None),
    })?;
    let Some(view) = view else { return Ok(None) };
    let (asked, card) = (&view.summary, view.summary.card);
    let place = if asked.path.is_empty() { "the whole object" } else { &asked.path };
    let kind = asked.kind.replace('_', " ");
    let mut because = vec![format!(
        "It asks about {kind} in {} of {}, at {place}, since {}.",
        asked.object, asked.collection, asked.at
    )];
    for side in &view.values {
        let said = &side.said;
        let who = said.actor.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
        let operation = said.operation.map(|id| format!(" in operation {id}")).unwrap_or_default();
        let shown = if side.shown { ", which is shown here" } else { "" };
        because.push(format!("One side is by {who} at {}{operation}{shown}.", said.at));
    }
    if let Some(by) = &view.resolution {
        because.push(format!("{} by {} at {}, in operation {}.", by.option, by.actor, by.at, by.operation));
        because.extend(by.because.clone());
    }
    let mut next: Vec<String> = Vec::new();
    if !view.options.is_empty() {
        let options: Vec<&str> = view.options.iter().map(|option| option.option).collect();
        next.push(format!("See both sides with `card {}`.", card.short()));
        next.push(format!("Answer with `resolve {} OPTION`: {}.", card.short(), options.join(", ")));
    }
    next.extend(view.superseded_by.iter().map(|next| format!("Look at card {next}, which took its place.")));
    Ok(Some(object!({ "subject": card, "state": asked.status, "because": because, "next": next })))
}

fn no_card(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    if text.len() < CARD_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit()) {
        let message = format!("{text} is too little of a card's id: say at least {CARD_DIGITS} digits");
        return ApiError::usage(message, "`cards` lists what is open, `cards --all` the rest");
    }
    ApiError::not_found(
        format!("there is no card {text}"),
        "`cards` lists what is open, `cards --all` the rest",
    )
}

/// Why a card cannot be answered so, for people and programs.
pub(super) fn of_resolve(error: &ResolveError, message: String) -> ApiError {
    match error {
        ResolveError::NotFound(_) => {
            ApiError::not_found(message, "`cards` lists what is open, `cards --all` the rest")
        }
        ResolveError::Superseded { next, .. } => {
            ApiError::failed("superseded", message, format!("look at `card {next}` and answer that"))
                .with_exit(exit::NEEDS_DECISION)
        }
        ResolveError::Decided { operation, .. } => ApiError::failed(
            "decided",
            message,
            format!(
                "see why with `explain {operation}`; to have it asked again, `repair rollback {operation}`"
            ),
        ),
        ResolveError::Pick(_) | ResolveError::NoSide(_) => ApiError::usage(
            message,
            "`card CARD` lists the sides with their operations; add `--pick OPERATION`",
        ),
        ResolveError::NoValue => ApiError::usage(
            message,
            "add `--value JSON`, or `--pick OPERATION` with one that `card CARD` lists",
        ),
        ResolveError::NoOption(_) => ApiError::usage(message, "`card CARD` lists its options"),
        ResolveError::AskedThere { .. } => ApiError::failed(
            "needs_decision",
            message,
            "`get ID` names the cards of the object; `resolve` that one",
        )
        .with_exit(exit::NEEDS_DECISION),
        ResolveError::TooManyDeletions(_) => {
            ApiError::failed("too_large", message, "answer with keep_remote")
        }
    }
}

/// Why an operation cannot be taken back, for people and programs.
pub(super) fn of_undo(error: &UndoError, message: String) -> ApiError {
    match error {
        UndoError::NotFound(_) => {
            ApiError::not_found(message, "`history ID` lists the operations on an object")
        }
        UndoError::NotAnAnswer(_) => ApiError::failed(
            "not_an_answer",
            message,
            "`card CARD` names the operation that answered it; what was deleted or edited is put back with `edit` or `put`",
        ),
        UndoError::NotReopened(card) => ApiError::failed(
            "not_reopened",
            message,
            format!(
                "see what was decided with `card {card}`; `put`, `edit` or `delete` what is wanted instead"
            ),
        ),
        UndoError::ChangedSince { .. } => {
            ApiError::failed("changed_since", message, "see what stands there with `get`, and edit that")
        }
    }
}

pub(super) fn undo(workspace: &Workspace, who: Who, operation: OperationId) -> Reply {
    let written = write(workspace, who, Intent::Undo { operation })?;
    let mut answer = super::write::answer(workspace, &written)?;
    let taken_back = workspace.shared.with(|engine| engine.taken_back(operation))?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("asks".to_owned(), json(&taken_back.asks)?);
        members.insert("stays".to_owned(), json(&taken_back.stays)?);
    }
    Ok(answer)
}

/// Whether an answer says that somebody must decide first.
pub(crate) fn waits(answer: &Value) -> bool {
    answer.get("status").and_then(Value::as_str) == Some("awaiting_decision")
}

/// A write that cannot be carried out before a card is answered.
pub(super) fn undecided(error: &WriteError, message: String) -> ApiError {
    let hint = match error {
        WriteError::Undecided { card, .. } => format!("see `card {card}`, answer it with `resolve`"),
        _ => "see `cards`".to_owned(),
    };
    ApiError::failed("needs_decision", message, hint).with_exit(exit::NEEDS_DECISION)
}
