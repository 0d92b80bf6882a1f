//! The end of a demo: a table of what happened, and what was checked.

use std::time::Duration;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, Row, Table, presets::UTF8_FULL_CONDENSED,
};
use pool_manager::PoolStats;

use super::{
    numbers::{count, per_second, share, thousands, time},
    phase::{Outcome, cache, statements},
    screen::Screen,
};

/// Something that was looked after.
#[derive(Debug)]
pub(crate) struct Check {
    /// Whether it was as promised.
    pub(crate) passed: bool,
    /// What was seen.
    pub(crate) text: String,
}

/// Makes a table in the style of the demo.
pub(crate) fn table(screen: Screen, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED.with_rounded_corners()).set_content_arrangement(ContentArrangement::Dynamic);
    if !screen.is_terminal() {
        // Nobody's window to fit into.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(header.iter().map(|title| {
        let cell = Cell::new(title);
        if screen.has_colour() { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    table
}

/// Aligns all columns but the first to the right, as numbers want it.
pub(crate) fn align_numbers(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Prints the table of the phases.
pub(crate) fn phases(screen: Screen, outcomes: &[Outcome]) {
    let header = [
        "phase",
        "tasks",
        "operations",
        "per second",
        "p50",
        "p99",
        "acquire",
        "cache hits",
        "statements",
        "connections",
    ];
    let mut table = table(screen, &header);
    for outcome in outcomes {
        let mut row = Row::new();
        let name = Cell::new(outcome.name);
        row.add_cell(if screen.has_colour() { name.fg(Color::Cyan) } else { name });
        for text in figures(outcome) {
            row.add_cell(Cell::new(text));
        }
        table.add_row(row);
    }
    align_numbers(&mut table);
    println!("\n{table}");
    println!(
        "{}",
        screen.quiet(
            "p50, p99: half, 99 % of the operations were faster (of load: of its transactions) · acquire: mean wait for a connection · \
             statements: taken prepared"
        )
    );
}

fn figures(outcome: &Outcome) -> [String; 9] {
    let (before, after) = (&outcome.before, &outcome.after);
    let ((cache_hits, cached), (statement_hits, prepared)) = (cache(before, after), statements(before, after));
    [
        outcome.tasks.to_string(),
        thousands(outcome.operations),
        per_second(outcome.operations, outcome.elapsed),
        time(outcome.latency(0.5)),
        time(outcome.latency(0.99)),
        outcome.acquire_time().map_or_else(|| "–".into(), wait),
        share(cache_hits, cached),
        share(statement_hits, prepared),
        format!("{}/{}", after.total_connections, after.max_connections),
    ]
}

/// A wait, which is not measured where there was none.
fn wait(mean: Duration) -> String {
    if mean.is_zero() { "none".into() } else { time(mean) }
}

/// Prints the checks. Returns how many failed.
pub(crate) fn checks(screen: Screen, checks: &[Check]) -> usize {
    println!();
    for check in checks {
        let mark = if check.passed { screen.good("✓") } else { screen.bad("✗") };
        println!("{mark} {}", check.text);
    }
    checks.iter().filter(|check| !check.passed).count()
}

/// What closing the pool must show: all that was opened is closed, and all that was taken is back.
pub(crate) fn closed(stats: &PoolStats) -> Check {
    let passed = stats.total_created == stats.total_destroyed
        && stats.total_acquired == stats.total_released
        && stats.total_connections == 0;
    let text = format!(
        "pool closed: {} opened and {} closed, taken {} times and given back {} times, {}",
        count(stats.total_created as usize, "connection", "connections"),
        thousands(stats.total_destroyed),
        thousands(stats.total_acquired),
        thousands(stats.total_released),
        count(stats.total_errors as usize, "error", "errors"),
    );
    Check { passed, text }
}
