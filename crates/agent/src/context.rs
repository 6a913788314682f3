//! The context of a run: the model, the connector, the limits, the clock. The binaries fill it in.

use std::time::Duration;

use jiff::Timestamp;
use mcp::Connector;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{RunError, TimeLimit},
    meter::Meter,
    model::Model,
};

/// The context of a run.
pub struct Run<'a, N> {
    /// The model that answers the query.
    pub model: &'a Model,
    /// Opens sessions with MCP servers.
    pub connector: &'a Connector,
    /// The effect note, called before each tool that may change something.
    pub effects: &'a N,
    /// Ids of the run in log lines, spans and the transcript.
    pub labels: RunLabels<'a>,
    /// Counts what the run uses, and holds its budgets.
    pub meter: &'a Meter,
    /// Returns the current time. A run takes minutes, and each message has its own time.
    pub clock: fn() -> Timestamp,
    /// Time limits and size limits.
    pub limits: RunLimits,
}

/// Ids of a run in log lines, spans and the transcript.
#[derive(Debug, Clone, Copy)]
pub struct RunLabels<'a> {
    /// `job.id`: the id of the job, or of a run that has no job.
    pub job_id: &'a str,
    /// `user.id`: the user that the run is for.
    pub user_id: &'a str,
}

/// Time limits and size limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    /// Deadline of the run: the invocation's end, less the time to write how the run ended.
    pub until: Instant,
    /// Time limit for the run, from `MAX_RUN_SECONDS`.
    pub run: Duration,
    /// Time limit for one of several agents, from `SUBAGENT_TIMEOUT_SECONDS`.
    pub sub_agent: Duration,
    /// Time limit for one tool call, from `TOOL_TIMEOUT_SECONDS`. A call that takes longer gives the model an error
    /// result.
    pub tool_call: Duration,
    /// Largest text of one tool result that the model receives, in bytes, from `MAX_TOOL_RESULT_BYTES`.
    pub tool_result_bytes: usize,
}

/// The time that a run has, or one agent in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    started: Instant,
    allowed: Duration,
    limit: TimeLimit,
}

impl Watch {
    /// Returns the time of a whole run that starts now.
    pub(crate) fn of(limits: RunLimits) -> Self {
        let started = Instant::now();
        let invocation = limits.until.saturating_duration_since(started);
        let limit = if limits.run < invocation { TimeLimit::Budget } else { TimeLimit::Invocation };
        Self { started, allowed: limits.run.min(invocation), limit }
    }

    /// Returns the time of one agent that starts now, within this run.
    pub(crate) fn of_sub_agent(self, allowed: Duration) -> Self {
        let left = (self.started + self.allowed).saturating_duration_since(Instant::now());
        let limit = if allowed < left { TimeLimit::SubAgent } else { self.limit };
        Self { started: Instant::now(), allowed: allowed.min(left), limit }
    }

    /// Waits for `work` until the time is over. `step` names the work in the error.
    ///
    /// # Errors
    /// [`RunError::OutOfTime`].
    pub(crate) async fn within<T, E: std::error::Error + 'static>(
        &self,
        step: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, RunError<E>> {
        timeout_at(self.started + self.allowed, work).await.map_err(|_| RunError::OutOfTime {
            after: self.allowed,
            step: step.to_owned(),
            limit: self.limit,
        })
    }
}
