//! What must hold of honest devices whatever a liar says: what it can cost them, and what they say of it.

use super::{Liar, Lie};
use crate::checks::Portrait;
use crate::world::{Failure, Held, World};
use syncd_engine::workspace::Occupancy;
use syncd_evidence::FindingKind;
use syncd_schema::limits;

/// Findings that all devices together can lead to: of each kind as many places as are listed, and one for the rest.
const FINDINGS: usize = FindingKind::ALL.len() * 129;

impl Lie {
    /// The findings of which one at least must name the liar, where it was told. None where there is nothing to find.
    #[must_use]
    pub const fn found_as(self) -> &'static [FindingKind] {
        match self {
            Self::OtherPayload | Self::Enormous | Self::OtherWorkspace => &[FindingKind::BrokenSegment],
            Self::BrokenPayload | Self::TwoOfOne => &[FindingKind::RefusedPayload],
            Self::Epochs => &[FindingKind::LimitReached],
            Self::UnknownKind => &[FindingKind::UnknownKind],
            Self::NoGovernance | Self::NoRequirement | Self::Withheld => &[FindingKind::Unfounded],
            Self::NothingToAnswer => &[FindingKind::RefusedPayload, FindingKind::Unfounded],
            Self::Clocks => &[FindingKind::ClockSkew, FindingKind::LimitReached, FindingKind::BrokenSegment],
            // A segment from behind the end is asked for from the end on, as after a lost one; positions that nobody
            // holds are one peer's word, and nobody passes them on. What a member may make as often as it likes are
            // objects: policy says how many, and they cost what they hold.
            // Of a fork see [`World::liar_is_found`].
            Self::Skip | Self::TinyObjects | Self::Fork => &[],
        }
    }
}

impl Liar {
    /// Takes out of a portrait what the liar told to some devices only: of a log with two histories those who met
    /// one of them first go on showing what was in it, and a finding says how that ends.
    pub(crate) fn leave_out(&self, portrait: &mut Portrait) {
        let forked = self.forked();
        if forked.is_empty() {
            return;
        }
        let logs: Vec<String> =
            forked.iter().map(|epoch| format!("log {}/{} ", self.device().short(), epoch.0)).collect();
        let histories = self.histories.iter().filter(|quill| forked.contains(&quill.log.epoch));
        let objects: Vec<String> =
            histories.flat_map(|quill| &quill.born).map(|name| format!("object {name}")).collect();
        portrait.retain(|name, _| {
            let is_log = logs.iter().any(|log| name.starts_with(log));
            !is_log && !objects.contains(name) && name != "waiting" && name != "objects"
        });
    }
}

impl World {
    /// Every lie that can be found is on record somewhere, by the liar's name and with what to do about it; nobody else
    /// is blamed for it.
    ///
    /// # Errors
    /// Says which lie nobody speaks of, or what is said of whom.
    pub fn liar_is_found(&self) -> Held {
        let Some(liar) = &self.liar else { return Ok(()) };
        let name = liar.device().short();
        let mut found = Vec::new();
        for device in &self.devices {
            let Some(engine) = &device.engine else { continue };
            let here = engine.findings()?;
            // A history that nobody took is nobody's trouble; whoever holds two says so.
            if engine.branch_count() > 0 && !here.iter().any(|f| f.kind == FindingKind::LogFork) {
                return Err(Failure(format!("UNSEEN: device {} holds a fork and is silent", device.number)));
            }
            found.extend(here);
        }
        let names = |text: &str| text.contains(&name);
        for finding in &found {
            let blames = finding.place.starts_with("device ") || finding.kind == FindingKind::LogFork;
            if blames && !names(&finding.place) && !names(&finding.text) {
                return Err(Failure(format!("BLAMED: {finding:?}, and the liar is {name}")));
            }
        }
        for lie in liar.told.keys().filter(|lie| !lie.found_as().is_empty()) {
            let says = |finding: &&syncd_evidence::Finding| {
                lie.found_as().contains(&finding.kind)
                    && (names(&finding.place) || names(&finding.text))
                    && !finding.next.is_empty()
            };
            if !found.iter().any(|finding| says(&finding)) {
                return Err(Failure(format!("UNSEEN: nobody speaks of {lie:?}; there are {found:?}")));
            }
        }
        Ok(())
    }

    /// What honest devices hold because of the liar is bounded, whatever it said.
    ///
    /// # Errors
    /// Says what grew.
    pub fn liar_takes_little(&self) -> Held {
        let Some(liar) = &self.liar else { return Ok(()) };
        let entries: usize = liar.histories.iter().map(|quill| quill.tree.size().0 as usize).sum();
        for device in &self.devices {
            let Some(engine) = &device.engine else { continue };
            let held = engine.occupancy()?;
            let honest = self.devices.len() * limits::EPOCHS;
            let limit = Occupancy {
                // With its ledger, what stays here, and a second history of each log of the liar.
                logs: honest + 2 + limits::BRANCHES * limits::EPOCHS,
                waiting: entries.min(limits::PENDING_ENTRIES) + self.model.acked.len(),
                names: 16 * held.waiting,
                rules: 64,
                decisions: 200 + 4 * self.model.acked.len(),
                findings: FINDINGS,
                governance: 200,
                in_flight: (self.devices.len() + 1) * (honest + limits::EPOCHS),
            };
            let sizes = |o: &Occupancy| {
                [o.logs, o.waiting, o.names, o.rules, o.decisions, o.findings, o.governance, o.in_flight]
            };
            if sizes(&held).iter().zip(sizes(&limit)).any(|(held, limit)| *held > limit) {
                return Err(Failure(format!("GREW: device {}: {held:?}, at most {limit:?}", device.number)));
            }
        }
        for session in liar.lines.values() {
            let (bytes, logs) = session.keeps();
            if bytes > 16 << 20 || logs > limits::DEVICES * limits::EPOCHS {
                return Err(Failure(format!("GREW: a session keeps {bytes} bytes, {logs} logs")));
            }
        }
        Ok(())
    }
}
