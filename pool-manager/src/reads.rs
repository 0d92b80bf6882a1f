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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pool_stmt::Accesses;
use pool_stmt::rusqlite::{ColumnKey, PROBE, RowKey, StatementConnection};

use crate::bound::{self, Value};
use crate::faults::{self, Mutation};
use crate::key_column::{Column, Mark, marks_of_wanted};
use crate::ledger::{Ledger, Reads};
use crate::volatile::Volatile;

/// The texts of the statements that run on a connection, while somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    wanted: AtomicBool,
    heard: Mutex<BTreeMap<Box<str>, Runs>>,
}

/// The runs of a text, as texts with values in the places of parameters; `None` once there are too many to tell apart, or one of which the
/// values can't be told.
type Runs = Option<BTreeSet<Box<str>>>;

/// The values of the parameters in one run of a statement.
#[derive(Debug)]
pub(crate) enum Bound {
    /// It has no parameters.
    Nothing,
    /// The statement's text with the values in their places.
    Text(Box<str>),
    /// They can't be told: the text would be longer than the connection allows.
    Unknown,
}

/// With more runs of a text, with different values, which rows it read is not followed.
const MOST_RUNS: usize = 64;

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

    /// Notes one run of a text.
    pub(crate) fn hear(&self, text: &str, bound: impl FnOnce() -> Bound) {
        let mut heard = self.heard.lock();
        if text == PROBE || heard.len() > MOST_TEXTS {
            return;
        }
        if !heard.contains_key(text) {
            heard.insert(text.into(), Some(BTreeSet::new()));
        }
        let Some(known) = heard.get_mut(text) else { return };
        let Some(runs) = known else { return };
        match bound() {
            Bound::Nothing => {}
            Bound::Text(run) => {
                runs.insert(run);
                if runs.len() > MOST_RUNS {
                    *known = None;
                }
            }
            Bound::Unknown => *known = None,
        }
    }

    fn take(&self) -> BTreeMap<Box<str>, Runs> {
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
    programs: HashMap<Box<str>, Arc<Program>>,
}

/// What the program of a text opens: root pages, and of which of these nothing is read but certain rows, or rows with certain values.
#[derive(Debug)]
struct Program {
    roots: BTreeSet<u32>,
    rows: BTreeMap<u32, BTreeSet<RowKey>>,
    keys: BTreeMap<u32, BTreeSet<ColumnKey>>,
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
pub(crate) struct Schema {
    roots: HashMap<u32, Box<str>>,
    virtual_tables: Vec<Virtual>,
    /// Of the indexes by which tables were read, the first columns that will do.
    columns: Mutex<HashMap<u32, Option<Column>>>,
}

#[derive(Debug)]
struct Virtual {
    name: Box<str>,
    /// Whether it writes nothing but tables whose names begin with its own and `_`.
    keeps_to_itself: bool,
}

impl Schema {
    pub(crate) fn of(connection: &rusqlite::Connection) -> rusqlite::Result<Self> {
        // Without lower(), which the program may have replaced by one that knows more letters than SQLite does.
        let mut all = connection.prepare("SELECT type, name, tbl_name, rootpage, sql FROM main.sqlite_schema")?;
        let mut rows = all.query([])?;
        let lower = |row: &rusqlite::Row<'_>, at: usize| -> rusqlite::Result<Box<str>> {
            Ok(row.get_ref(at)?.as_str()?.to_ascii_lowercase().into())
        };
        let mut schema = Self { roots: HashMap::new(), virtual_tables: Vec::new(), columns: Mutex::default() };
        while let Some(row) = rows.next()? {
            let (kind, root): (String, Option<u32>) = (row.get(0)?, row.get(3)?);
            match root {
                Some(root @ 1..) => _ = schema.roots.insert(root, lower(row, 2)?),
                _ if kind == "table" => {
                    let keeps_to_itself = module_of(&row.get::<_, String>(4)?).is_some_and(keeps_to_itself);
                    schema.virtual_tables.push(Virtual { name: lower(row, 1)?, keeps_to_itself });
                }
                _ => {}
            }
        }
        Ok(schema)
    }

    /// The table that is at a root page, or one of whose indexes is.
    pub(crate) fn table_at(&self, root: u32) -> Option<&str> {
        self.roots.get(&root).map(|name| &**name)
    }

    /// The first column of an index, if rows can be told apart by it. Whoever asks first finds out.
    fn column(&self, connection: &rusqlite::Connection, index: u32) -> Option<Column> {
        let known = self.columns.lock().get(&index).cloned();
        known.unwrap_or_else(|| {
            let found = Column::of_index(connection, index).ok()?;
            self.columns.lock().insert(index, found.clone());
            found
        })
    }

    /// What is read of these tables, in terms of what is told when it is written; `since`: from before any of this was found out.
    fn reads(&self, connection: &rusqlite::Connection, ledger: &Ledger, since: Option<u64>, opened: &Opened) -> Reads {
        let mut names = BTreeSet::new();
        let mut names_of_rows = BTreeSet::new();
        let mut rows = Vec::new();
        // SQLite writes tables like `sqlite_sequence` without saying so.
        let named = |root: &u32| self.table_at(*root).filter(|name| !name.starts_with("sqlite_"));
        // The schema itself is at page 1, and every change of it means any table.
        for root in opened.roots.iter().filter(|root| **root != 1) {
            match named(root) {
                Some(name) => _ = names.insert(name),
                None => return Reads::Any,
            }
        }
        for (root, numbers) in opened.rows.iter().filter(|(root, _)| !opened.roots.contains(root)) {
            let Some(name) = named(root) else { return Reads::Any };
            names_of_rows.insert(name);
            // There may be none besides those that are read by values.
            if !numbers.is_empty() {
                match ledger.rows(name, numbers.iter().copied()) {
                    Some(found) => rows.extend(found),
                    None => _ = names.insert(name),
                }
            }
        }
        for (root, marks) in opened.marks.iter().filter(|(root, _)| !opened.roots.contains(root)) {
            let Some(name) = named(root) else { return Reads::Any };
            let column = || Some((since?, self.column(connection, *root)?));
            match column().and_then(|(since, column)| ledger.keys(name, since, column, marks.iter().copied())) {
                Some(found) => rows.extend(found),
                None => _ = names.insert(name),
            }
            names_of_rows.insert(name);
        }
        // A virtual table writes tables of which only its own name is told.
        for table in &self.virtual_tables {
            let writes = |name: &&str| name.strip_prefix(&*table.name).is_some_and(|rest| rest.starts_with('_'));
            if !table.keeps_to_itself || names.iter().chain(&names_of_rows).any(writes) {
                names.insert(&table.name);
            }
        }
        let tables = ledger.cells(names);
        if rows.is_empty() { Reads::Tables(tables) } else { Reads::Rows(tables, rows.into()) }
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
    /// Whether that was heard already while its statements were prepared.
    pub(crate) was_heard: bool,
    pub(crate) reads: Reads,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) atlas: &'a Atlas,
    /// The number of the ledger from before the read transaction of the query began.
    pub(crate) since: Option<u64>,
    /// Whether the connection has neither temporary tables nor attached databases, which could hide those of `main`.
    pub(crate) is_plain: bool,
}

/// Follows what has run on a connection since its texts were wanted and its accesses taken. `ground`: where there is a ledger.
/// `replaced`: functions with the names of SQLite's own that may return something else each time.
/// `volatile_ok`: whether the tables are of interest even if there is a reason against keeping the result.
pub(crate) fn of(
    connection: &StatementConnection,
    texts: &Texts,
    ground: Option<Ground<'_>>,
    replaced: &HashSet<Box<str>>,
    volatile_ok: bool,
) -> Seen {
    let texts = texts.take();
    let mut hearsay = Vec::new();
    let mut volatile = None;
    connection.drain_accesses(|accesses| {
        hear(connection, accesses, replaced, &mut volatile);
        if faults::mutated(Mutation::TrustsHearsay) {
            hearsay.extend(accesses.tables_read.keys().map(|table| table.name.to_ascii_lowercase()));
        }
    });
    let was_heard = volatile.is_some();
    let mut opened = Opened::default();
    if volatile.is_none() || volatile_ok {
        let followed = follow(connection, &texts, ground, &mut opened);
        volatile = volatile.or(followed.err());
        if opened.virtual_tables && volatile.is_none() {
            volatile = strange_module(connection);
        }
    }
    let reads = match ground {
        // What reads without a statement, such as a backup, reads what it likes.
        Some(ground @ Ground { ledger, .. }) if opened.complete && !texts.is_empty() => {
            if faults::mutated(Mutation::TrustsHearsay) {
                Reads::Tables(ledger.cells(hearsay.iter().map(|name| &**name)))
            } else {
                reads(connection, ground, &opened)
            }
        }
        _ => Reads::Any,
    };
    // Statements of our own are not the user's.
    connection.drain_accesses(|_| {});
    Seen { volatile, was_heard, reads }
}

/// Why what was heard on a connection, since its accesses were taken, can't be kept.
pub(crate) fn why_volatile(connection: &StatementConnection, replaced: &HashSet<Box<str>>) -> Option<Volatile> {
    let mut volatile = None;
    connection.drain_accesses(|accesses| hear(connection, accesses, replaced, &mut volatile));
    volatile
}

/// Finds a reason in what was heard while a statement was prepared. Of several a table counts before a function, and that before what is not
/// known.
fn hear(
    connection: &StatementConnection,
    accesses: &Accesses,
    replaced: &HashSet<Box<str>>,
    volatile: &mut Option<Volatile>,
) {
    if matches!(volatile, Some(Volatile::Table(_))) {
        return;
    }
    if let Some(table) = accesses.tables_read.keys().find(|table| &*table.database != "main") {
        *volatile = Some(Volatile::Table(table.to_string()));
        return;
    }
    if matches!(volatile, Some(Volatile::Function(_))) {
        return;
    }
    let repeatable = |name: &str| connection.is_deterministic(name) && !replaced.contains(name);
    if let Some(function) = accesses.functions.iter().find(|name| !repeatable(name)) {
        // Named for the event alone: asked for again and again, most of what it costs would be the name.
        let is_told = tracing::enabled!(target: "pool_manager", tracing::Level::DEBUG);
        *volatile = Some(Volatile::Function(if is_told { function.clone() } else { Box::default() }));
    } else if accesses.unknown || accesses.unheard || accesses.changes_schema {
        *volatile = Some(Volatile::Unknown);
    }
}

/// What programs open.
#[derive(Debug, Default)]
struct Opened {
    /// Tables and indexes that may be read as a whole.
    roots: BTreeSet<u32>,
    /// Rows that are read besides, by the root pages of their tables.
    rows: BTreeMap<u32, BTreeSet<i64>>,
    /// Rows that are read by values, as marks of these, by the root pages of the indexes.
    marks: BTreeMap<u32, BTreeSet<Mark>>,
    virtual_tables: bool,
    /// Whether all were looked at.
    complete: bool,
}

/// With more rows of a table, it counts as read as a whole.
const MOST_ROWS: usize = 64;

impl Opened {
    /// Adds the runs of a program.
    fn add(&mut self, text: &str, program: &Program, runs: &Runs) {
        for root in &program.roots {
            let rows = program.rows.get(root).filter(|_| !faults::mutated(Mutation::IgnoresRows));
            let keys = program.keys.get(root).filter(|_| !faults::mutated(Mutation::IgnoresKeys));
            let count = match (rows, keys) {
                (Some(keys), _) => numbers(text, keys, runs.as_ref()).map(|rows| extend(&mut self.rows, *root, rows)),
                (None, Some(keys)) => {
                    marks(text, keys, runs.as_ref()).map(|marks| extend(&mut self.marks, *root, marks))
                }
                (None, None) => None,
            };
            if count.is_none_or(|count| count > MOST_ROWS) {
                self.roots.insert(*root);
            }
        }
    }
}

/// Adds to what is known of a root page. Returns how much that is.
fn extend(all: &mut BTreeMap<u32, BTreeSet<i64>>, root: u32, more: Vec<i64>) -> usize {
    let known = all.entry(root).or_default();
    known.extend(more);
    known.len()
}

/// The numbers of the rows that were read in these runs; `None` where what was bound is no number, or not known. (Text and fractions may
/// stand for a number all the same.)
fn numbers(text: &str, keys: &BTreeSet<RowKey>, runs: Option<&BTreeSet<Box<str>>>) -> Option<Vec<i64>> {
    let mut rows = Vec::new();
    for key in keys {
        match key {
            RowKey::Number(row) => rows.push(*row),
            RowKey::Parameter(index) => {
                for value in bound_to(*index, text, runs)? {
                    let Value::Integer(row) = value else { return None };
                    rows.push(row);
                }
            }
        }
    }
    Some(rows)
}

/// The marks of the values by which rows were read in these runs; `None` where these can't be told.
fn marks(text: &str, keys: &BTreeSet<ColumnKey>, runs: Option<&BTreeSet<Box<str>>>) -> Option<Vec<Mark>> {
    let mut marks = Vec::new();
    for key in keys {
        match key {
            ColumnKey::Integer(number) => marks.extend(marks_of_wanted(&Value::Integer(*number))?),
            ColumnKey::Text(text) => marks.extend(marks_of_wanted(&Value::Text(text.to_string()))?),
            ColumnKey::Parameter(index) => {
                for value in bound_to(*index, text, runs)? {
                    marks.extend(marks_of_wanted(&value)?);
                }
            }
        }
    }
    Some(marks)
}

/// What was bound to a parameter in these runs.
fn bound_to(index: u32, text: &str, runs: Option<&BTreeSet<Box<str>>>) -> Option<Vec<Value>> {
    let index = usize::try_from(index).ok()?.checked_sub(1)?;
    let runs = runs.filter(|runs| !runs.is_empty())?;
    runs.iter().map(|run| bound::values(text, run)?.into_iter().nth(index)).collect()
}

fn follow(
    connection: &StatementConnection,
    texts: &BTreeMap<Box<str>, Runs>,
    ground: Option<Ground<'_>>,
    opened: &mut Opened,
) -> Result<(), Volatile> {
    if texts.len() > MOST_TEXTS {
        return Err(Volatile::Unknown);
    }
    let shared =
        ground.filter(|ground| ground.is_plain).and_then(|ground| Some((ground.ledger, ground.atlas, ground.since?)));
    for (text, runs) in texts.iter().filter(|(text, _)| !only_bounds_transaction(text)) {
        if let Some((ledger, atlas, since)) = shared {
            let known = atlas.current(ledger, since).programs.get(text).cloned();
            if let Some(program) = known {
                opened.add(text, &program, runs);
                continue;
            }
        }
        let found = connection.opened_by(text).map_err(|_| Volatile::Unknown)?;
        if found.elsewhere {
            return Err(Volatile::Table("a temporary table or one of an attached database".to_owned()));
        }
        if found.unclear {
            return Err(Volatile::Unknown);
        }
        let program = Arc::new(Program { roots: found.roots, rows: found.rows, keys: found.keys });
        opened.add(text, &program, runs);
        if found.virtual_tables > 0 {
            opened.virtual_tables = true;
        } else if let Some((ledger, atlas, since)) = shared {
            let mut pages = atlas.current(ledger, since);
            if pages.programs.len() >= MOST_PROGRAMS {
                pages.programs.clear();
            }
            if pages.since <= since {
                pages.programs.insert(text.clone(), program);
            }
        }
    }
    opened.complete = true;
    Ok(())
}

fn reads(connection: &StatementConnection, Ground { ledger, atlas, since, .. }: Ground<'_>, opened: &Opened) -> Reads {
    // A full-text table reads what it likes of `main`.
    if opened.virtual_tables {
        return Reads::Any;
    }
    let known = since.and_then(|since| atlas.current(ledger, since).schema.clone());
    let schema = match known.map_or_else(|| Schema::of(connection).map(Arc::new), Ok) {
        Ok(schema) => schema,
        Err(error) => {
            tracing::debug!(target: "pool_manager", %error, "the schema can't be read, so a result counts as one of all tables");
            return Reads::Any;
        }
    };
    if let Some(since) = since {
        let mut pages = atlas.current(ledger, since);
        if pages.since <= since {
            pages.schema = Some(Arc::clone(&schema));
        }
    }
    schema.reads(connection, ledger, since, opened)
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
        let mut modules = connection.prepare("SELECT name FROM pragma_module_list")?;
        let mut rows = modules.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?.to_ascii_lowercase();
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
