//! The daemon and the command line of `sourceos-syncd`: where engine and transport meet the operating system.
//!
//! Everything below this crate is handed its time, its randomness and its messages; here they come from. Nothing
//! here decides what may be written or how changes merge: that is the engine's, and a command that touches a
//! workspace is one [`api::Request`] to it, whether a daemon carries it out or the command itself.
//!
//! Start with [`cli::main`]. Then:
//!
//! | room | what happens there |
//! |---|---|
//! | [`os`] | the clock, randomness, and the names of user and machine |
//! | [`root`] | the directory with identity, stores and aliases |
//! | [`api`] | requests and their answers, the same with and without a daemon |
//! | [`exact`] | JSON that is taken exactly or not at all |
//! | [`socket`] | the daemon's Unix socket, both ends |
//! | [`net`] | links to other devices, and pairing |
//! | [`cli`] | commands, their arguments and what they print |
//!
//! Assumptions, and the damage when they break: the root directory is on a local file system with working locks
//! (else two processes could write one store and fork its log); whoever may read files of this user is this user
//! (else the identity can be copied); the clock is roughly right (else tickets expire early or late, and times
//! mislead people; no order depends on it).

pub mod api;
pub mod cli;
pub mod exact;
pub mod net;
pub mod os;
pub mod root;
pub mod socket;
