//! The command line of every program that measures: who takes part, what it is built on, one measuring a call.
//!
//! Must not know what is measured. Invariant: what it says are lines of JSON on its standard output, a failure included.

use std::path::Path;

use peers_figures::{Built, Competitor as Named, Figure, Line, Order, lines};

use crate::{
    competitor::{Competitor, Failure, Quirks},
    measure, memory,
    scenario::{MEMORY, SCENARIOS},
};

/// Somebody who takes part, in one of the ways it can be used.
#[derive(Clone, Debug)]
pub struct Entrant {
    name: &'static str,
    quirks: Quirks,
    scenarios: Vec<&'static str>,
    measure: fn(&Order, Quirks) -> Result<Vec<Figure>, Failure>,
    scan: fn(&Path, u32, Quirks) -> Result<String, Failure>,
}

impl Entrant {
    /// Somebody who takes part in these groups of scenarios.
    #[must_use]
    pub fn new<C: Competitor>(name: &'static str, quirks: Quirks, groups: &[&[&'static str]]) -> Self {
        Self { name, quirks, scenarios: groups.concat(), measure: measure::measure::<C>, scan: memory::scan::<C> }
    }

    /// Takes part in the scenario of memory, too.
    #[must_use]
    pub fn with_memory(mut self) -> Self {
        self.scenarios.push(MEMORY);
        self
    }
}

/// What a program is built on, and options of its SQLite.
pub type BuiltOn = Result<(String, Vec<String>), Failure>;

/// Makes the database of cities, or the large table of so many MiB.
pub type Fill = fn(&Path, Option<u64>) -> Result<(), Failure>;

/// A program that measures.
#[derive(Debug)]
pub struct Runner {
    /// All who take part.
    pub entrants: Vec<Entrant>,
    /// What they are built on.
    pub built: fn() -> BuiltOn,
    /// Makes databases; one runner is enough.
    pub fill: Option<Fill>,
}

/// Does what the command line says:
///
/// - `list`: who takes part in which scenario, and what they are built on;
/// - `fill PATH [MIB]`: makes the database of cities, or the large table;
/// - `run` and the words of an [`Order`]: one measuring;
/// - `scan COMPETITOR CONNECTIONS PATH`: memory of this process, for `run` itself.
#[must_use]
pub fn main(runner: &Runner) -> String {
    let owned: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = owned.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => list(runner),
        ["fill", path] => filled(runner, path, None),
        ["fill", path, mib] => filled(runner, path, mib.parse().ok()),
        ["scan", competitor, connections, path] => {
            let entrant = runner.entrants.iter().find(|entrant| entrant.name == competitor).expect("a competitor");
            let connections = connections.parse().expect("a number of connections");
            (entrant.scan)(path.as_ref(), connections, entrant.quirks).unwrap_or_else(|why| format!("{why:?}"))
        }
        _ => {
            let order = Order::parse(&owned).unwrap_or_else(|| panic!("list | fill | run | scan, not {words:?}"));
            let entrant = runner.entrants.iter().find(|entrant| entrant.name == order.competitor);
            run(entrant.expect("a competitor"), &order)
        }
    }
}

fn run(entrant: &Entrant, order: &Order) -> String {
    let measured =
        if order.scenario == MEMORY { memory::measure(order) } else { (entrant.measure)(order, entrant.quirks) };
    match measured {
        Ok(figures) => lines(figures.into_iter().map(Line::Figure)),
        Err(why) => {
            let who = Named { scenario: order.scenario.clone(), competitor: order.competitor.clone() };
            let failed = match why {
                Failure::Busy => "the database was locked outside of what is measured".into(),
                Failure::Other(why) => why,
            };
            lines([Line::Failed { who, failed }])
        }
    }
}

fn list(runner: &Runner) -> String {
    let (built, facts) = (runner.built)().expect("what it is built on");
    let built = Built { built, facts, fills: runner.fill.is_some(), ..Built::default() };
    let mut order: Vec<&str> = Vec::new();
    for name in SCENARIOS.iter().map(|scenario| scenario.name).chain([MEMORY]) {
        if !order.contains(&name) {
            order.push(name);
        }
    }
    let named = order.iter().flat_map(|scenario| {
        let takes_part = runner.entrants.iter().filter(|entrant| entrant.scenarios.contains(scenario));
        takes_part
            .map(|entrant| Line::Competitor(Named { scenario: (*scenario).into(), competitor: entrant.name.into() }))
    });
    lines([Line::Built(built)].into_iter().chain(named))
}

fn filled(runner: &Runner, path: &str, mib: Option<u64>) -> String {
    runner.fill.expect("this runner fills nothing")(path.as_ref(), mib).expect("the database can be filled");
    String::new()
}
