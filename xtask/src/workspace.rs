//! Where things are: the root, the packages as cargo sees them, the files as the disk holds them.
//!
//! Knows no rule about them; `layers` and `house` do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{error::Error, process::Process};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    // This package lies directly below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The workspace as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The members.
    pub(crate) packages: Vec<Package>,
    /// Where cargo builds.
    pub(crate) target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Where its `Cargo.toml` is.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on directly, of all kinds.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its features and what each turns on.
    pub(crate) features: std::collections::BTreeMap<String, Vec<String>>,
    /// What cargo builds from it.
    pub(crate) targets: Vec<Target>,
}

/// A direct dependency.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The package depended on.
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Whether only a feature brings it in.
    pub(crate) optional: bool,
}

/// Something that cargo builds from a package.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `example` and so on.
    pub(crate) kind: Vec<String>,
    /// Its topmost source file.
    pub(crate) src_path: PathBuf,
}

impl Workspace {
    /// Asks cargo, without touching the network or the lock file.
    pub(crate) fn load() -> Result<Self, Error> {
        let output = Process::cargo("metadata").args(["--format-version=1", "--no-deps", "--offline"]).read()?;
        serde_json::from_slice(&output).map_err(|source| Error::Metadata { source })
    }
}

impl Package {
    /// The folder of the package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(root())
    }
}

/// A text file of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Where it is, from the root of the workspace, with `/` between the parts.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// Hidden folders that belong to the project; others are those of editors and of git.
const OUR_HIDDEN_FOLDERS: &[&str] = &[".cargo", ".ci"];

/// Returns all text files at or below `folder` (from the root of the workspace), sorted by path; what cargo, git or editors wrote is left
/// out.
pub(crate) fn text_files(folder: &str) -> Result<Vec<TextFile>, Error> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<TextFile>) -> Result<(), Error> {
    let unreadable = |path: &Path, source| Error::Unreadable { path: path.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
        if kind.is_dir() {
            let ours =
                !name.to_string_lossy().starts_with('.') || OUR_HIDDEN_FOLDERS.iter().any(|known| name == *known);
            if ours && name != "target" {
                collect(&path, files)?;
            }
        // In a second working tree of git `.git` is a file that says where the first is.
        } else if kind.is_file() && name != ".git" {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // A file may vanish between listing and reading: an editor's, say.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(unreadable(&path, source)),
            };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile { path: from_root(&path), text });
            }
        }
    }
    Ok(())
}

/// A path as seen from the root of the workspace.
pub(crate) fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Fails unless this file (from the root of the workspace) exists: what is not there must not pass for tested.
pub(crate) fn require(path: &str, wanted_by: &'static str) -> Result<(), Error> {
    if root().join(path).is_file() { Ok(()) } else { Err(Error::Missing { path: path.into(), wanted_by }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_with_its_members_and_files() {
        let workspace = Workspace::load().unwrap();
        let xtask = workspace.packages.iter().find(|package| package.name == "xtask").unwrap();
        assert_eq!(from_root(xtask.folder()), "xtask");
        assert!(text_files("xtask/src").unwrap().iter().any(|file| file.path == "xtask/src/workspace.rs"));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_that_names_it() {
        let error = require("pool-core/tests/never.rs", "a test").unwrap_err();
        assert_eq!(error.to_string(), "pool-core/tests/never.rs is missing: a test");
        require("xtask/Cargo.toml", "a test").unwrap();
    }
}
