//! Owns the question how many of a trace's questions a cache can answer, and the optimum to compare with.
//!
//! Must not know clocks: nothing here is timed.

use std::collections::{BTreeSet, HashMap};

use peers_figures::{Better, Point, Round};

use crate::ours::Peer;
use crate::traces;

/// The share of questions, in percent, that are hits if every miss is inserted.
pub fn hits<P: Peer<u64>>(keys: &[u64], capacity: usize) -> f64 {
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
pub fn optimum(keys: &[u64], capacity: usize) -> f64 {
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

/// Asks all traces at all their capacities; `hit_ratio` is the mean of all, each of them a point of its trace's curve.
pub fn measure(round: &mut Round, ask: fn(&[u64], usize) -> f64) {
    let mut all = Vec::new();
    for trace in traces::all() {
        for &capacity in &trace.capacities {
            let value = ask(&trace.keys, capacity);
            let metric = format!("hit_ratio {} {capacity}", trace.name);
            let point = Point { curve: trace.name.clone(), over: "entries".into(), at: capacity as f64 };
            round.add_point(&metric, "%", Better::Higher, value, point);
            all.push(value);
        }
    }
    round.add("hit_ratio", "%", Better::Higher, all.iter().sum::<f64>() / all.len() as f64);
}
