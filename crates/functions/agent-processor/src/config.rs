//! The function's configuration, read from the environment once, at cold start.

use std::time::Duration;

use agent::{Budgets, Guardrail};
use backend::BackendConfig;
use runtime::{ConfigError, Vars};

/// The function's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) backend: BackendConfig,
    /// `AGENT_TABLE`: the name of the job table.
    pub(crate) agent_table: String,
    /// `BEDROCK_MODEL_ID`: the id of the model or inference profile that answers.
    pub(crate) model_id: String,
    /// `GUARDRAIL_ID_AND_VERSION`: the guardrail for every call of the model. Default: none.
    pub(crate) guardrail: Option<Guardrail>,
    /// `JOB_LEASE_SECONDS`: the lease of a job. Default: 30 s. Lambda delivers an event again after a minute, and the
    /// lease of a run that was cut off must have expired by then.
    pub(crate) lease: Duration,
    /// `TOOL_TIMEOUT_SECONDS`: time limit for one tool call. Default: 60 s.
    pub(crate) tool_timeout: Duration,
    /// `SUBAGENT_TIMEOUT_SECONDS`: time limit for one of several agents. Default: 120 s.
    pub(crate) sub_agent_timeout: Duration,
    /// `MAX_TOOL_RESULT_BYTES`: largest text of one tool result that the model receives. Default: 100,000 bytes.
    pub(crate) tool_result_bytes: usize,
    /// `MAX_RUN_SECONDS`: time limit for a run. Default: 900 s. The invocation may leave less.
    pub(crate) run_time: Duration,
    /// `MAX_MODEL_TURNS`, `MAX_TOOL_CALLS`, `MAX_INPUT_TOKENS`, `MAX_OUTPUT_TOKENS`. Defaults: [`Budgets::default`].
    pub(crate) budgets: Budgets,
}

impl Config {
    /// Reads the variables that the fields name.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
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
    fn the_error_names_every_missing_or_wrong_variable() {
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
