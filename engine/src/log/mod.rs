//! Device logs as bytes: the packed run, in which entries and payloads are stored and sent.
//!
//! Nothing here knows the store or the network. Start with [`run`].

pub mod bytes;
pub mod compressed;
pub mod run;

pub use run::{LogRecord, RunError};
