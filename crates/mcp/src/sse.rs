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
    /// The event that has come and is not read yet: there may be no memory for it, and rmcp drops what it waits for.
    unread: Option<Box<Sse>>,
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
                return Ok(Self { wire, endpoint, events, unread: None, asked: Arc::default() });
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
            let event = match self.unread.take() {
                Some(event) => *event,
                None => self.events.next().await?.ok()?,
            };
            let bytes = event.data.as_ref().map_or(0, String::len);
            self.unread = Some(Box::new(event));
            self.wire.take_memory(bytes).await;
            if let Some(message) = self.unread.take().and_then(|event| self.message(*event)) {
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
    use std::time::Duration;

    use auth::Credential;
    use axum::{
        Router,
        body::Body,
        extract::State,
        response::{IntoResponse, Response},
        routing::{get, post},
    };
    use egress::{Deadlines, HttpClient};
    use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
    use serde_json::json;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;
    use crate::{message_memory::MessageMemory, wire::fault::WireFault};

    /// What a POST is answered with: a status and a JSON body.
    type Posted = (u16, Value);

    /// A server whose stream says what the test sends, and whose endpoint answers `posted`.
    async fn serve(posted: Posted) -> (Url, UnboundedSender<String>) {
        let (send, receive) = unbounded_channel();
        let receive = Arc::new(Mutex::new(Some(receive)));
        async fn stream(State(receive): State<Arc<Mutex<Option<UnboundedReceiver<String>>>>>) -> Response {
            let receive = receive.lock().unwrap().take().unwrap();
            let events = futures::stream::unfold(receive, |mut receive| async {
                let event: String = receive.recv().await?;
                Some((Ok::<_, std::io::Error>(format!("{event}\n\n")), receive))
            });
            ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
        }
        let answer = move || async move {
            (StatusCode::from_u16(posted.0).unwrap(), axum::Json(posted.1)).into_response()
        };
        let router =
            Router::new().route("/sse", get(stream)).route("/messages", post(answer)).with_state(receive);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        send.send("event: endpoint\ndata: /messages".to_owned()).unwrap();
        (url, send)
    }

    async fn transport(url: &Url) -> SseTransport {
        let deadlines = Deadlines { connect: Duration::from_secs(5), read: Duration::from_secs(5) };
        let wire = Wire::new(
            HttpClient::new("true".parse().unwrap(), deadlines),
            Credential::none(),
            MessageMemory::default(),
        );
        SseTransport::open(wire, url).await.unwrap()
    }

    fn ping(id: i64) -> ClientJsonRpcMessage {
        serde_json::from_value(json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).unwrap()
    }

    fn id_and_code(message: ServerJsonRpcMessage) -> (Value, Value) {
        let message = serde_json::to_value(message).unwrap();
        (message["id"].clone(), message["error"]["code"].clone())
    }

    #[tokio::test]
    async fn an_error_under_no_id_answers_the_only_open_request() {
        let (url, stream) = serve((202, json!(null))).await;
        let mut transport = transport(&url).await;
        transport.send(ping(7)).await.unwrap();
        for event in [
            "event: keepalive\ndata: {}",
            "data: ping",
            "data: {\"jsonrpc\": \"2.0\", \"method\": \"notifications/odd\", \"params\": 5}",
            "data: {\"jsonrpc\": \"2.0\", \"id\": null, \"error\": {\"code\": -5, \"message\": \"closed\"}}",
        ] {
            stream.send(event.to_owned()).unwrap();
        }
        assert_eq!(id_and_code(transport.receive().await.unwrap()), (json!(7), json!(-5)));
        // What is no JSON may have been the answer too.
        transport.send(ping(8)).await.unwrap();
        stream.send("data: {\"jsonrpc\": ".to_owned()).unwrap();
        assert_eq!(transport.receive().await.map(id_and_code).unwrap().0, json!(8));
    }

    #[tokio::test]
    async fn with_several_open_requests_an_answer_belongs_to_the_one_that_it_names() {
        let (url, stream) = serve((202, json!(null))).await;
        let mut transport = transport(&url).await;
        transport.send(ping(1)).await.unwrap();
        transport.send(ping(2)).await.unwrap();
        for event in [
            "data: {\"jsonrpc\": \"2.0\", \"id\": null, \"error\": {\"code\": -1, \"message\": \"whose?\"}}",
            "data: {\"jsonrpc\": \"2.0\", \"id\": \"2\", \"error\": {\"code\": -2, \"message\": \"second\"}}",
        ] {
            stream.send(event.to_owned()).unwrap();
        }
        assert_eq!(id_and_code(transport.receive().await.unwrap()), (json!(2), json!(-2)));
    }

    #[tokio::test]
    async fn a_refused_request_is_told_with_the_servers_words_and_a_refused_notification_is_not() {
        let error =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no such session"}});
        let (url, _stream) = serve((400, error)).await;
        let mut transport = transport(&url).await;
        let fault = transport.send(ping(1)).await.unwrap_err();
        let WireError::Client(WireFault::Rejected { status: 400, code: -32000, message }) = fault else {
            panic!("{fault:?}")
        };
        assert_eq!(message, "no such session");
        let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        transport.send(serde_json::from_value(notification).unwrap()).await.unwrap();
        assert_eq!(transport.wire.notification_refused(), Some(400));
    }

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
