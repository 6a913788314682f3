//! Runs a claimed job: finds its agents, lets them answer the query, and writes the end of the job.
//!
//! Renews no lease: [`crate::hold`] does that. [`crate::handler`] calls this.

use std::time::Duration;

use agent::{Answer, Colleague, Meter, Run, RunLabels, RunLimits, Transcript, run_agent, run_agents};
use auth::User;
use catalog::{Agent, SourceError};
use jobs::{Claim, Job, JobError, RunOutcome};
use tokio::time::{Instant, timeout_at};

use crate::{context::Context, job_note::JobNote};

/// The error of a job's run.
pub(crate) type RunError = agent::RunError<JobError>;

/// Time limit for listing the tools of several agents that the catalog does not know, for the agents' descriptions. An
/// agent whose server takes longer is described without its tools.
const DESCRIPTION_DEADLINE: Duration = Duration::from_secs(3);

/// Runs the claimed job and returns its result, a JSON text.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    meter: &Meter,
    until: Instant,
    transcript: &Transcript,
) -> Result<String, RunError> {
    let job = claim.job();
    let reading = timeout_at(until, find_agents(context, job)).await;
    let agents = reading.unwrap_or(Err(RunError::Source(SourceError::timed_out())))?;
    let config = &context.config;
    let limits = RunLimits {
        until,
        run: config.run_time,
        sub_agent: config.sub_agent_timeout,
        tool_call: config.tool_timeout,
        tool_result_bytes: config.tool_result_bytes,
    };
    let Context { model, backend, .. } = context;
    let run = Run {
        model,
        connector: &backend.connector,
        effects: &JobNote::new(claim),
        labels: RunLabels { job_id: &job.job_id, user_id: &job.user_id },
        meter,
        clock: runtime::now,
        limits,
    };
    let answer: Answer = match agents.as_slice() {
        [agent] => run_agent(&run, agent, &job.query, transcript).await?,
        several => {
            let until = until.min(Instant::now() + DESCRIPTION_DEADLINE);
            let listed = context.catalog.listed(several, runtime::now(), until).await;
            let colleagues = several.iter().cloned().zip(listed);
            let colleagues: Vec<_> = colleagues.map(|(agent, listed)| Colleague { agent, listed }).collect();
            run_agents(&run, &colleagues, &job.query, transcript).await?
        }
    };
    Ok(answer.to_result(&job.query, claim.room_for_result(), runtime::now()))
}

/// Finds the agents that the job names, each once, for the job's user. If an id is unknown, the secret is read again
/// first, because the agent may have been added within the last minute.
async fn find_agents(context: &Context, job: &Job) -> Result<Vec<Agent>, RunError> {
    if job.agent_ids.is_empty() {
        return Err(RunError::NoAgent);
    }
    if job.query.trim().is_empty() {
        return Err(RunError::NoQuery);
    }
    let user = User { name: job.user_id.clone(), sub: job.sub.clone() };
    Ok(context.backend.agents.find(Some(&user), &job.agent_ids, runtime::now()).await?)
}

/// The data that is written to a job when its run has ended.
pub(crate) struct Ending<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) meter: &'a Meter,
    pub(crate) transcript: &'a Transcript,
}

impl Ending<'_> {
    /// Writes the end of the job.
    ///
    /// # Errors
    /// [`JobError`].
    pub(crate) async fn write(&self, outcome: RunOutcome<'_>) -> Result<(), JobError> {
        let messages = self.transcript.messages();
        let usage = serde_json::json!(self.meter.usage());
        match self.claim.end(outcome, &messages, &usage, runtime::now()).await {
            // Try once more with the outcome only. The transcript so far stays on the job.
            Err(JobError::Table { reason, .. }) => {
                tracing::warn!(
                    reason,
                    "External MCP: the job's end was not taken, trying again without its transcript"
                );
                self.claim.end_without_transcript(outcome, runtime::now()).await
            }
            written => written,
        }
    }
}
