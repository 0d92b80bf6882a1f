//! pool-config: all 20 lines and every setting there is, each with its origin.

use std::path::Path;

use pool_config::PoolConfigBuilder;

use crate::Read;

pub fn read(file: &Path) -> Read {
    let config = PoolConfigBuilder::new().file(file).env().build().expect("valid settings");
    let timeout = config.acquire_timeout().as_millis() as u64;
    (config.max_connections(), config.min_connections(), timeout)
}
