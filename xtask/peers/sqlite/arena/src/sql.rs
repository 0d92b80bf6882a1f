//! The texts everybody runs and the settings of every connection.
//!
//! Must not know who runs them.

/// One row by its key: name and population.
pub const POINT: &str = "SELECT name, population FROM city WHERE id = ?1";

/// The same row as one of a range of keys: which single row it is can't be told from the text.
pub const POINT_AS_RANGE: &str = "SELECT name, population FROM city WHERE id BETWEEN ?1 AND ?1";

/// A thousand rows from a key on: name and population.
pub const RANGE: &str = "SELECT name, population FROM city WHERE id >= ?1 ORDER BY id LIMIT 1000";

/// A country's cities: how many, people, visits.
pub const COUNTRY: &str = "SELECT count(*), sum(population), sum(visits) FROM city WHERE country = ?1";

/// The same as those of a range of countries: which single country it is can't be told from the text.
pub const COUNTRY_AS_RANGE: &str =
    "SELECT count(*), sum(population), sum(visits) FROM city WHERE country BETWEEN ?1 AND ?1";

/// One new row.
pub const INSERT: &str = "INSERT INTO entry (value) VALUES (?1)";

/// One row changed.
pub const VISIT: &str = "UPDATE city SET visits = visits + 1 WHERE id = ?1";

/// What an account holds.
pub const BALANCE: &str = "SELECT balance FROM account WHERE id = ?1";

/// What an account is to hold: key, balance.
pub const SET_BALANCE: &str = "UPDATE account SET balance = ?2 WHERE id = ?1";

/// What all that was written adds up to: entries, their values, balances, visits.
pub const TOTALS: &str = "SELECT (SELECT count(*) FROM entry), (SELECT coalesce(sum(value), 0) FROM entry), \
                          (SELECT sum(balance) FROM account), (SELECT sum(visits) FROM city)";

/// Reads the whole large table: rows, their keys, the bytes of their contents.
pub const SCAN: &str = "SELECT count(*), sum(id), sum(length(content)) FROM bulk";

/// The tables.
pub const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE city (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, country INTEGER NOT NULL, population INTEGER NOT NULL,
        visits INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX city_country ON city (country);
    CREATE TABLE entry (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO account SELECT i, 0 FROM n;
";

/// A city: key, name, country, population.
pub const ADD_CITY: &str = "INSERT INTO city (id, name, country, population) VALUES (?1, ?2, ?3, ?4)";

/// The large table, with ?1 rows of which four fill a page.
pub const BULK: [&str; 3] = [
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE bulk (id INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO bulk SELECT i, zeroblob(960) FROM n",
];

/// Bytes in a row of the large table.
pub const CONTENT: i64 = 960;

/// How many texts an application has in steady use.
pub const TEXTS: usize = 20;

/// The point read as one of several texts.
#[must_use]
pub fn text(number: usize) -> String {
    format!(
        "SELECT c.name, c.population FROM city AS c WHERE c.id = ?1 AND {number} >= 0 AND EXISTS (SELECT 1 FROM account)"
    )
}

/// Statements each connection keeps, for those who can be told.
pub const STATEMENTS: usize = 64;

/// Connections of a pool at most.
pub const CONNECTIONS: u32 = 10;

/// Page cache of a connection.
pub const CACHE_KIB: u64 = 2_048;

/// Part of the file that is mapped.
pub const MMAP: u64 = 256 << 20;

/// Milliseconds that a connection waits for the file's locks.
pub const BUSY_TIMEOUT: u64 = 5_000;

/// The settings of every connection; the time to wait comes first, so that the others wait for locks, too.
#[must_use]
pub fn settings(full: bool) -> String {
    let synchronous = if full { "FULL" } else { "NORMAL" };
    format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT}; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = {MMAP};"
    )
}
