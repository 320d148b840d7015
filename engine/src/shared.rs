//! One engine for many callers: group commit without a thread of its own.
//!
//! A caller puts its request in a bounded queue. One of those that wait leads: it carries out all requests in the
//! queue, in one commit with one signature, and leaves the others their answers. A lone caller finds
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
    queue: Mutex<Queue>,
    /// Signalled when a leader is done: answers are there, there is room, and somebody else may lead.
    turn: Condvar,
    listener: Mutex<Option<Listener>>,
}

/// Requests that wait, and whether somebody is carrying out others.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    led: bool,
}

struct Waiting {
    request: WriteRequest,
    answer: Arc<Answer>,
}

/// The lead, given up also when its holder panics: the others must not wait for ever.
struct Lead<'a>(&'a Inner);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        held(&self.0.queue).led = false;
        self.0.turn.notify_all();
    }
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
            queue: Mutex::new(Queue::default()),
            turn: Condvar::new(),
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
        while queue.waiting.len() >= limits::WRITER_QUEUE {
            queue = self.inner.turn.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting.push_back(Waiting { request, answer: Arc::clone(&answer) });
        // Wait for the answer or for the lead, never for the engine: whoever was answered would else have to queue
        // for it again, behind callers that are already back with their next request.
        while queue.led {
            queue = self.inner.turn.wait(queue).unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = held(&answer.0).take() {
                return answer;
            }
        }
        queue.led = true;
        drop(queue);
        let lead = Lead(&self.inner);
        let events = self.carry_out(&now);
        drop(lead);
        self.tell(&events);
        let answered = held(&answer.0).take();
        answered.unwrap_or_else(|| {
            // Every drained request is answered; this is for the compiler.
            Err(CallError::Write(Arc::new(WriteError::Grant)))
        })
    }

    /// Carries out everything that waits, in one commit.
    fn carry_out(&self, now: &impl Fn() -> UnixMicros) -> Vec<Event> {
        let mut engine = held(&self.inner.engine);
        let waiting: Vec<Waiting> = held(&self.inner.queue).waiting.drain(..).collect();
        let (requests, answers): (Vec<WriteRequest>, Vec<Arc<Answer>>) =
            waiting.into_iter().map(|waiting| (waiting.request, waiting.answer)).unzip();
        match engine.write(&requests, now()) {
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
