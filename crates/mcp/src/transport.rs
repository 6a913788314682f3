//! rmcp's streamable HTTP transport over the filtered client.
//!
//! rmcp speaks the protocol; this decides what crosses the wire: every request goes through
//! [`egress::HttpClient`], bodies are bounded, a 401 is always told as one, and errors never carry a
//! body. A tool that is malformed is taken out of its page before rmcp sees it, which would refuse
//! the whole page. No stream is opened to listen on: a function that is frozen hears nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use auth::Credential;
use egress::{Body, EgressError, HttpClient};
use futures::{StreamExt, stream::BoxStream};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use rmcp::{
    model::{ClientJsonRpcMessage, Tool},
    transport::streamable_http_client::{
        AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpClient,
        StreamableHttpError, StreamableHttpPostResponse,
    },
};
use serde_json::Value;
use sse_stream::{Error as SseError, Sse, SseStream};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// What goes wrong on the wire. The inner error is shared, so that it can be told to several callers.
pub(crate) type WireError = StreamableHttpError<Arc<EgressError>>;

/// The wire of one connection. Clones share what was noted.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    http: HttpClient,
    credential: Credential,
    left_out: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    pub(crate) fn new(http: HttpClient, credential: Credential) -> Self {
        Self { http, credential, left_out: Arc::default() }
    }

    /// What was taken out of tool lists so far, one line each; the notes are given once.
    pub(crate) fn take_left_out(&self) -> Vec<String> {
        std::mem::take(&mut self.left_out.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Response<Body>, WireError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|_| WireError::Client(EgressError::Url.into()))?;
        let fields = request.headers_mut();
        fields.extend(headers);
        fields.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            let session = HeaderValue::from_str(session)
                .map_err(|_| unexpected("its session id cannot stand in a header"))?;
            fields.insert(SESSION_ID, session);
        }
        if let Some(authorization) = self.credential.authorization() {
            fields.insert(AUTHORIZATION, authorization);
        }
        if !request.body().is_empty() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        self.http.send(request).await.map_err(|error| WireError::Client(error.into()))
    }

    fn note_left_out(&self, notes: Vec<String>) {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
    }

    /// The events of a response, malformed tools taken out.
    fn events(&self, body: Body) -> BoxStream<'static, Result<Sse, SseError>> {
        let wire = self.clone();
        let mend = move |event: Result<Sse, SseError>| {
            event.map(|mut event| {
                event.data = event.data.map(|data| wire.mend_text(data));
                event
            })
        };
        SseStream::from_bytes_stream(body).map(mend).boxed()
    }

    fn mend_text(&self, text: String) -> String {
        if !text.contains("\"tools\"") {
            return text;
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(mut message) => {
                let notes = take_malformed_tools(&mut message);
                if notes.is_empty() {
                    return text;
                }
                self.note_left_out(notes);
                message.to_string()
            }
            Err(_) => text,
        }
    }
}

impl StreamableHttpClient for Wire {
    type Error = Arc<EgressError>;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        let wants_answer = matches!(message, ClientJsonRpcMessage::Request(_));
        let body = serde_json::to_vec(&message)?;
        let response = self.send(Method::POST, &uri, session_id.as_deref(), custom_headers, body).await?;
        check_status(&response, session_id.is_some())?;
        if !wants_answer || matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let session = header(&response, SESSION_ID);
        match header(&response, CONTENT_TYPE) {
            Some(kind) if kind.starts_with(EVENT_STREAM) => {
                Ok(StreamableHttpPostResponse::Sse(self.events(response.into_body()), session))
            }
            Some(kind) if kind.starts_with(JSON) => {
                let body =
                    response.into_body().collect().await.map_err(|error| WireError::Client(error.into()))?;
                let mut message: Value =
                    serde_json::from_slice(&body).map_err(|_| unexpected("its answer is not JSON"))?;
                self.note_left_out(take_malformed_tools(&mut message));
                let message = serde_json::from_value(message)
                    .map_err(|_| unexpected("its answer is JSON but not JSON-RPC"))?;
                Ok(StreamableHttpPostResponse::Json(message, session))
            }
            kind => Err(WireError::UnexpectedContentType(kind)),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), WireError> {
        self.send(Method::DELETE, &uri, Some(&session_id), custom_headers, Vec::new()).await.map(drop)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        mut custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, WireError> {
        // Without an event to resume from it would be a stream to listen on.
        let last_event_id = last_event_id.ok_or(WireError::ServerDoesNotSupportSse)?;
        let last_event_id = HeaderValue::from_str(&last_event_id)
            .map_err(|_| unexpected("its event id cannot stand in a header"))?;
        custom_headers.insert(LAST_EVENT_ID, last_event_id);
        let response =
            self.send(Method::GET, &uri, session_id.as_deref(), custom_headers, Vec::new()).await?;
        check_status(&response, session_id.is_some())?;
        match header(&response, CONTENT_TYPE) {
            Some(kind) if kind.starts_with(EVENT_STREAM) => Ok(self.events(response.into_body())),
            kind => Err(WireError::UnexpectedContentType(kind)),
        }
    }
}

fn check_status(response: &Response<Body>, in_session: bool) -> Result<(), WireError> {
    let challenge = || header(response, WWW_AUTHENTICATE).unwrap_or_default();
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(WireError::AuthRequired(AuthRequiredError::new(challenge()))),
        StatusCode::FORBIDDEN => {
            Err(WireError::InsufficientScope(InsufficientScopeError::new(challenge(), None)))
        }
        StatusCode::NOT_FOUND if in_session => Err(WireError::SessionExpired),
        status => Err(WireError::HttpStatus(HttpStatusError::new(status.as_u16(), None))),
    }
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn unexpected(what: &'static str) -> WireError {
    WireError::UnexpectedServerResponse(what.into())
}

/// Takes out of `result.tools` what is no tool, and says what it was by its position.
fn take_malformed_tools(message: &mut Value) -> Vec<String> {
    let Some(Value::Array(tools)) = message.pointer_mut("/result/tools") else { return Vec::new() };
    let mut notes = Vec::new();
    let mut position = 0;
    tools.retain(|tool| {
        position += 1;
        let lacking = defect(tool);
        notes.extend(lacking.map(|defect| format!("tool {position} of a page {defect}")));
        lacking.is_none()
    });
    notes
}

fn defect(tool: &Value) -> Option<&'static str> {
    if tool["name"].as_str().is_none_or(str::is_empty) {
        Some("has no name")
    } else if !tool["inputSchema"].is_object() {
        Some("has no inputSchema")
    } else if serde_json::from_value::<Tool>(tool.clone()).is_err() {
        Some("has a field of the wrong type")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_malformed_tool_goes_and_its_neighbours_stay() {
        let good = json!({"name": "good", "inputSchema": {"type": "object"}});
        let mut message = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [
            good,
            {"name": "no-schema"},
            {"inputSchema": {}},
            {"name": "bad-title", "title": 7, "inputSchema": {}},
            null,
            good,
        ]}});
        let notes = take_malformed_tools(&mut message);
        assert_eq!(message["result"]["tools"], json!([good, good]));
        assert_eq!(
            notes,
            [
                "tool 2 of a page has no inputSchema",
                "tool 3 of a page has no name",
                "tool 4 of a page has a field of the wrong type",
                "tool 5 of a page has no name",
            ]
        );
    }

    #[test]
    fn other_messages_are_left_as_they_are() {
        let message = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
        let mut mended = message.clone();
        assert!(take_malformed_tools(&mut mended).is_empty());
        assert_eq!(mended, message);
    }
}
