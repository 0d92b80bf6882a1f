//! Groups of keys, for those who read the whole table.
//!
//! Owns which keys belong together; it must not know what they mean.
//! Invariant: a section is a run of neighbours in the table, so that the order of keys is that of their sections.

use std::fmt;

use crate::key::Key;

/// A group of keys that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Section {
    /// How many connections there are, how long they live, who waits for them.
    Connections,
    /// Reuse of prepared statements.
    Statements,
    /// The cache of query results.
    QueryCache,
    /// What SQLite itself is told.
    Database,
    /// How reads and writes are carried out.
    Lanes,
    /// What is reported.
    Logging,
}

/// The first key of every section, in the order of the table.
const FIRST: &[(Key, Section)] = &[
    (Key::MaxConnections, Section::Connections),
    (Key::EnableStatementPooling, Section::Statements),
    (Key::EnableQueryCache, Section::QueryCache),
    (Key::Synchronous, Section::Database),
    (Key::WorkPlacement, Section::Lanes),
    (Key::EnableLogging, Section::Logging),
];

impl Section {
    /// Returns the section of a key.
    pub(crate) fn of(key: Key) -> Section {
        let begun = FIRST.iter().take_while(|(first, _)| *first <= key);
        begun.last().map(|(_, section)| *section).expect("BUG: the first section does not begin with the first key")
    }

    /// Returns the name as a heading, such as `query cache`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Section::Connections => "connections",
            Section::Statements => "statements",
            Section::QueryCache => "query cache",
            Section::Database => "database",
            Section::Lanes => "lanes",
            Section::Logging => "logging",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_the_section_of_their_neighbours() {
        let mut sections: Vec<Section> = Key::ALL.iter().map(|key| key.section()).collect();
        assert!(sections.is_sorted(), "{sections:?}");
        sections.dedup();
        assert_eq!(sections.len(), FIRST.len());
        assert_eq!(Key::CacheTtl.section(), Section::QueryCache);
        assert_eq!(Key::SlowStatement.section(), Section::Logging);
    }
}
