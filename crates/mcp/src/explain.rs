//! What rmcp raises, in our own words: it boxes what the wire raised, and its texts quote servers.

use egress::Shown;
use rmcp::{
    ErrorData,
    service::{ClientInitializeError, ServiceError},
    transport::DynamicTransportError,
};

use crate::{
    error::{McpError, is_same_origin},
    server::McpServer,
    wire::{
        Wire,
        fault::{Instead, Remark, WireError, WireFault},
    },
};

/// What explaining a failure needs to know of its connection.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The server: secrets of its entry are taken out of what it says.
    pub(crate) server: &'a McpServer,
    pub(crate) wire: &'a Wire,
    /// The JSON-RPC method of the request.
    pub(crate) request: &'static str,
    /// Whether the server has spoken MCP on this connection before: only of one that has not, an answer that is
    /// no JSON-RPC may mean that this is no MCP endpoint.
    pub(crate) has_spoken: bool,
}

impl Context<'_> {
    /// Why a connection could not be begun.
    pub(crate) fn initialize(self, error: ClientInitializeError) -> McpError {
        match &error {
            ClientInitializeError::TransportError { error, .. } => self.transport(error),
            ClientInitializeError::JsonRpcError(error) => self.json_rpc(error),
            ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
                self.bad_answer("its revisions of the protocol are none that this client knows")
            }
            ClientInitializeError::ConnectionClosed(_) => McpError::Ended { request: self.request },
            _ => self.bad_answer("its answer is not what MCP asks for"),
        }
    }

    /// Why a request got no result.
    pub(crate) fn request(self, error: ServiceError) -> McpError {
        let explained = match &error {
            ServiceError::TransportSend(error) => self.transport(error),
            ServiceError::McpError(error) => self.json_rpc(error),
            ServiceError::Timeout { timeout } => McpError::Timeout { after: *timeout },
            ServiceError::InputRequiredRoundsExceeded { .. } => {
                self.bad_answer("its answer asks a user for input, which a run cannot give")
            }
            ServiceError::UnexpectedResponse => self.bad_answer("its answer is one to another request"),
            _ => McpError::Ended { request: self.request },
        };
        explained.after_refused_notification(self.wire.notification_refused())
    }

    /// rmcp boxes what the wire raised and does not name it as a source.
    fn transport(self, error: &DynamicTransportError) -> McpError {
        match error.error.downcast_ref::<WireError>() {
            Some(error) => self.wire(error),
            None => McpError::Ended { request: self.request },
        }
    }

    /// What the wire raised.
    pub(crate) fn wire(self, error: &WireError) -> McpError {
        match error {
            WireError::Client(fault) => self.fault(fault),
            WireError::AuthRequired(_) => McpError::Unauthorized,
            WireError::ReinitializationFailed(error) => {
                Self { request: "initialize", ..self }.json_rpc(error)
            }
            WireError::SessionExpired | WireError::SessionRecoveryTimeout => {
                self.bad_answer("its sessions end at once")
            }
            WireError::UnexpectedServerResponse(_) | WireError::Deserialize(_) => {
                self.bad_answer("its answer is not JSON-RPC")
            }
            _ => McpError::Ended { request: self.request },
        }
    }

    fn fault(self, fault: &WireFault) -> McpError {
        match fault {
            WireFault::Egress(error) => McpError::Egress(error.clone()),
            WireFault::Forbidden { challenge, message } => {
                match challenge.wants_more_scopes() && !challenge.scopes.is_empty() {
                    true => McpError::InsufficientScope { scopes: challenge.scopes.clone() },
                    false => McpError::Forbidden {
                        signed_in: self.wire.signs_in(),
                        message: message.as_deref().map(|message| self.shown(message)),
                    },
                }
            }
            WireFault::Status { status, location } => McpError::Status {
                request: self.request,
                status: *status,
                same_origin: is_same_origin(&self.server.url, location.as_deref()),
                location: location.clone().map(|location| self.server.scrub(location)),
            },
            WireFault::Rejected { status, code, message } => McpError::Rejected {
                request: self.request,
                code: *code,
                message: self.shown(message),
                status: Some(*status),
            },
            WireFault::Unusable { reason } if self.has_spoken => self.bad_answer(reason),
            WireFault::Unusable { reason } => McpError::not_mcp(reason),
        }
    }

    fn json_rpc(self, error: &ErrorData) -> McpError {
        let remark = Remark::of(error);
        match remark.instead {
            Some(Instead::Unusable(reason)) => McpError::BadAnswer { request: self.request, reason },
            Some(Instead::Ended) => McpError::Ended { request: self.request },
            None => McpError::Rejected {
                request: self.request,
                code: error.code.0,
                message: self.shown(&error.message),
                status: remark.status,
            },
        }
    }

    /// What a server says, as it may be shown.
    fn shown(self, text: &str) -> Shown {
        Shown::new(&self.server.scrub(text.to_owned()))
    }

    fn bad_answer(self, reason: &str) -> McpError {
        McpError::BadAnswer { request: self.request, reason: reason.to_owned() }
    }
}
