//! Making tables: what works as data, what is refused and how the refusal reads, and that it is all or nothing.

use pool_manager::{Column, ColumnType, DatabaseManager, DefaultValue, Error, Schema};

use crate::support::TestDb;

fn problems(error: Error) -> Vec<String> {
    match error {
        Error::Schema(schema) => schema.problems,
        other => panic!("not a schema error: {other:?}"),
    }
}

fn table(name: &str) -> Schema {
    Schema::new(name).column(Column::number("id").primary())
}

#[test]
fn every_type_and_option_of_the_description_works_from_json() {
    let test = TestDb::with_defaults();
    let schema = Schema::from_json(
        r#"{"name": "everything", "columns": [
            {"name": "id", "type": "number", "primary": true, "autoIncrement": true},
            {"name": "n", "type": "number", "default": -5},
            {"name": "s", "type": "string", "unique": true, "nullable": false, "default": "it's"},
            {"name": "f", "type": "float", "default": 1e300},
            {"name": "b", "type": "boolean", "default": true},
            {"name": "d", "type": "Date", "default": "CURRENT_TIMESTAMP"},
            {"name": "d2", "type": "Date", "default": "2026-01-02T03:04:05Z"},
            {"name": "j", "type": "json", "default": {"a": ["it's", null, 1.5]}},
            {"name": "empty", "type": "string", "nullable": true, "default": null}
        ]}"#,
    )
    .unwrap();
    test.db.blocking().create(schema.clone()).unwrap();
    test.db.blocking().create(schema).expect("the same again changes nothing");
    test.db
        .blocking()
        .write(|tx| {
            tx.execute("INSERT INTO everything DEFAULT VALUES", [])?;
            let row =
                tx.query_row("SELECT n, s, f, b, length(d), d2, j ->> '$.a[0]', empty FROM everything", [], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, f64>(2)?,
                        row.get::<_, bool>(3)?,
                        row.get::<_, i64>(4)?,
                        row.get::<_, String>(5)?,
                        row.get::<_, String>(6)?,
                        row.get::<_, Option<String>>(7)?,
                    ))
                })?;
            let date = "2026-01-02T03:04:05Z".to_owned();
            assert_eq!(row, (-5, "it's".to_owned(), 1e300, true, 19, date, "it's".to_owned(), None));
            tx.execute("INSERT INTO everything DEFAULT VALUES", []).expect_err("s is unique");
            tx.execute("INSERT INTO everything (s) VALUES (NULL)", []).expect_err("s is not nullable");
            tx.execute("INSERT INTO everything (s, b) VALUES ('x', 2)", []).expect_err("b is 0 or 1");
            tx.execute("INSERT INTO everything (s, j) VALUES ('y', '{')", []).expect_err("j is JSON");
            tx.execute("DELETE FROM everything", [])?;
            tx.execute("INSERT INTO everything DEFAULT VALUES", [])?;
            assert_eq!(tx.last_insert_rowid(), 2, "an autoIncrement value is never used again");
            Ok(())
        })
        .unwrap();
}

#[test]
fn awkward_names_are_data() {
    let test = TestDb::with_defaults();
    let long = "n".repeat(10_000);
    let names = [
        "order",
        "my table",
        "a\"b",
        "a'b",
        "a`b",
        "[a]",
        "ä 表 🦀",
        "--",
        "a;b",
        "%s",
        "\\",
        " ",
        "x AS SELECT 1 --",
        &long,
    ];
    for name in names {
        let schema =
            Schema::new(name).column(Column::number(name).primary()).column(Column::string(format!("{name}2")));
        test.db.blocking().create(schema).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found: i64 = test
            .db
            .blocking()
            .read(|conn| {
                Ok(conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0))?)
            })
            .unwrap();
        assert_eq!(found, 1, "{name:?}");
    }
}

#[test]
fn awkward_defaults_are_data() {
    let test = TestDb::with_defaults();
    let texts = [
        "O'Reilly",
        "''",
        "\"",
        "'); DROP TABLE t; --",
        "CURRENT_TIMESTAMP",
        "NULL",
        "%",
        "\n\t",
        "{\"a\": \"it's\"}",
        "",
    ];
    for (at, text) in texts.iter().enumerate() {
        let name = format!("t{at}");
        test.db.blocking().create(table(&name).column(Column::string("s").default(*text))).unwrap();
        let stored: String = test
            .db
            .blocking()
            .execute_pooled_transaction(|tx| {
                tx.execute(&format!("INSERT INTO {name} DEFAULT VALUES"), [])?;
                Ok(tx.query_row(&format!("SELECT s FROM {name}"), [], |row| row.get(0))?)
            })
            .unwrap();
        assert_eq!(stored, *text);
    }
    for (at, number) in [i64::MIN, i64::MAX, 0, -1].into_iter().enumerate() {
        let name = format!("n{at}");
        test.db.blocking().create(table(&name).column(Column::number("n").default(number))).unwrap();
        let stored: i64 = test
            .db
            .blocking()
            .execute_pooled_transaction(|tx| {
                tx.execute(&format!("INSERT INTO {name} (id) VALUES (1)"), [])?;
                Ok(tx.query_row(&format!("SELECT n FROM {name}"), [], |row| row.get(0))?)
            })
            .unwrap();
        assert_eq!(stored, number);
    }
}

#[test]
fn columns_of_bytes_hold_them_as_they_are() {
    let test = TestDb::with_defaults();
    let bytes = vec![0_u8, 39, 255, b'a'];
    let by_hand = table("files")
        .column(Column::blob("content").not_null())
        .column(Column::blob("rest").default(bytes.clone()))
        .column(Column::blob("empty").default(DefaultValue::Blob(Vec::new())));
    test.db.blocking().create(by_hand.clone()).unwrap();
    test.db.blocking().create(by_hand).unwrap();
    let content = bytes.clone();
    let stored = test.db.blocking().write(move |tx| {
        tx.execute("INSERT INTO files (content) VALUES (?1)", [content])?;
        let of_row = "SELECT content, rest, empty, typeof(rest) || typeof(empty) FROM files";
        Ok(tx.query_row(of_row, [], |row| {
            Ok((
                row.get::<_, Vec<u8>>(0)?,
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, String>(3)?,
            ))
        })?)
    });
    assert_eq!(stored.unwrap(), (bytes.clone(), bytes, Vec::new(), "blobblob".to_owned()));
    let json = r#"{"name": "t", "columns": [
        {"name": "id", "type": "number", "primary": true}, {"name": "b", "type": "blob", "default": null}]}"#;
    let from_json = Schema::from_json(json).unwrap();
    assert_eq!(from_json, table("t").column(Column::blob("b").default(DefaultValue::Null)));
    test.db.blocking().create(from_json).unwrap();
    // JSON has no bytes, and text is not taken for them.
    let text = Schema::from_json(&json.replace("null", "\"00ff\"")).unwrap_err().to_string();
    assert_eq!(text, r#"table "t", column "b": default "00ff" does not fit type "blob"; allowed: bytes"#);
    let document = table("t").column(Column::json("j").default(vec![0_u8, 16])).to_sql().unwrap_err().to_string();
    assert_eq!(
        document,
        r#"table "t", column "j": default x'0010' does not fit type "json"; allowed: a JSON document"#
    );
}

#[test]
fn wrong_descriptions_are_refused_with_table_column_value_and_what_is_allowed() {
    let cases: [(Schema, &str); 14] = [
        (Schema::new("t"), r#"table "t" has no columns; at least one is needed"#),
        (
            Schema::new("t").column(Column::string("a")),
            r#"table "t" has no primary key; mark at least one column as primary"#,
        ),
        (table("t").column(Column::string("ID")), r#"table "t" has column "ID" twice (case does not count)"#),
        (table(""), r#"table name "" is empty"#),
        (table("a\0b"), r#"table name "a\0b" holds a NUL character, which no SQL identifier can"#),
        (
            table("sqlite_mine"),
            r#"table name "sqlite_mine" is reserved: names that begin with "sqlite_" are SQLite's own"#,
        ),
        (table("t").column(Column::string("")), r#"table "t", column "": the name is empty"#),
        (
            table("t").column(Column::float("f").default(f64::NAN)),
            r#"table "t", column "f": default NaN is not a finite number; SQL has no literal for it"#,
        ),
        (
            table("t").column(Column::string("s").default("a\0")),
            r#"table "t", column "s": default "a\0" holds a NUL character, which no SQL text literal can"#,
        ),
        (
            table("t").column(Column::number("n").default("five")),
            r#"table "t", column "n": default "five" does not fit type "number"; allowed: a whole number"#,
        ),
        (
            table("t").column(Column::string("s").not_null().default(DefaultValue::Null)),
            r#"table "t", column "s": default null is not allowed: the column is not nullable"#,
        ),
        (
            Schema::new("t").column(Column::string("s").primary().auto_increment()),
            r#"table "t", column "s": autoIncrement needs a column of type "number" that is the whole primary key"#,
        ),
        (
            Schema::new("t").column(Column::number("n").primary().nullable(true)),
            r#"table "t", column "n": a primary key can't be nullable"#,
        ),
        (
            table("t").column(Column::boolean("b").default(1_i64)),
            r#"table "t", column "b": default 1 does not fit type "boolean"; allowed: true or false"#,
        ),
    ];
    let db = DatabaseManager::open(":memory:").unwrap();
    for (schema, expected) in cases {
        let found = problems(db.blocking().create(schema).expect_err(expected));
        assert_eq!(found, [expected]);
    }
}

#[test]
fn wrong_json_is_refused_with_all_its_problems() {
    let error = Schema::from_json(
        r#"{"name": "t", "colour": 1, "columns": [
            {"name": "id", "type": "number", "primary": "yes"},
            {"name": "a", "type": "bytes"},
            {"type": "string"},
            {"name": "b", "type": "number", "default": 18446744073709551615},
            {"name": "c", "type": "string", "default": [1]},
            5
        ]}"#,
    )
    .expect_err("wrong in many ways");
    let expected = [
        r#"table "t": unknown key "colour"; allowed: name, columns"#,
        r#"table "t", column "id": primary is "yes"; allowed: true or false"#,
        r#"table "t", column "a": type is "bytes"; allowed: "number", "string", "float", "boolean", "Date", "json", "blob""#,
        r#"table "t": column name is missing; allowed: text"#,
        r#"table "t", column "b": default 18446744073709551615 is out of range; allowed: up to 9223372036854775807"#,
        r#"table "t", column "c": default [1] does not fit type "string"; only type "json" takes documents"#,
        r#"table "t": a column is an object, not 5"#,
    ];
    assert_eq!(problems(error), expected);
    for text in ["", "[]", "null", "{\"name\": 5}", "{\"name\": \"t\", \"columns\": {}}", "{"] {
        Schema::from_json(text).expect_err(text);
    }
}

#[test]
fn create_all_makes_all_tables_or_none() {
    let test = TestDb::with_defaults();
    let blocking = test.db.blocking();
    blocking.create(table("taken").column(Column::string("a"))).unwrap();
    let tables = || -> i64 {
        blocking
            .read(|conn| {
                Ok(conn.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))?)
            })
            .unwrap()
    };
    let found = problems(blocking.create_all([table("one"), table("taken"), table("two")]).expect_err("taken differs"));
    assert_eq!(
        found,
        [r#"table "taken" exists already and differs from its description: column "a" is not described"#]
    );
    blocking.create_all([table("one"), Schema::new("wrong")]).expect_err("no columns");
    assert_eq!(tables(), 1);
    blocking.create_all([table("one"), table("two")]).unwrap();
    assert_eq!(tables(), 3);
}

#[test]
fn a_table_made_elsewhere_with_the_same_columns_is_accepted() {
    let test = TestDb::with_defaults();
    test.foreign().execute_batch("create table Users(ID integer primary key not null, name text unique)").unwrap();
    let users =
        |kind| Schema::new("users").column(Column::number("ID").primary()).column(Column::new("name", kind).unique());
    test.db.blocking().create(users(ColumnType::String)).unwrap();
    problems(test.db.blocking().create(users(ColumnType::Float)).expect_err("another type"));
}

#[test]
fn a_composite_primary_key_is_one_key() {
    let test = TestDb::with_defaults();
    let schema = Schema::new("t").column(Column::number("a").primary()).column(Column::string("b").primary());
    test.db.blocking().create(schema).unwrap();
    test.db
        .blocking()
        .write(|tx| {
            tx.execute_batch("INSERT INTO t VALUES (1, 'x'), (1, 'y'), (2, 'x')")?;
            tx.execute("INSERT INTO t VALUES (1, 'x')", []).expect_err("taken");
            tx.execute("INSERT INTO t VALUES (3, NULL)", []).expect_err("a key is never null");
            Ok(())
        })
        .unwrap();
}

#[test]
fn more_columns_than_sqlite_takes_are_an_error() {
    let test = TestDb::with_defaults();
    let wide =
        |columns: usize| (0..columns).fold(table("wide"), |schema, at| schema.column(Column::number(format!("c{at}"))));
    test.db.blocking().create(wide(1_999)).unwrap();
    let error = test.db.blocking().create(wide(2_500)).expect_err("more than SQLite takes");
    assert!(error.to_string().contains("too many columns"), "{error}");
}

#[test]
fn an_existing_table_is_compared_exactly_and_the_difference_is_shown() {
    let test = TestDb::with_defaults();
    let blocking = test.db.blocking();
    let described = || table("s").column(Column::string("v").default("a b"));
    for (made, differs) in [
        ("CREATE TABLE s (id INTEGER PRIMARY KEY, v TEXT DEFAULT 'a b')", None),
        ("create table \"s\"(id INTEGER PRIMARY KEY NOT NULL,v TEXT DEFAULT 'a b')", None),
        ("CREATE TABLE s (id INTEGER PRIMARY KEY, v TEXT DEFAULT 'a  b')", Some("v")),
        ("CREATE TABLE s (id INTEGER PRIMARY KEY, \"v \" TEXT DEFAULT 'a b')", Some("is missing")),
        ("CREATE TABLE s (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT DEFAULT 'a b')", Some("AUTOINCREMENT")),
        ("CREATE TABLE s (id INTEGER PRIMARY KEY, v TEXT AS (id))", Some("GENERATED")),
        ("CREATE TABLE s (v TEXT DEFAULT 'a b', id INTEGER PRIMARY KEY)", Some("order")),
        ("CREATE TABLE s (id TEXT PRIMARY KEY, v TEXT DEFAULT 'a b')", Some("TEXT PRIMARY KEY")),
    ] {
        blocking
            .execute_pooled_transaction(|tx| Ok(tx.execute_batch(&format!("DROP TABLE IF EXISTS s; {made}"))?))
            .unwrap();
        match (blocking.create(described()), differs) {
            (Ok(()), None) => {}
            (Err(error), Some(how)) => assert!(error.to_string().contains(how), "{made}: {error}"),
            (done, _) => panic!("{made}: {done:?}"),
        }
    }
}
