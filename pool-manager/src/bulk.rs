//! Bulk work: many items, written in slices between which others get their turn.
//!
//! Owns where a slice ends and what is told of those before when one fails. It must not know how a slice gets its turn. Invariants: an item
//! is asked for in the transaction that writes it, and never before; what is said to be written was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call_options::CallOptions;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::transaction::Transaction;

/// Bulk work that goes on.
struct Bulk<I, F> {
    items: I,
    each: F,
}

/// Where a slice ends.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    items: usize,
    time: Duration,
}

/// What a slice has written.
struct Slice {
    written: u64,
    /// Whether there are no more items.
    last: bool,
}

impl<I: Iterator, F> Bulk<I, F> {
    /// Writes the next slice, of one item at least if there is one.
    fn write<R>(&mut self, transaction: &Transaction<'_>, bounds: Bounds) -> Result<Slice>
    where
        F: FnMut(&Transaction<'_>, I::Item) -> Result<R>,
    {
        let since = Instant::now();
        let mut written = 0;
        for _ in 0..bounds.items {
            let Some(item) = self.items.next() else { return Ok(Slice { written, last: true }) };
            drop((self.each)(transaction, item)?);
            written += 1;
            if since.elapsed() >= bounds.time {
                break;
            }
        }
        // Those who know their end are not asked again.
        Ok(Slice { written, last: self.items.size_hint() == (0, Some(0)) })
    }
}

fn stopped(written: u64) -> impl FnOnce(Error) -> Error {
    move |source| Error::BulkStopped { written, source: Box::new(source) }
}

impl Engine {
    /// Writes all items, in slices.
    pub(crate) async fn write_many<I, F, R>(self: &Arc<Self>, options: CallOptions, items: I, each: F) -> Result<u64>
    where
        I: Iterator + Send + 'static,
        F: FnMut(&Transaction<'_>, I::Item) -> Result<R> + Send + 'static,
    {
        let options = options.for_slices();
        let mut bulk = Bulk { items, each };
        let mut written = 0;
        loop {
            let bounds = self.bounds();
            let work = move |transaction: &Transaction<'_>| {
                let slice = bulk.write(transaction, bounds)?;
                Ok((bulk, slice))
            };
            let (back, slice) = self.write_with(options.clone(), None, work).await.map_err(stopped(written))?;
            written += slice.written;
            if slice.last {
                return Ok(written);
            }
            bulk = back;
        }
    }

    /// The same on the calling thread.
    pub(crate) fn write_many_blocking<I, F, R>(self: &Arc<Self>, options: CallOptions, items: I, each: F) -> Result<u64>
    where
        I: Iterator,
        F: FnMut(&Transaction<'_>, I::Item) -> Result<R>,
    {
        let options = options.for_slices();
        let mut bulk = Bulk { items, each };
        let mut written = 0;
        loop {
            let bounds = self.bounds();
            let slice = self.transaction_blocking_with(&options, |transaction| bulk.write(transaction, bounds));
            let slice = slice.map_err(stopped(written))?;
            written += slice.written;
            if slice.last {
                return Ok(written);
            }
        }
    }

    fn bounds(&self) -> Bounds {
        let config = self.config();
        Bounds { items: config.write_batch_max(), time: config.write_batch_time() }
    }
}
