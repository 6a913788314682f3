//! What the function reads from its environment, once, at cold start.

use std::time::Duration;

use runtime::{ConfigError, McpConfig, SecretConfig, Vars};

/// The function's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) secret: SecretConfig,
    pub(crate) mcp: McpConfig,
    /// `AGENT_TABLE`: where the jobs lie.
    pub(crate) agent_table: String,
    /// `BEDROCK_MODEL_ID`: the model or inference profile that answers.
    pub(crate) model_id: String,
    /// `TOOL_TIMEOUT_SECONDS`: how long one tool call may take.
    pub(crate) tool_timeout: Duration,
}

impl Config {
    pub(crate) fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self {
            secret: SecretConfig::from_vars(&vars),
            mcp: McpConfig::from_vars(&mut vars),
            agent_table: vars.required("AGENT_TABLE", "the name of the table of jobs"),
            model_id: vars.required("BEDROCK_MODEL_ID", "the id of a Bedrock model or inference profile"),
            tool_timeout: vars.seconds("TOOL_TIMEOUT_SECONDS", Duration::from_secs(60)),
        };
        vars.finish(config)
    }
}
