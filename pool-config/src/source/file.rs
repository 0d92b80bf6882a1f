//! Reading a file that may be anything.
//!
//! Owns the guard between a path and text; it must not know formats beyond their file endings.
//! Invariant: at most [`LIMIT`] bytes are read, and only from a regular file, so that nothing blocks and nothing fills
//! the memory.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::text::{Format, LIMIT, Place, Text};
use crate::error::Problem;
use crate::layer::Reading;

/// Reads a file and takes in what it says.
pub(crate) fn read(path: &Path, optional: bool, reading: &mut Reading) {
    let Some(format) = Format::of(path) else {
        reading.problems.push(Problem::UnknownFormat { path: path.to_owned() });
        return;
    };
    match content(path) {
        Ok(text) => Text { place: Place::File(path.into()), format, text: text.into() }.read(reading),
        Err(problem) if optional && is_missing(&problem) => {}
        Err(problem) => reading.problems.push(*problem),
    }
}

fn is_missing(problem: &Problem) -> bool {
    matches!(problem, Problem::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn content(path: &Path) -> Result<String, Box<Problem>> {
    let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
    // Opening a pipe waits for its writer: look before opening, and again at what was opened.
    regular(path, &std::fs::metadata(path).map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    regular(path, &file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let name = || path.to_string_lossy().into_owned();
    if bytes.len() as u64 > LIMIT {
        return Err(Problem::TooLarge { name: name(), limit: LIMIT }.into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem::NotText { name: name(), place: format!("line {line}") }.into()
    })
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Box<Problem>> {
    let kind: FileType = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let found = if kind.is_dir() { "a directory" } else { "a device, a pipe or a socket" };
    Err(Problem::NotAFile { path: path.to_owned(), found }.into())
}
