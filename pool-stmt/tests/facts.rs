//! The facts of statements of many kinds: as listed, and never less than what the statements are seen to do.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{Facts, StatementKind, StatementRegistry};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const SCHEMA: &str = "
    CREATE TABLE person(
        id INTEGER PRIMARY KEY, name TEXT, born DATE, boss INTEGER REFERENCES person(id) ON DELETE SET NULL);
    CREATE TABLE house(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner INTEGER REFERENCES person(id) ON DELETE CASCADE ON UPDATE CASCADE, street TEXT);
    CREATE TABLE room(
        house INTEGER REFERENCES house(id) ON DELETE CASCADE, name TEXT, PRIMARY KEY(house, name)) WITHOUT ROWID;
    CREATE TABLE log(at TEXT, what TEXT);
    CREATE TABLE lonely(x);
    CREATE INDEX by_name ON person(name);
    CREATE VIEW owners AS SELECT p.name AS owner, h.street FROM person p JOIN house h ON h.owner = p.id;
    CREATE VIEW owners_of_owners AS SELECT owner FROM owners;
    CREATE TRIGGER log_person AFTER INSERT ON person BEGIN INSERT INTO log VALUES (datetime('now'), NEW.name); END;
    CREATE TRIGGER log_log AFTER INSERT ON log WHEN NEW.what = 'x' BEGIN
        UPDATE lonely SET x = (SELECT max(id) FROM house);
    END;
    CREATE TRIGGER into_owners INSTEAD OF INSERT ON owners BEGIN INSERT INTO person(name) VALUES (NEW.owner); END;
    CREATE VIRTUAL TABLE note USING fts5(body);
    CREATE VIRTUAL TABLE place USING rtree(id, x0, x1);
    CREATE TEMP TABLE scratch(v);
    ATTACH ':memory:' AS other;
    CREATE TABLE other.far(z);
    INSERT INTO person(id, name, born, boss) VALUES (1, 'Ada', '1815-12-10', NULL), (2, 'Grace', '1906-12-09', 1);
    INSERT INTO house VALUES (1, 1, 'Marylebone'), (2, 2, 'Arlington');
    INSERT INTO room VALUES (1, 'attic'), (1, 'cellar'), (2, 'study');
    INSERT INTO lonely VALUES (1), ('Ada');
    INSERT INTO note VALUES ('x marks the spot');
    INSERT INTO place VALUES (1, 2, 3);
    INSERT INTO scratch VALUES (7);
    INSERT INTO other.far VALUES (8);
    DELETE FROM log;";

/// The tables whose contents the tests compare.
const TABLES: [&str; 10] = [
    "main.person",
    "main.house",
    "main.room",
    "main.log",
    "main.lonely",
    "main.note",
    "main.place",
    "main.sqlite_master",
    "temp.scratch",
    "other.far",
];

fn connection() -> StatementConnection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection.create_scalar_function("dice", 0, FunctionFlags::default(), |_| Ok(4)).unwrap();
    connection.create_scalar_function("twice", 1, FunctionFlags::SQLITE_DETERMINISTIC, |c| c.get::<i64>(0)).unwrap();
    StatementConnection::new(connection, Arc::new(StatementRegistry::default()), 16)
}

fn facts(connection: &StatementConnection, sql: &str) -> Arc<Facts> {
    let statement = connection.prepare_cached(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    Arc::clone(statement.facts())
}

/// `kind flags | tables read with columns | tables written`, where the flags are `ro` (read-only), `rep` (repeatable),
/// `schema` (changes it) and `txn` (controls transactions).
fn summary(facts: &Facts) -> String {
    let flags = [
        (facts.read_only, " ro"),
        (facts.is_repeatable(), " rep"),
        (facts.accesses.changes_schema, " schema"),
        (facts.accesses.controls_transaction, " txn"),
    ];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let read = facts.accesses.tables_read.iter().map(|(table, columns)| {
        let columns: Vec<&str> = columns.iter().map(|column| &**column).collect();
        let database = if &*table.database == "main" { String::new() } else { format!("{}.", table.database) };
        format!("{database}{}({})", table.name, columns.join(","))
    });
    let written = facts
        .tables_written()
        .map(|table| if &*table.database == "main" { table.name.to_string() } else { table.to_string() });
    format!(
        "{:?}{flags} | {} | {}",
        facts.kind,
        read.collect::<Vec<_>>().join(" "),
        written.collect::<Vec<_>>().join(" ")
    )
}

const LIST: &[(&str, &str)] = &[
    ("SELECT 1", "Query ro rep |  | "),
    ("SELECT * FROM person", "Query ro rep | person(born,boss,id,name) | "),
    ("SELECT count(*) FROM person", "Query ro rep | person() | "),
    ("SELECT name FROM person WHERE id = ?1", "Query ro rep | person(id,name) | "),
    ("SELECT owner, street FROM owners", "Query ro rep | house(owner,street) owners(owner,street) person(id,name) | "),
    (
        "SELECT owner FROM owners_of_owners",
        "Query ro rep | house(owner,street) owners(owner) owners_of_owners(owner) person(id,name) | ",
    ),
    ("SELECT p.name FROM person p, lonely", "Query ro rep | lonely() person(name) | "),
    ("SELECT (SELECT max(x) FROM lonely) FROM room", "Query ro rep | lonely(x) room() | "),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM house WHERE owner = 3)", "Query ro rep | house(owner) | "),
    (
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT i, name FROM n JOIN person ON id = i",
        "Query ro rep | person(id,name) | ",
    ),
    ("WITH q AS (SELECT id FROM house) SELECT * FROM q", "Query ro rep | house(id) | "),
    (
        "SELECT name FROM person UNION SELECT street FROM house EXCEPT SELECT x FROM lonely ORDER BY 1 LIMIT ?",
        "Query ro rep | house(street) lonely(x) person(name) | ",
    ),
    ("SELECT sum(id) OVER (PARTITION BY name ORDER BY born) FROM person", "Query ro rep | person(born,id,name) | "),
    ("SELECT random(), abs(random()), datetime('now'), CURRENT_TIMESTAMP, changes(), dice()", "Query ro |  | "),
    ("SELECT date(born) FROM person", "Query ro | person(born) | "),
    ("SELECT rowid FROM lonely", "Query ro rep | lonely(ROWID) | "),
    ("SELECT value FROM json_each('[1,2]')", "Query ro rep | json_each(value) | "),
    ("SELECT name FROM pragma_table_info('person')", "Query ro | pragma_table_info(name) | "),
    ("SELECT body FROM note WHERE note MATCH 'x'", "Query ro | note(body,note) | "),
    ("SELECT id FROM place WHERE x0 > 1", "Query ro | place(id,x0) | "),
    ("SELECT * FROM scratch", "Query ro rep | temp.scratch(v) | "),
    ("SELECT z FROM other.far, person", "Query ro rep | person() other.far(z) | "),
    ("SELECT * FROM sqlite_schema", "Query ro rep | sqlite_master(name,rootpage,sql,tbl_name,type) | "),
    ("SELECT * FROM sqlite_sequence", "Query ro | sqlite_sequence(name,seq) | "),
    ("SELECT seq FROM sqlite_sequence WHERE name = 'house'", "Query ro | sqlite_sequence(name,seq) | "),
    ("VALUES (1, 'a'), (2, 'b')", "Query ro rep |  | "),
    ("INSERT INTO lonely VALUES (?)", "Insert |  | lonely"),
    ("INSERT INTO lonely SELECT name FROM person", "Insert | person(name) | lonely"),
    (
        "INSERT INTO person(name) VALUES (:name) RETURNING id, name AS n",
        "Insert | house(id,owner) log(what) person(boss,id,name) | log lonely person",
    ),
    (
        "INSERT OR REPLACE INTO person VALUES (1,'a','b',NULL)",
        "Insert | house(id,owner) log(what) person(boss,id,name) room(house) | house log lonely person room",
    ),
    (
        "INSERT INTO person(id, name) VALUES (1,'a') ON CONFLICT(id) DO UPDATE SET name = excluded.name",
        "Insert | house(id,owner) log(what) person(boss,id,name) | log lonely person",
    ),
    (
        "INSERT INTO owners VALUES ('a','b')",
        "Insert | house(id,owner) log(what) owners(owner) person(boss,id,name) | log lonely owners person",
    ),
    ("INSERT INTO house(owner) VALUES (1)", "Insert | person(id) | house"),
    ("INSERT INTO note VALUES ('hello')", "Insert |  | note"),
    ("INSERT INTO place VALUES (1, 2, 3)", "Insert |  | place"),
    ("INSERT INTO scratch VALUES (1)", "Insert |  | temp.scratch"),
    ("INSERT INTO other.far DEFAULT VALUES", "Insert |  | other.far"),
    ("REPLACE INTO lonely VALUES (1)", "Insert |  | lonely"),
    ("UPDATE lonely SET x = x + 1", "Update | lonely(x) | lonely"),
    ("UPDATE person SET name = 'a' WHERE id = 1", "Update | person(id) | person"),
    ("UPDATE person SET id = 5", "Update | house(owner) person(boss,id) | house person"),
    ("UPDATE lonely SET x = h.street FROM house h WHERE h.id = 1", "Update | house(id,street) lonely() | lonely"),
    ("DELETE FROM lonely", "Delete |  | lonely"),
    ("DELETE FROM person", "Delete | house(id,owner) person(boss,id) room(house) | house person room"),
    (
        "DELETE FROM person WHERE id IN (SELECT owner FROM house)",
        "Delete | house(id,owner) person(boss,id) room(house) | house person room",
    ),
    ("DELETE FROM house WHERE id = 1", "Delete | house(id) person(id) room(house) | house room"),
    ("DELETE FROM note", "Delete |  | note"),
    ("WITH old AS (SELECT id FROM house) DELETE FROM lonely WHERE x IN old", "Delete | house(id) lonely(x) | lonely"),
    ("WITH old AS (SELECT id FROM house) INSERT INTO lonely SELECT id FROM old", "Insert | house(id) | lonely"),
    (
        "WITH old AS (SELECT id FROM house) UPDATE lonely SET x = 1 WHERE x IN old",
        "Update | house(id) lonely(x) | lonely",
    ),
    ("CREATE TABLE new(a)", "Schema schema | sqlite_master(ROWID) | new sqlite_master"),
    ("CREATE TABLE IF NOT EXISTS person(a)", "Schema schema |  | person sqlite_master"),
    (
        "CREATE TABLE copy AS SELECT name FROM person",
        "Schema schema | person(name) sqlite_master(ROWID) | copy sqlite_master",
    ),
    (
        "CREATE TEMP TABLE temporary(a)",
        "Schema schema | temp.sqlite_temp_master(ROWID) | temp.sqlite_temp_master temp.temporary",
    ),
    ("CREATE INDEX i ON lonely(x)", "Schema schema | lonely(x) | sqlite_master"),
    ("CREATE VIEW v AS SELECT * FROM person", "Schema schema | sqlite_master(ROWID) | sqlite_master v"),
    ("CREATE TRIGGER tr AFTER DELETE ON lonely BEGIN DELETE FROM log; END", "Schema schema |  | sqlite_master"),
    ("CREATE VIRTUAL TABLE vt USING fts5(a)", "Schema schema | sqlite_master(ROWID) | sqlite_master vt"),
    ("ALTER TABLE lonely ADD COLUMN y", "Schema schema | sqlite_master(name,sql,type) | lonely sqlite_master"),
    (
        "ALTER TABLE lonely RENAME TO alone",
        "Schema schema | sqlite_master(name,sql,tbl_name,type) sqlite_sequence(name) temp.sqlite_temp_master(name,sql,tbl_name,type) | lonely sqlite_master sqlite_sequence temp.sqlite_temp_master",
    ),
    (
        "ALTER TABLE lonely RENAME COLUMN x TO z",
        "Schema schema | sqlite_master(name,sql,tbl_name,type) temp.sqlite_temp_master(name,sql,type) | lonely sqlite_master temp.sqlite_temp_master",
    ),
    (
        "ALTER TABLE log DROP COLUMN at",
        "Schema schema | sqlite_master(name,sql,tbl_name,type) temp.sqlite_temp_master(name,sql,type) | log sqlite_master temp.sqlite_temp_master",
    ),
    ("DROP TABLE lonely", "Schema schema | sqlite_master(rootpage,tbl_name,type) | lonely sqlite_master"),
    (
        "DROP TABLE person",
        "Schema schema | house(id,owner) person(boss,id) room(house) sqlite_master(name,rootpage,tbl_name,type) | house person room sqlite_master",
    ),
    ("DROP VIEW owners", "Schema schema | sqlite_master(name,tbl_name,type) | owners sqlite_master"),
    ("DROP INDEX by_name", "Schema schema | sqlite_master(name,rootpage,type) | sqlite_master"),
    ("DROP TRIGGER log_log", "Schema schema | sqlite_master(name,type) | sqlite_master"),
    ("DROP TABLE note", "Schema schema | sqlite_master(tbl_name,type) | note sqlite_master"),
    ("BEGIN", "Begin txn |  | "),
    ("BEGIN IMMEDIATE", "Begin txn |  | "),
    ("BEGIN EXCLUSIVE TRANSACTION", "Begin txn |  | "),
    ("COMMIT", "Commit txn |  | "),
    ("END", "Commit txn |  | "),
    ("ROLLBACK", "Rollback txn |  | "),
    ("SAVEPOINT a", "Savepoint txn |  | "),
    ("RELEASE a", "Release txn |  | "),
    ("ROLLBACK TO a", "RollbackTo txn |  | "),
    ("ATTACH 'x' AS y", "Attach schema |  | "),
    ("ATTACH ? AS ?", "Attach schema |  | "),
    ("DETACH other", "Detach schema |  | "),
    ("VACUUM", "Vacuum schema |  | "),
    ("VACUUM INTO 'x'", "Vacuum schema |  | "),
    (
        "ANALYZE",
        "Analyze schema | sqlite_master(ROWID) other.sqlite_master(ROWID) | sqlite_master sqlite_stat1 sqlite_stat4 other.sqlite_master other.sqlite_stat1 other.sqlite_stat4",
    ),
    ("ANALYZE person", "Analyze schema | sqlite_master(ROWID) | sqlite_master sqlite_stat1 sqlite_stat4"),
    ("REINDEX", "Reindex schema |  | "),
    ("REINDEX by_name", "Reindex schema |  | "),
    ("PRAGMA user_version", "Pragma ro |  | "),
    ("PRAGMA user_version = 3", "Pragma schema |  | "),
    ("PRAGMA foreign_keys = OFF", "Pragma schema |  | "),
    ("PRAGMA table_info(person)", "Pragma ro |  | "),
    ("PRAGMA table_info = person", "Pragma ro |  | "),
    ("PRAGMA journal_mode", "Pragma |  | "),
    ("PRAGMA journal_mode = WAL", "Pragma schema |  | "),
    ("PRAGMA wal_checkpoint", "Pragma schema |  | "),
    ("PRAGMA optimize", "Pragma schema |  | "),
    ("PRAGMA integrity_check", "Pragma ro |  | "),
    ("PRAGMA cache_size(10)", "Pragma schema |  | "),
    ("PRAGMA data_version", "Pragma ro |  | "),
    ("PRAGMA nonsense", "Pragma ro |  | "),
    ("EXPLAIN SELECT * FROM person", "Explain ro |  | "),
    ("EXPLAIN QUERY PLAN DELETE FROM person", "Explain ro |  | "),
    ("EXPLAIN DROP TABLE person", "Explain ro |  | "),
    ("SELECT load_extension('x')", "Query ro |  | "),
    ("SELECT last_insert_rowid()", "Query ro |  | "),
    ("SELECT name FROM (SELECT name FROM person)", "Query ro rep | person(name) | "),
    ("SELECT name, count(*) FROM person GROUP BY name HAVING count(*) > 1", "Query ro rep | person(name) | "),
    ("SELECT a.name FROM person a LEFT JOIN person b ON a.boss = b.id", "Query ro rep | person(boss,id,name) | "),
    ("SELECT * FROM person INDEXED BY by_name WHERE name = 'a'", "Query ro rep | person(born,boss,id,name) | "),
    ("SELECT rank FROM note('x') ORDER BY rank", "Query ro | note(rank) | "),
    (
        "SELECT * FROM dbstat",
        "Query ro | dbstat(mx_payload,name,ncell,pageno,pagetype,path,payload,pgoffset,pgsize,unused) | ",
    ),
    ("SELECT name FROM person WHERE id = ?5 OR id = ?2", "Query ro rep | person(id,name) | "),
    ("INSERT INTO log VALUES ('a', 'x')", "Insert | house(id) log(what) | log lonely"),
    (
        "SELECT owner AS n, upper(street) FROM owners WHERE owner = :who AND street LIKE @s OR 1 = $x OR ?",
        "Query ro rep | house(owner,street) owners(owner,street) person(id,name) | ",
    ),
    ("DROP TABLE IF EXISTS absent", "Schema |  | "),
    ("DETACH ?", "Detach schema |  | "),
    ("CREATE TRIGGER IF NOT EXISTS log_log AFTER DELETE ON log BEGIN SELECT 1; END", "Schema |  | "),
    ("INSERT OR IGNORE INTO room VALUES (1, 'attic')", "Insert | house(id) | room"),
    (
        "UPDATE OR REPLACE person SET id = 2 WHERE id = 1",
        "Update | house(id,owner) person(boss,id) room(house) | house person room",
    ),
    ("DELETE FROM scratch RETURNING v", "Delete | temp.scratch(v) | temp.scratch"),
    ("SELECT twice(id) FROM person", "Query ro | person(id) | "),
    ("SELECT group_concat(name, ',') FILTER (WHERE id > 1) FROM person", "Query ro rep | person(id,name) | "),
    (
        "SELECT name FROM person WHERE (id, name) IN (SELECT owner, street FROM house)",
        "Query ro rep | house(owner,street) person(id,name) | ",
    ),
    (
        "SELECT (SELECT count(*) FROM room WHERE room.house = house.id) FROM house",
        "Query ro rep | house(id) room(house) | ",
    ),
    ("SELECT x FROM lonely NATURAL JOIN (SELECT 1 AS x)", "Query ro rep | lonely(x) | "),
];

#[test]
fn facts_are_as_listed() {
    for (sql, expected) in LIST {
        // A new one each time: some pragmas do their work as soon as they are prepared.
        let connection = connection();
        assert_eq!(summary(&facts(&connection, sql)), *expected, "{sql}");
    }
}

fn contents(connection: &Connection) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
    TABLES
        .iter()
        .map(|table| (*table, rows(connection, &format!("SELECT * FROM {table}")).unwrap_or_default()))
        .collect()
}

fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql)?;
    for at in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(at, 1)?;
    }
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?);
    }
    Ok(all)
}

#[test]
fn whatever_a_statement_is_seen_to_change_is_in_its_facts() {
    // Some write files of a name without a folder.
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let mut changing = 0;
    for (sql, _) in LIST {
        let connection = connection();
        let facts = facts(&connection, sql);
        let before = (contents(&connection), connection.is_autocommit());
        // Statements that need a transaction or a file fail here and change nothing.
        let ran = rows(&connection, sql);
        let in_transaction = !connection.is_autocommit();
        let after = (contents(&connection), connection.is_autocommit());
        if facts.kind == StatementKind::Detach || sql.starts_with("ALTER TABLE lonely RENAME TO") {
            continue;
        }
        for (table, rows) in &before.0 {
            if after.0[table] != *rows {
                changing += 1;
                assert!(!facts.read_only, "{sql} changes {table} and is called read-only");
                let written = facts.tables_written().any(|written| written.to_string() == *table)
                    || (facts.accesses.changes_schema && table.ends_with("sqlite_master"));
                assert!(written, "{sql} changes {table}: {}", summary(&facts));
            }
        }
        assert!(!in_transaction || facts.accesses.controls_transaction, "{sql} begins a transaction");
        assert!(ran.is_ok() || facts.kind != StatementKind::Query || sql.contains("load_extension"), "{sql}: {ran:?}");
    }
    assert!(changing > 40, "only {changing} changes were seen");
}

#[test]
fn whatever_changes_the_result_of_a_repeatable_query_is_in_its_facts() {
    let mut dependent = 0;
    for (sql, _) in LIST {
        let connection = connection();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        let facts = facts(&connection, sql);
        if !facts.is_repeatable() {
            continue;
        }
        let before = rows(&connection, sql).unwrap();
        assert_eq!(rows(&connection, sql).unwrap(), before, "{sql} is called repeatable");
        for table in TABLES.iter().filter(|table| !table.contains("sqlite_")) {
            connection.execute_batch(&format!("BEGIN; DELETE FROM {table}")).unwrap();
            if rows(&connection, sql).unwrap() != before {
                dependent += 1;
                let read = facts.tables_read().any(|read| read.to_string() == *table);
                assert!(read, "{sql} depends on {table}: {}", summary(&facts));
            }
            connection.execute_batch("ROLLBACK").unwrap();
        }
    }
    assert!(dependent > 25, "only {dependent} dependences were seen");
}

#[test]
fn what_sqlite_calls_read_only_and_is_not_is_known() {
    let connection = connection();
    for sql in
        ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "ATTACH 'x' AS y", "PRAGMA foreign_keys = OFF"]
    {
        let statement = connection.prepare_cached(sql).unwrap();
        assert!(statement.readonly(), "{sql}: SQLite has changed its mind");
        assert!(!statement.facts().read_only, "{sql}");
    }
    let statement = connection.prepare_cached("EXPLAIN DELETE FROM person").unwrap();
    assert!(!statement.readonly() && statement.facts().read_only);
}

#[test]
fn parameters_and_columns_are_known() {
    let connection = connection();
    let known =
        facts(&connection, "SELECT name AS n, born, 1 + ?2, $d FROM person WHERE id = :id OR name = @n OR boss = ?");
    let parameters: Vec<_> = known.parameters.iter().map(Option::as_deref).collect();
    assert_eq!(parameters, [None, Some("?2"), Some("$d"), Some(":id"), Some("@n"), None]);
    let columns: Vec<_> = known.columns.iter().map(|column| (&*column.name, column.declared_type.as_deref())).collect();
    assert_eq!(columns, [("n", Some("TEXT")), ("born", Some("DATE")), ("1 + ?2", None), ("$d", None)]);
}

#[test]
fn functions_that_may_differ_from_run_to_run_are_known() {
    let connection = connection();
    let known =
        facts(&connection, "SELECT random(), abs(1), Date('now'), CURRENT_TIME, dice(), twice(1), total_changes()");
    let names: Vec<_> = known.nondeterministic_functions.iter().map(|name| &**name).collect();
    assert_eq!(names, ["current_time", "date", "dice", "random", "total_changes", "twice"]);
    connection.registry().declare_deterministic("TWICE");
    connection.clear_statements();
    assert!(facts(&connection, "SELECT twice(1)").is_repeatable());
}

#[test]
fn facts_follow_the_schema() {
    let connection = connection();
    let sql = "INSERT INTO lonely VALUES (1)";
    assert_eq!(summary(&facts(&connection, sql)), "Insert |  | lonely");
    connection
        .execute_batch("CREATE TEMP TRIGGER copy AFTER INSERT ON lonely BEGIN INSERT INTO log VALUES ('', NEW.x); END")
        .unwrap();
    assert_eq!(summary(&facts(&connection, sql)), "Insert | house(id) log(what) lonely(x) | log lonely");
    connection.execute_batch("DROP TRIGGER copy").unwrap();
    assert_eq!(summary(&facts(&connection, sql)), "Insert |  | lonely");
    assert_eq!(summary(&connection.registry().facts(sql).unwrap()), "Insert |  | lonely");
}

#[test]
fn a_table_that_became_virtual_is_no_longer_trusted() {
    let connection = connection();
    let sql = "SELECT x FROM lonely";
    assert!(facts(&connection, sql).is_repeatable());
    connection.execute_batch("DROP TABLE lonely; CREATE VIRTUAL TABLE lonely USING fts5(x)").unwrap();
    assert!(!facts(&connection, sql).is_repeatable());
    assert!(facts(&connection, "SELECT value FROM json_each('[1]')").is_repeatable());
}

#[test]
fn accesses_cover_direct_preparations_pooled_statements_and_what_sqlite_prepares_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE a(x); CREATE TABLE b(x); CREATE TABLE c(x); CREATE TABLE d(x)").unwrap();
    let connection =
        StatementConnection::new(Connection::open(&path).unwrap(), Arc::new(StatementRegistry::default()), 16);
    let written = |connection: &StatementConnection| {
        let accesses = connection.take_accesses();
        accesses.tables_written.iter().map(|table| table.name.to_string()).collect::<Vec<_>>().join(" ")
    };
    let insert = "INSERT INTO a VALUES (1)";
    for _ in 0..2 {
        connection.prepare_cached(insert).unwrap().execute([]).unwrap();
        connection.execute("DELETE FROM b", []).unwrap();
        assert_eq!(written(&connection), "a b");
        assert_eq!(written(&connection), "");
    }
    connection.prepare_cached("SELECT x FROM c").unwrap().exists([]).unwrap();
    assert!(connection.take_accesses().tables_read.keys().any(|table| &*table.name == "c"));

    // The pooled statement is outdated by another connection, and SQLite prepares it again while it runs.
    other.execute_batch("CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO d VALUES (2); END").unwrap();
    connection.prepare_cached(insert).unwrap().execute([]).unwrap();
    assert_eq!(written(&connection), "a d");
    connection.prepare_cached(insert).unwrap().execute([]).unwrap();
    assert_eq!(written(&connection), "a d");
    assert_eq!(summary(&connection.registry().facts(insert).unwrap()), "Insert |  | a d");
}

/// The letters of what is told: `s`chema, `t`emp, `p`ragma, `a`ttaches.
fn effects(connection: &StatementConnection) -> String {
    let effects = connection.take_effects();
    let letters = [
        (effects.changes_schema, 's'),
        (effects.changes_temp, 't'),
        (effects.sets_pragma, 'p'),
        (effects.attaches, 'a'),
    ];
    letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect()
}

#[test]
fn effects_tell_what_may_stay_on_the_connection() {
    let list = [
        ("SELECT * FROM person, scratch", ""),
        ("INSERT INTO scratch VALUES (1)", ""),
        ("BEGIN", ""),
        ("CREATE TABLE new(a)", "s"),
        ("CREATE INDEX i ON lonely(x)", "s"),
        ("ALTER TABLE lonely RENAME TO alone", "s"),
        ("CREATE TEMP TABLE t(a)", "st"),
        ("CREATE TABLE temp.t(a)", "st"),
        ("CREATE TEMP TABLE t AS SELECT * FROM person", "st"),
        ("CREATE TEMP VIEW v AS SELECT * FROM person", "st"),
        ("CREATE TEMP TRIGGER t AFTER DELETE ON lonely BEGIN SELECT 1; END", "st"),
        ("CREATE INDEX temp.i ON scratch(v)", "st"),
        ("CREATE VIRTUAL TABLE temp.f USING fts5(a)", "st"),
        ("ALTER TABLE scratch ADD COLUMN w", "st"),
        ("DROP TABLE scratch", "st"),
        ("ATTACH ':memory:' AS y", "sa"),
        ("ATTACH ? AS ?", "sa"),
        ("DETACH other", "sa"),
        ("DETACH ?", "sa"),
        ("PRAGMA foreign_keys", ""),
        ("PRAGMA foreign_keys = 0", "sp"),
        ("PRAGMA locking_mode = EXCLUSIVE", "sp"),
        ("PRAGMA main.cache_size(7)", "sp"),
        ("PRAGMA case_sensitive_like(1)", "sp"),
        ("PRAGMA table_info(person)", ""),
        ("SELECT * FROM pragma_table_info('person')", ""),
        ("SELECT * FROM pragma_foreign_keys", ""),
        ("SELECT * FROM pragma_optimize", "s"),
        ("PRAGMA user_version = 3", "s"),
        ("PRAGMA wal_checkpoint(TRUNCATE)", "s"),
        ("PRAGMA optimize", "s"),
        ("ANALYZE", "s"),
    ];
    for (sql, expected) in list {
        let connection = connection();
        effects(&connection);
        // Prepared by the user, by us, and run, for some of what is done is heard only then.
        drop(connection.prepare(sql).unwrap());
        assert_eq!(effects(&connection), expected, "{sql} prepared directly");
        let mut statement = connection.prepare_cached(sql).unwrap();
        assert_eq!(effects(&connection), expected, "{sql} pooled");
        let accesses = &statement.facts().accesses;
        assert_eq!(accesses.changes_temp, expected.contains('t'), "{sql}");
        assert_eq!(accesses.sets_pragma, expected.contains('p'), "{sql}");
        assert_eq!(accesses.attaches, expected.contains('a'), "{sql}");
        if !sql.contains('?') {
            let mut rows = statement.query([]).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            let others: String = effects(&connection).chars().filter(|letter| !expected.contains(*letter)).collect();
            assert_eq!(others, "", "{sql} run");
        }
    }
}

#[test]
fn the_effects_of_statements_which_rusqlite_keeps_are_not_missed() {
    let connection = connection();
    for sql in ["PRAGMA foreign_keys = 0", "SELECT x FROM lonely"] {
        for _ in 0..3 {
            effects(&connection);
            connection.take_accesses();
            let plain: &Connection = &connection;
            let mut statement = plain.prepare_cached(sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            drop(statement);
            assert_eq!(effects(&connection), if sql.starts_with('P') { "sp" } else { "" });
            assert!(!connection.take_accesses().is_empty(), "{sql}");
        }
    }
}

#[test]
fn accesses_nobody_takes_do_not_pile_up() {
    let connection = connection();
    for n in 0..2_000 {
        facts(&connection, &format!("SELECT name FROM person WHERE id = {n}"));
    }
    let accesses = connection.take_accesses();
    assert_eq!(accesses.tables_read.len(), 1);
}
