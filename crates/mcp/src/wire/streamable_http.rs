//! The HTTP client that rmcp's streamable HTTP transport sends with.
//!
//! rmcp implements the protocol; this module sends its messages and decides which answers it gets. A request gets
//! exactly one answer: the server's, or an error that says why there is none. A notification has no answer, so a
//! refused one is remembered and the session goes on. Opens no stream for messages of the server (a GET without an
//! event to resume from), because a frozen function cannot receive them. Called by rmcp.

use std::{collections::HashMap, sync::Arc};

use egress::{Body, EgressError};
use futures::{StreamExt, stream, stream::BoxStream};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::streamable_http_client::{StreamableHttpClient, StreamableHttpPostResponse},
};
use serde_json::Value;
use sse_stream::{Error as SseError, Sse, SseStream};

use super::{
    BodyKind, SESSION_ID, Wire,
    answer::{self, SentRequest},
    fault::{NoAnswer, WireError, WireFault, unusable},
    kind,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

type Events = BoxStream<'static, Result<Sse, SseError>>;

impl StreamableHttpClient for Wire {
    type Error = WireFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        let request = SentRequest::of(&message);
        let body = serde_json::to_vec(&message)?;
        let sent = self.send(Method::POST, &uri, session_id.as_deref(), headers, body);
        let Some(request) = request else {
            return self.finish_notification(sent).await.map(|()| StreamableHttpPostResponse::Accepted);
        };
        let response = sent.await?;
        if !response.status().is_success() {
            return self.answer_to_refusal(&uri, response, &request, session_id.is_some()).await;
        }
        if matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Err(unusable("its answer is a bare acceptance, without a result"));
        }
        let session = header(&response, SESSION_ID);
        match kind(&response) {
            BodyKind::EventStream => {
                let events = self.answer_events(response.into_body(), request);
                Ok(StreamableHttpPostResponse::Sse(events, session))
            }
            BodyKind::Json | BodyKind::Unnamed => {
                let text = self.text(response).await?;
                self.reserve_memory(text.len()).await;
                let message = self.message(text).map_err(unusable)?;
                self.check_session(&request, session_id.is_some(), &message)?;
                let answer = request.answer(message, StatusCode::OK, |note| self.note(note));
                let answer = answer.ok_or_else(|| unusable("its answer is JSON but not JSON-RPC"))?;
                Ok(StreamableHttpPostResponse::Json(answer, session))
            }
            BodyKind::Other(_) => Err(unusable("its answer is neither JSON nor an event stream")),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), WireError> {
        self.send(Method::DELETE, &uri, Some(&session_id), headers, Vec::new()).await.map(drop)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        mut headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, WireError> {
        // Without an event to resume from this would be a stream for messages of the server, which is not opened.
        let last_event_id = last_event_id.ok_or(WireError::ServerDoesNotSupportSse)?;
        let last_event = HeaderValue::from_str(&last_event_id)
            .map_err(|_| unusable("its event id cannot stand in a header"))?;
        headers.insert(LAST_EVENT_ID, last_event);
        let response = self.send(Method::GET, &uri, session_id.as_deref(), headers, Vec::new()).await?;
        if !response.status().is_success() {
            return Err(self.status_error(&uri, &self.read_refusal(response).await));
        }
        match (kind(&response), self.request_of_stream(&last_event_id)) {
            (BodyKind::EventStream, Some(request)) => Ok(self.answer_events(response.into_body(), request)),
            (BodyKind::EventStream, None) => Err(WireError::ServerDoesNotSupportSse),
            _ => Err(unusable("its event stream cannot be resumed")),
        }
    }
}

impl Wire {
    /// Returns the answer or the error for a request whose response has a status outside 2xx.
    async fn answer_to_refusal(
        &self,
        uri: &str,
        response: Response<Body>,
        request: &SentRequest,
        in_session: bool,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        let refusal = self.read_refusal(response).await;
        if refusal.says_invalid_token() || refusal.status == StatusCode::FORBIDDEN {
            return Err(self.status_error(uri, &refusal));
        }
        if in_session && request.says_session_is_lost(refusal.status, refusal.message.as_ref()) {
            self.session_lost(request)?;
        }
        let status = refusal.status;
        let error = self.status_error(uri, &refusal);
        match refusal.message.filter(answer::is_error) {
            // Any JSON-RPC error may come with a status outside 2xx; from revision 2026-07-28 on, all do.
            Some(message) => match request.answer(message, status, |_| {}) {
                Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, None)),
                None => Err(error),
            },
            None => Err(error),
        }
    }

    /// Returns the error that makes rmcp open a new session and send the request once more, if `message` says that the
    /// server does not know the session.
    fn check_session(
        &self,
        request: &SentRequest,
        in_session: bool,
        message: &Value,
    ) -> Result<(), WireError> {
        let is_lost = in_session
            && answer::is_error(message)
            && request.says_session_is_lost(StatusCode::OK, Some(message));
        if is_lost { self.session_lost(request) } else { Ok(()) }
    }

    /// Returns the error that makes rmcp open a new session; `Ok` from the second time on for the same request.
    fn session_lost(&self, request: &SentRequest) -> Result<(), WireError> {
        let is_first = self.state().lost_session.insert(request.id());
        if is_first { Err(WireError::SessionExpired) } else { Ok(()) }
    }

    /// Returns the events of the answer to one request. Passes on only messages that rmcp can parse. If the stream ends
    /// before the answer and cannot be resumed, the last event is an error that says so.
    fn answer_events(&self, body: Body, request: SentRequest) -> Events {
        let events = AnswerStream {
            wire: self.clone(),
            request,
            events: SseStream::from_bytes_stream(body).boxed(),
            last_event_id: None,
            is_answered: false,
            is_over: false,
        };
        stream::unfold(events, AnswerStream::next).boxed()
    }

    /// Remembers the request that an event stream answers under the id of the stream's latest event, in place of
    /// `earlier`, the event before.
    fn remember_stream(&self, earlier: Option<&str>, event_id: &str, request: &SentRequest) {
        let mut state = self.state();
        if let Some(earlier) = earlier {
            state.streams.remove(earlier);
        }
        state.streams.insert(event_id.to_owned(), request.clone());
    }

    /// Returns the request that the event stream with this last event answers.
    fn request_of_stream(&self, last_event_id: &str) -> Option<SentRequest> {
        self.state().streams.get(last_event_id).cloned()
    }
}

/// The event stream that answers one request.
struct AnswerStream {
    wire: Wire,
    request: SentRequest,
    events: Events,
    last_event_id: Option<String>,
    is_answered: bool,
    is_over: bool,
}

impl AnswerStream {
    /// Returns the next event, and the rest of the stream.
    async fn next(mut self) -> Option<(Result<Sse, SseError>, Self)> {
        if self.is_over {
            return None;
        }
        let event = match self.events.next().await {
            Some(Ok(event)) => {
                self.wire.reserve_memory(event.data.as_ref().map_or(0, String::len)).await;
                self.adapt(event)
            }
            end => {
                self.is_over = true;
                // With an event to resume from, rmcp requests the rest of the stream.
                match end.and_then(Result::err) {
                    error if self.is_answered || self.last_event_id.is_some() => {
                        return Some((Err(error?), self));
                    }
                    error => self.end_without_answer(error.as_ref()),
                }
            }
        };
        Some((Ok(event), self))
    }

    /// Returns the event with a message that rmcp can parse, or without a message.
    fn adapt(&mut self, mut event: Sse) -> Sse {
        if let Some(id) = &event.id {
            self.wire.remember_stream(self.last_event_id.as_deref(), id, &self.request);
            self.last_event_id = Some(id.clone());
        }
        let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
        let data = event.data.take().filter(|data| is_message && !data.trim().is_empty());
        // An event without data still carries its id and the reconnection time.
        event.event = None;
        event.data =
            data.and_then(|data| self.message(data)).and_then(|message| serde_json::to_string(&message).ok());
        event
    }

    fn message(&mut self, data: String) -> Option<ServerJsonRpcMessage> {
        // Some servers keep a stream alive with events whose data is a word and no JSON.
        let is_meant_as_json = data.trim_start().starts_with(['{', '[', '\u{feff}']);
        let message = match self.wire.message(data) {
            Ok(message) => message,
            Err(_) if !is_meant_as_json => return None,
            // The unreadable message may have been the answer: report it at once, and do not wait for another.
            Err(reason) => {
                self.is_answered = true;
                return Some(self.request.error_without_answer(NoAnswer::Unusable(reason.to_owned())));
            }
        };
        let wire = &self.wire;
        if answer::is_response(&message) {
            self.is_answered = true;
            return self.request.answer(message, StatusCode::OK, |note| wire.note(note));
        }
        // A notification or request that rmcp does not know is ignored: this client needs none.
        serde_json::from_value(message).ok()
    }

    /// Returns an event with an error in place of the answer that did not arrive.
    fn end_without_answer(&mut self, error: Option<&SseError>) -> Sse {
        self.is_answered = true;
        let reason = match error {
            Some(SseError::Body(error)) => match error.downcast_ref() {
                Some(EgressError::TooLarge { limit, .. }) => {
                    NoAnswer::Unusable(format!("its event stream is larger than {limit} bytes"))
                }
                _ => NoAnswer::Ended,
            },
            Some(_) => NoAnswer::Unusable("its event stream is malformed".to_owned()),
            None => NoAnswer::Ended,
        };
        let message = self.request.error_without_answer(reason);
        Sse { data: serde_json::to_string(&message).ok(), event: None, id: None, retry: None }
    }
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
