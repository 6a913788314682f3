//! The HTTP routes behind API Gateway, whose authorizer has verified the caller's token.
//!
//! `openapi.json` beside this file describes them, and is served.

use std::time::Duration;

use edge::{HttpRequest, json_response};
use mcp::Freshness;
use serde_json::{Value, json};

use crate::{
    api::{Api, Request, full, summary},
    error::ApiError,
};

const OPENAPI: &str = include_str!("openapi.json");

/// Answers a request; an error is an answer too.
pub(crate) async fn answer(api: &Api, event: &Value, time_left: Duration) -> Value {
    match route(api, event, time_left).await {
        Ok((status, body)) => json_response(status, &body),
        Err(error) => {
            let body = json!({"error": error.name(), "message": error.to_string()});
            let mut answer = json_response(error.status(), &body);
            if let Some(seconds) = error.retry_after() {
                answer["headers"]["retry-after"] = seconds.to_string().into();
            }
            answer
        }
    }
}

async fn route(api: &Api, event: &Value, time_left: Duration) -> Result<(u16, Value), ApiError> {
    let request = HttpRequest::read(event)?;
    let (method, segments) = (request.method(), request.segments());
    if segments == ["openapi.json"] && method == "GET" {
        return Ok((200, serde_json::from_str(OPENAPI).unwrap_or_default()));
    }
    let caller = request.caller().ok_or(ApiError::Unauthenticated)?;
    if !caller.may_use_agents() {
        return Err(ApiError::Unauthorized);
    }
    let user = &caller.user;
    match (method, segments.as_slice()) {
        ("GET", ["agents"]) => Ok((200, json!(api.agents(user, freshness(&request)?, time_left).await?))),
        ("POST", ["jobs"]) => {
            let body = request.object()?;
            let (query, agent_ids) = (&body["query"], &body["agentIds"]);
            let idempotency_key = request.header("idempotency-key");
            let job = api.submit(user, Request { query, agent_ids, idempotency_key }).await?;
            Ok((202, summary(&job)))
        }
        ("GET", ["jobs"]) => {
            Ok((200, api.list(user, limit(&request)?, request.parameter("nextToken")).await?))
        }
        ("GET", ["jobs", id]) => Ok((200, full(&api.job(user, id).await?.ok_or_else(no_job)?))),
        ("GET", ["jobs", id, "messages"]) => {
            let messages = api.messages(user, id).await?.ok_or_else(no_job)?;
            Ok((200, json!({"messages": messages})))
        }
        ("DELETE", ["jobs", id]) => match api.delete(user, id).await? {
            true => Ok((204, Value::Null)),
            false => Err(no_job()),
        },
        (_, ["agents" | "jobs"] | ["jobs", _] | ["jobs", _, "messages"]) => {
            Err(ApiError::Method(method.to_owned()))
        }
        _ => Err(ApiError::NotFound("there is no such route; /openapi.json lists them".to_owned())),
    }
}

fn no_job() -> ApiError {
    ApiError::NotFound("there is no such job of yours".to_owned())
}

fn limit(request: &HttpRequest<'_>) -> Result<Option<i64>, ApiError> {
    let limit = request.parameter("limit").map(str::parse).transpose();
    limit.map_err(|_| ApiError::BadRequest("limit is not a number".to_owned()))
}

fn freshness(request: &HttpRequest<'_>) -> Result<Freshness, ApiError> {
    match request.parameter("refresh") {
        None | Some("false") => Ok(Freshness::Cached),
        Some("true") => Ok(Freshness::Forced),
        Some(_) => Err(ApiError::BadRequest("refresh is neither true nor false".to_owned())),
    }
}
