//! Owns the question how many of a trace's questions a cache can answer, and the optimum to compare with.
//!
//! Must not know clocks: nothing here is timed.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use crate::peers::{Lru, Moka, Ours, Peer, Quick};
use crate::report::{Figure, Report};
use crate::traces;

/// The share of questions, in percent, that are hits if every miss is inserted.
fn hits<P: Peer<u64>>(keys: &[u64], capacity: usize) -> f64 {
    let cache = P::new(capacity);
    let mut hits = 0_u64;
    for (asked, &key) in keys.iter().enumerate() {
        if cache.look(&key).is_some() {
            hits += 1;
        } else {
            cache.put(key, key);
        }
        // Who does part of the work later gets the time for it.
        if asked % 32 == 0 {
            cache.settle();
        }
    }
    hits as f64 * 100.0 / keys.len() as f64
}

/// Bélády's optimum: what is asked for last leaves, be it the newcomer ("A study of replacement algorithms", 1966).
fn optimum(keys: &[u64], capacity: usize) -> f64 {
    let mut next = vec![usize::MAX; keys.len()];
    let mut seen = HashMap::new();
    for (place, key) in keys.iter().enumerate().rev() {
        if let Some(later) = seen.insert(key, place) {
            next[place] = later;
        }
    }
    // What is kept, by the time of its next question: each time occurs once, but for those that never come.
    let mut kept = BTreeSet::new();
    let mut hits = 0_u64;
    for (place, &next) in next.iter().enumerate() {
        hits += u64::from(kept.remove(&place));
        if next == usize::MAX {
            continue;
        }
        kept.insert(next);
        if kept.len() > capacity {
            kept.pop_last();
        }
    }
    hits as f64 * 100.0 / keys.len() as f64
}

type Player = (&'static str, fn(&[u64], usize) -> f64);

/// Asks all traces whose name contains `only`; gives the table.
pub fn measure(only: &str, report: &mut Report) -> String {
    let players: [Player; 5] = [
        (<Ours<u64> as Peer<u64>>::NAME, hits::<Ours<u64>>),
        (<Quick<u64> as Peer<u64>>::NAME, hits::<Quick<u64>>),
        (<Moka<u64> as Peer<u64>>::NAME, hits::<Moka<u64>>),
        (<Lru<u64> as Peer<u64>>::NAME, hits::<Lru<u64>>),
        ("optimum", optimum),
    ];
    let mut table = format!("\nhit ratio in percent\n  {:<16} {:>9}", "trace", "capacity");
    for (name, _) in players {
        let _ = write!(table, " {name:>12}");
    }
    let _ = writeln!(table, " {:>12} {:>12}", "ours-quick", "ours-best");
    for trace in traces::all().iter().filter(|trace| trace.name.contains(only)) {
        for &capacity in &trace.capacities {
            let scenario: &'static str = format!("cache-hit-ratio, {}, {capacity}", trace.name).leak();
            let _ = write!(table, "  {:<16} {capacity:>9}", trace.name);
            let found = players.map(|(competitor, ask)| {
                let value = ask(&trace.keys, capacity);
                let _ = write!(table, " {value:>12.2}");
                report.add(Figure { scenario, competitor, metric: "hit ratio", unit: "%", better: "higher", value });
                value
            });
            let best = found[1].max(found[2]).max(found[3]);
            let _ = writeln!(table, " {:>12.2} {:>12.2}", found[0] - found[1], found[0] - best);
        }
    }
    table
}
