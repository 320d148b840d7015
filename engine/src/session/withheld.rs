//! Payloads that did not come with their entries.
//!
//! Of what an object was before it began anew nobody has them, and the entry that says so may come last. What lacks one when
//! all is said was withheld by whoever passed it on: it is asked for again, from every peer, once a session and log.

use super::{Output, Phase, Session};
use crate::store::StoreError;
use crate::workspace::Engine;
use syncd_schema::UnixMicros;
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

    /// Puts on record what can never be let in, as far as the peer's own entries show it: it has told all that it has, and
    /// they build on something else. Looked at when something of them began or ceased to wait.
    pub(super) fn note_unfounded(&mut self, engine: &mut Engine, now: UnixMicros) -> Result<(), StoreError> {
        if !matches!(self.phase, Phase::Flowing) {
            return Ok(());
        }
        if self.looked_at.is_none() {
            engine.note_unfounded(None, now)?;
        }
        let has_told_all = self.early.is_empty() && self.flow.distance(engine).0 == 0;
        let changes = engine.held_changes_of(&self.peer);
        if self.looked_at == Some(changes) || !has_told_all {
            self.looked_at.get_or_insert(u64::MAX);
            return Ok(());
        }
        self.looked_at = Some(changes);
        engine.note_unfounded(Some(&self.peer), now)
    }
}
