//! The resolver fields of the accelerator's page: `listAvailableAgents`, `submitAgentQuery`, `getAgentJobStatus`,
//! `listAgentJobs`, `deleteAgentJob`.

use identity::Caller;
use mcp::Freshness;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    api::Api,
    dto::{Agent, AgentId, FullJob, Job, Submission},
    error::ApiError,
};

/// Answers the event `{info: {fieldName}, arguments, identity}`. A list of agents has the tools known by `until`.
pub(crate) async fn answer(api: &Api, event: &Value, until: Instant) -> Result<Value, ApiError> {
    let caller = Caller::of_resolver(&event["identity"]).ok_or(ApiError::Unauthenticated)?;
    if !caller.may_use_agents() {
        return Err(ApiError::Unauthorized);
    }
    let user = &caller.user;
    let arguments = &event["arguments"];
    let tenant = api.authenticator().tenant(&caller, arguments["org"].as_str())?;
    match event["info"]["fieldName"].as_str().unwrap_or_default() {
        "listAvailableAgents" => {
            let agents = api.agents(user, Freshness::Cached, until).await?;
            Ok(json!(agents.into_iter().map(Agent::from).collect::<Vec<_>>()))
        }
        "submitAgentQuery" => {
            let job = api.submit(user, &tenant, &submission(arguments), None).await?;
            Ok(json!(Job::from(job)))
        }
        "getAgentJobStatus" => {
            let job = api.job(user, job_id(arguments)?).await?;
            Ok(json!(job.map(FullJob::from)))
        }
        "listAgentJobs" => {
            let next_token = arguments["nextToken"].as_str().filter(|token| !token.is_empty());
            Ok(json!(api.list(user, arguments["limit"].as_i64(), next_token).await?))
        }
        "deleteAgentJob" => {
            // As in the accelerator, deleting a job that does not exist succeeds.
            api.delete(user, job_id(arguments)?).await?;
            Ok(true.into())
        }
        other => Err(ApiError::BadRequest(format!("there is no field {other}"))),
    }
}

/// Reads a submission from the arguments. A query that is not a text becomes empty, and so does a list of ids with an
/// element that is not a text. The check of the submission refuses both.
fn submission(arguments: &Value) -> Submission {
    let ids = arguments["agentIds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Option<Vec<AgentId>> =
        ids.iter().map(|id| id.as_str().map(|id| AgentId(id.to_owned()))).collect();
    Submission {
        query: arguments["query"].as_str().unwrap_or_default().to_owned(),
        agent_ids: ids.unwrap_or_default(),
    }
}

fn job_id(arguments: &Value) -> Result<&str, ApiError> {
    let id = arguments["jobId"].as_str().filter(|id| !id.is_empty());
    id.ok_or_else(|| ApiError::BadRequest("jobId is required".to_owned()))
}
