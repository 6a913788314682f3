//! One event to one run: claims the job, finds its agent, runs it, writes how it ended.

use std::{panic::AssertUnwindSafe, time::Duration};

use agent::{Answer, Model, Run, RunError, RunLimits, Transcript};
use catalog::{Agent, Entries};
use futures::FutureExt;
use jobs::{Claim, Claimed, Job, JobError, JobStatus, JobTable};
use lambda_runtime::Diagnostic;
use mcp::Connector;
use serde_json::{Value, json};

use crate::config::Config;

/// Kept free of the invocation's time for writing how the run ended, retries included.
const MARGIN: Duration = Duration::from_secs(10);
/// One turn of a model: long answers of large models take minutes.
const MODEL_TURN: Duration = Duration::from_secs(300);

/// All that a cold start makes.
pub(crate) struct Context {
    entries: Entries,
    connector: Connector,
    jobs: JobTable,
    model: Model,
    tool_timeout: Duration,
}

impl Context {
    pub(crate) async fn new(config: &Config) -> Self {
        let aws = runtime::aws_config().await;
        let bedrock = aws_sdk_bedrockruntime::Client::new(&runtime::patient(&aws, MODEL_TURN));
        Self {
            entries: runtime::entries(&aws, &config.secret),
            connector: runtime::connector(&aws, &config.mcp, config.tool_timeout),
            jobs: JobTable::new(aws_sdk_dynamodb::Client::new(&aws), config.agent_table.clone()),
            model: Model::new(bedrock, config.model_id.clone()),
            tool_timeout: config.tool_timeout,
        }
    }
}

/// Runs the job that the event names: `{userId, jobId}`. Answers the job, or `{statusCode, body}` as
/// the original does.
///
/// # Errors
/// `JobTable`, when the job could not even be claimed: Lambda then delivers the event again.
pub(crate) async fn handle(
    context: &Context,
    event: Value,
    time_left: Duration,
) -> Result<Value, Diagnostic> {
    let id = |name: &str| event[name].as_str().filter(|id| !id.is_empty());
    let (Some(user_id), Some(job_id)) = (id("userId"), id("jobId")) else {
        return Ok(status(400, "userId and jobId are required"));
    };
    match context.jobs.claim(user_id, job_id).await {
        Ok(Claimed::Won(claim)) => Ok(work(context, &claim, time_left).await),
        Ok(Claimed::NotPending(job)) => {
            tracing::info!(job.id = job_id, job.status = %job.status, "External MCP: nothing to do for this job");
            Ok(answer(&job, job.status, job.result.as_deref()))
        }
        Ok(Claimed::Missing) => {
            tracing::warn!(job.id = job_id, user.id = user_id, "External MCP: this user has no such job");
            Ok(status(403, &format!("Job not found: {job_id} for user: {user_id}")))
        }
        Err(error) => {
            tracing::error!(%error, job.id = job_id, "External MCP: the job could not be claimed");
            Err(Diagnostic { error_type: "JobTable".to_owned(), error_message: error.to_string() })
        }
    }
}

async fn work(context: &Context, claim: &Claim, time_left: Duration) -> Value {
    let job = claim.job();
    let mut transcript = Transcript::default();
    let run_time = time_left.saturating_sub(MARGIN).max(time_left / 2);
    let run = AssertUnwindSafe(run(context, claim, run_time, &mut transcript)).catch_unwind().await;
    let outcome = match run {
        Ok(outcome) => outcome.map_err(|error| format!("Agent query processing failed: {error}")),
        Err(_) => {
            Err("Agent query processing failed: a bug in the processor; its log has the place".to_owned())
        }
    };
    let written = match &outcome {
        Ok(result) => claim.complete(result, transcript.messages(), runtime::now()).await,
        Err(error) => {
            tracing::error!(job.id = job.job_id, error, "External MCP: job failed");
            claim.fail(error, transcript.messages(), runtime::now()).await
        }
    };
    match (written, outcome) {
        (Err(error), _) => unwritten(job, &error),
        (Ok(()), Err(error)) => status(500, &error),
        (Ok(()), Ok(result)) => {
            tracing::info!(job.id = job.job_id, user.id = job.user_id, "External MCP: job completed");
            answer(job, JobStatus::Completed, Some(&result))
        }
    }
}

/// Gives the result as the job keeps it.
async fn run(
    context: &Context,
    claim: &Claim,
    run_time: Duration,
    transcript: &mut Transcript,
) -> Result<String, RunError> {
    let job = claim.job();
    let agent = the_agent(context, job).await?;
    let limits = RunLimits { run: run_time, tool_call: context.tool_timeout };
    let Context { model, connector, .. } = context;
    let run = Run { model, connector, claim, clock: runtime::now, limits };
    let answer: Answer = agent::run(&run, &agent, transcript).await?;
    Ok(answer.to_result(&job.query, runtime::now()))
}

/// The one agent that the job names. Looks into the secret again before it says that there is none:
/// it may have been added within the last minute.
async fn the_agent(context: &Context, job: &Job) -> Result<Agent, RunError> {
    let mut ids = job.agent_ids.clone();
    ids.dedup();
    let id = match ids.as_slice() {
        [] => return Err(RunError::NoAgent),
        [id] => id,
        several => return Err(RunError::SeveralAgents { count: several.len() }),
    };
    if job.query.trim().is_empty() {
        return Err(RunError::NoQuery);
    }
    let find = |agents: &[Agent]| agents.iter().find(|agent| agent.id == *id).cloned();
    if let Some(agent) = find(&context.entries.agents(runtime::now()).await?) {
        return Ok(agent);
    }
    let agents = context.entries.reread_agents(runtime::now()).await?;
    let known = || agents.iter().map(|agent| agent.id.clone()).collect();
    find(&agents).ok_or_else(|| RunError::UnknownAgent { id: id.clone(), known: known() })
}

fn unwritten(job: &Job, error: &JobError) -> Value {
    tracing::error!(%error, job.id = job.job_id, "External MCP: how the job ended could not be written");
    status(500, &error.to_string())
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
