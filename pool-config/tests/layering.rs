//! Precedence: layers are a simple fold of maps, each value with its origin; databases inherit.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use pool_config::figment::providers::Serialized;
use pool_config::figment::value::{Dict, Map};
use pool_config::figment::{self, Metadata, Profile, Provider};
use pool_config::{
    ExternalWriters, Key, Origin, PoolConfig, PoolConfigBuilder, Preset, Setting, Spelling, Synchronous, Value,
    WorkPlacement,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

type Settings = Vec<(Key, Value)>;

/// One source: what it is made of, what it says to all and what to the database `users`.
#[derive(Debug, Clone)]
enum Sample {
    Toml(Spelling, Settings, Settings),
    Json(Spelling, Settings, Settings),
    Environment(Settings, Settings),
    Code(Settings),
    Preset(Preset),
}

/// Any allowed value of a key; what must not be above another key's value stays below all of those.
fn value_of(key: Key) -> BoxedStrategy<Value> {
    let never = || prop_oneof![Just(Value::Never), duration().prop_map(Value::Time)].boxed();
    let short = |micros: u64| (1_000..micros).prop_map(|micros| Value::Time(Duration::from_micros(micros))).boxed();
    match (key, key.default_value()) {
        (Key::MinConnections | Key::StatementWarmCount, _) => (0..=5usize).prop_map(Value::Count).boxed(),
        (Key::IdleTimeout | Key::MaxConnectionAge | Key::ValidateAfterIdle, _) => never(),
        (Key::LeakThreshold | Key::LongRead, _) => never(),
        (Key::StatementWarmBudget | Key::WriteBatchTime | Key::CheckpointTimeout | Key::SnapshotIdle, _) => {
            short(60_000_000)
        }
        // Defaults give way to smaller limits, which the fold does not know.
        (Key::StatementCacheSize, _) => (32..=4_096usize).prop_map(Value::Count).boxed(),
        (Key::PageSize, _) => (9..=16u32).prop_map(|power| Value::Size(1 << power)).boxed(),
        (Key::MaxWaiters, _) => {
            prop_oneof![Just(Value::Unlimited), any::<u16>().prop_map(|n| Value::Count(n.into()))].boxed()
        }
        (Key::MaxCacheWeight | Key::WalSizeLimit, _) => {
            prop_oneof![Just(Value::Unlimited), (64 << 10..=1u64 << 40).prop_map(Value::Size)].boxed()
        }
        (_, Value::Flag(_)) => any::<bool>().prop_map(Value::Flag).boxed(),
        (_, Value::Count(_)) => (5..=4_096usize).prop_map(Value::Count).boxed(),
        (_, Value::Size(_)) => (64 << 10..=0x7fff_0000u64).prop_map(Value::Size).boxed(),
        (_, Value::Time(_)) => duration().prop_map(Value::Time).boxed(),
        (_, Value::Share(_)) => (0.0..=1.0f64).prop_map(|share| Value::Share(share.into())).boxed(),
        (_, Value::Synchronous(_)) => select(Synchronous::ALL).prop_map(Value::Synchronous).boxed(),
        (_, Value::ExternalWriters(_)) => select(ExternalWriters::ALL).prop_map(Value::ExternalWriters).boxed(),
        (_, Value::WorkPlacement(_)) => select(WorkPlacement::ALL).prop_map(Value::WorkPlacement).boxed(),
        (_, other) => panic!("{key} has a default of an unknown kind: {other:?}"),
    }
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..2_000_000_000u64).prop_map(Duration::from_millis),
        (1_000_000..2_000_000_000_000_000u64).prop_map(Duration::from_nanos),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    subsequence(Key::ALL, 0..=Key::ALL.len())
        .prop_flat_map(|keys| keys.into_iter().map(|key| (Just(key), value_of(key))).collect::<Vec<_>>())
}

fn sample() -> impl Strategy<Value = Sample> {
    let spelling = || select(&[Spelling::Snake, Spelling::Camel][..]);
    prop_oneof![
        (spelling(), settings(), settings()).prop_map(|(spelling, all, own)| Sample::Toml(spelling, all, own)),
        (spelling(), settings(), settings()).prop_map(|(spelling, all, own)| Sample::Json(spelling, all, own)),
        (settings(), settings()).prop_map(|(all, own)| Sample::Environment(all, own)),
        settings().prop_map(Sample::Code),
        select(Preset::ALL).prop_map(Sample::Preset),
    ]
}

/// The form that JSON and TOML share: JSON scalars are TOML scalars, too.
fn scalar(value: &Value) -> String {
    serde_json::to_string(value).unwrap()
}

fn toml(spelling: Spelling, all: &Settings, own: &Settings) -> String {
    let line = |(key, value): &(Key, Value)| format!("{} = {}\n", key.spelled(spelling), scalar(value));
    let (all, own): (String, String) = (all.iter().map(line).collect(), own.iter().map(line).collect());
    format!("{all}[databases.users]\n{own}")
}

fn json(spelling: Spelling, all: &Settings, own: &Settings) -> String {
    let line = |(key, value): &(Key, Value)| format!("\"{}\": {},\n", key.spelled(spelling), scalar(value));
    let (all, own): (String, String) = (all.iter().map(line).collect(), own.iter().map(line).collect());
    format!("{{{all}\"databases\": {{\"users\": {{\n{}}}}}}}", own.strip_suffix(",\n").unwrap_or_default())
}

/// The only place of this file that calls a setter, so that its location can be known.
fn set(builder: PoolConfigBuilder, key: Key, value: Value) -> PoolConfigBuilder {
    builder.set(key, value)
}

fn location_of_set() -> Origin {
    let probe = set(PoolConfig::builder(), Key::MaxConnections, Value::Count(7)).build().unwrap();
    probe.origin(Key::MaxConnections).clone()
}

fn add(builder: PoolConfigBuilder, position: usize, sample: &Sample) -> PoolConfigBuilder {
    let name = format!("layer-{position}");
    match sample {
        Sample::Toml(spelling, all, own) => builder.toml_str(name, toml(*spelling, all, own)),
        Sample::Json(spelling, all, own) => builder.json_str(name, json(*spelling, all, own)),
        Sample::Environment(all, own) => {
            let all = all.iter().map(|(key, value)| (key.variable(), value.to_string()));
            let own = own.iter().map(|(key, value)| (own_variable(*key), value.to_string()));
            builder.env_from(all.chain(own))
        }
        Sample::Code(all) => all.iter().fold(builder, |builder, (key, value)| set(builder, *key, *value)),
        Sample::Preset(preset) => builder.preset(*preset),
    }
}

fn own_variable(key: Key) -> String {
    format!("POOL_DATABASES__USERS__{}", key.name().to_uppercase())
}

/// The maps that a sample stands for, in the order of precedence: what it says to all, what it says to `users`.
fn maps(position: usize, sample: &Sample) -> [Vec<(Key, Setting)>; 2] {
    let text = |spelling: Spelling, settings: &Settings, first_line: usize, table: &str| {
        let entry = |(at, (key, value)): (usize, &(Key, Value))| {
            let (name, key_text) = (format!("layer-{position}"), format!("{table}{}", key.spelled(spelling)));
            let line = Some(first_line + at);
            (*key, *value, Origin::Text { name: name.into(), line, key: key_text.into() })
        };
        settings.iter().enumerate().map(entry).collect::<Vec<_>>()
    };
    let plain = |settings: &Settings, origin: &dyn Fn(Key) -> Origin| {
        settings.iter().map(|(key, value)| (*key, *value, origin(*key))).collect::<Vec<_>>()
    };
    let variable = |name: String| Origin::Environment { variable: name.into() };
    let (all, own) = match sample {
        Sample::Toml(spelling, all, own) | Sample::Json(spelling, all, own) => (
            text(*spelling, all, 1, ""),
            // One line for the head of the table stands between.
            text(*spelling, own, all.len() + 2, "databases.users."),
        ),
        Sample::Environment(all, own) => {
            (plain(all, &|key| variable(key.variable())), plain(own, &|key| variable(own_variable(key))))
        }
        Sample::Code(all) => (plain(all, &|_| location_of_set()), Vec::new()),
        Sample::Preset(preset) => (plain(&preset.settings().to_vec(), &|_| Origin::Preset(*preset)), Vec::new()),
    };
    [all, own].map(|entries| entries.into_iter().map(|(key, value, origin)| (key, setting(value, origin))).collect())
}

/// A setting as the crate hands it out; its type cannot be built from outside.
fn setting(value: Value, origin: Origin) -> Setting {
    Setting::new(value, origin)
}

/// What must come out: every key with all that was said about it, first to last.
fn fold(samples: &[Sample], with_users: bool) -> BTreeMap<Key, Vec<Setting>> {
    let default = |key: &Key| (*key, vec![setting(key.default_value(), Origin::Default)]);
    let mut folded: BTreeMap<Key, Vec<Setting>> = Key::ALL.iter().map(default).collect();
    for (position, sample) in samples.iter().enumerate() {
        let [all, own] = maps(position, sample);
        for (key, said) in all.into_iter().chain(own.into_iter().filter(|_| with_users)) {
            folded.entry(key).or_default().push(said);
        }
    }
    folded
}

fn assert_same(config: &PoolConfig, folded: BTreeMap<Key, Vec<Setting>>) -> Result<(), TestCaseError> {
    for (key, mut said) in folded {
        let holds = said.pop().unwrap();
        said.reverse();
        prop_assert_eq!(config.value(key), holds.value, "{}", key);
        prop_assert_eq!(config.origin(key), &holds.origin, "{}", key);
        prop_assert_eq!(config.overridden(key), said, "{}", key);
        prop_assert_eq!(config.is_default(key), holds.origin == Origin::Default);
    }
    Ok(())
}

proptest! {
    #[test]
    fn layering_equals_a_fold_of_maps_with_origins(samples in prop::collection::vec(sample(), 0..6), cut in 0..6usize) {
        let place = |builder, (position, sample): (usize, &Sample)| add(builder, position, sample);
        let builder = samples.iter().enumerate().fold(PoolConfig::builder(), place);
        assert_same(&builder.build().unwrap(), fold(&samples, false))?;
        assert_same(&builder.build_for("users").unwrap(), fold(&samples, true))?;
        assert_same(&builder.build_for("Others").unwrap(), fold(&samples, false))?;

        // Grouping does not matter: layers of layers are layers.
        let lower = samples.iter().enumerate().take(cut).fold(PoolConfig::builder(), place);
        let upper = samples.iter().enumerate().skip(cut).fold(PoolConfig::builder(), place);
        assert_same(&lower.layer(upper).build().unwrap(), fold(&samples, false))?;
    }

    #[test]
    fn a_built_configuration_is_a_layer_that_keeps_its_origins(samples in prop::collection::vec(sample(), 0..4)) {
        let place = |builder, (position, sample): (usize, &Sample)| add(builder, position, sample);
        let config = samples.iter().enumerate().fold(PoolConfig::builder(), place).build().unwrap();
        let again = PoolConfigBuilder::from(&config).build().unwrap();
        prop_assert_eq!(&again, &config);
        for key in Key::ALL {
            prop_assert_eq!(again.origin(*key), config.origin(*key));
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_description() {
    let config = PoolConfig::default();
    assert_eq!((config.max_connections(), config.min_connections()), (10, 2));
    assert_eq!(config.acquire_timeout(), Duration::from_millis(10_000));
    assert_eq!(config.idle_timeout(), Some(Duration::from_millis(30_000)));
    assert_eq!(config.reap_interval(), Duration::from_millis(10_000));
    assert_eq!(config.max_connection_age(), Some(Duration::from_millis(3_600_000)));
    assert_eq!((config.enable_query_cache(), config.max_cache_size()), (true, 1_000));
    assert!(config.enable_statement_pooling() && config.enable_health_checks() && !config.enable_logging());
    assert_eq!((config.busy_timeout(), config.slow_statement()), (Duration::from_secs(5), Duration::from_millis(100)));
    assert_eq!((config.cache_ttl(), config.close_timeout()), (Duration::from_secs(300), Duration::from_secs(10)));
    assert_eq!((config.statement_cache_size(), config.synchronous()), (64, Synchronous::Normal));
    assert_eq!((config.page_cache_size(), config.mmap_size()), (2 << 20, 256 << 20));
    assert!(PoolConfig::keys().all(|key| config.is_default(key)));
}

#[test]
fn the_presets_are_those_of_the_description_and_set_nothing_else() {
    let seconds = Duration::from_secs;
    let expected = [
        (
            Preset::WebApplication,
            PoolConfig::builder().max_connections(10).min_connections(2).acquire_timeout(seconds(5)),
        ),
        (
            Preset::HighThroughput,
            PoolConfig::builder()
                .max_connections(25)
                .min_connections(5)
                .acquire_timeout(seconds(2))
                .enable_query_cache(true)
                .max_cache_size(5_000),
        ),
        (
            Preset::Batch,
            PoolConfig::builder()
                .max_connections(5)
                .min_connections(1)
                .enable_query_cache(false)
                .acquire_timeout(seconds(30)),
        ),
        (
            Preset::Debug,
            PoolConfig::builder().enable_logging(true).enable_health_checks(true).reap_interval(seconds(5)),
        ),
    ];
    assert_eq!(expected.len(), Preset::ALL.len());
    for (preset, by_hand) in expected {
        let (config, by_hand) = (PoolConfig::preset(preset), by_hand.build().unwrap());
        assert_eq!(config, by_hand, "{preset}");
        for key in PoolConfig::keys() {
            assert_eq!(config.is_default(key), by_hand.is_default(key), "{preset} {key}");
        }
        assert_eq!(PoolConfigBuilder::from(preset).build().unwrap(), by_hand);
    }
}

#[test]
fn the_options_of_the_description_are_taken_word_for_word() {
    let text = r#"{ "maxConnections": 20, "minConnections": 5, "acquireTimeout": 15000, "idleTimeout": 60000,
        "reapInterval": 5000, "maxConnectionAge": 3600000, "enableQueryCache": true, "maxCacheSize": 2000,
        "enableStatementPooling": true, "enableHealthChecks": true, "enableLogging": true }"#;
    let config = PoolConfig::builder().json_str("description", text).build().unwrap();
    assert_eq!((config.max_connections(), config.min_connections(), config.max_cache_size()), (20, 5, 2_000));
    assert_eq!(config.acquire_timeout(), Duration::from_secs(15));
    assert_eq!(config.idle_timeout(), Some(Duration::from_secs(60)));
    assert!(config.enable_logging());
}

#[test]
fn an_override_of_a_factory_wins_over_its_base() {
    let base = PoolConfig::builder().max_connections(10).enable_query_cache(true);
    let analytics = base.clone().layer(PoolConfig::builder().max_connections(20)).build().unwrap();
    assert_eq!((analytics.max_connections(), base.build().unwrap().max_connections()), (20, 10));
}

#[test]
fn a_setter_accepts_a_duration_or_none_where_never_is_allowed() {
    let minute = Duration::from_secs(60);
    let config = PoolConfig::builder().idle_timeout(None).max_connection_age(minute).build().unwrap();
    assert_eq!((config.idle_timeout(), config.max_connection_age()), (None, Some(minute)));
    let config = PoolConfig::builder().idle_timeout(Some(minute)).build().unwrap();
    assert_eq!(config.idle_timeout(), Some(minute));
}

#[test]
fn every_setter_records_the_line_that_called_it() {
    let line = line!() + 1;
    let config = PoolConfig::builder().max_connections(5).build().unwrap();
    let Origin::Code { location } = config.origin(Key::MaxConnections) else { panic!("{config:?}") };
    assert_eq!((location.file(), location.line()), (file!(), line));
}

#[test]
fn a_builder_reads_its_file_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.toml");
    let builder = PoolConfig::builder().optional_file(&path).max_connections(50);
    assert_eq!(builder.build().unwrap().min_connections(), 2);
    std::fs::write(&path, "min_connections = 7").unwrap();
    assert_eq!(builder.build().unwrap().min_connections(), 7);
    std::fs::write(&path, "min_connections = 9").unwrap();
    let config = builder.build().unwrap();
    assert_eq!(config.min_connections(), 9);
    let expected = Origin::File { path: path.as_path().into(), line: Some(1), key: "min_connections".into() };
    assert_eq!(*config.origin(Key::MinConnections), expected);
}

#[test]
fn variables_without_the_prefix_and_the_one_that_names_the_file_are_left_alone() {
    let variables = [("POOLMAX_CONNECTIONS", "0"), ("PATH", "x"), ("pool_max_connections", "0"), ("POOL_CONFIG", "x")];
    assert_eq!(PoolConfig::builder().env_from(variables).build().unwrap(), PoolConfig::default());
}

#[test]
fn variables_take_the_words_that_shells_use() {
    for (text, expected) in [("1", true), ("on", true), ("YES", true), (" true ", true), ("0", false), ("off", false)] {
        let config = PoolConfig::builder().env_from([("POOL_ENABLE_LOGGING", text)]).build().unwrap();
        assert_eq!(config.enable_logging(), expected, "{text}");
    }
    let variables = [("POOL_IDLE_TIMEOUT", "Never"), ("POOL_ACQUIRE_TIMEOUT", "1500"), ("POOL_SYNCHRONOUS", "FULL")];
    let config = PoolConfig::builder().env_from(variables).build().unwrap();
    assert_eq!((config.idle_timeout(), config.acquire_timeout()), (None, Duration::from_millis(1_500)));
    assert_eq!(config.synchronous(), Synchronous::Full);
}

#[test]
fn a_database_is_named_without_regard_to_case_and_may_hold_underscores() {
    let builder = PoolConfig::builder()
        .toml_str("pool.toml", "[databases.Big__Users]\nmax_connections = 20")
        .env_from([("POOL_DATABASES__BIG__USERS__MIN_CONNECTIONS", "3")]);
    let config = builder.build_for("big__users").unwrap();
    assert_eq!((config.max_connections(), config.min_connections()), (20, 3));
}

#[test]
fn a_mistake_in_the_table_of_any_database_is_told_to_all() {
    let builder = PoolConfig::builder().toml_str("pool.toml", "[databases.users]\nmax_connections = 0");
    assert!(builder.build().is_err() && builder.build_for("users").is_err() && builder.build_for("others").is_err());
}

#[test]
fn the_shared_settings_are_not_built_while_a_database_has_a_conflict() {
    let text = "min_connections = 4\n[databases.users]\nmax_connections = 3\n[databases.others]\nmax_connections = 5";
    let builder = PoolConfig::builder().toml_str("pool.toml", text);
    let expected = "min_connections = 4, from pool.toml line 1, is above max_connections = 3, from pool.toml line 3 as \
                    databases.users.max_connections; allowed: at most 3";
    assert_eq!(builder.build().unwrap_err().to_string(), expected);
    assert_eq!(builder.build_for("users").unwrap_err().to_string(), expected);
    assert_eq!(builder.build_for("others").unwrap().max_connections(), 5);
}

#[test]
fn a_conflict_that_all_databases_share_is_told_once() {
    let text = "min_connections = 40\n[databases.users]\nenable_logging = true";
    let error = PoolConfig::builder().toml_str("pool.toml", text).build().unwrap_err();
    assert_eq!(error.problems().len(), 1);
}

#[test]
fn a_provider_is_a_source_with_inheritance_and_origin() {
    let users = BTreeMap::from([("maxConnections", 30)]);
    let builder = PoolConfig::builder()
        .provider(Serialized::default("max_connections", 20))
        .provider(Serialized::default("databases.users", users));
    assert_eq!(builder.build().unwrap().max_connections(), 20);
    let config = builder.build_for("users").unwrap();
    assert_eq!(config.max_connections(), 30);
    assert!(matches!(config.origin(Key::MaxConnections), Origin::Code { location } if location.file() == file!()));
}

/// A provider as YAML or another format would be one: it knows its file, and not the lines.
#[derive(Debug)]
struct Yaml;

impl Provider for Yaml {
    fn metadata(&self) -> Metadata {
        Metadata::from("YAML file", std::path::Path::new("pool.yaml"))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = |count: u64| Dict::from([("maxConnections".to_owned(), count.into())]);
        let profiles =
            [(Profile::Default, dict(20)), (Profile::Global, dict(30)), (Profile::const_new("release"), dict(40))];
        Ok(profiles.into())
    }
}

#[test]
fn a_provider_speaks_through_its_default_and_global_profiles_and_names_its_file() {
    let config = PoolConfig::builder().provider(Yaml).build().unwrap();
    assert_eq!(config.max_connections(), 30);
    assert_eq!(config.origin(Key::MaxConnections).to_string(), "pool.yaml as maxConnections");
}

#[test]
fn a_provider_with_a_table_in_the_wrong_place_is_told() {
    let text = |provider| PoolConfig::builder().provider(provider).build().unwrap_err().to_string();
    let all = text(Serialized::default("databases", 5));
    assert!(all.starts_with("databases is a number, from code at ") && all.ends_with("one table for each database"));
    let one = text(Serialized::default("databases.users", 5));
    assert!(one.starts_with("databases.users is a number, from ") && one.ends_with("allowed: a table of settings"));
}

#[test]
fn the_default_minimum_follows_a_smaller_maximum_and_a_minimum_that_was_set_does_not() {
    let config = PoolConfig::builder().max_connections(1).build().unwrap();
    assert_eq!((config.min_connections(), config.is_default(Key::MinConnections)), (1, true));
    PoolConfig::builder().max_connections(1).min_connections(2).build().unwrap_err();
}
