//! rmcp's streamable HTTP transport over the filtered client.
//!
//! rmcp speaks the protocol; this decides what crosses the wire: every request goes through
//! [`egress::HttpClient`], bodies are bounded, a 401 is always told as one, and errors never carry a
//! body. A tool that is malformed is taken out of its page before rmcp sees it, which would refuse
//! the whole page. No stream is opened to listen on: a function that is frozen hears nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use auth::{Challenge, Credential, Scrubber};
use egress::{Body, EgressError, HttpClient};
use futures::{StreamExt, stream::BoxStream};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage, Tool},
    transport::streamable_http_client::{
        AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpClient,
        StreamableHttpError, StreamableHttpPostResponse,
    },
};
use serde::Deserialize;
use serde_json::Value;
use sse_stream::{Error as SseError, Sse, SseStream};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// AgentCore's gateway gives names of up to 256 characters; longer ones fill answers, not needs.
const MAX_NAME: usize = 256;
/// How many JSON values one message may hold: memory for 14 MB of them.
const MAX_VALUES: usize = 200_000;
/// How many requests one connection may come to, answers to a server's pings included: more than the
/// pages and calls of any run.
const MAX_REQUESTS: usize = 1_000;
/// How many malformed tools are told one by one.
const MAX_NOTES: usize = 20;
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// What goes wrong on the wire. The inner error is shared, so that it can be told to several callers.
pub(crate) type WireError = StreamableHttpError<Arc<EgressError>>;

/// The wire of one connection. Clones share what was noted.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    http: HttpClient,
    credential: Credential,
    scrubber: Scrubber,
    left_out: Arc<Mutex<LeftOut>>,
    /// Requests sent, and bytes of messages received.
    sent: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
}

/// What was taken out of tool lists: the first few, and how many in all.
#[derive(Debug, Default)]
struct LeftOut {
    notes: Vec<String>,
    count: usize,
}

impl Wire {
    pub(crate) fn new(http: HttpClient, credential: Credential) -> Self {
        Self {
            http,
            scrubber: credential.scrubber(),
            credential,
            left_out: Arc::default(),
            sent: Arc::default(),
            received: Arc::default(),
        }
    }

    /// What was taken out of tool lists so far, one line each; the notes are given once.
    pub(crate) fn take_left_out(&self) -> Vec<String> {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let LeftOut { mut notes, count } = std::mem::take(&mut *left_out);
        if count > notes.len() {
            notes.push(format!("{} further tools", count - notes.len()));
        }
        notes
    }

    /// How many bytes of messages have come so far.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Response<Body>, WireError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(unexpected("it makes this client send without end"));
        }
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
        for (name, value) in self.credential.headers() {
            fields.insert(name, value);
        }
        if !request.body().is_empty() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        self.http.send(request).await.map_err(|error| WireError::Client(error.into()))
    }

    fn note_left_out(&self, position: usize, defect: &str) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.count += 1;
        if left_out.notes.len() < MAX_NOTES {
            left_out.notes.push(format!("tool {position} of a page {defect}"));
        }
    }

    /// A message as it may be read: our credential taken out, malformed tools taken out. `None` if it is
    /// no JSON, or more of it than memory is there for.
    fn admit(&self, text: String) -> Option<Value> {
        self.received.fetch_add(text.len(), Ordering::Relaxed);
        // Each value costs some 70 bytes once parsed, however short it is on the wire.
        if text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MAX_VALUES {
            return None;
        }
        let is_escaped = text.contains('\\');
        let mut message = serde_json::from_str(&self.scrubber.scrub(text)).ok()?;
        if is_escaped {
            // What a server has escaped shows itself only now.
            scrub(&mut message, &self.scrubber);
        }
        take_malformed_tools(&mut message, |position, defect| self.note_left_out(position, defect));
        Some(message)
    }

    /// Tells what a status means; what a refusal says has our own credential taken out.
    pub(crate) fn check_status(&self, response: &Response<Body>, in_session: bool) -> Result<(), WireError> {
        let challenge = || self.scrubber.scrub(Challenge::header(response.headers()));
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

    /// The JSON-RPC error that came with a status that is no success; `refused` if there is none.
    async fn json_rpc_error(
        &self,
        response: Response<Body>,
        refused: WireError,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        if !header(&response, CONTENT_TYPE).is_some_and(|kind| kind.starts_with(JSON)) {
            return Err(refused);
        }
        let body = response.into_body().collect().await.map_err(|error| WireError::Client(error.into()))?;
        let message = String::from_utf8(body).ok().and_then(|text| self.admit(text));
        match message.map(serde_json::from_value) {
            Some(Ok(message @ ServerJsonRpcMessage::Error(_))) => {
                Ok(StreamableHttpPostResponse::Json(message, None))
            }
            _ => Err(refused),
        }
    }

    /// The events of a response, if it is a stream of them.
    pub(crate) fn event_stream(
        &self,
        response: Response<Body>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, WireError> {
        match header(&response, CONTENT_TYPE) {
            Some(kind) if kind.starts_with(EVENT_STREAM) => Ok(self.events(response.into_body())),
            kind => Err(WireError::UnexpectedContentType(kind)),
        }
    }

    /// The events of a response, each admitted or turned into what no JSON-RPC parser takes.
    fn events(&self, body: Body) -> BoxStream<'static, Result<Sse, SseError>> {
        let wire = self.clone();
        let admit = move |event: Result<Sse, SseError>| {
            event.map(|mut event| {
                // HTTP+SSE names its endpoint in an event whose data is no message.
                let is_message = matches!(event.event.as_deref(), None | Some("message"));
                event.data = event.data.map(|data| match !is_message || data.trim().is_empty() {
                    true => data,
                    false => wire.admit(data).map(|message| message.to_string()).unwrap_or_default(),
                });
                event
            })
        };
        SseStream::from_bytes_stream(body).map(admit).boxed()
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
        if let Err(refused) = self.check_status(&response, session_id.is_some()) {
            // From 2026-07-28 on a JSON-RPC error comes with a status of its own.
            return match refused {
                WireError::HttpStatus(_) if wants_answer => self.json_rpc_error(response, refused).await,
                refused => Err(refused),
            };
        }
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
                let text = String::from_utf8(body).map_err(|_| unexpected("its answer is not JSON"))?;
                let message = self
                    .admit(text)
                    .ok_or_else(|| unexpected("its answer is not JSON, or too much of it"))?;
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
        self.check_status(&response, session_id.is_some())?;
        self.event_stream(response)
    }
}

/// Takes our own credential out of every text in a message.
fn scrub(message: &mut Value, scrubber: &Scrubber) {
    match message {
        Value::String(text) => *text = scrubber.scrub(std::mem::take(text)),
        Value::Array(values) => values.iter_mut().for_each(|value| scrub(value, scrubber)),
        Value::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                scrub(&mut value, scrubber);
                fields.insert(scrubber.scrub(name), value);
            }
        }
        _ => {}
    }
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

pub(crate) fn unexpected(what: &'static str) -> WireError {
    WireError::UnexpectedServerResponse(what.into())
}

/// Takes out of `result.tools` what is no tool, and tells each by its position.
fn take_malformed_tools(message: &mut Value, mut note: impl FnMut(usize, &'static str)) {
    let Some(Value::Array(tools)) = message.pointer_mut("/result/tools") else { return };
    let mut position = 0;
    tools.retain(|tool| {
        position += 1;
        let defect = defect(tool);
        if let Some(defect) = defect {
            note(position, defect);
        }
        defect.is_none()
    });
}

fn defect(tool: &Value) -> Option<&'static str> {
    let name = tool["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        Some("has no name")
    } else if name.chars().count() > MAX_NAME {
        Some("has a name longer than 256 characters")
    } else if !tool["inputSchema"].is_object() {
        Some("has no inputSchema")
    } else if Tool::deserialize(tool).is_err() {
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
        let mut notes = Vec::new();
        take_malformed_tools(&mut message, |position, defect| {
            notes.push(format!("tool {position} {defect}"))
        });
        assert_eq!(message["result"]["tools"], json!([good, good]));
        assert_eq!(
            notes,
            [
                "tool 2 has no inputSchema",
                "tool 3 has no name",
                "tool 4 has a field of the wrong type",
                "tool 5 has no name",
            ]
        );
    }

    #[test]
    fn a_credential_is_found_however_it_is_escaped() {
        let credential = Credential::none().with(&{
            let mut extra = auth::ExtraHeaders::default();
            extra.add("x-key", "canary/secret".into()).unwrap();
            extra
        });
        let mut message = serde_json::from_str(r#"{"canary\/secret": ["\u0063anary\/secret"]}"#).unwrap();
        scrub(&mut message, &credential.scrubber());
        assert_eq!(message, json!({"[credential]": ["[credential]"]}));
    }

    #[test]
    fn other_messages_are_left_as_they_are() {
        let message = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
        let mut mended = message.clone();
        take_malformed_tools(&mut mended, |_, _| panic!("nothing to take out"));
        assert_eq!(mended, message);
    }
}
