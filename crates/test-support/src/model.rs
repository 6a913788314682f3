//! A model that is none: it follows a script, and says so.
//!
//! Speaks Bedrock's Converse (`POST /model/{id}/converse`) and OpenAI's chat completions
//! (`POST /v1/chat/completions`, which the local AWS forwards Converse to). Which step is next follows
//! from how often it has spoken in the conversation; only faults are counted, by query.
//!
//! A query may hold a script, `script: [step, …]`, one step a turn:
//! `{"call": tool, "with": {…}}`, `{"calls": [{"call": …, "with": …}, …]}` or `{"say": text}`.
//! A step may have
//! - `"fault": {"status": 429, "type": "ThrottlingException", "message": …, "times": 3}` (Converse alone),
//!   which comes that often before the step;
//! - `"wait_ms": 500`, how long it takes;
//! - `"padding": n`, so many characters more in what is said or called with;
//! - `"repeat": n`, how often it is done.
//!
//! In what it says, `{result}` is the last tool result, `{results}` all of the last turn, `{bytes}` how long
//! the last is, `{status}` its status, `{query}` the query, `{system}` the system prompt, `{guardrail}` the
//! guardrail's configuration, `{tools}` the tools' names. Without a script it calls the tool whose name and description share most words with the
//! query, then retells the result. Like Bedrock it refuses tool names that are not `[a-zA-Z0-9_-]{1,64}`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Map, Value, json};

/// The model's two faces.
pub fn router() -> Router {
    Router::new()
        .route("/model/{id}/converse", post(converse))
        .route("/v1/chat/completions", post(chat_completion))
        .layer(DefaultBodyLimit::disable())
        .with_state(Faults::default())
}

/// How often each query has met a fault at each of its steps.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<HashMap<(String, usize), u64>>>);

impl Faults {
    /// Whether a fault is due that comes `times` before this step.
    fn is_due(&self, query: &str, step: usize, times: u64) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.entry((query.to_owned(), step)).or_default();
        *met += 1;
        *met <= times
    }
}

/// A conversation, whichever way it came.
struct Conversation {
    system: String,
    guardrail: String,
    query: String,
    turns: usize,
    tools: Vec<Tool>,
    /// The last tool results, in order: text and status.
    results: Vec<(String, &'static str)>,
}

struct Tool {
    name: String,
    description: String,
    schema: Value,
}

enum Step {
    Call(Vec<(String, Value)>),
    Say(String),
    Fault(u16, String, String),
}

async fn converse(
    State(faults): State<Faults>,
    Path(_): Path<String>,
    Json(request): Json<Value>,
) -> Response {
    let conversation = from_converse(&request);
    if let Some(tool) = conversation.tools.iter().find(|tool| !is_taken(&tool.name)) {
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

fn is_taken(name: &str) -> bool {
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

impl Conversation {
    fn step(&self) -> Option<Value> {
        script(&self.query)?.get(self.turns).cloned()
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.step().and_then(|step| step["wait_ms"].as_u64()).unwrap_or_default())
    }

    fn next(&self, faults: &Faults) -> Step {
        match (script(&self.query), self.step()) {
            (Some(_), Some(step)) => self.scripted(&step, faults),
            (Some(_), None) => Step::Say(self.fill("The script has ended; the last result was {result}")),
            (None, _) if self.results.is_empty() && !self.tools.is_empty() => self.improvised(),
            (None, _) => Step::Say(
                self.fill("The tool answered: {result}. (This is the scripted stand-in for a model.)"),
            ),
        }
    }

    fn scripted(&self, step: &Value, faults: &Faults) -> Step {
        let call = |step: &Value| {
            let name = step["call"].as_str().unwrap_or_default().to_owned();
            let mut input = step.get("with").cloned().unwrap_or_else(|| json!({}));
            if let Some(padding) = step["padding"].as_u64() {
                input["padding"] = "x".repeat(usize::try_from(padding).unwrap_or_default()).into();
            }
            (name, input)
        };
        if let Some(fault) = step.get("fault") {
            let times = fault["times"].as_u64().unwrap_or(u64::MAX);
            if faults.is_due(&self.query, self.turns, times) {
                let status =
                    fault["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
                let kind = fault["type"].as_str().unwrap_or("InternalServerException").to_owned();
                return Step::Fault(
                    status,
                    kind,
                    fault["message"].as_str().unwrap_or("scripted fault").to_owned(),
                );
            }
        }
        if let Some(text) = step["say"].as_str() {
            let padding = usize::try_from(step["padding"].as_u64().unwrap_or_default()).unwrap_or_default();
            Step::Say(self.fill(text) + &"x".repeat(padding))
        } else if let Some(calls) = step["calls"].as_array() {
            Step::Call(calls.iter().map(call).collect())
        } else {
            Step::Call(vec![call(step)])
        }
    }

    /// Calls the tool that fits the query best, with the query's numbers and quoted or capitalised words.
    fn improvised(&self) -> Step {
        let query = self.query.to_lowercase();
        let words: Vec<&str> =
            query.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).collect();
        let fit = |tool: &&Tool| {
            let about = format!("{} {}", tool.name, tool.description).to_lowercase();
            words.iter().filter(|word| about.contains(*word)).count()
        };
        let Some(tool) = self.tools.iter().max_by_key(fit) else { return Step::Say(String::new()) };
        let mut numbers = self
            .query
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter_map(|n| n.parse::<f64>().ok());
        let name = self
            .query
            .split(|c: char| !(c.is_alphabetic() || c == ' '))
            .map(capitalised)
            .max_by_key(String::len);
        let mut input = Map::new();
        for (field, schema) in tool.schema["properties"].as_object().into_iter().flatten() {
            let value = match schema["type"].as_str() {
                Some("number" | "integer") => numbers.next().map_or(Value::Null, Into::into),
                _ => name.clone().unwrap_or_default().into(),
            };
            input.insert(field.clone(), value);
        }
        Step::Call(vec![(tool.name.clone(), Value::Object(input))])
    }

    fn fill(&self, text: &str) -> String {
        let (result, status) =
            self.results.last().map_or(("", "none"), |(text, status)| (text.as_str(), *status));
        let tools: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
        text.replace("{bytes}", &result.len().to_string())
            .replace(
                "{results}",
                &self.results.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" | "),
            )
            .replace("{result}", result)
            .replace("{status}", status)
            .replace("{system}", &self.system)
            .replace("{guardrail}", &self.guardrail)
            .replace("{tools}", &tools.join(","))
            .replace("{query}", &self.query)
    }
}

/// The longest run of capitalised words after the first word of a sentence: a name, mostly.
fn capitalised(text: &str) -> String {
    let is_name = |word: &&str| word.chars().next().is_some_and(char::is_uppercase);
    let names: Vec<&str> = text.split(' ').skip(1).filter(is_name).collect();
    names.join(" ")
}

fn script(query: &str) -> Option<Vec<Value>> {
    let (_, script) = query.split_once("script:")?;
    let steps: Vec<Value> = serde_json::Deserializer::from_str(script).into_iter().next()?.ok()?;
    let times = |step: &Value| step["repeat"].as_u64().and_then(|times| times.try_into().ok()).unwrap_or(1);
    Some(steps.into_iter().flat_map(|step| std::iter::repeat_n(step.clone(), times(&step))).collect())
}

fn from_converse(request: &Value) -> Conversation {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let blocks = |message: &Value| message["content"].as_array().cloned().unwrap_or_default();
    let results = messages.last().map(blocks).unwrap_or_default().into_iter().filter_map(|block| {
        let result = block.get("toolResult")?;
        let pieces = result["content"].as_array()?.iter().map(piece);
        Some((
            pieces.collect::<Vec<_>>().join("\n"),
            if result["status"] == "error" { "error" } else { "success" },
        ))
    });
    let tools =
        request["toolConfig"]["tools"].as_array().cloned().unwrap_or_default().into_iter().map(|tool| Tool {
            name: text(&tool["toolSpec"]["name"]),
            description: text(&tool["toolSpec"]["description"]),
            schema: tool["toolSpec"]["inputSchema"]["json"].clone(),
        });
    Conversation {
        system: text(&request["system"][0]["text"]),
        guardrail: request["guardrailConfig"].to_string(),
        query: messages.first().map(blocks).map(|blocks| text(&blocks[0]["text"])).unwrap_or_default(),
        turns: messages.iter().filter(|message| message["role"] == "assistant").count(),
        tools: tools.collect(),
        results: results.collect(),
    }
}

/// A piece of a tool result: its text, or what kind of image or document it is.
fn piece(piece: &Value) -> String {
    let named = |kind: &str| Some(format!("[{kind} {}]", piece.get(kind)?["format"].as_str()?));
    let media = named("image").or_else(|| named("document"));
    media.unwrap_or_else(|| text(&piece["text"]))
}

fn from_chat(request: &Value) -> Conversation {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let of_role = |role: &'static str| messages.iter().filter(move |message| message["role"] == role);
    let tools = request["tools"].as_array().cloned().unwrap_or_default().into_iter().map(|tool| Tool {
        name: text(&tool["function"]["name"]),
        description: text(&tool["function"]["description"]),
        schema: tool["function"]["parameters"].clone(),
    });
    Conversation {
        guardrail: String::new(),
        system: of_role("system").next().map(content).unwrap_or_default(),
        query: of_role("user").next().map(content).unwrap_or_default(),
        turns: of_role("assistant").count(),
        tools: tools.collect(),
        results: of_role("tool").map(|message| (content(message), "unknown")).collect(),
    }
}

/// A chat message's text: a plain one, or parts.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => parts.iter().map(|part| text(&part["text"])).collect(),
        plain => text(plain),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
