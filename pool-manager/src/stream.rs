//! Rows of a query as an async stream, and as an iterator for threads.
//!
//! Owns the consuming end and its documentation. It must not know how rows are produced. Invariant: an error or a panic comes after
//! all rows that came before it, once, and nothing comes after it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use rusqlite::Row;

use crate::blocking::Blocking;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::fork::Bound;
use crate::manager::DatabaseManager;
use crate::parameters::{ParameterList, Parameters};
use crate::parking;
use crate::row_source::{Query, Source};

/// The rows of a query, one after another; from [`DatabaseManager::read_stream`].
///
/// Implements [`Stream`] (and [`FusedStream`]), so what the crates `futures` and `tokio-stream` have for streams works on it;
/// [`next`](Self::next) needs neither. Nothing runs before it is polled first.
#[must_use = "a stream runs no query until it is polled"]
pub struct RowStream<T> {
    engine: Bound<Arc<Engine>>,
    ready: std::vec::IntoIter<T>,
    state: State<T>,
}

type Starting<T> = Pin<Box<dyn Future<Output = Result<Source<T>>> + Send>>;

enum State<T> {
    /// It waits for a connection, or was not polled yet.
    Starting(Bound<Starting<T>>),
    Running(Bound<Source<T>>),
    /// What is ready is the last, and then this comes.
    Ending(Result<()>),
    Panicking(Box<dyn Any + Send>),
    Over,
}

// Nothing in it is pinned but what is in a box.
impl<T> Unpin for RowStream<T> {}

impl<T> RowStream<T> {
    fn new(engine: &Arc<Engine>, start: impl Future<Output = Result<Source<T>>> + Send + 'static) -> Self {
        let state = State::Starting(Bound::new(Box::pin(start)));
        Self { engine: Bound::new(Arc::clone(engine)), ready: Vec::new().into_iter(), state }
    }

    /// Returns the next row; `None` after the last, and after an error.
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`DatabaseManager::read_stream`] says.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T> Stream for RowStream<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        loop {
            if let Some(row) = this.ready.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            this.state = match &mut this.state {
                // The thread that would send more is not here.
                State::Starting(_) | State::Running(_) if this.engine.is_inherited() => {
                    State::Ending(this.engine.own_process())
                }
                State::Starting(start) => match ready!(start.as_mut().poll(context)) {
                    Ok(source) => State::Running(Bound::new(source)),
                    Err(error) => State::Ending(Err(error)),
                },
                State::Running(source) => {
                    if let Some(chunk) = ready!(source.chunks.poll_recv(context)) {
                        this.ready = chunk.into_iter();
                        continue;
                    }
                    let end = ready!(Pin::new(&mut source.end).poll(context));
                    source.cancel.disarm();
                    match end {
                        Ok(end) => {
                            this.ready = end.rest.into_iter();
                            end.outcome.map_or_else(State::Panicking, State::Ending)
                        }
                        Err(gone) => State::Ending(Err(Error::System {
                            what: "the runtime that read the rows was shut down",
                            source: std::io::Error::other(gone),
                        })),
                    }
                }
                State::Ending(_) | State::Panicking(_) | State::Over => {
                    return match std::mem::replace(&mut this.state, State::Over) {
                        State::Ending(Err(error)) => Poll::Ready(Some(Err(error))),
                        State::Panicking(panic) => std::panic::resume_unwind(panic),
                        _ => Poll::Ready(None),
                    };
                }
            };
        }
    }
}

impl<T> FusedStream for RowStream<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

impl<T> fmt::Debug for RowStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Starting(_) => "starting",
            State::Running(_) => "running",
            State::Ending(_) | State::Panicking(_) => "ending",
            State::Over => "over",
        };
        f.debug_struct("RowStream").field("ready", &self.ready.len()).field("state", &state).finish()
    }
}

/// The rows of a query for a thread; from [`Blocking::read_stream`].
#[derive(Debug)]
#[must_use = "an iterator runs no query until it is asked for a row"]
pub struct RowIter<T>(RowStream<T>);

impl<T> Iterator for RowIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if let Some(row) = self.0.ready.next() {
            return Some(Ok(row));
        }
        parking::block_on(self.0.next())
    }
}

impl<T> std::iter::FusedIterator for RowIter<T> {}

impl DatabaseManager {
    /// Returns the rows of a query, each made into a value by `map`, as a stream that never holds more than a bounded part of them: however
    /// many rows there are, at most 1,024 are on their way, and about 256 KiB of text and blobs. It takes a connection when it is first
    /// polled, and holds it until its end.
    ///
    /// All rows are of one state of the database, the newest when the query began, whatever is committed meanwhile. The query runs on a
    /// blocking thread, a little ahead of the consumer, and waits for it; as long as it goes on the log can't be emptied, and where a
    /// database is not in WAL mode (in memory, too) nobody can write. Dropping the stream interrupts the query at once. A panic of `map`
    /// goes on in the consumer. [`Parameters`] are passed as to rusqlite's own calls.
    ///
    /// # Errors
    ///
    /// The stream's items: an error comes after the rows before it and ends the stream. They are those of [`read`](Self::read), whatever
    /// `map` returns, and [`Error::Interrupted`] when the pool is closed and its deadline has passed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// # db.write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')")?)).await?;
    /// let mut names = db.read_stream("SELECT b FROM t WHERE a > ?1 ORDER BY a", [1], |row| row.get::<_, String>(0));
    /// while let Some(name) = names.next().await {
    ///     println!("{}", name?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_stream<T, F>(&self, sql: impl Into<String>, parameters: impl Parameters, map: F) -> RowStream<T>
    where
        T: Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (engine, sql, values) = (Arc::clone(self.engine()), sql.into(), ParameterList::of(&parameters));
        RowStream::new(self.engine(), async move {
            let query = Query { sql, values: values?.values(), map };
            engine.may_produce()?;
            let lease = engine.lease().await?;
            engine.produce(lease, query)
        })
    }
}

impl Blocking<'_> {
    /// Returns the rows of a query as an iterator with bounded memory; see [`DatabaseManager::read_stream`]. The query runs on a thread of its own;
    /// to run one on the calling thread, iterate over the statement's rows within [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// The iterator's items, as there.
    ///
    /// ```
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    /// let first: Vec<i64> = db.blocking().read_stream(numbers, (), |row| row.get(0)).take(3).collect::<Result<_, _>>()?;
    /// assert_eq!(first, [1, 2, 3]);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn read_stream<T, F>(&self, sql: impl Into<String>, parameters: impl Parameters, map: F) -> RowIter<T>
    where
        T: Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (engine, sql, values) = (Arc::clone(self.engine()), sql.into(), ParameterList::of(&parameters));
        RowIter(RowStream::new(self.engine(), async move {
            let query = Query { sql, values: values?.values(), map };
            engine.may_produce()?;
            let lease = engine.lease_blocking()?;
            engine.produce(lease, query)
        }))
    }
}
