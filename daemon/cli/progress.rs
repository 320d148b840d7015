//! Progress bars on standard error, when a person is watching.

use crate::api::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

/// A bar that counts to a total that is told on the way; until then it is empty, not full.
pub(super) fn bar(what: &'static str) -> ProgressBar {
    let bar = hidden_without_person(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// A number that grows towards an unknown end.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let spinner = hidden_without_person(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos} operations, {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_message(what);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn hidden_without_person(bar: ProgressBar) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// Moves the bar along with a request.
pub(super) fn follow(bar: &ProgressBar) -> Progress {
    let bar = bar.clone();
    Arc::new(move |done, total| {
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    })
}

/// For requests that take no time.
pub(super) fn none() -> Progress {
    Arc::new(|_, _| {})
}
