//! What a run works with: the model, the connector, its limits, its clock.

use std::time::Duration;

use jiff::Timestamp;
use mcp::Connector;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{RunError, TimeLimit},
    meter::Meter,
    model::Model,
};

/// What a run works with.
pub struct Run<'a, N> {
    /// The model that answers.
    pub model: &'a Model,
    /// What connections are made with.
    pub connector: &'a Connector,
    /// Consulted before each call of a tool that may change something.
    pub effects: &'a N,
    /// What log lines, spans and the transcript name the run by.
    pub labels: RunLabels<'a>,
    /// What the run uses and may use.
    pub meter: &'a Meter,
    /// The time, whenever it is asked for: a run lasts, and each message has its own.
    pub clock: fn() -> Timestamp,
    /// How long and how large things may get.
    pub limits: RunLimits,
}

/// What log lines, spans and the transcript name a run by.
#[derive(Debug, Clone, Copy)]
pub struct RunLabels<'a> {
    /// `job.id`: the id of the job, or of a run that has no job.
    pub job_id: &'a str,
    /// `user.id`: the user that the run is for.
    pub user_id: &'a str,
}

/// How long and how large things may get.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    /// When the run must have ended: the invocation's end, less what ending a run takes.
    pub until: Instant,
    /// `MAX_RUN_SECONDS`: the budget of time.
    pub run: Duration,
    /// `SUBAGENT_TIMEOUT_SECONDS`: one of several agents.
    pub sub_agent: Duration,
    /// `TOOL_TIMEOUT_SECONDS`: one tool call; then the model gets an error result.
    pub tool_call: Duration,
    /// `MAX_TOOL_RESULT_BYTES`: what a model is given of one result.
    pub tool_result_bytes: usize,
}

/// The time of a run, or of one agent in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    started: Instant,
    allowed: Duration,
    limit: TimeLimit,
}

impl Watch {
    /// The time of a whole run, from now on.
    pub(crate) fn of(limits: RunLimits) -> Self {
        let started = Instant::now();
        let invocation = limits.until.saturating_duration_since(started);
        let limit = if limits.run < invocation { TimeLimit::Budget } else { TimeLimit::Invocation };
        Self { started, allowed: limits.run.min(invocation), limit }
    }

    /// The time of one agent within it, from now on.
    pub(crate) fn of_sub_agent(self, allowed: Duration) -> Self {
        let left = (self.started + self.allowed).saturating_duration_since(Instant::now());
        let limit = if allowed < left { TimeLimit::SubAgent } else { self.limit };
        Self { started: Instant::now(), allowed: allowed.min(left), limit }
    }

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
