//! What the function reads from its environment, once, at cold start.

use mcp::CacheLimits;
use runtime::{ConfigError, McpConfig, SecretConfig, Vars};

/// The function's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) secret: SecretConfig,
    pub(crate) mcp: McpConfig,
    /// `CATALOG_TABLE`: without it, tools are remembered in the process alone.
    pub(crate) catalog_table: Option<String>,
    /// `TOOL_CACHE_TTL_SECONDS`, `DISCOVERY_TIMEOUT_SECONDS`.
    pub(crate) cache: CacheLimits,
}

impl Config {
    pub(crate) fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self {
            secret: SecretConfig::from_vars(&vars),
            mcp: McpConfig::from_vars(&mut vars),
            catalog_table: vars.optional("CATALOG_TABLE"),
            cache: runtime::cache_limits(&mut vars),
        };
        vars.finish(config)
    }
}
