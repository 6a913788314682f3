//! A stand-in for a model, which follows a script.
//!
//! Implements Bedrock's Converse (`POST /model/{id}/converse`) and OpenAI's chat completions
//! (`POST /v1/chat/completions`, to which the local AWS forwards Converse). The number of the model's turns in the
//! conversation decides which step is next. The only state are the counts of faults, by query.
//!
//! A query may contain a script, `script: [step, …]`, with one step per turn:
//! `{"call": tool, "with": {…}}`, `{"calls": [{"call": …, "with": …}, …]}` or `{"say": text}`.
//! A step may have
//! - `"fault": {"status": 429, "type": "ThrottlingException", "message": …, "times": 3}` (Converse alone),
//!   returned that many times before the step;
//! - `"wait_ms": 500`, a delay in milliseconds;
//! - `"padding": n`, a number of characters added to the text or the arguments;
//! - `"repeat": n`, the number of turns that repeat the step.
//!
//! In a text, `{result}` is replaced by the last tool result, `{results}` by all results of the last turn, `{bytes}` by
//! the length of the last result, `{status}` by its status, `{query}` by the query, `{system}` by the system prompt,
//! `{guardrail}` by the guardrail's configuration, and `{tools}` by the names of the tools. Without a script the model
//! calls the tool whose name and description share most words with the query, then repeats the result. Like Bedrock it
//! refuses tool names that are not `[a-zA-Z0-9_-]{1,64}`.

mod conversation;
mod requests;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use self::{
    conversation::{Faults, Step},
    requests::{from_chat, from_converse},
};

/// Returns the routes of both APIs.
pub fn router() -> Router {
    Router::new()
        .route("/model/{id}/converse", post(converse))
        .route("/v1/chat/completions", post(chat_completion))
        .layer(DefaultBodyLimit::disable())
        .with_state(Faults::default())
}

async fn converse(
    State(faults): State<Faults>,
    Path(_): Path<String>,
    Json(request): Json<Value>,
) -> Response {
    let conversation = from_converse(&request);
    if let Some(tool) = conversation.tools.iter().find(|tool| !is_accepted_name(&tool.name)) {
        return fault(
            400,
            "ValidationException",
            &format!("tool name {} is not [a-zA-Z0-9_-]{{1,64}}", tool.name),
        );
    }
    tokio::time::sleep(conversation.wait()).await;
    let content = match conversation.next(&faults) {
        Step::Say(text) => vec![json!({"text": text})],
        Step::Call(calls) => {
            let block = |(n, (name, input)): (usize, (String, Value))| {
                let id = format!("tooluse_{}_{n}", conversation.turns);
                json!({"toolUse": {"toolUseId": id, "name": name, "input": input}})
            };
            calls.into_iter().enumerate().map(block).collect()
        }
        Step::Fault(status, kind, message) => return fault(status, &kind, &message),
    };
    let stop_reason = if content[0].get("toolUse").is_some() { "tool_use" } else { "end_turn" };
    Json(json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason,
        "usage": {"inputTokens": 100, "outputTokens": 10, "totalTokens": 110},
        "metrics": {"latencyMs": 1},
    }))
    .into_response()
}

fn fault(status: u16, kind: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("x-amzn-errortype", kind.to_owned())], Json(json!({"message": message}))).into_response()
}

fn is_accepted_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

async fn chat_completion(State(faults): State<Faults>, Json(request): Json<Value>) -> Response {
    let conversation = from_chat(&request);
    tokio::time::sleep(conversation.wait()).await;
    let message = match conversation.next(&faults) {
        Step::Say(text) => json!({"role": "assistant", "content": text}),
        Step::Call(calls) => {
            let call = |(n, (name, input)): (usize, (String, Value))| {
                let id = format!("call_{}_{n}", conversation.turns);
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}})
            };
            let calls: Vec<_> = calls.into_iter().enumerate().map(call).collect();
            json!({"role": "assistant", "content": null, "tool_calls": calls})
        }
        Step::Fault(status, ..) => {
            return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
    };
    let finish_reason = if message.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    Json(json!({
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted-stand-in",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }))
    .into_response()
}
