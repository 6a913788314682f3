//! What the function reads from its environment, once, at cold start.

use std::time::Duration;

use agent::{Budgets, Guardrail};
use backend::BackendConfig;
use runtime::{ConfigError, Vars};

/// The function's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) backend: BackendConfig,
    /// `AGENT_TABLE`: where the jobs lie.
    pub(crate) agent_table: String,
    /// `BEDROCK_MODEL_ID`: the model or inference profile that answers.
    pub(crate) model_id: String,
    /// `GUARDRAIL_ID_AND_VERSION`: a guardrail that every call of the model goes through.
    pub(crate) guardrail: Option<Guardrail>,
    /// `JOB_LEASE_SECONDS`: how long a job is held without a renewal. Lambda delivers again after a minute.
    pub(crate) lease: Duration,
    /// `TOOL_TIMEOUT_SECONDS`: how long one tool call may take.
    pub(crate) tool_timeout: Duration,
    /// `SUBAGENT_TIMEOUT_SECONDS`: how long one of several agents may take.
    pub(crate) sub_agent_timeout: Duration,
    /// `MAX_TOOL_RESULT_BYTES`: how much of one tool result the model is given.
    pub(crate) tool_result_bytes: usize,
    /// `MAX_RUN_SECONDS`: how long a run may take, if the invocation leaves it that long.
    pub(crate) run_time: Duration,
    /// `MAX_MODEL_TURNS`, `MAX_TOOL_CALLS`, `MAX_INPUT_TOKENS`, `MAX_OUTPUT_TOKENS`.
    pub(crate) budgets: Budgets,
}

impl Config {
    pub(crate) fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let seconds = Duration::from_secs;
        let mut vars = Vars::new(lookup);
        let config = Self {
            backend: BackendConfig::from_vars(&mut vars),
            agent_table: vars.required("AGENT_TABLE", "the name of the table of jobs"),
            model_id: vars.required("BEDROCK_MODEL_ID", "the id of a Bedrock model or inference profile"),
            guardrail: vars.parsed_optional("GUARDRAIL_ID_AND_VERSION"),
            lease: vars.seconds("JOB_LEASE_SECONDS", seconds(30)),
            tool_timeout: vars.seconds("TOOL_TIMEOUT_SECONDS", seconds(60)),
            sub_agent_timeout: vars.seconds("SUBAGENT_TIMEOUT_SECONDS", seconds(120)),
            tool_result_bytes: vars.parsed("MAX_TOOL_RESULT_BYTES", 100_000),
            run_time: vars.seconds("MAX_RUN_SECONDS", seconds(900)),
            budgets: Budgets::read(|name, default| vars.parsed(name, default)),
        };
        vars.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_garbled_is_told_all_at_once() {
        let lookup = |name: &str| match name {
            "MAX_TOOL_CALLS" => Some("many".to_owned()),
            "GUARDRAIL_ID_AND_VERSION" => Some("gr-1".to_owned()),
            "JOB_LEASE_SECONDS" => Some("0".to_owned()),
            _ => None,
        };
        let error = Config::from_vars(&lookup).unwrap_err().to_string();
        for name in [
            "AGENT_TABLE",
            "BEDROCK_MODEL_ID",
            "MAX_TOOL_CALLS",
            "GUARDRAIL_ID_AND_VERSION",
            "JOB_LEASE_SECONDS",
        ] {
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
