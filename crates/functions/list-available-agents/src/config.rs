//! What the function reads from its environment, once, at cold start.

use std::time::Duration;

use runtime::{ConfigError, McpConfig, SecretConfig, Vars};

/// The function's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) secret: SecretConfig,
    pub(crate) mcp: McpConfig,
    /// `CATALOG_TABLE`: without it, tools are remembered in the process alone.
    pub(crate) catalog_table: Option<String>,
    /// `TOOL_CACHE_TTL_SECONDS`: how long a server's tools are taken as known.
    pub(crate) tool_cache_ttl: Duration,
    /// `DISCOVERY_TIMEOUT_SECONDS`: how long any server may hold up a list.
    pub(crate) discovery_timeout: Duration,
}

impl Config {
    pub(crate) fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self {
            secret: SecretConfig::from_vars(&vars),
            mcp: McpConfig::from_vars(&mut vars),
            catalog_table: vars.optional("CATALOG_TABLE"),
            tool_cache_ttl: vars.seconds("TOOL_CACHE_TTL_SECONDS", Duration::from_secs(15 * 60)),
            discovery_timeout: vars.seconds("DISCOVERY_TIMEOUT_SECONDS", Duration::from_secs(8)),
        };
        vars.finish(config)
    }
}
