//! Sessions of a model, lent to one run each: several at once where memory allows, one after the other
//! where not.
//!
//! Nothing is locked while a session works, so that a progress callback may call anything.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use super::{MemorySize, Session, lock};
use crate::error::{Error, Result};
use crate::perceiver::Request;

/// Idle sessions kept without a budget: a caller who alternates between two shapes makes each once.
const KEPT: usize = 2;

/// Sessions that are idle, and what those that are lent take.
#[derive(Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// The one that ran last comes first.
    idle: VecDeque<(Request, Session)>,
    lent: Vec<Lent>,
}

/// What is known of a session that is lent.
#[derive(Clone, Copy, PartialEq)]
struct Lent {
    to: ThreadId,
    bytes: u64,
}

/// A session on loan. It goes back, or is dropped, with this.
pub(super) struct Lease<'s> {
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
    /// [`Error::Limit`] where the caller is itself in a run that would have to end first.
    pub(super) fn room(
        &self,
        request: &Request,
        bytes: u64,
        budget: Option<MemorySize>,
    ) -> Result<Lease<'_>> {
        let to = thread::current().id();
        let mut state = lock(&self.state);
        // Make room before allocating, not after.
        state.idle.truncate(if budget.is_some() { 0 } else { KEPT - 1 });
        if let Some(MemorySize(budget)) = budget {
            let fits = |state: &State| {
                let others: u64 = state.lent.iter().map(|l| l.bytes).sum();
                state.lent.is_empty() || others + bytes <= budget
            };
            while !fits(&state) {
                if state.lent.iter().any(|l| l.to == to) {
                    return Err(Error::Limit {
                        what: "a run within a run of the same model".to_owned(),
                        needed: format!("{} beside it", MemorySize(bytes)),
                        limit: format!("{}, the memory budget of both", MemorySize(budget)),
                        hint: "wait until the outer run is over, or give more memory".to_owned(),
                    });
                }
                state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle.clear();
            }
        }
        let lent = Lent { to, bytes };
        state.lent.push(lent);
        Ok(Lease { sessions: self, request: *request, lent, session: None })
    }

    /// Drops idle sessions and waits until one on loan to another thread is back; false if there is none.
    pub(super) fn wait_for_one(&self) -> bool {
        let to = thread::current().id();
        let mut state = lock(&self.state);
        state.idle.clear();
        let others = |state: &State| state.lent.iter().filter(|l| l.to != to).count();
        let before = others(&state);
        while others(&state) >= before && before > 0 {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle.clear();
        before > 0
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
    /// Ends the loan; the session is kept for the next run.
    pub(super) fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            let mut state = lock(&self.sessions.state);
            state.idle.push_front((self.request, session));
            state.idle.truncate(KEPT);
        }
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
        self.sessions.returned.notify_all();
    }
}
