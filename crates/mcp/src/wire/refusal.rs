//! Answers whose status is no success, and what they mean.
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

/// How long the body of a refusal is waited for: its status is known already.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer whose status is no success.
pub(crate) struct Refused {
    pub(super) status: StatusCode,
    challenge: String,
    location: Option<String>,
    pub(super) message: Option<Value>,
}

impl Refused {
    /// Returns true if the access token is the reason: a 401, or the code `invalid_token` of RFC 6750 §3.1 under
    /// a status that is not its own.
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

/// Where a redirect leads, as it may be shown: without its query, where people put keys.
fn redirect_target(from: &str, to: &str) -> Option<String> {
    let mut target = Url::parse(from).ok()?.join(to).ok()?;
    target.set_query(None);
    target.set_fragment(None);
    // No user or password of the entry's URL.
    (target.set_username("").is_ok() && target.set_password(None).is_ok()).then(|| target.to_string())
}

impl Wire {
    /// Reads a refusal to its end.
    pub(crate) async fn refused(&self, response: Response<Body>) -> Refused {
        let (status, challenge) = (response.status(), Challenge::header(response.headers()));
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        Refused { status, challenge, location, message: self.refusal_message(response).await }
    }

    /// What a status that is no success means, where no JSON-RPC error came with it. What a refusal says has
    /// the credential taken out.
    pub(crate) fn status_fault(&self, uri: &str, refused: &Refused) -> WireError {
        match refused.status {
            _ if refused.says_invalid_token() => WireError::AuthRequired(AuthRequiredError::new(
                self.scrubber.scrub(refused.challenge.clone()),
            )),
            StatusCode::FORBIDDEN => WireError::Client(WireFault::Forbidden {
                challenge: Box::new(Challenge::parse(&self.scrubber.scrub(refused.challenge.clone()))),
                message: refused.error_message().map(str::to_owned),
            }),
            status => WireError::Client(WireFault::Status {
                status: status.as_u16(),
                location: refused.location.as_deref().and_then(|to| redirect_target(uri, to)),
            }),
        }
    }

    /// What a refusal means, JSON-RPC errors included.
    pub(crate) fn refusal(&self, uri: &str, refused: &Refused) -> WireError {
        let error = refused.message.as_ref().filter(|message| answer::is_error(message));
        match error.filter(|_| !refused.says_invalid_token() && refused.status != StatusCode::FORBIDDEN) {
            Some(message) => {
                let (code, message, _) = answer::error_parts(message["error"].clone());
                let status = refused.status.as_u16();
                WireError::Client(WireFault::Rejected { status, code, message })
            }
            None => self.status_fault(uri, refused),
        }
    }

    /// The JSON message of a refusal, if its body is one and comes soon.
    async fn refusal_message(&self, response: Response<Body>) -> Option<Value> {
        // What a 401 asks for stands in its headers.
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
    fn an_invalid_token_is_told_under_any_of_its_statuses() {
        let check = |status: u16, challenge: &str, message: Option<Value>, expected: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            let refused = Refused { status, challenge: challenge.to_owned(), location: None, message };
            assert_eq!(refused.says_invalid_token(), expected, "{status} {challenge} {:?}", refused.message);
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
    fn a_redirect_is_shown_without_what_may_be_a_key() {
        let check = |to: &str, expected: &str| {
            let shown = redirect_target("https://u:p@a.example/mcp?key=k", to);
            assert_eq!(shown.as_deref(), Some(expected), "{to}");
        };
        check("/mcp/", "https://a.example/mcp/");
        check("/mcp/?key=k#f", "https://a.example/mcp/");
        check("https://b.example/x", "https://b.example/x");
    }
}
