//! Finding the configuration file that nobody named in code.
//!
//! Owns where to look; it must not know what the file says.
//! Invariant: a name that exists is returned whatever it is, so that a file that cannot be used is reported, not skipped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "POOL_CONFIG";

const FILE: &str = "pool.toml";

/// Finds the file for this process.
pub(crate) fn find() -> Option<PathBuf> {
    find_from(std::env::var_os(VARIABLE), std::env::current_dir().ok().as_deref())
}

fn find_from(named: Option<OsString>, folder: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    folder?.ancestors().map(|folder| folder.join(FILE)).find(|file| file.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_comes_first_then_the_nearest_pool_toml() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join(FILE), "").unwrap();
        assert_eq!(find_from(None, Some(&deep)), Some(root.path().join(FILE)));
        assert_eq!(find_from(Some(OsString::new()), Some(&deep)), Some(root.path().join(FILE)));

        std::fs::write(root.path().join("a").join(FILE), "").unwrap();
        assert_eq!(find_from(None, Some(&deep)), Some(root.path().join("a").join(FILE)));
        assert_eq!(find_from(Some("x.json".into()), Some(&deep)), Some(PathBuf::from("x.json")));
        assert_eq!(find_from(None, None), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_found_and_not_skipped() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join(FILE);
        std::os::unix::fs::symlink(root.path().join("nowhere"), &link).unwrap();
        assert_eq!(find_from(None, Some(root.path())), Some(link));
    }
}
