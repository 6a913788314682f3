//! The errors of runs.

use std::time::Duration;

use catalog::SourceError;
use mcp::McpError;

use crate::{meter::BudgetExceeded, model::ModelError};

/// The error of a run that ended without an answer. Its message is one line without secrets; the job processor writes
/// it to the job's `error`.
///
/// `E` is the error of the run's [`crate::EffectNote`].
#[derive(Debug, thiserror::Error)]
pub enum RunError<E: std::error::Error + 'static> {
    /// The run names no agent.
    #[error("no agentIds provided: at least one agent id is required")]
    NoAgent,
    /// The query is empty.
    #[error("the query is empty")]
    NoQuery,
    /// There is no agent with an id that the run names, or the agents could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The agent's MCP server could not be connected to, or did not list its tools.
    #[error("agent {id}: {error}")]
    Server {
        /// The agent's id.
        id: String,
        /// The error of the MCP client.
        #[source]
        error: McpError,
    },
    /// The model failed, or returned no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The run used up a budget.
    #[error(transparent)]
    Budget(#[from] BudgetExceeded),
    /// The time that a run may take ran out.
    #[error("ran out of time after {} s in {step}{}", after.as_secs_f64().round(), limited_by(limit))]
    OutOfTime {
        /// The time that the run had.
        after: Duration,
        /// The work that the run was waiting for.
        step: String,
        /// The source of the time limit.
        limit: TimeLimit,
    },
    /// The effect note ended the run before a tool that may change something was called.
    #[error("{0}")]
    Effect(#[source] E),
}

/// The source of a run's time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// The time that is left of the invocation.
    Invocation,
    /// `MAX_RUN_SECONDS`.
    Budget,
    /// `SUBAGENT_TIMEOUT_SECONDS`.
    SubAgent,
}

impl<E: std::error::Error + 'static> RunError<E> {
    /// Returns true if the error ends the whole run. Any other error ends only the one agent that it happened to.
    pub(crate) fn ends_the_run(&self) -> bool {
        matches!(self, Self::Budget(_) | Self::Effect(_))
    }
}

fn limited_by(limit: &TimeLimit) -> &'static str {
    match limit {
        TimeLimit::Invocation => "",
        TimeLimit::Budget => ": the budget MAX_RUN_SECONDS is used up",
        TimeLimit::SubAgent => ": an agent may take SUBAGENT_TIMEOUT_SECONDS",
    }
}
