//! Owns the wrapping of `r2d2::ManageConnection`.

use crate::manager::Manager;

/// Pools what an r2d2 manager manages.
///
/// `connect` becomes `open`, `is_valid` becomes `validate`, `has_broken` becomes `is_broken`. r2d2 validates at every
/// hand-out unless told otherwise; `validate_after_idle(Some(Duration::ZERO))` does the same here. Both calls block
/// whoever makes them, as they do in r2d2: use [`acquire_blocking`](crate::Pool::acquire_blocking).
///
/// ```
/// # #[derive(Debug)] struct Files;
/// # impl r2d2::ManageConnection for Files {
/// #     type Connection = String;
/// #     type Error = std::io::Error;
/// #     fn connect(&self) -> Result<String, std::io::Error> { Ok("open".to_owned()) }
/// #     fn is_valid(&self, _: &mut String) -> Result<(), std::io::Error> { Ok(()) }
/// #     fn has_broken(&self, _: &mut String) -> bool { false }
/// # }
/// let pool = pool_core::Pool::builder(pool_core::adapter::R2d2(Files)).build()?;
/// assert_eq!(*pool.acquire_blocking()?, "open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct R2d2<M>(pub M);

impl<M> Manager for R2d2<M>
where
    M: r2d2::ManageConnection,
    M::Error: Send + Sync,
{
    type Connection = M::Connection;
    type Error = M::Error;

    async fn open(&self) -> Result<M::Connection, M::Error> {
        self.0.connect()
    }

    async fn validate(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        self.0.is_valid(connection)
    }

    fn is_broken(&self, connection: &mut M::Connection) -> bool {
        self.0.has_broken(connection)
    }
}
