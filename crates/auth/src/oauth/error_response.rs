//! Reads error responses of the token, registration and revocation endpoints (RFC 6749 §5.2).
//!
//! Some servers and proxies answer with another JSON error or a web page; of these the message is read. What an error
//! means is decided by [`super::verdict`].

use egress::Shown;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::OAuthError,
    request_context::{Endpoint, RequestContext},
    wire::Answer,
};
use crate::credential::scrub;

/// Returns the error of a refusal, with `secrets` removed from its texts.
pub(crate) fn refusal(answer: &Answer, endpoint: Endpoint, secrets: &[SecretString]) -> OAuthError {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        error_description: Option<String>,
    }
    let clean = |text: &str| Shown::new(&secrets.iter().fold(text.to_owned(), scrub));
    // 502 and 504 come from a proxy, not from the authorization server.
    let is_from_proxy = matches!(answer.status.as_u16(), 502 | 504);
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) if !is_from_proxy => OAuthError::Refused {
            endpoint,
            error: clean(&refusal.error),
            description: refusal.error_description.as_deref().map(clean),
            context: RequestContext { status: Some(answer.status.as_u16()), ..RequestContext::default() },
        },
        _ => {
            let server_message = message_of(&answer.body).map(|text| clean(&text));
            OAuthError::Status {
                endpoint,
                status: answer.status.as_u16(),
                server_message,
                context: RequestContext::default(),
            }
        }
    }
}

/// Converts the error of a web page with a 2xx status into [`OAuthError::Status`]: it is a refusal.
pub(crate) fn page_as_status(error: OAuthError, answer: &Answer) -> OAuthError {
    match error {
        OAuthError::NotJson { endpoint, html: true } => OAuthError::Status {
            endpoint,
            status: answer.status.as_u16(),
            server_message: message_of(&answer.body).as_deref().map(Shown::new),
            context: RequestContext::default(),
        },
        other => other,
    }
}

/// Returns the message of an answer that is no OAuth error: of a JSON error in the forms of frameworks and gateways. Of a
/// web page it says only that it is one.
fn message_of(body: &[u8]) -> Option<String> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<') {
        return Some("a web page".to_owned());
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let body = body.get(0).unwrap_or(&body);
    let inner = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    ["error_description", "message", "errorSummary", "detail", "title", "error_message"]
        .iter()
        .find_map(|name| inner.get(name)?.as_str().map(str::to_owned))
}
