//! Owns the wrapping of `deadpool::managed::Manager`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use deadpool::managed::{Metrics, RecycleError};

use super::ForeignError;
use crate::manager::Manager;

/// Pools what a deadpool manager manages.
///
/// `create` becomes `open`, `recycle` becomes `validate`. deadpool recycles at every hand-out of a used object, and many of its managers
/// clean up there: build the pool with `validate_after_idle(Some(Duration::ZERO))`, which does the same here.
#[derive(Clone, Copy, Debug)]
pub struct Deadpool<M>(pub M);

/// An object of a deadpool manager with the metrics that its manager wants to see; derefs to the object.
#[derive(Debug)]
pub struct DeadpoolConnection<T> {
    object: T,
    metrics: Metrics,
}

impl<T> DeadpoolConnection<T> {
    /// Returns the object without its metrics, after [`Lease::detach`](crate::Lease::detach).
    pub fn into_object(self) -> T {
        self.object
    }

    /// Returns what deadpool's managers are told about the object.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl<T> Deref for DeadpoolConnection<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> DerefMut for DeadpoolConnection<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<M> Manager for Deadpool<M>
where
    M: deadpool::managed::Manager + 'static,
    M::Type: 'static,
    M::Error: fmt::Debug + 'static,
{
    type Connection = DeadpoolConnection<M::Type>;
    type Error = ForeignError<RecycleError<M::Error>>;

    async fn open(&self) -> Result<Self::Connection, Self::Error> {
        let object = self.0.create().await.map_err(|error| ForeignError::new(RecycleError::Backend(error)))?;
        Ok(DeadpoolConnection { object, metrics: Metrics::default() })
    }

    async fn validate(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let DeadpoolConnection { object, metrics } = connection;
        self.0.recycle(object, metrics).await.map_err(ForeignError::new)?;
        metrics.recycle_count += 1;
        metrics.recycled = Some(Instant::now());
        Ok(())
    }

    fn detach(&self, connection: &mut Self::Connection) {
        self.0.detach(&mut connection.object);
    }
}
