//! rmcp's streamable HTTP transport over the wire.
//!
//! rmcp speaks the protocol; this decides what it is told. A request gets exactly one answer: the server's, or
//! an error that says why there is none. A notification is never answered, so a refused one is remembered and
//! the connection goes on. No stream is opened to listen on: a function that is frozen hears nothing.

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
    answer::{self, Asked},
    fault::{Instead, WireError, WireFault, unusable},
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
        let asked = Asked::of(&message);
        let body = serde_json::to_vec(&message)?;
        let sent = self.send(Method::POST, &uri, session_id.as_deref(), headers, body);
        let Some(asked) = asked else {
            return self.notified(sent).await.map(|()| StreamableHttpPostResponse::Accepted);
        };
        let response = sent.await?;
        if !response.status().is_success() {
            return self.refused_answer(&uri, response, &asked, session_id.is_some()).await;
        }
        if matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Err(unusable("its answer is a bare acceptance, without a result"));
        }
        let session = header(&response, SESSION_ID);
        match kind(&response) {
            BodyKind::EventStream => {
                Ok(StreamableHttpPostResponse::Sse(self.answer_events(response.into_body(), asked), session))
            }
            BodyKind::Json | BodyKind::Unnamed => {
                let text = self.text(response).await?;
                self.take_memory(text.len()).await;
                let message = self.message(text).map_err(unusable)?;
                self.check_session(&asked, session_id.is_some(), &message)?;
                let answer = asked.answer(message, StatusCode::OK, |note| self.note(note));
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
        // Without an event to resume from it would be a stream to listen on.
        let last_event_id = last_event_id.ok_or(WireError::ServerDoesNotSupportSse)?;
        let last_event = HeaderValue::from_str(&last_event_id)
            .map_err(|_| unusable("its event id cannot stand in a header"))?;
        headers.insert(LAST_EVENT_ID, last_event);
        let response = self.send(Method::GET, &uri, session_id.as_deref(), headers, Vec::new()).await?;
        if !response.status().is_success() {
            return Err(self.status_fault(&uri, &self.refused(response).await));
        }
        match (kind(&response), self.resumed(&last_event_id)) {
            (BodyKind::EventStream, Some(asked)) => Ok(self.answer_events(response.into_body(), asked)),
            (BodyKind::EventStream, None) => Err(WireError::ServerDoesNotSupportSse),
            _ => Err(unusable("its event stream cannot be taken up again")),
        }
    }
}

impl Wire {
    /// What a status that is no success means for the request that got it.
    async fn refused_answer(
        &self,
        uri: &str,
        response: Response<Body>,
        asked: &Asked,
        in_session: bool,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        let refused = self.refused(response).await;
        if refused.says_invalid_token() || refused.status == StatusCode::FORBIDDEN {
            return Err(self.status_fault(uri, &refused));
        }
        if in_session && asked.says_session_is_lost(refused.status, refused.message.as_ref()) {
            self.session_lost(asked)?;
        }
        let status = refused.status;
        let fault = self.status_fault(uri, &refused);
        match refused.message.filter(answer::is_error) {
            // A status of its own may come with any JSON-RPC error; from 2026-07-28 on it does.
            Some(message) => match asked.answer(message, status, |_| {}) {
                Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, None)),
                None => Err(fault),
            },
            None => Err(fault),
        }
    }

    /// Has rmcp open a new session and send the request once more, if `message` says that the server did not
    /// know its session.
    fn check_session(&self, asked: &Asked, in_session: bool, message: &Value) -> Result<(), WireError> {
        let is_lost = in_session
            && answer::is_error(message)
            && asked.says_session_is_lost(StatusCode::OK, Some(message));
        if is_lost { self.session_lost(asked) } else { Ok(()) }
    }

    /// The error that has rmcp open a new session; none the second time that it is about the same request.
    fn session_lost(&self, asked: &Asked) -> Result<(), WireError> {
        let is_first = self.state().lost_session.insert(asked.id());
        if is_first { Err(WireError::SessionExpired) } else { Ok(()) }
    }

    /// The events of the answer to one request. Only messages that rmcp can take are passed on, and if the
    /// stream ends before the answer, with no event to take it up again from, the last says so.
    fn answer_events(&self, body: Body, asked: Asked) -> Events {
        let events = Answering {
            wire: self.clone(),
            asked,
            events: SseStream::from_bytes_stream(body).boxed(),
            last_event_id: None,
            is_answered: false,
            is_over: false,
        };
        stream::unfold(events, Answering::next).boxed()
    }

    /// Remembers which request an event stream answers, under the last event's id.
    fn resumable(&self, earlier: Option<&str>, event_id: &str, asked: &Asked) {
        let mut state = self.state();
        if let Some(earlier) = earlier {
            state.streams.remove(earlier);
        }
        state.streams.insert(event_id.to_owned(), asked.clone());
    }

    /// The request that the stream with this last event answers.
    fn resumed(&self, last_event_id: &str) -> Option<Asked> {
        self.state().streams.get(last_event_id).cloned()
    }
}

/// The event stream that answers one request.
struct Answering {
    wire: Wire,
    asked: Asked,
    events: Events,
    last_event_id: Option<String>,
    is_answered: bool,
    is_over: bool,
}

impl Answering {
    /// The next event, and what is left of the stream.
    async fn next(mut self) -> Option<(Result<Sse, SseError>, Self)> {
        if self.is_over {
            return None;
        }
        let event = match self.events.next().await {
            Some(Ok(event)) => {
                self.wire.take_memory(event.data.as_ref().map_or(0, String::len)).await;
                self.fit(event)
            }
            end => {
                self.is_over = true;
                // With an event to resume from, rmcp asks for the rest.
                match end.and_then(Result::err) {
                    error if self.is_answered || self.last_event_id.is_some() => {
                        return Some((Err(error?), self));
                    }
                    error => self.ended(error.as_ref()),
                }
            }
        };
        Some((Ok(event), self))
    }

    /// The event with a message that rmcp takes, or with none.
    fn fit(&mut self, mut event: Sse) -> Sse {
        if let Some(id) = &event.id {
            self.wire.resumable(self.last_event_id.as_deref(), id, &self.asked);
            self.last_event_id = Some(id.clone());
        }
        let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
        let data = event.data.take().filter(|data| is_message && !data.trim().is_empty());
        // Without data the event still carries its id and the pause to reconnect after.
        event.event = None;
        event.data =
            data.and_then(|data| self.message(data)).and_then(|message| serde_json::to_string(&message).ok());
        event
    }

    fn message(&mut self, data: String) -> Option<ServerJsonRpcMessage> {
        // Some servers keep a stream alive with events that hold a bare word.
        let is_meant_as_json = data.trim_start().starts_with(['{', '[', '\u{feff}']);
        let message = match self.wire.message(data) {
            Ok(message) => message,
            Err(_) if !is_meant_as_json => return None,
            // It may have been the answer: what cannot be read is told, not waited for.
            Err(reason) => {
                self.is_answered = true;
                return Some(self.asked.instead(Instead::Unusable(reason.to_owned())));
            }
        };
        let wire = &self.wire;
        if answer::is_response(&message) {
            self.is_answered = true;
            return self.asked.answer(message, StatusCode::OK, |note| wire.note(note));
        }
        // A notification or request that rmcp does not know is passed over: nothing here depends on it.
        serde_json::from_value(message).ok()
    }

    /// The event that stands for the answer which did not come.
    fn ended(&mut self, error: Option<&SseError>) -> Sse {
        self.is_answered = true;
        let instead = match error {
            Some(SseError::Body(error)) => match error.downcast_ref() {
                Some(EgressError::TooLarge { limit, .. }) => {
                    Instead::Unusable(format!("its event stream is larger than {limit} bytes"))
                }
                _ => Instead::Ended,
            },
            Some(_) => Instead::Unusable("its event stream is malformed".to_owned()),
            None => Instead::Ended,
        };
        let message = self.asked.instead(instead);
        Sse { data: serde_json::to_string(&message).ok(), event: None, id: None, retry: None }
    }
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
