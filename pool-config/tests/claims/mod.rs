//! What holds for every text and every environment, whoever wrote them: for the property tests and for the fuzz target.

use pool_config::{ConfigError, PoolConfig, PoolConfigBuilder};

/// Reads bytes in every way there is and checks that the outcome is a whole configuration or a clear error.
///
/// # Panics
///
/// When a claim does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for builder in readings(&text) {
        for outcome in [builder.build(), builder.build_for("users")] {
            match outcome {
                Ok(config) => check_config(&config),
                Err(error) => check_error(&error),
            }
        }
    }
}

fn readings(text: &str) -> Vec<PoolConfigBuilder> {
    let new = PoolConfig::builder;
    // A line is a variable, as `env` prints them; one without `=` is a value for two that exist.
    let variables = text.lines().flat_map(|line| match line.split_once('=') {
        Some((name, value)) => vec![(format!("POOL_{name}"), value)],
        None => vec![("POOL_IDLE_TIMEOUT".to_owned(), line), ("POOL_SYNCHRONOUS".to_owned(), line)],
    });
    vec![
        new().toml_str("t", text),
        new().json_str("j", text),
        #[cfg(feature = "yaml")]
        new().yaml_str("y", text),
        new().env_from(variables),
    ]
}

/// A configuration holds allowed values: it goes out and comes back the same, and can be shown.
fn check_config(config: &PoolConfig) {
    let json = serde_json::to_string(config).expect("a configuration cannot be serialized");
    let again = PoolConfig::builder().json_str("again", json).build();
    assert_eq!(again.as_ref().ok(), Some(config), "{again:?}");
    assert!(config.change_to(config).is_none());
    let lines = config.explain().to_string().lines().count();
    assert!(lines > PoolConfig::keys().len(), "{lines} lines explain everything");
}

/// An error has problems, each told in one line that cannot grow without bounds.
fn check_error(error: &ConfigError) {
    assert!(!error.problems().is_empty() && error.problems().len() <= 100);
    for problem in error.problems() {
        let text = problem.to_string();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
        assert!(text.chars().count() < 2_000, "{text}");
    }
}
