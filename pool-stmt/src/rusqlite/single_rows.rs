//! Which tables a query reads by the number of a row alone.
//!
//! Owns what is known of cursors and registers. Must not know what a row is good for. Invariant: a program with an instruction that is not
//! listed here reads no single rows; a cursor counts only if nothing but a seek to one number moves it, and that number is in a register
//! which nothing but one instruction fills, with a bound value or a constant.
//!
//! Such a program proves something about its text, whatever the program looks like that runs: the result of the query depends on
//! no other row of that table.

use super::opened::root_in_main;
use super::program::Instruction;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Which row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// The one whose number is bound to the parameter with this index, the first being 1.
    Parameter(u32),
    /// The one with this number.
    Number(i64),
}

/// What an instruction does to cursors and registers: <https://sqlite.org/opcode.html>.
struct Effect {
    cursors: [Option<i64>; 2],
    writes: [RangeInclusive<i64>; 2],
}

/// There is no register 0.
const NOTHING: RangeInclusive<i64> = 0..=0;

impl Effect {
    const NONE: Self = Self { cursors: [None; 2], writes: [NOTHING; 2] };

    const fn writes(from: i64, to: i64) -> Self {
        Self { writes: [from..=to, NOTHING], ..Self::NONE }
    }

    const fn on(cursor: i64) -> Self {
        Self { cursors: [Some(cursor), None], ..Self::NONE }
    }

    const fn and_writes(self, register: i64) -> Self {
        Self { cursors: self.cursors, writes: [register..=register, NOTHING] }
    }

    /// `None` for an instruction that is not known.
    fn of(instruction: &Instruction) -> Option<Self> {
        let Instruction { p1, p2, p3, .. } = *instruction;
        Some(match &*instruction.opcode {
            // Control, and what only reads registers. Comparisons may turn text into numbers, and that is no number of a row here.
            "CollSeq" | "Compare" | "ElseEq" | "Eq" | "Explain" | "Filter" | "Ge" | "Goto" | "Gt" | "Halt" | "If"
            | "IfNot" | "Init" | "IsNull" | "Jump" | "Le" | "Lt" | "Ne" | "Noop" | "NotNull" | "Once"
            | "Permutation" | "ReleaseReg" | "ResultRow" | "Transaction" => Self::NONE,
            "AddImm" | "AggFinal" | "Cast" | "ClrSubtype" | "DecrJumpZero" | "EndCoroutine" | "FilterAdd" | "Gosub"
            | "IfNotZero" | "IfPos" | "InitCoroutine" | "MemMax" | "MustBeInt" | "RealAffinity" | "Return"
            | "SoftNull" | "Yield" => Self::writes(p1, p1),
            "BeginSubrtn" | "BitNot" | "Blob" | "Int64" | "IntCopy" | "Integer" | "IsTrue" | "Not" | "OffsetLimit"
            | "Real" | "SCopy" | "String" | "String8" | "Variable" | "ZeroOrNull" => Self::writes(p2, p2),
            "Add" | "AggInverse" | "AggStep" | "AggValue" | "And" | "BitAnd" | "BitOr" | "Concat" | "Divide"
            | "Function" | "Multiply" | "Or" | "PureFunc" | "Remainder" | "ShiftLeft" | "ShiftRight" | "Subtract" => {
                Self::writes(p3, p3)
            }
            "Null" => Self::writes(p2, p2.max(p3)),
            "Copy" => Self::writes(p2, p2 + p3),
            "Move" => Self { writes: [p1..=p1 + p3, p2..=p2 + p3], ..Self::NONE },
            "Affinity" => Self::writes(p1, p1 + p2),
            "MakeRecord" => Self { writes: [p1..=p1 + p2, p3..=p3], ..Self::NONE },
            // Cursors.
            "Close" | "ColumnsUsed" | "FinishSeek" | "Found" | "IdxGE" | "IdxGT" | "IdxInsert" | "IdxLE" | "IdxLT"
            | "Insert" | "Last" | "Next" | "NoConflict" | "NotExists" | "NotFound" | "NullRow" | "OpenAutoindex"
            | "OpenEphemeral" | "OpenPseudo" | "OpenRead" | "Prev" | "Rewind" | "SeekGE" | "SeekGT" | "SeekLE"
            | "SeekLT" | "SeekRowid" | "Sort" | "SorterInsert" | "SorterNext" | "SorterOpen" | "SorterSort" => {
                Self::on(p1)
            }
            "Column" | "IfNullRow" => Self::on(p1).and_writes(p3),
            "Count" | "IdxRowid" | "RowData" | "Rowid" | "Sequence" => Self::on(p1).and_writes(p2),
            "DeferredSeek" => Self { cursors: [Some(p1), Some(p3)], ..Self::NONE },
            "SorterData" => Self { cursors: [Some(p1), Some(p3)], writes: [p2..=p2, NOTHING] },
            _ => return None,
        })
    }
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

/// What fills a register.
enum Source {
    One(RowKey),
    Other,
}

impl Source {
    fn of(instruction: &Instruction) -> Self {
        let key = match &*instruction.opcode {
            "Variable" => u32::try_from(instruction.p1).ok().map(RowKey::Parameter),
            "Integer" => Some(RowKey::Number(instruction.p1)),
            // Its halves: P3 is the upper one.
            "Int64" if instruction.p4.is_none() => {
                Some(RowKey::Number(instruction.p3 << 32 | (instruction.p1 & 0xffff_ffff)))
            }
            _ => None,
        };
        key.map_or(Self::Other, Self::One)
    }
}

/// The tables of which a program reads nothing but single rows, by their root pages, and which rows.
pub(super) fn of(program: &[Instruction]) -> BTreeMap<u32, BTreeSet<RowKey>> {
    let mut cursors: BTreeMap<i64, Cursor> = BTreeMap::new();
    let mut effects = Vec::with_capacity(program.len());
    for instruction in program {
        let Some(effect) = Effect::of(instruction) else { return BTreeMap::new() };
        for cursor in effect.cursors.into_iter().flatten() {
            let before = cursors.remove(&cursor);
            // What is not in the place for the cursor that is moved is moved by another.
            let after = if cursor == instruction.p1 { Cursor::after(before, instruction) } else { Cursor::Roams };
            cursors.insert(cursor, after);
        }
        effects.push(effect);
    }
    let key_in = |register: i64| {
        let fills = |effect: &Effect| effect.writes.iter().any(|range| range.contains(&register));
        let mut sources = effects.iter().zip(program).filter(|(effect, _)| fills(effect));
        match (sources.next().map(|(_, instruction)| Source::of(instruction)), sources.next()) {
            (Some(Source::One(key)), None) => Some(key),
            _ => None,
        }
    };
    let mut rows: BTreeMap<u32, BTreeSet<RowKey>> = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for open in program.iter().filter(|instruction| instruction.opcode.starts_with("Open")) {
        let keys = match cursors.get(&open.p1) {
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
