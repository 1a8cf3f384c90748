//! Sessions of a model, lent to one run each: several at once where memory allows, one after the other
//! where not.
//!
//! Nothing is locked while a session works, so that a progress callback may call anything.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use futures_channel::oneshot;

use super::{Session, lock};
use crate::error::{Error, Result};
use crate::graph::{Executor, Plan, WORD_BYTES, Waiting};
use crate::memory::MemorySize;
use crate::perceiver::Request;

/// Idle sessions kept without a budget: a caller who alternates between two shapes makes each once. While runs go side
/// by side, as many as there are of those.
const KEPT: usize = 2;

/// Sessions that are idle, and what those that are lent take.
#[derive(Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that ran last comes first.
    idle: VecDeque<(Request, Session)>,
    lent: Vec<Lent>,
    /// Those who wait for the next one to be back.
    waiters: Vec<oneshot::Sender<()>>,
    /// Numbers of those who wait for room, in the order that they came in, and how many have come.
    queue: VecDeque<u64>,
    came: u64,
}

impl State {
    /// Takes the idle session for a request, if there is one. Those of lost devices go.
    fn take(&mut self, request: &Request) -> Option<Session> {
        self.idle.retain(|(_, session)| !session.is_lost());
        let at = self.idle.iter().position(|(r, _)| r == request)?;
        Some(self.idle.remove(at)?.1)
    }

    /// Whether this thread is in a run that has a session on loan.
    fn is_within(&self, waiting: Waiting) -> bool {
        let to = thread::current().id();
        waiting == Waiting::Block && self.lent.iter().any(|l| l.to == to)
    }

    /// Bytes that sessions on loan have together with one more. Those of one request share their parameters.
    fn bytes_with(&self, more: Lent) -> u64 {
        let all: Vec<Lent> = self.lent.iter().copied().chain([more]).collect();
        let bytes = all.iter().enumerate().map(|(i, l)| {
            let shares = all[..i].iter().any(|before| before.request == l.request);
            if shares { l.bytes.saturating_sub(l.shared) } else { l.bytes }
        });
        bytes.sum()
    }

    fn next_return(&mut self) -> oneshot::Receiver<()> {
        let (sender, returned) = oneshot::channel();
        self.waiters.push(sender);
        returned
    }
}

/// What is known of a session that is lent.
#[derive(Clone, Copy, PartialEq)]
struct Lent {
    to: ThreadId,
    request: Request,
    bytes: u64,
    /// Of them, those of parameters.
    shared: u64,
}

impl Lent {
    fn new(request: &Request, plan: &Plan, bytes: u64) -> Self {
        let shared = WORD_BYTES * plan.parameter_words() as u64;
        Lent { to: thread::current().id(), request: *request, bytes, shared }
    }
}

/// A place in the queue for room, left with this.
struct Queued<'s> {
    sessions: &'s Sessions,
    number: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.sessions.state);
        state.queue.retain(|number| *number != self.number);
        // There may be room for the next one too.
        state.waiters.clear();
    }
}

/// A session on loan. It goes back, or is dropped, with this.
pub(crate) struct Lease<'s> {
    sessions: &'s Sessions,
    lent: Lent,
    pub(super) session: Option<Session>,
}

impl Sessions {
    /// The idle session for a request, if there is one and nobody has waited longer.
    pub(super) fn lend(&self, request: &Request, waiting: Waiting) -> Option<Lease<'_>> {
        let mut state = lock(&self.state);
        if !state.queue.is_empty() && !state.is_within(waiting) {
            return None;
        }
        let session = state.take(request)?;
        let lent = Lent::new(request, session.plan(), session.allocated_bytes());
        state.lent.push(lent);
        Some(Lease { sessions: self, lent, session: Some(session) })
    }

    /// The idle session for a request, or a place for a new one of this plan and so many bytes. Idle ones make room
    /// first; with a budget that those on loan fill, this waits until one of them is back and its turn has come.
    ///
    /// # Errors
    /// [`Error::Limit`] where the caller blocks and is itself in a run that would have to end first.
    pub(super) async fn room(
        &self,
        request: &Request,
        plan: &Plan,
        bytes: u64,
        budget: Option<MemorySize>,
        waiting: Waiting,
    ) -> Result<Lease<'_>> {
        let lent = Lent::new(request, plan, bytes);
        let mut queued: Option<Queued<'_>> = None;
        loop {
            let returned = {
                let mut state = lock(&self.state);
                let within = state.is_within(waiting);
                let number = queued.as_ref().map(|q| q.number);
                if within || state.queue.is_empty() || state.queue.front().copied() == number {
                    let session = state.take(request);
                    if session.is_none() {
                        // Make room before allocating, not after.
                        let kept = KEPT.max(state.lent.len() + 1) - 1;
                        state.idle.truncate(if budget.is_some() { 0 } else { kept });
                    }
                    let together = state.bytes_with(lent);
                    let fits = |MemorySize(budget)| state.lent.is_empty() || together <= budget;
                    if session.is_some() || budget.is_none_or(fits) {
                        state.lent.push(lent);
                        return Ok(Lease { sessions: self, lent, session });
                    }
                }
                if within {
                    let shown = budget.unwrap_or(MemorySize(0));
                    return Err(Error::Limit {
                        what: "a run within a run of the same model".to_owned(),
                        needed: format!("{} beside it", MemorySize(bytes)),
                        limit: format!("{shown}, the memory budget of both"),
                        hint: "wait until the outer run is over, or give more memory".to_owned(),
                    });
                }
                if queued.is_none() {
                    state.came += 1;
                    let number = state.came;
                    state.queue.push_back(number);
                    queued = Some(Queued { sessions: self, number });
                }
                state.next_return()
            };
            // Whoever returns a session drops the sender, which is as good as a message.
            let _ = returned.await;
        }
    }

    /// Drops idle sessions and waits until one on loan to another run is back; false if there is none.
    pub(super) async fn wait_for_one(&self, waiting: Waiting) -> bool {
        let to = thread::current().id();
        let returned = {
            let mut state = lock(&self.state);
            state.idle.clear();
            let other = |l: &Lent| waiting == Waiting::Await || l.to != to;
            state.lent.iter().any(other).then(|| state.next_return())
        };
        let Some(returned) = returned else { return false };
        let _ = returned.await;
        lock(&self.state).idle.clear();
        true
    }

    /// Drops idle sessions.
    pub(super) fn clear(&self) {
        lock(&self.state).idle.clear();
    }

    /// Bytes of the largest session.
    pub(super) fn bytes(&self) -> u64 {
        let state = lock(&self.state);
        let idle = state.idle.iter().map(|(_, s)| s.allocated_bytes());
        idle.chain(state.lent.iter().map(|l| l.bytes)).max().unwrap_or(0)
    }

    /// What the session that ran last says, unless it is on loan again.
    pub(super) fn last<R>(&self, ask: impl FnOnce(&Session) -> R) -> Option<R> {
        lock(&self.state).idle.front().map(|(_, session)| ask(session))
    }
}

impl Lease<'_> {
    /// The session.
    pub(crate) fn executor(&mut self) -> Result<&mut (dyn Executor + 'static)> {
        let nothing = || Error::graph("session", "is not there");
        self.session.as_deref_mut().ok_or_else(nothing)
    }

    /// Ends the loan with what a run in it came to. The session is kept for the next run, unless this one failed:
    /// then its staging memory may be in any state.
    pub(crate) fn end<R>(mut self, result: Result<R>) -> Result<R> {
        let fine = matches!(result, Ok(_) | Err(Error::Cancelled));
        if let Some(session) = self.session.take_if(|_| fine) {
            let mut state = lock(&self.sessions.state);
            state.idle.push_front((self.lent.request, session));
            let running = state.lent.len();
            state.idle.truncate(KEPT.max(running));
        }
        result
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Memory is free before others hear of it.
        self.session = None;
        let mut state = lock(&self.sessions.state);
        if let Some(at) = state.lent.iter().position(|l| *l == self.lent) {
            state.lent.swap_remove(at);
        }
        state.waiters.clear();
    }
}
