//! One engine for many callers: group commit without a thread of its own.
//!
//! A caller puts its request in a bounded queue and then takes the engine. Whoever gets it first carries out all
//! requests that wait, in one commit with one signature, and leaves the others their answers. A lone caller finds
//! only its own request and waits for nobody.

use crate::workspace::{Engine, Event, WriteError, WriteRequest, Written};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use syncd_schema::{UnixMicros, limits};

/// Who is told of what commits changed.
pub type Listener = Arc<dyn Fn(&[Event]) + Send + Sync>;

/// An engine shared by many callers. Cloning shares it.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Mutex<Engine>,
    queue: Mutex<VecDeque<Waiting>>,
    room: Condvar,
    listener: Mutex<Option<Listener>>,
}

struct Waiting {
    request: WriteRequest,
    answer: Arc<Answer>,
}

#[derive(Default)]
struct Answer(Mutex<Option<Result<Written, CallError>>>);

/// Why a call through [`Shared`] failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The engine's answer.
    #[error(transparent)]
    Write(Arc<WriteError>),
    /// The commit failed; nothing of it happened.
    #[error("{0}")]
    Commit(Arc<crate::store::StoreError>),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// A lock whose holder panicked still guards a valid engine: commits are whole or absent.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Shares an engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let inner = Inner {
            engine: Mutex::new(engine),
            queue: Mutex::new(VecDeque::new()),
            room: Condvar::new(),
            listener: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whom to tell of what commits changed; called while the engine is free.
    pub fn listen(&self, listener: Listener) {
        *held(&self.inner.listener) = Some(listener);
    }

    /// Runs something with the engine alone, and tells the listener of the events it returns.
    pub fn with<T>(&self, run: impl FnOnce(&mut Engine) -> T) -> T {
        run(&mut held(&self.inner.engine))
    }

    /// Tells the listener.
    pub fn tell(&self, events: &[Event]) {
        let listener = held(&self.inner.listener).clone();
        if let (Some(listener), false) = (listener, events.is_empty()) {
            listener(events);
        }
    }

    /// Carries out one call together with all others that wait. When this returns, the answer is on disk.
    ///
    /// Blocks while the queue is full and while the disk works: call it from a thread that may.
    ///
    /// # Errors
    /// The engine's refusal, or the commit's failure.
    pub fn write(&self, request: WriteRequest, now: impl Fn() -> UnixMicros) -> Result<Written, CallError> {
        let answer = Arc::new(Answer::default());
        let mut queue = held(&self.inner.queue);
        while queue.len() >= limits::WRITER_QUEUE {
            queue = self.inner.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.push_back(Waiting { request, answer: Arc::clone(&answer) });
        drop(queue);
        let mut events = Vec::new();
        let mut engine = held(&self.inner.engine);
        let mut answered = held(&answer.0).take();
        if answered.is_none() {
            events = self.carry_out(&mut engine, now());
            answered = held(&answer.0).take();
        }
        drop(engine);
        self.tell(&events);
        answered.unwrap_or_else(|| {
            // Every drained request is answered below; this is for the compiler.
            Err(CallError::Write(Arc::new(WriteError::Grant)))
        })
    }

    /// Carries out everything that waits, in one commit.
    fn carry_out(&self, engine: &mut Engine, now: UnixMicros) -> Vec<Event> {
        let waiting: Vec<Waiting> = held(&self.inner.queue).drain(..).collect();
        self.inner.room.notify_all();
        let (requests, answers): (Vec<WriteRequest>, Vec<Arc<Answer>>) =
            waiting.into_iter().map(|waiting| (waiting.request, waiting.answer)).unzip();
        match engine.write(&requests, now) {
            Ok((results, events)) => {
                for (answer, result) in answers.iter().zip(results) {
                    *held(&answer.0) = Some(result.map_err(|error| CallError::Write(Arc::new(error))));
                }
                events
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    *held(&answer.0) = Some(Err(CallError::Commit(Arc::clone(&error))));
                }
                Vec::new()
            }
        }
    }
}
