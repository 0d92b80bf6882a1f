//! Measures `pool-manager` on SQLite files against raw rusqlite, r2d2, deadpool-sqlite, tokio-rusqlite, async-sqlite and sqlx.
//!
//! They cannot all link one SQLite, so each group that can is a program of its own below `runners`, and this one drives them: every figure
//! is a process of its own, and competitors take turns round by round. `cargo xtask bench sqlite` builds the runners and names them with
//! `--runner FILE`. Further options: `--rounds N` (default 5), `--millis N` of each measuring (default 300), `--only TEXT` for scenarios
//! whose name contains it, `--competitor TEXT` for competitors whose name does, `--json FILE` to keep the figures, `--memory-mib N` for the
//! size of the large table (default 500), `--folder PATH` for where the databases are (default: the system's folder for temporary files),
//! `--quick` for 3 rounds of 100 ms and a large table of 64 MiB. Measure on a machine that does nothing else.

mod drive;
mod runners;

use std::process::ExitCode;

use peers_figures::Options;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut options = Options::parse(std::env::args().skip(1), 5, 300)?;
    let programs: Vec<_> = std::iter::from_fn(|| options.take("--runner").transpose()).collect::<Result<_, _>>()?;
    if programs.is_empty() {
        return Err("no --runner to drive; `cargo xtask bench sqlite` builds and names them".into());
    }
    let competitor = options.take("--competitor")?.unwrap_or_default();
    let mib = options.number("--memory-mib", if options.quick { 64 } else { 500 })?;
    let folder = options.take("--folder")?.map_or_else(std::env::temp_dir, Into::into);
    options.all_taken()?;

    let runners = runners::Runners::ask(&programs)?;
    println!("{}", runners.described());
    let chosen = runners.chosen(&options.only, &competitor);
    let folder = tempfile::tempdir_in(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let report = drive::drive(&runners, &chosen, &options, mib, folder.path())?;
    print!("{}", report.table());
    if let Some(file) = options.json {
        std::fs::write(&file, format!("{:#}\n", report.json()))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}
