//! The future of a query whose key is its text.
//!
//! Owns the way from asking to the rows: a hit is answered in the first poll and allocates nothing. It must not know when a result is true.
//! It has a name of its own so that it holds nothing of the parameters: those may be borrowed from where it can't go. Invariant: a hit, too,
//! uses up some of its task's budget, or a task that only hits would keep its worker from all others.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rusqlite::Row;

use crate::cached::give_way;
use crate::engine::Engine;
use crate::error::Result;
use crate::parameters::ParameterList;

/// The rows of a query on their way; from [`DatabaseManager::query_cached`](crate::DatabaseManager::query_cached).
#[must_use = "futures do nothing unless they are awaited"]
pub struct CachedQuery<'a, T, F> {
    engine: &'a Arc<Engine>,
    sql: &'a str,
    state: State<'a, T, F>,
}

type Running<'a, T> = Pin<Box<dyn Future<Output = Result<Arc<Vec<T>>>> + Send + 'a>>;

enum State<'a, T, F> {
    Asked { parameters: rusqlite::Result<ParameterList>, map: F },
    Running(Running<'a, T>),
    Over,
}

// Nothing in it is pinned but what is in a box.
impl<T, F> Unpin for CachedQuery<'_, T, F> {}

impl<'a, T, F> CachedQuery<'a, T, F> {
    pub(crate) fn new(
        engine: &'a Arc<Engine>,
        sql: &'a str,
        parameters: rusqlite::Result<ParameterList>,
        map: F,
    ) -> Self {
        Self { engine, sql, state: State::Asked { parameters, map } }
    }
}

impl<T, F> Future for CachedQuery<'_, T, F>
where
    T: Send + Sync + 'static,
    F: Fn(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    type Output = Result<Arc<Vec<T>>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { engine, sql, state } = self.get_mut();
        if matches!(state, State::Asked { .. }) {
            let lately = engine.open_lately()?;
            // A new one each time: the one that said "later" has woken the task by then.
            ready!(pin!(give_way()).poll(context));
            let State::Asked { parameters, map } = std::mem::replace(state, State::Over) else {
                unreachable!("BUG: a query that was just asked is not");
            };
            let parameters = parameters?;
            if let Some(rows) = engine.query_hit(sql, &parameters, &map, lately) {
                return Poll::Ready(Ok(rows));
            }
            *state = State::Running(Box::pin(engine.query_missed(sql, parameters, map)));
        }
        match state {
            State::Running(query) => {
                let rows = ready!(query.as_mut().poll(context));
                *state = State::Over;
                Poll::Ready(rows)
            }
            State::Asked { .. } | State::Over => panic!("a query was polled after it had ended"),
        }
    }
}

impl<T, F> fmt::Debug for CachedQuery<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Asked { .. } => "asked",
            State::Running(_) => "running",
            State::Over => "over",
        };
        f.debug_struct("CachedQuery").field("sql", &self.sql).field("state", &state).finish_non_exhaustive()
    }
}
