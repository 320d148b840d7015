//! What this user's programs and files say.

use sourceos_syncd::root::{Aliases, check_name};
use sourceos_syncd::socket;

/// A line of the Unix socket.
pub fn request(data: &[u8]) {
    let Ok(call) = socket::call(data) else { return };
    let written = serde_json::to_vec(&call).expect("JSON");
    let again = socket::call(&written).expect("the same call");
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
}

/// The file with the names of workspaces, and one of its names.
pub fn names(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(check_name(text).is_ok(), check_name(text).is_ok() && text.is_ascii());
    }
    let Ok(aliases) = serde_json::from_slice::<Aliases>(data) else { return };
    let written = serde_json::to_vec(&aliases).expect("JSON");
    assert_eq!(serde_json::from_slice::<Aliases>(&written).expect("the same file"), aliases);
    for id in aliases.ids() {
        let name = aliases.name_of(&id).expect("a name");
        assert!(aliases.pick(Some(name)).is_ok());
    }
}
