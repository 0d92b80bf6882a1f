//! Sources of settings: each turns into a [`Reading`], whatever it is made of.
//!
//! Owns the list of sources; it must not know precedence.
//! Invariant: reading a source never panics and never waits for anybody; what is wrong with it becomes problems.

mod discover;
mod env;
mod file;
#[cfg(feature = "json")]
mod json;
mod lines;
mod provider;
mod text;
mod toml;
#[cfg(feature = "yaml")]
mod yaml;

use std::ffi::OsString;
use std::panic::Location;
use std::path::PathBuf;

use crate::config::PoolConfig;
use crate::error::Problem;
use crate::key::Key;
use crate::kind::raw;
use crate::layer::{Reading, shown};
use crate::origin::Origin;
use crate::preset::Preset;
use crate::value::Value;

pub(crate) use provider::Foreign;
pub(crate) use text::{Format, Text};

/// One source of settings.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Preset(Preset),
    File {
        path: PathBuf,
        optional: bool,
    },
    Text(Text),
    /// The file named by `POOL_CONFIG`, or the nearest `pool.toml`.
    Discover,
    Provider(Foreign),
    /// The environment of this process, at the time of reading.
    Process,
    Variables(Vec<(OsString, OsString)>),
    Code {
        key: Key,
        value: Value,
        location: &'static Location<'static>,
    },
    /// What another configuration does not have by default.
    Config(PoolConfig),
}

/// Reads what a source says now.
pub(crate) fn read(source: &Source) -> Reading {
    let mut reading = Reading::default();
    match source {
        Source::Preset(preset) => {
            for (key, value) in preset.settings() {
                reading.take_known(None, *key, raw(*value), Origin::Preset(*preset));
            }
        }
        Source::File { path, optional } => file::read(path, *optional, &mut reading),
        Source::Text(text) => text.read(&mut reading),
        Source::Discover => {
            if let Some(path) = discover::find() {
                file::read(&path, false, &mut reading);
            }
        }
        Source::Provider(provider) => provider.read(&mut reading),
        Source::Process => env::read(std::env::vars_os(), &mut reading),
        Source::Variables(variables) => env::read(variables.iter().cloned(), &mut reading),
        Source::Code { key, value, location } => {
            let origin = Origin::Code { location };
            match key.kind().check(*value) {
                Ok(()) => reading.take_known(None, *key, raw(*value), origin),
                Err(fault) => {
                    let value = shown(&raw(*value));
                    reading.problems.push(Problem::InvalidSetting { key: *key, value, origin, fault });
                }
            }
        }
        Source::Config(config) => {
            for key in PoolConfig::keys().filter(|key| !config.is_default(*key)) {
                reading.take_known(None, key, raw(config.value(key)), config.origin(key).clone());
            }
        }
    }
    reading
}

/// Returns every file that decides what a source says, missing ones included.
pub(crate) fn files(source: &Source) -> Vec<PathBuf> {
    match source {
        Source::File { path, .. } => vec![path.clone()],
        Source::Discover => discover::candidates(),
        _ => Vec::new(),
    }
}
