//! The wire of one connection: what crosses it, in both transports.
//!
//! Every request goes through [`egress::HttpClient`], carries the credential, and may carry the cookies that
//! the server set on this connection; bodies and their number of values are bounded; the credential is taken
//! out of every message before it is parsed. Statuses become typed faults ([`fault`]), and messages are made
//! to fit rmcp's types ([`answer`]). Follows no redirect, retries nothing.

pub(crate) mod answer;
mod cookies;
pub(crate) mod fault;
mod lenient_json;
mod refusal;
mod streamable_http;
mod tool_list;
mod tool_result;

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

use crate::message_memory::{GivesBack, HeldMemory, MessageMemory};

use self::{
    answer::Asked,
    cookies::CookieJar,
    fault::{WireError, broken, unusable},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The most JSON values that one message may hold: memory for 14 MB of them.
const MAX_VALUES: usize = 200_000;
/// The most requests of one connection, answers to a server's pings included: more than the pages and calls
/// of any run.
const MAX_REQUESTS: usize = 1_000;
/// How long a notification may take to be accepted: nothing depends on its answer, and the request that comes
/// after it has its own deadline.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(3);
/// How many notes on left-out tools are kept one by one.
const MAX_NOTES: usize = 20;

/// The wire of one connection. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    http: HttpClient,
    credential: Credential,
    scrubber: Scrubber,
    cookies: Arc<CookieJar>,
    /// Requests sent, and bytes of messages received.
    sent: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
    memory: MessageMemory,
    held_memory: Arc<HeldMemory>,
}

/// What is remembered of a connection's answers.
#[derive(Debug, Default)]
struct State {
    /// The first notes on what was taken out of tool lists, and how many there were in all.
    notes: Vec<String>,
    noted: usize,
    /// The requests, by id, for which the server did not know its session. Each is told so once.
    lost_session: HashSet<String>,
    /// The HTTP status of the first notification that the server refused.
    notification_refused: Option<u16>,
    /// The requests that event streams answer, by the id of the stream's last event.
    streams: HashMap<String, Asked>,
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
            held_memory: Arc::default(),
        }
    }

    /// Returns true if requests say who they are from.
    pub(crate) fn signs_in(&self) -> bool {
        self.credential.signs_in()
    }

    /// The HTTP status of the first notification that the server refused (`notifications/initialized`, as a
    /// rule), if it refused one.
    pub(crate) fn notification_refused(&self) -> Option<u16> {
        self.state().notification_refused
    }

    /// What was taken out of tool lists since the last call, one line each.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        let mut state = self.state();
        let (mut notes, noted) = (std::mem::take(&mut state.notes), std::mem::take(&mut state.noted));
        if noted > notes.len() {
            notes.push(format!("{} further tools", noted - notes.len()));
        }
        notes
    }

    /// Notes what is left out of a tool list.
    pub(crate) fn note(&self, note: String) {
        let mut state = self.state();
        state.noted += 1;
        if state.notes.len() < MAX_NOTES {
            state.notes.push(note);
        }
    }

    /// How many bytes of messages have come so far.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until there is memory for a message of so many bytes.
    pub(crate) async fn take_memory(&self, bytes: usize) {
        self.memory.take(bytes, &self.held_memory).await;
    }

    /// What gives the memory of this connection's messages back when it is dropped. Where two requests are under way,
    /// the first to end gives back that of both.
    pub(crate) fn holding_memory(&self) -> GivesBack {
        GivesBack(Arc::clone(&self.held_memory))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request to the endpoint.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Response<Body>, WireError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(unusable("its answers make this client send requests without end"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|_| broken(egress::EgressError::Url))?;
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
        let response = self.http.send(request).await.map_err(broken)?;
        self.cookies.take(&uri, response.headers());
        Ok(response)
    }

    /// The text of a body. Bytes that are no UTF-8 become U+FFFD.
    pub(crate) async fn text(&self, response: Response<Body>) -> Result<String, WireError> {
        let body = response.into_body().collect().await.map_err(broken)?;
        Ok(String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A message as it may be read, with the credential taken out.
    ///
    /// # Errors
    /// What is wrong with it, beginning with “its”: it is no JSON, or has more values than memory is there for.
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
            // What a server has escaped shows itself only now.
            scrub(&mut message, &self.scrubber);
        }
        Ok(message)
    }

    /// Waits until a notification, or an answer to a server's request, is taken. Whatever comes of it, the
    /// connection goes on: a 401 comes again with the next request.
    pub(crate) async fn notified(
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

/// What a body is, by its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Json,
    EventStream,
    /// None is named: it may be JSON all the same.
    Unnamed,
    Other(String),
}

impl BodyKind {
    fn is_json(&self) -> bool {
        matches!(self, Self::Json | Self::Unnamed)
    }
}

pub(crate) fn kind(response: &Response<Body>) -> BodyKind {
    let named = response
        .headers()
        .get(CONTENT_TYPE)
        .map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_lowercase());
    match named.as_deref().map(|named| named.split(';').next().unwrap_or_default().trim()) {
        None | Some("") => BodyKind::Unnamed,
        Some("text/event-stream") => BodyKind::EventStream,
        // `text/plain` is what some frameworks call what they were given as text.
        Some("application/json" | "text/json" | "text/plain" | "application/json-rpc") => BodyKind::Json,
        Some(kind) if kind.ends_with("+json") => BodyKind::Json,
        Some(kind) => BodyKind::Other(kind.to_owned()),
    }
}

/// Takes the credential out of every text in a message.
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
}
