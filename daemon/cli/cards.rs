//! Cards for people: what is asked, by whom each side was written, and the command that answers.

use super::print::{list, rows, short, table, text};
use serde_json::Value;

/// The first digits, which are enough to name a card.
fn name(value: &Value) -> String {
    text(value, "card").chars().take(12).collect()
}

/// Names of a list that are shown to a person; `--json` has all.
const NAMED: usize = 8;

/// A value on one line; of a long list of names the first ones.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) if items.len() > NAMED && items.iter().all(Value::is_string) => {
            let first: Vec<String> = items.iter().take(NAMED).map(Value::to_string).collect();
            format!("{} and {} more", first.join(", "), items.len() - NAMED)
        }
        Value::Object(members) => {
            let members =
                members.iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), shown(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

pub(super) fn cards(answer: &Value) -> String {
    list(answer, "nothing waits for a decision", |row| {
        let path = text(row, "path");
        vec![
            name(row),
            text(row, "status"),
            text(row, "kind"),
            text(row, "object"),
            if path.is_empty() { "(all of it)".to_owned() } else { path },
            text(row, "at"),
        ]
    })
}

pub(super) fn card(answer: &Value) -> String {
    let path = text(answer, "path");
    let place = if path.is_empty() { "the whole object".to_owned() } else { path };
    let mut out = format!(
        "{}  {}, {}\n{} of {} in {}, at {place}\n",
        text(answer, "card"),
        text(answer, "status"),
        text(answer, "at"),
        text(answer, "kind"),
        text(answer, "object"),
        text(answer, "collection"),
    );
    for broken in rows(answer, "breaks") {
        let name = [text(broken, "rule"), text(broken, "name")].join(" ");
        out.push_str(&format!("breaks {}: {}\n", name.trim_end(), text(broken, "text")));
    }
    for side in rows(answer, "values") {
        let mark = if side.get("shown") == Some(&Value::Bool(true)) { "  (shown here)" } else { "" };
        let value = side.get("value").map(shown).unwrap_or_default();
        out.push_str(&format!(
            "\n{} on {} at {}{mark}\n  operation {}\n  {}says {value}\n",
            text(side, "actor"),
            short(side, "device"),
            text(side, "at"),
            text(side, "operation"),
            side.get("object").map(|_| text(side, "object") + " ").unwrap_or_default(),
        ));
        if let Some(base) = side.get("base").filter(|base| !base.is_null()) {
            out.push_str(&format!("  had seen {base}\n"));
        }
    }
    if let Some(by) = answer.get("resolution") {
        out.push_str(&format!(
            "\n{} by {} on {} at {}, operation {}\n",
            text(by, "option"),
            text(by, "actor"),
            short(by, "device"),
            text(by, "at"),
            text(by, "operation"),
        ));
        let because = text(by, "because");
        if !because.is_empty() {
            out.push_str(&format!("  because {because}\n"));
        }
        if !matches!(text(by, "option").as_str(), "edit" | "delete") {
            out.push_str(&format!("to have it asked again: `repair rollback {}`\n", text(by, "operation")));
        }
    }
    for next in rows(answer, "superseded_by").iter().filter_map(Value::as_str) {
        out.push_str(&format!("\nmore has arrived since; look at `card {next}`\n"));
    }
    let options = rows(answer, "options");
    if !options.is_empty() {
        out.push_str(&format!("\n{} decides:\n", text(answer, "may_decide")));
        let line = |option: &Value| {
            let mark =
                if option.get("recommended") == Some(&Value::Bool(true)) { " (recommended)" } else { "" };
            vec![
                format!("  resolve {} {}", name(answer), text(option, "option")),
                format!("{}{mark}", text(option, "consequence")),
            ]
        };
        out.push_str(&table(options.iter().map(line).collect()));
    }
    out
}

pub(super) fn resolved(answer: &Value) -> String {
    let again = if answer.get("repeated") == Some(&Value::Bool(true)) { ", by an earlier call" } else { "" };
    format!(
        "card {}  {}{again}\nobject {}\noperation {}",
        name(answer),
        text(answer, "status"),
        text(answer, "object"),
        text(answer, "operation")
    )
}
