//! The HTTP routes behind API Gateway, whose authorizer has verified the caller's token.
//!
//! `openapi.json` beside this file describes them, and is served.
//!
//! Event and answer are API Gateway's payload format 2.0:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use mcp::Freshness;
use percent_encoding::percent_decode_str;
use runtime::Caller;
use serde_json::{Value, json};

use crate::{
    api::{Api, Request, full, summary},
    error::ApiError,
};

const OPENAPI: &str = include_str!("openapi.json");

/// Answers a request; an error is an answer too.
pub(crate) async fn answer(api: &Api, event: &Value, time_left: Duration) -> Value {
    match route(api, event, time_left).await {
        Ok((status, Value::Null)) => json!({"statusCode": status}),
        Ok((status, body)) => response(status, &body.to_string()),
        Err(error) => {
            let body = json!({"error": error.name(), "message": error.to_string()});
            response(error.status(), &body.to_string())
        }
    }
}

fn response(status: u16, body: &str) -> Value {
    json!({
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": body,
    })
}

async fn route(api: &Api, event: &Value, time_left: Duration) -> Result<(u16, Value), ApiError> {
    let method = event["requestContext"]["http"]["method"].as_str().unwrap_or_default();
    let path = path(event)?;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments == ["openapi.json"] && method == "GET" {
        return Ok((200, serde_json::from_str(OPENAPI).unwrap_or_default()));
    }
    let claims = &event["requestContext"]["authorizer"]["jwt"]["claims"];
    let caller = Caller::of_claims(claims).ok_or(ApiError::Unauthenticated)?;
    if !caller.may_use_agents() {
        return Err(ApiError::Unauthorized);
    }
    let user = caller.user_id.as_str();
    match (method, segments.as_slice()) {
        ("GET", ["agents"]) => Ok((200, json!(api.agents(freshness(event)?, time_left).await?))),
        ("POST", ["jobs"]) => {
            let body = body(event)?;
            let (query, agent_ids) = (&body["query"], &body["agentIds"]);
            let idempotency_key = header(event, "idempotency-key");
            let job = api.submit(user, Request { query, agent_ids, idempotency_key }).await?;
            Ok((202, summary(&job)))
        }
        ("GET", ["jobs"]) => Ok((200, api.list(user, limit(event)?, parameter(event, "nextToken")).await?)),
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

/// The path without the stage's name, percent-decoded.
fn path(event: &Value) -> Result<String, ApiError> {
    let raw = event["rawPath"].as_str().unwrap_or_default();
    let stage = event["requestContext"]["stage"].as_str().unwrap_or_default();
    let raw = raw.strip_prefix(&format!("/{stage}/")).unwrap_or(raw);
    let decoded = percent_decode_str(raw).decode_utf8();
    decoded.map(Into::into).map_err(|_| ApiError::BadRequest("the path is not UTF-8".to_owned()))
}

fn parameter<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event["queryStringParameters"][name].as_str()
}

fn limit(event: &Value) -> Result<Option<i64>, ApiError> {
    let limit = parameter(event, "limit").map(str::parse).transpose();
    limit.map_err(|_| ApiError::BadRequest("limit is not a number".to_owned()))
}

fn freshness(event: &Value) -> Result<Freshness, ApiError> {
    match parameter(event, "refresh") {
        None | Some("false") => Ok(Freshness::Cached),
        Some("true") => Ok(Freshness::Forced),
        Some(_) => Err(ApiError::BadRequest("refresh is neither true nor false".to_owned())),
    }
}

/// API Gateway gives header names in lower case.
fn header<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event["headers"][name].as_str()
}

fn body(event: &Value) -> Result<Value, ApiError> {
    let bad = |_| ApiError::BadRequest("the body is not JSON".to_owned());
    let text = event["body"].as_str().unwrap_or_default();
    let body: Value = if event["isBase64Encoded"] == true {
        let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(bad)?
    } else {
        serde_json::from_str(text).map_err(bad)?
    };
    if body.is_object() {
        Ok(body)
    } else {
        Err(ApiError::BadRequest("the body is not a JSON object".to_owned()))
    }
}
