//! Layered settings in which every value knows where it came from.
#![forbid(unsafe_code)]

mod builder;
mod config;
mod error;
mod key;
mod kind;
mod layer;
mod nearest;
mod origin;
mod preset;
mod quantity;
mod rules;
mod source;
mod value;

/// The crate that carries the layers, for [`PoolConfigBuilder::provider`].
pub use figment;

pub use builder::PoolConfigBuilder;
pub use config::{PoolConfig, Spelled};
pub use error::{ConfigError, Problem};
pub use key::{Key, Spelling, UnknownKey};
pub use kind::Fault;
pub use layer::Setting;
pub use origin::Origin;
pub use preset::{Preset, UnknownPreset};
pub use rules::Warning;
pub use value::{Synchronous, Value};
