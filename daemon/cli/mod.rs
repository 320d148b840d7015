//! The command line: arguments in, one answer out, and an exit code that says how it went.
//!
//! A command that touches a workspace becomes one request, and `door` finds who carries it out: the daemon, or
//! this process. Start with [`main`]; `args` is the contract, `commands` what each command does.

mod agent;
mod args;
mod cards;
mod commands;
mod door;
mod import;
mod invite;
mod join;
mod network;
mod output;
mod policy;
mod print;
mod progress;
mod up;

use crate::api::{ApiError, exit};
use crate::os;
use crate::root::{AgentToken, Root};
use args::{Cli, Global};
use clap::Parser;
use clap::error::ErrorKind;
use output::Output;
use std::process::ExitCode;
use std::time::Duration;
use syncd_schema::Actor;

/// How long unfinished work of other threads may hold up the end of a command.
const LAST_WORK: Duration = Duration::from_secs(5);

/// What every command needs to know.
#[derive(Debug)]
struct Context {
    root: Root,
    /// The workspace that was named, if one was.
    workspace: Option<String>,
    caller: Caller,
    output: Output,
}

/// Who runs a command.
#[derive(Clone, Debug)]
struct Caller {
    /// Who is named, if somebody is or nobody shows a token.
    named: Option<Actor>,
    /// The token that was shown.
    token: Option<AgentToken>,
}

impl Caller {
    /// Whoever shows a token need not name itself; whoever does neither is the person who is logged in.
    fn new(global: &Global) -> Result<Self, ApiError> {
        let token = agent::shown(global.agent_token_file.as_deref())?;
        let named = global.actor.clone().or_else(|| token.is_none().then(os::login));
        Ok(Self { named, token })
    }
}

impl Context {
    /// Who acts, where that must be a person: whoever shows a token is none.
    fn person(&self) -> Result<Actor, ApiError> {
        let named = self.caller.named.clone().filter(|_| self.caller.token.is_none());
        named.ok_or_else(|| {
            let hint = "have a person do it, without SYNCD_AGENT_TOKEN and --agent-token-file";
            ApiError::failed("refused", "an agent may not do this", hint).with_exit(exit::REFUSED)
        })
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Arguments that cannot be parsed still say how the error is to be printed.
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let output = Output::new(json);
    report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error, output),
    };
    log_to_stderr(cli.global.verbose);
    if let Err(error) = os::keep_private() {
        tracing::warn!(%error, "the system does not keep this process's memory from others");
    }
    // A panic was reported by the hook; what is left is to end in an orderly way.
    let result = std::panic::catch_unwind(|| run(cli, output));
    let result = result.unwrap_or_else(|_| Err(ApiError::internal("the command was not finished")));
    let code = result.unwrap_or_else(|error| {
        output.error(&error);
        error.exit
    });
    ExitCode::from(code)
}

fn run(cli: Cli, output: Output) -> Result<u8, ApiError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().map_err(
            |error| {
                ApiError::failed("runtime", format!("cannot start threads: {error}"), "free some resources")
            },
        )?;
    let caller = Caller::new(&cli.global)?;
    let result = Root::locate(cli.global.root).map_err(ApiError::from).and_then(|root| {
        let context = Context { root, workspace: cli.global.workspace, caller, output };
        runtime.block_on(commands::run(&context, cli.command))
    });
    // Tasks hold the store; a store that is closed in order opens without repair.
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// Threads that carry the network: two hide the disk's waits from it, and signatures are quick.
const WORKERS: usize = 2;

/// Prints what clap says about arguments: help and version are answers, everything else is a usage error.
fn usage(error: &clap::Error, output: Output) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match error.print() {
                Err(broken) if broken.kind() != std::io::ErrorKind::BrokenPipe => {
                    output.note(&format!("error: standard output cannot be written: {broken}"));
                    ExitCode::from(exit::FAILED)
                }
                // Whoever closed the pipe does not want to read it.
                _ => ExitCode::SUCCESS,
            }
        }
        _ if output.is_json() => {
            let text = error.to_string();
            // The first paragraph says what is wrong; the rest is the usage, which has lines of its own.
            let said: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let message = said.join(" ").trim_start_matches("error: ").to_owned();
            output.error(&ApiError::usage(message, "see `sourceos-syncd --help`"));
            ExitCode::from(exit::USAGE)
        }
        _ => {
            let _ = error.print();
            ExitCode::from(exit::USAGE)
        }
    }
}

/// A panic is a fault of this program or of a library, and ends no more than the request it happened in. The log gets
/// its place, and never what was being worked on.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
        tracing::error!(place = place.unwrap_or_default(), "a panic was caught");
    }));
}

/// Who may write to the log: this program's crates, and the network libraries, which see only what is sealed. What
/// others say of what they were handed can be a document's content, as Automerge does at level trace.
const LOGGED: [&str; 6] = ["sourceos_syncd", "syncd_", "quinn", "rustls", "tokio", "mio"];

fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::filter::{EnvFilter, filter_fn};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let default = match verbose {
        0 => "error",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Whatever RUST_LOG asks for.
    let ours = filter_fn(|about| LOGGED.iter().any(|name| about.target().starts_with(name)));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    // Only a second subscriber in one process would fail.
    let _ = tracing_subscriber::registry().with(filter).with(ours).with(lines).try_init();
}
