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
use crate::graph::{Executor, Waiting};
use crate::memory::MemorySize;
use crate::perceiver::Request;

/// Idle sessions kept without a budget: a caller who alternates between two shapes makes each once.
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
}

impl State {
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
    bytes: u64,
}

/// A session on loan. It goes back, or is dropped, with this.
pub(crate) struct Lease<'s> {
    sessions: &'s Sessions,
    request: Request,
    lent: Lent,
    pub(super) session: Option<Session>,
}

impl Sessions {
    /// The idle session for a request, if there is one.
    pub(super) fn lend(&self, request: &Request) -> Option<Lease<'_>> {
        let mut state = lock(&self.state);
        let at = state.idle.iter().position(|(r, _)| r == request)?;
        let (request, session) = state.idle.remove(at)?;
        let lent = Lent { to: thread::current().id(), bytes: session.allocated_bytes() };
        state.lent.push(lent);
        Some(Lease { sessions: self, request, lent, session: Some(session) })
    }

    /// A place for a new session of so many bytes. Idle ones make room first; with a budget that those on
    /// loan fill, this waits until one of them is back.
    ///
    /// # Errors
    /// [`Error::Limit`] where the caller blocks and is itself in a run that would have to end first.
    pub(super) async fn room(
        &self,
        request: &Request,
        bytes: u64,
        budget: Option<MemorySize>,
        waiting: Waiting,
    ) -> Result<Lease<'_>> {
        let to = thread::current().id();
        // Make room before allocating, not after.
        lock(&self.state).idle.truncate(if budget.is_some() { 0 } else { KEPT - 1 });
        loop {
            let returned = {
                let mut state = lock(&self.state);
                let others: u64 = state.lent.iter().map(|l| l.bytes).sum();
                let fits = |MemorySize(budget)| state.lent.is_empty() || others + bytes <= budget;
                if budget.is_none_or(fits) {
                    let lent = Lent { to, bytes };
                    state.lent.push(lent);
                    return Ok(Lease { sessions: self, request: *request, lent, session: None });
                }
                if waiting == Waiting::Block && state.lent.iter().any(|l| l.to == to) {
                    let shown = budget.unwrap_or(MemorySize(0));
                    return Err(Error::Limit {
                        what: "a run within a run of the same model".to_owned(),
                        needed: format!("{} beside it", MemorySize(bytes)),
                        limit: format!("{shown}, the memory budget of both"),
                        hint: "wait until the outer run is over, or give more memory".to_owned(),
                    });
                }
                state.next_return()
            };
            // Whoever returns a session drops the sender, which is as good as a message.
            let _ = returned.await;
            lock(&self.state).idle.clear();
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
            state.idle.push_front((self.request, session));
            state.idle.truncate(KEPT);
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
