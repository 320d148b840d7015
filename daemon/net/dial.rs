//! Whom to dial and when: known members with known addresses, again after pauses that grow.

use super::{Node, held, link, on_disk};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use syncd_schema::DeviceId;
use syncd_transport::{Purpose, backoff};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

/// When a device is next dialled, and after how many failures in a row.
#[derive(Clone, Copy, Debug)]
struct Turn {
    failures: u32,
    at: Instant,
}

/// Dials until the node stops.
pub(super) async fn dial(node: Arc<Node>) {
    let mut turns: BTreeMap<DeviceId, Turn> = BTreeMap::new();
    let mut asked = node.dial.subscribe();
    let mut lost = node.lost.subscribe();
    let mut stopping = node.stopping.subscribe();
    let mut dialling: JoinSet<(DeviceId, bool)> = JoinSet::new();
    let mut under_way: Vec<DeviceId> = Vec::new();
    loop {
        let known = on_disk(|| node.shared.with(|engine| engine.addressed_members()));
        let now = Instant::now();
        let mut next = None;
        for (device, addresses) in known {
            let connected = held(&node.peers).contains_key(&device);
            if connected || under_way.contains(&device) || device == node.endpoint.device() {
                continue;
            }
            let turn = turns.entry(device).or_insert(Turn { failures: 0, at: now });
            if turn.at > now {
                next = Some(next.map_or(turn.at, |at: Instant| at.min(turn.at)));
                continue;
            }
            let addresses: Vec<SocketAddr> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
            under_way.push(device);
            let node = Arc::clone(&node);
            let dialled = async move { (device, dial_one(node, device, addresses).await) };
            dialling.spawn(dialled.in_current_span());
        }
        // Without anything to dial, only a request or a lost link wakes this loop.
        let wake = next.unwrap_or_else(|| now + std::time::Duration::from_secs(3_600));
        tokio::select! {
            _ = sleep_until(wake) => {}
            _ = lost.changed() => {}
            _ = asked.changed() => {
                turns.values_mut().for_each(|turn| *turn = Turn { failures: 0, at: Instant::now() });
            }
            () = link::stopped(&mut stopping) => return,
            Some(done) = dialling.join_next() => {
                if let Ok((device, reached)) = done {
                    under_way.retain(|other| *other != device);
                    let failures = if reached { 0 } else {
                        turns.get(&device).map_or(0, |turn| turn.failures.saturating_add(1))
                    };
                    let at = Instant::now() + backoff(failures, Node::random_u32());
                    turns.insert(device, Turn { failures, at });
                }
            }
        }
    }
}

/// Dials one device and runs its session to the end. True when there was a session.
pub(super) async fn dial_one(node: Arc<Node>, device: DeviceId, addresses: Vec<SocketAddr>) -> bool {
    match node.endpoint.connect_any(&addresses, device, Purpose::Sync).await {
        Ok(link) => link::run(&node, link).await,
        Err(error) => {
            tracing::debug!(peer = %device.short(), %error, "not reached");
            node.stepped.send_modify(|count| *count += 1);
            false
        }
    }
}

/// Where others may reach a socket bound to this address. A socket on all interfaces is reachable at the address
/// the system would use towards the network, and on this machine.
pub(super) fn reachable(bound: SocketAddr) -> Vec<String> {
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    let mut addresses = Vec::new();
    // Connecting a UDP socket sends nothing: it asks the routing table for the source address (RFC 5737 address).
    let towards = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(towards)?;
        socket.local_addr()
    });
    if let Ok(source) = source {
        addresses.push(SocketAddr::new(source.ip(), bound.port()).to_string());
    }
    addresses.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port()).to_string());
    addresses
}
