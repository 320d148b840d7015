//! Runs code that may panic, without a backtrace on stderr for each hostile change.
//!
//! The first call installs one panic hook for the whole process. It stays silent, and notes the place, while
//! this thread is inside [`catch`]; every other panic goes on to the hook that was there before.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `f`; a panic in it becomes the source line that panicked. What `f` has changed by then must be thrown
/// away by the caller.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(install);
    let before = QUIET.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    outcome.map_err(|_| PLACE.take().unwrap_or_else(|| "an unknown place".to_owned()))
}

fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if QUIET.get() {
            PLACE.set(info.location().map(|place| format!("{}:{}", file(place.file()), place.line())));
        } else {
            before(info);
        }
    }));
}

/// The last three parts of a path: enough to find the line, without the builder's home directory.
fn file(path: &str) -> String {
    let mut parts: Vec<&str> = path.rsplit(['/', '\\']).take(3).collect();
    parts.reverse();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_place() {
        assert_eq!(catch(|| 3), Ok(3));
        let place = catch(|| panic!("hostile")).expect_err("it panicked");
        assert!(place.contains("guard/quiet.rs:"), "{place}");
        assert_eq!(catch(|| 4), Ok(4));
    }
}
