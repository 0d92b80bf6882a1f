//! Memory of a process whose connections have each read a large table.
//!
//! Must not know who competes. Invariant: ten connections and one are measured in processes of their own, for memory that was given
//! back to the allocator is not given back to the system.

use std::{fs, path::Path, process::Command};

use peers_figures::{Better, Figure, Order};

use crate::{
    competitor::{Competitor, Failure, Quirks, Site},
    measure::{figure, runtime},
    sql,
};

/// Bytes a process has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    /// Pages that several mappings share count for each its part.
    proportional: u64,
    /// They count for each in full.
    resident: u64,
}

impl Memory {
    /// Reads what Linux says (proc_pid_smaps(5), `smaps_rollup`).
    fn now() -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/self/smaps_rollup").map_err(Failure::other)?;
        Self::parse(&text).ok_or_else(|| Failure::Other("the system does not say how much memory is used".into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
        };
        Some(Self { proportional: field("Pss:")?, resident: field("Rss:")? })
    }
}

/// Reads the large table with each of so many connections, and says how much memory this process then has: two numbers of bytes.
pub(crate) fn scan<C: Competitor>(bulk: &Path, connections: u32, quirks: Quirks) -> Result<String, Failure> {
    let runtime = runtime()?;
    // Some close their connections on the runtime's threads, whenever they are dropped.
    let _inside = runtime.enter();
    let site = Site { path: bulk.to_owned(), full: false, connections, quirks };
    let mut competitor = runtime.block_on(C::open(&site))?;
    let scanned = runtime.block_on(competitor.scan(connections as usize))?;
    let memory = Memory::now()?;
    let rows = fs::metadata(bulk).map_err(Failure::other)?.len() as i64 / 4096 * 4;
    let right =
        |&(count, keys): &(i64, i64)| (rows * 9 / 10..=rows).contains(&count) && keys == count * (count + 1) / 2;
    if scanned.len() != connections as usize || !scanned.iter().all(right) {
        return Err(Failure::Other(format!("other rows than those of the table: {scanned:?} of about {rows}")));
    }
    Ok(format!("{} {}", memory.proportional, memory.resident))
}

/// Measures ten connections and one, each in a process of its own.
pub(crate) fn measure(order: &Order) -> Result<Vec<Figure>, Failure> {
    let ten = child(order, sql::CONNECTIONS)?;
    let one = child(order, 1)?;
    let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let ratio = |ten: u64, one: u64| ten as f64 / one as f64;
    let lower = |metric, unit, value| figure(order, metric, unit, Better::Lower, value);
    Ok(vec![
        lower("memory", "MiB", mebi(ten.proportional)),
        lower("memory_one", "MiB", mebi(one.proportional)),
        lower("memory_ratio", "ratio", ratio(ten.proportional, one.proportional)),
        lower("resident", "MiB", mebi(ten.resident)),
        lower("resident_one", "MiB", mebi(one.resident)),
        lower("resident_ratio", "ratio", ratio(ten.resident, one.resident)),
    ])
}

fn child(order: &Order, connections: u32) -> Result<Memory, Failure> {
    let output = Command::new(std::env::current_exe().map_err(Failure::other)?)
        .args(["scan", &order.competitor, &connections.to_string()])
        .arg(&order.template)
        .output()
        .map_err(Failure::other)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(proportional)), Some(Ok(resident))) => Ok(Memory { proportional, resident }),
        _ => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint: Vec<&str> = complaint.lines().take(3).collect();
            Err(Failure::Other(format!("{} {}", text.trim(), complaint.join(" | "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportional_and_resident_memory_are_told_apart() {
        let text =
            "aa-ff ---p 00000000 00:00 0 [rollup]\nRss:            1234 kB\nPss:              34 kB\nPss_Anon: 9 kB\n";
        assert_eq!(Memory::parse(text), Some(Memory { proportional: 34 << 10, resident: 1234 << 10 }));
        assert_eq!(Memory::parse("Rss: 1 kB"), None);
    }
}
