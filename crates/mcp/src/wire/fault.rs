//! What goes wrong on the wire, typed so that it survives the way through rmcp.
//!
//! rmcp hands a failure to its caller in one of two ways: the transport's own error, which can be a
//! [`WireFault`], or a JSON-RPC error, which has room for a code, a message and `data`. What this client has
//! to say beside a JSON-RPC error (the HTTP status that it came with; that this client and not the server
//! made it) travels in `data`, under a name that no server can set: [`Remark`].

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

/// Why a request got no answer that rmcp can take. Cheap to clone, so that several callers can be told.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireFault {
    /// The server was not reached, or the connection broke.
    #[error(transparent)]
    Egress(Arc<EgressError>),
    /// An HTTP status that is no success, without a JSON-RPC error.
    #[error("HTTP status {status}")]
    Status {
        /// The status code.
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
    },
    /// A JSON-RPC error under an HTTP status that is no success, where no answer is due (HTTP+SSE).
    #[error("JSON-RPC error {code}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The error's code.
        code: i32,
        /// The error's message.
        message: String,
    },
    /// 403.
    #[error("HTTP status 403")]
    Forbidden {
        /// What `WWW-Authenticate` says.
        challenge: Box<Challenge>,
        /// The message of the JSON-RPC error in the body, if there is one.
        message: Option<String>,
    },
    /// An answer that is no usable MCP.
    #[error("{reason}")]
    Unusable {
        /// What is wrong with it, in this client's words; begins with “its”.
        reason: String,
    },
}

impl From<EgressError> for WireFault {
    fn from(error: EgressError) -> Self {
        Self::Egress(Arc::new(error))
    }
}

/// What this client says beside a JSON-RPC error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remark {
    /// The HTTP status of the answer, if it was no success.
    pub(crate) status: Option<u16>,
    /// Why there is no answer of the server's: the error is then made by this client.
    pub(crate) instead: Option<Instead>,
}

/// Why a JSON-RPC error stands in the place of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Instead {
    /// The answer is no usable MCP; what is wrong with it.
    Unusable(String),
    /// The connection ended before the answer.
    Ended,
}

impl Remark {
    /// Puts the remark into an error's `data`, over whatever the server put there under its name.
    pub(crate) fn attach(&self, data: Option<Value>) -> Option<Value> {
        let mut data = match data {
            Some(Value::Object(fields)) => Value::Object(fields),
            _ if *self == Self::default() => return data,
            _ => json!({}),
        };
        data[REMARK] = json!(self);
        Some(data)
    }

    /// The remark in an error.
    pub(crate) fn of(error: &ErrorData) -> Self {
        let remark = error.data.as_ref().and_then(|data| data.get(REMARK));
        remark.and_then(|remark| Self::deserialize(remark).ok()).unwrap_or_default()
    }
}

/// The transport's error for an answer that cannot be used; `reason` begins with “its”.
pub(crate) fn unusable(reason: impl Into<String>) -> WireError {
    WireError::Client(WireFault::Unusable { reason: reason.into() })
}

pub(crate) fn broken(error: EgressError) -> WireError {
    WireError::Client(error.into())
}

#[cfg(test)]
mod tests {
    use rmcp::model::ErrorCode;

    use super::*;

    #[test]
    fn a_remark_is_this_clients_alone() {
        let remark = Remark { status: Some(400), instead: None };
        let given = json!({"supported": ["2026-07-28"], REMARK: {"status": 999}});
        let error = |data| ErrorData::new(ErrorCode(-32000), "m", data);
        let attached = error(remark.attach(Some(given.clone())));
        assert_eq!(Remark::of(&attached), remark);
        assert_eq!(attached.data.unwrap()["supported"], json!(["2026-07-28"]));
        let none = error(Remark::default().attach(Some(given)));
        assert_eq!(Remark::of(&none), Remark::default(), "what a server puts there is written over");
        assert_eq!(Remark::of(&error(Remark::default().attach(Some(json!("x"))))), Remark::default());
    }
}
