//! Positions in text: which line and column a byte stands in.
//!
//! Owns counting; it must not know formats.
//! Invariant: a lookup does not walk the text, so that a file full of mistakes is not read once per mistake.

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Lines<'a> {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// Returns the line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Returns the column of a byte in characters, from 1.
    pub(crate) fn column(&self, at: usize) -> usize {
        let start = self.starts[self.line(at) - 1];
        let before = self.text.as_bytes().get(start..at).unwrap_or_default();
        String::from_utf8_lossy(before).chars().count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_the_line_that_begins_before_them() {
        let lines = Lines::of("ab\nß=1\n\nx");
        for (at, line, column) in [(0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (8, 3, 1), (9, 4, 1), (99, 4, 1)] {
            assert_eq!((lines.line(at), lines.column(at)), (line, column), "byte {at}");
        }
    }
}
