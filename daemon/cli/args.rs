//! Commands and their arguments, as written down in the command line's contract. Help texts are the doc comments.

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use syncd_schema::{Actor, Collection, Digest, ObjectId, OperationId, OperationStatus, Role};

/// Keeps a workspace the same on every device, with a policy decision and evidence for each change.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 needs a decision, 5 integrity violation,
/// 6 not found, 7 peer unreachable.
#[derive(Debug, Parser)]
#[command(name = "sourceos-syncd", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Where this device keeps its data [default: the platform's data directory]
    #[arg(long, global = true, env = "SYNCD_ROOT", value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Which workspace, by its local name or its id [default: the only one, else `default`]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) workspace: Option<String>,
    /// On whose behalf; types are user, agent, system, connector, worker; a name that has a token needs it
    /// [default: the token's agent, else user: and the login name]
    #[arg(long, global = true, value_name = "TYPE:ID")]
    pub(super) actor: Option<Actor>,
    /// A file with the token that `agent add` printed; SYNCD_AGENT_TOKEN may hold the token instead
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) agent_token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say more on stderr; again for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon in the foreground; make identity and workspace if there are none
    Up(Up),
    /// Make identity and workspace, nothing else
    Init {
        /// This device's name for others [default: the machine's]
        #[arg(long)]
        name: Option<String>,
    },
    /// This device, its peers and logs, and what is not synced
    Status,
    /// Make a one-time ticket with which a device can join
    Invite(Invite),
    /// Join a workspace with a ticket
    Join {
        /// What `invite` printed on the other device
        ticket: String,
        /// This device's name for others [default: the machine's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Sync now, and wait until nothing is left to exchange
    Sync {
        /// With this device only: its key, the beginning of it, or its name
        #[arg(long, value_name = "DEVICE")]
        peer: Option<String>,
    },
    /// The devices of the workspace
    Devices,
    /// Create an object
    Put(Put),
    /// Change an object in one operation
    Edit(Edit),
    /// Show an object
    Get {
        /// The object
        id: ObjectId,
    },
    /// List objects
    List {
        /// Of this collection only
        collection: Option<Collection>,
        /// Also those that were deleted
        #[arg(long)]
        all: bool,
    },
    /// The operations on an object, oldest first
    History {
        /// The object
        id: ObjectId,
    },
    /// Delete an object
    Delete {
        /// The object
        id: ObjectId,
        #[command(flatten)]
        key: Key,
    },
    /// Take files into the collection `files`
    Import {
        /// Files and directories
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Let an object begin anew: what it was is dropped from every device, for good
    Rebirth(Rebirth),
    /// What waits for a decision
    Cards {
        /// Also what was decided or superseded
        #[arg(long)]
        all: bool,
    },
    /// One card with every side, its options and what each does
    Card {
        /// The card, or at least eight digits of its beginning
        card: String,
    },
    /// Answer a card
    Resolve(Resolve),
    /// Repairs
    #[command(subcommand)]
    Repair(Repair),
    /// The newest operations
    Ops {
        /// Only those in this state, such as completed or blocked
        #[arg(long, value_parser = status)]
        status: Option<OperationStatus>,
    },
    /// One operation with its tasks and evidence
    Op {
        /// The operation
        id: OperationId,
    },
    /// Why an object, an operation or a card is as it is
    Explain {
        /// Its id
        id: String,
    },
    /// Agents that prove with a token who they are
    #[command(subcommand)]
    Agent(Agent),
    /// Policies
    #[command(subcommand)]
    Policy(Policy),
    /// Collections and their manifests
    #[command(subcommand)]
    Schema(Schema),
    /// The evidence ledger
    #[command(subcommand)]
    Evidence(Evidence),
    /// Write a signed checkpoint now
    Checkpoint,
}

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Where to listen [default: where it listened last, else any port of all addresses]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// This device's name for others [default: the machine's]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A ticket whose device is dialled; may be given several times
    #[arg(long, value_name = "TICKET")]
    pub(super) peer: Vec<String>,
    /// Find no devices by itself; dial known addresses only
    #[arg(long)]
    pub(super) no_discovery: bool,
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// What the joining device will be
    #[arg(long, value_enum, default_value = "member")]
    pub(super) role: TicketRole,
    /// How long the ticket works, such as 90s, 10m, 2h or 1d
    #[arg(long, default_value = "10m", value_parser = seconds, value_name = "TIME")]
    pub(super) ttl: u64,
    /// Type the code that the joining device shows before it is let in
    #[arg(long)]
    pub(super) confirm: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TicketRole {
    /// Reads and writes objects
    Member,
    /// Also invites devices and changes policies
    Admin,
    /// Stores and forwards, and cannot read; there are none yet
    Relay,
    /// Writes as a machine
    Agent,
}

impl From<TicketRole> for Role {
    fn from(role: TicketRole) -> Self {
        match role {
            TicketRole::Member => Self::Member,
            TicketRole::Admin => Self::Admin,
            TicketRole::Relay => Self::Relay,
            TicketRole::Agent => Self::Agent,
        }
    }
}

/// What makes a repeated call the same operation.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// A name for this call: repeated under it, the call is the same operation
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("content").required(true).args(["json_text", "file"]),
    override_usage = "sourceos-syncd put [OPTIONS] <COLLECTION> <JSON|--file <F>>"
)]
pub(super) struct Put {
    /// The collection
    pub(super) collection: Collection,
    /// The object's id [default: a new one]
    #[arg(long)]
    pub(super) id: Option<ObjectId>,
    /// The object, a JSON object; `-` reads it from standard input
    #[arg(value_name = "JSON", id = "json_text")]
    pub(super) text: Option<String>,
    /// Read the object from a file
    #[arg(long, value_name = "F")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) key: Key,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("form").required(true).args(["merge_patch", "json_patch", "set_text", "splice", "increment"]))]
pub(super) struct Edit {
    /// The object
    pub(super) id: ObjectId,
    /// The heads it was based on, as `get` shows them: the edit fails if the object has others
    #[arg(long, value_name = "HEADS", value_delimiter = ',')]
    pub(super) base: Option<Vec<Digest>>,
    /// A merge patch (RFC 7396)
    #[arg(long, value_name = "JSON")]
    pub(super) merge_patch: Option<String>,
    /// A JSON patch (RFC 6902)
    #[arg(long, value_name = "JSON")]
    pub(super) json_patch: Option<String>,
    /// Set the text at a path to what is in --file
    #[arg(long, value_name = "PATH", requires = "file")]
    pub(super) set_text: Option<String>,
    /// The file with the text; `-` is standard input
    #[arg(long, value_name = "F", requires = "set_text")]
    pub(super) file: Option<PathBuf>,
    /// In the text at PATH, replace DEL code points at POS by TEXT
    #[arg(long, num_args = 4, value_names = ["PATH", "POS", "DEL", "TEXT"], allow_hyphen_values = true)]
    pub(super) splice: Option<Vec<String>>,
    /// Add to the counter at PATH
    #[arg(long, num_args = 2, value_names = ["PATH", "BY"], allow_hyphen_values = true)]
    pub(super) increment: Option<Vec<String>>,
    #[command(flatten)]
    pub(super) key: Key,
}

#[derive(Debug, Args)]
pub(super) struct Rebirth {
    /// The object
    pub(super) id: ObjectId,
    /// What stays of it, a JSON object; `-` reads it from standard input [default: what is shown now]
    #[arg(long, value_name = "JSON")]
    pub(super) value: Option<String>,
    /// Nothing stays: the object is erased
    #[arg(long, conflicts_with = "value")]
    pub(super) nothing: bool,
    /// Why; kept, and told to those whose work it drops
    #[arg(long, value_name = "TEXT")]
    pub(super) because: Option<String>,
    /// Do it; else it is only said what it would drop
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) key: Key,
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The card, or at least eight digits of its beginning
    pub(super) card: String,
    /// merge, fork, keep_local, keep_remote, or decline for a held change; local is what is shown here
    pub(super) option: String,
    /// The value of a merge
    #[arg(long, value_name = "JSON")]
    pub(super) value: Option<String>,
    /// An operation of the side that is meant, where there are several
    #[arg(long, value_name = "OPERATION")]
    pub(super) pick: Option<OperationId>,
    /// Why; kept with the decision
    #[arg(long, value_name = "TEXT")]
    pub(super) because: Option<String>,
    #[command(flatten)]
    pub(super) key: Key,
}

#[derive(Debug, Subcommand)]
pub(super) enum Repair {
    /// Take the answer to a card back, by another operation
    Rollback {
        /// The operation that answered, as `card` names it
        operation: OperationId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Make a token for an agent and print it, once; from then on nobody can write under its name without it
    Add {
        /// The agent's name; `connector:NAME` and `worker:NAME` are possible too
        name: String,
    },
    /// The agents that have or had a token
    List,
    /// End an agent's token; its name works again when `agent add` made another
    Revoke {
        /// The agent's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// The policies in force, by layer
    Show,
    /// The words a policy may use: who acts, on what, and every attribute of the context
    Attributes,
    /// Check a policy file; needs no workspace. `policy attributes` lists the words it may use
    Check {
        /// The file; `-` is standard input
        file: PathBuf,
        /// Check it as the policy of this device alone
        #[arg(long)]
        device: bool,
    },
    /// Make a policy file the one in force, in the place of all others
    Set {
        /// The file; `-` is standard input
        #[arg(required_unless_present = "none")]
        file: Option<PathBuf>,
        /// Leave those in force, and add this one: what any of them forbids stays forbidden
        #[arg(long, conflicts_with = "device")]
        add: bool,
        /// Make it the policy of this device alone: it narrows what is written here, in every workspace
        #[arg(long)]
        device: bool,
        /// Take this device's own policy away
        #[arg(long, requires = "device", conflicts_with = "file")]
        none: bool,
        #[command(flatten)]
        key: Key,
    },
    /// Decide again what was decided about an operation; exit code 5 when it comes out otherwise
    Test {
        /// The operation, or the refusal that an error named
        id: OperationId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// All collections, and how each is merged
    List,
    /// The manifest of a collection, as `set` takes it
    Show {
        /// The collection
        collection: Collection,
    },
    /// Make a manifest the one in force for its collection
    Set {
        /// The file, JSON; `-` is standard input
        file: PathBuf,
        #[command(flatten)]
        key: Key,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Evidence {
    /// The newest records
    List,
    /// Verify everything this device holds
    Verify,
}

fn status(text: &str) -> Result<OperationStatus, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
        "states are queued, preflighting, awaiting_decision, blocked, running, paused, retrying, canceling, failed, \
         completed, completed_with_warnings, canceled and compensated"
            .to_owned()
    })
}

fn seconds(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).unwrap_or_default();
    if seconds == 0 {
        Err("a time is a number with s, m, h or d, such as 10m".to_owned())
    } else {
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read() {
        assert_eq!(
            (seconds("90s"), seconds("10m"), seconds("2h"), seconds("1d")),
            (Ok(90), Ok(600), Ok(7_200), Ok(86_400))
        );
        for wrong in ["", "m", "0m", "1w", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_that_looks_like_an_option_can_be_spliced_in() {
        let args = ["x", "edit", "n1", "--splice", "/text", "0", "0", "--json"];
        let Command::Edit(edit) = Cli::try_parse_from(args).unwrap().command else { panic!("an edit") };
        assert_eq!(edit.splice.unwrap()[3], "--json");
    }
}
