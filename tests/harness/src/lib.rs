//! A simulator of many devices: virtual time, lossy links and failing disks, all from one printed seed. For tests.
//!
//! It drives the real engine and its real sessions, in one thread, and holds them to the promises of the design:
//! survival, convergence, idempotence, and that an acknowledgement is durable. Start with [`scenario::run`]; a
//! failure says how to replay it.
//!
//! | module | what it is |
//! |---|---|
//! | [`rng`], [`clock`], [`trace`] | chance, time, and what happened |
//! | [`disk`], [`network`] | what fails |
//! | [`device`], [`workload`] | who writes, and what |
//! | [`model`] | the plain reference that says what must be there |
//! | [`world`], [`life`], [`writing`], [`erasing`] | the loop that joins them |
//! | [`checks`], [`stored`] | what must hold at the end |
//! | [`scenario`] | random scripts |
//! | [`hostile`] | a member who lies |
//! | [`exhaustive`] | fixed scripts with a fault at every write |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a fault of the simulator itself should stop the test where it is"
)]

pub mod checks;
pub mod clock;
pub mod device;
pub mod disk;
pub mod erasing;
pub mod exhaustive;
pub mod hostile;
pub mod life;
pub mod model;
pub mod network;
pub mod rng;
pub mod scenario;
pub mod stored;
pub mod trace;
pub mod workload;
pub mod world;
pub mod writing;
