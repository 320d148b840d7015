//! The first thing that both sides say: versions, workspace, and a digest of all they hold.

use super::{Output, Phase, Session};
use crate::store::StoreError;
use crate::workspace::Engine;
use syncd_schema::message::{
    CloseCode, Control, Hello, MAX_VERSION, MIN_VERSION, Position, features, frontier_digest,
};
use syncd_schema::{DeviceId, UnixMicros};

impl Session {
    /// Version, workspace and membership; then equal or not.
    pub(super) fn greet(
        &mut self,
        engine: &mut Engine,
        theirs: &Hello,
        ours: Option<Vec<Position>>,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if let Some((code, text)) = unfit(engine, theirs) {
            self.close(code, &text, out);
            return Ok(());
        }
        let proof = theirs.own.as_deref().filter(|own| engine.lost(own)).copied();
        let is_known = engine.knows(&self.peer);
        if !is_known && proof.is_none() {
            self.close(CloseCode::UnknownKey, unknown_key(), out);
            return Ok(());
        }
        self.branches_told = engine.branch_count();
        let (hello, now_held) = hello(engine, &self.peer);
        let spoken_for = match ours {
            Some(positions) => positions,
            None => {
                out.push(Output::Control(Control::Hello(hello)));
                now_held
            }
        };
        if let (false, Some(own)) = (is_known, proof) {
            self.doubt(engine, own, now, out)?;
        } else if frontier_digest(&spoken_for) == theirs.frontier {
            self.flow.assume(&spoken_for);
            self.phase = Phase::Flowing;
            self.ask_outcomes(engine, &spoken_for, out)?;
        } else {
            self.say_frontier(engine, out);
            self.phase = Phase::Comparing;
        }
        Ok(())
    }
}

/// Why a session with that side is not possible, whoever it is.
fn unfit(engine: &Engine, theirs: &Hello) -> Option<(CloseCode, String)> {
    if theirs.min_version > MAX_VERSION || theirs.max_version < MIN_VERSION {
        let text =
            format!("this side speaks versions {MIN_VERSION} to {MAX_VERSION}; update the older program");
        return Some((CloseCode::Version, text));
    }
    if theirs.features & features::REQUIRED != features::REQUIRED {
        let text = "this side sends what the other cannot read; update the older program";
        return Some((CloseCode::Version, text.to_owned()));
    }
    let is_other = theirs.workspace != engine.workspace();
    is_other.then(|| (CloseCode::Workspace, "this device does not hold that workspace".to_owned()))
}

pub(super) const fn unknown_key() -> &'static str {
    "this key is not a member of the workspace; join with a ticket from `invite`"
}

/// What to say, and the positions that its digest speaks for.
pub(super) fn hello(engine: &Engine, peer: &DeviceId) -> (Hello, Vec<Position>) {
    let positions = engine.frontier();
    let hello = Hello {
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
        features: features::REQUIRED,
        workspace: engine.workspace(),
        frontier: frontier_digest(&positions),
        entries: positions.iter().map(|position| position.size.0).sum(),
        own: engine.newest_log_of(peer).map(Box::new),
    };
    (hello, positions)
}
