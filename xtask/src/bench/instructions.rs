//! `bench instructions`: how many instructions one call of each hot path takes, counted by callgrind and compared with the counts that
//! were accepted.
//!
//! Counts need no quiet machine. Each path is run twice, the second time doing everything as often again, and the difference counts:
//! starting, opening and warming fall out. Invariant: only the main thread counts; counts of another compiler are shown and not judged.

use std::{fmt::Write as _, fs, path::Path};

use super::build;
use crate::{
    error::Error,
    process::Process,
    workspace::{Workspace, root},
};

/// Where the accepted counts are, from the root of the workspace.
const TABLE: &str = "xtask/instructions.txt";

/// How many percent a count may differ from the accepted one.
const TOLERANCE: f64 = 5.0;

/// The counts of a compiler.
#[derive(Debug, PartialEq)]
struct Counts {
    compiler: String,
    /// Instructions of one call, by path.
    paths: Vec<(String, f64)>,
}

pub(crate) fn run(accept: bool) -> Result<(), Error> {
    if !Process::new("valgrind").arg("--version").succeeds() {
        println!("skipped: valgrind is not installed");
        return Ok(());
    }
    let target = Workspace::load()?.target_directory.join("bench");
    let program = build("instructions", &[], &target)?.to_string_lossy().into_owned();
    let names = String::from_utf8_lossy(&Process::new(&program).read()?).into_owned();
    let mut counted = Counts { compiler: compiler()?, paths: Vec::new() };
    for (name, times) in names.lines().filter_map(named) {
        let (once, twice) = (count(&program, name, times, &target)?, count(&program, name, 2 * times, &target)?);
        counted.paths.push((name.into(), twice.saturating_sub(once) as f64 / times as f64));
    }
    let file = root().join(TABLE);
    if accept {
        fs::write(&file, counted.text()).map_err(|source| Error::Unwritable { path: file, source })?;
        println!("{}accepted, in {TABLE}", counted.text());
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|source| Error::Unreadable { path: file, source })?;
    let (shown, outside) = compare(&Counts::parse(&text), &counted);
    print!("{shown}");
    if outside == 0 { Ok(()) } else { Err(Error::Found { check: "counting instructions", count: outside }) }
}

/// A path, and how often it wants to be run first; the second time it is twice as often.
fn named(line: &str) -> Option<(&str, u64)> {
    let (name, times) = line.split_once(' ')?;
    Some((name, times.parse().ok()?))
}

/// The instructions of the main thread in one run.
fn count(program: &str, path: &str, times: u64, target: &Path) -> Result<u64, Error> {
    let file = target.join(format!("callgrind.{path}.{times}"));
    let file = file.to_string_lossy();
    let run = Process::new("valgrind")
        // The same variants of memcpy and the like on every processor.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM")
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .args([format!("--callgrind-out-file={file}"), program.into(), path.into(), times.to_string()]);
    run.read()?;
    // With several threads each has a file of its own, the main one the first.
    let first = format!("{file}-01");
    let text = fs::read_to_string(&first).map_err(|source| Error::Unreadable { path: first.into(), source })?;
    total(&text).ok_or_else(|| Error::Failed { command: run.to_string() })
}

/// What callgrind says was counted in all.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What builds the program: counts of another compiler are other counts.
fn compiler() -> Result<String, Error> {
    let first = |program: &str, word: &str| -> Result<String, Error> {
        let text = Process::new(program).arg(word).read()?;
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    };
    Ok(format!("{}, {}, {}", first("rustc", "-V")?, first("cc", "--version")?, crate::san::host()?))
}

impl Counts {
    fn text(&self) -> String {
        let mut text = String::from(
            "# Instructions of one call of each hot path, counted by `cargo xtask bench instructions`; --accept writes this file.\n",
        );
        let _ = writeln!(text, "compiler: {}", self.compiler);
        for (path, count) in &self.paths {
            let _ = writeln!(text, "{path:<20} {count:>8.0}");
        }
        text
    }

    fn parse(text: &str) -> Self {
        let mut counts = Self { compiler: String::new(), paths: Vec::new() };
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix("compiler: ") {
                counts.compiler = compiler.into();
            } else if let Some((path, count)) = line.split_once(' ')
                && let Ok(count) = count.trim().parse()
            {
                counts.paths.push((path.into(), count));
            }
        }
        counts
    }
}

/// The table, and how many counts are too far from the accepted ones or have none.
fn compare(accepted: &Counts, counted: &Counts) -> (String, usize) {
    let mut text = format!("{:<20} {:>10} {:>10}\n", "instructions", "accepted", "now");
    let same = accepted.compiler == counted.compiler;
    let mut outside = 0;
    for (path, now) in &counted.paths {
        let Some((_, then)) = accepted.paths.iter().find(|(known, _)| known == path) else {
            let _ = writeln!(text, "{path:<20} {:>10} {now:>10.0}  not in the table: --accept", "-");
            outside += 1;
            continue;
        };
        let percent = (now / then - 1.0) * 100.0;
        let far = percent.abs() > TOLERANCE;
        outside += usize::from(far && same);
        let note = if far && same { "  more than 5 % off: mend it, or --accept" } else { "" };
        let _ = writeln!(text, "{path:<20} {then:>10.0} {now:>10.0} {percent:>+7.1} %{note}");
    }
    if !same {
        let _ = writeln!(text, "not judged: accepted with {}, counted with {}", accepted.compiler, counted.compiler);
    }
    (text, outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, paths: &[(&str, f64)]) -> Counts {
        Counts {
            compiler: compiler.into(),
            paths: paths.iter().map(|(path, count)| ((*path).into(), *count)).collect(),
        }
    }

    #[test]
    fn what_is_accepted_is_read_back() {
        let accepted = counts("rustc 1, cc 2", &[("acquire-release", 61.0), ("point-read", 20_417.0)]);
        assert_eq!(Counts::parse(&accepted.text()), accepted);
    }

    #[test]
    fn five_percent_to_either_side_pass() {
        let accepted = counts("rustc", &[("hit", 1_000.0)]);
        for (now, outside) in [(1_049.0, 0), (951.0, 0), (1_051.0, 1), (949.0, 1)] {
            assert_eq!(compare(&accepted, &counts("rustc", &[("hit", now)])).1, outside, "{now}");
        }
    }

    #[test]
    fn another_compiler_is_not_judged_and_an_unknown_path_is() {
        let accepted = counts("rustc 1", &[("hit", 1_000.0)]);
        let (text, outside) = compare(&accepted, &counts("rustc 2", &[("hit", 2_000.0)]));
        assert!(outside == 0 && text.contains("not judged"), "{text}");
        assert_eq!(compare(&accepted, &counts("rustc 1", &[("miss", 1.0)])).1, 1);
    }

    #[test]
    fn the_total_is_found_in_what_callgrind_wrote() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 123\n\ntotals: 123\n"), Some(123));
        assert_eq!(total("events: Ir"), None);
    }
}
