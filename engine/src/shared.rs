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
    /// Signalled when requests left a full queue.
    room: Condvar,
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
    caller: Arc<Caller>,
}

/// One caller who waits. Each is woken alone, when there is something for it.
#[derive(Default)]
struct Caller {
    news: Mutex<Option<News>>,
    told: Condvar,
}

/// What a caller waits for.
enum News {
    /// Its answer.
    Answer(Result<Written, CallError>),
    /// Its turn to lead.
    Lead,
}

impl Caller {
    fn tell(&self, news: News) {
        *held(&self.news) = Some(news);
        self.told.notify_one();
    }

    fn wait(&self) -> News {
        let mut news = held(&self.news);
        loop {
            match news.take() {
                Some(news) => return news,
                None => news = self.told.wait(news).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// The lead, handed on also when its holder panics: the others must not wait for ever.
struct Lead<'a>(&'a Inner);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = held(&self.0.queue);
        match queue.waiting.front() {
            Some(next) => next.caller.tell(News::Lead),
            None => queue.led = false,
        }
    }
}

/// Why a call through [`Shared`] failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The engine's answer.
    #[error(transparent)]
    Write(Arc<WriteError>),
    /// The commit failed; nothing of it happened.
    #[error("{0}")]
    Commit(Arc<crate::store::StoreError>),
    /// The engine broke off in the middle, so that nobody knows whether the call happened.
    #[error("the write was broken off; look whether it is there before asking again")]
    Interrupted,
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
        let caller = Arc::new(Caller::default());
        let mut queue = held(&self.inner.queue);
        while queue.waiting.len() >= limits::WRITER_QUEUE {
            queue = self.inner.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting.push_back(Waiting { request, caller: Arc::clone(&caller) });
        let leads = !std::mem::replace(&mut queue.led, true);
        drop(queue);
        if !leads {
            // For the answer or for the lead, never for the engine: whoever was answered would else have to queue
            // for it again, behind callers that are already back with their next request.
            if let News::Answer(answer) = caller.wait() {
                return answer;
            }
        }
        let lead = Lead(&self.inner);
        let events = self.carry_out(&now);
        drop(lead);
        self.tell(&events);
        match caller.wait() {
            News::Answer(answer) => answer,
            // The lead is handed to callers in the queue only, and this one has left it.
            News::Lead => Err(CallError::Interrupted),
        }
    }

    /// Carries out everything that waits, in one commit.
    fn carry_out(&self, now: &impl Fn() -> UnixMicros) -> Vec<Event> {
        let mut engine = held(&self.inner.engine);
        let waiting: Vec<Waiting> = held(&self.inner.queue).waiting.drain(..).collect();
        self.inner.room.notify_all();
        let (requests, callers): (Vec<WriteRequest>, VecDeque<Arc<Caller>>) =
            waiting.into_iter().map(|waiting| (waiting.request, waiting.caller)).unzip();
        let mut owed = Owed(callers);
        match engine.write(&requests, now()) {
            Ok((results, events)) => {
                for result in results {
                    owed.pay(result.map_err(|error| CallError::Write(Arc::new(error))));
                }
                events
            }
            Err(error) => {
                let error = Arc::new(error);
                while owed.pay(Err(CallError::Commit(Arc::clone(&error)))) {}
                Vec::new()
            }
        }
    }
}

/// Callers whose requests are being carried out: none of them is left without an answer, not by a panic either.
struct Owed(VecDeque<Arc<Caller>>);

impl Owed {
    /// Answers the next of them; false when there is none.
    fn pay(&mut self, answer: Result<Written, CallError>) -> bool {
        let next = self.0.pop_front();
        next.map(|caller| caller.tell(News::Answer(answer))).is_some()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        while self.pay(Err(CallError::Interrupted)) {}
    }
}
