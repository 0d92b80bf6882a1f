//! What SQLite says about statements while it prepares them.
//!
//! Owns the authorizer of a connection and what it hears. Must not know statements or texts: SQLite's authorizer is not
//! told them. Invariant: every call of the authorizer outside of [`Recorder::mute`] is in the result of
//! [`Recorder::record`] or of [`Recorder::take_direct`], or left a trail that [`Recorder::followed`] returns.

use super::authorizer::{self, Action, text};
use super::{classify, trail};
use crate::facts::{Accesses, Effects, Facts, StatementKind, Table};
use parking_lot::Mutex;
use rusqlite::{Connection, ffi};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Hears what is prepared on one connection.
#[derive(Debug, Default)]
pub(super) struct Recorder(Arc<Heard>);

/// What was heard and not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Something that may change the schema was prepared. Taken by [`Recorder::schema_touched`].
    schema_touched: AtomicBool,
    /// Something was prepared by others than us. Taken by [`Recorder::prepared_elsewhere`].
    elsewhere: AtomicBool,
    /// Bits of what may stay on the connection. Taken by [`Recorder::take_effects`].
    effects: AtomicU8,
    /// The trail so far of a preparation that is expected to do what is known; 0 when there is none.
    following: AtomicU64,
    /// Whether transactions may neither be begun nor ended now.
    transactions_forbidden: AtomicBool,
    state: Mutex<State>,
    /// The facts of statements that were handed out and not asked for yet.
    observed: Mutex<Vec<Arc<Facts>>>,
    /// The functions the connection had from the start, in lower case, where that is of interest.
    functions: OnceLock<Arc<HashSet<Box<str>>>>,
}

#[derive(Debug, Default)]
struct State {
    preparing: Preparing,
    direct: Accesses,
}

/// The schema is changed.
const SCHEMA: u8 = 1;
/// Something in the database `temp` is created, altered or dropped.
const TEMP: u8 = 1 << 1;
/// A setting is changed.
const PRAGMA: u8 = 1 << 2;
/// A database is attached or detached.
const ATTACH: u8 = 1 << 3;
/// Prepared statements may be outdated.
const OUTDATES: u8 = 1 << 4;

/// A function is called that the connection did not have from the start.
const FUNCTION: u8 = 1 << 5;

/// How many statements handed out are listed before their accesses are put together.
const MAX_OBSERVED: usize = 256;

/// What was heard of one statement.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) accesses: Accesses,
    /// What it does first to a table, which is what a `WITH` is for.
    pub(super) first_write: Option<StatementKind>,
    /// See [`trail`].
    pub(super) trail: u64,
}

impl Recording {
    const fn new(accesses: Accesses) -> Self {
        Self { accesses, first_write: None, trail: trail::START }
    }
}

/// Who prepares.
#[derive(Debug, Default)]
enum Preparing {
    /// The user of the connection directly, or SQLite itself because the schema changed.
    #[default]
    Others,
    /// We, on behalf of the user.
    Us(Recording),
    /// We, for ourselves.
    Nobody,
}

impl Recorder {
    /// Makes the connection report to this recorder; replaces its authorizer.
    ///
    /// # Safety
    ///
    /// The recorder must outlive the connection, or the time until [`remove`](Self::remove).
    pub(super) unsafe fn install(&self, connection: &Connection) -> rusqlite::Result<()> {
        // SAFETY: as the caller promises; what is heard lives as long as the recorder.
        unsafe { authorizer::install(connection, Arc::as_ptr(&self.0)) }
    }

    /// Makes the connection report to nobody.
    pub(super) fn remove(connection: &Connection) -> rusqlite::Result<()> {
        authorizer::remove(connection)
    }

    /// Starts to record what is prepared, until [`recorded`](Self::recorded).
    ///
    /// If a recording is under way, a function of the user prepares while SQLite prepares: neither can be told from the other.
    pub(super) fn record(&self) {
        let before = self.switch(Preparing::Us(Recording::new(Accesses::default())));
        if let (Preparing::Us(_), Preparing::Us(recording)) = (before, &mut self.0.state.lock().preparing) {
            recording.accesses.unknown = true;
            recording.accesses.unheard = true;
            recording.trail = 0;
        }
    }

    /// Starts to follow what is prepared, until [`followed`](Self::followed): cheaper than to record it.
    pub(super) fn follow(&self) {
        self.0.following.store(trail::START, Ordering::Relaxed);
    }

    /// Returns the trail that was followed; 0 when it means nothing.
    pub(super) fn followed(&self) -> u64 {
        self.0.following.swap(0, Ordering::Relaxed)
    }

    /// Owns up to having followed what nobody expected: what was done besides, if anything, is not known.
    pub(super) fn astray(&self) {
        self.0.elsewhere.store(true, Ordering::Relaxed);
        let direct = &mut self.0.state.lock().direct;
        direct.unknown = true;
        direct.unheard = true;
    }

    /// Ends a recording and returns it.
    pub(super) fn recorded(&self) -> Recording {
        match self.switch(Preparing::Others) {
            Preparing::Us(recording) => recording,
            before => {
                self.switch(before);
                let unknown = Accesses { unknown: true, unheard: true, ..Accesses::default() };
                Recording { trail: 0, ..Recording::new(unknown) }
            }
        }
    }

    /// Overhears what is prepared while `prepare` runs.
    pub(super) fn mute<T>(&self, prepare: impl FnOnce() -> T) -> T {
        struct Unmute<'r>(&'r Recorder, Option<Preparing>);
        impl Drop for Unmute<'_> {
            fn drop(&mut self) {
                self.0.switch(self.1.take().unwrap_or_default());
            }
        }
        let _unmute = Unmute(self, Some(self.switch(Preparing::Nobody)));
        prepare()
    }

    /// Returns what others prepared since the last call; `None` for nothing.
    pub(super) fn take_direct(&self) -> Option<Accesses> {
        let direct = &mut self.0.state.lock().direct;
        if direct.is_empty() { None } else { Some(std::mem::take(direct)) }
    }

    /// Returns what was prepared since the last call and may stay on the connection, whoever prepared it.
    #[inline]
    pub(super) fn take_effects(&self) -> Effects {
        let effects = match self.0.effects.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.0.effects.swap(0, Ordering::Relaxed),
        };
        Effects {
            changes_schema: effects & SCHEMA != 0,
            changes_temp: effects & TEMP != 0,
            sets_pragma: effects & PRAGMA != 0,
            attaches: effects & ATTACH != 0,
            calls_added_function: effects & FUNCTION != 0,
        }
    }

    /// Tells which functions the connection has from the start, in lower case; only the first call counts.
    pub(super) fn know_functions(&self, functions: Arc<HashSet<Box<str>>>) {
        // A second set would be about other functions than those that were there from the start.
        let _ = self.0.functions.set(functions);
    }

    /// Lets statements that begin or end a transaction fail to be prepared, or not any more.
    pub(super) fn forbid_transactions(&self, forbid: bool) {
        self.0.transactions_forbidden.store(forbid, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn forbids_transactions(&self) -> bool {
        self.0.forbids_transactions()
    }

    /// Tells whether one of these functions was added later.
    pub(super) fn calls_added(&self, functions: &BTreeSet<Box<str>>) -> bool {
        self.0.functions.get().is_some_and(|known| functions.iter().any(|name| !known.contains(name)))
    }

    /// Lists a statement that is handed out.
    pub(super) fn observe(&self, facts: Arc<Facts>) {
        let mut observed = self.0.observed.lock();
        // Where none is kept, the same is prepared over and over.
        if observed.last().is_some_and(|last| Arc::ptr_eq(last, &facts)) {
            return;
        }
        observed.push(facts);
        if observed.len() > MAX_OBSERVED {
            let mut state = self.0.state.lock();
            for facts in observed.drain(..) {
                state.direct.merge(&facts.accesses);
            }
        }
    }

    /// Shows the accesses of the statements that were handed out since the last call.
    pub(super) fn drain_observed(&self, mut look: impl FnMut(&Accesses)) {
        // Emptied in place: its room is used again.
        for facts in self.0.observed.lock().drain(..) {
            look(&facts.accesses);
        }
    }

    /// A share in what is heard.
    pub(super) fn share(&self) -> Arc<Heard> {
        Arc::clone(&self.0)
    }

    /// Tells whether something that may change the schema was prepared since the last call.
    #[inline]
    pub(super) fn schema_touched(&self) -> bool {
        // The authorizer runs on the thread that uses the connection: there is nothing to order.
        self.0.schema_touched.load(Ordering::Relaxed) && self.0.schema_touched.swap(false, Ordering::Relaxed)
    }

    /// Tells whether others prepared something since the last call.
    #[inline]
    pub(super) fn prepared_elsewhere(&self) -> bool {
        self.0.elsewhere.load(Ordering::Relaxed) && self.0.elsewhere.swap(false, Ordering::Relaxed)
    }

    fn switch(&self, preparing: Preparing) -> Preparing {
        // Whoever comes here while a trail is followed is in code of the user within a preparation.
        self.0.following.store(0, Ordering::Relaxed);
        std::mem::replace(&mut self.0.state.lock().preparing, preparing)
    }
}

impl Heard {
    /// Shows what was heard and not taken yet, part by part.
    pub(super) fn look(&self, mut look: impl FnMut(&Accesses)) {
        for facts in self.observed.lock().iter() {
            look(&facts.accesses);
        }
        look(&self.state.lock().direct);
    }

    #[inline]
    pub(super) fn forbids_transactions(&self) -> bool {
        self.transactions_forbidden.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, action: &Action<'_>) {
        let following = self.following.load(Ordering::Relaxed);
        if following != 0 {
            let trail = trail::step(following, action);
            self.following.store(trail, Ordering::Relaxed);
            if trail != 0 {
                return;
            }
            // What spoils a trail may have effects, which are heard whatever becomes of the statement.
        }
        let mut state = self.state.lock();
        let State { preparing, direct } = &mut *state;
        let accesses = match preparing {
            Preparing::Us(recording) => {
                let Recording { accesses, first_write, trail } = recording;
                *trail = trail::step(*trail, action);
                if first_write.is_none() {
                    *first_write = write_kind(action.code);
                }
                accesses
            }
            Preparing::Others => {
                self.elsewhere.store(true, Ordering::Relaxed);
                direct
            }
            Preparing::Nobody => return,
        };
        let mut effects = note(accesses, action);
        if action.code == ffi::SQLITE_FUNCTION
            && self.functions.get().is_some_and(|known| !known.contains(&*text(action.second).to_ascii_lowercase()))
        {
            effects |= FUNCTION;
        }
        if effects & OUTDATES != 0 {
            self.schema_touched.store(true, Ordering::Relaxed);
        }
        if effects & !OUTDATES != 0 {
            self.effects.fetch_or(effects & !OUTDATES, Ordering::Relaxed);
        }
    }
}

const fn write_kind(code: i32) -> Option<StatementKind> {
    match code {
        ffi::SQLITE_INSERT => Some(StatementKind::Insert),
        ffi::SQLITE_UPDATE => Some(StatementKind::Update),
        ffi::SQLITE_DELETE => Some(StatementKind::Delete),
        _ => None,
    }
}

/// Enters one action; returns bits of what it may change.
fn note(accesses: &mut Accesses, action: &Action<'_>) -> u8 {
    let effects = effects_of(accesses, action);
    accesses.changes_schema |= effects & SCHEMA != 0;
    accesses.changes_temp |= effects & TEMP != 0;
    accesses.sets_pragma |= effects & PRAGMA != 0;
    accesses.attaches |= effects & ATTACH != 0;
    effects
}

/// What the arguments of each action are: <https://sqlite.org/c3ref/c_alter_table.html>.
fn effects_of(accesses: &mut Accesses, action: &Action<'_>) -> u8 {
    const CHANGES: u8 = SCHEMA | OUTDATES;
    let (first, second) = (text(action.first), text(action.second));
    let database = action.database.map_or("main".into(), |name| text(Some(name)));
    let changes_of = |database: &str| if database == "temp" { CHANGES | TEMP } else { CHANGES };
    match action.code {
        ffi::SQLITE_READ => {
            // SQLite itself writes these without saying so.
            accesses.unknown |= first.starts_with("sqlite_") && !is_schema_table(&first);
            let columns = accesses.tables_read.entry(Table::new(&*database, &*first)).or_default();
            if !second.is_empty() && !columns.contains(&*second) {
                columns.insert((&*second).into());
            }
            // What other pragmas do in a query is heard when they run, for that prepares them.
            if first.eq_ignore_ascii_case("pragma_optimize") { CHANGES } else { 0 }
        }
        ffi::SQLITE_INSERT | ffi::SQLITE_DELETE | ffi::SQLITE_UPDATE => {
            accesses.tables_written.insert(Table::new(&*database, &*first));
            if is_schema_table(&first) { CHANGES } else { 0 }
        }
        ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_CREATE_VTABLE
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_DROP_VTABLE
        | ffi::SQLITE_DROP_VIEW => {
            accesses.tables_written.insert(Table::new(&*database, &*first));
            changes_of(&database)
        }
        ffi::SQLITE_CREATE_TEMP_TABLE
        | ffi::SQLITE_CREATE_TEMP_VIEW
        | ffi::SQLITE_DROP_TEMP_TABLE
        | ffi::SQLITE_DROP_TEMP_VIEW => {
            accesses.tables_written.insert(Table::new(&*database, &*first));
            CHANGES | TEMP
        }
        ffi::SQLITE_ALTER_TABLE => {
            accesses.tables_written.insert(Table::new(&*first, &*second));
            changes_of(&first)
        }
        ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_CREATE_TRIGGER | ffi::SQLITE_DROP_INDEX | ffi::SQLITE_DROP_TRIGGER => {
            changes_of(&database)
        }
        ffi::SQLITE_CREATE_TEMP_INDEX
        | ffi::SQLITE_CREATE_TEMP_TRIGGER
        | ffi::SQLITE_DROP_TEMP_INDEX
        | ffi::SQLITE_DROP_TEMP_TRIGGER => CHANGES | TEMP,
        ffi::SQLITE_REINDEX | ffi::SQLITE_ANALYZE => CHANGES,
        ffi::SQLITE_ATTACH | ffi::SQLITE_DETACH => {
            // Its name is bound as a parameter.
            accesses.unknown |= action.first.is_none();
            CHANGES | ATTACH
        }
        ffi::SQLITE_PRAGMA => {
            accesses.unknown = true;
            let has_argument = action.second.is_some();
            let effect = |is: fn(&str, bool) -> bool, bit| if is(&first, has_argument) { bit } else { 0 };
            effect(classify::pragma_has_effect, SCHEMA)
                | effect(classify::pragma_sets, PRAGMA)
                | effect(classify::pragma_outdates, OUTDATES)
        }
        ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => {
            accesses.controls_transaction = true;
            0
        }
        ffi::SQLITE_FUNCTION => {
            let name = second.to_ascii_lowercase();
            if !accesses.functions.contains(name.as_str()) {
                accesses.functions.insert(name.into());
            }
            0
        }
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE => 0,
        _ => {
            accesses.unknown = true;
            CHANGES
        }
    }
}

fn is_schema_table(name: &str) -> bool {
    ["sqlite_master", "sqlite_temp_master", "sqlite_schema", "sqlite_temp_schema"].contains(&name)
}
