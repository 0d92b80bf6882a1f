//! "Appropriate Pool Sizing": the description's presets, and one of them with a change.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{Key, PoolConfig, Preset, Result};

fn main() -> Result<()> {
    for preset in [Preset::WebApplication, Preset::HighThroughput, Preset::Batch, Preset::Debug] {
        let config = PoolConfig::builder().preset(preset).build()?;
        println!(
            "{preset:?}: {} to {} connections, acquire timeout {:?}, query cache {}",
            config.min_connections(),
            config.max_connections(),
            config.acquire_timeout(),
            config.enable_query_cache()
        );
    }
    let mine = PoolConfig::builder().preset(Preset::WebApplication).max_connections(16).build()?;
    println!("max_connections = {} from {}", mine.max_connections(), mine.origin(Key::MaxConnections));
    Ok(())
}
