//! Where a database is: a file by its canonical path, or a named database in memory that all connections share.
//!
//! Owns how SQLite is told to open it and how its file is recognised again. It must not know what is done with the
//! connections. Invariant: no descriptor of a database file is ever opened here; closing one would drop the POSIX locks of
//! every connection of this process (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{OpenFlags, ffi};

use crate::error::{Error, Result, open_reason, primary_code};

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    /// A file, canonical as far as it exists.
    File(PathBuf),
    /// A database of SQLite's `memdb` VFS: a name with a leading slash is one database for all connections of the process
    /// that use it, and lives as long as one of them (<https://www.sqlite.org/src/file/src/memdb.c>).
    Memory(u64),
}

/// Which rights a connection is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading and writing; the file is made when it is missing.
    Create,
    /// Reading and writing an existing file.
    Write,
    /// Reading only.
    Read,
}

/// What tells one file from another that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    file: u64,
}

/// A database file, as its folder shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) identity: FileIdentity,
    /// In bytes.
    pub(crate) size: u64,
    /// Whether nobody has the right to write it.
    pub(crate) read_only: bool,
}

/// How many symbolic links are followed, as in Linux.
const MAX_LINKS: usize = 40;

static NEXT_MEMORY: AtomicU64 = AtomicU64::new(1);

impl Location {
    /// Reads a path as given by a user: `:memory:` is a fresh database in memory, everything else is a file.
    pub(crate) fn parse(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Err(Error::InvalidPath { path: path.to_owned(), reason });
        if path == Path::new(":memory:") {
            return Ok(Self::Memory(NEXT_MEMORY.fetch_add(1, Ordering::Relaxed)));
        }
        if path.as_os_str().is_empty() {
            return refuse("it is empty; name a file or \":memory:\"".to_owned());
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return refuse("it holds a NUL character, which no file name can".to_owned());
        }
        if path.to_str().is_none() {
            return refuse("it is not valid UTF-8, which SQLite's file names have to be".to_owned());
        }
        if path.is_dir() {
            return refuse("it is a directory; name a file in it".to_owned());
        }
        if path.to_str().is_some_and(|text| text.starts_with("file:")) {
            return refuse("URI file names are not followed; give the plain path of the file".to_owned());
        }
        if let Ok(canonical) = path.canonicalize() {
            return Ok(Self::File(canonical));
        }
        // A link to a file that does not exist yet: SQLite makes the file where the link leads.
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(target) = path.read_link() else { break };
            path = path.parent().unwrap_or_else(|| Path::new("")).join(target);
        }
        if path.is_symlink() {
            return refuse("its symbolic links lead in a circle".to_owned());
        }
        let path = path.as_path();
        let Some(name) = path.file_name() else {
            return refuse("it names no file".to_owned());
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        match parent.canonicalize() {
            Ok(folder) if folder.is_dir() => Ok(Self::File(folder.join(name))),
            Ok(_) => refuse(format!("{} is not a folder", parent.display())),
            Err(error) => refuse(format!("its folder {} can't be used: {error}", parent.display())),
        }
    }

    /// Opens one connection.
    pub(crate) fn open(&self, access: Access) -> Result<rusqlite::Connection> {
        // A connection is used by one thread at a time: SQLite's own mutex is not needed.
        let rights = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match access {
                Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
                Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            };
        let opened = match self {
            Self::File(path) => rusqlite::Connection::open_with_flags(path, rights),
            Self::Memory(number) => rusqlite::Connection::open_with_flags(
                format!("file:/pool-manager-{number}?vfs=memdb"),
                rights | OpenFlags::SQLITE_OPEN_URI,
            ),
        };
        opened.map_err(|source| self.open_error(source))
    }

    /// Wraps what SQLite said while a connection was opened or set up.
    pub(crate) fn open_error(&self, source: rusqlite::Error) -> Error {
        let reason = match (self, primary_code(&source)) {
            (Self::Memory(_), Some(ffi::SQLITE_BUSY)) => "a transaction of this process keeps it locked".to_owned(),
            _ => open_reason(&source),
        };
        Error::Open { path: self.path(), reason, source }
    }

    /// The canonical path, or `:memory:`.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Memory(_) => PathBuf::from(":memory:"),
        }
    }

    /// Whether there are hard links to the file besides this one; `false` where that can't be told.
    pub(crate) fn has_other_names(&self) -> bool {
        #[cfg(unix)]
        if let Self::File(path) = self {
            use std::os::unix::fs::MetadataExt;
            return std::fs::metadata(path).is_ok_and(|found| found.nlink() > 1);
        }
        false
    }

    /// Whether both are names of one file, by hard links.
    pub(crate) fn is_another_name_of(&self, other: &Self) -> bool {
        let (Self::File(path), Self::File(other)) = (self, other) else { return false };
        path != other && FileIdentity::at(path).is_some_and(|file| FileIdentity::at(other) == Some(file))
    }

    /// Looks the file up in its folder: which file has this name now? `None` for a database in memory.
    pub(crate) fn identity(&self) -> Result<Option<FileIdentity>> {
        Ok(self.look()?.map(|found| found.identity))
    }

    /// The same with what else can be seen from there.
    pub(crate) fn look(&self) -> Result<Option<Found>> {
        let Self::File(path) = self else { return Ok(None) };
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Found {
                identity: FileIdentity::of(&found),
                size: found.len(),
                read_only: found.permissions().readonly(),
            })),
            Err(_) => Err(Error::FileChanged { path: path.clone(), change: "is missing" }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory(number) => write!(f, ":memory: (number {number})"),
        }
    }
}

impl FileIdentity {
    /// Which file has this name now.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Some(Self::of(&std::fs::metadata(path).ok()?))
    }

    #[cfg(unix)]
    fn of(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), file: found.ino() }
    }

    /// Elsewhere the time of creation has to do: stable Rust has no file number there.
    #[cfg(not(unix))]
    fn of(found: &std::fs::Metadata) -> Self {
        let created = found.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self { device: 0, file: created.map_or(0, |since| since.as_nanos() as u64) }
    }
}
