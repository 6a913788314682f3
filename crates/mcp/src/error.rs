//! Why a server gave no tools, or a call no result.

use std::{borrow::Cow, sync::Arc, time::Duration};

use auth::AuthError;
use egress::{EgressError, Shown};
use url::Url;

/// Why a server gave no tools, or a call no result. One line each, without secrets. Each names the request that
/// it is about. Of what a server said nothing stands in it but the message of a JSON-RPC error, the scopes that
/// it names, where it redirects to and, for sign-ins, what an authorization server says: all cut, made
/// printable, and with the credential taken out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum McpError {
    /// Nobody could be signed in; the server was not contacted.
    #[error("sign-in failed: {0}")]
    Auth(#[from] AuthError),
    /// The server was not reached, or its address is not allowed.
    #[error("{0}")]
    Egress(#[from] Arc<EgressError>),
    /// 401 with a fresh credential, or without one; or `invalid_token` under another status.
    #[error("the server answered 401: it does not take this sign-in")]
    Unauthorized,
    /// 403.
    #[error("the server answered 403{}", forbidden(*signed_in, message.as_ref()))]
    Forbidden {
        /// Whether the request carried a credential.
        signed_in: bool,
        /// The message of the JSON-RPC error in the answer, if there was one.
        message: Option<Shown>,
    },
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
    #[error("the server answered {request} with HTTP status {status}{}", redirect(*status, location.as_deref()))]
    Status {
        /// The JSON-RPC method of the request.
        request: &'static str,
        /// The status code.
        status: u16,
        /// Where a redirect leads, without its query.
        location: Option<String>,
        /// Whether that is on the server's own origin.
        same_origin: bool,
    },
    /// What answers at this URL has not spoken MCP.
    #[error("the server does not speak MCP at this URL: {reason}")]
    NotMcp {
        /// What was found instead, in our own words; begins with “its”.
        reason: String,
    },
    /// A server that speaks MCP gave an answer that cannot be used.
    #[error("the server's answer to {request} cannot be used: {reason}")]
    BadAnswer {
        /// The JSON-RPC method of the request.
        request: &'static str,
        /// What is wrong with it, in our own words; begins with “its”.
        reason: String,
    },
    /// The connection ended, or the stream of events, before the answer came.
    #[error("the connection ended before the server's answer to {request}")]
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
        /// The HTTP status that it came with, if that was no success.
        status: Option<u16>,
    },
    /// Another error, on a connection whose server had refused a notification before.
    #[error("{error} (the server had answered notifications/initialized with HTTP status {status})")]
    AfterRefusedNotification {
        /// The status that the notification was refused with.
        status: u16,
        /// The error itself.
        #[source]
        error: Box<McpError>,
    },
    /// The deadline passed.
    #[error("no answer within {}", seconds(*after))]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
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

    /// Whether the server may take the other transport: what it answered was no MCP, or a status that other
    /// endpoints than MCP's give.
    pub fn may_be_other_transport(&self) -> bool {
        matches!(self, Self::NotMcp { .. } | Self::Status { status: 400..=405, .. })
    }

    /// The kind of failure, as a word that programs can match on.
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

    /// What to do about it, as an instruction that can be followed as it stands.
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

    /// The remedies that name nothing of this one failure.
    fn fixed_remedy(&self) -> &'static str {
        match self {
            Self::Auth(_) | Self::Egress(_) | Self::AfterRefusedNotification { .. } => {
                "look at the server's own logs"
            }
            Self::Unauthorized => {
                "if the entry has no sign-in, set its auth_type; otherwise check that the server trusts whoever signs in (the user pool and app client, the key, the authorization server) and wants an access token"
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
                "try again; if it stays, look at the logs of the server and of any proxy in front of it"
            }
            Self::Timeout { .. } => {
                "look at the server's logs for what takes it that long, or raise DISCOVERY_TIMEOUT_SECONDS"
            }
            Self::TooMany { .. } => "have the server's tools/list mended",
            Self::Emptied { .. } => "look at the server: the tools known before are kept meanwhile",
        }
    }

    /// The same on a connection whose server had refused a notification with `status`, where that may be why.
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
        EgressError::TooLarge { .. } => "make the server answer with less",
        EgressError::Coding { .. } => {
            "have the server, or the proxy in front of it, answer without that coding"
        }
        error if error.is_tls() => "give the server a certificate for this host that public roots vouch for",
        _ => {
            "check host and port in mcp_url, that the server runs, and that firewalls and security groups let this through"
        }
    }
}

fn forbidden(signed_in: bool, message: Option<&Shown>) -> String {
    match (message, signed_in) {
        (Some(message), _) => format!(": {message}"),
        (None, true) => ": the user who signs in may not use it".to_owned(),
        (None, false) => ", to a request that signs nobody in".to_owned(),
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

/// Returns true if `location` is on the origin of `url`.
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
    fn a_reason_names_what_happened_and_what_to_do() {
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
            "the server answered 403, to a request that signs nobody in",
            "firewall",
        );
    }
}
