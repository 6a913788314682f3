//! The token endpoint: what is exchanged for tokens, and what comes back.
//!
//! How the client proves itself is [`super::client_proof`]'s.
//!
//! Source: RFC 6749 §§4.1.3, 4.4, 5 and 6; RFC 8707 for `resource`.

use egress::{HttpClient, Shown};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    about::{About, Asking, Place},
    client_proof::{Client, ClientRequest},
    discovery::AuthorizationServer,
    error::OAuthError,
    token_answer::read,
    wire::Answer,
};
use crate::credential::scrub;

/// What a token endpoint gave.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: SecretString,
    pub(crate) refresh: Option<SecretString>,
    /// From when on the access token is not to be used any more.
    pub(crate) stale_from: Timestamp,
    /// What it is good for, where that is told.
    pub(crate) scopes: Option<Vec<String>>,
}

/// What may be exchanged for tokens.
pub(crate) enum Exchange<'a> {
    /// What a redirect brought, with what only its beginner knows.
    Code { code: &'a SecretString, verifier: &'a SecretString, redirect_uri: &'a str },
    /// What an earlier answer brought.
    Refresh(&'a SecretString),
    /// Nothing but who we are.
    ClientCredentials { scopes: &'a [String], audience: Option<&'a str> },
}

/// A token answer, and how the client proved itself when it got it.
pub(crate) struct Exchanged {
    pub(crate) tokens: Tokens,
    /// The method that worked, where another could have been tried.
    pub(crate) auth_method: Option<&'static str>,
}

/// Exchanges something for tokens. Sends it again only where the server says that it did nothing.
///
/// # Errors
/// [`OAuthError`]; whatever secret the server repeats is taken out of it.
pub(crate) async fn exchange(
    http: &HttpClient,
    server: &AuthorizationServer,
    client: Client<'_>,
    exchange: Exchange<'_>,
    now: Timestamp,
) -> Result<Exchanged, OAuthError> {
    let mut form = exchange.form();
    if let Some(resource) = &server.resource {
        form.push(("resource", resource.clone().into()));
    }
    let about = About { asking: Some(exchange.asking()), client: Some(client.kind), ..About::default() };
    let repeats = |answer: &Answer| exchange.may_be_repeated(answer);
    let (to, place) = (&server.token_endpoint, Place::Token);
    let request = ClientRequest { http, server, client, to, place, form, repeats: &repeats, now };
    let answered = request.send().await?;
    let judged = |error| page_as_status(error, &answered.answer).about(about);
    let tokens = read(&answered.answer, &answered.secrets, now).map_err(judged)?;
    Ok(Exchanged { tokens, auth_method: answered.method.name() })
}

impl Exchange<'_> {
    fn asking(&self) -> Asking {
        match self {
            Self::Code { .. } => Asking::Code,
            Self::Refresh(_) => Asking::Refresh,
            Self::ClientCredentials { .. } => Asking::ClientCredentials,
        }
    }

    /// Whether the same may be sent again after such an answer. What is good for one use may be used up by
    /// a server that failed; 429 and 503 say that it was not looked at.
    fn may_be_repeated(&self, answer: &Answer) -> bool {
        let is_untouched = matches!(answer.status.as_u16(), 429 | 503);
        is_untouched || answer.is_busy() && matches!(self, Self::ClientCredentials { .. })
    }

    fn form(&self) -> Vec<(&'static str, SecretString)> {
        let plain = |text: &str| SecretString::from(text);
        match self {
            Self::Code { code, verifier, redirect_uri } => vec![
                ("grant_type", plain("authorization_code")),
                ("code", (*code).clone()),
                ("code_verifier", (*verifier).clone()),
                ("redirect_uri", plain(redirect_uri)),
            ],
            Self::Refresh(token) => {
                vec![("grant_type", plain("refresh_token")), ("refresh_token", (*token).clone())]
            }
            Self::ClientCredentials { scopes, audience } => {
                let mut form = vec![("grant_type", plain("client_credentials"))];
                form.extend((!scopes.is_empty()).then(|| ("scope", plain(&scopes.join(" ")))));
                form.extend(audience.map(|audience| ("audience", plain(audience))));
                form
            }
        }
    }
}

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
