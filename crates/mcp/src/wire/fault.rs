//! The errors of the transport, in types that rmcp passes through to its caller.
//!
//! rmcp returns a failure in one of two ways: as the transport's own error, which can contain a [`WireFault`], or as a
//! JSON-RPC error, which has a code, a message and `data`. This client adds a [`Remark`] to the `data` of a JSON-RPC
//! error: the HTTP status of the answer, or the reason why this client and not the server made the error. A server
//! cannot set the remark. Read by [`crate::error_mapping`].

use std::sync::Arc;

use auth::Challenge;
use egress::EgressError;
use rmcp::{ErrorData, transport::streamable_http_client::StreamableHttpError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The transport's error type.
pub(crate) type WireError = StreamableHttpError<WireFault>;

/// The member of `data` that holds a [`Remark`].
const REMARK: &str = "mcp-agents/remark";

/// The reason why a request got no answer that rmcp can parse. Cheap to clone, because several callers may wait for it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireFault {
    /// The server was not reached, or the HTTP connection broke.
    #[error(transparent)]
    Egress(Arc<EgressError>),
    /// An HTTP status outside 2xx, without a JSON-RPC error.
    #[error("HTTP status {status}")]
    Status {
        /// The status code.
        status: u16,
        /// The target of a redirect.
        location: Option<String>,
    },
    /// A JSON-RPC error with an HTTP status outside 2xx, in reply to a POST whose answer comes elsewhere (HTTP+SSE).
    #[error("JSON-RPC error {code}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The error's code.
        code: i32,
        /// The error's message.
        message: String,
    },
    /// HTTP status 403.
    #[error("HTTP status 403")]
    Forbidden {
        /// The `WWW-Authenticate` header.
        challenge: Box<Challenge>,
        /// The message of the JSON-RPC error in the body, if there is one.
        message: Option<String>,
    },
    /// An answer that is not usable as MCP.
    #[error("{reason}")]
    Unusable {
        /// What is wrong with the answer, in this client's words; begins with “its”.
        reason: String,
    },
}

impl From<EgressError> for WireFault {
    fn from(error: EgressError) -> Self {
        Self::Egress(Arc::new(error))
    }
}

/// What this client adds to a JSON-RPC error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remark {
    /// The HTTP status of the answer, if outside 2xx.
    pub(crate) status: Option<u16>,
    /// If this client made the error instead of the server: why the server's answer is missing.
    pub(crate) instead: Option<NoAnswer>,
}

/// The reason why this client made a JSON-RPC error instead of passing on the server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoAnswer {
    /// The answer is not usable as MCP. Holds what is wrong with it, beginning with “its”.
    Unusable(String),
    /// The HTTP connection or the event stream ended before the answer.
    Ended,
}

impl Remark {
    /// Writes the remark into an error's `data`. Overwrites a member of that name that the server has set.
    pub(crate) fn attach(&self, data: Option<Value>) -> Option<Value> {
        let mut data = match data {
            Some(Value::Object(fields)) => Value::Object(fields),
            _ if *self == Self::default() => return data,
            _ => json!({}),
        };
        data[REMARK] = json!(self);
        Some(data)
    }

    /// Reads the remark of an error; the default if there is none.
    pub(crate) fn of(error: &ErrorData) -> Self {
        let remark = error.data.as_ref().and_then(|data| data.get(REMARK));
        remark.and_then(|remark| Self::deserialize(remark).ok()).unwrap_or_default()
    }
}

/// Returns the transport's error for an answer that cannot be used; `reason` begins with “its”.
pub(crate) fn unusable(reason: impl Into<String>) -> WireError {
    WireError::Client(WireFault::Unusable { reason: reason.into() })
}

/// Returns the transport's error for a request that `egress` could not send or whose response it could not read.
pub(crate) fn not_exchanged(error: EgressError) -> WireError {
    WireError::Client(error.into())
}

#[cfg(test)]
mod tests {
    use rmcp::model::ErrorCode;

    use super::*;

    #[test]
    fn a_server_cannot_set_a_remark() {
        let remark = Remark { status: Some(400), instead: None };
        let given = json!({"supported": ["2026-07-28"], REMARK: {"status": 999}});
        let error = |data| ErrorData::new(ErrorCode(-32000), "m", data);
        let attached = error(remark.attach(Some(given.clone())));
        assert_eq!(Remark::of(&attached), remark);
        assert_eq!(attached.data.unwrap()["supported"], json!(["2026-07-28"]));
        let none = error(Remark::default().attach(Some(given)));
        assert_eq!(Remark::of(&none), Remark::default(), "the server's member is overwritten");
        assert_eq!(Remark::of(&error(Remark::default().attach(Some(json!("x"))))), Remark::default());
    }
}
