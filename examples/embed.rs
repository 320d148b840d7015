//! An app with the engine inside, and no daemon: a to-do list that keeps two devices of one person in step.
//!
//! The engine needs four things: a place for its store, a key to seal it, the device's identity, and randomness. Time
//! is an argument of every call. Here both devices live in one program and talk through a queue in memory; a real
//! app hands the same messages to `syncd-transport`, or to any other carrier it has.
//!
//! Run it with `cargo run --example embed`.

use serde_json::json;
use sourceos_syncd::os::{self, SystemEntropy};
use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::{Config, Edit, Engine, Identity, Intent, Location, WriteError, WriteRequest};
use syncd_schema::{Actor, ObjectId, Role, ports};
use zeroize::Zeroizing;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ada: Actor = "user:ada".parse()?;

    // A workspace, made on the laptop.
    let laptop_identity = Identity::from_secret(&Identity::generate(&mut SystemEntropy));
    let mut laptop = Engine::create(config(folder.path(), "laptop", laptop_identity), "laptop", os::now())?;
    let list = Intent::Put {
        collection: "todos".parse()?,
        object: Some("shopping".parse()?),
        value: json!({"title": "Shopping", "items": ["bread"], "done": 0}),
    };
    write(&mut laptop, &ada, list)?;

    // The phone is let in: the laptop writes it into the governance chain and welcomes it with the workspace key.
    let phone_identity = Identity::from_secret(&Identity::generate(&mut SystemEntropy));
    let (device, agreement) = (phone_identity.device(), phone_identity.key_agreement());
    let signature = phone_identity.key_signature(&laptop.workspace());
    let (welcome, _) = laptop.enrol(device, "phone", Role::Member, agreement, &signature, os::now())?;
    let phone_config = config(folder.path(), "phone", phone_identity);
    let mut phone = Engine::join(phone_config, laptop.workspace(), laptop.device(), &welcome)?;
    sync(&mut laptop, &mut phone)?;
    println!("the phone reads   {}", read(&mut phone, "shopping")?);

    // Both edit while they are apart.
    let milk = r#"[{"op": "add", "path": "/items/-", "value": "milk"}]"#;
    write(&mut laptop, &ada, edit("shopping", Edit::JsonPatch(serde_json::from_str(milk)?))?)?;
    write(&mut phone, &ada, edit("shopping", Edit::MergePatch(json!({"done": 1})))?)?;
    println!("apart, laptop     {}", read(&mut laptop, "shopping")?);
    println!("apart, phone      {}", read(&mut phone, "shopping")?);

    // And come together again: both edits are there, on both.
    sync(&mut phone, &mut laptop)?;
    println!("together, laptop  {}", read(&mut laptop, "shopping")?);
    println!("together, phone   {}", read(&mut phone, "shopping")?);

    // Policy has a say in every write, and its no is an answer with reasons.
    let robot: Actor = "agent:tidy-bot".parse()?;
    match write(&mut laptop, &robot, Intent::Delete { object: "shopping".parse()? }) {
        Err(error) => println!("a robot deletes   {error}"),
        Ok(()) => return Err("the default policy lets no agent delete".into()),
    }

    // Everything that happened can be checked.
    let report = phone.verify(|_, _| {})?;
    println!("the phone's evidence verifies: {}, {} ledger records", report.ok, report.ledger.size);
    Ok(())
}

/// What an engine needs. An app keeps the store's key and the identity where its platform keeps secrets.
fn config(folder: &Path, name: &str, identity: Identity) -> Config {
    Config {
        location: Location::File(folder.join(name)),
        store_key: Zeroizing::new(ports::random(&mut SystemEntropy)),
        identity,
        entropy: Box::new(SystemEntropy),
        policy: None,
    }
}

/// One write. When it returns, it is on disk.
fn write(engine: &mut Engine, actor: &Actor, intent: Intent) -> std::result::Result<(), WriteError> {
    let (answers, _events) = engine.write(&[WriteRequest::new(actor.clone(), intent)], os::now())?;
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}

fn edit(object: &str, edit: Edit) -> Result<Intent> {
    Ok(Intent::Edit { object: object.parse()?, base: None, edit })
}

fn read(engine: &mut Engine, object: &str) -> Result<serde_json::Value> {
    let object: ObjectId = object.parse()?;
    Ok(engine.get(&object)?.ok_or("no such object")?.value)
}

/// Lets two engines talk until both have everything: messages out of one session are inputs of the other.
fn sync(one: &mut Engine, other: &mut Engine) -> Result<()> {
    let mut here = Session::new(other.device(), true);
    let mut there = Session::new(one.device(), false);
    let mut to_there: VecDeque<Output> = here.start(one).into();
    let mut to_here: VecDeque<Output> = VecDeque::new();
    loop {
        if let Some(input) = to_there.pop_front().map(carry) {
            to_here.extend(
                input.map(|input| there.handle(other, input, os::now())).transpose()?.into_iter().flatten(),
            );
        } else if let Some(input) = to_here.pop_front().map(carry) {
            to_there.extend(
                input.map(|input| here.handle(one, input, os::now())).transpose()?.into_iter().flatten(),
            );
        } else {
            return Ok(());
        }
    }
}

/// What a carrier would put on the wire.
fn carry(output: Output) -> Option<Input> {
    match output {
        Output::Control(message) => Some(Input::Control(message)),
        Output::Segment(segment) => Some(Input::Segment(segment)),
        Output::Events(_) | Output::Close(..) => None,
    }
}
