//! Devices in directories of their own, driven through the built binary as people and scripts drive it.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod socket;

pub use socket::Client;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes; reached only when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One device: a root directory.
pub struct Device {
    home: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The one JSON document on standard output.
    pub fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "one document on one line: {self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer of a command that must have succeeded.
    pub fn ok(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.json()
    }

    /// Checks that the command failed as it should: exit code, code, and words for both sentences.
    pub fn fails(&self, exit: i32, code: &str) -> Value {
        assert_eq!(self.code, exit, "{self:?}");
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{self:?}");
        for key in ["message", "hint"] {
            assert!(error[key].as_str().is_some_and(|text| text.len() > 5), "{key}: {self:?}");
        }
        error
    }
}

/// Runs a test on a device without a daemon, then on another with one.
pub fn both_ways(test: impl Fn(&Device)) {
    let down = Device::new();
    down.run(&["init"]).ok();
    test(&down);
    let up = Device::new();
    let daemon = up.up();
    test(&up);
    assert_eq!(daemon.stop(), 0);
}

impl Device {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    /// A place for files that are not the device's.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sourceos-syncd"));
        command
            .args(args)
            .env("SYNCD_ROOT", self.root())
            .env("USER", "ada")
            .env_remove("LOGNAME")
            .env_remove("RUST_LOG");
        command.current_dir(self.home.path());
        command
    }

    /// Runs a command as given.
    pub fn plain(&self, args: &[&str]) -> Ran {
        self.with_input(args, "")
    }

    pub fn with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that needs no input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command with `--json`.
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut all = vec!["--json"];
        all.extend(args);
        self.plain(&all)
    }

    /// Starts the daemon, and waits until it is ready.
    pub fn up(&self) -> Running {
        self.up_with(&["--listen", "127.0.0.1:0"])
    }

    pub fn up_with(&self, args: &[&str]) -> Running {
        let mut all = vec!["--json", "up"];
        all.extend(args);
        self.start(&all).that_is_ready()
    }

    /// Starts a command that prints JSON lines and goes on.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(&mut self.command(args))
    }

    /// Starts a daemon that writes its log to a file, everything there is to log.
    pub fn up_logging(&self, args: &[&str], log: &Path) -> Running {
        let mut all = vec!["--json", "up", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let file = std::fs::File::options().create(true).append(true).open(log).unwrap();
        Running::of(self.command(&all).env("RUST_LOG", "trace").stderr(file)).that_is_ready()
    }

    /// The tests' own connection to the daemon.
    pub fn client(&self, daemon: &Running) -> Client {
        Client::connect(daemon.ready["socket"].as_str().unwrap()).unwrap()
    }
}

/// A command that is running. It is ended when this is dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
    /// The first line of a daemon.
    pub ready: Value,
}

impl Running {
    /// Starts it, with its input and output in the test's hands.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, lines, stdin, ready: Value::Null }
    }

    /// Waits until a daemon says that it is ready.
    pub fn that_is_ready(mut self) -> Self {
        self.ready = self.line();
        assert_eq!(self.ready["event"], "ready", "{}", self.ready);
        self
    }

    /// The next line.
    pub fn line(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next line with this event.
    pub fn event(&mut self, event: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let line = self.line();
            if line["event"] == event {
                return line;
            }
        }
        panic!("no event {event}");
    }

    pub fn type_line(&mut self, text: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Asks it to stop as a service manager does, and returns its exit code.
    pub fn stop(mut self) -> i32 {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Ends it without a word, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, most likely.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
