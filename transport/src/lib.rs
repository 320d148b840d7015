//! QUIC links between devices: who is at the other end, framed messages over it, and pairing.
//!
//! This crate moves the messages of `syncd-schema` and judges none of them: it knows neither engine, store nor
//! policy. A link proves which key the peer holds; whether that key is a member is decided above, and said with
//! [`syncd_schema::message::Control::Hello`]. The daemon is the only place where this crate meets the engine.
//!
//! Start with [`Endpoint`]; a [`Link`] comes out of it by dialling or accepting. [`pairing`] is invite and join.
//!
//! Assumptions, and the damage if they break: the device seed is known to this device alone (else another can be
//! it); the ticket reached the joiner unaltered (else it pins a stranger's key, which the code shows).

pub mod close;
pub mod dial;
pub mod endpoint;
pub mod frame;
#[cfg(test)]
mod hostile;
pub mod link;
pub mod logs;
pub mod pairing;
pub mod tls;

pub use close::{Closed, LinkError};
pub use dial::{ConnectAnyError, backoff, dialler_to_keep};
pub use endpoint::{AcceptError, BindError, ConnectError, Endpoint, Incoming};
pub use link::{ControlReceiver, ControlSender, Link, LinkStats, Purpose};
pub use logs::{LogAcceptor, LogReceiver, LogSender};
pub use tls::Identity;
