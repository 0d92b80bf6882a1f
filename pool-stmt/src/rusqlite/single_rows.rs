//! Which tables a query reads by the number of a row alone.
//!
//! Owns what is known of such cursors. Must not know what a row is good for. Invariant: a program with an instruction that is not
//! known (`effect`) reads no single rows; a cursor counts only if nothing but a seek to one number moves it, and that number is in a register
//! which nothing but one instruction fills, with a bound value or a constant.
//!
//! Such a program proves something about its text, whatever the program looks like that runs: the result of the query depends on
//! no other row of that table.

use super::effect::{self, Effect};
use super::opened::root_in_main;
use super::program::Instruction;
use std::collections::{BTreeMap, BTreeSet};

/// Which row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// The one whose number is bound to the parameter with this index, the first being 1.
    Parameter(u32),
    /// The one with this number.
    Number(i64),
}

/// What is known of a cursor so far.
#[derive(Debug)]
enum Cursor {
    /// It is opened on this table, and moved by nothing but seeks to the numbers in these registers.
    Seeks { root: u32, registers: BTreeSet<i64> },
    /// It may be anywhere.
    Roams,
}

impl Cursor {
    /// The cursor after this instruction, which is about it.
    fn after(before: Option<Self>, instruction: &Instruction) -> Self {
        match (before, &*instruction.opcode) {
            (None, "OpenRead") if !is_index(instruction) => match root_in_main(instruction) {
                Some(root) => Self::Seeks { root, registers: BTreeSet::new() },
                None => Self::Roams,
            },
            (Some(Self::Seeks { root, mut registers }), "SeekRowid" | "NotExists") => {
                registers.insert(instruction.p3);
                Self::Seeks { root, registers }
            }
            (
                Some(seeks @ Self::Seeks { .. }),
                "Close" | "Column" | "ColumnsUsed" | "IfNullRow" | "NullRow" | "Rowid",
            ) => seeks,
            _ => Self::Roams,
        }
    }
}

/// Tells whether an `Open` is of an index, or of a table without row numbers: it comes with the order of its keys.
pub(super) fn is_index(open: &Instruction) -> bool {
    open.p4.as_ref().is_some_and(|keys| keys.starts_with('k'))
}

/// The tables of which a program reads nothing but single rows, by their root pages, and which rows. Cursors of tables that are in
/// `followers` count for nothing.
pub(super) fn of(
    program: &[Instruction],
    effects: &[Effect],
    followers: &BTreeSet<i64>,
) -> BTreeMap<u32, BTreeSet<RowKey>> {
    let mut cursors: BTreeMap<i64, Cursor> = BTreeMap::new();
    for (instruction, effect) in program.iter().zip(effects) {
        for cursor in effect.cursors.into_iter().flatten() {
            let before = cursors.remove(&cursor);
            // What is not in the place for the cursor that is moved is moved by another.
            let after = if cursor == instruction.p1 { Cursor::after(before, instruction) } else { Cursor::Roams };
            cursors.insert(cursor, after);
        }
    }
    let key_in = |register: i64| {
        let source = effect::source(program, effects, register, |_| true)?;
        effect::parameter(source).map(RowKey::Parameter).or_else(|| effect::number(source).map(RowKey::Number))
    };
    let mut rows: BTreeMap<u32, BTreeSet<RowKey>> = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for open in program.iter().filter(|instruction| instruction.opcode.starts_with("Open")) {
        let keys = match cursors.get(&open.p1) {
            _ if followers.contains(&open.p1) => root_in_main(open).map(|root| (root, BTreeSet::new())),
            Some(Cursor::Seeks { root, registers }) => registers
                .iter()
                .map(|register| key_in(*register))
                .collect::<Option<BTreeSet<_>>>()
                .map(|keys| (*root, keys)),
            _ => None,
        };
        match (keys, root_in_main(open)) {
            (Some((root, keys)), _) => rows.entry(root).or_default().extend(keys),
            (None, Some(root)) => _ = whole.insert(root),
            (None, None) => {}
        }
    }
    rows.retain(|root, _| !whole.contains(root));
    rows
}
