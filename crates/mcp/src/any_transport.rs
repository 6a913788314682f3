//! Both transports, streamable HTTP and HTTP+SSE, as one type, so that rmcp's generic code is compiled once per binary.
//!
//! Only delegates to the transport. Created by [`crate::connector`], called by rmcp.

use futures::FutureExt;
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{StreamableHttpClientTransport, Transport},
};

use crate::{
    sse::SseTransport,
    wire::{Wire, fault::WireError},
};

/// One of the two transports.
pub(crate) enum AnyTransport {
    StreamableHttp(StreamableHttpClientTransport<Wire>),
    Sse(SseTransport),
}

impl Transport<RoleClient> for AnyTransport {
    type Error = WireError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        match self {
            Self::StreamableHttp(transport) => transport.send(message).boxed(),
            Self::Sse(transport) => transport.send(message).boxed(),
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        match self {
            Self::StreamableHttp(transport) => transport.receive().await,
            Self::Sse(transport) => transport.receive().await,
        }
    }

    async fn close(&mut self) -> Result<(), WireError> {
        match self {
            Self::StreamableHttp(transport) => transport.close().await,
            Self::Sse(transport) => transport.close().await,
        }
    }
}
