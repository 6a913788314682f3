//! The function's configuration, read from the environment once, at cold start.

use backend::{BackendConfig, IdentityConfig};
use jobs::Quota;
use runtime::{ConfigError, Vars};

/// The function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) backend: BackendConfig,
    /// `USER_POOL_ID`, `USER_POOL_CLIENT_IDS`: whose tokens are accepted.
    pub(crate) callers: IdentityConfig,
    /// `AGENT_TABLE`: the name of the job table.
    pub(crate) agent_table: String,
    /// `UNFINISHED_INDEX`: the name of the index of unfinished jobs. A borrowed table has no such index, and is not
    /// swept.
    pub(crate) unfinished_index: Option<String>,
    /// `AGENT_PROCESSOR_FUNCTION`: the function that runs a job, by name or ARN.
    pub(crate) processor: String,
    /// `JOB_RETENTION_DAYS`: the days from the submission until a job is deleted. Default: 30.
    pub(crate) retention_days: u32,
    /// `MAX_RUNNING_JOBS_PER_USER` (default: 100), `MAX_JOBS_PER_DAY_PER_USER` (default: 2,000): 0 for no limit.
    pub(crate) quota: Quota,
}

impl Config {
    /// Reads the variables that the fields name.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self {
            backend: BackendConfig::from_vars(&mut vars),
            callers: IdentityConfig::from_vars(&mut vars),
            agent_table: vars.required("AGENT_TABLE", "the name of the table of jobs"),
            unfinished_index: vars.optional("UNFINISHED_INDEX"),
            processor: vars
                .required("AGENT_PROCESSOR_FUNCTION", "the name or ARN of the function that runs jobs"),
            retention_days: vars.parsed("JOB_RETENTION_DAYS", 30),
            quota: Quota {
                running: vars.parsed("MAX_RUNNING_JOBS_PER_USER", 100),
                a_day: vars.parsed("MAX_JOBS_PER_DAY_PER_USER", 2_000),
            },
        };
        vars.finish(config)
    }
}
