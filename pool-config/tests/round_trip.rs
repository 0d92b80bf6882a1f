//! Every key goes out and comes back through TOML, JSON and the environment, and serializes in both spellings.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod samples;

use std::time::Duration;

use pool_config::{Key, PoolConfig, PoolConfigBuilder, Spelling, Value};
use samples::{base, samples, written};

fn assert_comes_back(builder: PoolConfigBuilder, key: Key, value: Value, way: &str) {
    let config = builder.build().unwrap_or_else(|error| panic!("{key} = {value} through {way}: {error}"));
    assert_eq!(config.value(key), value, "{key} through {way}");
    assert!(!config.is_default(key));
}

#[test]
fn every_key_comes_back_through_every_source_in_both_spellings() {
    for key in PoolConfig::keys() {
        for value in samples(key) {
            for text in written(&value) {
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
        "maxConnections": 10, "minConnections": 2, "acquireTimeout": 10_000, "maxWaiters": "unlimited",
        "idleTimeout": 30_000, "reapInterval": 10_000, "maxConnectionAge": 3_600_000, "ageJitter": 0.1,
        "enableHealthChecks": true, "validateAfterIdle": 500, "trackHolders": false, "leakThreshold": "never",
        "closeTimeout": 10_000, "enableStatementPooling": true, "statementCacheSize": 64, "statementWarmCount": 32,
        "statementWarmBudget": 1, "statementRegistrySize": 1_024, "stableQueryPlans": false, "enableQueryCache": true, "maxCacheSize": 1_000,
        "maxCacheWeight": 67_108_864, "cacheTtl": 300_000, "cacheTtlJitter": 0.1, "cacheShards": 0,
        "externalWriters": "strict", "externalPollInterval": 1_000,
        "synchronous": "normal", "busyTimeout": 5_000, "foreignKeys": true,
        "pageSize": 4_096, "pageCacheSize": 2_097_152, "mmapSize": 268_435_456, "walAutocheckpoint": 1_000,
        "walSizeLimit": 67_108_864, "checkpointTimeout": 200, "longRead": 10_000, "sharedSnapshots": true, "snapshotIdle": 5, "workPlacement": "adaptive",
        "writeBatchMax": 256, "writeBatchTime": 10,
        "enableLogging": false, "slowStatement": 100,
    });
    assert_eq!(camel, expected);
}

#[test]
fn one_step_beyond_a_limit_is_refused() {
    let micro = Duration::from_micros(1);
    for key in PoolConfig::keys() {
        let beyond = match (key, samples(key).last()) {
            (_, Some(Value::Count(most))) => Value::Count(most + 1),
            (_, Some(Value::Size(most))) => Value::Size(most + 1),
            (_, Some(Value::Time(most))) => Value::Time(*most + micro),
            (_, Some(Value::Share(most))) => Value::Share((most.as_f64() + 1e-9).into()),
            (_, Some(Value::Flag(_) | Value::Synchronous(_) | Value::ExternalWriters(_) | Value::WorkPlacement(_))) => {
                continue;
            }
            other => panic!("{key} has no step beyond {other:?}"),
        };
        assert!(base().set(key, beyond).build().is_err(), "{key} = {beyond}");
    }
}
