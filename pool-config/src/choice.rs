//! Settings that are one of a few words.
//!
//! Owns the choices and their words; it must not know which key takes them.
//! Invariant: the word of a choice reads back as that choice.

use std::fmt;

use serde::Serialize;

/// Makes an enum of words: its list, its names, how a word is found.
macro_rules! declare_choice {
    (
        $(#[$about:meta])*
        $type:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $type {
            $($(#[$doc])* $variant,)+
        }

        impl $type {
            /// Every choice, in the order of the list above.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// Returns the word for the choice, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $word,)+ }
            }

            pub(crate) fn find(word: &str) -> Option<$type> {
                $type::ALL.iter().copied().find(|choice| choice.name().eq_ignore_ascii_case(word))
            }

            /// The words of all choices.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}

declare_choice! {
    /// How hard SQLite makes sure that a commit reached the disk, from fastest to safest.
    ///
    /// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
    Synchronous {
        /// Leaves it to the operating system: a power cut can corrupt the database.
        Off = "off",
        /// Syncs at checkpoints in WAL mode: a power cut can lose the last commits, never the database.
        Normal = "normal",
        /// Syncs at every commit.
        Full = "full",
        /// Syncs the directory, too, in rollback-journal modes.
        Extra = "extra",
    }
}

declare_choice! {
    /// When cached results are compared with what other processes have committed.
    ExternalWriters {
        /// At every hit: no result is older than any commit.
        Strict = "strict",
        /// Every so often: a result may be older than a commit of another process by that time.
        Poll = "poll",
        /// Never: for databases that no other process writes.
        None = "none",
    }
}

declare_choice! {
    /// Where queries run.
    WorkPlacement {
        /// Where measured times say: short work on the caller's thread, long work on one that may block.
        Adaptive = "adaptive",
        /// Always on the caller's thread, which may be one of an async runtime.
        Inline = "inline",
        /// Always on a thread that may block.
        Blocking = "blocking",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_its_choice() {
        for choice in Synchronous::ALL {
            assert_eq!(Synchronous::find(&choice.to_string()), Some(*choice));
        }
        for choice in ExternalWriters::ALL {
            assert_eq!(ExternalWriters::find(&choice.to_string()), Some(*choice));
        }
        for choice in WorkPlacement::ALL {
            assert_eq!(WorkPlacement::find(&choice.to_string()), Some(*choice));
        }
    }
}
