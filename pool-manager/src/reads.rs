//! What the run of a query has read.
//!
//! Owns how that is found out, after the run and on its connection. It must not know what becomes of the answer.
//!
//! What is heard while statements are prepared is not enough: SQLite's authorizer is told nothing of tables that are joined with `USING`
//! and of which no other column is read, and not the database of tables of which only the rows are counted. So every statement that
//! ran (`sqlite3_trace_v2` tells, whoever prepared it, those that virtual tables run for themselves included) is explained: a
//! program can't read what it does not open.
//!
//! Invariant: the answer names all that was read, or says that it can't, as long as the schema is that of the moment the run began. A
//! change of the schema is a commit that means any table (`ledger`), after which nobody asks for the answer. What is remembered of the schema
//! for others is filed under the number from before the run: what it saw may have been changed since.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pool_stmt::Accesses;
use pool_stmt::rusqlite::{PROBE, StatementConnection};

use crate::faults::{self, Mutation};
use crate::ledger::{Ledger, Reads};
use crate::volatile::Volatile;

/// The texts of the statements that run on a connection, while somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    wanted: AtomicBool,
    heard: Mutex<BTreeSet<Box<str>>>,
}

/// With more different statements, a query is not followed.
const MOST_TEXTS: usize = 256;

impl Texts {
    /// Begins anew.
    pub(crate) fn want(&self) {
        self.heard.lock().clear();
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Ends it.
    #[inline]
    pub(crate) fn unwant(&self) {
        if self.are_wanted() {
            self.wanted.store(false, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn hear(&self, text: &str) {
        let mut heard = self.heard.lock();
        if text != PROBE && heard.len() <= MOST_TEXTS && !heard.contains(text) {
            heard.insert(text.into());
        }
    }

    fn take(&self) -> BTreeSet<Box<str>> {
        self.unwant();
        std::mem::take(&mut *self.heard.lock())
    }
}

/// What is known of the schema of one database and of programs made under it, for as long as the schema can't have changed.
#[derive(Debug, Default)]
pub(crate) struct Atlas(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// The number of the ledger at which all of this was begun.
    since: u64,
    schema: Option<Arc<Schema>>,
    /// The root pages that the program of a text opens.
    programs: HashMap<Box<str>, Arc<BTreeSet<u32>>>,
}

/// Of how many texts it is remembered what they open.
const MOST_PROGRAMS: usize = 1_024;

impl Atlas {
    /// The pages that are true now; `since` is a number taken before.
    fn current(&self, ledger: &Ledger, since: u64) -> parking_lot::MutexGuard<'_, Pages> {
        let mut pages = self.0.lock();
        if !ledger.is_schema_of(pages.since) {
            *pages = Pages { since, ..Pages::default() };
        }
        pages
    }
}

/// Which tables there are in `main`, by lower-case names.
#[derive(Debug)]
struct Schema {
    roots: HashMap<u32, Box<str>>,
    virtual_tables: Vec<Virtual>,
}

#[derive(Debug)]
struct Virtual {
    name: Box<str>,
    /// Whether it writes nothing but tables whose names begin with its own and `_`.
    keeps_to_itself: bool,
}

impl Schema {
    fn of(connection: &rusqlite::Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT type, lower(name), lower(tbl_name), rootpage, sql FROM main.sqlite_schema";
        let mut all = connection.prepare(sql)?;
        let mut rows = all.query([])?;
        let mut schema = Self { roots: HashMap::new(), virtual_tables: Vec::new() };
        while let Some(row) = rows.next()? {
            let (kind, root): (String, Option<u32>) = (row.get(0)?, row.get(3)?);
            match root {
                Some(root @ 1..) => _ = schema.roots.insert(root, row.get::<_, String>(2)?.into()),
                _ if kind == "table" => {
                    let keeps_to_itself = module_of(&row.get::<_, String>(4)?).is_some_and(keeps_to_itself);
                    schema.virtual_tables.push(Virtual { name: row.get::<_, String>(1)?.into(), keeps_to_itself });
                }
                _ => {}
            }
        }
        Ok(schema)
    }

    /// What is read of these tables, in terms of what is told when it is written.
    fn reads(&self, ledger: &Ledger, roots: &BTreeSet<u32>) -> Reads {
        let mut names = BTreeSet::new();
        // The schema itself is at page 1, and every change of it means any table.
        for root in roots.iter().filter(|root| **root != 1) {
            match self.roots.get(root) {
                // SQLite writes tables like `sqlite_sequence` without saying so.
                Some(name) if !name.starts_with("sqlite_") => _ = names.insert(&**name),
                _ => return Reads::Any,
            }
        }
        // A virtual table writes tables of which only its own name is told.
        for table in &self.virtual_tables {
            let writes = |name: &&str| name.strip_prefix(&*table.name).is_some_and(|rest| rest.starts_with('_'));
            if !table.keeps_to_itself || names.iter().any(writes) {
                names.insert(&table.name);
            }
        }
        Reads::Tables(ledger.cells(names))
    }
}

/// The module of a virtual table, in lower case, by the text that SQLite keeps: `CREATE VIRTUAL TABLE name USING module(...)`.
fn module_of(sql: &str) -> Option<String> {
    let name = sql
        .get(..20)
        .filter(|words| words.eq_ignore_ascii_case("CREATE VIRTUAL TABLE"))
        .map(|_| sql[20..].trim_start())?;
    let after = match name.chars().next()? {
        open @ ('"' | '\'' | '`' | '[') => {
            let close = if open == '[' { ']' } else { open };
            let mut rest = &name[1..];
            loop {
                rest = &rest[rest.find(close)? + 1..];
                match rest.strip_prefix(close) {
                    Some(doubled) if open != '[' => rest = doubled,
                    _ => break rest,
                }
            }
        }
        _ => &name[name.find(|mark: char| mark.is_ascii_whitespace())?..],
    };
    let after = after.trim_start();
    let module = after.get(..5).filter(|word| word.eq_ignore_ascii_case("USING")).map(|_| after[5..].trim_start())?;
    let end = module.find(|mark: char| !mark.is_ascii_alphanumeric() && mark != '_').unwrap_or(module.len());
    Some(module[..end].to_ascii_lowercase())
}

fn keeps_to_itself(module: String) -> bool {
    ["fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"].contains(&&*module)
}

/// What a query's run told.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Why running it again could give something else although nothing was committed.
    pub(crate) volatile: Option<Volatile>,
    pub(crate) reads: Reads,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) atlas: &'a Atlas,
    /// Whether the connection has neither temporary tables nor attached databases, which could hide those of `main`.
    pub(crate) is_plain: bool,
    /// The number taken before the run, and so before the schema that it saw.
    pub(crate) since: u64,
}

/// Follows what has run on a connection since its texts were wanted and its accesses taken. `ground`: where there is a ledger.
/// `volatile_ok`: whether the tables are of interest even if there is a reason against keeping the result.
pub(crate) fn of(
    connection: &StatementConnection,
    texts: &Texts,
    ground: Option<Ground<'_>>,
    volatile_ok: bool,
) -> Seen {
    let texts = texts.take();
    let accesses = connection.take_accesses();
    let mut volatile = why_volatile(connection, &accesses);
    let mut opened = Opened::default();
    if volatile.is_none() || volatile_ok {
        let followed = follow(connection, &texts, ground, &mut opened);
        volatile = volatile.or(followed.err());
        if opened.virtual_tables && volatile.is_none() {
            volatile = strange_module(connection);
        }
    }
    let reads = match ground {
        Some(Ground { ledger, atlas, since, .. }) if opened.complete => {
            if faults::mutated(Mutation::TrustsHearsay) {
                let names: Vec<_> = accesses.tables_read.keys().map(|table| table.name.to_ascii_lowercase()).collect();
                Reads::Tables(ledger.cells(names.iter().map(|name| &**name)))
            } else {
                reads(connection, ledger, atlas, since, &opened)
            }
        }
        _ => Reads::Any,
    };
    // Statements of our own are not the user's.
    connection.take_accesses();
    Seen { volatile, reads }
}

/// What is heard while statements are prepared.
fn why_volatile(connection: &StatementConnection, accesses: &Accesses) -> Option<Volatile> {
    if let Some(table) = accesses.tables_read.keys().find(|table| &*table.database != "main") {
        return Some(Volatile::Table(table.to_string()));
    }
    let functions = accesses.functions.iter().find(|name| !connection.is_deterministic(name));
    if let Some(function) = functions {
        return Some(Volatile::Function(function.to_string()));
    }
    (accesses.unknown || accesses.unheard || accesses.changes_schema).then_some(Volatile::Unknown)
}

/// What programs open.
#[derive(Debug, Default)]
struct Opened {
    roots: BTreeSet<u32>,
    virtual_tables: bool,
    /// Whether all were looked at.
    complete: bool,
}

fn follow(
    connection: &StatementConnection,
    texts: &BTreeSet<Box<str>>,
    ground: Option<Ground<'_>>,
    opened: &mut Opened,
) -> Result<(), Volatile> {
    if texts.len() > MOST_TEXTS {
        return Err(Volatile::Unknown);
    }
    let shared = ground.filter(|ground| ground.is_plain);
    for text in texts.iter().filter(|text| !only_bounds_transaction(text)) {
        if let Some(Ground { ledger, atlas, since, .. }) = shared
            && let Some(roots) = atlas.current(ledger, since).programs.get(text)
        {
            opened.roots.extend(roots.iter());
            continue;
        }
        let program = connection.opened_by(text).map_err(|_| Volatile::Unknown)?;
        if program.elsewhere {
            return Err(Volatile::Table("a temporary table or one of an attached database".to_owned()));
        }
        if program.unclear {
            return Err(Volatile::Unknown);
        }
        opened.roots.extend(program.roots.iter());
        if program.virtual_tables > 0 {
            opened.virtual_tables = true;
        } else if let Some(Ground { ledger, atlas, since, .. }) = shared {
            let mut pages = atlas.current(ledger, since);
            if pages.programs.len() >= MOST_PROGRAMS {
                pages.programs.clear();
            }
            if pages.since <= since {
                pages.programs.insert(text.clone(), Arc::new(program.roots));
            }
        }
    }
    opened.complete = true;
    Ok(())
}

fn reads(connection: &StatementConnection, ledger: &Ledger, atlas: &Atlas, since: u64, opened: &Opened) -> Reads {
    // A full-text table reads what it likes of `main`.
    if opened.virtual_tables {
        return Reads::Any;
    }
    let known = atlas.current(ledger, since).schema.clone();
    let schema = match known.map_or_else(|| Schema::of(connection).map(Arc::new), Ok) {
        Ok(schema) => schema,
        Err(error) => {
            tracing::debug!(target: "pool_manager", %error, "the schema can't be read, so a result counts as one of all tables");
            return Reads::Any;
        }
    };
    let mut pages = atlas.current(ledger, since);
    if pages.since <= since {
        pages.schema = Some(Arc::clone(&schema));
    }
    drop(pages);
    schema.reads(ledger, &opened.roots)
}

/// Virtual tables of SQLite's own read `main` alone, or their arguments, or pragmas, which are heard when they run. Others may
/// read anything.
fn strange_module(connection: &StatementConnection) -> Option<Volatile> {
    const KNOWN: [&str; 13] = [
        "bytecode",
        "fts3",
        "fts3tokenize",
        "fts4",
        "fts4aux",
        "fts5",
        "fts5vocab",
        "geopoly",
        "json_each",
        "json_tree",
        "rtree",
        "rtree_i32",
        "tables_used",
    ];
    let known = |name: &str| KNOWN.contains(&name) || name.starts_with("jsonb_") || name.starts_with("pragma_");
    let strange = || -> rusqlite::Result<Option<String>> {
        let mut modules = connection.prepare("SELECT lower(name) FROM pragma_module_list")?;
        let mut rows = modules.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            // It can be asked for the size of temporary tables; whoever does tells its name, but for the way to hide it.
            if !known(&name) && name != "dbstat" {
                return Ok(Some(name));
            }
        }
        Ok(None)
    };
    match strange() {
        Ok(None) => None,
        Ok(Some(_)) | Err(_) => Some(Volatile::Unknown),
    }
}

/// Tells whether a statement is `BEGIN`, `COMMIT` or the like, which reads nothing and can't be explained while it is forbidden.
fn only_bounds_transaction(text: &str) -> bool {
    let word: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    ["begin", "commit", "end", "rollback", "savepoint", "release"].contains(&&*word.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{keeps_to_itself, module_of};

    #[test]
    fn the_module_of_a_virtual_table_is_found_behind_any_name() {
        for (sql, module) in [
            ("CREATE VIRTUAL TABLE f USING fts5(a)", Some("fts5")),
            ("CREATE VIRTUAL TABLE \"using rtree(\" using FTS4", Some("fts4")),
            ("CREATE VIRTUAL TABLE 'it''s' USING x_1 (a)", Some("x_1")),
            ("CREATE VIRTUAL TABLE [a b] USING rtree(a, b, c)", Some("rtree")),
            ("CREATE TABLE t (a)", None),
            ("CREATE VIRTUAL TABLE \"open", None),
            ("CREATE VIRTUAL TABLE a /* USING fts5 */ USING y", None),
        ] {
            assert_eq!(module_of(sql).as_deref(), module, "{sql}");
        }
        assert!(keeps_to_itself("fts5".to_owned()) && !keeps_to_itself("mine".to_owned()));
    }
}
