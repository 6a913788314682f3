//! The behaviour of a faulty server: its options, and the responses that follow from them.
//!
//! Knows nothing of the requests before. Called by [`super`] and [`super::state`].

use std::collections::HashMap;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The behaviour of one server. The default is a server without faults that has one tool, `echo`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The pages of its `tools/list`: tool objects as they are sent.
    pub pages: Vec<Vec<Value>>,
    /// Sends this cursor with every page, whatever page was requested.
    pub repeat_cursor: Option<String>,
    /// Sends a new cursor with every page, without end.
    pub endless: bool,
    /// Delay before each response, in milliseconds.
    pub delay_ms: u64,
    /// The JSON-RPC method that is never answered, or `DELETE`; `*` for every method.
    pub hang_on: Option<String>,
    /// Answers every request with this HTTP status and an empty body.
    pub status: Option<u16>,
    /// Answers every request with this body.
    pub body: Option<Body>,
    /// Refuses requests without `Authorization`.
    pub require_auth: bool,
    /// Revokes all tokens received so far at the first request with this method.
    pub revoke_at: Option<String>,
    /// Puts the token of the request into the name of a tool, into a description and into the results of tools.
    pub quote_token: bool,
    /// Answers with event streams instead of JSON.
    pub event_stream: bool,
    /// Assigns session ids and requires them.
    pub sessions: bool,
    /// Ends all sessions at the first request with this method. Requests with the id of an ended session get 404.
    pub forget_session_at: Option<String>,
    /// The responses of tools by name: `{"result": …}` or `{"error": …}`. Other tools return their arguments.
    pub calls: HashMap<String, Value>,
}

/// A body that is not a valid MCP answer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A web page.
    Html,
    /// `application/json` with invalid JSON.
    Garbled,
    /// JSON that is not JSON-RPC.
    OtherJson,
    /// An empty body.
    Empty,
    /// Nine megabytes of JSON.
    Huge,
    /// A list of one and a half million `null`s instead of tools, in less than eight megabytes.
    ManyValues,
}

impl Default for Behaviour {
    fn default() -> Self {
        let echo = json!({
            "name": "echo",
            "description": "Gives back what it is given",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        });
        Self {
            pages: vec![vec![echo]],
            repeat_cursor: None,
            endless: false,
            delay_ms: 0,
            hang_on: None,
            status: None,
            body: None,
            require_auth: false,
            revoke_at: None,
            quote_token: false,
            event_stream: false,
            sessions: false,
            forget_session_at: None,
            calls: HashMap::new(),
        }
    }
}

impl Behaviour {
    /// Returns the `result` or `error` for a request.
    pub(super) fn response(&self, method: &str, params: &Value) -> Value {
        match method {
            "initialize" => json!({"result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "faulty", "version": "1"},
            }}),
            "tools/list" => self.page(params["cursor"].as_str()),
            "tools/call" => {
                let name = params["name"].as_str().unwrap_or_default();
                let echo = || json!({"result": {"content": [{"type": "text", "text": params["arguments"].to_string()}]}});
                self.calls.get(name).cloned().unwrap_or_else(echo)
            }
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        }
    }

    fn page(&self, cursor: Option<&str>) -> Value {
        let number: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
        let tools = self.pages.get(number).or(self.pages.last()).cloned().unwrap_or_default();
        let next = match (&self.repeat_cursor, number + 1) {
            (Some(same), _) => Some(same.clone()),
            (None, next) if self.endless || next < self.pages.len() => Some(next.to_string()),
            _ => None,
        };
        let mut result = json!({"tools": tools});
        if let Some(next) = next {
            result["nextCursor"] = next.into();
        }
        json!({"result": result})
    }
}

/// Puts the token into a list of tools and into the result of a tool.
pub(super) fn quote_token(message: &mut Value, token: &str) {
    if let Some(tools) = message["result"]["tools"].as_array_mut() {
        tools.push(json!({"name": token, "inputSchema": {}}));
        tools.push(json!({"name": "quoting", "description": token, "inputSchema": {}}));
    }
    if let Some(content) = message["result"]["content"].as_array_mut() {
        content.push(json!({"type": "text", "text": format!("you sent {token}")}));
    }
}

/// Returns the HTTP response with such a body.
pub(super) fn invalid_response(body: Body) -> Response {
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    match body {
        Body::Html => ([(header::CONTENT_TYPE, "text/html")], "<html>Welcome!</html>").into_response(),
        Body::Garbled => json("{\"jsonrpc\": \"2.0\", ".to_owned()),
        Body::OtherJson => json("{\"hello\": \"world\"}".to_owned()),
        Body::Empty => StatusCode::OK.into_response(),
        Body::ManyValues => json(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[null{}]}}}}"#,
            ",null".repeat(1_500_000)
        )),
        Body::Huge => json(format!("[\"{}\"]", "x".repeat(9 * 1024 * 1024))),
    }
}
