//! Seeds that are written as people write them: JSON, Cedar, names, texts.

use super::Seeds;
use std::fs;
use std::path::Path;

pub(super) fn of(target: &str) -> Seeds {
    match target {
        "manifest" => named(MANIFESTS),
        "policy" | "bundle" => policies(),
        "condition" => named(CONDITIONS),
        "value" => named(VALUES),
        "edit" => named(EDITS),
        "pointer" => named(POINTERS),
        "text" => texts(),
        "request" => named(REQUESTS),
        "names" => named(NAMES),
        "ids" => named(IDS),
        "pairing_code" => named(&[("plain", "1040G208"), ("typed", "lo4o-g2 08")]),
        other => panic!("no seeds are made for {other}"),
    }
}

fn named(texts: &[(&str, &str)]) -> Seeds {
    texts.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

const MANIFESTS: &[(&str, &str)] = &[
    ("small", r#"{"collection":"notes"}"#),
    (
        "everything",
        r#"{"collection":"notes","schemaVersion":"2.0.0","mergeStrategy":"append_only","policyClass":"high",
"encryptionScope":"workspace","onConflict":"hold","fields":{"/body":"text","/n":"counter","/tags":"union","/m/*/x":"max"},
"unique":[["/path"],["/a","/b"]],"dangerousFields":["/pay/*/base"],"authority":["owner","admin"],"future":{"x":1}}"#,
    ),
    (
        "schema",
        r##"{"collection":"c","schema":{"type":"object","required":["title"],"properties":{"title":{"type":"string",
"pattern":"^[a-z]+$","maxLength":9},"list":{"items":{"$ref":"#/$defs/item"}},"n":{"minimum":1,"multipleOf":0.5}},"$defs":
{"item":{"anyOf":[{"type":"number"},{"type":"object","properties":{"x":{"enum":["y",1,null]}}},{"type":"array"}]}},
"unevaluatedProperties":false}}"##,
    ),
    (
        "invariants",
        r#"{"collection":"c","invariants":[{"name":"few","cedar":"context.value.n <= 3"},{"name":"titled","schema":
{"required":["title"]}}]}"#,
    ),
    ("references", r#"{"collection":"c","references":[{"path":"/list/*/x","collection":"notes"}]}"#),
    ("cards", r#"{"collection":"c","cards":{"expireAfterHours":48}}"#),
];

/// The texts of the program itself, and what people write beside them.
fn policies() -> Seeds {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/src");
    let read = |name: &str| fs::read(source.join(name)).expect("a text of the program");
    let mut seeds: Seeds =
        ["default", "crowded"].map(|name| (name.to_owned(), read(&format!("{name}.cedar")))).into();
    seeds.extend(named(&[
        ("permit", "permit(principal, action, resource);"),
        (
            "forbid",
            "@id(\"pay\")\n@because(\"Pay is for owners.\")\nforbid(principal, action == Action::\"edit\", resource)\n\
             when { context.changed.contains(\"/pay\") && !(context.role == \"owner\") };\n",
        ),
        (
            "review",
            "permit(principal, action, resource);\n@id(\"large\") @review(\"It is large.\")\nforbid(principal, \
             action, resource) when { context.size > 1000 || context.object like \"a*\" } unless { context.role in \
             [\"owner\"] };",
        ),
        ("comment", "// nothing \"(\n"),
    ]));
    seeds
}

const CONDITIONS: &[(&str, &str)] = &[
    ("compare", "context.value.spent <= context.value.budget"),
    ("set", r#"context.value.tags.contains("a") && context.value.tags.containsAll(["a", "b"])"#),
    ("like", r#"context.value.who.name like "a*\*""#),
    ("choice", "if context.value has spent then context.value.spent * 2 - 1 < 8 else !false"),
    ("record", r#"{"a": [1, -2], b: {c: "\u{41}"}}.b has c || context.value["spent"] == 7"#),
];

const VALUES: &[(&str, &str)] = &[
    ("empty", "{}"),
    ("note", r#"{"t":"first\nsecond\n","c":3,"title":"ä\u0000😀","list":[1,2.5,-7,true,null,{"a":[]}]}"#),
    ("numbers", r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1e308,"d":-0.0,"e":5e-324}"#),
    ("deep", r#"{"a":{"b":{"c":{"d":[[[[[[[[]]]]]]]]}}},"~/":{"/":{"":1}}}"#),
];

const EDITS: &[(&str, &str)] = &[
    ("merge-patch", r#"{"merge_patch":{"s":null,"m":{"k":"w","z":[1]},"t":"one\n","new":{"a":1.5}}}"#),
    (
        "json-patch",
        r#"{"json_patch":[{"op":"test","path":"/l/0","value":1},{"op":"replace","path":"/l/0","value":2},{"op":"add",
"path":"/l/-","value":{}},{"op":"move","from":"/m/k","path":"/k"},{"op":"copy","from":"/l","path":"/m/l"},
{"op":"remove","path":"/s"}]}"#,
    ),
    ("set-text", r#"{"set_text":{"path":"/t","text":"one\ntwo\nthree\n"}}"#),
    ("splice", r#"{"splice":{"path":"/s","pos":1,"del":2,"text":"ä"}}"#),
    ("splices", r#"{"splices":{"path":"/t","splices":[[0,1,"O"],[4,0,"x"],[5,2,""]]}}"#),
    ("increment", r#"{"increment":{"path":"/c","by":-3}}"#),
];

const POINTERS: &[(&str, &str)] =
    &[("root", ""), ("item", "/l/1/x"), ("escaped", "/a~1b/~0/0"), ("empty-steps", "//"), ("last", "/l/-")];

fn texts() -> Seeds {
    let long = (0..120).map(|line| format!("line {line}\n")).collect::<String>();
    let other = long.replace("line 7", "zeile 7").replace("line 50\n", "");
    let pair = |old: &str, new: &str| [old.as_bytes(), &[0xff], new.as_bytes()].concat();
    vec![
        ("lines".to_owned(), pair("one\ntwo\nthree\n", "one\n2\nthree\nfour")),
        ("characters".to_owned(), pair("äöü😀", "aöu😀\r\n")),
        ("from-nothing".to_owned(), pair("", "text")),
        ("long".to_owned(), pair(&long, &other)),
    ]
}

const REQUESTS: &[(&str, &str)] = &[
    ("status", r#"{"actor":"user:ada","request":"status"}"#),
    (
        "put",
        r#"{"actor":"user:ada","idempotency_key":"k1","request":{"put":{"collection":"notes","object":"n1","value":{"title":
"first","l":[1,2.5,null]}}}}"#,
    ),
    (
        "edit",
        r#"{"actor":"agent:x","request":{"edit":{"object":"n1","base":null,"edit":{"json_patch":[{"op":"add","path":"/a",
"value":1}]}}}}"#,
    ),
    (
        "import",
        r#"{"actor":"user:ada","request":{"import":{"files":[{"path":"a/b.txt","text":"one\n"},{"path":"c","bytes":"/w=="}]}}}"#,
    ),
    (
        "policy",
        r#"{"actor":"user:ada","request":{"policy_set":{"text":"permit(principal, action, resource);"}}}"#,
    ),
    ("schema", r#"{"actor":"user:ada","request":{"schema_set":{"manifest":{"collection":"notes"}}}}"#),
    (
        "invite",
        r#"{"actor":"user:ada","request":{"invite":{"role":"member","ttl_seconds":600,"confirm":false}}}"#,
    ),
    ("ops", r#"{"actor":"user:ada","request":{"ops":{"status":"completed"}}}"#),
];

const NAMES: &[(&str, &str)] = &[
    ("one", r#"{"workspaces":{"default":"11111111111111111111111111111111"}}"#),
    (
        "several",
        r#"{"workspaces":{"home":"11111111111111111111111111111111","work-2":"22222222222222222222222222222222"}}"#,
    ),
    ("name", "home-2"),
];

const IDS: &[(&str, &str)] = &[
    ("workspace", "11111111111111111111111111111111"),
    ("device", "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"),
    ("operation", "018bcfe5-687b-7000-8000-000000000005"),
    ("user", "user:ada"),
    ("agent", "agent:summariser.v2"),
    ("name", "notes"),
];
