//! Every key goes out and comes back through TOML, JSON and the environment, and serializes in both spellings.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use pool_config::{Key, PoolConfig, PoolConfigBuilder, Spelling, Synchronous, Value};

/// Values of a key that differ from its default, its limits among them.
fn samples(key: Key) -> Vec<Value> {
    let millis = |count| Value::Time(Duration::from_millis(count));
    match key {
        Key::MaxConnections => vec![Value::Count(1), Value::Count(37), Value::Count(4_096)],
        Key::MinConnections => vec![Value::Count(0), Value::Count(4_096)],
        Key::MaxCacheSize => vec![Value::Count(1), Value::Count(100_000_000)],
        Key::StatementCacheSize => vec![Value::Count(1), Value::Count(100_000)],
        Key::PageCacheSize => vec![Value::Size(64 << 10), Value::Size(65_537), Value::Size(1 << 40)],
        Key::MmapSize => vec![Value::Size(0), Value::Size(1), Value::Size(0x7fff_0000)],
        Key::Synchronous => Synchronous::ALL.iter().copied().map(Value::Synchronous).collect(),
        Key::BusyTimeout => vec![millis(1), millis(90_500), millis(24 * 86_400_000)],
        Key::SlowStatement => vec![Value::Time(Duration::from_micros(1)), millis(90_500), millis(365 * 86_400_000)],
        Key::IdleTimeout | Key::MaxConnectionAge => vec![Value::Never, millis(1), millis(365 * 86_400_000)],
        _ => match key.default_value() {
            Value::Flag(flag) => vec![Value::Flag(!flag), Value::Flag(flag)],
            Value::Time(_) => {
                vec![millis(1), Value::Time(Duration::from_micros(1_500)), millis(90_500), millis(365 * 86_400_000)]
            }
            other => panic!("{key} has no samples for {other:?}"),
        },
    }
}

/// A base in which neither limit of the connections can conflict with a sample.
fn base() -> PoolConfigBuilder {
    PoolConfig::builder().max_connections(4_096).min_connections(0)
}

fn assert_comes_back(builder: PoolConfigBuilder, key: Key, value: Value, way: &str) {
    let config = builder.build().unwrap_or_else(|error| panic!("{key} = {value} through {way}: {error}"));
    assert_eq!(config.value(key), value, "{key} through {way}");
    assert!(!config.is_default(key));
}

#[test]
fn every_key_comes_back_through_every_source_in_both_spellings() {
    for key in PoolConfig::keys() {
        for value in samples(key) {
            let number = serde_json::to_string(&value).unwrap();
            // A count and a switch have no quotes in a file, everything else may be text as well.
            let texts = match value {
                Value::Count(_) | Value::Flag(_) => vec![number],
                _ => vec![number, format!("\"{value}\"")],
            };
            for text in texts {
                for name in [key.name(), key.camel_name()] {
                    let toml = base().toml_str("t", format!("{name} = {text}"));
                    assert_comes_back(toml, key, value, "TOML");
                    let json = base().json_str("j", format!("{{\"{name}\": {text}}}"));
                    assert_comes_back(json, key, value, "JSON");
                    let plain = text.trim_matches('"');
                    assert_comes_back(base().env_from([(format!("POOL_{name}"), plain)]), key, value, "variable");
                }
                let plain = text.trim_matches('"');
                assert_comes_back(base().env_from([(key.variable(), plain)]), key, value, "variable");
            }
            assert_comes_back(base().set(key, value), key, value, "code");
        }
    }
}

#[test]
fn a_serialized_configuration_comes_back_equal_in_both_spellings() {
    for key in PoolConfig::keys() {
        for value in samples(key) {
            let config = base().set(key, value).build().unwrap();
            for spelling in [Spelling::Snake, Spelling::Camel] {
                let json = serde_json::to_string_pretty(&config.spelled(spelling)).unwrap();
                assert_eq!(PoolConfig::builder().json_str("j", json).build().unwrap(), config);
            }
            let snake = serde_json::to_string(&config).unwrap();
            assert_eq!(snake, serde_json::to_string(&config.spelled(Spelling::Snake)).unwrap());
        }
    }
}

#[test]
fn the_serialized_defaults_are_those_of_the_description() {
    let camel = serde_json::to_value(PoolConfig::default().spelled(Spelling::Camel)).unwrap();
    let expected = serde_json::json!({
        "maxConnections": 10, "minConnections": 2, "acquireTimeout": 10_000, "idleTimeout": 30_000,
        "reapInterval": 10_000, "maxConnectionAge": 3_600_000, "enableQueryCache": true, "maxCacheSize": 1_000,
        "enableStatementPooling": true, "enableHealthChecks": true, "enableLogging": false, "busyTimeout": 5_000,
        "statementCacheSize": 64, "slowStatement": 100, "cacheTtl": 300_000, "closeTimeout": 10_000,
        "synchronous": "normal", "pageCacheSize": 2_097_152, "mmapSize": 268_435_456,
    });
    assert_eq!(camel, expected);
}

#[test]
fn one_step_beyond_a_limit_is_refused() {
    let micro = Duration::from_micros(1);
    for key in PoolConfig::keys() {
        let beyond = match (samples(key).first(), samples(key).last()) {
            (_, Some(Value::Count(most))) => Value::Count(most + 1),
            (_, Some(Value::Size(most))) => Value::Size(most + 1),
            (_, Some(Value::Time(most))) => Value::Time(*most + micro),
            _ => continue,
        };
        assert!(base().set(key, beyond).build().is_err(), "{key} = {beyond}");
    }
}
