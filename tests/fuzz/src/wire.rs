//! What peers and strangers send, and what people carry between devices to pair them.

use crate::fixed::canonical;
use data_encoding::{Encoding, Specification};
use syncd_engine::workspace::Welcome;
use syncd_schema::message::{Control, Hello, Segment};
use syncd_schema::ticket::Ticket;
use syncd_schema::{LogId, cbor, domain, limits};
use syncd_transport::frame::{self, Decoder};
use syncd_transport::logs::LOG_NAME_BYTES;
use syncd_transport::pairing::{Code, JOINER_MESSAGE_BYTES, PAIR_MESSAGE_BYTES, PairMessage};

/// A ticket as text; and, since no mutation meets the checksum, the bytes as the content of one.
pub fn ticket(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        ticket_text(text);
    }
    let mut content = data.to_vec();
    content.extend_from_slice(&domain::sha256(data).0[..4]);
    ticket_text(&format!("syncd1{}", base32().encode(&content)));
}

fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("an encoding")
}

fn ticket_text(text: &str) {
    let Ok(ticket) = Ticket::parse(text) else { return };
    assert!(ticket.addresses.len() <= limits::TICKET_ADDRESSES);
    assert!(ticket.socket_addresses().len() <= ticket.addresses.len());
    assert_eq!(ticket.to_string(), text.trim().to_ascii_lowercase());
}

/// The code that people compare.
pub fn pairing_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(code) = text.parse::<Code>() else { return };
    let shown = code.to_string();
    assert_eq!(shown.len(), 8);
    assert!(code.matches(text) && code.matches(&shown));
}

/// A message of pairing, of whom one has not paired with yet and of the inviter.
pub fn pairing(data: &[u8]) {
    let message = canonical(PairMessage::from_bytes(data, PAIR_MESSAGE_BYTES), data);
    let from_stranger = PairMessage::from_bytes(data, JOINER_MESSAGE_BYTES).ok();
    assert_eq!(from_stranger, message.filter(|_| data.len() <= JOINER_MESSAGE_BYTES));
}

/// What a new member is given.
pub fn welcome(data: &[u8]) {
    canonical(Welcome::from_bytes(data), data);
}

/// Frames, however their bytes are cut; their content as messages of the control stream.
pub fn frames(data: &[u8]) {
    let whole = decoded(data, data.len().max(1));
    assert_eq!(decoded(data, 3), whole, "cut otherwise, the same bytes are other frames");
    let (frames, is_error) = whole;
    let mut again = Vec::new();
    for body in &frames {
        assert!(!body.is_empty() && body.len() <= limits::CONTROL_BYTES);
        frame::encode(body, limits::CONTROL_BYTES, &mut again).expect("a frame");
        control(body);
    }
    assert!(data.starts_with(&again) && (is_error || again.len() + 4 + limits::CONTROL_BYTES > data.len()));
}

/// The frames that bytes hold, which come in pieces, and whether an error followed.
fn decoded(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::new(limits::CONTROL_BYTES);
    let mut frames = Vec::new();
    for mut piece in data.chunks(piece) {
        while !piece.is_empty() {
            match decoder.feed(&mut piece) {
                Ok(frame) => frames.extend(frame),
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// A message of the control stream.
pub fn control(data: &[u8]) {
    canonical(Control::from_bytes(data), data);
}

/// The first message there is, without what says that it is one.
pub fn hello(data: &[u8]) {
    let Some(hello) = canonical(cbor::decode::<Hello>("hello", data, limits::CONTROL_BYTES), data) else {
        return;
    };
    let message = Control::Hello(hello);
    assert_eq!(Control::from_bytes(&message.to_bytes()).expect("a message"), message);
}

/// The first frame of a log's stream.
pub fn log_name(data: &[u8]) {
    canonical(cbor::decode::<LogId>("log name", data, LOG_NAME_BYTES), data);
}

/// A segment as it travels, sealed.
pub fn segment(data: &[u8]) {
    let Some(segment) = canonical(Segment::from_bytes(data), data) else { return };
    assert!((1..=limits::SEGMENT_ENTRIES).contains(&(segment.count as usize)));
    assert!(segment.sealed.len() <= limits::SEGMENT_SEALED_BYTES);
    assert!(segment.open_len as usize <= limits::SEGMENT_OPEN_BYTES);
    assert!(segment.checkpoint.len() <= limits::NOTE_BYTES);
}
