//! Which programs measure which scenarios: what has to be built for what is asked for.
//!
//! Must not know what is measured. A scenario that no program measures is refused by the program that collects, so this table cannot name
//! one that is not there; one that is not in it is measured only with all others.

use crate::error::Error;

/// A set of scenarios.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// Where the program that measures ours is, below `xtask/peers`; its feature `peers` adds others that can be linked with it.
    pub(crate) ours: &'static str,
    /// Where programs of others are.
    pub(crate) others: &'static [&'static str],
    pub(crate) scenarios: &'static [&'static str],
}

pub(crate) const SETS: &[Set] = &[
    Set {
        name: "pool",
        ours: "pool",
        others: &[],
        scenarios: &[
            "acquire-uncontended",
            "acquire-2-threads",
            "acquire-64-tasks",
            "acquire-dry-pool",
            "acquire-64-threads",
            "acquire-scaling",
            "acquire-10000-waiters",
            "acquire-stats-read",
        ],
    },
    Set {
        name: "sqlite",
        ours: "sqlite/runners/ours",
        others: &["sqlite/runners/rusqlite-pools", "sqlite/runners/async-sqlite", "sqlite/runners/sqlx"],
        scenarios: &[
            "read-point-sequential",
            "read-point-64-tasks",
            "read-point-scaling",
            "read-range-1000",
            "statement-reuse",
            "open-per-operation",
            "write-64-normal",
            "write-64-full",
            "write-single",
            "write-scaling",
            "mixed-90-10",
            "read-modify-write",
            "query-cache-hit",
            "query-cache-read-mostly",
            "query-cache-writes",
            "memory-10-connections",
        ],
    },
    Set {
        name: "cache",
        ours: "cache",
        others: &[],
        scenarios: &[
            "cache-hit",
            "cache-zipf",
            "cache-hit-ratio",
            "cache-herd",
            "cache-insert",
            "cache-memory",
            "cache-purge",
        ],
    },
    Set {
        name: "statement",
        ours: "statement",
        others: &[],
        scenarios: &[
            "statement-point",
            "statement-point-20-texts",
            "statement-point-own-locks",
            "statement-prepare",
            "statement-effects",
            "statement-warm",
        ],
    },
    Set { name: "config", ours: "settings", others: &[], scenarios: &["config-load"] },
];

/// What names ask for: the sets that take part, and the scenarios, none of them when it is all of those sets.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) sets: Vec<&'static Set>,
    pub(crate) scenarios: Vec<&'static str>,
}

/// Finds what names of sets and scenarios ask for; no name asks for everything.
pub(crate) fn choose(names: &[String]) -> Result<Chosen, Error> {
    let mut scenarios: Vec<&'static str> = Vec::new();
    for name in names {
        let set = SETS.iter().find(|set| set.name == *name).map(|set| set.scenarios.to_vec());
        let alone =
            || SETS.iter().flat_map(|set| set.scenarios).find(|scenario| *scenario == name).map(|one| vec![*one]);
        let found = set.or_else(alone).ok_or_else(|| Error::UnknownBench { name: name.clone(), known: known() })?;
        scenarios.extend(found);
    }
    let wanted = |set: &&Set| names.is_empty() || set.scenarios.iter().any(|scenario| scenarios.contains(scenario));
    Ok(Chosen { sets: SETS.iter().filter(wanted).collect(), scenarios })
}

fn known() -> String {
    let sets = SETS.iter().map(|set| format!("{} ({})", set.name, set.scenarios.join(", ")));
    sets.chain(["headline; instructions".into()]).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::root;

    #[test]
    fn a_scenario_asks_for_its_set_alone() {
        let chosen = choose(&["cache-hit".into(), "cache-zipf".into()]).unwrap();
        assert_eq!(chosen.sets.iter().map(|set| set.name).collect::<Vec<_>>(), ["cache"]);
        assert_eq!(chosen.scenarios, ["cache-hit", "cache-zipf"]);
    }

    #[test]
    fn a_set_asks_for_all_it_has_and_no_name_for_everything() {
        assert_eq!(choose(&["config".into()]).unwrap().scenarios, ["config-load"]);
        let all = choose(&[]).unwrap();
        assert_eq!(all.sets.len(), SETS.len());
        assert!(all.scenarios.is_empty());
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let error = choose(&["cache-hits".into()]).unwrap_err().to_string();
        assert!(error.contains("`cache-hits`") && error.contains("config (config-load); headline"), "{error}");
    }

    #[test]
    fn every_program_is_there() {
        for folder in SETS.iter().flat_map(|set| [&[set.ours], set.others].concat()) {
            assert!(root().join("xtask/peers").join(folder).join("src/main.rs").is_file(), "{folder}");
        }
    }

    #[test]
    fn names_are_unambiguous() {
        let mut names: Vec<&str> = SETS.iter().flat_map(|set| [&[set.name], set.scenarios].concat()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
