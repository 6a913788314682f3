//! Responses with an HTTP status outside 2xx, and the errors that they become.
//!
//! Called by both transports. Does not decide whether the session is lost: [`super::answer`] does.
//!
//! Source: RFC 6750 §3.1 for `invalid_token`, RFC 9110 §15.4 for redirects.

use std::time::Duration;

use auth::Challenge;
use egress::Body;
use http::{Response, StatusCode, header::LOCATION};
use rmcp::transport::streamable_http_client::AuthRequiredError;
use serde_json::Value;
use url::Url;

use super::{
    Wire, answer,
    fault::{WireError, WireFault},
    kind,
};

/// Time limit for reading the body of a refusal. The status is known without it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// A response with an HTTP status outside 2xx.
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    challenge: String,
    location: Option<String>,
    pub(super) message: Option<Value>,
}

impl Refusal {
    /// Returns true if the server refuses the access token: with 401, or with the error code `invalid_token` of
    /// RFC 6750 §3.1 and status 400 or 403, which some servers send instead of 401.
    pub(super) fn says_invalid_token(&self) -> bool {
        const CODE: &str = "invalid_token";
        let in_body = |message: &Value| {
            let error = &message["error"];
            [error, &error["code"], &error["error"], &error["type"], &message["code"]]
                .iter()
                .any(|code| **code == CODE)
        };
        match self.status {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => {
                Challenge::parse(&self.challenge).error.as_deref() == Some(CODE)
                    || self.message.as_ref().is_some_and(in_body)
            }
            _ => false,
        }
    }

    fn error_message(&self) -> Option<&str> {
        self.message.as_ref()?["error"]["message"].as_str().filter(|text| !text.trim().is_empty())
    }
}

/// Returns the target of a redirect, without its query and fragment, which may contain keys.
fn redirect_target(from: &str, to: &str) -> Option<String> {
    let mut target = Url::parse(from).ok()?.join(to).ok()?;
    target.set_query(None);
    target.set_fragment(None);
    // The target inherits user and password from the entry's URL.
    (target.set_username("").is_ok() && target.set_password(None).is_ok()).then(|| target.to_string())
}

impl Wire {
    /// Reads a response with a status outside 2xx, with its body.
    pub(crate) async fn read_refusal(&self, response: Response<Body>) -> Refusal {
        let (status, challenge) = (response.status(), Challenge::header(response.headers()));
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        Refusal { status, challenge, location, message: self.refusal_message(response).await }
    }

    /// Returns the error for a refusal by its status and headers alone, without a JSON-RPC error in its body. The
    /// credential is removed from the texts of the server.
    pub(crate) fn status_error(&self, uri: &str, refusal: &Refusal) -> WireError {
        match refusal.status {
            _ if refusal.says_invalid_token() => WireError::AuthRequired(AuthRequiredError::new(
                self.scrubber.scrub(refusal.challenge.clone()),
            )),
            StatusCode::FORBIDDEN => WireError::Client(WireFault::Forbidden {
                challenge: Box::new(Challenge::parse(&self.scrubber.scrub(refusal.challenge.clone()))),
                message: refusal.error_message().map(str::to_owned),
            }),
            status => WireError::Client(WireFault::Status {
                status: status.as_u16(),
                location: refusal.location.as_deref().and_then(|to| redirect_target(uri, to)),
            }),
        }
    }

    /// Returns the error for a refusal; a JSON-RPC error in its body comes first.
    pub(crate) fn refusal_error(&self, uri: &str, refusal: &Refusal) -> WireError {
        let error = refusal.message.as_ref().filter(|message| answer::is_error(message));
        match error.filter(|_| !refusal.says_invalid_token() && refusal.status != StatusCode::FORBIDDEN) {
            Some(message) => {
                let (code, message, _) = answer::error_parts(message["error"].clone());
                let status = refusal.status.as_u16();
                WireError::Client(WireFault::Rejected { status, code, message })
            }
            None => self.status_error(uri, refusal),
        }
    }

    /// Reads the JSON body of a refusal; `None` if it is no JSON or does not arrive within [`REFUSAL_TIMEOUT`].
    async fn refusal_message(&self, response: Response<Body>) -> Option<Value> {
        // Of a 401 only the headers are used.
        if !kind(&response).is_json() || response.status() == StatusCode::UNAUTHORIZED {
            return None;
        }
        let text = tokio::time::timeout(REFUSAL_TIMEOUT, self.text(response)).await;
        self.message(text.ok()?.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invalid_token_is_recognised_with_any_status_that_servers_send_for_it() {
        let check = |status: u16, challenge: &str, message: Option<Value>, expected: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal { status, challenge: challenge.to_owned(), location: None, message };
            assert_eq!(refusal.says_invalid_token(), expected, "{status} {challenge} {:?}", refusal.message);
        };
        check(401, "", None, true);
        check(403, r#"Bearer error="invalid_token""#, None, true);
        check(403, r#"Bearer error="insufficient_scope""#, None, false);
        check(403, "", None, false);
        check(400, "", Some(json!({"error": "invalid_token"})), true);
        check(400, "", Some(json!({"error": {"code": "invalid_token", "message": "expired"}})), true);
        check(400, "", Some(json!({"error": {"code": -32602, "message": "b"}})), false);
        check(500, "", Some(json!({"error": "invalid_token"})), false);
    }

    #[test]
    fn a_redirect_is_shown_without_user_info_query_and_fragment() {
        let check = |to: &str, expected: &str| {
            let shown = redirect_target("https://u:p@a.example/mcp?key=k", to);
            assert_eq!(shown.as_deref(), Some(expected), "{to}");
        };
        check("/mcp/", "https://a.example/mcp/");
        check("/mcp/?key=k#f", "https://a.example/mcp/");
        check("https://b.example/x", "https://b.example/x");
    }
}
