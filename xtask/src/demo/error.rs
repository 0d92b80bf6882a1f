//! Why a demo cannot go on: one line that names the file and what is wrong with it.

use std::{io, path::PathBuf};

use pool_manager::rusqlite::{self, ErrorCode};

/// Why a demo cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// A database that cannot be served.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file as the user named it.
        path: PathBuf,
        /// What is wrong, continuing the sentence that the file began.
        problem: String,
    },
    /// The demo's own database failed.
    #[error("the demo's database {} failed", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the pool said.
        source: Box<pool_manager::Error>,
    },
    /// The cities or countries could not be read.
    #[error("cannot read the demo's cities and countries in {}", path.display())]
    Facts {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: csv::Error,
    },
    /// Threads or signal handlers were refused.
    #[error("the system refused what the demo needs")]
    System {
        /// What it said.
        #[from]
        source: io::Error,
    },
    /// The demo ran and a check of its results failed; the report says which.
    #[error("{failed} of the demo's checks failed")]
    Checks {
        /// How many.
        failed: usize,
    },
}

/// Continues the sentence "this file ..." with what SQLite's error means for somebody who only wants to read it.
pub(crate) fn problem(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "is locked by another process".into(),
        Some(ErrorCode::NotADatabase) => "is not a SQLite database (or it is encrypted)".into(),
        Some(ErrorCode::DatabaseCorrupt) => match error {
            rusqlite::Error::SqliteFailure(_, Some(found)) => format!("is corrupt: {found}"),
            _ => "is corrupt".into(),
        },
        Some(ErrorCode::CannotOpen) => {
            "cannot be opened, or its write-ahead log cannot (a folder one may not write to?)".into()
        }
        Some(ErrorCode::ReadOnly) => {
            "was left in the middle of a change: open it once with a program that may write, to recover it".into()
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            "may not be read by you".into()
        }
        _ => format!("cannot be read: {}", message(error)),
    }
}

/// The same for what the pool reports.
pub(crate) fn pool_problem(error: &pool_manager::Error) -> String {
    match error.sqlite() {
        Some(error) => problem(error),
        None => format!("cannot be served: {}", message(error)),
    }
}

/// An error with its causes in one line.
fn message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
