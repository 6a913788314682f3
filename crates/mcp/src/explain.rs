//! What rmcp raises, in our own words: it boxes what the wire raised, and its texts quote servers.

use auth::Challenge;
use rmcp::{
    service::{ClientInitializeError, ServiceError},
    transport::DynamicTransportError,
};

use crate::{error::McpError, transport::WireError};

pub(crate) fn explain_initialize(error: ClientInitializeError) -> McpError {
    match &error {
        ClientInitializeError::TransportError { error, .. } => explain_transport(error),
        ClientInitializeError::JsonRpcError(error) => McpError::Rejected { code: error.code.0 },
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            McpError::not_mcp("it shares no protocol revision with this client")
        }
        _ => McpError::not_mcp("it does not answer initialize as MCP asks"),
    }
}

pub(crate) fn explain_request(error: ServiceError) -> McpError {
    match &error {
        ServiceError::TransportSend(error) => explain_transport(error),
        ServiceError::McpError(error) => McpError::Rejected { code: error.code.0 },
        ServiceError::Timeout { timeout } => McpError::Timeout { after: *timeout },
        ServiceError::InputRequiredRoundsExceeded { .. } => {
            McpError::not_mcp("it asks a user for input, which a run cannot give")
        }
        _ => McpError::not_mcp("the connection ended before the answer"),
    }
}

/// rmcp boxes what the wire raised and does not name it as a source.
fn explain_transport(error: &DynamicTransportError) -> McpError {
    match error.error.downcast_ref::<WireError>() {
        Some(error) => explain_wire(error),
        None => McpError::not_mcp("the connection ended before the answer"),
    }
}

pub(crate) fn explain_wire(error: &WireError) -> McpError {
    match error {
        WireError::Client(error) => McpError::Egress(error.clone()),
        WireError::AuthRequired(_) => McpError::Unauthorized,
        WireError::InsufficientScope(refused) => {
            let challenge = Challenge::parse(&refused.www_authenticate_header);
            match challenge.wants_more_scopes() && !challenge.scopes.is_empty() {
                true => McpError::InsufficientScope { scopes: challenge.scopes },
                false => McpError::Forbidden,
            }
        }
        WireError::HttpStatus(status) => McpError::Status { status: status.status },
        WireError::SessionExpired => McpError::not_mcp("it ends its sessions at once"),
        WireError::UnexpectedContentType(_) => {
            McpError::not_mcp("its answer is neither JSON nor an event stream")
        }
        WireError::UnexpectedServerResponse(what) => McpError::not_mcp(what.clone()),
        WireError::Sse(_) | WireError::UnexpectedEndOfStream => {
            McpError::not_mcp("its event stream broke off before the answer")
        }
        WireError::Deserialize(_) => McpError::not_mcp("its answer is not JSON-RPC"),
        _ => McpError::not_mcp("the connection ended before the answer"),
    }
}
