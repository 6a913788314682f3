//! The HTTP+SSE transport of revision 2024-11-05: the server sends all messages on one event stream, and the client
//! sends its messages to the endpoint that the stream names.
//!
//! Uses the same [`Wire`] as streamable HTTP, with the same limits; the body limit holds for the whole stream. Does not
//! resume a stream that breaks off: the session ends with it, and [`crate::Session`] opens another one. Called by
//! [`crate::connector`] and, through [`crate::any_transport`], by rmcp.
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
    answer::{self, SentRequest},
    fault::{NoAnswer, WireError, unusable},
    kind,
};

/// An open event stream, and the endpoint that it names for messages of the client.
pub(crate) struct SseTransport {
    wire: Wire,
    endpoint: Arc<str>,
    events: BoxStream<'static, Result<Sse, SseError>>,
    /// An event that has arrived and waits for memory. Stored here because rmcp may drop the future that waits.
    unread: Option<Box<Sse>>,
    /// The requests without an answer so far, oldest first.
    open_requests: Arc<Mutex<Vec<SentRequest>>>,
}

impl SseTransport {
    /// Opens the stream and waits until the stream names its endpoint.
    pub(crate) async fn open(wire: Wire, url: &Url) -> Result<Self, WireError> {
        let response = wire.send(Method::GET, url.as_str(), None, HashMap::new(), Vec::new()).await?;
        if !response.status().is_success() {
            return Err(wire.status_error(url.as_str(), &wire.read_refusal(response).await));
        }
        if kind(&response) != BodyKind::EventStream {
            return Err(unusable("its answer is no event stream"));
        }
        let mut events = SseStream::from_bytes_stream(response.into_body()).boxed();
        while let Some(event) = events.next().await {
            let event = event.map_err(WireError::Sse)?;
            if event.event.as_deref() == Some("endpoint") {
                let endpoint = endpoint(url, event.data.as_deref().unwrap_or_default())?;
                return Ok(Self { wire, endpoint, events, unread: None, open_requests: Arc::default() });
            }
        }
        Err(unusable("its event stream ended before it named its endpoint"))
    }

    /// Returns the message in an event in the form that rmcp can parse; `None` if the event contains none.
    fn message(&self, event: Sse) -> Option<RxJsonRpcMessage<RoleClient>> {
        let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
        let data = event.data.filter(|_| is_message)?;
        let is_meant_as_json = data.trim_start().starts_with(['{', '[']);
        let mut open = self.open_requests.lock().unwrap_or_else(PoisonError::into_inner);
        match self.wire.message(data) {
            Ok(message) if answer::is_response(&message) => {
                let request = take_answered(&mut open, &message)?;
                request.answer(message, StatusCode::OK, |note| self.wire.note(note))
            }
            Ok(message) => serde_json::from_value(message).ok(),
            // The unreadable message may have been the answer to the only open request.
            Err(reason) if is_meant_as_json && open.len() == 1 => {
                Some(open.remove(0).error_without_answer(NoAnswer::Unusable(reason.to_owned())))
            }
            Err(_) => None,
        }
    }
}

/// Removes and returns the request that a response answers: the one whose id it has. An error with no such id answers
/// the only open request, because servers that cannot read a request answer with `null` or an id of their own.
fn take_answered(open: &mut Vec<SentRequest>, response: &Value) -> Option<SentRequest> {
    let named = open.iter().position(|request| request.is_named_by(response));
    let only = (open.len() == 1 && answer::is_error(response)).then_some(0);
    named.or(only).map(|position| open.remove(position))
}

/// Resolves the endpoint that the stream names. Credentials are sent there, so it must have the server's own origin.
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
        let request = SentRequest::of(&message);
        let is_request = request.is_some();
        self.open_requests.lock().unwrap_or_else(PoisonError::into_inner).extend(request);
        async move {
            let body = serde_json::to_vec(&message)?;
            let sent = wire.send(Method::POST, &endpoint, None, HashMap::new(), body);
            if !is_request {
                return wire.finish_notification(sent).await;
            }
            // The answer itself arrives on the stream.
            let response = sent.await?;
            match response.status().is_success() {
                true => Ok(()),
                false => Err(wire.refusal_error(&endpoint, &wire.read_refusal(response).await)),
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
            self.wire.reserve_memory(bytes).await;
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

    /// The response to a POST: a status and a JSON body.
    type PostResponse = (u16, Value);

    /// Starts a server whose stream sends the events of the test, and whose endpoint answers each POST alike.
    async fn serve(response: PostResponse) -> (Url, UnboundedSender<String>) {
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
            (StatusCode::from_u16(response.0).unwrap(), axum::Json(response.1)).into_response()
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
    async fn an_error_without_an_id_answers_the_only_open_request() {
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
        // A message that is no JSON may have been the answer too.
        transport.send(ping(8)).await.unwrap();
        stream.send("data: {\"jsonrpc\": ".to_owned()).unwrap();
        assert_eq!(transport.receive().await.map(id_and_code).unwrap().0, json!(8));
    }

    #[tokio::test]
    async fn with_several_open_requests_an_answer_belongs_to_the_one_with_its_id() {
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
    async fn a_refused_request_fails_with_the_servers_message_and_a_refused_notification_does_not_fail() {
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
    fn the_endpoint_has_the_origin_of_the_server() {
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
