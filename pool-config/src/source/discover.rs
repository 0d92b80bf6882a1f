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

/// Returns the places that decide which file is found: that file, and the nearer ones where none is.
pub(crate) fn candidates() -> Vec<PathBuf> {
    candidates_from(std::env::var_os(VARIABLE), std::env::current_dir().ok().as_deref())
}

fn find_from(named: Option<OsString>, folder: Option<&Path>) -> Option<PathBuf> {
    match is_given(named) {
        Some(named) => Some(named),
        None => places(folder).find(|file| exists(file)),
    }
}

fn candidates_from(named: Option<OsString>, folder: Option<&Path>) -> Vec<PathBuf> {
    match is_given(named) {
        Some(named) => vec![named],
        None => {
            let mut found = false;
            places(folder).take_while(|file| !std::mem::replace(&mut found, exists(file))).collect()
        }
    }
}

/// An empty name counts as none.
fn is_given(named: Option<OsString>) -> Option<PathBuf> {
    named.filter(|named| !named.is_empty()).map(PathBuf::from)
}

fn places(folder: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    folder.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(FILE))
}

fn exists(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
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

    #[test]
    fn nearer_places_decide_as_well() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join("a").join(FILE), "").unwrap();
        let places = [deep.join(FILE), root.path().join("a").join(FILE)];
        assert_eq!(candidates_from(None, Some(&deep)), places);
        assert_eq!(candidates_from(Some("x.json".into()), Some(&deep)), [PathBuf::from("x.json")]);
        assert!(candidates_from(None, None).is_empty());
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
