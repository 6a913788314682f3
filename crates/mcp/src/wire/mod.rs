//! The wire of one MCP client: sends the requests and reads the messages of both transports.
//!
//! Every request goes through [`egress::HttpClient`] and carries the credential and the cookies that the server has set
//! before. The size of bodies and their number of values are limited. The credential is removed from every
//! message before it is parsed. HTTP statuses become typed errors ([`fault`]), and messages are adapted to rmcp's types
//! ([`answer`]). Follows no redirect, retries nothing. Created by [`crate::connector`], once per client.

pub(crate) mod answer;
mod call_tool_result;
mod cookies;
pub(crate) mod fault;
mod lenient_json;
mod list_tools_result;
mod refusal;
mod streamable_http;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth::{Credential, Scrubber};
use egress::{Body, HttpClient};
use http::{
    HeaderName, HeaderValue, Method, Request, Response,
    header::{ACCEPT, CONTENT_TYPE, COOKIE},
};
use serde_json::Value;

use crate::message_memory::{MemoryReservations, MessageMemory, ReleaseOnDrop};

use self::{
    answer::SentRequest,
    cookies::CookieJar,
    fault::{WireError, not_exchanged, unusable},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Maximum number of JSON values in one message. Parsed, so many use 14 MB of memory.
const MAX_VALUES: usize = 200_000;
/// Maximum number of HTTP requests of one client, replies to the server's pings included. More than the pages and
/// calls of any run.
const MAX_REQUESTS: usize = 1_000;
/// Time limit for sending a notification. Nothing depends on its response, and the next request has its own deadline.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(3);
/// Number of notes on left-out tools that are stored in full. Further ones are counted.
const MAX_NOTES: usize = 20;

/// The wire of one MCP client. Clones share all state.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    http: HttpClient,
    credential: Credential,
    scrubber: Scrubber,
    cookies: Arc<CookieJar>,
    /// Number of HTTP requests sent.
    sent: Arc<AtomicUsize>,
    /// Number of bytes of messages received.
    received: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
    memory: MessageMemory,
    reservations: Arc<MemoryReservations>,
}

/// The part of the state that depends on the server's answers.
#[derive(Debug, Default)]
struct State {
    /// The first [`MAX_NOTES`] notes on what was left out of tool lists.
    notes: Vec<String>,
    /// Number of all notes.
    noted: usize,
    /// Ids of the requests for which rmcp was told that the session is lost. It is told once per request.
    lost_session: HashSet<String>,
    /// HTTP status of the first notification that the server refused.
    notification_refused: Option<u16>,
    /// The requests that event streams answer, by the id of the stream's latest event.
    streams: HashMap<String, SentRequest>,
}

impl Wire {
    pub(crate) fn new(http: HttpClient, credential: Credential, memory: MessageMemory) -> Self {
        Self {
            http,
            scrubber: credential.scrubber(),
            credential,
            cookies: Arc::default(),
            sent: Arc::default(),
            received: Arc::default(),
            state: Arc::default(),
            memory,
            reservations: Arc::default(),
        }
    }

    /// Returns true if requests carry a credential.
    pub(crate) fn signs_in(&self) -> bool {
        self.credential.signs_in()
    }

    /// Returns the HTTP status of the first notification that the server refused, usually `notifications/initialized`.
    pub(crate) fn notification_refused(&self) -> Option<u16> {
        self.state().notification_refused
    }

    /// Returns and clears the notes on what was left out of tool lists, one line each.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        let mut state = self.state();
        let (mut notes, noted) = (std::mem::take(&mut state.notes), std::mem::take(&mut state.noted));
        if noted > notes.len() {
            notes.push(format!("{} further tools", noted - notes.len()));
        }
        notes
    }

    /// Adds a note on what is left out of a tool list.
    pub(crate) fn note(&self, note: String) {
        let mut state = self.state();
        state.noted += 1;
        if state.notes.len() < MAX_NOTES {
            state.notes.push(note);
        }
    }

    /// Returns the number of bytes of messages received so far.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until a message of this size may be parsed.
    pub(crate) async fn reserve_memory(&self, bytes: usize) {
        self.memory.reserve(bytes, &self.reservations).await;
    }

    /// Returns a guard that releases the memory reservations of this client when dropped. Where two requests are under
    /// way, the first to end releases the reservations of both.
    pub(crate) fn release_memory_on_drop(&self) -> ReleaseOnDrop {
        ReleaseOnDrop(Arc::clone(&self.reservations))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one HTTP request to the endpoint.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Response<Body>, WireError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(unusable("its answers made this client send more than 1,000 requests"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|_| not_exchanged(egress::EgressError::Url))?;
        let fields = request.headers_mut();
        fields.extend(headers);
        fields.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            let session = HeaderValue::from_str(session)
                .map_err(|_| unusable("its session id cannot stand in a header"))?;
            fields.insert(SESSION_ID, session);
        }
        fields.extend(self.credential.headers());
        let own = fields.get(COOKIE).and_then(|own| own.to_str().ok()).map(str::to_owned);
        if let Some(mut cookies) =
            self.cookies.header(own.as_deref()).and_then(|all| all.parse::<HeaderValue>().ok())
        {
            cookies.set_sensitive(true);
            fields.insert(COOKIE, cookies);
        }
        if !request.body().is_empty() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let uri = request.uri().clone();
        let response = self.http.send(request).await.map_err(not_exchanged)?;
        self.cookies.store(&uri, response.headers());
        Ok(response)
    }

    /// Reads a body as text. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) async fn text(&self, response: Response<Body>) -> Result<String, WireError> {
        let body = response.into_body().collect().await.map_err(not_exchanged)?;
        Ok(String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Parses a message, with the credential removed.
    ///
    /// # Errors
    /// What is wrong with the message, beginning with “its”: it is empty, no JSON, or has more than [`MAX_VALUES`]
    /// values.
    pub(crate) fn message(&self, text: String) -> Result<Value, &'static str> {
        self.received.fetch_add(text.len(), Ordering::Relaxed);
        if text.trim().is_empty() {
            return Err("its answer is empty");
        }
        // Each value costs some 70 bytes once parsed, however short it is on the wire.
        if text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MAX_VALUES {
            return Err("its answer holds more than 200,000 values");
        }
        let is_escaped = text.contains('\\');
        let parsed = lenient_json::parse(&self.scrubber.scrub(text));
        let mut message = parsed.map_err(|_| "its answer is not JSON")?;
        if is_escaped {
            // A credential that the server has written with escapes can be found only after parsing.
            scrub(&mut message, &self.scrubber);
        }
        Ok(message)
    }

    /// Waits until a notification, or a reply to a request of the server, is sent. A failure is remembered or logged,
    /// and the session goes on: the next request gets the same 401.
    pub(crate) async fn finish_notification(
        &self,
        sent: impl Future<Output = Result<Response<Body>, WireError>>,
    ) -> Result<(), WireError> {
        match tokio::time::timeout(NOTIFICATION_TIMEOUT, sent).await {
            Ok(Ok(response)) if !response.status().is_success() => {
                self.state().notification_refused.get_or_insert(response.status().as_u16());
            }
            Ok(Err(error)) => tracing::debug!(%error, "a notification was not delivered"),
            Ok(Ok(_)) | Err(_) => {}
        }
        Ok(())
    }
}

/// The kind of a body, by its `Content-Type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Json,
    EventStream,
    /// No `Content-Type`. The body may be JSON.
    Unnamed,
    Other(String),
}

impl BodyKind {
    fn is_json(&self) -> bool {
        matches!(self, Self::Json | Self::Unnamed)
    }
}

/// Returns the kind of a response's body.
pub(crate) fn kind(response: &Response<Body>) -> BodyKind {
    let named = response
        .headers()
        .get(CONTENT_TYPE)
        .map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_lowercase());
    match named.as_deref().map(|named| named.split(';').next().unwrap_or_default().trim()) {
        None | Some("") => BodyKind::Unnamed,
        Some("text/event-stream") => BodyKind::EventStream,
        // Some frameworks send JSON that was passed to them as a string with `text/plain`.
        Some("application/json" | "text/json" | "text/plain" | "application/json-rpc") => BodyKind::Json,
        Some(kind) if kind.ends_with("+json") => BodyKind::Json,
        Some(kind) => BodyKind::Other(kind.to_owned()),
    }
}

/// Removes the credential from every string and member name in a message.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_credential_is_removed_however_it_is_escaped() {
        let credential = Credential::none().with(&{
            let mut extra = auth::ExtraHeaders::default();
            extra.add("x-key", "canary/secret".into()).unwrap();
            extra
        });
        let mut message = serde_json::from_str(r#"{"canary\/secret": ["\u0063anary\/secret"]}"#).unwrap();
        scrub(&mut message, &credential.scrubber());
        assert_eq!(message, json!({"[credential]": ["[credential]"]}));
    }
}
