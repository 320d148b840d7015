//! The only place that asks the operating system for the time, for randomness and for names, and that tells it what to
//! keep from others.
//!
//! What is below takes all of these as arguments; what is above takes them from here.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use syncd_schema::{Actor, Entropy, UnixMicros, limits};
use zeroize::Zeroizing;

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

/// Keeps what this process holds from others: its memory, with every key in it, goes into no core dump, nobody but
/// the administrator can read it, and what it writes is its user's alone unless it says otherwise. To be called before
/// anything secret is read.
///
/// # Errors
/// When the system does not do that.
pub fn keep_private() -> io::Result<()> {
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A limit of 0 does not stop a handler that cores are piped to; this does, and keeps debuggers out as well.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// A short text that nobody but its owner may read.
///
/// # Errors
/// When it cannot be read, is longer than `limit` bytes, is no text, or others may read it.
pub fn private_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let refused = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let file = File::open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(refused("others may read or change it"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit { Err(refused("it is too long")) } else { Ok(text) }
}

/// A variable of the environment, if it is set and is a text that is not empty.
#[must_use]
pub fn variable(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Zeroizing::new)
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
