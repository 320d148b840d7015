//! Answers for people: short, aligned, with what to do next where something waits. Nothing here decides anything.

use serde_json::Value;

/// A member of an answer as text; nothing for what is absent.
pub(super) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A device in a list: the first digits are enough to tell one's own devices apart.
pub(super) fn short(value: &Value, key: &str) -> String {
    text(value, key).chars().take(8).collect()
}

pub(super) fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Lines whose cells are aligned; the last cell of a line is as long as it is.
pub(super) fn table(lines: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in &lines {
        for (index, cell) in line.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(widest) => *widest = (*widest).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

pub(super) fn list(value: &Value, none: &str, line: impl Fn(&Value) -> Vec<String>) -> String {
    let rows = items(value);
    if rows.is_empty() { none.to_owned() } else { table(rows.iter().map(line).collect()) }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

pub(super) fn initialised(answer: &Value) -> String {
    let made = if answer.get("created") == Some(&Value::Bool(true)) { "made" } else { "exists already" };
    format!(
        "workspace {} ({}) {made}\ndevice    {}",
        text(answer, "workspace"),
        text(answer, "name"),
        text(answer, "device")
    )
}

pub(super) fn status(answer: &Value) -> String {
    let mut out = table(vec![
        vec!["device".into(), text(answer, "device")],
        vec!["workspace".into(), text(answer, "workspace")],
        vec![
            "holds".into(),
            format!(
                "{} objects (deleted ones too), {} operations, epoch {}",
                text(answer, "objects"),
                text(answer, "operations"),
                text(answer, "epoch")
            ),
        ],
        vec![
            "waits".into(),
            format!(
                "{} open cards, {} held, {} refused so far",
                text(answer, "open_cards"),
                text(answer, "held"),
                text(answer, "refused")
            ),
        ],
    ]);
    let stopped = text(answer, "stopped");
    if !stopped.is_empty() {
        out.push_str(&format!("STOPPED    {stopped}\n"));
    }
    let peers = rows(answer, "peers");
    if peers.is_empty() {
        out.push_str("peers      none; `invite` makes a ticket for another device\n");
    }
    let distance = |peer: &Value| {
        let known = |key| peer.get(key).and_then(Value::as_u64);
        match (known("behind"), known("ahead")) {
            (Some(behind), Some(ahead)) => format!("{behind} to receive, {ahead} to send"),
            _ => String::new(),
        }
    };
    // Of who is there it is now.
    let heard = |peer: &Value| match (text(peer, "state").as_str(), text(peer, "last_heard").as_str()) {
        ("in sync" | "syncing", _) | (_, "") => String::new(),
        (_, at) => format!("last heard {at}"),
    };
    let peer = |peer: &Value| {
        vec![
            "peer".to_owned() + "     ",
            short(peer, "device"),
            text(peer, "name"),
            text(peer, "state"),
            heard(peer),
            distance(peer),
        ]
    };
    out.push_str(&table(peers.iter().map(peer).collect()));
    let log = |log: &Value| {
        let frozen = if log.get("frozen") == Some(&Value::Bool(true)) { "frozen" } else { "" };
        vec![
            "log      ".to_owned(),
            format!("{}/{}", short(log, "device"), text(log, "epoch")),
            text(log, "size"),
            short(log, "root"),
            frozen.to_owned(),
        ]
    };
    out.push_str(&table(rows(answer, "logs").iter().map(log).collect()));
    out.push_str(&findings(answer));
    out
}

/// Findings shown to a person, the most severe first; `--json` has all.
const FINDINGS: usize = 20;

fn findings(answer: &Value) -> String {
    let all = rows(answer, "findings");
    let mut out = String::new();
    for finding in all.iter().take(FINDINGS) {
        let times = match finding.get("count").and_then(Value::as_u64) {
            Some(count) if count > 1 => {
                format!("{count} times since {}, last {}", text(finding, "first_at"), text(finding, "at"))
            }
            _ => text(finding, "at"),
        };
        out.push_str(&format!(
            "{} {} at {}, {times}: {}\n  {}\n",
            text(finding, "severity"),
            text(finding, "kind"),
            text(finding, "place"),
            text(finding, "text"),
            text(finding, "next")
        ));
    }
    if all.len() > FINDINGS {
        out.push_str(&format!("and {} findings more: `status --json`\n", all.len() - FINDINGS));
    }
    out
}

pub(super) fn devices(answer: &Value) -> String {
    list(answer, "no devices known yet; `sync` brings them", |device| {
        vec![
            text(device, "device"),
            text(device, "name"),
            text(device, "role"),
            text(device, "trust"),
            text(device, "last_seen"),
        ]
    })
}

pub(super) fn written(answer: &Value) -> String {
    let again = if answer.get("repeated") == Some(&Value::Bool(true)) { ", by an earlier call" } else { "" };
    format!(
        "{}  {}{again}\noperation {}",
        text(answer, "object"),
        text(answer, "status"),
        text(answer, "operation")
    ) + &waits_for(answer)
}

pub(super) fn rolled_back(answer: &Value) -> String {
    let mut out = written(answer);
    for card in rows(answer, "asks").iter().filter_map(Value::as_str) {
        out.push_str(&format!("\nasked again: `card {}`", card.chars().take(12).collect::<String>()));
    }
    for object in rows(answer, "stays").iter().filter_map(Value::as_str) {
        out.push_str(&format!(
            "\n{object}, which the answer made, stays: `delete {object}` if it is not wanted"
        ));
    }
    out
}

pub(super) fn rebirth(answer: &Value) -> String {
    let is_done = text(answer, "status") != "planned";
    let authors: Vec<String> = rows(answer, "authors")
        .iter()
        .map(|row| {
            let changes = row.get("changes").and_then(Value::as_u64).unwrap_or_default();
            format!("{changes} by {} on {}", text(row, "actor"), short(row, "device"))
        })
        .collect();
    let (object, drops, stays) = (text(answer, "object"), text(answer, "drops"), text(answer, "stays"));
    let what = format!("{drops} operations on {object} ({})", authors.join(", "));
    match is_done {
        true => format!(
            "{object} began anew: {what} are gone from this device, and from each other when it hears of it\noperation {}",
            text(answer, "operation")
        ),
        false => format!("would drop {what} from every device, for good; {stays} stays. Do it with --yes"),
    }
}

/// What to look at where somebody must decide first.
fn waits_for(answer: &Value) -> String {
    let why = match text(answer, "card_kind").as_str() {
        "burst" => " (there were unusually many deletions or rewrites in a row)",
        "policy_review" => " (policy wants somebody to look)",
        "held_change" | "concurrent_edit" => " (its collection holds back what contradicts)",
        _ => "",
    };
    match text(answer, "card").as_str() {
        "" => String::new(),
        card => format!("\nnothing is changed before somebody decides{why}: `card {card}`"),
    }
}

pub(super) fn object(answer: &Value) -> String {
    let heads: Vec<&str> = rows(answer, "heads").iter().filter_map(Value::as_str).collect();
    let mut out =
        format!("{} in {}, {}\n", text(answer, "object"), text(answer, "collection"), text(answer, "state"));
    out.push_str(&format!("heads {}\n", heads.join(",")));
    if let Some(value) = answer.get("value").filter(|value| !value.is_null()) {
        out.push_str(&pretty(value));
        out.push('\n');
    }
    for conflict in rows(answer, "conflicts") {
        let path = text(conflict, "path");
        out.push_str(&format!(
            "competing at {}, asked by card {}:\n",
            if path.is_empty() { "the whole object" } else { &path },
            text(conflict, "card"),
        ));
        for side in rows(conflict, "values") {
            let value = side.get("value").map(Value::to_string).unwrap_or_default();
            out.push_str(&format!(
                "  {} on {} at {}: {}{value}\n",
                text(side, "actor"),
                short(side, "device"),
                text(side, "at"),
                side.get("object").map(|_| text(side, "object") + " ").unwrap_or_default(),
            ));
        }
    }
    out
}

pub(super) fn objects(answer: &Value) -> String {
    list(answer, "no objects; `put` makes one", |row| {
        vec![text(row, "object"), text(row, "collection"), text(row, "state"), text(row, "at")]
    })
}

pub(super) fn history(answer: &Value) -> String {
    list(answer, "no operations", |row| {
        vec![
            text(row, "operation"),
            text(row, "kind"),
            text(row, "status"),
            text(row, "actor"),
            short(row, "device"),
            text(row, "at"),
            what(row).join("; "),
        ]
    })
}

/// What an operation did, place by place.
fn what(row: &Value) -> Vec<String> {
    let said = |place: &Value| {
        let (path, now) = (text(place, "path"), text(place, "now"));
        match (place.get("was").is_some(), now.as_str()) {
            (_, "") => format!("{path} taken away"),
            (true, now) => format!("{path} {} -> {now}", text(place, "was")),
            (false, now) => format!("{path} {now}"),
        }
    };
    let mut places: Vec<String> = rows(row, "what").iter().map(said).collect();
    match row.get("more").and_then(Value::as_u64) {
        None | Some(0) => {}
        Some(more) => places.push(format!("and {more} places more")),
    }
    places
}

pub(super) fn operations(answer: &Value) -> String {
    list(answer, "no such operations", |row| {
        vec![
            text(row, "operation"),
            text(row, "does"),
            text(row, "status"),
            text(row, "object"),
            text(row, "actor"),
            text(row, "at"),
        ]
    })
}

pub(super) fn operation(answer: &Value) -> String {
    let mut out =
        format!("{}  {}  {}\n", text(answer, "operation"), text(answer, "does"), text(answer, "status"));
    out.push_str(&format!(
        "by {} on {} at {}\n",
        text(answer, "actor"),
        short(answer, "device"),
        text(answer, "at")
    ));
    if answer.get("object").is_some_and(|object| !object.is_null()) {
        out.push_str(&format!("about {} in {}\n", text(answer, "object"), text(answer, "collection")));
    }
    for place in what(answer) {
        out.push_str(&format!("wrote {place}\n"));
    }
    for task in rows(answer, "tasks") {
        out.push_str(&format!(
            "task {} {} {}\n",
            text(task, "task"),
            short(task, "device"),
            text(task, "status")
        ));
    }
    for record in rows(answer, "evidence") {
        out.push_str(&format!("evidence {}\n", record.as_str().unwrap_or_default()));
    }
    out
}

pub(super) fn explanation(answer: &Value) -> String {
    let mut out = format!("{}: {}\n", text(answer, "subject"), text(answer, "state"));
    for reason in rows(answer, "because").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  because  {reason}\n"));
    }
    for step in rows(answer, "next").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  next     {step}\n"));
    }
    out
}

pub(super) fn policies(answer: &Value) -> String {
    let mut out = String::new();
    for layer in rows(answer, "layers") {
        out.push_str(&format!(
            "# {} {}\n{}\n",
            text(layer, "layer"),
            short(layer, "digest"),
            text(layer, "text").trim()
        ));
    }
    out
}

pub(super) fn collections(answer: &Value) -> String {
    list(answer, "no collections; `put` makes one, `schema set` describes one", |row| {
        let described = match row.get("declared") {
            Some(Value::Bool(true)) => format!("version {}", text(row, "schemaVersion")),
            _ => "not described".to_owned(),
        };
        vec![
            text(row, "collection"),
            text(row, "mergeStrategy"),
            format!("class {}", text(row, "policyClass")),
            format!("scope {}", text(row, "encryptionScope")),
            format!("{} objects", text(row, "objects")),
            described,
        ]
    })
}

pub(super) fn manifest(answer: &Value) -> String {
    let mut out = format!(
        "{} is merged as {}, class {}, scope {}\n{}",
        text(answer, "collection"),
        text(answer, "mergeStrategy"),
        text(answer, "policyClass"),
        text(answer, "encryptionScope"),
        pretty(answer)
    );
    if answer.get("notUnderstood").is_some() {
        out.push_str(
            "\nwhat stands under notUnderstood was written by another version and has no effect here",
        );
    }
    out
}

pub(super) fn manifest_set(answer: &Value) -> String {
    let mut out = format!(
        "{}  {}\noperation {}",
        text(answer, "collection"),
        text(answer, "status"),
        text(answer, "operation")
    );
    match answer.get("misfits").and_then(Value::as_u64) {
        None | Some(0) => {}
        Some(1) => out.push_str("\nwarning: 1 object does not fit; it has a card: `cards` lists it"),
        Some(several) => out.push_str(&format!(
            "\nwarning: {several} objects do not fit; each has a card: `cards` lists them"
        )),
    }
    for warning in rows(answer, "warnings").iter().filter_map(Value::as_str) {
        out.push_str(&format!("\nwarning: {warning}"));
    }
    out
}

pub(super) fn checked(answer: &Value) -> String {
    let mut out =
        format!("accepted, {} policies, digest {}\n", rows(answer, "policies").len(), text(answer, "digest"));
    for warning in rows(answer, "warnings") {
        let (line, message) = (text(warning, "line"), text(warning, "message"));
        let place = if line.is_empty() { line } else { format!("line {line}: ") };
        out.push_str(&format!("warning: {place}{message}\n"));
    }
    out
}

pub(super) fn evidence(answer: &Value) -> String {
    list(answer, "no records", |row| {
        vec![
            text(row, "operation"),
            text(row, "kind"),
            text(row, "status"),
            text(row, "object"),
            text(row, "at"),
            text(row, "note"),
        ]
    })
}

pub(super) fn verified(answer: &Value) -> String {
    let ok =
        |value: &Value| if value.get("ok") == Some(&Value::Bool(true)) { "ok" } else { "BROKEN" }.to_owned();
    let log = |log: &Value| {
        vec![
            format!("{} {}/{}", text(log, "kind"), short(log, "device"), text(log, "epoch")),
            text(log, "size"),
            short(log, "root"),
            ok(log),
        ]
    };
    let ledger = answer.get("ledger").map(log).into_iter();
    let mut out = table(ledger.chain(rows(answer, "logs").iter().map(log)).collect());
    for finding in rows(answer, "findings") {
        out.push_str(&format!(
            "{}: {}\n  {}\n",
            text(finding, "place"),
            text(finding, "text"),
            text(finding, "next")
        ));
    }
    out.push_str(if ok(answer) == "ok" { "everything verifies" } else { "this store does NOT verify" });
    out
}

pub(super) fn checkpoint(answer: &Value) -> String {
    let note = answer.get("checkpoint").map(|checkpoint| text(checkpoint, "note")).unwrap_or_default();
    format!("operation {}\n{note}", text(answer, "operation"))
}

pub(super) fn imported(answer: &Value) -> String {
    let mut out = format!(
        "{} imported ({} of them changed), {} the same as before, {} failed\n",
        text(answer, "imported"),
        text(answer, "updated"),
        text(answer, "skipped"),
        rows(answer, "failed").len()
    );
    for failed in rows(answer, "failed") {
        out.push_str(&format!("failed {}: {}\n", text(failed, "path"), text(failed, "message")));
    }
    out
}

pub(super) fn synced(answer: &Value) -> String {
    let rows = rows(answer, "peers").iter().map(|peer| {
        vec![
            short(peer, "device"),
            format!("{} sent", text(peer, "sent")),
            format!("{} received", text(peer, "received")),
            format!("{} ms", text(peer, "ms")),
        ]
    });
    let mut out = table(rows.collect());
    for peer in self::rows(answer, "unanswered") {
        out.push_str(&format!("{}  {} did not answer\n", short(peer, "device"), text(peer, "name")));
    }
    let stopped = text(answer, "stopped");
    if !stopped.is_empty() {
        out.push_str(&format!("STOPPED    {stopped}\n"));
    }
    out
}

pub(super) fn ticket(answer: &Value) -> String {
    // Alone on its line, so that it can be copied or piped.
    text(answer, "ticket")
}

pub(super) fn let_in(answer: &Value) -> String {
    format!("{} ({}) joined, code {}", text(answer, "name"), short(answer, "device"), text(answer, "code"))
}

pub(super) fn joined(answer: &Value) -> String {
    format!(
        "joined workspace {} ({}) as {}, code {}",
        text(answer, "workspace"),
        text(answer, "name"),
        text(answer, "role"),
        text(answer, "code")
    )
}

pub(super) fn event(event: &Value) -> String {
    let mut out = text(event, "event");
    for (key, value) in event.as_object().into_iter().flatten().filter(|(key, _)| *key != "event") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push_str(&format!("  {key}={value}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_aligned_and_lines_have_no_tail() {
        let lines = vec![vec!["a".into(), "b".into(), String::new()], vec!["äöü".into(), "c".into()]];
        assert_eq!(table(lines), "a    b\näöü  c\n");
    }

    #[test]
    fn findings_say_where_how_often_and_what_next_and_end() {
        let finding = |n: u64| {
            json!({ "kind": "log_fork", "place": format!("log {n}"), "severity": "critical", "text": "two", "next": "look",
                    "first_at": "1970", "at": "1971", "count": n })
        };
        let shown = findings(&json!({ "findings": [finding(1), finding(3)] }));
        let expected = "critical log_fork at log 1, 1971: two\n  look\n\
                        critical log_fork at log 3, 3 times since 1970, last 1971: two\n  look\n";
        assert_eq!(shown, expected);
        let many: Vec<Value> = (0..25).map(finding).collect();
        let shown = findings(&json!({ "findings": many }));
        assert!(shown.ends_with("and 5 findings more: `status --json`\n"), "{shown}");
        assert_eq!(shown.lines().count(), 2 * FINDINGS + 1);
    }

    #[test]
    fn absent_members_print_as_nothing() {
        assert_eq!(written(&json!({ "object": "n1", "status": "completed" })), "n1  completed\noperation ");
        assert_eq!(objects(&json!([])), "no objects; `put` makes one");
    }
}
