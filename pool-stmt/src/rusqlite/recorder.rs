//! What SQLite says about statements while it prepares them.
//!
//! Owns the authorizer of a connection and what it hears. Must not know statements or texts: SQLite's authorizer is not
//! told them. Invariant: every call of the authorizer outside of [`Recorder::mute`] is in the result of
//! [`Recorder::record`] or of [`Recorder::take_direct`].

use super::classify;
use crate::facts::{Accesses, StatementKind, Table};
use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Hears what is prepared on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Something that may change the schema was prepared. Taken by [`Recorder::schema_touched`].
    schema_touched: AtomicBool,
    /// Something was prepared by others than us. Taken by [`Recorder::prepared_elsewhere`].
    elsewhere: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    preparing: Preparing,
    direct: Accesses,
}

/// What was heard of one statement.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pub(super) accesses: Accesses,
    /// What it does first to a table, which is what a `WITH` is for.
    pub(super) first_write: Option<StatementKind>,
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
    pub(super) fn install(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let heard = Arc::clone(&self.0);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            heard.hear(&context);
            Authorization::Allow
        }))
    }

    /// Starts to record what is prepared, until [`recorded`](Self::recorded).
    ///
    /// If a recording is under way, a function of the user prepares while SQLite prepares: neither can be told from the other.
    pub(super) fn record(&self) {
        let before = self.switch(Preparing::Us(Recording::default()));
        if let (Preparing::Us(_), Preparing::Us(recording)) = (before, &mut self.0.state.lock().preparing) {
            recording.accesses.unknown = true;
        }
    }

    /// Ends a recording and returns it.
    pub(super) fn recorded(&self) -> Recording {
        match self.switch(Preparing::Others) {
            Preparing::Us(recording) => recording,
            before => {
                self.switch(before);
                Recording { accesses: Accesses { unknown: true, ..Accesses::default() }, first_write: None }
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

    /// Returns what others prepared since the last call.
    pub(super) fn take_direct(&self) -> Accesses {
        std::mem::take(&mut self.0.state.lock().direct)
    }

    /// Adds to what others prepared.
    pub(super) fn add_direct(&self, accesses: &Accesses) {
        self.0.state.lock().direct.merge(accesses);
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
        std::mem::replace(&mut self.0.state.lock().preparing, preparing)
    }
}

impl Heard {
    fn hear(&self, context: &AuthContext<'_>) {
        let mut state = self.state.lock();
        let State { preparing, direct } = &mut *state;
        let accesses = match preparing {
            Preparing::Us(recording) => {
                let Recording { accesses, first_write } = recording;
                if first_write.is_none() {
                    *first_write = write_kind(&context.action);
                }
                accesses
            }
            Preparing::Others => {
                self.elsewhere.store(true, Ordering::Relaxed);
                direct
            }
            Preparing::Nobody => return,
        };
        if note(accesses, context) {
            self.schema_touched.store(true, Ordering::Relaxed);
        }
    }
}

fn write_kind(action: &AuthAction<'_>) -> Option<StatementKind> {
    match action {
        AuthAction::Insert { .. } => Some(StatementKind::Insert),
        AuthAction::Update { .. } => Some(StatementKind::Update),
        AuthAction::Delete { .. } => Some(StatementKind::Delete),
        _ => None,
    }
}

/// Enters one action; returns whether it may outdate prepared statements.
fn note(accesses: &mut Accesses, context: &AuthContext<'_>) -> bool {
    let database = context.database_name.unwrap_or("main");
    let mut changes = false;
    match context.action {
        AuthAction::Read { table_name, column_name } => {
            // SQLite itself writes these without saying so.
            accesses.unknown |= table_name.starts_with("sqlite_") && !is_schema_table(table_name);
            let columns = accesses.tables_read.entry(Table::new(database, table_name)).or_default();
            if !column_name.is_empty() && !columns.contains(column_name) {
                columns.insert(column_name.into());
            }
        }
        AuthAction::Insert { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::Update { table_name, .. } => {
            changes = is_schema_table(table_name);
            accesses.tables_written.insert(Table::new(database, table_name));
        }
        AuthAction::CreateTable { table_name }
        | AuthAction::CreateTempTable { table_name }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::CreateView { view_name: table_name }
        | AuthAction::CreateTempView { view_name: table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropTempTable { table_name }
        | AuthAction::DropVtable { table_name, .. }
        | AuthAction::DropView { view_name: table_name }
        | AuthAction::DropTempView { view_name: table_name } => {
            changes = true;
            accesses.tables_written.insert(Table::new(database, table_name));
        }
        AuthAction::AlterTable { database_name, table_name } => {
            changes = true;
            accesses.tables_written.insert(Table::new(database_name, table_name));
        }
        AuthAction::CreateIndex { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. } => changes = true,
        AuthAction::Pragma { pragma_name, pragma_value } => {
            accesses.unknown = true;
            accesses.changes_schema |= classify::pragma_has_effect(pragma_name, pragma_value.is_some());
            changes = classify::pragma_outdates(pragma_name, pragma_value.is_some());
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => accesses.controls_transaction = true,
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            if !accesses.functions.contains(name.as_str()) {
                accesses.functions.insert(name.into());
            }
        }
        AuthAction::Select | AuthAction::Recursive => {}
        // Among them `ATTACH` and `DETACH` of a name that is bound as a parameter.
        _ => {
            accesses.unknown = true;
            changes = true;
        }
    }
    accesses.changes_schema |= changes;
    changes
}

fn is_schema_table(name: &str) -> bool {
    ["sqlite_master", "sqlite_temp_master", "sqlite_schema", "sqlite_temp_schema"].contains(&name)
}
