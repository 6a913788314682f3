//! Refusals by a token, registration or revocation endpoint (RFC 6749 §5.2), and answers that stand in their place.

use egress::Shown;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    about::{About, Place},
    error::OAuthError,
    wire::Answer,
};
use crate::credential::scrub;

/// What a server says when it refuses (RFC 6749 §5.2), without what it was sent.
pub(crate) fn refusal(answer: &Answer, place: Place, secrets: &[SecretString]) -> OAuthError {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        error_description: Option<String>,
    }
    let clean = |text: &str| Shown::new(&secrets.iter().fold(text.to_owned(), scrub));
    // A proxy's words are not the authorization server's.
    let is_proxys = matches!(answer.status.as_u16(), 502 | 504);
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) if !is_proxys => OAuthError::Refused {
            place,
            error: clean(&refusal.error),
            description: refusal.error_description.as_deref().map(clean),
            about: About { status: Some(answer.status.as_u16()), ..About::default() },
        },
        _ => {
            let said = words(&answer.body).map(|text| clean(&text));
            OAuthError::Status { place, status: answer.status.as_u16(), said, about: About::default() }
        }
    }
}

/// A web page with the status of a success, told as the refusal that it is.
pub(crate) fn page_as_status(error: OAuthError, answer: &Answer) -> OAuthError {
    match error {
        OAuthError::NotJson { place, html: true } => OAuthError::Status {
            place,
            status: answer.status.as_u16(),
            said: words(&answer.body).as_deref().map(Shown::new),
            about: About::default(),
        },
        other => other,
    }
}

/// The words of an answer that is no OAuth error: of a JSON error, as frameworks and gateways write them; of a web
/// page nothing but that it is one.
fn words(body: &[u8]) -> Option<String> {
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
