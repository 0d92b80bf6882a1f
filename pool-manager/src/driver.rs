//! How pool-core opens, checks and cleans SQLite connections.
//!
//! Owns the settings each connection gets and noticing that the file under the pool was deleted or replaced. It must not know
//! lanes of work, caches or managers. Invariant: a connection is only ever handed out while the file it was opened on still
//! stands under the database's name.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pool_config::PoolConfig;
use pool_core::CloseReason;
use pool_stmt::StatementRegistry;

use crate::anchor::{Anchor, Anchorage};
use crate::connection::{Connection, Setup};
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::location::{Access, Location};
use crate::session::Session;

/// What all connections of one database share, whether they lie in its pool or not.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) location: Location,
    pub(crate) name: Arc<str>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) statements: Arc<StatementRegistry>,
    access: Access,
    acquire_timeout: Duration,
    busy_timeout: Duration,
    slow: Option<Duration>,
    setup: Setup,
    pub(crate) anchorage: Arc<Anchorage>,
    sessions: Mutex<Vec<Weak<Session>>>,
}

impl Database {
    /// Opens the database itself: makes or checks the file, and puts it into WAL mode.
    pub(crate) fn open(location: Location, config: &PoolConfig, read_only: bool, lane: Arc<Lane>) -> Result<Self> {
        let access = if read_only { Access::Read } else { Access::Create };
        let busy_timeout = config.busy_timeout();
        let anchor = Anchor::open(&location, access, 0, busy_timeout)?;
        let statement_capacity = if config.enable_statement_pooling() { config.statement_cache_size() } else { 0 };
        // From https://www.sqlite.org/pragma.html. `cache_size` is per connection, so it is small: ten connections with SQLite's
        // usual advice of 64 MB each is how the original came to 2.9 times the memory. `mmap_size` is shared by the page cache of
        // the operating system.
        let pragmas = format!(
            "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA synchronous = {synchronous}; \
             PRAGMA cache_size = -{cache_kib}; PRAGMA mmap_size = {mmap};",
            synchronous = config.synchronous(),
            cache_kib = config.page_cache_size().div_ceil(1024),
            mmap = config.mmap_size(),
        );
        Ok(Self {
            name: location.to_string().into(),
            location,
            lane,
            statements: Arc::new(StatementRegistry::default()),
            access: if read_only { Access::Read } else { Access::Write },
            acquire_timeout: config.acquire_timeout(),
            busy_timeout,
            slow: config.enable_logging().then(|| config.slow_statement()),
            setup: Setup { pragmas, statement_capacity, warm: statement_capacity > 0 },
            anchorage: Arc::new(Anchorage::new(anchor)),
            sessions: Mutex::new(Vec::new()),
        })
    }

    /// Looks which file has the database's name now, and drops anchor on it if it is another one than before.
    fn current_anchor(&self) -> Result<Arc<Anchor>> {
        let anchor = self.anchorage.of(self.location.identity()?, |generation| {
            tracing::warn!(target: "pool_manager", database = &*self.name, "the database file was replaced; opening the new one");
            Anchor::open(&self.location, self.access, generation, self.busy_timeout)
        })?;
        anchor.ok_or_else(|| Error::Closed { database: self.name.to_string() })
    }

    fn connect(&self) -> Result<Connection> {
        let anchor = self.current_anchor()?;
        let connection = self.location.open(self.access)?;
        let serial = anchor.journal() != "wal" && self.access != Access::Read;
        let session = Arc::new(Session::new(
            Arc::clone(&self.lane),
            Arc::clone(&self.anchorage),
            Arc::clone(&self.name),
            self.acquire_timeout,
            self.busy_timeout,
            serial,
            self.slow,
        ));
        let connection = Connection::new(
            connection,
            Arc::clone(&session),
            Arc::clone(&self.statements),
            &self.setup,
            anchor.identity(),
            anchor.generation(),
        )
        .map_err(|error| match error {
            Error::Sqlite(source) => self.location.open_error(source),
            other => other,
        })?;
        self.check_file(&connection)?;
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(&session));
        Ok(connection)
    }

    /// Checks that the connection's file is the one that stands under the database's name.
    fn check_file(&self, connection: &Connection) -> Result<()> {
        if self.location.identity()? == connection.identity() {
            return Ok(());
        }
        Err(Error::FileChanged { path: self.location.path(), change: "was replaced by another file" })
    }

    /// Interrupts what runs on any connection.
    pub(crate) fn interrupt_all(&self) {
        for session in self.sessions.lock().iter().filter_map(Weak::upgrade) {
            session.interrupt_for_closing();
        }
    }
}

/// The manager of SQLite connections for pool-core.
#[derive(Debug)]
pub(crate) struct Driver(pub(crate) Arc<Database>);

impl pool_core::Manager for Driver {
    type Connection = Connection;
    type Error = Error;

    /// Opening reads the file and may wait for another process, so it runs on a thread of its own: it holds up neither a runtime nor
    /// the maintenance thread, and who waits for it can give up.
    async fn open(&self) -> Result<Connection> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let database = Arc::clone(&self.0);
        let work = move || {
            let _ = tell.send(database.connect());
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(work);
        } else {
            let thread = std::thread::Builder::new().name("pool-open".to_owned());
            thread
                .spawn(work)
                .map_err(|source| Error::System { what: "starting a thread to open a connection", source })?;
        }
        match told.await {
            Ok(opened) => opened,
            // The runtime shuts down and takes no more work; this thread still can.
            Err(_) => self.0.connect(),
        }
    }

    async fn validate(&self, connection: &mut Connection) -> Result<()> {
        self.0.check_file(connection)?;
        let mut probe = connection.prepare_cached("SELECT count(*) FROM sqlite_schema WHERE rootpage = 1")?;
        probe.query_row([], |_| Ok(()))?;
        Ok(())
    }

    fn reset(&self, connection: &mut Connection) -> Result<()> {
        connection.reset()
    }

    /// Also the way of a connection whose holder panicked: it is not reset, but its permit has to come back, after its transaction is
    /// rolled back by closing.
    fn close(&self, connection: Connection, _reason: CloseReason) {
        let session = Arc::clone(connection.session());
        session.end();
        drop(connection);
        session.give_permit_back();
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        // A pooled connection of an earlier file must not be handed out once the new one is known.
        !self.0.anchorage.is_current(connection.generation())
    }
}
