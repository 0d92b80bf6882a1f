//! The name of a setting and everything that follows from its row of the table.
//!
//! Owns [`Key`]; it must not know where values come from.
//! Invariant: no key is named here that the table does not have.

use std::fmt;
use std::str::FromStr;

use crate::choice::{ExternalWriters, Synchronous, WorkPlacement};
use crate::kind::{self, Kind};
use crate::section::Section;
use crate::table::{days, gib, hours, kib, mib, micros, millis, mins, secs, typed, with_keys};
use crate::value::{Typed, Value};

/// Reads the end of a row.
macro_rules! live {
    () => {
        true
    };
    (reopen) => {
        false
    };
}

macro_rules! declare_keys {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $camel:literal $variant:ident: $kind:ident($($limit:expr),*) = $default:expr $(, $reopen:ident)?;
    )+) => {
        /// The name of a setting.
        ///
        /// # Examples
        ///
        /// ```
        /// use pool_config::Key;
        ///
        /// let key: Key = "maxConnections".parse().unwrap();
        /// assert_eq!(key, Key::MaxConnections);
        /// assert_eq!(key.name(), "max_connections");
        /// assert_eq!(key.variable(), "POOL_MAX_CONNECTIONS");
        /// assert_eq!(key.allowed(), "a whole number of connections from 1 to 4096");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Key {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Key {
            /// Every key, in the order of the table.
            pub const ALL: &'static [Key] = &[$(Key::$variant),+];

            /// Returns the name in snake case, such as `max_connections`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Key::$variant => stringify!($name),)+ }
            }

            /// Returns the name in camel case, such as `maxConnections`.
            #[must_use]
            pub const fn camel_name(self) -> &'static str {
                match self { $(Key::$variant => $camel,)+ }
            }

            fn doc_lines(self) -> &'static [&'static str] {
                match self { $(Key::$variant => &[$($doc),+],)+ }
            }

            /// Returns the value that holds when no layer sets the key.
            #[must_use]
            pub fn default_value(self) -> Value {
                match self { $(Key::$variant => <typed!($kind) as Typed>::into_value($default),)+ }
            }

            pub(crate) const fn kind(self) -> Kind {
                match self { $(Key::$variant => kind::$kind($($limit),*),)+ }
            }

            /// Says whether an open pool can take a new value over; else the pool must be opened anew for it.
            ///
            /// # Examples
            ///
            /// ```
            /// use pool_config::Key;
            ///
            /// assert!(Key::MaxConnections.is_live());
            /// assert!(!Key::PageSize.is_live());
            /// ```
            #[must_use]
            pub const fn is_live(self) -> bool {
                match self { $(Key::$variant => live!($($reopen)?),)+ }
            }
        }
    };
}

with_keys!(declare_keys);

/// Which of its two names a key is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Spelling {
    /// `max_connections`.
    #[default]
    Snake,
    /// `maxConnections`.
    Camel,
}

impl Key {
    /// Returns the name in the given spelling.
    #[must_use]
    pub const fn spelled(self, spelling: Spelling) -> &'static str {
        match spelling {
            Spelling::Snake => self.name(),
            Spelling::Camel => self.camel_name(),
        }
    }

    /// Returns the environment variable that sets the key, such as `POOL_MAX_CONNECTIONS`.
    #[must_use]
    pub fn variable(self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name().to_ascii_uppercase())
    }

    /// Returns what the setting does, as Markdown; the first line is one sentence.
    #[must_use]
    pub fn doc(self) -> String {
        let lines: Vec<_> = self.doc_lines().iter().map(|line| line.trim()).collect();
        lines.join("\n")
    }

    /// Returns what values the key takes, in words.
    #[must_use]
    pub fn allowed(self) -> String {
        self.kind().allowed()
    }

    /// Returns the unit of the setting: what is counted, `bytes`, `milliseconds`, or nothing.
    #[must_use]
    pub fn unit(self) -> Option<&'static str> {
        self.kind().unit()
    }

    /// Returns the section of the table that the key stands in.
    #[must_use]
    pub fn section(self) -> Section {
        Section::of(self)
    }

    pub(crate) fn find(name: &str) -> Option<Key> {
        Key::ALL.iter().copied().find(|key| key.name() == name || key.camel_name() == name)
    }
}

/// What the environment variables of this crate begin with.
pub(crate) const VARIABLE_PREFIX: &str = "POOL_";

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Parses either spelling.
impl FromStr for Key {
    type Err = UnknownKey;

    fn from_str(name: &str) -> Result<Key, UnknownKey> {
        Key::find(name).ok_or_else(|| UnknownKey { name: name.to_owned() })
    }
}

/// No key has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no key is called {name:?}{}", crate::nearest::hint(name))]
#[non_exhaustive]
pub struct UnknownKey {
    /// The name that was asked for.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_names_follow_from_snake_names() {
        for key in Key::ALL {
            let mut camel = String::new();
            for (position, part) in key.name().split('_').enumerate() {
                let (first, rest) = part.split_at(1);
                camel += &if position == 0 { first.to_owned() } else { first.to_ascii_uppercase() };
                camel += rest;
            }
            assert_eq!(key.camel_name(), camel);
        }
    }

    #[test]
    fn a_key_is_found_by_its_two_names_and_by_no_other() {
        for key in Key::ALL {
            assert_eq!(key.name().parse(), Ok(*key));
            assert_eq!(key.camel_name().parse(), Ok(*key));
            assert!(key.name().to_uppercase().parse::<Key>().is_err());
        }
    }

    #[test]
    fn every_default_is_allowed() {
        for key in Key::ALL {
            assert_eq!(key.kind().check(key.default_value()), Ok(()), "{key}");
        }
    }

    #[test]
    fn every_key_says_what_it_does_in_one_sentence_first() {
        for key in Key::ALL {
            let doc = key.doc();
            let first = doc.lines().next().unwrap();
            assert!(first.ends_with('.') && first.len() > 20 && !first.starts_with(' '), "{key}: {first}");
        }
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest_key() {
        let error = "max_conections".parse::<Key>().unwrap_err();
        assert_eq!(error.to_string(), "no key is called \"max_conections\"; did you mean max_connections?");
        let error = "colour".parse::<Key>().unwrap_err();
        assert_eq!(error.to_string(), "no key is called \"colour\"");
    }
}
