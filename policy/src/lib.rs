//! May this happen, and why: Cedar policies behind a gate that hands out single-use grants.
//!
//! The crate answers one question about one operation from what the caller says of it. It must not know a clock, a
//! random source, a file, a socket, a document or a peer: devices that hold the same entries would otherwise judge
//! them differently, and never agree again.
//!
//! Start with [`Gate`]: `compile` the bundles in force, `decide` about a [`Request`], `redeem` the [`Grant`]. Then
//! read [`layer`] for how three layers make one decision, `floor.cedar` and `default.cedar` for what they say,
//! and `normal.rs` for why a decision may be cached.
//!
//! [`condition`] is beside the gate: a Cedar expression that a collection's manifest asks of a merged value.
//!
//! Assumptions, and the damage if they break:
//! - The caller describes the operation truthfully, from the entry and its causal past. A request that leaves out a
//!   changed path passes policies that would have refused it.
//! - Cedar evaluates a policy to the same result in every version of this program. Otherwise devices of different
//!   versions admit different entries.
//! - Policies have no entity attributes and no extension functions to use; the schema declares none. With them,
//!   two ids that no policy names could be told apart, and the cache would mix them up.

pub mod check;
pub mod condition;
pub mod decision;
pub mod gate;
pub mod grant;
pub mod layer;
mod never;
mod normal;
pub mod recall;
pub mod request;
mod seen;
pub mod shape;

pub use check::{Finding, Listed, Place, PolicyError, Report, SCHEMA, check, check_own, contents};
pub use condition::{Condition, Facts};
pub use decision::{Decision, Verdict};
pub use gate::{Gate, Policies, default_bundles, have_room, local_version, owner_may_replace};
pub use grant::{Grant, GrantError, Redeemed, Refusal};
pub use layer::{DEFAULT_BUNDLE, FLOOR, Layer};
pub use recall::Recalled;
pub use request::{Action, Base, Origin, Request};
