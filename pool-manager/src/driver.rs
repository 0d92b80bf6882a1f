//! How pool-core opens, checks and cleans SQLite connections.
//!
//! Owns the settings each connection gets and noticing that the file under the pool was deleted, replaced, cut off or made read-only. It must not know
//! lanes of work, caches or managers. Invariant: a connection is handed out only if the file it was opened on stood under the
//! database's name when that was last looked up, at most 50 ms before.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use pool_cache::Lately;
use pool_core::CloseReason;
use pool_stmt::StatementRegistry;

use crate::anchor::Anchor;
use crate::anchorage::Anchorage;
use crate::bulletin::Bulletin;
use crate::connection::{Connection, Origin, Setup};
use crate::engine::Plan;
use crate::error::{Error, Result};
use crate::in_force::InForce;
use crate::lane::Lane;
use crate::ledger::{Noted, Writes};
use crate::location::{Access, Location};
use crate::log::Log;
use crate::place::start_apart;
use crate::publisher::Publisher;
use crate::session::{LongReader, Rules, Session};

/// What all connections of one database share, whether they lie in its pool or not.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) location: Location,
    pub(crate) name: Arc<str>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) statements: Arc<StatementRegistry>,
    access: Access,
    pub(crate) in_force: Arc<InForce>,
    setup: Setup,
    pub(crate) anchorage: Arc<Anchorage>,
    pub(crate) log: Arc<Log>,
    pub(crate) bulletin: Arc<Bulletin>,
    sessions: Mutex<Vec<Weak<Session>>>,
    me: Weak<Self>,
}

impl Database {
    /// Opens the database itself: makes or checks the file, and puts it into WAL mode.
    pub(crate) fn open(location: Location, plan: &Plan, lane: Arc<Lane>) -> Result<Arc<Self>> {
        let Plan { config, read_only, .. } = plan;
        let access = if *read_only { Access::Read } else { Access::Create };
        let anchor = Anchor::open(&location, access, 0, config)?;
        let bulletin = Arc::default();
        anchor.commits().tell(&bulletin);
        Ok(Arc::new_cyclic(|me| Self {
            name: location.to_string().into(),
            location,
            lane,
            statements: Arc::new(StatementRegistry::new(config.statement_registry_size())),
            access: if *read_only { Access::Read } else { Access::Write },
            in_force: Arc::new(InForce::new(config.clone())),
            setup: Setup { on_connect: plan.on_connect.clone(), functions: OnceLock::new() },
            anchorage: Arc::new(Anchorage::new(anchor)),
            log: Arc::default(),
            bulletin,
            sessions: Mutex::new(Vec::new()),
            me: Weak::clone(me),
        }))
    }

    /// Looks, now and then, whether the file is still the one that connections are on. To be called before one is handed out.
    /// `lately`: the time, by the anchorage.
    ///
    /// # Errors
    ///
    /// When the file is gone, or another one that can't be opened is in its place.
    #[inline]
    pub(crate) fn look(&self, lately: Lately) -> Result<()> {
        if matches!(self.location, Location::File(_)) && self.anchorage.is_time_to_look(lately) {
            self.look_closer()?;
        }
        Ok(())
    }

    #[cold]
    fn look_closer(&self) -> Result<()> {
        // Until it is as it should be, everybody looks.
        self.current_anchor().map(drop).inspect_err(|_| self.anchorage.look_again())
    }

    /// Looks which file has the database's name now, and drops anchor on it if it is another one than before.
    fn current_anchor(&self) -> Result<Arc<Anchor>> {
        let found = self.location.look()?;
        let anchor = self.anchorage.of(found.map(|found| found.identity), |generation| {
            tracing::warn!(target: "pool_manager", database = &*self.name, "the database file was replaced; opening the new one");
            let anchor = Anchor::open(&self.location, self.access, generation, &self.in_force.config())?;
            anchor.commits().tell(&self.bulletin);
            self.bulletin.post_alone(&Writes::Any);
            Ok(anchor)
        })?;
        let anchor = anchor.ok_or_else(|| Error::Closed { database: self.name.to_string() })?;
        self.anchorage.set_frozen(self.access != Access::Read && anchor.is_frozen(found));
        self.check_length(&anchor)?;
        Ok(anchor)
    }

    /// Checks that nobody has cut the file off.
    fn check_length(&self, anchor: &Anchor) -> Result<()> {
        if anchor.is_cut_off(|| self.location.look())? {
            return Err(Error::FileChanged { path: self.location.path(), change: "was truncated" });
        }
        Ok(())
    }

    fn connect(&self) -> Result<Connection> {
        let anchor = self.current_anchor()?;
        let connection = self.location.open(self.access)?;
        let edition = self.in_force.edition();
        let config = self.in_force.config();
        let serial = anchor.journal() != "wal" && self.access != Access::Read;
        let rules = Rules {
            lane: Arc::clone(&self.lane),
            anchorage: Arc::clone(&self.anchorage),
            name: Arc::clone(&self.name),
            in_force: Arc::clone(&self.in_force),
            statements: Arc::clone(&self.statements),
            database: Weak::clone(&self.me),
            log: Arc::clone(&self.log),
            page_size: anchor.page_size(),
            serial,
        };
        let session = Arc::new(Session::new(rules, Publisher::new(&anchor)));
        // What a program does on a new connection is seen by no hook.
        let unseen = self.setup.on_connect.is_some().then(|| UnseenCommits::begin(&anchor));
        let connection = Connection::new(
            connection,
            Arc::clone(&session),
            Arc::clone(&self.statements),
            &self.setup,
            &config,
            Origin {
                identity: anchor.identity(),
                generation: anchor.generation(),
                edition,
                in_wal: anchor.has_wal_index(),
            },
        )
        .map_err(|error| match error {
            Error::Sqlite(source) => self.location.open_error(source),
            other => other,
        })?;
        drop(unseen);
        self.check_file(&connection)?;
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(&session));
        Ok(connection)
    }

    /// Checks that the connection's file is the one that stands under the database's name.
    fn check_file(&self, connection: &Connection) -> Result<()> {
        if self.location.identity()? == connection.origin().identity {
            return Ok(());
        }
        Err(Error::FileChanged { path: self.location.path(), change: "was replaced by another file" })
    }

    /// Gives up the snapshots that idle connections keep.
    pub(crate) fn give_up_snapshots(&self) {
        for session in self.sessions.lock().iter().filter_map(Weak::upgrade) {
            if let Some(snapshot) = session.snapshot() {
                snapshot.sweep(true);
            }
        }
    }

    /// Those who have been reading for `long_read`.
    pub(crate) fn long_readers(&self) -> Vec<LongReader> {
        let Some(least) = self.in_force.config().long_read() else { return Vec::new() };
        let sessions = self.sessions.lock();
        sessions.iter().filter_map(Weak::upgrade).filter_map(|session| session.long_reader(least, false)).collect()
    }

    /// Names those in the log of the program who have been reading for `long_read`, each once. With `in_the_way` the log could just not be
    /// emptied. Tells whether some were in the way who have not been reading for so long.
    pub(crate) fn name_long_readers(&self, in_the_way: bool) -> bool {
        let Some(least) = self.in_force.config().long_read() else { return false };
        let sessions: Vec<_> = self.sessions.lock().iter().filter_map(Weak::upgrade).collect();
        for session in &sessions {
            if in_the_way {
                session.was_in_the_way();
            }
            if let Some(LongReader { site, sql, reading_for, keeps_log }) = session.long_reader(least, true) {
                let (database, sql) = (&*self.name, sql.unwrap_or_default());
                tracing::warn!(target: "pool_manager", database, site, sql, ?reading_for, keeps_log,
                    "long reader: what was committed since it began stays in the log");
            }
        }
        sessions.iter().any(|session| session.is_to_be_told())
    }

    /// Interrupts what runs on any connection.
    pub(crate) fn interrupt_all(&self) {
        for session in self.sessions.lock().iter().filter_map(Weak::upgrade) {
            session.interrupt_for_closing();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.bulletin.close();
    }
}

/// The time in which commits may happen on a new connection without being told.
struct UnseenCommits<'a> {
    anchor: &'a Anchor,
    noted: Option<Noted>,
}

impl<'a> UnseenCommits<'a> {
    fn begin(anchor: &'a Anchor) -> Self {
        Self { anchor, noted: Some(anchor.commits().commit_begins(true)) }
    }
}

impl Drop for UnseenCommits<'_> {
    fn drop(&mut self) {
        let Some(noted) = self.noted.take() else { return };
        match self.anchor.ledger() {
            Some(ledger) => ledger.committed(&noted, Writes::Any, None),
            None => self.anchor.commits().abandoned(&noted),
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
        start_apart("pool-open", "starting a thread to open a connection", work)?;
        match told.await {
            Ok(opened) => opened,
            // The runtime shuts down and takes no more work; this thread still can.
            Err(_) => self.0.connect(),
        }
    }

    async fn validate(&self, connection: &mut Connection) -> Result<()> {
        self.0.check_file(connection)?;
        if let Some(anchor) = self.0.anchorage.current() {
            self.0.check_length(&anchor)?;
        }
        connection.give_up_snapshot();
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
        connection.close();
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        // A pooled connection of an earlier file must not be handed out once the new one is known, nor one that was made with other
        // settings than hold now.
        let Origin { generation, edition, .. } = connection.origin();
        edition != self.0.in_force.edition() || !self.0.anchorage.is_current(generation)
    }
}
