//! The others, each reading into the same struct with the same defaults.

use std::{collections::HashMap, path::Path};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use peers_figures::Row;
use serde::Deserialize;

use crate::{LAYERED, Measure, Read};

#[derive(Debug, Deserialize)]
#[serde(default)]
#[allow(dead_code, reason = "read from the file like those that are asked for")]
struct Settings {
    max_connections: usize,
    min_connections: usize,
    acquire_timeout: u64,
    idle_timeout: u64,
    reap_interval: u64,
    max_connection_age: u64,
    enable_query_cache: bool,
    max_cache_size: usize,
    enable_statement_pooling: bool,
    statement_cache_size: usize,
    enable_health_checks: bool,
    enable_logging: bool,
    databases: HashMap<String, Part>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read from the file like those that are asked for")]
struct Part {
    max_connections: Option<usize>,
    enable_query_cache: Option<bool>,
    max_cache_size: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 10,
            min_connections: 2,
            acquire_timeout: 10_000,
            idle_timeout: 30_000,
            reap_interval: 10_000,
            max_connection_age: 3_600_000,
            enable_query_cache: true,
            max_cache_size: 1_000,
            enable_statement_pooling: true,
            statement_cache_size: 64,
            enable_health_checks: true,
            enable_logging: false,
            databases: HashMap::new(),
        }
    }
}

impl Settings {
    fn read(&self) -> Read {
        (self.max_connections, self.min_connections, self.acquire_timeout)
    }
}

fn by_figment(file: &Path) -> Read {
    let figment = Figment::from(Toml::file_exact(file)).merge(Env::prefixed("POOL_").split("__"));
    figment.extract::<Settings>().expect("valid settings").read()
}

fn by_config(file: &Path) -> Read {
    let environment = config::Environment::with_prefix("POOL").prefix_separator("_").separator("__").try_parsing(true);
    let built = config::Config::builder().add_source(config::File::from(file)).add_source(environment).build();
    built.expect("readable settings").try_deserialize::<Settings>().expect("valid settings").read()
}

fn by_toml(file: &Path) -> Read {
    let text = std::fs::read_to_string(file).expect("a readable file");
    toml::from_str::<Settings>(&text).expect("valid settings").read()
}

pub fn all() -> [Row<(Measure, Read)>; 3] {
    [
        ("config-load", "figment", (by_figment, LAYERED)),
        ("config-load", "config", (by_config, LAYERED)),
        ("config-load", "toml (file alone)", (by_toml, (20, 4, 15_000))),
    ]
}
