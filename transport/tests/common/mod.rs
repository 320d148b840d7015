//! Two endpoints on the loopback interface, with keys from small numbers and randomness from a seed.
#![allow(dead_code, reason = "a test stops at the first thing that is not as it should be")] // Each test program uses its own part of this.

use std::net::SocketAddr;
use syncd_schema::message::{Control, Hello, Segment};
use syncd_schema::{DeviceId, Digest, Entropy, Epoch, LogId, LogSeq, WorkspaceId};
use syncd_transport::{Endpoint, Identity, Link, Purpose};
use zeroize::Zeroizing;

pub(crate) fn seed(number: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([number; 32])
}

pub(crate) fn device(number: u8) -> DeviceId {
    Identity::from_seed(&seed(number)).expect("an identity").device()
}

pub(crate) fn endpoint(number: u8) -> Endpoint {
    let identity = Identity::from_seed(&seed(number)).expect("an identity");
    Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), identity).expect("a socket")
}

pub(crate) fn addr(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_addr().expect("an address")
}

/// A link as the dialler and the acceptor see it.
pub(crate) async fn linked(dialler: &Endpoint, acceptor: &Endpoint, purpose: Purpose) -> (Link, Link) {
    let dial = dialler.connect(addr(acceptor), acceptor.device(), purpose);
    let accept = async { acceptor.accept().await.expect("open").link().await };
    let (dialled, accepted) = tokio::join!(dial, accept);
    (dialled.expect("dialled"), accepted.expect("accepted"))
}

pub(crate) fn hello() -> Control {
    Control::Hello(Hello {
        min_version: 1,
        max_version: 1,
        features: 0,
        workspace: WorkspaceId([1; 16]),
        frontier: Digest([2; 32]),
        entries: 3,
        own: None,
    })
}

pub(crate) fn log(number: u32) -> LogId {
    LogId { workspace: WorkspaceId([1; 16]), device: device(9), epoch: Epoch(number) }
}

pub(crate) fn segment(log: LogId, first: u64, size: usize) -> Segment {
    Segment {
        log,
        first: LogSeq(first),
        count: 1,
        checkpoint: vec![5; 100],
        key_epoch: 1,
        open_len: 10,
        branch: None,
        sealed: vec![first as u8; size],
    }
}

/// Splitmix64 (S. Vigna): deterministic bytes for tests.
pub(crate) struct Seeded(pub(crate) u64);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (z ^ (z >> 31)) as u8;
        }
    }
}
