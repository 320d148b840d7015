//! The engine: documents, staged merges, the store and the sync session of one workspace on one device.
//!
//! It has no sockets, no clock and no randomness of its own: time is an argument, randomness is handed in when a
//! workspace is opened, and messages go in and out of [`session`] as values. An app embeds this crate, with or
//! without `syncd-transport`; the daemon is one such app.
//!
//! Start with [`Engine`]: [`Engine::write`] is the local road, [`Engine::receive`] the remote one, and both end on
//! one stage that becomes durable and visible as a whole. [`Shared`] lets many callers use one engine.
//!
//! What an app brings: a [`Location`] for the store, 32 bytes that seal it and an [`Identity`], both kept where the app
//! keeps secrets; an implementation of `syncd_schema::Entropy` that fills bytes from the operating system; and with
//! each call the time in microseconds since 1970, as `syncd_schema::UnixMicros`. `examples/embed.rs` is a whole app. Libraries
//! below log what they are handed at level trace, Automerge the values of documents: filter them, as the daemon does.
//!
//! | room | what happens there |
//! |---|---|
//! | [`document`] | JSON and Automerge: births, edits, values |
//! | [`guard`] | foreign changes, before Automerge sees them |
//! | [`review`] | texts merged by lines, as git does |
//! | [`log`] | packed runs of entries |
//! | [`judgement`] | what manifests ask of merged values |
//! | [`store`] | redb, sealed values, rows |
//! | [`workspace`] | the engine itself |
//! | [`session`] | sync with one peer, as a state machine |
//!
//! Assumptions, and the damage when they break: one process has a store open (else two writers would fork its log;
//! redb's file lock prevents it); the entropy is secure (else keys and nonces can be guessed); the disk keeps what it
//! said it synced (else acknowledged work is lost, and peers notice when the log goes back).

pub mod conflict;
pub mod document;
pub mod guard;
pub mod judgement;
pub mod ledger;
pub mod log;
pub mod review;
pub mod session;
pub mod shared;
pub mod store;
pub mod workspace;

pub use document::Edit;
pub use shared::{CallError, Shared};
pub use store::Location;
pub use workspace::{
    Config, Engine, Event, Identity, Intent, OpenError, Receipt, ReceiveError, WriteError, WriteRequest,
    Written,
};
