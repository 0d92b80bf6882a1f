//! The demo without a file: a fresh database, loaded and served.

use std::{
    env,
    path::PathBuf,
    process,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pool_manager::{DatabaseManager, PoolConfig};

use super::{
    error::Error,
    facts::Facts,
    load,
    numbers::{size, thousands},
    phase::{Outcome, Stage},
    report::{self, Check},
    screen::Screen,
    serve,
    stop::Stop,
};
use crate::flags::DemoFlags;

/// Makes, loads, serves and closes the demo's own database.
pub(crate) async fn run(flags: &DemoFlags, screen: Screen, stop: Stop) -> Result<(), Error> {
    let path = flags.file.clone().unwrap_or_else(fresh_name);
    if path.exists() {
        let problem =
            "exists already: the demo loads into a new file (to serve this one: cargo xtask demo -- FILE)".into();
        return Err(Error::Unusable { path, problem });
    }
    let facts = Arc::new(Facts::read()?);
    let failed = |error| Error::Failed { path: path.clone(), source: Box::new(error) };
    let db = DatabaseManager::builder()
        .path(&path)
        .config(PoolConfig::builder().max_connections(flags.connections))
        .build()
        .map_err(failed)?;
    let stage = Stage { db, screen, stop, length: Duration::from_secs_f64(flags.seconds), tasks: flags.tasks };
    println!(
        "{}: {} cities and {} countries into {}\n{}",
        screen.strong("pooled SQLite"),
        thousands(facts.cities.len() as u64),
        facts.countries.len(),
        path.display(),
        screen.quiet(&settings(&stage)),
    );
    println!();
    let (mut outcomes, mut checks) = (Vec::new(), Vec::new());
    let served = serve_all(&stage, &facts, &mut outcomes, &mut checks).await;
    // Closed in any case: an error in between is no reason to leave a log behind.
    let closed = stage.db.close_pool().await;
    served.and(closed).map_err(failed)?;
    checks.push(report::closed(&stage.stats()));
    if stage.stop.requested() {
        println!("\nstopped by the user; what was done until then:");
    }
    report::phases(screen, &outcomes);
    let failed_checks = report::checks(screen, &checks);
    println!(
        "\n{} ({})",
        path.display(),
        std::fs::metadata(&path).map_or_else(|_| "gone".into(), |file| size(file.len()))
    );
    println!("{}", screen.quiet(&format!("to serve it as anybody's: cargo xtask demo -- {}", path.display())));
    if failed_checks > 0 { Err(Error::Checks { failed: failed_checks }) } else { Ok(()) }
}

async fn serve_all(
    stage: &Stage,
    facts: &Arc<Facts>,
    outcomes: &mut Vec<Outcome>,
    checks: &mut Vec<Check>,
) -> pool_manager::Result<()> {
    let loaded = load::load(stage, facts).await?;
    let complete = loaded.operations == facts.cities.len() as u64;
    outcomes.push(loaded);
    if !complete {
        return Ok(());
    }
    for phase in 0..4 {
        if stage.stop.requested() {
            break;
        }
        let (outcome, check) = match phase {
            0 => serve::points(stage, facts).await,
            1 => serve::ranges(stage, facts).await,
            2 => serve::aggregates(stage, facts).await,
            _ => serve::transfers(stage).await,
        }?;
        outcomes.push(outcome);
        checks.push(check);
    }
    Ok(())
}

/// Under what conditions all this runs.
pub(crate) fn settings(stage: &Stage) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { ", an unoptimised build: its figures say little" } else { "" };
    format!(
        "SQLite {}, up to {} connections, {} tasks, {cores} cores, {} s a phase{build}",
        pool_manager::rusqlite::version(),
        stage.stats().max_connections,
        stage.tasks,
        stage.length.as_secs_f64(),
    )
}

/// A file that nobody has, in the folder for such files.
fn fresh_name() -> PathBuf {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    env::temp_dir().join(format!("pool-demo-{seconds}-{}.sqlite", process::id()))
}
