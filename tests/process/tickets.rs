//! Tickets that must not work: expired, changed, of somebody else. What happens to one that was used is in `cli.rs`.

use crate::common::{Device, PATIENCE};
use sourceos_syncd::os;
use std::time::{Duration, Instant};
use syncd_schema::ticket::Ticket;

fn ticket(ada: &Device, args: &[&str]) -> Ticket {
    let mut all = vec!["invite"];
    all.extend(args);
    Ticket::parse(ada.run(&all).ok()["ticket"].as_str().unwrap()).unwrap()
}

#[test]
fn an_expired_ticket_is_refused_by_both_sides() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ticket(&ada, &["--ttl", "1s"]);
    let deadline = Instant::now() + PATIENCE;
    while os::now() <= ticket.expires {
        assert!(Instant::now() < deadline, "it does not expire");
        std::thread::sleep(Duration::from_millis(20));
    }
    let error = bob.run(&["join", &ticket.to_string()]).fails(1, "expired");
    assert!(error["message"].as_str().unwrap().contains("expired at"), "{error}");
    // A joiner whose clock is wrong, or who lies, is told by the inviter.
    let lie = Ticket { expires: os::now().plus(3_600_000_000), ..ticket };
    bob.run(&["join", &lie.to_string()]).fails(1, "not_joined");
    assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 1);
    bob.run(&["status"]).fails(1, "no_workspace");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_wrong_ticket_lets_nobody_in_and_leaves_the_right_one_usable() {
    let (ada, bob, eve) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ticket(&ada, &[]);
    let mut text = ticket.to_string();
    text.replace_range(20..21, if &text[20..21] == "a" { "b" } else { "a" });
    eve.run(&["join", &text]).fails(2, "usage");
    let guessed = Ticket { secret: [7; 16].into(), ..ticket.clone() };
    eve.run(&["join", &guessed.to_string()]).fails(1, "not_joined");
    let other_workspace = Ticket { workspace: "ab".repeat(16).parse().unwrap(), ..ticket.clone() };
    eve.run(&["join", &other_workspace.to_string()]).fails(1, "not_joined");
    let eves = eve.run(&["init"]).ok()["device"].as_str().unwrap().parse().unwrap();
    let impostor = Ticket { inviter: eves, ..ticket.clone() };
    bob.run(&["join", &impostor.to_string()]).fails(7, "peer_unreachable");
    assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 1);
    bob.run(&["join", &ticket.to_string()]).ok();
    assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 2);
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(daemon.stop(), 0);
}
