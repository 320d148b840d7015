//! How a liar talks: over sessions of honest devices, in bytes, with no session of its own.

use super::{Liar, Lie};
use crate::world::{Held, World, grows};
use syncd_engine::Identity;
use syncd_engine::session::{Input, Output, Session};
use syncd_schema::message::{Control, Hello, MAX_VERSION, MIN_VERSION, Segment, features};
use syncd_schema::{Digest, Role};

impl World {
    /// Lets a liar in, as a member like any other.
    ///
    /// # Errors
    /// When the owner cannot.
    pub fn let_liar_in(&mut self) -> Held {
        let now = self.devices[0].wall(self.queue.now());
        let mut rng = self.rng.fork();
        let Some(engine) = &mut self.devices[0].engine else { return Ok(()) };
        let secret = Identity::generate(&mut rng);
        let identity = Identity::from_secret(&secret);
        let signature = identity.key_signature(&engine.workspace());
        let (welcome, events) = engine.enrol(
            identity.device(),
            "liar",
            Role::Member,
            identity.key_agreement(),
            &signature,
            now,
        )?;
        self.liar = Some(Box::new(Liar::new(&secret, engine, &welcome, now, rng)));
        self.look_at(0)?;
        if grows(&events) { self.tell_sessions(0, None) } else { Ok(()) }
    }

    /// The liar tells a device a lie.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn lie(&mut self, lie: Lie, device: usize) -> Held {
        let now = self.devices[device].wall(self.queue.now());
        let Self { liar: Some(liar), devices, .. } = self else { return Ok(()) };
        let Some(engine) = &mut devices[device].engine else { return Ok(()) };
        let words = liar.words(lie, engine, now);
        self.log(format!("the liar tells device {device} {lie:?}, {} messages", words.len()));
        self.stats.lies += 1;
        for word in words {
            self.greet(device)?;
            self.hear(device, word)?;
        }
        Ok(())
    }

    /// The liar tells a device all of its logs, as an author does who meets it.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn liar_catches_up(&mut self, device: usize) -> Held {
        let Self { liar: Some(liar), devices, .. } = self else { return Ok(()) };
        let Some(engine) = &mut devices[device].engine else { return Ok(()) };
        let words = liar.missing_at(engine);
        for word in words {
            self.greet(device)?;
            self.hear(device, word)?;
        }
        Ok(())
    }

    /// The liar is gone: nobody hears of it directly any more.
    pub fn liar_leaves(&mut self) {
        if let Some(liar) = &mut self.liar {
            liar.lines.clear();
        }
    }

    /// Opens a session to a device, where none is open.
    fn greet(&mut self, device: usize) -> Held {
        let Some(liar) = &mut self.liar else { return Ok(()) };
        if liar.lines.contains_key(&device) {
            return Ok(());
        }
        let workspace = liar.workspace();
        liar.lines.insert(device, Session::new(liar.device(), false));
        let hello = Hello {
            min_version: MIN_VERSION,
            max_version: MAX_VERSION,
            features: features::REQUIRED,
            workspace,
            frontier: Digest([1; 32]),
            entries: 0,
            own: None,
        };
        self.hear(device, Input::Control(Control::Hello(hello)))?;
        self.hear(device, Input::Control(Control::Frontier(Vec::new())))
    }

    /// A device hears something over its session with the liar.
    fn hear(&mut self, device: usize, word: Input) -> Held {
        let now = self.devices[device].wall(self.queue.now());
        let Self { liar: Some(liar), devices, .. } = self else { return Ok(()) };
        let Some(engine) = &mut devices[device].engine else { return Ok(()) };
        let Some(session) = liar.lines.get_mut(&device) else { return Ok(()) };
        // What reads frames says what is none.
        let word = travelled(&word).unwrap_or_else(|| Input::Broken("a frame that is none".to_owned()));
        let outputs = match session.handle(engine, word, now) {
            Ok(outputs) => outputs,
            Err(error) => {
                liar.lines.remove(&device);
                self.log(format!("device {device}: the session with the liar ends: {error}"));
                return self.disk_failed(device);
            }
        };
        let (mut grew, mut ended) = (false, session.is_closed());
        for output in outputs {
            match output {
                Output::Events(events) => grew |= grows(&events),
                Output::Close(..) => ended = true,
                Output::Control(_) | Output::Segment(_) => {}
            }
        }
        if ended {
            let mut session = liar.lines.remove(&device);
            if let Some(Err(error)) = session.as_mut().map(|session| session.end(engine, now)) {
                self.log(format!("device {device} cannot note that the liar is gone: {error}"));
            }
        }
        self.look_at(device)?;
        if grew { self.tell_sessions(device, None) } else { Ok(()) }
    }

    /// The session with the liar hears that a device's logs grew.
    pub(crate) fn tell_liar(&mut self, device: usize) -> Held {
        self.hear(device, Input::Grew)
    }
}

/// What arrives of what was said.
fn travelled(word: &Input) -> Option<Input> {
    Some(match word {
        Input::Control(control) => Input::Control(Control::from_bytes(&control.to_bytes()).ok()?),
        Input::Segment(segment) => Input::Segment(Box::new(Segment::from_bytes(&segment.to_bytes()).ok()?)),
        Input::Broken(what) => Input::Broken(what.clone()),
        Input::Grew => Input::Grew,
    })
}
