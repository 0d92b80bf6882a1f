//! Values of every key, for the tests that send each through a way and back.

use std::time::Duration;

use pool_config::{ExternalWriters, Key, PoolConfig, PoolConfigBuilder, Synchronous, Value, WorkPlacement};

/// Values of a key, its limits among them; the last is the largest of those that have an order.
pub(crate) fn samples(key: Key) -> Vec<Value> {
    let counts = |counts: &[usize]| counts.iter().copied().map(Value::Count).collect::<Vec<_>>();
    let sizes = |sizes: &[u64]| sizes.iter().copied().map(Value::Size).collect::<Vec<_>>();
    let micros = |times: &[u64]| times.iter().map(|time| Value::Time(Duration::from_micros(*time))).collect::<Vec<_>>();
    let unlimited = |rest: Vec<Value>| [vec![Value::Unlimited], rest].concat();
    let never = |rest: Vec<Value>| [vec![Value::Never], rest].concat();
    let year = 365 * DAY;
    match key {
        Key::MaxConnections => counts(&[1, 37, 4_096]),
        Key::MinConnections => counts(&[0, 4_096]),
        Key::MaxWaiters => unlimited(counts(&[0, 1, 1_000_000_000])),
        Key::MaxCacheSize => counts(&[1, 100_000_000]),
        Key::StatementCacheSize => counts(&[1, 100_000]),
        Key::StatementWarmCount => counts(&[0, 33, 100_000]),
        Key::StatementRegistrySize => counts(&[1, 1_000_000]),
        Key::CacheShards => counts(&[0, 8, 4_096]),
        Key::WalAutocheckpoint => counts(&[0, 1, 0x7fff_ffff]),
        Key::WriteBatchMax => counts(&[1, 100_000]),
        Key::MaxCacheWeight => unlimited(sizes(&[1 << 10, 1_000_001, 1 << 40])),
        Key::WalSizeLimit => unlimited(sizes(&[64 << 10, 1_000_001, 1 << 40])),
        Key::PageCacheSize => sizes(&[64 << 10, 65_537, 1 << 40]),
        Key::MmapSize => sizes(&[0, 1, 0x7fff_0000]),
        Key::PageSize => sizes(&[512, 8_192, 65_536]),
        Key::AgeJitter | Key::CacheTtlJitter => {
            [0.0, 0.123_456_789, 1.0 / 3.0, 1.0].map(|share| Value::Share(share.into())).to_vec()
        }
        Key::Synchronous => Synchronous::ALL.iter().copied().map(Value::Synchronous).collect(),
        Key::ExternalWriters => ExternalWriters::ALL.iter().copied().map(Value::ExternalWriters).collect(),
        Key::WorkPlacement => WorkPlacement::ALL.iter().copied().map(Value::WorkPlacement).collect(),
        Key::BusyTimeout => micros(&[1_000, 90_500_000, 24 * DAY]),
        Key::SlowStatement => micros(&[1, 90_500_000, year]),
        Key::StatementWarmBudget => micros(&[0, 1_500, DAY / 24 / 60]),
        Key::WriteBatchTime => micros(&[1, 1_500, DAY / 24 / 60]),
        Key::SnapshotIdle => micros(&[1_000, 1_500, DAY / 24 / 60]),
        Key::CheckpointTimeout => micros(&[1_000, 1_500, DAY / 24 / 6]),
        Key::ValidateAfterIdle => never(micros(&[0, 1_500, year])),
        Key::IdleTimeout | Key::MaxConnectionAge | Key::LeakThreshold | Key::LongRead => never(micros(&[1_000, year])),
        _ => match key.default_value() {
            Value::Flag(flag) => vec![Value::Flag(!flag), Value::Flag(flag)],
            Value::Time(_) => micros(&[1_000, 1_500, 90_500_000, year]),
            other => panic!("{key} has no samples for {other:?}"),
        },
    }
}

/// A day in microseconds.
const DAY: u64 = 86_400_000_000;

/// A base in which no limit can conflict with a sample.
pub(crate) fn base() -> PoolConfigBuilder {
    PoolConfig::builder()
        .max_connections(4_096)
        .min_connections(0)
        .statement_cache_size(100_000)
        .statement_warm_count(0)
}

/// The ways a value can be written in a file.
pub(crate) fn written(value: &Value) -> Vec<String> {
    let plain = serde_json::to_string(value).unwrap();
    // A count, a share and a switch have no quotes in a file, everything else may be text as well.
    match value {
        Value::Count(_) | Value::Share(_) | Value::Flag(_) => vec![plain],
        _ => vec![plain, format!("\"{value}\"")],
    }
}
