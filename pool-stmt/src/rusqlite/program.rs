//! The program that SQLite makes of a statement, as `EXPLAIN` shows it.
//!
//! Owns reading the listing (<https://sqlite.org/opcode.html>). Must not know what any instruction means. Invariant: each program is
//! one piece: the statement's own comes first, those of triggers and foreign keys follow, each with cursors and registers of its own.

use super::lodging::{Lodging, Resident};
use rusqlite::PrepFlags;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) opcode: Box<str>,
    pub(super) p1: i64,
    pub(super) p2: i64,
    pub(super) p3: i64,
    /// As text; `None` where there is none.
    pub(super) p4: Option<Box<str>>,
    pub(super) p5: i64,
}

/// Lists the programs of a statement.
pub(super) fn of<C: Resident>(lodging: &Lodging<C>, sql: &str) -> rusqlite::Result<Vec<Vec<Instruction>>> {
    let text = format!("EXPLAIN {sql}");
    let mut explain = lodging.connection().prepare_with_flags(&text, PrepFlags::SQLITE_PREPARE_DONT_LOG)?;
    let mut listing = explain.raw_query();
    let mut programs: Vec<Vec<Instruction>> = Vec::new();
    while let Some(row) = listing.next()? {
        // addr, opcode, p1, p2, p3, p4, p5, comment
        let address: i64 = row.get(0)?;
        let instruction = Instruction {
            opcode: row.get_ref(1)?.as_str()?.into(),
            p1: row.get(2)?,
            p2: row.get(3)?,
            p3: row.get(4)?,
            p4: row.get_ref(5)?.as_str_or_null()?.map(Into::into),
            p5: row.get(6)?,
        };
        match programs.last_mut() {
            Some(program) if address != 0 => program.push(instruction),
            _ => programs.push(vec![instruction]),
        }
    }
    Ok(programs)
}
