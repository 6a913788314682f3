//! Why a server gave no tools, or a call no result.

use std::{sync::Arc, time::Duration};

use auth::AuthError;
use egress::EgressError;

/// Why a server gave no tools, or a call no result. One line each, without secrets and without a word
/// that the server chose, since servers quote what they were sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum McpError {
    /// Nobody could be signed in; the server was not contacted.
    #[error("sign-in failed: {0}")]
    Auth(#[from] AuthError),
    /// The server was not reached, or its address is not allowed.
    #[error("{0}")]
    Egress(#[from] Arc<EgressError>),
    /// 401 with a fresh credential, or without one.
    #[error(
        "the server answered 401: it does not take this sign-in; check that the server trusts this user pool and app client"
    )]
    Unauthorized,
    /// 403.
    #[error("the server answered 403: the user who signs in may not use it")]
    Forbidden,
    /// Another HTTP status that is no success.
    #[error("the server answered with HTTP status {status}{}", status_remedy(*status))]
    Status {
        /// The status code.
        status: u16,
    },
    /// The answer is no MCP.
    #[error("the server does not speak MCP over streamable HTTP at this URL: {reason}")]
    NotMcp {
        /// What was found instead, in our own words.
        reason: String,
    },
    /// A JSON-RPC error.
    #[error("the server refused with JSON-RPC error {code}")]
    Rejected {
        /// The error's code.
        code: i32,
    },
    /// The deadline passed.
    #[error("no answer within {}", seconds(*after))]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// `tools/list` gave a cursor that it had given before.
    #[error("the server repeats its tools/list cursor, so its list never ends")]
    CursorLoop,
    /// `tools/list` went on past the limit.
    #[error("the server lists more than {limit} {what}")]
    TooMany {
        /// How many there may be.
        limit: usize,
        /// Pages or tools.
        what: &'static str,
    },
    /// The list is empty where it was not before.
    #[error("the server lists no tools, although it had {had} before")]
    Emptied {
        /// How many it had.
        had: usize,
    },
}

impl McpError {
    pub(crate) fn not_mcp(reason: impl Into<String>) -> Self {
        Self::NotMcp { reason: reason.into() }
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        300..=399 => " (a redirect, which is not followed: give the URL that it leads to)",
        404 => " (check the path of mcp_url)",
        405 => " (check that mcp_url is the MCP endpoint)",
        429 => " (it limits requests; it is tried again later)",
        500..=599 => " (look at the server's own logs)",
        _ => "",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
