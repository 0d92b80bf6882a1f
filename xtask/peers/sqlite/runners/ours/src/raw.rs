//! rusqlite without a pool, as programs use it that have none: a connection a thread, one connection for all behind a mutex, a connection
//! for each operation.
//!
//! Must not know what is measured.

use std::sync::{Arc, Mutex, PoisonError};

use peers_sqlite_arena::{Competitor, Country, Failure, Place, Site, Totals};
use rusqlite::Connection;

use crate::work::{self, failure, set_up};

/// Where a caller's connection is.
pub trait Source: Sized + Send + 'static {
    const PLACE: Place;
    fn open(site: &Site) -> rusqlite::Result<Self>;
    fn another(&self) -> rusqlite::Result<Self>;
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T>;
    fn site(&self) -> &Site;
}

fn open(site: &Site) -> rusqlite::Result<Connection> {
    let conn = Connection::open(&site.path)?;
    set_up(&conn, &site.settings())?;
    Ok(conn)
}

/// A connection a thread.
pub struct Own {
    conn: Connection,
    site: Site,
}

impl Source for Own {
    const PLACE: Place = Place::TwoThreads;

    fn open(site: &Site) -> rusqlite::Result<Self> {
        Ok(Self { conn: open(site)?, site: site.clone() })
    }

    fn another(&self) -> rusqlite::Result<Self> {
        Self::open(&self.site)
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        work(&mut self.conn)
    }

    fn site(&self) -> &Site {
        &self.site
    }
}

/// One connection for all callers, in threads or in tasks.
pub struct Shared<const TASKS: bool> {
    conn: Arc<Mutex<Connection>>,
    site: Site,
}

impl<const TASKS: bool> Source for Shared<TASKS> {
    const PLACE: Place = if TASKS { Place::Tasks } else { Place::Threads };

    fn open(site: &Site) -> rusqlite::Result<Self> {
        Ok(Self { conn: Arc::new(Mutex::new(open(site)?)), site: site.clone() })
    }

    fn another(&self) -> rusqlite::Result<Self> {
        Ok(Self { conn: Arc::clone(&self.conn), site: self.site.clone() })
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        work(&mut self.conn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn site(&self) -> &Site {
        &self.site
    }
}

/// A connection for each operation.
pub struct Fresh(Site);

impl Source for Fresh {
    const PLACE: Place = Place::Threads;

    fn open(site: &Site) -> rusqlite::Result<Self> {
        Ok(Self(site.clone()))
    }

    fn another(&self) -> rusqlite::Result<Self> {
        Self::open(&self.0)
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let mut conn = open(&self.0)?;
        let result = work(&mut conn)?;
        conn.close().map_err(|(_, error)| error)?;
        Ok(result)
    }

    fn site(&self) -> &Site {
        &self.0
    }
}

/// A connection a thread.
pub type Raw = Alone<Own>;
/// One connection behind a mutex, asked by threads.
pub type OneConnection = Alone<Shared<false>>;
/// The same, asked by tasks, of which no more wait for the mutex than there are workers.
pub type OneConnectionTasks = Alone<Shared<true>>;
/// A connection for each operation.
pub type OpenEachTime = Alone<Fresh>;

/// rusqlite on a connection of some source.
pub struct Alone<S>(S);

/// Prepares for every use.
struct Anew<'c>(&'c Connection);

work::ask!(Anew<'_>: |conn, text| conn.0.prepare(text));

impl<S: Source> Competitor for Alone<S> {
    const PLACE: Place = S::PLACE;

    async fn open(site: &Site) -> Result<Self, Failure> {
        S::open(site).map(Self).map_err(failure)
    }

    fn another(&self) -> Result<Self, Failure> {
        self.0.another().map(Self).map_err(failure)
    }

    async fn point(&mut self, id: i64) -> Result<u64, Failure> {
        self.0.with(|conn| work::point(conn, id)).map_err(failure)
    }

    async fn range(&mut self, first: i64) -> Result<u64, Failure> {
        self.0.with(|conn| work::range(conn, first)).map_err(failure)
    }

    async fn reuse(&mut self, text: &'static str, id: i64) -> Result<u64, Failure> {
        let kept = self.0.site().quirks.reuse;
        let ask = |conn: &mut Connection| {
            if kept { work::reuse(conn, text, id) } else { work::reuse(&Anew(conn), text, id) }
        };
        self.0.with(ask).map_err(failure)
    }

    async fn country(&mut self, country: i64) -> Result<Country, Failure> {
        self.0.with(|conn| work::country(conn, country)).map_err(failure)
    }

    async fn insert(&mut self, value: i64) -> Result<(), Failure> {
        self.0.with(|conn| work::insert(conn, value)).map_err(failure)
    }

    async fn visit(&mut self, id: i64) -> Result<(), Failure> {
        self.0.with(|conn| work::visit(conn, id)).map_err(failure)
    }

    async fn increment(&mut self, account: i64) -> Result<(), Failure> {
        let immediate = self.0.site().quirks.immediate;
        self.0.with(|conn| work::increment(conn, account, immediate)).map_err(failure)
    }

    async fn totals(&mut self) -> Result<Totals, Failure> {
        self.0.with(|conn| work::totals(conn)).map_err(failure)
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        let mut all = Vec::new();
        let mut scanned = vec![self.0.with(|conn| work::scan(conn)).map_err(failure)?];
        for _ in 1..connections {
            let mut another = self.0.another().map_err(failure)?;
            scanned.push(another.with(|conn| work::scan(conn)).map_err(failure)?);
            all.push(another);
        }
        // They stay open until the program ends.
        std::mem::forget(all);
        Ok(scanned)
    }
}
