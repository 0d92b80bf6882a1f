//! Running a query whose rows are taken one after another by somebody else: on a blocking thread, in chunks, never far ahead.
//!
//! Owns the producing end of a stream: the size of chunks, waiting for the consumer, and what is told when it ends. It must not know
//! who consumes. Invariants: not more than four chunks are on their way (one being made, two that wait, one being consumed); the connection has
//! gone back before the end is told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Row, ffi};
use tokio::sync::{mpsc, oneshot};

use crate::connection::Connection;
use crate::engine::{Engine, Lease};
use crate::error::Result;
use crate::parameters::Values;
use crate::place::{CancelOnDrop, Link, start_apart};
use crate::session::Use;

/// How many rows a chunk has at most: what a hop between threads costs is shared by so many.
const CHUNK_ROWS: usize = 256;
/// How many bytes of text and blobs a chunk has at most, but for its last row.
const CHUNK_BYTES: usize = 64 << 10;
/// How long a row is held back to get company.
const CHUNK_TIME: Duration = Duration::from_millis(1);
/// How many chunks wait for the consumer.
const CHUNKS: usize = 2;

/// A query and what makes values of its rows.
pub(crate) struct Query<F> {
    pub(crate) sql: String,
    pub(crate) values: Values,
    pub(crate) map: F,
}

/// The consuming end.
#[derive(Debug)]
pub(crate) struct Source<T> {
    /// Closed when no more chunks come; then `end` is told.
    pub(crate) chunks: mpsc::Receiver<Vec<T>>,
    /// Told last; dropped without that when the runtime takes no more work.
    pub(crate) end: oneshot::Receiver<End<T>>,
    /// Dropping it interrupts the query.
    pub(crate) cancel: CancelOnDrop,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct End<T> {
    /// Rows that came before the end, and after the last chunk.
    pub(crate) rest: Vec<T>,
    /// What the query failed of, or the closure panicked with.
    pub(crate) outcome: std::result::Result<Result<()>, Box<dyn Any + Send>>,
}

impl Engine {
    /// Tells whether a query may be started: where reading waits for who writes, not by who writes.
    pub(crate) fn may_produce(&self) -> Result<()> {
        if self.is_serial() { self.writes_not_here() } else { Ok(()) }
    }

    /// Starts a query on a leased connection.
    pub(crate) fn produce<T, F>(self: &Arc<Self>, lease: Lease, query: Query<F>) -> Result<Source<T>>
    where
        T: Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (chunk, chunks) = mpsc::channel(CHUNKS);
        let (tell, end) = oneshot::channel();
        let link = Arc::new(Link::default());
        let cancel = CancelOnDrop::new(&link);
        let engine = Arc::clone(self);
        let work = move || {
            let mut rest = Vec::new();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                // Goes back with the end of this closure, whatever ends it.
                let lease = lease;
                engine.run(&lease, Use::Read, Some(&link), |connection| send_rows(connection, query, &chunk, &mut rest))
            }));
            drop(chunk);
            // Who has gone away wants to know nothing.
            let _ = tell.send(End { rest, outcome });
        };
        start_apart("pool-stream", "starting a thread that reads rows", work)?;
        Ok(Source { chunks, end, cancel })
    }
}

/// Sends the rows in chunks; what is left for the end stays in `rows`.
fn send_rows<T, F>(
    connection: &Connection,
    query: Query<F>,
    chunk: &mpsc::Sender<Vec<T>>,
    rows: &mut Vec<T>,
) -> Result<()>
where
    F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
{
    let Query { sql, values, mut map } = query;
    connection.session().reads(&sql);
    let mut statement = connection.prepare_cached(&sql)?;
    let columns = statement.column_count();
    let mut since = Instant::now();
    let mut bytes = 0;
    let mut found = values.query(&mut statement)?;
    while let Some(row) = found.next()? {
        bytes += size_of_row(row, columns);
        rows.push(map(row)?);
        let full = rows.len() >= CHUNK_ROWS || bytes >= CHUNK_BYTES;
        // A consumer that waits gets what there is.
        if full || chunk.capacity() == CHUNKS && since.elapsed() >= CHUNK_TIME {
            match connection.session().wait_for(chunk.reserve()) {
                Some(Ok(place)) => place.send(std::mem::take(rows)),
                // Stopped, or the consumer has gone away: the session knows which.
                _ => return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None).into()),
            }
            since = Instant::now();
            bytes = 0;
        }
    }
    Ok(())
}

/// The bytes of a row's texts and blobs.
fn size_of_row(row: &Row<'_>, columns: usize) -> usize {
    let size = |column| match row.get_ref(column) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => bytes.len(),
        _ => 0,
    };
    (0..columns).map(size).sum()
}
