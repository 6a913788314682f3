//! The HTTP+SSE transport of 2024-11-05: one stream that everything comes in on, and an endpoint, which the
//! stream names, that everything goes out to.
//!
//! Speaks through the same [`Wire`] as streamable HTTP, so the same bounds hold; the body limit is that of
//! the whole stream. A stream that breaks off is not taken up again: the session is over with it, and
//! [`crate::Session`] opens another one.
//!
//! Source: <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, stream::BoxStream};
use http::Method;
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use sse_stream::{Error as SseError, Sse};
use url::Url;

use crate::transport::{Wire, WireError, unexpected};

/// One open stream, and where it wants messages sent.
pub(crate) struct SseTransport {
    wire: Wire,
    endpoint: Arc<str>,
    events: BoxStream<'static, Result<Sse, SseError>>,
}

impl SseTransport {
    /// Opens the stream and waits for it to name its endpoint.
    pub(crate) async fn open(wire: Wire, url: &Url) -> Result<Self, WireError> {
        let response = wire.send(Method::GET, url.as_str(), None, HashMap::new(), Vec::new()).await?;
        wire.check_status(&response, false)?;
        let mut events = wire.event_stream(response)?;
        while let Some(event) = events.next().await {
            let event = event.map_err(WireError::Sse)?;
            if event.event.as_deref() == Some("endpoint") {
                let endpoint = endpoint(url, event.data.as_deref().unwrap_or_default())?;
                return Ok(Self { wire, endpoint, events });
            }
        }
        Err(WireError::UnexpectedEndOfStream)
    }
}

/// Where messages go. Credentials go there too, so it must be on the server itself.
fn endpoint(url: &Url, named: &str) -> Result<Arc<str>, WireError> {
    let endpoint = url.join(named.trim()).map_err(|_| unexpected("its event stream names no endpoint"))?;
    if endpoint.origin() == url.origin() {
        Ok(endpoint.as_str().into())
    } else {
        Err(unexpected("its event stream names an endpoint on another server"))
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = WireError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        let (wire, endpoint) = (self.wire.clone(), self.endpoint.clone());
        async move {
            let body = serde_json::to_vec(&message)?;
            let response = wire.send(Method::POST, &endpoint, None, HashMap::new(), body).await?;
            // What it says beside the status comes on the stream.
            wire.check_status(&response, false)
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let event = self.events.next().await?.ok()?;
            let is_message = matches!(event.event.as_deref(), None | Some("message"));
            let message = event.data.filter(|_| is_message).and_then(|data| serde_json::from_str(&data).ok());
            if message.is_some() {
                return message;
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
