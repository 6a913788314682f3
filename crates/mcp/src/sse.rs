//! The HTTP+SSE transport of 2024-11-05: one stream that everything comes in on, and an endpoint, which the
//! stream names, that everything goes out to.
//!
//! Speaks through the same [`Wire`] as streamable HTTP, so the same bounds hold; the body limit is that of
//! the whole stream. A stream that breaks off is not taken up again: the session is over with it, and
//! [`crate::Session`] opens another one.
//!
//! Source: <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use http::{Method, StatusCode};
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde_json::Value;
use sse_stream::{Error as SseError, Sse, SseStream};
use url::Url;

use crate::wire::{
    BodyKind, Wire,
    answer::{self, Asked},
    fault::{Instead, WireError, unusable},
    kind,
};

/// One open stream, and where it wants messages sent.
pub(crate) struct SseTransport {
    wire: Wire,
    endpoint: Arc<str>,
    events: BoxStream<'static, Result<Sse, SseError>>,
    /// The requests that are not answered yet, oldest first.
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl SseTransport {
    /// Opens the stream and waits for it to name its endpoint.
    pub(crate) async fn open(wire: Wire, url: &Url) -> Result<Self, WireError> {
        let response = wire.send(Method::GET, url.as_str(), None, HashMap::new(), Vec::new()).await?;
        if !response.status().is_success() {
            return Err(wire.status_fault(url.as_str(), &wire.refused(response).await));
        }
        if kind(&response) != BodyKind::EventStream {
            return Err(unusable("its answer is no event stream"));
        }
        let mut events = SseStream::from_bytes_stream(response.into_body()).boxed();
        while let Some(event) = events.next().await {
            let event = event.map_err(WireError::Sse)?;
            if event.event.as_deref() == Some("endpoint") {
                let endpoint = endpoint(url, event.data.as_deref().unwrap_or_default())?;
                return Ok(Self { wire, endpoint, events, asked: Arc::default() });
            }
        }
        Err(unusable("its event stream ended before it named its endpoint"))
    }

    /// The message in an event, as rmcp takes it; `None` for what is none.
    fn message(&self, event: Sse) -> Option<RxJsonRpcMessage<RoleClient>> {
        let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
        let data = event.data.filter(|_| is_message)?;
        let is_meant_as_json = data.trim_start().starts_with(['{', '[']);
        let mut open = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match self.wire.message(data) {
            Ok(message) if answer::is_response(&message) => {
                take_asked(&mut open, &message)?.answer(message, StatusCode::OK, |note| self.wire.note(note))
            }
            Ok(message) => serde_json::from_value(message).ok(),
            // What cannot be read may have been the answer, if there is one to come.
            Err(reason) if is_meant_as_json && open.len() == 1 => {
                Some(open.remove(0).instead(Instead::Unusable(reason.to_owned())))
            }
            Err(_) => None,
        }
    }
}

/// The request that a response answers: the one that it names; if it names none that is open, the only open
/// one, since servers that cannot read a request answer under `null` or an id of their own.
fn take_asked(open: &mut Vec<Asked>, response: &Value) -> Option<Asked> {
    let named = open.iter().position(|asked| asked.is_named_by(response));
    let only = (open.len() == 1 && answer::is_error(response)).then_some(0);
    named.or(only).map(|position| open.remove(position))
}

/// Where messages go. Credentials go there too, so it must be on the server itself.
fn endpoint(url: &Url, named: &str) -> Result<Arc<str>, WireError> {
    let endpoint = url.join(named.trim()).map_err(|_| unusable("its event stream names no endpoint"))?;
    if endpoint.origin() == url.origin() {
        Ok(endpoint.as_str().into())
    } else {
        Err(unusable("its event stream names an endpoint on another server"))
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = WireError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        let (wire, endpoint) = (self.wire.clone(), self.endpoint.clone());
        let asked = Asked::of(&message);
        let wants_answer = asked.is_some();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(asked);
        async move {
            let body = serde_json::to_vec(&message)?;
            let sent = wire.send(Method::POST, &endpoint, None, HashMap::new(), body);
            if !wants_answer {
                return wire.notified(sent).await;
            }
            // The answer itself comes on the stream.
            let response = sent.await?;
            match response.status().is_success() {
                true => Ok(()),
                false => Err(wire.refusal(&endpoint, &wire.refused(response).await)),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let event = self.events.next().await?.ok()?;
            if let Some(message) = self.message(event) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), WireError> {
        self.events = futures::stream::empty().boxed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_server_itself() {
        let check = |named: &str, expected: Option<&str>| {
            let url = "https://a.example/deep/sse".parse().unwrap();
            assert_eq!(endpoint(&url, named).ok().as_deref(), expected, "{named}");
        };
        check("/messages/?session_id=1", Some("https://a.example/messages/?session_id=1"));
        check("messages", Some("https://a.example/deep/messages"));
        check("https://a.example/m", Some("https://a.example/m"));
        check("https://b.example/m", None);
        check("//b.example/m", None);
        check("http://a.example/m", None);
    }
}
