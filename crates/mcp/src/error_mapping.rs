//! Maps rmcp's errors to [`McpError`].
//!
//! rmcp's own texts quote the server and are not shown. rmcp boxes the errors of the transport, and these are unboxed
//! here. What a server says is shortened and the entry's secrets are removed from it. Called by [`crate::client`] and
//! [`crate::connector`].

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
        fault::{NoAnswer, Remark, WireError, WireFault},
    },
};

/// The failed request, as far as the mapping depends on it.
#[derive(Clone, Copy)]
pub(crate) struct RequestContext<'a> {
    /// The server. The secrets of its entry are removed from its messages.
    pub(crate) server: &'a McpServer,
    pub(crate) wire: &'a Wire,
    /// The JSON-RPC method of the request.
    pub(crate) request: &'static str,
    /// True if the session is initialized. Only before that does an answer that is no JSON-RPC mean that the URL may
    /// not be an MCP endpoint.
    pub(crate) is_initialized: bool,
}

impl RequestContext<'_> {
    /// Maps an error of the opening request.
    pub(crate) fn opening_error(self, error: ClientInitializeError) -> McpError {
        match &error {
            ClientInitializeError::TransportError { error, .. } => self.transport_error(error),
            ClientInitializeError::JsonRpcError(error) => self.json_rpc_error(error),
            ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
                self.bad_answer("its protocol revisions are none that this client knows")
            }
            ClientInitializeError::ConnectionClosed(_) => McpError::Ended { request: self.request },
            _ => self.bad_answer("its answer is not what MCP asks for"),
        }
    }

    /// Maps an error of a request in an initialized session.
    pub(crate) fn request_error(self, error: ServiceError) -> McpError {
        let mapped = match &error {
            ServiceError::TransportSend(error) => self.transport_error(error),
            ServiceError::McpError(error) => self.json_rpc_error(error),
            ServiceError::Timeout { timeout } => McpError::Timeout { after: *timeout },
            ServiceError::InputRequiredRoundsExceeded { .. } => {
                self.bad_answer("its answer asks a user for input, which a run cannot give")
            }
            ServiceError::UnexpectedResponse => self.bad_answer("its answer belongs to another request"),
            _ => McpError::Ended { request: self.request },
        };
        mapped.after_refused_notification(self.wire.notification_refused())
    }

    /// Maps a boxed error of the transport. rmcp does not expose the inner error as a `source`.
    fn transport_error(self, error: &DynamicTransportError) -> McpError {
        match error.error.downcast_ref::<WireError>() {
            Some(error) => self.wire_error(error),
            None => McpError::Ended { request: self.request },
        }
    }

    /// Maps an error of the transport.
    pub(crate) fn wire_error(self, error: &WireError) -> McpError {
        match error {
            WireError::Client(fault) => self.wire_fault(fault),
            WireError::AuthRequired(_) => McpError::Unauthorized,
            WireError::ReinitializationFailed(error) => {
                Self { request: "initialize", ..self }.json_rpc_error(error)
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

    fn wire_fault(self, fault: &WireFault) -> McpError {
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
            WireFault::Unusable { reason } if self.is_initialized => self.bad_answer(reason),
            WireFault::Unusable { reason } => McpError::not_mcp(reason),
        }
    }

    fn json_rpc_error(self, error: &ErrorData) -> McpError {
        let remark = Remark::of(error);
        match remark.instead {
            Some(NoAnswer::Unusable(reason)) => McpError::BadAnswer { request: self.request, reason },
            Some(NoAnswer::Ended) => McpError::Ended { request: self.request },
            None => McpError::Rejected {
                request: self.request,
                code: error.code.0,
                message: self.shown(&error.message),
                status: remark.status,
            },
        }
    }

    /// Returns a text of the server in a form that may be shown: without the entry's secrets, shortened, printable.
    fn shown(self, text: &str) -> Shown {
        Shown::new(&self.server.scrub(text.to_owned()))
    }

    fn bad_answer(self, reason: &str) -> McpError {
        McpError::BadAnswer { request: self.request, reason: reason.to_owned() }
    }
}
