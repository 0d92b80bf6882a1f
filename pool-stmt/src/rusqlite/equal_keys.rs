//! Which indexes a query reads by the value of their first column alone.
//!
//! Owns what is known of cursors on indexes, and of those on tables that follow them. Must not know what a value is good for, nor anything of
//! an index but its order. Invariant: a cursor counts only if, on no way through the program, an entry is looked at whose first column is
//! another than the value in one register, which nothing but one instruction fills, with a bound value or a constant.
//!
//! An index is searched like this (`sqlite3WhereCodeOneLoopStart` in where.c), or the other way round with `SeekLE`, `IdxLT` and `Prev`:
//!
//! ```text
//!       SeekGE  index, end, value      to the first entry that is not lower
//! next: IdxGT   index, end, value      all that have the value were there
//!       DeferredSeek index, table      the table's cursor follows, when something is read that is not in the index
//!       ...
//!       Next    index, next
//! end:
//! ```
//!
//! After a seek to what is not lower, and after `Next`, the entry is not lower; past the comparison it is not higher either. So this walks
//! all ways through the program, from instruction to instruction, with what is known of the place of a cursor and of its follower. Where the
//! way depends on a register (coroutines, subroutines) it goes wherever it may. Whether there are entries beyond is not to be noticed, either:
//! from the seek and from `Next` there is nothing on the way to the comparison, and where there is no entry the program goes on at the very
//! place where it goes on behind the last that has the value.
//!
//! As with single rows this proves something about the text: the result depends on no row of the table with another value in that column.

use super::effect::{self, Effect};
use super::opened::root_in_main;
use super::program::Instruction;
use super::single_rows::is_index;
use std::collections::{BTreeMap, BTreeSet};

/// Which value the first column of an index has. (The value is converted to the column's type for the comparison.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKey {
    /// The one bound to the parameter with this index, the first being 1.
    Parameter(u32),
    /// This number.
    Integer(i64),
    /// This text.
    Text(Box<str>),
}

/// What is found of a program.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    /// The root pages of indexes of which nothing is read but entries with these values in their first column.
    pub(super) indexes: BTreeMap<u32, BTreeSet<ColumnKey>>,
    /// The cursors of tables that read nothing but the rows of such entries.
    pub(super) followers: BTreeSet<i64>,
}

pub(super) fn of(program: &[Instruction], effects: &[Effect]) -> Keyed {
    let mut found = Keyed::default();
    let mut whole = BTreeSet::new();
    for open in program.iter().filter(|open| open.opcode.contains("Open") && is_index(open)) {
        let Some(root) = root_in_main(open) else { continue };
        let pair = Pair::of(program, open.p1).filter(|pair| pair.keeps_to_its_value(program, effects));
        let key = pair.as_ref().and_then(|pair| pair.key(program, effects));
        match (pair, key) {
            (Some(pair), Some(key)) => {
                found.indexes.entry(root).or_default().insert(key);
                found.followers.extend(pair.table);
            }
            _ => _ = whole.insert(root),
        }
    }
    found.indexes.retain(|root, _| !whole.contains(root));
    found
}

/// A cursor on an index and the one on the table that follows it, each opened once.
#[derive(Debug)]
struct Pair {
    index: i64,
    table: Option<i64>,
    /// Where the value is.
    register: i64,
    forward: bool,
    /// Where the program goes on behind the last entry that has the value.
    end: i64,
}

impl Pair {
    fn of(program: &[Instruction], index: i64) -> Option<Self> {
        let is_opened_once = |cursor: i64| {
            let mut opens = program.iter().filter(|other| other.opcode.contains("Open") && other.p1 == cursor);
            opens.next().is_some_and(|open| &*open.opcode == "OpenRead") && opens.next().is_none()
        };
        let open = program.iter().find(|open| &*open.opcode == "OpenRead" && open.p1 == index)?;
        if !is_opened_once(index) || !compares_bytes(open.p4.as_deref()?) {
            return None;
        }
        let seek = program.iter().find(|seek| seek.opcode.starts_with("Seek") && seek.p1 == index)?;
        let forward = match &*seek.opcode {
            "SeekGE" | "SeekGT" => true,
            "SeekLE" | "SeekLT" => false,
            _ => return None,
        };
        if seek.p2 <= 0 {
            return None;
        }
        let mut leads = program.iter().filter(|lead| &*lead.opcode == "DeferredSeek" && lead.p1 == index);
        let table = leads.next().map(|lead| lead.p3);
        if let Some(table) = table {
            let leads_elsewhere = leads.any(|lead| lead.p3 != table);
            let is_led = |lead: &Instruction| &*lead.opcode == "DeferredSeek" && lead.p3 == table && lead.p1 != index;
            if leads_elsewhere || !is_opened_once(table) || program.iter().any(is_led) {
                return None;
            }
        }
        Some(Self { index, table, register: seek.p3, forward, end: seek.p2 })
    }

    /// The value, if nothing else comes into its register: but for one conversion to the column's type, that may be.
    fn key(&self, program: &[Instruction], effects: &[Effect]) -> Option<ColumnKey> {
        let converts = |other: &&Instruction| {
            &*other.opcode == "Affinity" && (other.p1..other.p1 + other.p2).contains(&self.register)
        };
        if program.iter().filter(converts).count() > 1 {
            return None;
        }
        let source = effect::source(program, effects, self.register, |other| &*other.opcode != "Affinity")?;
        match (&*source.opcode, &source.p4) {
            ("String8", Some(text)) => Some(ColumnKey::Text(text.clone())),
            _ => effect::parameter(source)
                .map(ColumnKey::Parameter)
                .or_else(|| effect::number(source).map(ColumnKey::Integer)),
        }
    }

    /// Walks all ways through the program.
    fn keeps_to_its_value(&self, program: &[Instruction], effects: &[Effect]) -> bool {
        let dynamic = dynamic_targets(program);
        let mut met = BTreeSet::new();
        let mut ahead = vec![(0, Place::START)];
        while let Some((at, place)) = ahead.pop() {
            let (Some(instruction), Some(effect)) = (program.get(at), effects.get(at)) else { continue };
            if !met.insert((at, place)) {
                continue;
            }
            let ends = i64::try_from(at + 1) == Ok(self.end);
            let Some(Step { falls, jumps }) = self.step(place, instruction, effect, ends) else { return false };
            let ways = Ways::of(instruction);
            if ways.falls {
                ahead.push((at + 1, falls));
            }
            let Some(jumps) = jumps else { continue };
            ahead.extend(ways.jumps.into_iter().flatten().map(|target| (target, jumps)));
            if ways.dynamic {
                ahead.extend(dynamic.iter().map(|target| (*target, jumps)));
            }
        }
        true
    }

    /// Where the cursors are after an instruction; `None` if it reads what it must not, or does what is not known. `ends`: whether what
    /// comes next is the end.
    fn step(&self, place: Place, instruction: &Instruction, effect: &Effect, ends: bool) -> Option<Step> {
        let Place { index, table } = place;
        let [first, second] = effect.cursors;
        // What the follower has is lost when the index moves on: it may not have looked yet.
        let moved = |index| Place { index, table: if table == Follower::Null { table } else { Follower::Anywhere } };
        let stays = Some(Step::both(place));
        if first == Some(self.index) {
            let compares = instruction.p3 == self.register && has_columns(instruction) && instruction.p2 == self.end;
            let on_an_entry = matches!(index, Entry::NotBefore | Entry::Found);
            return match (&*instruction.opcode, self.forward) {
                ("IdxGT" | "IdxGE", true) | ("IdxLT" | "IdxLE", false) => (compares && on_an_entry)
                    .then(|| Step { falls: Place { index: Entry::Found, table }, jumps: Some(moved(Entry::Anywhere)) }),
                _ if index == Entry::NotBefore => None,
                ("SeekGE" | "SeekGT", true) | ("SeekLE" | "SeekLT", false) => {
                    compares.then(|| Step { falls: moved(Entry::NotBefore), jumps: Some(moved(Entry::Anywhere)) })
                }
                // There is none after `NULL`, for which the cursor was cleared.
                ("Next", true) | ("Prev", false) if index == Entry::Null => {
                    Some(Step { falls: moved(Entry::Anywhere), jumps: None })
                }
                ("Next", true) | ("Prev", false) => (index == Entry::Found && ends)
                    .then(|| Step { falls: moved(Entry::Anywhere), jumps: Some(moved(Entry::NotBefore)) }),
                ("DeferredSeek", _) => (index == Entry::Found && Some(instruction.p3) == self.table)
                    .then(|| Step::both(Place { index, table: Follower::Follows })),
                ("Column" | "IdxRowid" | "IfNullRow", _) if index != Entry::Anywhere => stays,
                ("NullRow", _) => Some(Step::both(moved(Entry::Null))),
                ("OpenRead" | "Close", _) => Some(Step::both(moved(Entry::Anywhere))),
                ("ColumnsUsed", _) => stays,
                _ => None,
            };
        }
        if index == Entry::NotBefore {
            return None;
        }
        if first.is_some() && first == self.table {
            return match &*instruction.opcode {
                "OpenRead" | "Close" => Some(Step::both(Place { index, table: Follower::Anywhere })),
                "Column" | "FinishSeek" | "IfNullRow" | "Rowid" if table != Follower::Anywhere => stays,
                "NullRow" => Some(Step::both(Place { index, table: Follower::Null })),
                "ColumnsUsed" => stays,
                _ => None,
            };
        }
        let is_ours = second.is_some_and(|second| second == self.index || Some(second) == self.table);
        if is_ours { None } else { stays }
    }
}

/// Tells whether the first column of an index is compared byte by byte, by what its `Open` says of the order: `k(2,-,NOCASE)` is one of two
/// columns, the first in descending order of bytes.
fn compares_bytes(order: &str) -> bool {
    let first = order.split_once(',').map(|(_, rest)| rest.split([',', ')']).next().unwrap_or_default());
    first.is_some_and(|first| matches!(first.trim_start_matches('-').trim_start_matches("N."), "" | "B" | "BINARY"))
}

/// Tells whether a seek or a comparison is about columns in registers, not a record in one.
fn has_columns(instruction: &Instruction) -> bool {
    instruction.p4.as_ref().and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count > 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// It may be anywhere, or on nothing.
    Anywhere,
    /// On an entry whose first column is not before the value, of which nobody must know.
    NotBefore,
    /// On an entry that has the value.
    Found,
    /// It gives nothing but `NULL`.
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Follower {
    Anywhere,
    /// On the row of the entry on which the index is.
    Follows,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    index: Entry,
    table: Follower,
}

impl Place {
    const START: Self = Self { index: Entry::Anywhere, table: Follower::Anywhere };
}

/// The places if the program goes on with the next instruction, and if it goes somewhere else.
struct Step {
    falls: Place,
    /// `None` if it never does.
    jumps: Option<Place>,
}

impl Step {
    const fn both(place: Place) -> Self {
        Self { falls: place, jumps: Some(place) }
    }
}

/// Where a program may go on.
struct Ways {
    falls: bool,
    jumps: [Option<usize>; 3],
    /// Where a register says.
    dynamic: bool,
}

impl Ways {
    /// Of instructions that `effect` knows.
    fn of(instruction: &Instruction) -> Self {
        let Instruction { p1, p2, p3, .. } = *instruction;
        let to = |address: i64| usize::try_from(address).ok().filter(|address| *address > 0);
        let (falls, dynamic, jumps) = match &*instruction.opcode {
            "Halt" => (false, false, [None; 3]),
            "Goto" | "Gosub" => (false, false, [to(p2), None, None]),
            "Jump" => (false, false, [to(p1), to(p2), to(p3)]),
            "Init" | "InitCoroutine" => (to(p2).is_none(), false, [to(p2), None, None]),
            "EndCoroutine" | "Return" | "Yield" => (true, true, [to(p2), None, None]),
            "DecrJumpZero" | "ElseEq" | "Eq" | "Filter" | "Found" | "Ge" | "Gt" | "IdxGE" | "IdxGT" | "IdxLE"
            | "IdxLT" | "If" | "IfNot" | "IfNotZero" | "IfNullRow" | "IfPos" | "IsNull" | "Last" | "Le" | "Lt"
            | "MustBeInt" | "Ne" | "Next" | "NoConflict" | "NotExists" | "NotFound" | "NotNull" | "Once" | "Prev"
            | "Rewind" | "SeekGE" | "SeekGT" | "SeekLE" | "SeekLT" | "SeekRowid" | "Sort" | "SorterNext"
            | "SorterSort" => (true, false, [to(p2), None, None]),
            _ => (true, false, [None; 3]),
        };
        Self { falls, jumps, dynamic }
    }
}

/// Wherever an address in a register may lead to.
fn dynamic_targets(program: &[Instruction]) -> BTreeSet<usize> {
    let mut targets = BTreeSet::new();
    for (at, instruction) in program.iter().enumerate() {
        let address = match &*instruction.opcode {
            "Gosub" => None,
            "InitCoroutine" => Some(instruction.p3),
            "Yield" => Some(instruction.p2),
            _ => continue,
        };
        targets.insert(at + 1);
        targets.extend(address.and_then(|address| usize::try_from(address).ok()));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::ColumnKey::{self, Integer, Parameter, Text};
    use crate::StatementRegistry;
    use crate::rusqlite::StatementConnection;
    use std::sync::Arc;

    const SCHEMA: &str = "
        CREATE TABLE city (id INTEGER PRIMARY KEY, country INTEGER, name TEXT, people, noted TEXT COLLATE NOCASE);
        CREATE INDEX by_country ON city (country);
        CREATE INDEX by_name ON city (name, people);
        CREATE INDEX by_noted ON city (noted);
        CREATE INDEX downwards ON city (people DESC, id);
        CREATE TABLE part (id INTEGER PRIMARY KEY, kind, code UNIQUE, size);
        CREATE INDEX large ON part (kind) WHERE size > 10;
        CREATE INDEX by_half ON part (size / 2);
        CREATE TABLE keyed (name PRIMARY KEY, kind) WITHOUT ROWID;
        CREATE INDEX by_kind ON keyed (kind);
        CREATE TABLE unindexed (id INTEGER PRIMARY KEY, country);
        CREATE VIEW large_cities AS SELECT * FROM city WHERE people > 100;
        CREATE VIEW both AS SELECT id, country FROM city UNION ALL SELECT id, country FROM unindexed;
    ";

    fn connection() -> StatementConnection {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        StatementConnection::new(connection, Arc::new(StatementRegistry::default()), 8)
    }

    /// The indexes read by value, and whether any of their tables is read in another way.
    fn keys(connection: &StatementConnection, sql: &str) -> (Vec<(String, Vec<ColumnKey>)>, bool) {
        let opened = connection.opened_by(sql).unwrap();
        let name = |root: &u32| {
            let sql = "SELECT name, tbl_name FROM sqlite_schema WHERE rootpage = ?1";
            connection.query_row(sql, [root], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let names: Vec<(String, String)> = opened.keys.keys().map(name).collect();
        let others = opened.roots.iter().filter(|root| !opened.keys.contains_key(root));
        let others = others.filter(|root| opened.rows.get(root).is_none_or(|rows| !rows.is_empty()));
        let whole = others.map(name).any(|(_, table)| names.iter().any(|(_, of)| *of == table));
        let keys = opened.keys.values().map(|keys| keys.iter().cloned().collect());
        (names.into_iter().map(|(index, _)| index).zip(keys).collect(), whole)
    }

    #[test]
    fn a_search_for_one_value_of_an_index_is_recognised() {
        let connection = connection();
        let one = |index: &str, key: ColumnKey| vec![(index.to_owned(), vec![key])];
        for (sql, expected) in [
            ("SELECT count(*), sum(people), max(name) FROM city WHERE country = ?1", one("by_country", Parameter(1))),
            ("SELECT count(*) FROM city WHERE country = 7", one("by_country", Integer(7))),
            ("SELECT * FROM city WHERE country = -70000000000", one("by_country", Integer(-70_000_000_000))),
            ("SELECT * FROM city WHERE name = 'it''s'", one("by_name", Text("it's".into()))),
            ("SELECT id FROM city WHERE name = ?2 AND people > ?1", one("by_name", Parameter(2))),
            ("SELECT country FROM city WHERE name = ?1 ORDER BY people DESC LIMIT 3", one("by_name", Parameter(1))),
            ("SELECT name FROM city WHERE country = :c ORDER BY id DESC", one("by_country", Parameter(1))),
            ("SELECT max(id) FROM city WHERE country = ?1", one("by_country", Parameter(1))),
            ("SELECT DISTINCT noted || '' FROM city WHERE country = ?1 ORDER BY 1", one("by_country", Parameter(1))),
            (
                "SELECT noted, count(*) FROM city WHERE country = ?1 GROUP BY noted || ''",
                one("by_country", Parameter(1)),
            ),
            ("SELECT id FROM city WHERE people = 5", one("downwards", Integer(5))),
            ("SELECT size FROM part WHERE code = ?1", one("sqlite_autoindex_part_1", Parameter(1))),
            ("SELECT name FROM city WHERE country IS ?1", one("by_country", Parameter(1))),
            ("SELECT count(*) FROM large_cities WHERE country = ?1", one("by_country", Parameter(1))),
            ("SELECT EXISTS (SELECT 1 FROM city WHERE country = ?1)", one("by_country", Parameter(1))),
            (
                "WITH c AS (SELECT * FROM city) SELECT sum(people) FROM c WHERE country = ?1",
                one("by_country", Parameter(1)),
            ),
            ("SELECT (SELECT count(*) FROM city WHERE country = ?1) + 1", one("by_country", Parameter(1))),
            ("SELECT c.name FROM unindexed u JOIN city c ON c.country = ?1", one("by_country", Parameter(1))),
            ("SELECT c.name FROM unindexed u LEFT JOIN city c ON c.country = ?1", one("by_country", Parameter(1))),
            ("SELECT size FROM part WHERE kind = ?1 AND size > 10", one("large", Parameter(1))),
            ("SELECT kind FROM part WHERE size / 2 = ?1", one("by_half", Parameter(1))),
            ("SELECT count(*) FROM keyed WHERE kind = ?1", one("by_kind", Parameter(1))),
            (
                "SELECT id FROM city WHERE country = ?1 UNION ALL SELECT id FROM city WHERE country = 3",
                vec![("by_country".to_owned(), vec![Parameter(1), Integer(3)])],
            ),
            (
                "SELECT a.id, b.id FROM city a, city b WHERE a.country = ?1 AND b.name = ?2",
                vec![("by_country".to_owned(), vec![Parameter(1)]), ("by_name".to_owned(), vec![Parameter(2)])],
            ),
        ] {
            assert_eq!(keys(&connection, sql), (expected, false), "{sql}");
        }
    }

    #[test]
    fn what_may_read_entries_with_other_values_is_not() {
        let connection = connection();
        for sql in [
            "SELECT id FROM city WHERE country > ?1",
            "SELECT id FROM city WHERE country BETWEEN ?1 AND ?1",
            "SELECT id FROM city WHERE name = ?1 AND people IN (SELECT 3 UNION SELECT 4)",
            "SELECT id FROM city WHERE country IN (?1, ?2)",
            "SELECT id FROM city WHERE country = ?1 OR country = ?2",
            "SELECT id FROM city WHERE country = ?1 OR name = ?2",
            "SELECT id FROM city WHERE country = ?1 + 1",
            "SELECT id FROM city WHERE +country = ?1",
            "SELECT id FROM city WHERE country = abs(?1)",
            "SELECT id FROM city WHERE country IS NULL",
            "SELECT id FROM city WHERE noted = ?1",
            "SELECT id FROM city WHERE name = ?1 COLLATE NOCASE",
            "SELECT id FROM city WHERE name LIKE 'a%'",
            "SELECT id FROM city WHERE name GLOB 'a*'",
            "SELECT max(country) FROM city",
            "SELECT count(*) FROM city",
            "SELECT country, count(*) FROM city GROUP BY country",
            "SELECT a.id FROM city a JOIN unindexed u ON a.country = u.country",
            "SELECT a.id FROM unindexed u LEFT JOIN city a ON a.country = u.country",
            "SELECT id FROM both WHERE country = (SELECT max(country) FROM city)",
            "SELECT id FROM city WHERE country = 3.5",
            "SELECT id FROM city WHERE country = x'00'",
            "SELECT u.id FROM unindexed u WHERE u.country = ?1",
            "SELECT id FROM city WHERE (country, name) = (SELECT 1, 'x')",
            "SELECT count(*) FROM keyed WHERE name > ?1",
            "SELECT count(*) FROM city WHERE name > ?1",
            "SELECT EXISTS (SELECT 1 FROM city WHERE name >= ?1)",
            "SELECT EXISTS (SELECT 1 FROM city WHERE country < ?1)",
        ] {
            assert_eq!(keys(&connection, sql).0, [], "{sql}");
        }
        // These do not, but it does not show at a glance: with the entry found there is something to be done before the comparison.
        for sql in
            ["SELECT id FROM city WHERE name = ?2 AND people < ?1", "SELECT min(people) FROM city WHERE name = ?1"]
        {
            assert_eq!(keys(&connection, sql).0, [], "{sql}");
        }
        // By another index of the same table, or by its rows, as well.
        for sql in [
            "SELECT id FROM city WHERE country = ?1 AND id > (SELECT min(id) FROM city)",
            "SELECT id FROM city WHERE country = ?1 UNION ALL SELECT sum(length(name || noted)) FROM city",
            "SELECT id FROM city WHERE country = ?1 AND +people = (SELECT max(people) FROM city)",
            "SELECT a.id FROM city a, city b WHERE a.country = ?1 AND b.id = a.people",
        ] {
            assert!(keys(&connection, sql).1, "{sql}");
        }
    }
}
