//! A look at somebody's file before SQLite opens it, and once more after everything is closed: is it a database at all, and is it the same
//! afterwards?
//!
//! Invariant: the file is opened here only while this process has no connection to it. Closing any descriptor of a file drops all locks
//! the process holds on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hasher as _},
    io::{self, ErrorKind, Read as _},
    path::Path,
    time::SystemTime,
};

use super::error::Error;

/// The first bytes of every SQLite database (<https://www.sqlite.org/fileformat.html>, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Larger files are recognised by size and time alone.
const WORTH_READING: u64 = 1 << 30;

/// What tells a file from a changed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Its size in bytes.
    pub(crate) size: u64,
    modified: Option<SystemTime>,
    /// Of all its bytes; `None` for a large file.
    pub(crate) hash: Option<u64>,
}

/// Says what is wrong with a file that cannot be a database, or takes its fingerprint.
pub(crate) fn inspect(path: &Path) -> Result<Fingerprint, Error> {
    let unusable = |problem: String| Error::Unusable { path: path.to_owned(), problem };
    let refused = |error: io::Error| {
        unusable(match error.kind() {
            ErrorKind::NotFound => "does not exist".into(),
            ErrorKind::PermissionDenied => "may not be read by you".into(),
            _ => format!("cannot be read: {error}"),
        })
    };
    let found = fs::metadata(path).map_err(refused)?;
    if found.is_dir() {
        return Err(unusable("is a folder, not a database".into()));
    }
    if !found.is_file() {
        return Err(unusable("is not an ordinary file".into()));
    }
    if found.len() == 0 {
        return Err(unusable("is empty: 0 bytes, not even the header of a database".into()));
    }
    let mut file = File::open(path).map_err(refused)?;
    let mut magic = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(refused)?;
    if magic != MAGIC {
        return Err(unusable("is not a SQLite database (or it is encrypted)".into()));
    }
    let hash = if found.len() <= WORTH_READING { Some(hash(&magic, file).map_err(refused)?) } else { None };
    Ok(Fingerprint { size: found.len(), modified: found.modified().ok(), hash })
}

fn hash(first: &[u8], mut file: File) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(first);
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finish()),
            read => hasher.write(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about a file with these bytes.
    fn said(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, bytes).unwrap();
        inspect(&path).unwrap_err().to_string().replace(&path.display().to_string(), "file")
    }

    #[test]
    fn what_is_no_database_is_named_for_what_it_is() {
        assert_eq!(said(b""), "file is empty: 0 bytes, not even the header of a database");
        assert_eq!(said(b"SQLite"), "file is not a SQLite database (or it is encrypted)");
        assert_eq!(said(&[0; 100_000]), "file is not a SQLite database (or it is encrypted)");
        let folder = tempfile::tempdir().unwrap();
        assert!(inspect(folder.path()).unwrap_err().to_string().ends_with(" is a folder, not a database"));
        assert!(inspect(&folder.path().join("none")).unwrap_err().to_string().ends_with("none does not exist"));
    }

    #[test]
    fn a_changed_byte_changes_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut bytes = [&MAGIC[..], &[0; 200_000]].concat();
        fs::write(&path, &bytes).unwrap();
        let before = inspect(&path).unwrap();
        assert_eq!(before, inspect(&path).unwrap());
        bytes[150_000] = 1;
        fs::write(&path, &bytes).unwrap();
        assert_ne!(before.hash, inspect(&path).unwrap().hash);
    }
}
