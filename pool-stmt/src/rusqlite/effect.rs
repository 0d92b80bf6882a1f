//! What instructions do to cursors and registers.
//!
//! Owns the list of the instructions that are known. Must not know what a program is good for. Invariant: an instruction that is not listed
//! here makes the whole program one of which nothing is known; one that is listed touches no cursor and fills no register but those named.

use super::program::Instruction;
use std::ops::RangeInclusive;

/// What an instruction does to cursors and registers: <https://sqlite.org/opcode.html>.
pub(super) struct Effect {
    /// The cursors that it is about.
    pub(super) cursors: [Option<i64>; 2],
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
            "Move" => Self { writes: [p1..=p1 + p3 - 1, p2..=p2 + p3 - 1], ..Self::NONE },
            "Affinity" => Self::writes(p1, p1 + p2 - 1),
            "MakeRecord" => Self { writes: [p1..=p1 + p2 - 1, p3..=p3], ..Self::NONE },
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

/// What all instructions do; `None` if one of them is not known.
pub(super) fn of(program: &[Instruction]) -> Option<Vec<Effect>> {
    program.iter().map(Effect::of).collect()
}

/// The instruction that fills a register, if there is exactly one among those for which `counts` holds.
pub(super) fn source<'p>(
    program: &'p [Instruction],
    effects: &[Effect],
    register: i64,
    counts: impl Fn(&Instruction) -> bool,
) -> Option<&'p Instruction> {
    let fills = |effect: &Effect| effect.writes.iter().any(|range| range.contains(&register));
    let mut sources = program.iter().zip(effects).filter(|(instruction, effect)| fills(effect) && counts(instruction));
    let (source, _) = sources.next()?;
    sources.next().is_none().then_some(source)
}

/// The number that an instruction fills a register with.
pub(super) fn number(source: &Instruction) -> Option<i64> {
    match &*source.opcode {
        "Integer" => Some(source.p1),
        // Its halves: P3 is the upper one.
        "Int64" if source.p4.is_none() => Some(source.p3 << 32 | (source.p1 & 0xffff_ffff)),
        _ => None,
    }
}

/// The parameter whose value an instruction fills a register with.
pub(super) fn parameter(source: &Instruction) -> Option<u32> {
    if &*source.opcode == "Variable" { u32::try_from(source.p1).ok() } else { None }
}
