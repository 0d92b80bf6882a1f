//! A file that is there whole or not at all: the room for it is taken before anything is measured, so that nobody measures for minutes
//! to learn that a folder is not writable.
//!
//! Must not know what is written.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

/// A file to be written.
#[derive(Debug)]
pub struct Output {
    file: PathBuf,
    /// Beside it, so that it only has to be renamed.
    draft: NamedTempFile,
}

impl Output {
    /// Makes sure that the file can be written; whatever is there now stays until [`write`](Self::write).
    pub fn prepare(file: &Path) -> Result<Self, String> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if file.is_dir() {
            return Err(format!("{}: a folder, where a file is to be written", file.display()));
        }
        let draft = fs::create_dir_all(folder).and_then(|()| readable(&mut Builder::new()).tempfile_in(folder));
        let draft = draft.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self { file: file.into(), draft })
    }

    /// Writes the file.
    pub fn write(mut self, text: &str) -> Result<PathBuf, String> {
        let written = self.draft.write_all(text.as_bytes());
        let named = written.and_then(|()| self.draft.persist(&self.file).map_err(|error| error.error));
        named.map(|_| self.file.clone()).map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

/// As readable as any other file; by itself a temporary one is its owner's alone.
fn readable<'b, 'p, 's>(builder: &'b mut Builder<'p, 's>) -> &'b mut Builder<'p, 's> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_untouched_until_it_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below").join("figures");
        Output::prepare(&file).unwrap().write("old").unwrap();
        let output = Output::prepare(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        drop(output);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no draft stays behind");
        Output::prepare(&file).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn what_cannot_be_written_is_said_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("figures");
        let why = Output::prepare(&below).unwrap_err();
        assert!(why.starts_with(&*below.to_string_lossy()), "{why}");
        assert!(Output::prepare(folder.path()).unwrap_err().contains("a folder"));
    }
}
