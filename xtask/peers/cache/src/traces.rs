//! Owns the sequences of keys: made ones, and those recorded in files.
//!
//! Must not know caches. The same seed gives the same sequence everywhere.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// A sequence of questions, with the capacities to ask them at.
pub struct Trace {
    pub name: String,
    pub keys: Vec<u64>,
    pub capacities: Vec<usize>,
}

/// Marsaglia's xorshift64 (2003): enough for choosing keys.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// `length` ranks below `keys`, rank `r` with a weight of `1 / (r + 1)^skew`.
pub fn zipf(keys: usize, skew: f64, length: usize, seed: u64) -> Vec<u64> {
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += (rank as f64).powf(-skew);
            total
        })
        .collect();
    let mut dice = Dice(seed);
    (0..length)
        .map(|_| {
            let point = (dice.roll() >> 11) as f64 / (1_u64 << 53) as f64 * total;
            sums.partition_point(|sum| *sum < point) as u64
        })
        .collect()
}

const SEED: u64 = 88_172_645_463_325_252;
const KEYS: usize = 100_000;
const LENGTH: usize = 1_000_000;

fn trace(name: impl Into<String>, keys: Vec<u64>) -> Trace {
    let mut seen = keys.clone();
    seen.sort_unstable();
    seen.dedup();
    let capacities = [100, 50, 20, 10, 5, 2].map(|part| (seen.len() / part).max(1)).into();
    Trace { name: name.into(), keys, capacities }
}

/// The made sequences.
fn made() -> Vec<Trace> {
    let mut all: Vec<Trace> =
        [0.7, 0.9, 1.1].map(|skew| trace(format!("zipf {skew}"), zipf(KEYS, skew, LENGTH, SEED))).into();
    let mut cycle = trace("loop", (0..LENGTH as u64).map(|i| i % 11_000).collect());
    // The hard case of a loop: only just too long for the cache.
    cycle.capacities.push(10_000);
    all.push(cycle);
    let mut scans = Vec::new();
    for (i, key) in zipf(KEYS, 0.9, LENGTH * 4 / 5, SEED).into_iter().enumerate() {
        if i % 40_000 == 0 {
            let start = (LENGTH + scans.len()) as u64;
            scans.extend(start..start + 10_000);
        }
        scans.push(key);
    }
    all.push(trace("zipf and scans", scans));
    // Every 50,000 questions the 3,000 most wanted keys become the least wanted.
    let moving = zipf(KEYS, 0.99, LENGTH, SEED).into_iter().enumerate();
    all.push(trace("moving hot set", moving.map(|(i, key)| key + i as u64 / 50_000 * 3_000).collect()));
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data/traces")
}

fn recorded() -> Vec<Trace> {
    let files = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

/// One key a line, packed.
fn read(file: &Path) -> Trace {
    let packed = std::fs::read(file).expect("a trace can be read");
    let mut text = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut text).expect("a trace can be unpacked");
    let mut numbers = HashMap::new();
    let number = |line| {
        let next = numbers.len() as u64;
        *numbers.entry(line).or_insert(next)
    };
    let keys = text.lines().map(number).collect();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    trace(name.trim_end_matches(".txt.gz"), keys)
}

/// All sequences there are; says so if the recorded ones are missing.
pub fn all() -> Vec<Trace> {
    let recorded = recorded();
    if recorded.is_empty() {
        eprintln!("no recorded traces: ../shared/data/traces beside the project is missing or empty");
    }
    made().into_iter().chain(recorded).collect()
}
