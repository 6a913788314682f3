//! The token endpoint: what is exchanged for tokens, and what comes back.
//!
//! How the client proves itself is [`super::client_proof`]'s.
//!
//! Source: RFC 6749 §§4.1.3, 4.4, 5 and 6; RFC 8707 for `resource`.

use egress::HttpClient;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    about::{About, Asking, Place},
    authorization_server::AuthorizationServer,
    client_proof::{Client, ClientRequest},
    error::OAuthError,
    token_answer::read,
    wire::Answer,
};
use super::{token_refusal::page_as_status, token_set::Tokens};

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
