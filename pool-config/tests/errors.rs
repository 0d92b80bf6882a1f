//! The exact text of every error and warning, and that all problems are told at once.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::error::Error;
use std::time::Duration;

use pool_config::{ConfigError, Fault, Key, Origin, PoolConfig, PoolConfigBuilder, Preset, Problem, Value};

fn error(builder: PoolConfigBuilder) -> ConfigError {
    builder.build().unwrap_err()
}

fn toml(text: &str) -> String {
    error(PoolConfig::builder().toml_str("pool.toml", text)).to_string()
}

fn json(text: &str) -> String {
    error(PoolConfig::builder().json_str("pool.json", text)).to_string()
}

fn env(name: &str, value: &str) -> String {
    error(PoolConfig::builder().env_from([(name, value)])).to_string()
}

const CONNECTIONS: &str = "allowed: a whole number of connections from 1 to 4096";
const ACQUIRE: &str = "allowed: from 1ms to 365d, as a whole number of milliseconds or text like \"10s\"";
const IDLE: &str = "allowed: from 1ms to 365d, as a whole number of milliseconds or text like \"10s\", or \"never\"";
const PAGES: &str = "allowed: from 64 KiB to 1 TiB, as a whole number of bytes or text like \"64 MiB\"";

#[test]
fn a_count_out_of_range_says_how() {
    for (value, fault) in [
        ("0", "0 is zero"),
        ("-1", "-1 is negative"),
        ("10_001", "10001 is too large"),
        ("9223372036854775807", "9223372036854775807 is too large"),
        ("100000000000000000000000000000000000000000000", "100000000000000000000000000000000000000000000 is too large"),
        ("0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff", "inf is too large"),
        ("1.5", "1.5 is a fraction"),
        ("\"ten\"", "\"ten\" is text"),
        ("\"10\"", "\"10\" is text"),
        ("\"\"", "\"\" is empty"),
        ("true", "true is a truth value"),
        ("[1]", "[...] is a list"),
        ("{ a = 1 }", "{...} is a table"),
        ("1979-05-27", "\"1979-05-27\" is text"),
    ] {
        let expected = format!("max_connections = {fault}, from pool.toml line 1; {CONNECTIONS}");
        assert_eq!(toml(&format!("max_connections = {value}")), expected);
    }
    assert_eq!(
        json("{\n  \"maxConnections\": null\n}"),
        format!("max_connections = null is nothing, from pool.json line 2 as maxConnections; {CONNECTIONS}")
    );
}

#[test]
fn a_duration_that_cannot_be_used_says_why() {
    for (value, fault) in [
        ("0", "0 is zero"),
        ("\"0s\"", "\"0s\" is zero"),
        ("-5", "-5 is negative"),
        ("\"-5s\"", "\"-5s\" is negative"),
        ("\"500us\"", "\"500us\" is too small"),
        ("\"366d\"", "\"366d\" is too large"),
        ("\"99999999999999999999999d\"", "\"99999999999999999999999d\" is too large"),
        ("\"10\"", "\"10\" has no unit"),
        ("\"10 parsecs\"", "\"10 parsecs\" has the unknown unit \"parsecs\""),
        ("\"30s 1m\"", "\"30s 1m\" has units that do not get smaller"),
        ("\"soon\"", "\"soon\" cannot be read"),
        ("\"never\"", "\"never\" cannot be read"),
        ("false", "false is a truth value"),
    ] {
        let expected = format!("acquire_timeout = {fault}, from pool.toml line 1; {ACQUIRE}");
        assert_eq!(toml(&format!("acquire_timeout = {value}")), expected);
    }
}

#[test]
fn zero_does_not_mean_never() {
    assert_eq!(toml("idle_timeout = 0"), format!("idle_timeout = 0 is zero, from pool.toml line 1; {IDLE}"));
    assert_eq!(
        toml("maxConnectionAge = \"0s\""),
        format!("max_connection_age = \"0s\" is zero, from pool.toml line 1 as maxConnectionAge; {IDLE}")
    );
}

#[test]
fn a_size_a_choice_or_a_switch_that_cannot_be_used_says_why() {
    assert_eq!(
        toml("page_cache_size = \"1 KiB\""),
        format!("page_cache_size = \"1 KiB\" is too small, from pool.toml line 1; {PAGES}")
    );
    assert_eq!(
        toml("page_cache_size = \"2 MiBB\""),
        format!("page_cache_size = \"2 MiBB\" has the unknown unit \"MiBB\", from pool.toml line 1; {PAGES}")
    );
    assert_eq!(
        toml("mmap_size = \"2 GiB\""),
        "mmap_size = \"2 GiB\" is too large, from pool.toml line 1; allowed: from 0 B to 2097088 KiB, as a whole number \
         of bytes or text like \"64 MiB\""
    );
    assert_eq!(
        toml("synchronous = \"fast\""),
        "synchronous = \"fast\" is no known choice, from pool.toml line 1; allowed: off, normal, full or extra"
    );
    assert_eq!(
        toml("enable_logging = \"yes\""),
        "enable_logging = \"yes\" is text, from pool.toml line 1; allowed: true or false"
    );
}

#[test]
fn a_limit_that_may_be_missing_says_so() {
    let waiters = "allowed: a whole number of callers from 0 to 1000000000, or \"unlimited\"";
    for (value, fault) in [
        ("-1", "-1 is negative"),
        ("1_000_000_001", "1000000001 is too large"),
        ("\"never\"", "\"never\" is text"),
        ("false", "false is a truth value"),
    ] {
        let expected = format!("max_waiters = {fault}, from pool.toml line 1; {waiters}");
        assert_eq!(toml(&format!("max_waiters = {value}")), expected);
    }
    assert_eq!(
        toml("max_cache_weight = \"1 B\""),
        "max_cache_weight = \"1 B\" is too small, from pool.toml line 1; allowed: from 1 KiB to 1 TiB, as a whole number \
         of bytes or text like \"64 MiB\", or \"unlimited\""
    );
    assert_eq!(
        toml("max_cache_weight = \"endless\""),
        "max_cache_weight = \"endless\" cannot be read, from pool.toml line 1; allowed: from 1 KiB to 1 TiB, as a whole \
         number of bytes or text like \"64 MiB\", or \"unlimited\""
    );
}

#[test]
fn a_share_that_is_none_says_why() {
    let share = "allowed: a number from 0 to 1, such as 0.1";
    for (value, fault) in [
        ("1.5", "1.5 is too large"),
        ("2", "2 is too large"),
        ("-0.1", "-0.1 is negative"),
        ("nan", "NaN cannot be read"),
        ("inf", "inf is too large"),
        ("\"10%\"", "\"10%\" is text"),
        ("true", "true is a truth value"),
    ] {
        let expected = format!("age_jitter = {fault}, from pool.toml line 1; {share}");
        assert_eq!(toml(&format!("age_jitter = {value}")), expected);
    }
    assert_eq!(
        env("POOL_AGE_JITTER", "much"),
        format!("age_jitter = \"much\" is text, from environment variable POOL_AGE_JITTER; {share}")
    );
}

#[test]
fn a_page_size_must_be_a_power_of_two() {
    let allowed = "allowed: a power of two from 512 B to 64 KiB, as a whole number of bytes or text like \"4 KiB\"";
    for (value, fault) in [
        ("4095", "4095 is no power of two"),
        ("\"3 KiB\"", "\"3 KiB\" is no power of two"),
        ("256", "256 is too small"),
        ("131072", "131072 is too large"),
    ] {
        assert_eq!(
            toml(&format!("page_size = {value}")),
            format!("page_size = {fault}, from pool.toml line 1; {allowed}")
        );
    }
}

#[test]
fn a_word_that_is_no_choice_is_told_the_choices() {
    assert_eq!(
        toml("work_placement = \"async\""),
        "work_placement = \"async\" is no known choice, from pool.toml line 1; allowed: adaptive, inline or blocking"
    );
}

#[test]
fn more_statements_to_warm_than_a_connection_keeps_is_refused() {
    assert_eq!(
        toml("statement_cache_size = 10\nstatement_warm_count = 11"),
        "statement_warm_count = 11, from pool.toml line 2, is above statement_cache_size = 10, from pool.toml line 1; \
         allowed: at most 10"
    );
    let config = PoolConfig::builder().statement_cache_size(10).build().unwrap();
    assert_eq!(config.statement_warm_count(), 10);
}

#[test]
fn a_variable_is_named_with_its_value() {
    assert_eq!(
        env("POOL_MAX_CONNECTIONS", "0"),
        format!("max_connections = 0 is zero, from environment variable POOL_MAX_CONNECTIONS; {CONNECTIONS}")
    );
    assert_eq!(
        env("POOL_MAX_CONNECTIONS", "ten"),
        format!("max_connections = \"ten\" is text, from environment variable POOL_MAX_CONNECTIONS; {CONNECTIONS}")
    );
    assert_eq!(
        env("POOL_DATABASES__USERS__ACQUIRE_TIMEOUT", ""),
        format!(
            "acquire_timeout = \"\" is empty, from environment variable POOL_DATABASES__USERS__ACQUIRE_TIMEOUT; {ACQUIRE}"
        )
    );
    assert_eq!(
        env("POOL_ENABLE_LOGGING", "maybe"),
        "enable_logging = \"maybe\" is text, from environment variable POOL_ENABLE_LOGGING; allowed: true or false"
    );
}

#[test]
fn problems_of_variables_come_in_the_order_of_their_names() {
    let variables = [("POOL_MAX_CONNECTIONS", "0"), ("POOL_BUSY_TIMEOUT", "0"), ("POOL_MAX_CACHE_SIZE", "0")];
    let keys: Vec<_> = error(PoolConfig::builder().env_from(variables)).problems().iter().map(Problem::key).collect();
    assert_eq!(keys, [Some(Key::BusyTimeout), Some(Key::MaxCacheSize), Some(Key::MaxConnections)]);
}

#[test]
fn a_setter_is_named_with_the_line_that_called_it() {
    let line = line!() + 1;
    let error = error(PoolConfig::builder().acquire_timeout(Duration::ZERO));
    let place = format!("code at {}:{line}:", file!());
    assert!(error.to_string().starts_with(&format!("acquire_timeout = 0 is zero, from {place}")), "{error}");
    assert!(error.to_string().ends_with(&format!("; {ACQUIRE}")), "{error}");
}

#[test]
fn a_value_of_another_kind_is_refused_even_where_its_number_would_fit() {
    let error = error(PoolConfig::builder().set(Key::AcquireTimeout, Value::Count(5)));
    assert!(matches!(
        error.problems(),
        [Problem::InvalidSetting { key: Key::AcquireTimeout, fault: Fault::WrongType { found: "a count", .. }, .. }]
    ));
}

#[test]
fn an_unknown_key_suggests_the_nearest_in_the_spelling_of_its_source() {
    assert_eq!(
        toml("\nmax_conections = 5"),
        "max_conections = 5 is not a known key, from pool.toml line 2; did you mean max_connections?"
    );
    assert_eq!(
        json("{\"maxConection\": 5}"),
        "maxConection = 5 is not a known key, from pool.json line 1; did you mean maxConnections?"
    );
    assert_eq!(
        toml("[databases.users]\nidle_timeot = 5"),
        "idle_timeot = 5 is not a known key, from pool.toml line 2 as databases.users.idle_timeot; \
         did you mean idle_timeout?"
    );
    assert_eq!(
        env("POOL_MAX_CONECTIONS", "5"),
        "POOL_MAX_CONECTIONS = \"5\" is not a known key, from the environment; did you mean POOL_MAX_CONNECTIONS?"
    );
    assert_eq!(
        env("POOL_DATABASES__USERS__MAX_CONECTIONS", "5"),
        "POOL_DATABASES__USERS__MAX_CONECTIONS = \"5\" is not a known key, from the environment; \
         did you mean POOL_DATABASES__USERS__MAX_CONNECTIONS?"
    );
}

#[test]
fn a_key_far_from_all_lists_them_and_keeps_its_value_secret() {
    let names: Vec<_> = PoolConfig::keys().map(Key::name).collect();
    let allowed = names.join(", ");
    assert_eq!(
        toml("password = \"hunter2\""),
        format!("password is not a known key, from pool.toml line 1; allowed: {allowed}")
    );
    assert_eq!(
        env("POOL_PASSWORD", "hunter2"),
        format!("POOL_PASSWORD is not a known key, from the environment; allowed: {allowed}")
    );
    let debug = format!("{:?}", error(PoolConfig::builder().env_from([("POOL_PASSWORD", "hunter2")])));
    assert!(!debug.contains("hunter2"), "{debug}");
}

#[test]
fn a_key_in_both_spellings_in_one_layer_is_refused() {
    assert_eq!(
        toml("max_connections = 5\nmaxConnections = 6"),
        "max_connections is set twice in one layer, to 5 from pool.toml line 1 and to 6 from pool.toml line 2 as \
         maxConnections; allowed: one of them"
    );
    assert_eq!(
        json("{\"max_connections\": 5,\n\"maxConnections\": 6}"),
        "max_connections is set twice in one layer, to 5 from pool.json line 1 and to 6 from pool.json line 2 as \
         maxConnections; allowed: one of them"
    );
    assert_eq!(
        json("{\"max_connections\": 5, \"max_connections\": 5}"),
        "max_connections is set twice in one layer, to 5 from pool.json line 1 and to 5 from pool.json line 1; \
         allowed: one of them"
    );
    assert_eq!(
        toml("[databases.users]\nmax_connections = 5\nmaxConnections = 6"),
        "max_connections is set twice in one layer, to 5 from pool.toml line 2 as databases.users.max_connections and \
         to 6 from pool.toml line 3 as databases.users.maxConnections; allowed: one of them"
    );
    let both = [("POOL_MAX_CONNECTIONS", "5"), ("POOL_maxConnections", "6")];
    assert_eq!(
        error(PoolConfig::builder().env_from(both)).to_string(),
        "max_connections is set twice in one layer, to 5 from environment variable POOL_MAX_CONNECTIONS and to 6 from \
         environment variable POOL_maxConnections; allowed: one of them"
    );
}

#[test]
fn a_key_may_have_another_spelling_in_another_layer() {
    let config = PoolConfig::builder()
        .toml_str("a.toml", "max_connections = 5")
        .toml_str("b.toml", "maxConnections = 6")
        .build()
        .unwrap();
    assert_eq!(config.max_connections(), 6);
}

#[test]
fn a_minimum_above_the_maximum_names_both_origins() {
    assert_eq!(
        toml("min_connections = 20"),
        "min_connections = 20, from pool.toml line 1, is above max_connections = 10, from default; allowed: at most 10"
    );
    let builder =
        PoolConfig::builder().toml_str("pool.toml", "min_connections = 4").env_from([("POOL_MAX_CONNECTIONS", "3")]);
    assert_eq!(
        error(builder).to_string(),
        "min_connections = 4, from pool.toml line 1, is above max_connections = 3, from environment variable \
         POOL_MAX_CONNECTIONS; allowed: at most 3"
    );
    assert_eq!(
        error(PoolConfig::builder().preset(Preset::HighThroughput).toml_str("pool.toml", "max_connections = 3"))
            .to_string(),
        "min_connections = 5, from preset high_throughput, is above max_connections = 3, from pool.toml line 1; \
         allowed: at most 3"
    );
}

#[test]
fn a_conflict_with_a_value_that_is_wrong_anyway_is_not_told() {
    let text = toml("min_connections = 20\nmax_connections = \"many\"");
    assert_eq!(text, format!("max_connections = \"many\" is text, from pool.toml line 2; {CONNECTIONS}"));
    let builder = PoolConfig::builder().toml_str("a.toml", "min_connections = 20").min_connections(usize::MAX);
    assert_eq!(error(builder).problems().len(), 1);
}

#[test]
fn all_problems_of_all_layers_are_told_at_once() {
    let builder = PoolConfig::builder()
        .toml_str("pool.toml", "reap_interval = \"often\"\ncolor = 1\n[databases]\nusers = 5")
        .json_str("pool.json", "{")
        .env_from([("POOL_MIN_CONNECTIONS", "20"), ("POOL_BUSY_TIMEOUT", "-1")]);
    let error = error(builder);
    let names: Vec<_> = PoolConfig::keys().map(Key::name).collect();
    assert_eq!(
        error.to_string(),
        format!(
            "6 problems in the configuration:\n\
             - reap_interval = \"often\" cannot be read, from pool.toml line 1; {ACQUIRE}\n\
             - color is not a known key, from pool.toml line 2; allowed: {}\n\
             - databases.users is a number, from pool.toml line 4 as databases.users; allowed: a table of settings\n\
             - pool.json line 1 column 1 is not JSON: EOF while parsing an object\n\
             - busy_timeout = -1 is negative, from environment variable POOL_BUSY_TIMEOUT; allowed: from 1ms to 24d, \
             as a whole number of milliseconds or text like \"10s\"\n\
             - min_connections = 20, from environment variable POOL_MIN_CONNECTIONS, is above max_connections = 10, \
             from default; allowed: at most 10",
            names.join(", ")
        )
    );
    assert_eq!(error.problems().len(), 6);
}

#[test]
fn a_table_in_the_wrong_place_is_told() {
    assert_eq!(
        toml("databases = 5"),
        "databases is a number, from pool.toml line 1 as databases; allowed: one table for each database"
    );
    assert_eq!(
        json("{\"databases\": {\"users\": [1]}}"),
        "databases.users is a list, from pool.json line 1 as databases.users; allowed: a table of settings"
    );
}

#[test]
fn broken_syntax_is_told_with_its_place_and_without_the_content() {
    assert_eq!(
        json("{\"maxConnections\": 5,\n  secret}"),
        "pool.json line 2 column 3 is not JSON: key must be a string"
    );
    assert_eq!(json("\"secret\""), "pool.json line 1 column 1 is not JSON: expected an object of settings");
    let text = toml("max_connections = 5\nidle_timeout = secret");
    assert!(text.starts_with("pool.toml line 2 column 16 is not TOML: "), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let text = toml("max_connections = 5\nmax_connections = 6");
    assert_eq!(text, "pool.toml line 2 column 1 is not TOML: duplicate key");
}

#[test]
fn a_missing_file_is_told_with_its_cause() {
    let error = error(PoolConfig::builder().file("no/such/pool.toml"));
    assert_eq!(error.to_string(), "cannot read no/such/pool.toml");
    let cause = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_missing_file_is_nothing_where_it_is_optional() {
    assert_eq!(PoolConfig::builder().optional_file("no/such/pool.toml").build().unwrap(), PoolConfig::default());
}

#[test]
fn a_file_of_unknown_format_is_told() {
    let endings = if cfg!(feature = "yaml") { ".toml, .json, .yaml or .yml" } else { ".toml or .json" };
    assert_eq!(
        error(PoolConfig::builder().file("pool.ini")).to_string(),
        format!("pool.ini has no known format; allowed: names that end in {endings}")
    );
}

#[test]
fn a_failing_provider_is_told_with_its_cause_and_spares_the_others() {
    use pool_config::figment::providers::Serialized;
    let error = error(PoolConfig::builder().provider(Serialized::defaults(5)).max_connections(0));
    let [provider, setting] = error.problems() else { panic!("{error}") };
    assert!(provider.to_string().ends_with(" cannot be read"), "{provider}");
    assert!(provider.source().is_some());
    assert_eq!(setting.key(), Some(Key::MaxConnections));
}

#[test]
fn foreign_text_cannot_forge_lines_of_an_error() {
    let text = toml("\"max\\nforged\\u001b[31m\" = 1");
    assert!(text.starts_with("max\\nforged\\u{1b}[31m is not a known key"), "{text}");
    assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text}");
    let long = toml(&format!("{} = 1", "x".repeat(10_000)));
    assert!(long.len() < 1_000, "{}", long.len());
}

#[test]
fn a_file_full_of_mistakes_is_reported_in_part_and_counted_in_full() {
    let text: String = (0..1_000).map(|n| format!("key_{n} = {n}\n")).collect();
    let error = error(PoolConfig::builder().toml_str("pool.toml", text));
    assert_eq!((error.problems().len(), error.left_off()), (100, 900));
    assert!(error.to_string().starts_with("1000 problems in the configuration:\n- key_0 "));
    assert!(error.to_string().ends_with("\n- and 900 more"));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let config = PoolConfig::builder()
        .toml_str("pool.toml", "enable_query_cache = false\nmax_cache_size = 5\nidle_timeout = \"5s\"")
        .build()
        .unwrap();
    let texts: Vec<_> = config.warnings().iter().map(|warning| (warning.name(), warning.to_string())).collect();
    assert_eq!(
        texts,
        [
            (
                "without_effect",
                "max_cache_size = 5, from pool.toml line 2, has no effect: enable_query_cache = false, from \
                 pool.toml line 1"
                    .to_owned()
            ),
            (
                "late_reaping",
                "idle_timeout = 5s, from pool.toml line 3, is shorter than reap_interval = 10s, from default: \
                 connections may stay idle for the sum of both"
                    .to_owned()
            ),
        ]
    );
}

#[test]
fn what_never_happens_switches_its_settings_off_as_well() {
    let config = PoolConfig::builder()
        .toml_str("pool.toml", "max_connection_age = \"never\"\nage_jitter = 0.5\nslow_statement = \"1s\"")
        .build()
        .unwrap();
    let texts: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "age_jitter = 0.5, from pool.toml line 2, has no effect: max_connection_age = never, from pool.toml line 1",
            "slow_statement = 1s, from pool.toml line 3, has no effect: enable_logging = false, from default",
        ]
    );
}

#[test]
fn presets_and_defaults_warn_of_nothing() {
    for preset in Preset::ALL {
        assert_eq!(PoolConfig::preset(*preset).warnings(), []);
    }
    let equal = PoolConfig::builder().idle_timeout(Duration::from_secs(10)).build().unwrap();
    assert_eq!(equal.warnings(), []);
    let batch = PoolConfig::builder().preset(Preset::HighThroughput).enable_query_cache(false).build().unwrap();
    assert_eq!(batch.warnings(), []);
    assert_eq!(*batch.origin(Key::MaxCacheSize), Origin::Preset(Preset::HighThroughput));
}
