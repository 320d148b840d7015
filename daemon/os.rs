//! The only place that asks the operating system for the time, for randomness and for names.
//!
//! What is below takes all of these as arguments; what is above takes them from here.

use std::time::{SystemTime, UNIX_EPOCH};
use syncd_schema::{Actor, Entropy, UnixMicros, limits};

/// The operating system's cryptographically secure randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // Keys made from anything else would be worse than none, and nobody up the stack can do better.
            eprintln!("sourceos-syncd: the operating system gives no randomness ({error}); try again later");
            std::process::exit(1);
        }
    }
}

/// The time now. A clock before 1970 reads as 1970.
#[must_use]
pub fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The person who is logged in, as the default actor.
#[must_use]
pub fn login() -> Actor {
    let named =
        ["LOGNAME", "USER"].iter().filter_map(|name| std::env::var(name).ok()).find(|name| !name.is_empty());
    // Services are started without these variables.
    let name = named.or_else(|| printed_by("id", &["-un"])).unwrap_or_else(|| "unknown".to_owned());
    // Whatever a login may contain, an actor's id has no spaces and an end.
    let clean = |c: char| if c.is_control() || c.is_whitespace() { '_' } else { c };
    let name: String = name.chars().map(clean).take(limits::ID_BYTES / 8).collect();
    format!("user:{name}").parse().unwrap_or_else(|_| Actor::system())
}

/// The machine's name, as the default name of this device.
#[must_use]
pub fn host() -> String {
    let file = |path| std::fs::read_to_string(path).ok();
    // Systems without these files have the command.
    let found = file("/proc/sys/kernel/hostname").or_else(|| file("/etc/hostname"));
    let found = found.or_else(|| printed_by("hostname", &[]));
    found.as_deref().and_then(device_name).unwrap_or_else(|| "device".to_owned())
}

fn printed_by(program: &str, args: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A text as a device name: printable and short, or none.
#[must_use]
pub fn device_name(text: &str) -> Option<String> {
    let name: String = text.trim().chars().filter(|c| !c.is_control()).take(limits::NAME_BYTES / 4).collect();
    (!name.is_empty()).then_some(name)
}
