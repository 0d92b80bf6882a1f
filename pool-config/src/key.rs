//! The one table of keys: name, camel-case name, kind, range, default and meaning of every setting.
//!
//! Owns what exists and what is allowed; it must not know where values come from.
//! Invariant: a key is declared here and nowhere else. [`Key`], the getters of
//! [`PoolConfig`](crate::PoolConfig), the setters of [`PoolConfigBuilder`](crate::PoolConfigBuilder), the checks,
//! the names of environment variables and the error texts are all made from these rows.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::kind::{self, Kind};
use crate::value::{Synchronous, Typed, Value};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn mins(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

const fn kib(count: u64) -> u64 {
    count << 10
}

const fn mib(count: u64) -> u64 {
    count << 20
}

const fn gib(count: u64) -> u64 {
    count << 30
}

/// Hands every row of the table to the macro named by the caller.
///
/// A row reads: doc lines, `name "camelName" Variant: kind(limits) = default`.
macro_rules! with_keys {
    ($callback:ident) => {
        $callback! {
            /// Limits how many connections are open at the same time.
            max_connections "maxConnections" MaxConnections: count("connections", 1, 4_096) = 10;

            /// Keeps at least this many connections open, even when nobody uses them.
            ///
            /// Zero lets the pool become empty. Must not be above `max_connections`; the default gives way to a smaller one.
            min_connections "minConnections" MinConnections: count("connections", 0, 4_096) = 2;

            /// Limits how long a caller waits for a connection before it gets an error.
            acquire_timeout "acquireTimeout" AcquireTimeout: time(millis(1), days(365)) = secs(10);

            /// Closes a connection that nobody used for this long.
            ///
            /// `None`, in text `"never"` or `"off"`, keeps idle connections for ever.
            idle_timeout "idleTimeout" IdleTimeout: lasting(millis(1), days(365)) = Some(secs(30));

            /// Spaces the rounds in which idle, aged and broken connections are looked for.
            reap_interval "reapInterval" ReapInterval: time(millis(1), days(365)) = secs(10);

            /// Replaces a connection that was opened this long ago.
            ///
            /// `None`, in text `"never"` or `"off"`, lets connections grow old without limit.
            max_connection_age "maxConnectionAge" MaxConnectionAge: lasting(millis(1), days(365)) = Some(hours(1));

            /// Switches the cache of query results on or off.
            enable_query_cache "enableQueryCache" EnableQueryCache: flag() = true;

            /// Limits how many query results the cache holds.
            max_cache_size "maxCacheSize" MaxCacheSize: count("results", 1, 100_000_000) = 1_000;

            /// Switches the reuse of prepared statements on or off.
            enable_statement_pooling "enableStatementPooling" EnableStatementPooling: flag() = true;

            /// Switches the health checks of idle connections on or off.
            enable_health_checks "enableHealthChecks" EnableHealthChecks: flag() = true;

            /// Switches detailed log events on or off.
            enable_logging "enableLogging" EnableLogging: flag() = false;

            /// Limits how long SQLite waits for a lock that another process holds.
            ///
            /// SQLite counts whole milliseconds in a 32-bit integer, hence the upper limit:
            /// <https://www.sqlite.org/c3ref/busy_timeout.html>.
            busy_timeout "busyTimeout" BusyTimeout: time(millis(1), days(24)) = secs(5);

            /// Limits how many prepared statements each connection keeps.
            statement_cache_size "statementCacheSize" StatementCacheSize: count("statements", 1, 100_000) = 64;

            /// Reports a statement that ran at least this long as slow.
            slow_statement "slowStatement" SlowStatement: time(Duration::from_micros(1), days(365)) = millis(100);

            /// Limits how long a cached query result is served.
            cache_ttl "cacheTtl" CacheTtl: time(millis(1), days(365)) = mins(5);

            /// Limits how long closing waits for connections that are still in use.
            close_timeout "closeTimeout" CloseTimeout: time(millis(1), days(365)) = secs(10);

            /// Chooses how hard SQLite makes sure that a commit reached the disk.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
            synchronous "synchronous" Synchronous: synchronous() = Synchronous::Normal;

            /// Limits the page cache of each connection, in bytes.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_cache_size>.
            page_cache_size "pageCacheSize" PageCacheSize: size(kib(64), gib(1_024)) = mib(2);

            /// Limits how many bytes of the database file each connection reads through a memory map.
            ///
            /// Zero switches the map off. SQLite's build limit is the upper end:
            /// <https://www.sqlite.org/pragma.html#pragma_mmap_size>.
            mmap_size "mmapSize" MmapSize: size(0, 0x7fff_0000) = mib(256);
        }
    };
}
pub(crate) use with_keys;

/// The Rust type of a setting of a kind.
macro_rules! typed {
    (count) => { usize };
    (size) => { u64 };
    (time) => { ::std::time::Duration };
    (lasting) => { ::std::option::Option<::std::time::Duration> };
    (flag) => { bool };
    (synchronous) => { $crate::Synchronous };
}
pub(crate) use typed;

macro_rules! declare_keys {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $camel:literal $variant:ident: $kind:ident($($limit:expr),*) = $default:expr;
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
