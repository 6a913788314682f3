//! The resolver fields of the accelerator's page: `submitAgentQuery`, `getAgentJobStatus`,
//! `listAgentJobs`, `deleteAgentJob`.

use std::time::Duration;

use edge::Caller;
use mcp::Freshness;
use serde_json::{Value, json};

use crate::{
    api::{Api, Request, full, summary},
    error::ApiError,
};

/// Answers `{info: {fieldName}, arguments, identity}`.
pub(crate) async fn answer(api: &Api, event: &Value, time_left: Duration) -> Result<Value, ApiError> {
    let caller = Caller::of_resolver(&event["identity"]).ok_or(ApiError::Unauthenticated)?;
    if !caller.may_use_agents() {
        return Err(ApiError::Unauthorized);
    }
    let user = &caller.user;
    let arguments = &event["arguments"];
    match event["info"]["fieldName"].as_str().unwrap_or_default() {
        "listAvailableAgents" => Ok(json!(api.agents(user, Freshness::Cached, time_left).await?)),
        "submitAgentQuery" => {
            let (query, agent_ids) = (&arguments["query"], &arguments["agentIds"]);
            let job = api.submit(user, Request { query, agent_ids, idempotency_key: None }).await?;
            Ok(summary(&job))
        }
        "getAgentJobStatus" => {
            let job = api.job(user, job_id(arguments)?).await?;
            Ok(job.as_ref().map_or(Value::Null, full))
        }
        "listAgentJobs" => {
            let next_token = arguments["nextToken"].as_str().filter(|token| !token.is_empty());
            api.list(user, arguments["limit"].as_i64(), next_token).await
        }
        "deleteAgentJob" => {
            // As the original: a job that is gone is deleted.
            api.delete(user, job_id(arguments)?).await?;
            Ok(true.into())
        }
        other => Err(ApiError::BadRequest(format!("there is no field {other}"))),
    }
}

fn job_id(arguments: &Value) -> Result<&str, ApiError> {
    let id = arguments["jobId"].as_str().filter(|id| !id.is_empty());
    id.ok_or_else(|| ApiError::BadRequest("jobId is required".to_owned()))
}
