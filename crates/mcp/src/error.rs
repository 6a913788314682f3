//! The error type of this crate: the reason why a list or a call failed, with a kind for programs and a remedy for
//! people.
//!
//! Built by [`crate::error_mapping`] from rmcp's errors and by the callers of the client. Shown by `catalog`, `agent`
//! and the command line.

use std::{borrow::Cow, sync::Arc, time::Duration};

use auth::AuthError;
use egress::{EgressError, Shown};
use url::Url;

/// The reason why a server gave no tool list, or a call no result. Each message is one line without secrets. Of the
/// server's own texts a message contains only the message of a JSON-RPC error, the scopes that the server names, the
/// target of a redirect and, for sign-ins, the error of an authorization server. These are shortened and made
/// printable, and the credential is removed from them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum McpError {
    /// The sign-in failed; the server was not contacted.
    #[error("sign-in failed: {0}")]
    Auth(#[from] AuthError),
    /// The server was not reached, or its address is not allowed.
    #[error("{0}")]
    Egress(#[from] Arc<EgressError>),
    /// HTTP status 401 to a request with a new credential or without one, or `invalid_token` with another status.
    #[error("the server answered 401: it does not take this sign-in")]
    Unauthorized,
    /// HTTP status 403.
    #[error("the server answered 403{}", forbidden(*signed_in, message.as_ref()))]
    Forbidden {
        /// True if the request carried a credential.
        signed_in: bool,
        /// The message of the JSON-RPC error in the answer, if there was one.
        message: Option<Shown>,
    },
    /// HTTP status 403 with the scopes that the access token lacks.
    #[error("the server answered 403: it wants a token with the scopes {}", Shown::new(&scopes.join(" ")))]
    InsufficientScope {
        /// The scopes that the server requires.
        scopes: Vec<String>,
    },
    /// A tool that the entry does not offer.
    #[error("this tool is not offered: the entry's tools leave it out")]
    NotOffered,
    /// Another HTTP status outside 2xx.
    #[error("the server answered {request} with HTTP status {status}{}", redirect(*status, location.as_deref()))]
    Status {
        /// The JSON-RPC method of the request.
        request: &'static str,
        /// The status code.
        status: u16,
        /// The target of a redirect, without its query.
        location: Option<String>,
        /// True if `location` has the server's own origin.
        same_origin: bool,
    },
    /// The answer to the opening request is not MCP, so the URL may not be an MCP endpoint.
    #[error("the server does not speak MCP at this URL: {reason}")]
    NotMcp {
        /// What the server answered, in this crate's words; begins with “its”.
        reason: String,
    },
    /// An MCP server gave an answer that cannot be used.
    #[error("the server's answer to {request} cannot be used: {reason}")]
    BadAnswer {
        /// The JSON-RPC method of the request.
        request: &'static str,
        /// What is wrong with the answer, in this crate's words; begins with “its”.
        reason: String,
    },
    /// The HTTP connection or the event stream ended before the answer arrived.
    #[error("the HTTP connection ended before the server's answer to {request}")]
    Ended {
        /// The JSON-RPC method of the request.
        request: &'static str,
    },
    /// A JSON-RPC error.
    #[error("the server refused {request} with JSON-RPC error {code}{}", refusal(message, *status))]
    Rejected {
        /// The JSON-RPC method of the request.
        request: &'static str,
        /// The error's code.
        code: i32,
        /// The error's message; may be empty.
        message: Shown,
        /// The HTTP status of the answer, if outside 2xx.
        status: Option<u16>,
    },
    /// Another error, in a session whose server had refused a notification before.
    #[error("{error} (the server had answered notifications/initialized with HTTP status {status})")]
    AfterRefusedNotification {
        /// The HTTP status of the response to the notification.
        status: u16,
        /// The error itself.
        #[source]
        error: Box<McpError>,
    },
    /// The deadline passed.
    #[error("no answer within {}", seconds(*after))]
    Timeout {
        /// The time limit.
        after: Duration,
    },
    /// `tools/list` exceeds a limit.
    #[error("the server lists more than {limit} {what}")]
    TooMany {
        /// The limit.
        limit: usize,
        /// The unit of the limit: pages, tools or bytes.
        what: &'static str,
    },
    /// The list is empty, and the last good list was not.
    #[error("the server lists no tools, although it had {had} before")]
    Emptied {
        /// The number of tools in the last good list.
        had: usize,
    },
}

impl McpError {
    pub(crate) fn not_mcp(reason: impl Into<String>) -> Self {
        Self::NotMcp { reason: reason.into() }
    }

    /// Returns true if a user must sign in. Retrying without that cannot succeed.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self, Self::Auth(AuthError::NeedsSignIn(_)))
    }

    /// Returns true if the server may support the other transport: its answer was no MCP, or had an HTTP status with
    /// which servers refuse an unknown method or path.
    pub fn may_be_other_transport(&self) -> bool {
        matches!(self, Self::NotMcp { .. } | Self::Status { status: 400..=405, .. })
    }

    /// Returns the kind of failure, as a word that programs can match on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Egress(error) => match error.as_ref() {
                EgressError::Refused { .. } | EgressError::Url => "address_refused",
                EgressError::Dns { .. } => "name_not_resolved",
                EgressError::Timeout { .. } => "timeout",
                EgressError::Coding { .. } => "bad_answer",
                error if error.is_tls() => "tls_failed",
                _ => "unreachable",
            },
            Self::Unauthorized => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::NotOffered => "not_offered",
            Self::Status { .. } => "http_status",
            Self::NotMcp { .. } => "not_mcp",
            Self::BadAnswer { .. } => "bad_answer",
            Self::Ended { .. } => "connection_ended",
            Self::Rejected { .. } => "rejected",
            Self::AfterRefusedNotification { error, .. } => error.kind(),
            Self::Timeout { .. } => "timeout",
            Self::TooMany { .. } => "endless_list",
            Self::Emptied { .. } => "emptied",
        }
    }

    /// Returns the remedy: an instruction for the user or an administrator.
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::Auth(error) => error.remedy(),
            Self::Egress(error) => egress_remedy(error).into(),
            Self::Status { location: Some(to), same_origin: true, .. } => {
                format!("give mcp_url as {to}").into()
            }
            Self::Status { location: Some(to), .. } => {
                format!("if you trust that server, give mcp_url as {to}").into()
            }
            Self::AfterRefusedNotification { error, .. } => error.remedy(),
            other => other.fixed_remedy().into(),
        }
    }

    /// Returns the remedies that do not depend on the fields of a variant.
    fn fixed_remedy(&self) -> &'static str {
        match self {
            Self::Auth(_) | Self::Egress(_) | Self::AfterRefusedNotification { .. } => {
                "look at the server's own logs"
            }
            Self::Unauthorized => {
                "if the entry has no sign-in, set its auth_type; otherwise check that the server accepts access tokens and trusts the user pool and app client, the key or the authorization server of the entry"
            }
            Self::Forbidden { signed_in: true, .. } => {
                "give the user who signs in the right to use the server, and check that no firewall in front of it refuses the request"
            }
            Self::Forbidden { signed_in: false, .. } => {
                "find out what refuses the request, a firewall in front of the server or the server itself; if the server wants a sign-in, set auth_type in the entry"
            }
            Self::InsufficientScope { .. } => "add the scopes to the entry, or sign in again to grant them",
            Self::NotOffered => "add it to tools in the entry if it is to be used",
            Self::Status { status: 300..=399, .. } => {
                "find out where the server is now, and give that as mcp_url"
            }
            Self::Status { status: 404 | 405, .. } => {
                "check the path in mcp_url: it must be the MCP endpoint itself"
            }
            Self::Status { status: 429, .. } => "wait: the server limits requests",
            Self::Status { .. } | Self::Rejected { .. } => "look at the server's own logs",
            Self::NotMcp { .. } => "check the path in mcp_url; if it ends in /sse, set transport to sse",
            Self::BadAnswer { .. } => {
                "report it to the developers of the server: the answer breaks the protocol"
            }
            Self::Ended { .. } => {
                "try again; if it happens again, look at the logs of the server and of any proxy in front of it"
            }
            Self::Timeout { .. } => {
                "look at the server's logs to find out why it is slow, or raise DISCOVERY_TIMEOUT_SECONDS"
            }
            Self::TooMany { .. } => "report it to the developers of the server: its tools/list is too long",
            Self::Emptied { .. } => {
                "find out why the server lists no tools; the tools of its last list stay listed meanwhile"
            }
        }
    }

    /// Wraps the error if the server had refused a notification with `status` before and that may be the cause.
    pub(crate) fn after_refused_notification(self, status: Option<u16>) -> Self {
        match (status, &self) {
            (
                Some(status),
                Self::Status { .. } | Self::Rejected { .. } | Self::BadAnswer { .. } | Self::Ended { .. },
            ) => Self::AfterRefusedNotification { status, error: Box::new(self) },
            _ => self,
        }
    }
}

fn egress_remedy(error: &EgressError) -> &'static str {
    match error {
        EgressError::Url => "give an https URL",
        EgressError::Refused { .. } => {
            "if the server is inside your network, name its network in ALLOW_PRIVATE_MCP_SERVERS, such as 10.0.0.0/16"
        }
        EgressError::Dns { .. } => "check the host in mcp_url, and that this network's DNS knows it",
        EgressError::TooLarge { .. } => "have the server send smaller answers",
        EgressError::Coding { .. } => {
            "have the server, or the proxy in front of it, answer without that coding"
        }
        error if error.is_tls() => {
            "install a certificate for this host on the server that a public certificate authority has issued"
        }
        _ => {
            "check host and port in mcp_url, that the server runs, and that firewalls and security groups let this through"
        }
    }
}

fn forbidden(signed_in: bool, message: Option<&Shown>) -> String {
    match (message, signed_in) {
        (Some(message), _) => format!(": {message}"),
        (None, true) => ": the user who signs in may not use it".to_owned(),
        (None, false) => " to a request without a sign-in".to_owned(),
    }
}

fn refusal(message: &Shown, status: Option<u16>) -> String {
    let said = if message.to_string().trim().is_empty() { String::new() } else { format!(": {message}") };
    let status = status.map(|status| format!(" (HTTP status {status})")).unwrap_or_default();
    format!("{said}{status}")
}

fn redirect(status: u16, location: Option<&str>) -> String {
    match (status, location) {
        (_, Some(to)) => format!(", a redirect to {}, which is not followed", Shown::new(to)),
        (300..=399, None) => ", a redirect, which is not followed".to_owned(),
        _ => String::new(),
    }
}

/// Returns true if `location` has the origin of `url`.
pub(crate) fn is_same_origin(url: &Url, location: Option<&str>) -> bool {
    location.and_then(|to| Url::parse(to).ok()).is_some_and(|to| to.origin() == url.origin())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: McpError, message: &str, remedy: &str) {
        assert_eq!(error.to_string(), message);
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
    }

    #[test]
    fn a_message_says_what_happened_and_a_remedy_what_to_do() {
        let status = |status, location: Option<&str>, same_origin| McpError::Status {
            request: "initialize",
            status,
            location: location.map(str::to_owned),
            same_origin,
        };
        check(
            status(307, Some("https://a.example/mcp/"), true),
            "the server answered initialize with HTTP status 307, a redirect to https://a.example/mcp/, which is not followed",
            "give mcp_url as https://a.example/mcp/",
        );
        check(
            status(302, Some("https://b.example/"), false),
            "the server answered initialize with HTTP status 302, a redirect to https://b.example/, which is not followed",
            "if you trust that server",
        );
        check(status(502, None, false), "the server answered initialize with HTTP status 502", "logs");
        let rejected = McpError::Rejected {
            request: "tools/call",
            code: -32602,
            message: Shown::new("b is not allowed"),
            status: Some(400),
        };
        check(
            rejected.clone(),
            "the server refused tools/call with JSON-RPC error -32602: b is not allowed (HTTP status 400)",
            "logs",
        );
        check(
            rejected.after_refused_notification(Some(500)),
            "the server refused tools/call with JSON-RPC error -32602: b is not allowed (HTTP status 400) (the server had answered notifications/initialized with HTTP status 500)",
            "logs",
        );
        check(
            McpError::Forbidden { signed_in: false, message: None },
            "the server answered 403 to a request without a sign-in",
            "firewall",
        );
    }
}
