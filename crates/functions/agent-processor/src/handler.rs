//! The handler of the function's events: claims a job, runs it while it renews the lease, and writes how it ended.
//!
//! Runs nothing if the claim is not won. Lambda calls it, possibly several times for one job.

use std::{panic::AssertUnwindSafe, time::Duration};

use agent::Transcript;
use futures::FutureExt;
use jobs::{Claim, ClaimOutcome, EarlierRun, Job, JobError, JobStatus, RunOutcome};
use lambda_runtime::Diagnostic;
use runtime::RunMetrics;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    context::Context,
    hold::hold,
    run::{Ending, RunError, run},
};

/// The part of the invocation's time that is reserved for writing how the run ended, retries included. With less than 20 s
/// left, the run gets half of the time.
const MARGIN: Duration = Duration::from_secs(10);
/// The end of the wait for token refreshes, counted back from the end of the invocation: the response takes the rest.
const SETTLED_BEFORE_END: Duration = Duration::from_secs(2);

/// Runs the job that the event `{userId, jobId}` names. Returns the job, or `{statusCode, body}`, as the accelerator's
/// processor does.
///
/// # Errors
/// A [`Diagnostic`] of type `JobTable` if the job could not be claimed, its end could not be written, or its lease was not
/// renewed in time. Lambda delivers an asynchronous event again then.
pub(crate) async fn handle(
    context: &Context,
    event: Value,
    time_left: Duration,
) -> Result<Value, Diagnostic> {
    // Taken first, so that everything that follows has the same deadline.
    let now = Instant::now();
    let until = now + time_left.saturating_sub(MARGIN).max(time_left / 2);
    let settled = now + time_left.saturating_sub(SETTLED_BEFORE_END);
    let id = |name: &str| event[name].as_str().filter(|id| !id.is_empty());
    let (Some(user_id), Some(job_id)) = (id("userId"), id("jobId")) else {
        return Ok(status(400, "userId and jobId are required"));
    };
    match context.jobs.claim(user_id, job_id, runtime::now(), context.config.lease).await {
        Ok(ClaimOutcome::Won(claim, EarlierRun::NoEffect)) => {
            let response = run_claimed(context, &claim, until).await;
            context.backend.settled(settled).await;
            response
        }
        Ok(ClaimOutcome::Won(claim, EarlierRun::MayHaveHadEffect { tool })) => {
            end_after_effect(&claim, &tool).await
        }
        Ok(ClaimOutcome::NotClaimable(job)) => {
            tracing::info!(job.id = job_id, job.status = %job.status, "External MCP: nothing to do for this job");
            Ok(answer(&job, job.status, job.result.as_deref()))
        }
        Ok(ClaimOutcome::Missing) => {
            tracing::warn!(job.id = job_id, user.id = user_id, "External MCP: this user has no such job");
            Ok(status(403, &format!("Job not found: {job_id} for user: {user_id}")))
        }
        Err(error) => {
            tracing::error!(%error, job.id = job_id, "External MCP: the job could not be claimed");
            Err(Diagnostic { error_type: "JobTable".to_owned(), error_message: error.to_string() })
        }
    }
}

/// Runs a claimed job, and writes how it ended unless the job was lost or its lease expired.
async fn run_claimed(context: &Context, claim: &Claim, until: Instant) -> Result<Value, Diagnostic> {
    let started = Instant::now();
    let transcript = Transcript::default();
    let meter = agent::Meter::new(context.config.budgets);
    let work = run(context, claim, &meter, until, &transcript);
    let held = AssertUnwindSafe(hold(claim, &transcript, runtime::now, work)).catch_unwind().await;
    let agent = metrics_agent(claim.job(), &held);
    // Outside in: a panic, the loss of the hold on the job, the run's own result.
    let ended = match held {
        Ok(Ok(Ok(result))) => Ok(result),
        Ok(Err(lost)) => return end_not_written(claim.job(), lost),
        Ok(Ok(Err(RunError::Effect(lost @ (JobError::Lost { .. } | JobError::Lapsed { .. }))))) => {
            return end_not_written(claim.job(), lost);
        }
        Ok(Ok(Err(error))) => Err(failure(&error.to_string())),
        Err(_) => Err(failure("a bug in agent-processor; its log has the source line of the panic")),
    };
    emit_metrics(&agent, &meter, started, ended.is_ok());
    let ending = Ending { claim, meter: &meter, transcript: &transcript };
    let (outcome, response) = match &ended {
        Ok(result) => {
            (RunOutcome::Completed(result), answer(claim.job(), JobStatus::Completed, Some(result)))
        }
        Err(error) => {
            tracing::error!(job.id = claim.job().job_id, error, "External MCP: job failed");
            (RunOutcome::Failed(error), status(500, error))
        }
    };
    match ending.write(outcome).await {
        Ok(()) => {
            tracing::info!(
                job.id = claim.job().job_id,
                user.id = claim.job().user_id,
                "External MCP: job ended"
            );
            Ok(response)
        }
        Err(error) => end_not_written(claim.job(), error),
    }
}

/// Returns the agent's name in the metrics of a run. The ids in a job come from its user. Only ids of agents that exist
/// become a dimension, so that a user cannot create any number of metrics.
fn metrics_agent<L, P>(job: &Job, held: &Result<Result<Result<String, RunError>, L>, P>) -> String {
    use agent::RunError::{NoAgent, NoQuery, Source};
    match (held, job.agent_ids.as_slice()) {
        (Ok(Ok(Err(Source(_) | NoAgent | NoQuery))) | Err(_), _) => "unknown".to_owned(),
        (_, [agent]) => agent.clone(),
        _ => "several".to_owned(),
    }
}

fn emit_metrics(agent: &str, meter: &agent::Meter, started: Instant, completed: bool) {
    let usage = meter.usage();
    let metrics = RunMetrics {
        agent,
        status: if completed { JobStatus::Completed } else { JobStatus::Failed }.as_str(),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        model_turns: usage.model_turns,
        tool_calls: usage.all_tool_calls(),
    };
    runtime::emit(&metrics, runtime::now());
}

/// Ends a job whose earlier run was cut off after it called a tool that must not be called twice.
async fn end_after_effect(claim: &Claim, tool: &str) -> Result<Value, Diagnostic> {
    let error = failure(&format!(
        "an earlier run was cut off after it had called {tool}, which may have changed something, so the job is not run \
         again. Check on the MCP server with that tool what was changed, then submit the query again"
    ));
    tracing::error!(job.id = claim.job().job_id, error, "External MCP: job failed");
    match claim.end_without_transcript(RunOutcome::Failed(&error), runtime::now()).await {
        Ok(()) => Ok(status(500, &error)),
        Err(error) => end_not_written(claim.job(), error),
    }
}

/// Returns the response for a job whose end could not be written. If the job is lost, another process runs it, or it has
/// ended or was deleted. Otherwise the invocation fails, so that Lambda delivers the event again after about a minute; the
/// lease has then expired, and the job can be claimed.
fn end_not_written(job: &Job, error: JobError) -> Result<Value, Diagnostic> {
    tracing::error!(%error, job.id = job.job_id, "External MCP: the job is no longer held, or its end could not be written");
    match error {
        JobError::Lost { .. } => Ok(status(500, &error.to_string())),
        JobError::Table { .. } | JobError::Lapsed { .. } => {
            Err(Diagnostic { error_type: "JobTable".to_owned(), error_message: error.to_string() })
        }
    }
}

fn failure(reason: &str) -> String {
    format!("Agent query processing failed: {reason}")
}

fn answer(job: &Job, status: JobStatus, result: Option<&str>) -> Value {
    json!({
        "jobId": job.job_id,
        "status": status.as_str(),
        "query": job.query,
        "createdAt": job.created_at,
        "result": result,
    })
}

fn status(code: u16, body: &str) -> Value {
    json!({"statusCode": code, "body": body})
}
