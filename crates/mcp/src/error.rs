//! Why a server gave no tools, or a call no result.

use std::{borrow::Cow, sync::Arc, time::Duration};

use auth::{AuthError, Shown};
use egress::EgressError;

/// Why a server gave no tools, or a call no result. One line each, without secrets. Of what a server said
/// nothing stands in it but the scopes that it names and, for sign-ins, what an authorization server says:
/// both cut and made printable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum McpError {
    /// Nobody could be signed in; the server was not contacted.
    #[error("sign-in failed: {0}")]
    Auth(#[from] AuthError),
    /// The server was not reached, or its address is not allowed.
    #[error("{0}")]
    Egress(#[from] Arc<EgressError>),
    /// 401 with a fresh credential, or without one.
    #[error("the server answered 401: it does not take this sign-in")]
    Unauthorized,
    /// 403.
    #[error("the server answered 403: the user who signs in may not use it")]
    Forbidden,
    /// 403 that names scopes.
    #[error("the server answered 403: it wants a token with the scopes {}", Shown::new(&scopes.join(" ")))]
    InsufficientScope {
        /// What it wants a token to be good for.
        scopes: Vec<String>,
    },
    /// A tool that the entry does not offer.
    #[error("this tool is not offered: the entry's tools leave it out")]
    NotOffered,
    /// Another HTTP status that is no success.
    #[error("the server answered with HTTP status {status}{}", redirect(*status))]
    Status {
        /// The status code.
        status: u16,
    },
    /// The answer is no MCP.
    #[error("the server does not speak MCP at this URL: {reason}")]
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

    /// Whether a user must sign in: nothing that a machine tries again will help.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self, Self::Auth(AuthError::NeedsSignIn(_)))
    }

    /// The kind of failure, as a word that programs can match on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Egress(error) => match error.as_ref() {
                EgressError::Refused { .. } | EgressError::Url => "address_refused",
                EgressError::Dns { .. } => "name_not_resolved",
                EgressError::Timeout { .. } => "timeout",
                error if error.is_tls() => "tls_failed",
                _ => "unreachable",
            },
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::NotOffered => "not_offered",
            Self::Status { .. } => "http_status",
            Self::NotMcp { .. } => "not_mcp",
            Self::Rejected { .. } => "rejected",
            Self::Timeout { .. } => "timeout",
            Self::CursorLoop | Self::TooMany { .. } => "endless_list",
            Self::Emptied { .. } => "emptied",
        }
    }

    /// What to do about it, as an instruction that can be followed as it stands.
    pub fn remedy(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::Auth(error) => return error.remedy(),
            Self::Egress(error) => match error.as_ref() {
                EgressError::Url => "give an https URL",
                EgressError::Refused { .. } => {
                    "if the server is inside your network, name its network in ALLOW_PRIVATE_MCP_SERVERS, such as 10.0.0.0/16"
                }
                EgressError::Dns { .. } => "check the host in mcp_url, and that this network's DNS knows it",
                EgressError::TooLarge { .. } => "make the server answer with less",
                error if error.is_tls() => {
                    "give the server a certificate for this host that public roots vouch for"
                }
                _ => {
                    "check host and port in mcp_url, that the server runs, and that firewalls and security groups let this through"
                }
            },
            Self::Unauthorized => {
                "check that the server trusts whoever signs in (the user pool and app client, the key, the authorization server) and wants an access token"
            }
            Self::Forbidden => "give the user who signs in the right to use the server",
            Self::InsufficientScope { .. } => "add the scopes to the entry, or sign in again to grant them",
            Self::NotOffered => "add it to tools in the entry if it is to be used",
            Self::Status { status: 300..=399 } => "give the URL that the redirect leads to",
            Self::Status { status: 404 | 405 } => {
                "check the path in mcp_url: it must be the MCP endpoint itself"
            }
            Self::Status { status: 429 } => "wait: the server limits requests",
            Self::Status { .. } => "look at the server's own logs",
            Self::NotMcp { .. } => "check the path in mcp_url; if it ends in /sse, set transport to sse",
            Self::Rejected { .. } => "look at the server's own logs",
            Self::Timeout { .. } => "see what keeps the server, or raise DISCOVERY_TIMEOUT_SECONDS",
            Self::CursorLoop | Self::TooMany { .. } => "have the server's tools/list mended",
            Self::Emptied { .. } => "look at the server: the tools known before are kept meanwhile",
        };
        fixed.into()
    }
}

fn redirect(status: u16) -> &'static str {
    if (300..=399).contains(&status) { ", a redirect, which is not followed" } else { "" }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
