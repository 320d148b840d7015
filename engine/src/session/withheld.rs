//! Payloads that did not come with their entries.
//!
//! Of what an object was before it began anew nobody has them, and the entry that says so may come last. What lacks one when
//! all is said was withheld by whoever passed it on: it is asked for again, from every peer, once a session and log.

use super::{Output, Phase, Session};
use crate::workspace::Engine;
use syncd_schema::message::Control;

impl Session {
    /// Asks for what is missing, once nothing is on its way that could explain it.
    pub(super) fn ask_payloads(&mut self, engine: &Engine, out: &mut Vec<Output>) {
        let lacking = engine.lacking_payloads();
        if lacking.is_empty() || !matches!(self.phase, Phase::Flowing) || !self.is_quiet(engine) {
            return;
        }
        for (log, from) in lacking {
            if !self.flow.is_diverged(&log) && self.asked_payloads.insert(log) {
                out.push(Output::Control(Control::Want { log, from, branch: None }));
            }
        }
    }
}
