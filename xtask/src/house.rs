//! The rules of the house that no compiler knows, checked on the text of the files as they lie on the disk.
//!
//! Each rule is a row of a table: a name, the files it is about, what it looks for. Pure apart from reading the files.

use crate::{
    error::Error,
    workspace::{TextFile, text_files},
};

/// The longest a source file may be, in lines.
const LONGEST: usize = 600;

/// Words that postpone work or switch a test off; written in two halves, because this file is checked as well.
const POSTPONED: &[&str] =
    &[concat!("todo", "!("), concat!("unimpl", "emented!("), concat!("#[ign", "ore"), concat!("FIX", "ME")];

/// Names that say nothing about what a file is for.
const NAMELESS: &[&str] = &["util", "utils", "helper", "helpers", "inner", "data", "misc", "common"];

/// Folders that only exist on somebody's machine.
const HOMES: &[&str] = &["home", "Users", "root", "work"];

/// A rule: which files, and what is wrong with one of them (with the line, where there is one).
struct Rule {
    about: fn(&TextFile) -> bool,
    findings: fn(&TextFile) -> Vec<(usize, String)>,
}

const RULES: &[Rule] = &[
    Rule { about: is_rust, findings: opens_with_its_purpose },
    Rule { about: is_source, findings: stays_one_idea },
    Rule { about: is_rust, findings: has_a_name_that_says_something },
    Rule { about: is_rust, findings: postpones_nothing },
    Rule { about: |_| true, findings: names_no_folder_of_a_machine },
];

pub(crate) fn run() -> Result<(), Error> {
    let files = text_files("")?;
    let findings = check(&files);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("house rules: {} files are in order", files.len());
        Ok(())
    } else {
        Err(Error::Found { check: "the house rules", count: findings.len() })
    }
}

fn check(files: &[TextFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for rule in RULES.iter().filter(|rule| (rule.about)(file)) {
            findings
                .extend((rule.findings)(file).into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.path)));
        }
    }
    findings
}

fn is_rust(file: &TextFile) -> bool {
    file.path.ends_with(".rs")
}

fn is_source(file: &TextFile) -> bool {
    is_rust(file) && file.path.contains("/src/")
}

fn opens_with_its_purpose(file: &TextFile) -> Vec<(usize, String)> {
    if file.text.starts_with("//!") {
        Vec::new()
    } else {
        vec![(1, "a file opens with `//!` and what it is for".into())]
    }
}

fn stays_one_idea(file: &TextFile) -> Vec<(usize, String)> {
    let lines = file.text.lines().count();
    if lines <= LONGEST {
        Vec::new()
    } else {
        vec![(lines, format!("{lines} lines where {LONGEST} is the limit: which second idea moved in?"))]
    }
}

fn has_a_name_that_says_something(file: &TextFile) -> Vec<(usize, String)> {
    let says_nothing = |part: &&str| NAMELESS.contains(&part.trim_end_matches(".rs"));
    // Folders count from `src` on: `tests/data` is a place for data and holds no module.
    let module =
        file.path.split_once("/src/").map_or(file.path.rsplit('/').next().unwrap_or_default(), |(_, module)| module);
    module
        .split('/')
        .find(says_nothing)
        .map(|name| (1, format!("`{name}` says nothing about what is in it")))
        .into_iter()
        .collect()
}

fn postpones_nothing(file: &TextFile) -> Vec<(usize, String)> {
    lines(file, |line| {
        POSTPONED.iter().find(|word| line.contains(**word)).map(|word| format!("`{word}` postpones work"))
    })
}

fn names_no_folder_of_a_machine(file: &TextFile) -> Vec<(usize, String)> {
    lines(file, |line| {
        let home = |name: &&str| {
            let folder = format!("/{name}/");
            line.match_indices(&folder)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-}*".contains(c)))
        };
        HOMES.iter().copied().find(home).map(|name| format!("a path below /{name} means nothing on another machine"))
    })
}

fn lines(file: &TextFile, finding: impl Fn(&str) -> Option<String>) -> Vec<(usize, String)> {
    file.text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, finding(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[TextFile { path: path.into(), text: text.into() }])
    }

    #[test]
    fn a_file_in_order_is_left_alone() {
        assert!(findings("pool-core/src/slot.rs", "//! One slot.\nfn free() {}\n").is_empty());
        assert!(findings("tests/data/README.md", "not Rust").is_empty());
    }

    #[test]
    fn a_file_without_purpose_is_found() {
        assert_eq!(
            findings("pool-core/tests/x.rs", "fn x() {}"),
            ["pool-core/tests/x.rs:1: a file opens with `//!` and what it is for"]
        );
    }

    #[test]
    fn a_long_source_file_is_found_and_a_long_test_is_not() {
        let text = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        assert_eq!(findings("pool-core/src/x.rs", &text).len(), 1);
        assert!(findings("pool-core/tests/x.rs", &text).is_empty());
    }

    #[test]
    fn postponed_work_and_switched_off_tests_are_found_with_their_line() {
        for word in POSTPONED {
            let found = findings("pool-core/src/x.rs", &format!("//! X.\n    {word}\n"));
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("pool-core/src/x.rs:2: "), "{found:?}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(findings("pool-core/src/util.rs", "//! X.").len(), 1);
        assert_eq!(findings("pool-core/src/helpers/time.rs", "//! X.").len(), 1);
        assert!(findings("tests/data/cities.rs", "//! X.").is_empty());
    }

    #[test]
    fn folders_of_a_machine_are_found_and_relative_ones_are_not() {
        for home in HOMES {
            assert_eq!(findings("README.md", &format!("see \"/{home}/me/notes\"")).len(), 1, "{home}");
            assert!(findings("README.md", &format!("see docs/{home}/me and ../{home}/")).is_empty(), "{home}");
        }
    }
}
