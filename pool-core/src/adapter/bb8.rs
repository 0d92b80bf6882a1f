//! Owns the wrapping of `bb8::ManageConnection`.

use std::fmt;

use super::ForeignError;
use crate::manager::Manager;

/// Pools what a bb8 manager manages.
///
/// `connect` becomes `open`, `is_valid` becomes `validate`, `has_broken` becomes `is_broken`. bb8 validates at every
/// hand-out unless told otherwise; `validate_after_idle(Some(Duration::ZERO))` does the same here.
#[derive(Clone, Copy, Debug)]
pub struct Bb8<M>(pub M);

impl<M> Manager for Bb8<M>
where
    M: bb8::ManageConnection,
    M::Error: fmt::Debug,
{
    type Connection = M::Connection;
    type Error = ForeignError<M::Error>;

    async fn open(&self) -> Result<M::Connection, Self::Error> {
        self.0.connect().await.map_err(ForeignError::new)
    }

    async fn validate(&self, connection: &mut M::Connection) -> Result<(), Self::Error> {
        self.0.is_valid(connection).await.map_err(ForeignError::new)
    }

    fn is_broken(&self, connection: &mut M::Connection) -> bool {
        self.0.has_broken(connection)
    }
}
